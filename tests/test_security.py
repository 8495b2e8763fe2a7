"""Who may speak to whom: certificates both ways, secrets in files, and words for whoever must mend them."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from edge.cli.main import run
from edge.config.cautions import cautions_of
from edge.delivery.mqtt import MqttPublisher
from edge.errors import ConfigError, DeliveryError
from edge.wiring.credentials import check_credentials, credentials_of
from tests.brokers import WAIT_S, Mosquitto
from tests.certificates import Authority, Files
from tests.commanding import KEY_PEM
from tests.test_config import SITE, load

pytestmark = pytest.mark.delivery

MQTT_LINE = 'mqtt: {url: mqtts://brain.example:8883, username: gw-01, password: "${MQTT_PASSWORD}"}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder, "authority")


@pytest.fixture(scope="module")
def stranger(folder: Path) -> Authority:
    return Authority(folder, "stranger")


@pytest.fixture(scope="module")
def gateway(authority: Authority) -> Files:
    return authority.certify("gw-01")


def tls_broker(folder: Path, files: Files, *lines: str) -> Mosquitto:
    settings = [f"certfile {files.certificate}", f"keyfile {files.key}", *(lines or ["allow_anonymous true"])]
    broker = Mosquitto(folder, *settings, scheme="mqtts", host="localhost")
    broker.start()
    return broker


def tried(broker: Mosquitto, url: str = "", **files: Path) -> str:
    """What a gateway says of the connection, "" where it stands."""
    publisher = MqttPublisher(url or broker.url, client_id="gw", connect_s=WAIT_S, version5=True, **files)
    try:
        publisher.check()
    except DeliveryError as error:
        return str(error)
    return ""


def test_a_broker_is_believed_by_its_authority_its_name_and_its_dates(
    tmp_path: Path, authority: Authority, stranger: Authority
) -> None:
    known = authority.files.certificate
    broker = tls_broker(tmp_path, authority.certify("broker", "localhost"))
    try:
        assert tried(broker, ca_file=known) == ""
        assert "certificate does not verify" in tried(broker, ca_file=stranger.files.certificate)
        assert "certificate does not verify" in tried(broker), "the system's authorities do not know ours"
        by_address = broker.url.replace("localhost", "127.0.0.1")
        assert "host name" in tried(broker, by_address, ca_file=known)
    finally:
        broker.kill()
    broker = tls_broker(tmp_path, authority.certify("late", "localhost", expired=True))
    try:
        assert "expired" in tried(broker, ca_file=known)
    finally:
        broker.kill()


def test_a_broker_that_asks_for_a_certificate_lets_in_who_has_one_of_its_authority(
    tmp_path: Path, authority: Authority, stranger: Authority, gateway: Files
) -> None:
    known = authority.files.certificate
    lines = [f"cafile {known}", "require_certificate true", "use_identity_as_username true"]
    broker = tls_broker(tmp_path, authority.certify("broker-2", "localhost"), *lines)
    try:
        own = {"ca_file": known, "cert_file": gateway.certificate, "key_file": gateway.key}
        assert tried(broker, **own) == ""
        foreign = stranger.certify("gw-foreign")
        for files in ({}, {"cert_file": foreign.certificate, "key_file": foreign.key}):
            words = tried(broker, ca_file=known, **files)
            assert "cert_file" in words, words
    finally:
        broker.kill()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_nothing_older_than_tls_1_2_is_spoken(authority: Authority) -> None:
    files = authority.certify("old", "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.load_cert_chain(files.certificate, files.key)
    seen: list[str] = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        try:
            context.wrap_socket(connection, server_side=True)
        except (ssl.SSLError, OSError) as error:
            seen.append(str(error))
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        url = f"mqtts://localhost:{listener.getsockname()[1]}"
        publisher = MqttPublisher(url, client_id="gw", connect_s=WAIT_S, ca_file=authority.files.certificate)
        with pytest.raises(DeliveryError, match="no TLS with this port"):
            publisher.check()
        server.join(WAIT_S)
    assert len(seen) == 1


# The files that site.yaml names


def site_text(mqtt: str, more: str = "") -> str:
    assert SITE.count(MQTT_LINE) == 1
    return SITE.replace(MQTT_LINE, f"mqtt: {{{mqtt}}}\n{more}".rstrip())


def fault(folder: Path, mqtt: str, more: str = "") -> str:
    site = load(folder, site_text(mqtt, more))
    with pytest.raises(ConfigError) as caught:
        check_credentials(site)
    words = str(caught.value)
    assert "\n" not in words
    assert "kingfisher" not in words
    return words.removeprefix(f"{folder}/").replace(f"{folder}/", "")


def secret(folder: Path, content: str, mode: int = 0o600) -> Path:
    path = folder / "password"
    path.touch(0o600)
    path.write_text(content)
    path.chmod(mode)
    return path


BY_FILE = "url: mqtts://brain.example:8883, username: gw-01, password_file: password"


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_a_password_is_taken_from_a_file_that_nobody_else_may_read(tmp_path: Path, mode: int) -> None:
    secret(tmp_path, "kingfisher-7\n", mode)
    found = credentials_of(load(tmp_path, site_text(BY_FILE)))
    assert (found.username, found.password) == ("gw-01", "kingfisher-7")
    assert "kingfisher" not in repr(found)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o666, 0o660, 0o601])
def test_a_secret_that_others_may_read_or_change_is_refused_with_the_command_to_run(tmp_path: Path, mode: int) -> None:
    path = secret(tmp_path, "kingfisher-7\n", mode)
    words = fault(tmp_path, BY_FILE)
    assert words == (
        f"site.yaml:5: mqtt: password_file password may be read or changed by others (mode {mode:03o}): "
        "run chmod o-rwx,g-wx password"
    )
    path.chmod(mode & ~0o037)
    assert check_credentials(load(tmp_path, site_text(BY_FILE)))


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "must hold the password and nothing else"), ("two\nlines\n", "in one line"), ("x" * 70_000, "too long")],
)
def test_a_password_file_that_holds_something_else_is_refused(tmp_path: Path, content: str, words: str) -> None:
    secret(tmp_path, content)
    assert words in fault(tmp_path, BY_FILE)


def test_a_changed_file_is_another_login_and_so_restarts_the_courier(tmp_path: Path) -> None:
    secret(tmp_path, "kingfisher-7")
    site = load(tmp_path, site_text(BY_FILE))
    first = check_credentials(site)
    assert check_credentials(site) == first
    secret(tmp_path, "kingfisher-8")
    assert check_credentials(site) != first


def test_certificates_and_keys_that_cannot_be_used_are_named_with_their_line(
    tmp_path: Path, authority: Authority, gateway: Files
) -> None:
    (tmp_path / "noise.pem").write_text("noise")
    (tmp_path / "open.key").write_bytes(gateway.key.read_bytes())
    (tmp_path / "open.key").chmod(0o644)
    other, sealed = authority.certify("other"), authority.certify("sealed", password=b"kingfisher")
    url = "url: mqtts://brain.example:8883"
    for mqtt, words in (
        (f"{url}, ca_file: none.pem", "ca_file none.pem cannot be read: No such file"),
        (f"{url}, ca_file: noise.pem", "ca_file noise.pem holds no certificate in PEM"),
        (f"{url}, cert_file: {gateway.certificate}, key_file: open.key", "key_file open.key may be read or changed"),
        (f"{url}, cert_file: {gateway.certificate}, key_file: {other.key}", "no certificate and its private key"),
        (f"{url}, cert_file: {sealed.certificate}, key_file: {sealed.key}", "is encrypted, and nobody is there"),
    ):
        found = fault(tmp_path, mqtt)
        assert found.startswith("site.yaml:5: mqtt: ")
        assert words in found, found
    right = f"{url}, ca_file: {authority.files.certificate}, cert_file: {gateway.certificate}, key_file: {gateway.key}"
    assert check_credentials(load(tmp_path, site_text(right)))


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "holds 0 PEM public keys"), (None, "cannot be read: No such file")],
)
def test_a_key_for_commands_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "brain.pub").write_bytes(content)
    assert words in fault(tmp_path, "url: mqtts://brain.example:8883", "commands: {key: brain.pub}")
    (tmp_path / "brain.pub").write_bytes(KEY_PEM)
    assert check_credentials(load(tmp_path, site_text("url: mqtts://b:8883", "commands: {key: brain.pub}")))


@pytest.mark.parametrize(
    ("mqtt", "words"),
    [
        ("url: mqtts://b:8883, password_file: password", "password_file needs a `username:`"),
        ("url: mqtts://b:8883, username: a, password: b, password_file: c", "stands beside `password:`; give one"),
        ("url: mqtts://b:8883, cert_file: a", "cert_file needs a `key_file:` beside it"),
        ("url: mqtts://b:8883, key_file: a", "key_file needs a `cert_file:` beside it"),
        ("url: mqtt://b:1883, ca_file: a", "ca_file is for TLS: begin the `url:` with mqtts://"),
        ("url: mqtt://b:1883, cert_file: a, key_file: b", "cert_file is for TLS"),
    ],
)
def test_keys_that_do_not_fit_together_are_refused(tmp_path: Path, mqtt: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"site\.yaml:5: mqtt: ") as caught:
        load(tmp_path, site_text(mqtt))
    assert words in str(caught.value)


def test_edge_check_reads_the_files_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret(tmp_path, "kingfisher-7", 0o644)
    text = site_text(BY_FILE).replace("user:${CAM_PASSWORD}@", "")
    (tmp_path / "site.yaml").write_text(text)
    assert run(["check", str(tmp_path / "site.yaml")]) == 2
    assert "run chmod o-rwx,g-wx" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        ("{allow: [fly]}", "commands: allow[0] must be verify, dismiss"),
        ("{allow: []}", "commands: allow needs at least one"),
        ("{allow: [mode, mode]}", "commands: allow names the same one twice"),
        ("{stale_s: 5}", "commands: stale_s must be 10 or more"),
        ("{keys: brain.pub}", "commands: unknown key keys; did you mean key?"),
        ("all", "commands must be a mapping"),
    ],
)
def test_what_commands_are_taken_is_said_strictly(tmp_path: Path, commands: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, site_text("url: mqtts://b:8883", f"commands: {commands}"))
    assert f"site.yaml:6: {words}" in str(caught.value)


def test_commands_are_taken_unless_the_site_says_none(tmp_path: Path) -> None:
    config = load(tmp_path, SITE).config
    assert config.commands is not None
    assert (len(config.commands.allow), config.commands.key, config.commands.stale_s) == (7, None, 300)
    assert load(tmp_path, site_text("url: mqtts://b:8883", "commands: none")).config.commands is None


# What is allowed, and still told


def cautions(folder: Path, text: str) -> list[str]:
    return [line.removeprefix(f"{folder}/") for line in cautions_of(load(folder, text))]


def test_the_documented_site_needs_no_caution(tmp_path: Path) -> None:
    assert cautions(tmp_path, SITE) == []


def test_secrets_in_clear_and_open_doors_are_told_with_their_line_and_not_shown(tmp_path: Path) -> None:
    text = (
        site_text(
            "url: mqtt://brain.example, username: gw-01, password: kingfisher-7", 'console: {listen: "0.0.0.0:80"}'
        )
        .replace("user:${CAM_PASSWORD}@", "user:kingfisher-7@")
        .replace("road: 桥弄街", "evidence_source: http://10.0.0.8/main?channel=1&pwd=kingfisher-7")
    )
    told = cautions(tmp_path, text)
    print("\n".join(told))
    assert [line.partition(" ")[0] for line in told] == [f"site.yaml:{number}:" for number in (5, 10, 11, 6, 5, 5)]
    assert all("kingfisher" not in line for line in told)
    assert [line.split(": ")[2].split(" ")[0] for line in told] == [
        "password",
        "source",
        "evidence_source",
        "listen",
        "url",
        "url",
    ]


@pytest.mark.parametrize(
    ("mqtt", "more"),
    [
        ("url: mqtt://brain.example", "commands: none"),
        ("url: mqtt://brain.example", "commands: {key: brain.pub}"),
        ("url: mqtts://brain.example", ""),
        ('url: mqtt://127.0.0.1, username: gw, password: "${MQTT_PASSWORD}"', 'console: {listen: "[::1]:9480"}'),
        ("url: embedded", 'console: {listen: "localhost:9480"}'),
    ],
)
def test_a_door_that_is_shut_is_not_told_of(tmp_path: Path, mqtt: str, more: str) -> None:
    assert cautions(tmp_path, site_text(mqtt, more)) == []


def test_edge_check_tells_and_is_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "site.yaml").write_text(
        SITE.replace('"${MQTT_PASSWORD}"', "kingfisher-7").replace("user:${CAM_PASSWORD}@", "")
    )
    assert run(["check", str(tmp_path / "site.yaml")]) == 0
    said = capsys.readouterr()
    assert "caution: " in said.err
    assert "in clear" in said.err
    assert "kingfisher" not in said.err + said.out


def test_the_authorities_of_the_store_are_looked_for_beside_site_yaml_before_anything_runs(
    tmp_path: Path, authority: Authority
) -> None:
    mqtt = "url: mqtts://brain.example:8883"
    upload = "upload: {url: 'https://brain.example/evidence', ca_file: ca.pem}"
    assert fault(tmp_path, mqtt, upload) == (
        "site.yaml:6: upload: ca_file ca.pem cannot be read: No such file or directory: check its path and rights"
    )
    (tmp_path / "ca.pem").write_text("noise")
    assert "ca.pem holds no certificate in PEM" in fault(tmp_path, mqtt, upload)
    (tmp_path / "ca.pem").write_bytes(authority.files.certificate.read_bytes())
    assert check_credentials(load(tmp_path, site_text(mqtt, upload)))
