"""site.yaml: what is right loads with every default filled in; what is wrong is one line with file and line."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.config.catalogue import MeasureUse, ScenarioUse, load_catalogue, stock_catalogue
from edge.config.kinds import KINDS
from edge.config.loader import Site, load_site
from edge.config.outline import outline_fault
from edge.config.schema import json_schema
from edge.errors import ConfigError
from edge.resources import configs_dir

SITE = """\
version: 1
site: {id: xiaohe, name: 小河街道, timezone: Asia/Shanghai}
gateway: {id: gw-01}
model: yolox-nano
mqtt: {url: mqtts://brain.example:8883, username: gw-01, password: "${MQTT_PASSWORD}"}
cameras:
  - id: gate
    name: 桥弄街 3 号
    source: rtsp://user:${CAM_PASSWORD}@10.0.0.8/stream1
    road: 桥弄街
    grid: G-17
    sampling: {decode: auto, fps: 5}
    masks: {ignore: [], privacy: []}
    zones:
      - {id: kerb, polygon: [[0.41, 0.22], [0.52, 0.22], [0.58, 0.66], [0.38, 0.66]]}
      - {id: pavement, polygon: [[0, 0], [1, 0], [1, 1]]}
    scenarios:
      - {use: illegal-parking, zones: [kerb], after_s: 45}
      - {use: out-of-store-trading, zones: [pavement], active: "Mon-Sun 07:00-22:00"}
"""
KERB = "[[0.41, 0.22], [0.52, 0.22], [0.58, 0.66], [0.38, 0.66]]"
SECRETS = {"MQTT_PASSWORD": "kingfisher-7", "CAM_PASSWORD": "heron-42"}


def load(folder: Path, text: str, environ: Mapping[str, str] = SECRETS) -> Site:
    path = folder / "site.yaml"
    path.write_text(text, encoding="utf-8")
    return load_site(path, environ=environ)


def fault(folder: Path, text: str, environ: Mapping[str, str] = SECRETS) -> str:
    """The error's text with the file's folder cut off: `site.yaml:7: ...`."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text, environ)
    words = str(caught.value)
    assert "\n" not in words
    for secret in SECRETS.values():
        assert secret not in words
    return words.removeprefix(f"{folder}{os.sep}")


def changed(old: str, new: str) -> str:
    assert SITE.count(old) == 1, f"{old!r} must stand in SITE once"
    return SITE.replace(old, new)


MQTT_LINE = 'mqtt: {url: mqtts://brain.example:8883, username: gw-01, password: "${MQTT_PASSWORD}"}\n'


def bridged(written: str) -> str:
    """SITE with `bridges:` on its sixth line."""
    return changed(MQTT_LINE, f"{MQTT_LINE}bridges: {{{written}}}\n")


def library(cameras: str) -> str:
    codes = f"device_id: '31000000005030000001', subscribe_id: '{'3' * 33}', cameras: {{{cameras}}}"
    return f"gat1400: {{url: http://10.0.0.9:8120, username: gw, password: swordfish, {codes}}}"


# What is right


def test_the_example_of_the_design_loads_with_all_defaults_filled_in(tmp_path: Path) -> None:
    site = load(tmp_path, SITE)
    parking, trading = site.scenarios["gate"]
    assert (parking.use, parking.kind, parking.zones, parking.parameters.after_s) == (
        "illegal-parking",
        "stationary",
        ("kerb",),
        45.0,
    )
    settings = parking.parameters
    assert (settings.clear_after_s, parking.labels, settings.score_min) == (20.0, ("car", "truck", "bus"), 0.25)
    assert (settings.severity, parking.active) == ("normal", None)
    assert parking.written()["anchor"] == "bottom"
    assert dataclasses.astuple(parking.category) == ("0505", "机动车乱停放", "GB/T 30428.2", False)
    assert trading.active is not None
    assert trading.active.holds(7 * 60)
    assert not trading.active.holds(22 * 60)


def test_optional_parts_may_be_left_out(tmp_path: Path) -> None:
    text = "version: 1\nsite: {id: s, timezone: UTC}\ngateway: {id: g}\ncameras: [{id: c, source: clip.mp4}]\n"
    config = load(tmp_path, text, {}).config
    assert config.mqtt is None
    assert config.site.name == "s"
    assert (config.cameras[0].name, config.cameras[0].sampling.decode, config.cameras[0].sampling.fps) == (
        "c",
        "auto",
        5.0,
    )


@pytest.mark.parametrize(("written", "embedded"), [("embedded", True), ("{url: embedded}", True), ("none", None)])
def test_mqtt_may_be_embedded_or_none(tmp_path: Path, written: str, embedded: bool | None) -> None:
    text = re.sub(r"mqtt: .*", f"mqtt: {written}", SITE)
    mqtt = load(tmp_path, text).config.mqtt
    assert (mqtt.embedded if mqtt else None) == embedded


def with_upload(written: str) -> str:
    return SITE.replace("cameras:\n", f"upload: {written}\ncameras:\n", 1)


@pytest.mark.parametrize(
    "written",
    [
        "{url: 'https://brain.example/evidence', token: '${MQTT_PASSWORD}', ca_file: /etc/ca.pem, rate_kbps: 512}",
        "{url: 's3://bucket/a/prefix', endpoint: 'https://s3.example:9000', access_key: a, secret_key: b}",
        "{url: 'file:///mnt/evidence', originals: true}",
        "{url: 'http://127.0.0.1:8080', token: t}",
    ],
)
def test_evidence_may_be_brought_to_a_server_a_store_or_a_folder(tmp_path: Path, written: str) -> None:
    upload = load(tmp_path, with_upload(written)).config.upload
    assert upload is not None
    assert "token" not in repr(upload)
    assert "secret" not in repr(upload)


UPLOAD_FAULTS = {
    "{url: 'https://a..b/x'}": "url must be https://host/path",
    "{url: 'ftp://x/y'}": "url must be https://host/path, s3://bucket/prefix or file:///folder",
    "{url: 'file://host/x'}": "url must be https://host/path",
    "{url: 'https://a:b@host/x'}": "url must not hold the user's name",
    "{url: 's3://bucket', secret_key: b}": "url needs `access_key:` and `secret_key:` beside it",
    "{url: 'https://host/x', endpoint: 'https://y'}": "endpoint has no use with such a `url:`",
    "{url: 's3://bucket', access_key: a, secret_key: b, endpoint: 'https://host/path'}": "endpoint must be https://host",
    "{url: 'http://host/x', token: t}": "token would be read on the way: use https://",
    "{url: 'file:///x', rate_kbps: -1}": "rate_kbps",
    "{url: 'file:///x', rate: 1}": "unknown key rate",
}


@pytest.mark.parametrize("written", UPLOAD_FAULTS)
def test_an_upload_that_cannot_work_is_refused(tmp_path: Path, written: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, with_upload(written))
    assert f"upload: {UPLOAD_FAULTS[written]}" in str(raised.value)


def test_evidence_follows_its_alert_and_so_needs_a_broker(tmp_path: Path) -> None:
    text = re.sub(r"mqtt: .*", "mqtt: none", with_upload("{url: 'file:///x'}"))
    with pytest.raises(ConfigError, match="upload needs `mqtt:`: evidence follows its alert"):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("written", "confirm"),
    [
        ("embedded", "puback"),
        ("{url: embedded, confirm: receipt}", "receipt"),
        ("{url: mqtt://brain.example}", "receipt"),
        ("{url: mqtt://brain.example, confirm: puback}", "puback"),
    ],
)
def test_the_brains_receipt_is_waited_for_unless_the_broker_is_our_own(
    tmp_path: Path, written: str, confirm: str
) -> None:
    config = load(tmp_path, re.sub(r"mqtt: .*", f"mqtt: {written}", SITE)).config
    assert config.mqtt is not None
    assert config.mqtt.confirm == confirm
    assert (config.mqtt.redrive_s, config.mqtt.redrive_max_s) == (60, 3600)
    assert (config.outbox.alerts_max, config.outbox.mb_max) == (200_000, 1000)


@pytest.mark.parametrize("password", ["p@ss/w:%密x", "a/b", "a#b", "a?b", "a%41", "with blank"])
def test_a_password_from_the_environment_may_hold_any_letter(tmp_path: Path, password: str) -> None:
    source = load(tmp_path, SITE, {"CAM_PASSWORD": password, "MQTT_PASSWORD": password}).config
    assert source.mqtt is not None
    assert source.mqtt.password == password
    parts = urlsplit(source.cameras[0].source)
    assert (parts.hostname, parts.username, unquote(parts.password or "")) == ("10.0.0.8", "user", password)


@pytest.mark.parametrize("password", ["p@ss/w:x", "a/b", "a@b", "a?b", "a#b"])
def test_a_password_typed_into_the_address_must_be_written_for_one(tmp_path: Path, password: str) -> None:
    words = fault(tmp_path, SITE.replace("user:${CAM_PASSWORD}@", f"user:{password}@"))
    assert words.startswith("site.yaml:9: cameras.gate: source holds a letter that an address cannot: write @ / ? # %")
    assert password not in words


@pytest.mark.parametrize("path", ["live@main", "cam?user=a@b", "10:20@x"])
def test_an_address_may_hold_an_at_sign_behind_the_host(tmp_path: Path, path: str) -> None:
    text = SITE.replace("user:${CAM_PASSWORD}@10.0.0.8/stream1", f"10.0.0.8:554/{path}")
    assert load(tmp_path, text).config.cameras[0].source == f"rtsp://10.0.0.8:554/{path}"


def test_a_variable_outside_of_the_login_is_taken_as_it_is(tmp_path: Path) -> None:
    text = SITE.replace("rtsp://user:${CAM_PASSWORD}@10.0.0.8/stream1", "rtsp://10.0.0.8/${CAM_PASSWORD}")
    assert load(tmp_path, text, {"CAM_PASSWORD": "a/b?c=1", "MQTT_PASSWORD": "x"}).config.cameras[0].source == (
        "rtsp://10.0.0.8/a/b?c=1"
    )


@pytest.mark.parametrize(
    ("written", "listen"),
    [("", "127.0.0.1:9480"), ("console: none", None), ("console: {listen: '0.0.0.0:9000'}", "0.0.0.0:9000")],
)
def test_the_console_listens_on_loopback_unless_told_otherwise(
    tmp_path: Path, written: str, listen: str | None
) -> None:
    console = load(tmp_path, f"{SITE}{written}\n").config.console
    assert (console.listen if console else None) == listen


@pytest.mark.parametrize("listen", ["9480", "localhost", "127.0.0.1:0", "127.0.0.1:99999", ":9480"])
def test_a_console_needs_host_and_port(tmp_path: Path, listen: str) -> None:
    words = fault(tmp_path, f"{SITE}console: {{listen: '{listen}'}}\n")
    assert "console: listen must be host:port, such as 127.0.0.1:9480" in words


def test_variables_are_filled_in_where_they_are_used(tmp_path: Path) -> None:
    config = load(tmp_path, SITE).config
    assert config.cameras[0].source == "rtsp://user:heron-42@10.0.0.8/stream1"
    assert config.mqtt is not None
    assert config.mqtt.password == "kingfisher-7"


def test_a_secret_is_in_no_repr(tmp_path: Path) -> None:
    site = load(tmp_path, SITE)
    shown = "".join(f"{thing!r} {thing}" for thing in (site, site.config, site.config.mqtt, *site.config.cameras))
    assert not any(secret in shown for secret in SECRETS.values())


def test_the_fingerprint_is_of_the_meaning_and_not_of_the_secrets(tmp_path: Path) -> None:
    base = load(tmp_path, SITE).config_sha256
    assert re.fullmatch("[0-9a-f]{64}", base)
    same = [
        (SITE, {"MQTT_PASSWORD": "other", "CAM_PASSWORD": "words"}),
        (changed("gateway: {id: gw-01}", "gateway:\n  # a comment\n  id: 'gw-01'"), SECRETS),
        (changed("fps: 5}", "fps: 5.0}"), SECRETS),
        (changed("zones: [kerb], after_s: 45", "after_s: 45, severity: normal, zones: [kerb]"), SECRETS),
    ]
    for text, environ in same:
        assert load(tmp_path, text, environ).config_sha256 == base
    for text in (changed("after_s: 45", "after_s: 46"), changed("0.41", "0.42"), changed("${CAM_", "${MQTT_")):
        assert load(tmp_path, text).config_sha256 != base


def test_models_and_uses_cannot_be_changed(tmp_path: Path) -> None:
    site = load(tmp_path, SITE)
    with pytest.raises(ValueError, match="frozen"):
        site.config.cameras[0].id = "other"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        site.scenarios["gate"][0].use = "other"  # type: ignore[misc]


def test_an_alias_may_share_a_zone(tmp_path: Path) -> None:
    text = changed(f"polygon: {KERB}", f"polygon: &shape {KERB}")
    text = text.replace("polygon: [[0, 0], [1, 0], [1, 1]]", "polygon: *shape")
    first, second = load(tmp_path, text).config.cameras[0].zones
    assert first.polygon == second.polygon


# What is wrong: the place and the words

PARKING = "{use: illegal-parking, zones: [kerb], after_s: 45}"

FAULTS = {
    "zone with two points": (
        changed(KERB, "[[0.1, 0.2], [0.5, 0.2]]"),
        "site.yaml:15: cameras.gate.zones.kerb: polygon needs 3 points, has 2",
    ),
    "zone without length": (
        changed(KERB, "[[0.1, 0.2], [0.1, 0.2], [0.1, 0.2]]"),
        "site.yaml:15: cameras.gate.zones.kerb: polygon has no area: all its points lie at one place",
    ),
    "zone without area": (
        changed(KERB, "[[0.1, 0.1], [0.2, 0.2], [0.3, 0.3], [0.15, 0.15]]"),
        "site.yaml:15: cameras.gate.zones.kerb: polygon has no area: all its points lie on one line",
    ),
    "zone outside the frame": (
        changed("[0.58, 0.66]", "[1.2, 0.66]"),
        "site.yaml:15: cameras.gate.zones.kerb: polygon[2][0] must lie in 0..1, "
        "a fraction of the frame's width or height, has 1.2",
    ),
    "zone that crosses itself": (
        changed(KERB, "[[0.1, 0.1], [0.5, 0.5], [0.5, 0.1], [0.1, 0.5]]"),
        "site.yaml:15: cameras.gate.zones.kerb: polygon crosses itself: the edges after points 1 and 3 meet; "
        "list the points in order round it",
    ),
    "closed zone": (
        changed("[[0, 0], [1, 0], [1, 1]]", "[[0, 0], [1, 0], [1, 1], [0, 0]]"),
        "site.yaml:16: cameras.gate.zones.pavement: polygon has points 4 and 1 at the same place; "
        "leave one out (it closes by itself)",
    ),
    "point with one number": (
        changed("[0.58, 0.66]", "[0.58]"),
        "site.yaml:15: cameras.gate.zones.kerb: polygon[2] needs two numbers",
    ),
    "zone without an id": (
        changed("{id: kerb, ", "{"),
        "site.yaml:15: cameras.gate.zones[0]: id is missing",
    ),
    "unknown key at the top": (
        changed("model: yolox-nano", "modle: yolox-nano"),
        "site.yaml:4: unknown key modle; did you mean model?; "
        "known keys: bridges, cameras, commands, console, detector, evidence, gateway, model, mqtt, outbox, review, "
        "site, state_dir, upload, version",
    ),
    "unknown key of a camera": (
        changed("    grid: G-17", "    gird: G-17"),
        "site.yaml:11: cameras.gate: unknown key gird; did you mean grid?; known keys: evidence_source, "
        "frozen_after_s, grid, id, masks, model, name, road, sampling, scenarios, source, transport, zones",
    ),
    "parameter of another kind": (
        changed(PARKING, "{use: illegal-parking, zones: [kerb], people_min: 3}"),
        "site.yaml:18: cameras.gate.scenarios.illegal-parking: unknown key people_min; known keys: active, after_s, "
        "anchor, bays, category, check, clear_after_s, except_hours, labels, model, queue_max_s, repeat_s, score_min, "
        "severity, size_cm_min, size_min, use, zones",
    ),
    "unknown scenario": (
        changed("use: illegal-parking", "use: ilegal-parking"),
        "site.yaml:18: cameras.gate.scenarios.ilegal-parking: use ilegal-parking is no scenario; "
        "did you mean illegal-parking?; `edge scenarios` shows the ",
    ),
    "unknown zone": (
        changed("zones: [kerb]", "zones: [kreb]"),
        "site.yaml:18: cameras.gate.scenarios.illegal-parking: zones[0] kreb is no zone of this camera; "
        "did you mean kerb?; its zones: kerb, pavement",
    ),
    "unknown bay": (
        changed("zones: [kerb]", "zones: [kerb], bays: [rack]"),
        "site.yaml:18: cameras.gate.scenarios.illegal-parking: bays[0] rack is no zone of this camera; its zones: kerb",
    ),
    "bay that is the zone itself": (
        changed("zones: [kerb]", "zones: [kerb], bays: [kerb]"),
        "site.yaml:18: cameras.gate.scenarios.illegal-parking: bays[0] kerb is among its zones too: nothing in "
        "it would ever be found",
    ),
    "a check where there is none": (
        changed(PARKING, "{use: bicycles-piled-up, zones: [kerb], check: {model: x, labels: [y]}}"),
        "site.yaml:18: cameras.gate.scenarios.bicycles-piled-up: unknown key check; known keys: active, after_s, ",
    ),
    "people as the only evidence": (
        changed(PARKING, "{use: out-of-store-trading, zones: [kerb], evidence: [people]}"),
        "site.yaml:18: cameras.gate.scenarios[0]: evidence needs labels or regions: people are ",
    ),
    "unknown key of a kind with many": (
        changed(PARKING, "{use: stall-over-line, zones: [kerb], tolerence: 0.1}"),
        "site.yaml:18: cameras.gate.scenarios.stall-over-line: unknown key tolerence; did you mean tolerance?; "
        "known keys: active, after_s, anchor, carried, category, ",
    ),
    "one length of a scale": (
        changed(f"polygon: {KERB}", f"polygon: {KERB}, scale: [{{line: [[0.2, 0.8], [0.6, 0.8]], cm: 100}}]"),
        "site.yaml:15: cameras.gate.zones.kerb: scale needs two lengths",
    ),
    "a number that YAML takes for a text": (
        changed("after_s: 45", "after_s: 1e2"),
        'site.yaml:18: cameras.gate.scenarios.illegal-parking: after_s must be a number, has the text "1e2": write it '
        "in plain digits",
    ),
    "unknown category": (
        changed("after_s: 45}", 'category: "0555"}'),
        "site.yaml:18: cameras.gate.scenarios.illegal-parking: category 0555 is no category; did you mean 0505?; `edge",
    ),
    "scenario without zones": (
        changed("zones: [kerb], ", ""),
        "site.yaml:18: cameras.gate.scenarios.illegal-parking: zones is missing",
    ),
    "scenario with no zones": (
        changed("zones: [kerb]", "zones: []"),
        "site.yaml:18: cameras.gate.scenarios.illegal-parking: zones needs at least one",
    ),
    "labels for what has none": (
        changed(PARKING, "{use: piled-goods, zones: [kerb], labels: [person]}"),
        "site.yaml:18: cameras.gate.scenarios.piled-goods: unknown key labels; known keys: active, after_s, category, "
        "check, clear_after_s, except_hours, repeat_s, score_min, severity, size_cm_min, size_min, use, zones",
    ),
    "an anchor for what has a centre": (
        changed(PARKING, "{use: piled-goods, zones: [kerb], anchor: bottom}"),
        "site.yaml:18: cameras.gate.scenarios.piled-goods: unknown key anchor; ",
    ),
    "a scenario that looks for nothing": (
        changed("after_s: 45}", "labels: []}"),
        "site.yaml:18: cameras.gate.scenarios.illegal-parking: labels needs at least one",
    ),
    "scenario without use": (
        changed("use: illegal-parking, ", ""),
        "site.yaml:18: cameras.gate.scenarios[0]: use is missing",
    ),
    "scenario as a bare word": (
        changed(PARKING, "illegal-parking"),
        "site.yaml:18: cameras.gate: scenarios[0] must be a mapping (key: value), has illegal-parking",
    ),
    "the same scenario and zone twice": (
        changed(PARKING, f"{PARKING}\n      - {{use: illegal-parking, zones: [pavement, kerb]}}"),
        "site.yaml:19: cameras.gate.scenarios[1]: zones[1] kerb is watched by this scenario already; give it once",
    ),
    "hours that a scenario requires": (
        changed(PARKING, "{use: after-hours-entry, zones: [kerb]}"),
        "site.yaml:18: cameras.gate.scenarios.after-hours-entry: active is missing",
    ),
    "wrong hours": (
        changed("07:00-22:00", "7-22"),
        "site.yaml:19: cameras.gate.scenarios.out-of-store-trading: active has '7-22', which is no span of time",
    ),
    "wrong hours in which it is allowed": (
        changed("after_s: 45", "except_hours: 6-9"),
        "site.yaml:18: cameras.gate.scenarios.illegal-parking: except_hours ",
    ),
    "hours that leave none": (
        changed("after_s: 45", "active: Mon 08:00-09:00, except_hours: Mon-Fri 06:00-09:00"),
        "site.yaml:18: cameras.gate.scenarios.illegal-parking: except_hours leaves no time in which it is active",
    ),
    "a negative time": (
        changed("after_s: 45", "after_s: -1"),
        "site.yaml:18: cameras.gate.scenarios.illegal-parking: after_s must be 0 or more, has -1",
    ),
    "a time as text": (
        changed("after_s: 45", 'after_s: "45"'),
        'site.yaml:18: cameras.gate.scenarios.illegal-parking: after_s must be a number, has the text "45": leave out',
    ),
    "a time without end": (
        changed("after_s: 45", "after_s: .inf"),
        "site.yaml:18: cameras.gate.scenarios.illegal-parking: after_s must be a finite number, has .inf",
    ),
    "an unknown severity": (
        changed("after_s: 45", "severity: hihg"),
        "site.yaml:18: cameras.gate.scenarios.illegal-parking: severity must be low, normal, high or urgent, has hihg",
    ),
    "repeated key": (
        changed("    grid: G-17", "    grid: G-17\n    road: other"),
        "site.yaml:12: key road is repeated; it stands in line 10 already",
    ),
    "duplicate camera id": (
        SITE + "  - {id: gate, source: clip.mp4}\n",
        "site.yaml:20: cameras[1]: id gate is taken already: an id must be unique",
    ),
    "duplicate zone id": (
        changed("id: pavement, p", "id: kerb, p").replace("[pavement]", "[kerb]"),
        "site.yaml:16: cameras.gate.zones[1]: id kerb is taken already: an id must be unique",
    ),
    "id with a slash": (
        changed("id: gw-01}", "id: gw/01}"),
        "site.yaml:3: gateway: id must be 1 to 64 of A-Z a-z 0-9 _ -, has gw/01",
    ),
    "id with a line break": (
        changed("id: gw-01}", r'id: "gw-01\n"}'),
        "site.yaml:3: gateway: id must be 1 to 64 of A-Z a-z 0-9 _ -",
    ),
    "unknown version": (changed("version: 1", "version: 2"), "site.yaml:1: version must be 1, has 2"),
    "version as text": (
        changed("version: 1", 'version: "1"'),
        'site.yaml:1: version must be 1, has the text "1": leave out the quotes',
    ),
    "no version": (changed("version: 1\n", ""), "site.yaml:1: version is missing"),
    "unknown time zone": (
        changed("Asia/Shanghai", "Asia/Shanghia"),
        "site.yaml:2: site: timezone is no time zone; write one like Asia/Shanghai, has Asia/Shanghia; "
        "did you mean Asia/Shanghai?",
    ),
    "time zone that is a folder": (changed("Asia/Shanghai", "Asia"), "site.yaml:2: site: timezone is no time zone"),
    "time zone out of its folder": (changed("Asia/Shanghai", "../x"), "site.yaml:2: site: timezone is no time zone"),
    "no cameras": (
        SITE[: SITE.index("cameras:")] + "cameras: []\n",
        "site.yaml:6: cameras needs at least one",
    ),
    "empty cameras": (SITE[: SITE.index("cameras:")] + "cameras:\n", "site.yaml:6: cameras is empty"),
    "a list instead of a mapping": ("- a\n- b\n", "site.yaml:1: must be a mapping (key: value)"),
    "a word instead of a mapping": ("hello\n", "site.yaml:1: must be a mapping (key: value), has hello"),
    "no analysis rate": (
        changed("fps: 5", "fps: 0"),
        "site.yaml:12: cameras.gate.sampling: fps must be more than 0, has 0",
    ),
    "unknown decode": (
        changed("decode: auto", "decode: fast"),
        "site.yaml:12: cameras.gate.sampling: decode must be auto, all or keyframes, has fast",
    ),
    "bad mask": (
        changed("privacy: []", "privacy: [[[0, 0], [1, 1]]]"),
        "site.yaml:13: cameras.gate.masks: privacy[0] needs 3 points, has 2",
    ),
    "web address as broker": (
        changed("mqtts://brain.example:8883", "https://brain.example"),
        "site.yaml:5: mqtt: url must be mqtt://host:port, mqtts://host:port or embedded",
    ),
    "port that is no number": (
        changed("example:8883", "example:port"),
        "site.yaml:5: mqtt: url must be mqtt://host:port",
    ),
    "user in the broker's URL": (
        changed("mqtts://brain", "mqtts://gw:pw@brain"),
        "site.yaml:5: mqtt: url must not hold the user's name",
    ),
    "password without a user": (
        changed("username: gw-01, ", ""),
        "site.yaml:5: mqtt: password needs a `username:` beside it",
    ),
    "a confirmation that nobody gives": (
        changed("username: gw-01, ", "username: gw-01, confirm: reciept, "),
        "site.yaml:5: mqtt: confirm must be receipt or puback",
    ),
    "pauses that shrink": (
        changed("username: gw-01, ", "username: gw-01, redrive_s: 60, redrive_max_s: 30, "),
        "site.yaml:5: mqtt: redrive_max_s must not be below redrive_s",
    ),
    "a token that others may read on the way": (
        changed(MQTT_LINE, MQTT_LINE + "upload: {url: http://brain.example/evidence, token: swordfish}\n"),
        "site.yaml:6: upload: token would be read on the way: use https://",
    ),
    "a key that is a number": (
        changed(MQTT_LINE, MQTT_LINE + "upload: {url: s3://bucket, access_key: a, secret_key: 123456}\n"),
        "site.yaml:6: upload: secret_key must be text; YAML reads this as a number: put it in quotes",
    ),
    "an outbox of nothing": (
        changed(MQTT_LINE, MQTT_LINE + "outbox: {alerts_max: 0}\n"),
        "site.yaml:6: outbox: alerts_max must be",
    ),
    "bridges without a broker": (
        changed(MQTT_LINE, "bridges: {webhooks: [{kind: wecom, url: https://qyapi.example/swordfish}]}\n"),
        "site.yaml:5: bridges need `mqtt:` beside them",
    ),
    "a robot of another make": (
        bridged("webhooks: [{kind: slack, url: https://hooks.example/swordfish}]"),
        "site.yaml:6: bridges.webhooks[0]: kind must be wecom or dingtalk, has slack",
    ),
    "a robot without TLS": (
        bridged("webhooks: [{kind: wecom, url: http://qyapi.example/swordfish}]"),
        "site.yaml:6: bridges.webhooks[0]: url must be https: the address of a robot is its password",
    ),
    "a signature for WeCom": (
        bridged("webhooks: [{kind: wecom, url: https://q.example/x, secret: swordfish}]"),
        "site.yaml:6: bridges.webhooks[0]: secret belongs to DingTalk; WeCom's is in its address",
    ),
    "a robot that speaks too often": (
        bridged("webhooks: [{kind: dingtalk, url: https://q.example/x, per_minute: 21}]"),
        "site.yaml:6: bridges.webhooks[0]: per_minute must be",
    ),
    "a robot twice": (
        bridged("webhooks: [{kind: wecom, url: https://q.example/x}, {kind: wecom, url: https://q.example/x}]"),
        "site.yaml:6: bridges.webhooks[1]: url is that of another one in the list",
    ),
    "a robot that is told nothing": (
        bridged("webhooks: [{kind: dingtalk, url: https://q.example/x, states: [open]}]"),
        "site.yaml:6: bridges.webhooks[0]: states[0] must be opened, updated, cleared or withdrawn, has open",
    ),
    "a view library of a camera that is not here": (
        bridged(library("heron: '31000000001310000002'")),
        "site.yaml:6: bridges.gat1400.cameras: heron is no camera of this gateway",
    ),
    "events under the gateway's own topics": (
        bridged("onvif: {prefix: cityeye/v1}"),
        "site.yaml:6: bridges.onvif: prefix must not begin with cityeye, where the gateway's own topics lie",
    ),
    "events under a pattern": (bridged("onvif: {prefix: 'street/#'}"), "site.yaml:6: bridges.onvif: prefix must"),
    "a code of the wrong length": (
        bridged(library("gate: '3100000000131000000'")),
        "site.yaml:6: bridges.gat1400.cameras: gate must",
    ),
    "two faults, the later one found first": (
        changed("id: gw-01}", "id: ''}").replace("version: 1", "version: 1\nzzz: 1"),
        "site.yaml:2: unknown key zzz; known keys: bridges, cameras, commands, console, detector, evidence, gateway, "
        "model, mqtt, outbox, review, site, state_dir, upload, version (and 1 more)",
    ),
    # YAML's surprises
    "a number as id": (
        changed("gateway: {id: gw-01}", "gateway: {id: 12}"),
        'site.yaml:3: gateway: id must be text; YAML reads 12 as a number: put it in quotes: "12"',
    ),
    "an octal number as id": (
        changed("gateway: {id: gw-01}", "gateway: {id: 0123}"),
        "site.yaml:3: YAML reads this as a number in another notation",
    ),
    "a clock time as id": (
        changed("gateway: {id: gw-01}", "gateway: {id: 12:30}"),
        "site.yaml:3: YAML reads this as a number in another notation",
    ),
    "Norway": (
        changed("gateway: {id: gw-01}", "gateway: {id: no}"),
        'site.yaml:3: gateway: id must be text; YAML reads no as false: put it in quotes: "no"',
    ),
    "nothing as id": (changed("gateway: {id: gw-01}", "gateway: {id: }"), "site.yaml:3: gateway: id is empty"),
    "a list as name": (changed("小河街道", "[a]"), "site.yaml:2: site: name must be text, has a list"),
    "a tab": (changed("    grid: G-17", "\tgrid: G-17"), "site.yaml:11: a tab cannot indent YAML; use spaces"),
    "an open bracket": (changed("zones: [kerb]", "zones: [kerb"), "site.yaml:18: not valid YAML: "),
    "a control character": (changed("G-17", "G\x0717"), "site.yaml:11: holds a control character (code 7); remove it"),
    "an escape too large": (changed("G-17", r'"\UFFFFFFFF"'), "site.yaml:11: not valid YAML: a number in an escape"),
    "half a character": (changed("G-17", r'"\ud800"'), "site.yaml:11: an escape stands for half a character"),
    "two documents": (SITE + "---\na: 1\n", "site.yaml:20: a second document (after ---) is not read"),
    "a tag": (changed("G-17", "!!python/object:os.system x"), "site.yaml:11: a YAML tag (! or !!) is not understood"),
    "merged keys": (changed("    grid: G-17", "    <<: {grid: G-17}"), "site.yaml:11: merging keys with <<"),
    "a list as key": (changed("    grid: G-17", "    ? [a]\n    : b"), "site.yaml:11: a key must be a plain word"),
    "a password that looks like an alias": (
        changed('"${MQTT_PASSWORD}"', "*swordfish"),
        "site.yaml:5: a text that begins with * must stand in quotes",
    ),
    "a password that looks like an anchor": (
        changed('"${MQTT_PASSWORD}"', "&swordfish"),
        "site.yaml:5: mqtt: password is empty",
    ),
    "a password that looks like a tag": (
        changed('"${MQTT_PASSWORD}"', "!swordfish"),
        "site.yaml:5: a text that begins with ! must stand in quotes",
    ),
    "a password that looks like a number": (
        changed('"${MQTT_PASSWORD}"', "123456"),
        "site.yaml:5: mqtt: password must be text; YAML reads this as a number: put it in quotes",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_told_with_its_line_and_what_is_allowed(tmp_path: Path, case: str) -> None:
    text, expected = FAULTS[case]
    words = fault(tmp_path, text)
    assert words.startswith(expected), words
    assert "swordfish" not in words
    assert "123456" not in words


# The environment


def test_a_missing_variable_is_named_with_its_line(tmp_path: Path) -> None:
    words = fault(tmp_path, SITE, {"CAM_PASSWORD": "x"})
    assert words == "site.yaml:5: mqtt: password needs the environment variable MQTT_PASSWORD, which is not set"
    words = fault(tmp_path, SITE, {})
    assert words.startswith("site.yaml:5: mqtt: password needs the environment variable MQTT_PASSWORD")
    assert words.endswith("(and 1 more)")


def test_a_missing_variable_is_told_beside_other_faults_in_order_of_lines(tmp_path: Path) -> None:
    words = fault(tmp_path, changed("id: xiaohe", "id: ''"), {"CAM_PASSWORD": "x"})
    assert words.startswith("site.yaml:2: site: id must be")
    assert words.endswith("(and 1 more)")


@pytest.mark.parametrize("written", ["${", "${}", "${A-B}", "${A", "x${1}y"])
def test_what_is_no_variable_is_refused(tmp_path: Path, written: str) -> None:
    words = fault(tmp_path, changed("G-17", f'"{written}"'))
    assert words.startswith("site.yaml:11: cameras.gate: grid holds ${ that is not ${NAME}")


def test_a_filled_in_value_that_does_not_fit_is_told_by_its_variable_only(tmp_path: Path) -> None:
    environ = {**SECRETS, "BAD": "heron/swordfish 99-99"}
    for text, expected in (
        (changed("id: gw-01}", 'id: "${BAD}"}'), "site.yaml:3: gateway: id must be 1 to 64 of A-Z"),
        (
            changed('"Mon-Sun 07:00-22:00"', '"${BAD}"'),
            "site.yaml:19: cameras.gate.scenarios.out-of-store-trading: active",
        ),
        (changed("mqtts://brain.example:8883", '"${BAD}"'), "site.yaml:5: mqtt: url must be mqtt://host:port"),
        (changed("Asia/Shanghai", '"${BAD}"'), "site.yaml:2: site: timezone is no time zone"),
        (changed("use: illegal-parking", 'use: "${BAD}"'), "site.yaml:18: cameras.gate.scenarios[0]: use ${BAD}"),
        (
            changed("zones: [kerb]", 'zones: ["${BAD}"]'),
            "site.yaml:18: cameras.gate.scenarios.illegal-parking: zones[0]",
        ),
        (re.sub("mqtt: .*", 'mqtt: "${BAD}"', SITE), "site.yaml:5: mqtt must be"),
    ):
        words = fault(tmp_path, text, environ)
        assert words.startswith(expected), words
        assert words.endswith("(from ${BAD})"), words
        assert "swordfish" not in words
        assert "99" not in words


def test_a_filled_in_value_is_not_filled_in_again(tmp_path: Path) -> None:
    site = load(tmp_path, SITE, {"CAM_PASSWORD": "${MQTT_PASSWORD}", "MQTT_PASSWORD": "y"})
    assert site.config.cameras[0].source == "rtsp://user:%24%7BMQTT_PASSWORD%7D@10.0.0.8/stream1"


def test_a_fault_that_shows_later_is_told_with_its_line_too(tmp_path: Path) -> None:
    site = load(tmp_path, SITE)
    for loc, expected in (
        (("cameras", 0, "scenarios", 1, "labels"), "19: cameras.gate.scenarios.out-of-store-trading: labels is wrong"),
        (("cameras", 0, "source"), "9: cameras.gate: source is wrong"),
        (("model",), "4: model is wrong"),
    ):
        assert str(site.fault(loc, "is wrong")) == f"{tmp_path}/site.yaml:{expected}"


# The file itself


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"

    def words(target: Path = path) -> str:
        with pytest.raises(ConfigError) as caught:
            load_site(target, environ={})
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert words() == f"{path}: no such file"
    assert words(tmp_path) == f"{tmp_path}: is not a file; name a YAML file"
    for content, expected in (
        (b"", f"{path}: the file is empty"),
        (b"# only a comment\n", f"{path}: the file is empty"),
        (b"version: 1\nsite: \xff\xfe\n", f"{path}:2: is not UTF-8 text"),
        (b"a" * 1_000_001, f"{path}: is larger than 1000 kB"),
        (b"\x00\x00\x00\x18ftypmp42", f"{path}:1: holds a control character"),
    ):
        path.write_bytes(content)
        assert words().startswith(expected)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(SITE)
    path.chmod(0)
    with pytest.raises(ConfigError, match="Permission denied"):
        load_site(path, environ=SECRETS)


def test_bombs_are_refused_in_bounded_time(tmp_path: Path) -> None:
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )
    started = time.perf_counter()
    assert "holds more than 50000 values" in fault(tmp_path, laughs)
    assert "holds more than 50000 values" in fault(tmp_path, "- a: b\n" * 140_000)
    assert "too deeply nested" in fault(tmp_path, "a: " + "[" * 5000)
    assert "too deeply nested" in fault(tmp_path, "{a: " * 5000)
    assert "too deeply nested" in fault(tmp_path, "- " * 5000)
    assert "too deeply nested" in fault(tmp_path, "a: &a [*a]\n")
    print(f"six bombs refused in {time.perf_counter() - started:.2f} s")


# Any text at all

_WORDS = st.one_of(
    st.sampled_from("{}[]&*!|>#=?@`'\",:-~% \n\t\\\ufeff\x85\u2028"),
    st.sampled_from(
        ["version", "cameras", "zones", "id", "&a ", "*a ", "!!int ", "!!bool ", "0x", "1:30", "yes", "<<"]
    ),
    st.sampled_from(["${A}", "${", "- ", ": ", "\n  ", "\n---\n", "...", "%YAML 1", "\\ud800", "2001-01-01", ".nan"]),
    st.sampled_from(["1", "-.inf", "1e999", "9" * 5000]),
)
_fuzz = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_fuzz
@given(text=st.one_of(st.text(max_size=200), st.lists(_WORDS, max_size=30).map("".join)))
def test_any_text_loads_or_is_a_config_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError) as caught:
        load_site(path, environ={"A": "secret"})
    assert "\n" not in str(caught.value)


@_fuzz
@given(data=st.data())
def test_a_site_with_any_damage_loads_or_is_a_config_error(tmp_path: Path, data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(SITE)))
    end = data.draw(st.integers(begin, min(begin + 30, len(SITE))))
    damage = data.draw(st.one_of(st.text(max_size=10), st.lists(_WORDS, max_size=5).map("".join)))
    path = tmp_path / "site.yaml"
    path.write_bytes((SITE[:begin] + damage + SITE[end:]).encode("utf-8", "surrogatepass"))
    words = f"{path}: ok"
    try:
        site = load_site(path, environ={**SECRETS, "A": "b"})
        assert all(isinstance(use, ScenarioUse) for uses in site.scenarios.values() for use in uses)
    except ConfigError as error:
        words = str(error)
    assert words.startswith(str(path))
    assert "\n" not in words


# Polygons

_fraction = st.integers(0, 1000).map(lambda part: part / 1000)
_point = st.tuples(_fraction, _fraction)


@given(st.lists(_point, min_size=3, max_size=3, unique=True), st.integers(0, 2))
def test_whether_a_triangle_is_one_does_not_depend_on_where_it_begins_or_which_way_round(
    points: list[tuple[float, float]], turn: int
) -> None:
    turned = points[turn:] + points[:turn]
    assert (outline_fault(points) is None) == (outline_fault(turned) is None) == (outline_fault(points[::-1]) is None)


@given(st.lists(st.integers(0, 359), min_size=3, max_size=20, unique=True), st.data())
def test_points_in_order_round_a_circle_are_a_polygon_and_two_of_them_swapped_are_not(
    degrees: list[int], data: st.DataObject
) -> None:
    import math

    def circle(angles: list[int]) -> list[tuple[float, float]]:
        return [(0.5 + 0.5 * math.cos(math.radians(a)), 0.5 + 0.5 * math.sin(math.radians(a))) for a in angles]

    ordered = sorted(degrees)
    assert outline_fault(circle(ordered)) is None
    if len(ordered) >= 4:
        row = data.draw(st.integers(0, len(ordered) - 2))
        ordered[row], ordered[row + 1] = ordered[row + 1], ordered[row]
        assert "crosses itself" in (outline_fault(circle(ordered)) or "")


@pytest.mark.parametrize(
    "points",
    [
        [(0, 0), (1, 0), (1, 1), (0.5, 0), (0, 1)],  # a point on another edge
        [(0, 0), (1, 0), (0.5, 0), (0.5, 1)],  # back over the way it came
        [(0, 0), (1, 0), (0.5, 0.5), (1, 1), (0, 1), (0.5, 0.5)],  # twice through one point
    ],
)
def test_a_polygon_that_touches_itself_is_refused(points: list[tuple[float, float]]) -> None:
    assert "crosses itself" in (outline_fault(points) or "")


# Lines

WRONG_WAY = "{use: wrong-way, line: [[0.2, 0.5], [0.8, 0.5]], direction: down}"


def with_uses(*uses: str) -> str:
    return changed("    scenarios:\n", "    scenarios:\n" + "".join(f"      - {use}\n" for use in uses))


def test_a_line_has_the_name_of_its_use_or_its_own(tmp_path: Path) -> None:
    named = WRONG_WAY.replace("wrong-way,", "wrong-way, id: north,")
    first, second, *_ = load(tmp_path, with_uses(WRONG_WAY, named)).scenarios["gate"]
    assert (first.places, second.places) == (("wrong-way",), ("north",))
    assert second.lines == {"north": ((0.2, 0.5), (0.8, 0.5))}
    assert (first.zones, first.after_s) == ((), 0)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[[0.2, 0.5], [0.8, 0.5]]", "[[0.2, 0.5], [0.2, 0.5]]", "wrong-way: line has both its points at one place"),
        ("[[0.2, 0.5], [0.8, 0.5]]", "[[0.2, 0.5], [0.21, 0.5]]", "wrong-way: line is too short: its points lie less"),
        ("[[0.2, 0.5], [0.8, 0.5]]", "[[0.2, 0.5]]", "wrong-way: line needs 2 points, has 1"),
        ("[[0.2, 0.5], [0.8, 0.5]]", "[[0, 0], [1, 0], [1, 1]]", "wrong-way: line needs 2 points, has 3"),
        (
            "[0.8, 0.5]",
            "[1.8, 0.5]",
            "wrong-way: line[1][0] must lie in 0..1, a fraction of the frame's width or height",
        ),
        ("direction: down", "direction: left", "wrong-way: direction runs along the line; here it is up or down"),
        ("direction: down", "direction: in", "wrong-way: direction must be up, down, left or right, has in"),
        (", direction: down", "", "wrong-way: direction is missing"),
        (", line: [[0.2, 0.5], [0.8, 0.5]]", "", "wrong-way: line is missing"),
        (
            "use: wrong-way",
            "use: wrong-way, after_s: 5",
            "wrong-way: unknown key after_s; did you mean clear_after_s?; ",
        ),
        ("use: wrong-way", "use: wrong-way, zones: [kerb]", "wrong-way: unknown key zones; known keys: "),
        ("use: wrong-way", "use: wrong-way, id: kerb", "kerb: id kerb is the name of another zone or line: give"),
    ],
)
def test_a_line_that_is_none_is_told_with_its_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in WRONG_WAY
    words = fault(tmp_path, with_uses(WRONG_WAY.replace(old, new)))
    assert words.startswith(f"site.yaml:18: cameras.gate.scenarios.{expected}")


def test_two_lines_of_one_name_are_refused(tmp_path: Path) -> None:
    words = fault(tmp_path, with_uses(WRONG_WAY, WRONG_WAY))
    assert words.startswith(
        "site.yaml:19: cameras.gate.scenarios[1]: use wrong-way is the name of another zone or line"
    )


# Measures

FLOW = "{use: people-flow, line: [[0.2, 0.5], [0.8, 0.5]], direction: down}"
OCCUPANCY = "{use: occupancy, zones: [kerb]}"


def test_measures_stand_among_the_scenarios_and_are_told_apart(tmp_path: Path) -> None:
    named = FLOW.replace("people-flow,", "people-flow, id: shop-door, every_s: 60,")
    site = load(tmp_path, with_uses(FLOW, named, OCCUPANCY))
    assert [use.use for use in site.scenarios["gate"]] == ["illegal-parking", "out-of-store-trading"]
    flow, door, people = site.measures["gate"]
    assert [(use.name, use.places) for use in (flow, door, people)] == [
        ("people-flow", ("people-flow",)),
        ("shop-door", ("shop-door",)),
        ("occupancy", ("kerb",)),
    ]
    assert (flow.parameters.every_s, door.parameters.every_s) == (300, 60)
    assert site.config_sha256 != load(tmp_path, with_uses(FLOW, OCCUPANCY)).config_sha256


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (FLOW.replace("}", ", after_s: 5}"), "people-flow: unknown key after_s; known keys: anchor, direction, "),
        (FLOW.replace("}", ", severity: low}"), "people-flow: unknown key severity; known keys: anchor, direction, "),
        (FLOW.replace("}", ", zones: [kerb]}"), "people-flow: unknown key zones; known keys: "),
        (FLOW.replace("}", ", every_s: 7}"), "people-flow: every_s must be 10 or more, has 7"),
        (FLOW.replace("}", ", every_s: 70}"), "people-flow: every_s must divide a day without a rest, such as 60, 300"),
        (FLOW.replace("down", "left"), "people-flow: direction runs along the line; here it is up or down"),
        (FLOW.replace("[0.8, 0.5]", "[0.2, 0.5]"), "people-flow: line has both its points at one place"),
        (OCCUPANCY.replace("kerb", "kreb"), "occupancy: zones[0] kreb is no zone of this camera; did you mean kerb?"),
        (OCCUPANCY.replace("zones: [kerb]", "line: [[0, 0], [1, 1]]"), "occupancy: "),
        (OCCUPANCY.replace(", zones: [kerb]", ""), "occupancy: zones is missing"),
    ],
)
def test_a_measure_that_is_wrong_is_told_with_its_line(tmp_path: Path, use: str, expected: str) -> None:
    assert fault(tmp_path, with_uses(use)).startswith(f"site.yaml:18: cameras.gate.scenarios.{expected}")


def test_two_measures_of_one_name_and_zone_are_refused(tmp_path: Path) -> None:
    words = fault(tmp_path, with_uses(OCCUPANCY, OCCUPANCY))
    assert words.startswith(
        "site.yaml:19: cameras.gate.scenarios[1]: zones[0] kerb is watched by this scenario already"
    )
    load(tmp_path, with_uses(OCCUPANCY, OCCUPANCY.replace("occupancy,", "occupancy, id: cars, labels: [car],")))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("needs:", "severity: low\nneeds:", "occupancy.yaml:5: severity does not belong to a measure"),
        ("needs:", 'category: "0505"\nneeds:', "occupancy.yaml:5: category does not belong to a measure"),
        ("  every_s: 300", "  after_s: 3\n  every_s: 300", "occupancy.yaml:10: defaults: unknown key after_s; "),
    ],
)
def test_a_fault_in_a_measure_file_is_told_with_its_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    (tmp_path / "scenarios").mkdir()
    text = (configs_dir() / "scenarios" / "occupancy.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "scenarios" / "occupancy.yaml").write_text(text.replace(old, new), encoding="utf-8")
    (tmp_path / "categories.yaml").write_bytes((configs_dir() / "categories.yaml").read_bytes())
    with pytest.raises(ConfigError) as caught:
        load_catalogue(tmp_path)
    assert expected in str(caught.value)


# The catalogue


def test_every_stock_scenario_can_be_used_with_its_place_alone_or_with_what_it_requires(tmp_path: Path) -> None:
    catalogue = stock_catalogue()
    given = {
        "zones": ("kerb",),
        "line": ((0.1, 0.5), (0.9, 0.5)),
        "direction": "down",
        "active": "Mon-Sun 22:00-06:00",
    }
    for scenario in catalogue.scenarios.values():
        use = catalogue.resolve({"use": scenario.id, **{name: given[name] for name in scenario.needed}})
        assert scenario.needs
        if isinstance(use, MeasureUse):
            print(f"{use.use:22} {use.kind:12} every {use.parameters.every_s} s")
            continue
        assert use.kind in KINDS
        assert use.category.extension == use.category.code.startswith("X")
        print(f"{use.use:22} {use.kind:12} {use.category.code} {use.category.name} after {use.after_s:g} s")


def test_every_default_in_a_stock_file_stands_beside_its_reason() -> None:
    for path in (configs_dir() / "scenarios").glob("*.yaml"):
        defaults = path.read_text(encoding="utf-8").partition("defaults:\n")[2]
        bare = [line for line in defaults.splitlines() if "#" not in line and "labels:" not in line]
        assert not bare, f"{path.name}: {bare}"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("after_s: 60 ", "after_s: -60 ", "illegal-parking.yaml:10: defaults: after_s must be 0 or more, has -60"),
        ("  size_min: 0", "  people_min: 0", "illegal-parking.yaml:14: defaults: unknown key people_min; "),
        (
            "  size_min: 0",
            "  severity: low\n  size_min: 0",
            "illegal-parking.yaml:14: severity belongs above `defaults:`",
        ),
        ("kind: stationary", "kind: parked", "illegal-parking.yaml:2: kind must be stationary, left_object, loitering"),
        ('category: "0505"', 'category: "0599"', "illegal-parking.yaml:5: category is not in categories.yaml"),
        (
            "id: illegal-parking",
            "id: parking",
            "illegal-parking.yaml:1: id must be illegal-parking, as the file's name",
        ),
        ("  score_min: 0.25", "  #", "illegal-parking.yaml:9: defaults: score_min is missing"),
    ],
)
def test_a_fault_in_a_scenario_file_is_told_with_its_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    (tmp_path / "scenarios").mkdir()
    text = (configs_dir() / "scenarios" / "illegal-parking.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "scenarios" / "illegal-parking.yaml").write_text(text.replace(old, new), encoding="utf-8")
    (tmp_path / "categories.yaml").write_bytes((configs_dir() / "categories.yaml").read_bytes())
    with pytest.raises(ConfigError) as caught:
        load_catalogue(tmp_path)
    assert expected in str(caught.value)


def test_a_scenario_file_of_another_ending_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "categories.yaml").write_bytes((configs_dir() / "categories.yaml").read_bytes())
    text = (configs_dir() / "scenarios" / "illegal-parking.yaml").read_text(encoding="utf-8")
    (tmp_path / "scenarios" / "illegal-parking.yml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"illegal-parking\.yml: would be passed over; name it illegal-parking\.yaml"):
        load_catalogue(tmp_path)


def test_a_code_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    text = (configs_dir() / "categories.yaml").read_text(encoding="utf-8").replace('"0502"', '"0501"')
    (tmp_path / "categories.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"categories.yaml:10: categories\[1\]: code 0501 is repeated"):
        load_catalogue(tmp_path)


# The JSON Schema and the command


def test_the_schema_lists_each_scenario_with_the_parameters_of_its_kind() -> None:
    schema = json_schema()
    definitions = schema["$defs"]
    parking, crowd = definitions["scenario-illegal-parking"], definitions["scenario-crowd-gathering"]
    assert parking["properties"]["after_s"]["default"] == 60
    assert "people_min" not in parking["properties"]
    assert crowd["properties"]["people_min"]["default"] == 4
    assert "active" in definitions["scenario-after-hours-entry"]["required"]
    assert not parking["additionalProperties"]
    json.dumps(schema)


def test_the_schema_accepts_the_example_and_refuses_a_wrong_key() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    import yaml

    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(json_schema())
    assert not list(validator.iter_errors(yaml.safe_load(SITE)))
    assert list(validator.iter_errors(yaml.safe_load(changed("grid: G-17", "gird: G-17"))))
    assert list(validator.iter_errors(yaml.safe_load(changed("after_s: 45", "people_min: 4"))))


def test_check_says_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edge.cli.check import check, schema

    path = tmp_path / "site.yaml"
    path.write_text(SITE, encoding="utf-8")
    with pytest.raises(ConfigError):
        check(path)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    check(path)
    assert capsys.readouterr().out == f"{path}: ok: 1 camera, 2 zones, 2 scenarios\n"
    schema()
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_a_site_of_64_cameras_loads_quickly(tmp_path: Path) -> None:
    head, camera = SITE.split("cameras:\n")
    text = head + "cameras:\n" + "".join(camera.replace("id: gate", f"id: gate-{n}") for n in range(64))
    stock_catalogue()
    started = time.perf_counter()
    site = load(tmp_path, text)
    print(f"64 cameras, {len(text) / 1000:.0f} kB: {time.perf_counter() - started:.2f} s")
    assert len(site.scenarios) == 64
