"""Evidence reaches its store whole, once, after its alert, and never what may not leave."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from edge.config.delivery import UploadConfig
from edge.delivery.courier import Courier
from edge.delivery.mqtt import MqttPublisher
from edge.delivery.upload import AlertsFirst
from edge.delivery.upload_files import ChangedError, Leaving, local, object_name, parcel_of
from edge.delivery.upload_folder import FolderTarget
from edge.delivery.upload_http import Answer, HttpClient, PutTarget
from edge.delivery.upload_s3 import S3Keys, S3Target, signed
from edge.errors import DeliveryError
from edge.state.retrievals import Retrievals
from edge.wiring.uploading import uploader_for
from tests.alerts import a_change
from tests.brokers import WAIT_S, Mosquitto
from tests.stores import OddStore
from tests.test_evidence_store import tmpfs
from tests.test_requests import HandClock
from tests.uploads import an_uploader, fix_evidence, gateway_state, object_of, put_alert, uploading, wait_until_done

pytestmark = pytest.mark.delivery

PICTURE = os.urandom(150_000)


def a_folder(path: Path) -> FolderTarget:
    path.mkdir(exist_ok=True)
    return FolderTarget(path, address=f"file://{path}")


def objects(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def test_every_file_of_an_alert_lies_in_the_store_under_its_hash(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with gateway_state(tmp_path) as database:
        evidence = fix_evidence(tmp_path, 1, {"overview-1.jpg": PICTURE, "crop-1.jpg": b"crop", "clip-1.mp4": b"clip"})
        signature = tmp_path / evidence[-1].path.replace(".json", ".sig")
        signature.write_bytes(b"s" * 64)
        put_alert(database, 1, evidence)
        with uploading(database, a_folder(store), tmp_path) as uploader:
            wait_until_done(uploader)
    wanted = {object_of(file): (tmp_path / file.path).read_bytes() for file in evidence}
    wanted[object_name(hashlib.sha256(b"s" * 64).hexdigest(), ".sig")] = b"s" * 64
    assert objects(store) == wanted
    assert uploader.state().counts.files == len(wanted)


def test_a_case_that_is_asked_for_again_is_brought_but_for_what_is_there(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with gateway_state(tmp_path) as database:
        evidence = fix_evidence(tmp_path, 1, {"overview-1.jpg": PICTURE, "crop-1.jpg": b"crop"})
        put_alert(database, 1, evidence)
        with uploading(database, a_folder(store), tmp_path) as uploader:
            wait_until_done(uploader)
        (store / object_of(evidence[1])).unlink()
        retrievals = Retrievals(database)
        assert retrievals.ask(a_change(1).case.case_id, wall_ns=1)
        assert not retrievals.ask(a_change(1).case.case_id, wall_ns=2)  # it waits already
        with uploading(database, a_folder(store), tmp_path) as uploader:
            wait_until_done(uploader)
        assert retrievals.waiting_count() == 0
    counts = uploader.state().counts
    assert (counts.files, counts.there, counts.bytes) == (1, 2, len(b"crop"))
    assert (store / object_of(evidence[1])).read_bytes() == b"crop"


def test_what_masks_or_blurring_hide_does_not_leave(tmp_path: Path) -> None:
    files = {"overview-1.jpg": b"blurred", "original-1.jpg": b"face", "clip-1.mp4": b"faces"}
    for number, originals in ((1, False), (2, True)):
        store = tmp_path / f"store-{number}"
        root = tmp_path / f"state-{number}"
        root.mkdir()
        with gateway_state(root) as database:
            evidence = fix_evidence(root, 1, files, masked=("overview-1.jpg",))
            put_alert(database, 1, evidence)
            with uploading(database, a_folder(store), root, originals=originals) as uploader:
                wait_until_done(uploader)
        left = set(objects(store))
        hidden = {object_of(file) for file in evidence if file.role in ("original", "clip")}
        assert hidden <= left if originals else not hidden & left
        assert object_of(evidence[0]) in left
        assert object_of(evidence[-1]) in left
        assert uploader.state().counts.withheld == (0 if originals else 2)


def test_a_clip_that_shows_what_masks_hide_does_not_leave_though_nothing_beside_it_is_masked(tmp_path: Path) -> None:
    with gateway_state(tmp_path) as database:
        evidence = fix_evidence(tmp_path, 1, {"clip-1.mp4": b"faces"}, private=("clip-1.mp4",))
        put_alert(database, 1, evidence)
        with uploading(database, a_folder(tmp_path / "store"), tmp_path) as uploader:
            wait_until_done(uploader)
    left = objects(tmp_path / "store")
    assert object_of(evidence[0]) not in left
    assert object_of(evidence[-1]) in left
    assert uploader.state().counts.withheld == 1


def test_a_file_that_is_gone_or_changed_is_told_and_never_sent(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with gateway_state(tmp_path) as database:
        pruned = fix_evidence(tmp_path, 1, {"overview-1.jpg": b"pruned"})
        changed = fix_evidence(tmp_path, 2, {"overview-1.jpg": b"as it was", "crop-1.jpg": b"crop"})
        longer = fix_evidence(tmp_path, 3, {"overview-1.jpg": b"as it was then"})
        linked = fix_evidence(tmp_path, 4, {"overview-1.jpg": b"plain"})
        forged = fix_evidence(tmp_path, 5, {"overview-1.jpg": b"true"})
        for number, evidence in enumerate((pruned, changed, longer, linked, forged), start=1):
            put_alert(database, number, evidence)
        for file in pruned:
            (tmp_path / file.path).unlink()
        (tmp_path / changed[0].path).write_bytes(b"as it is.")
        (tmp_path / longer[0].path).write_bytes(b"as it was then, and more")
        secret = tmp_path / "elsewhere.jpg"
        secret.write_bytes(b"plain")
        (tmp_path / linked[0].path).unlink()
        (tmp_path / linked[0].path).symlink_to(secret)
        (tmp_path / forged[-1].path).write_bytes(b'{"files":[]}')
        with uploading(database, a_folder(store), tmp_path) as uploader:
            wait_for(lambda: uploader.state().error != "" or uploader.state().counts.changed >= 4)
            print(uploader.state())
            wait_until_done(uploader)
    counts = uploader.state().counts
    assert set(objects(store)) == {object_of(file) for file in (changed[1], changed[2], longer[1], linked[1])}
    assert (counts.gone, counts.changed) == (1, 4)


def test_a_file_that_changes_while_it_is_sent_never_arrives(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(PICTURE)
    sha256 = hashlib.sha256(PICTURE).hexdigest()
    file = Leaving(path, object_name(sha256, ".mp4"), "video/mp4", sha256, len(PICTURE))

    def change(_: int) -> None:
        path.write_bytes(PICTURE[:-1] + bytes([PICTURE[-1] ^ 1]))

    store = OddStore()
    try:
        parcel = parcel_of(file, part_bytes=1 << 20, passing=change)
        with pytest.raises(ChangedError, match="changed while it was read"):
            PutTarget(store.url).store(parcel)
        assert store.objects == {}
        assert sum(size for _, size in store.read) < len(PICTURE)
    finally:
        store.close()


@pytest.mark.parametrize(
    "stated",
    ["/etc/passwd", "evidence/../../etc/passwd", "evidence/one/../x", "evidence/one/two/three", "evidence/x", ""],
)
def test_no_path_leads_out_of_the_evidence(stated: str, tmp_path: Path) -> None:
    with pytest.raises(ChangedError):
        local(tmp_path, stated)


def test_a_store_that_fails_hangs_or_drops_gets_the_file_in_the_end(tmp_path: Path) -> None:
    store = OddStore()
    store.orders = [500, 503, "drop", "hang", 429]
    try:
        with gateway_state(tmp_path) as database:
            evidence = fix_evidence(tmp_path, 1, {"overview-1.jpg": PICTURE})
            put_alert(database, 1, evidence)
            with uploading(database, PutTarget(store.url, timeout_s=0.3), tmp_path) as uploader:
                wait_until_done(uploader)
        assert store.objects == {f"/evidence/{object_of(f)}": (tmp_path / f.path).read_bytes() for f in evidence}
        counts = uploader.state().counts
        assert (counts.failures, counts.files, counts.refused) == (5, 2, 0)
    finally:
        store.close()


def test_one_file_that_the_store_refuses_does_not_hold_up_the_others(tmp_path: Path) -> None:
    store = OddStore()
    store.orders = [413] * 5
    try:
        with gateway_state(tmp_path) as database:
            evidence = fix_evidence(tmp_path, 1, {"clip-1.mp4": b"too large for it", "overview-1.jpg": b"overview"})
            put_alert(database, 1, evidence)
            with uploading(database, PutTarget(store.url), tmp_path) as uploader:
                wait_until_done(uploader)
        assert set(store.objects) == {f"/evidence/{object_of(file)}" for file in evidence[1:]}
        assert (uploader.state().counts.refused, uploader.state().counts.failures) == (1, 4)
    finally:
        store.close()


def test_a_redirection_takes_no_token_elsewhere(tmp_path: Path) -> None:
    store = OddStore()
    store.orders = [307]
    try:
        with gateway_state(tmp_path) as database:
            put_alert(database, 1, fix_evidence(tmp_path, 1, {"overview-1.jpg": b"overview"}))
            with uploading(database, PutTarget(store.url, token="hush"), tmp_path, retry_s=60) as uploader:
                wait_for(lambda: uploader.state().error != "")
        assert "PUT was answered 307" in uploader.state().error
        assert "hush" not in uploader.state().error
    finally:
        store.close()


def test_a_server_whose_certificate_does_not_hold_gets_nothing(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    store = OddStore(certificate=(certificate, key))
    try:
        with gateway_state(tmp_path) as database:
            put_alert(database, 1, fix_evidence(tmp_path, 1, {"overview-1.jpg": b"overview"}))
            with uploading(database, PutTarget(store.url), tmp_path, retry_s=60) as uploader:
                wait_for(lambda: uploader.state().error != "")
            assert "its certificate does not hold" in uploader.state().error
            assert store.asked == []
            with uploading(database, PutTarget(store.url, ca_file=str(certificate)), tmp_path) as uploader:
                wait_until_done(uploader)
            assert len(store.objects) == 2
    finally:
        store.close()


def test_a_full_store_is_told_and_filled_once_there_is_room(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", size="200k") as disk, gateway_state(tmp_path) as database:
        (disk / "other").write_bytes(b"x" * 120_000)
        evidence = fix_evidence(tmp_path, 1, {"overview-1.jpg": PICTURE})
        put_alert(database, 1, evidence)
        with uploading(database, a_folder(disk / "store"), tmp_path) as uploader:
            wait_for(lambda: "No space left" in uploader.state().error)
            assert not (disk / "store" / object_of(evidence[0])).exists()
            (disk / "other").unlink()
            wait_until_done(uploader)
        assert (disk / "store" / object_of(evidence[0])).read_bytes() == PICTURE
        assert [name for name in objects(disk / "store") if "/." in name] == []


def test_a_folder_that_is_not_mounted_is_not_made_in_its_place(tmp_path: Path) -> None:
    with gateway_state(tmp_path) as database:
        put_alert(database, 1, fix_evidence(tmp_path, 1, {"overview-1.jpg": b"overview"}))
        target = FolderTarget(tmp_path / "mnt" / "nas", address="file:///mnt/nas")
        with uploading(database, target, tmp_path, retry_s=60) as uploader:
            wait_for(lambda: uploader.state().error != "")
    assert uploader.state().error == "file:///mnt/nas: is not there: mount it, or make the folder"
    assert not (tmp_path / "mnt").exists()


@pytest.mark.parametrize("rate_kbps", [1600, 4000])
def test_the_pace_is_kept(rate_kbps: int, tmp_path: Path) -> None:
    size = rate_kbps * 1000 // 4  # two seconds' worth
    store = OddStore()
    try:
        with gateway_state(tmp_path) as database:
            put_alert(database, 1, fix_evidence(tmp_path, 1, {"clip-1.mp4": os.urandom(size)}))
            with uploading(database, PutTarget(store.url), tmp_path, rate_kbps=rate_kbps) as uploader:
                wait_until_done(uploader)
        manifest = [moment for method, _, moment in store.asked if method == "HEAD"][1]
        read = [(moment, count) for moment, count in store.read if moment < manifest]
        (begin, first), end = read[0], read[-1][0]
        measured_kbps = (size - first) * 8 / 1000 / (end - begin)
        print(f"{rate_kbps} kbit/s asked, {measured_kbps:.0f} measured, {size} bytes in {len(read)} pieces")
        assert measured_kbps == pytest.approx(rate_kbps, rel=0.15)
    finally:
        store.close()


def test_alerts_go_first_before_a_file_and_in_the_middle_of_one(tmp_path: Path) -> None:
    store, clear = OddStore(), threading.Event()
    try:
        with gateway_state(tmp_path) as database:
            put_alert(database, 1, fix_evidence(tmp_path, 1, {"clip-1.mp4": os.urandom(1_000_000)}))
            uploader = an_uploader(
                database, PutTarget(store.url), tmp_path, way_is_clear=clear.is_set, rate_kbps=16_000
            )
            uploader.start()
            time.sleep(0.2)
            assert store.asked == []  # an alert waits: nothing goes
            clear.set()
            wait_for(lambda: len(store.read) >= 3)
            clear.clear()
            time.sleep(0.1)  # what is under way arrives
            before = sum(count for _, count in store.read)
            time.sleep(0.3)
            assert sum(count for _, count in store.read) == before < 1_000_000
            clear.set()
            wait_until_done(uploader)
            uploader.close(WAIT_S)
        assert uploader.state().counts.failures == 0
        assert [method for method, _, _ in store.asked] == ["HEAD", "PUT", "HEAD", "PUT"]  # the clip was sent once
    finally:
        store.close()


def test_an_alert_that_the_broker_refuses_holds_up_no_evidence_for_ever() -> None:
    clock, waiting, connected = HandClock(), list(range(1, 201)), [True]
    way = AlertsFirst(
        lambda after, limit: [one for one in waiting if one > after][:limit], lambda: connected[0], clock=clock
    )
    assert not way.is_clear()
    del waiting[3:]  # a backlog drains, three are refused
    clock.pass_s(29)
    assert not way.is_clear()
    clock.pass_s(2)
    assert way.is_clear()
    waiting.append(201)  # a new one goes first, whatever became of those
    assert not way.is_clear()
    clock.pass_s(1)
    waiting.remove(201)
    assert way.is_clear()
    waiting[:] = range(1, 151)  # so many refused ones that others may stand behind them
    looks = 0
    while not way.is_clear():
        clock.pass_s(10)
        looks += 1
    print(f"150 refused alerts are passed after {looks * 10} s")
    assert looks * 10 <= 120
    connected[0] = False
    waiting.append(300)
    assert way.is_clear()


def test_no_file_is_asked_for_before_the_broker_has_every_alert_that_waits(tmp_path: Path) -> None:
    store, broker = OddStore(), Mosquitto(tmp_path)
    broker.start()
    confirmed: dict[int, float] = {}
    committed: dict[int, float] = {}
    try:
        with gateway_state(tmp_path) as database:
            delete_sent = database.delete_sent

            def noted(sequences: Iterable[int]) -> None:
                marked = list(sequences)
                confirmed.update(dict.fromkeys(marked, time.monotonic()))
                delete_sent(marked)

            database.delete_sent = noted  # type: ignore[method-assign]
            for number in range(1, 41):
                put_alert(database, number, fix_evidence(tmp_path, number, {"overview-1.jpg": os.urandom(5000)}))
            publisher = MqttPublisher(broker.url, client_id="gw-01")
            with Courier(database, publisher, window=4, poll_s=0.01) as courier:
                wait_for(lambda: courier.connected)
                config = UploadConfig(url=store.url)
                uploader = uploader_for(
                    config, database, root=tmp_path, connected=lambda: courier.connected, poll_s=0.01
                )
                uploader.start()
                for number in range(41, 61):  # in the middle of the uploading
                    evidence = fix_evidence(tmp_path, number, {"overview-1.jpg": os.urandom(5000)})
                    committed[put_alert(database, number, evidence)] = time.monotonic()
                    time.sleep(0.01)
                wait_until_done(uploader)
                uploader.close(WAIT_S)
        asked = [moment for _, _, moment in store.asked]
        waited = sorted(confirmed[number] - committed[number] for number in committed)
        print(
            f"60 alerts, {len(store.objects)} files; alerts that came meanwhile were confirmed after "
            f"{1000 * waited[len(waited) // 2]:.0f} ms (median), {1000 * waited[-1]:.0f} ms (longest)"
        )
        assert len(store.objects) == 120
        assert max(confirmed[number] for number in range(1, 41)) < asked[0]
        begun = 0.02  # a request may have begun in the very moment in which an alert was committed
        for number, since in committed.items():
            between = [moment for moment in asked if since + begun < moment < confirmed[number]]
            assert between == [], f"alert {number} waited while files were asked for"
    finally:
        broker.kill()
        store.close()


def test_the_signature_is_the_one_that_amazon_documents() -> None:
    keys = S3Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
    host = {"Host": "examplebucket.s3.amazonaws.com"}
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    wall_ns = 1_369_353_600_000_000_000  # 2013-05-24T00:00:00Z
    for query, headers, wanted in (
        ({}, {"Range": "bytes=0-9"}, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        ({"lifecycle": ""}, {}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            {"max-keys": "2", "prefix": "J"},
            {},
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ):
        path = "/test.txt" if headers else "/"
        given = signed(keys, "GET", path, query, {**host, **headers}, content_sha256=empty, wall_ns=wall_ns)
        assert given["Authorization"].rpartition("Signature=")[2] == wanted
        assert "wJalr" not in repr(keys)


def test_an_uploader_that_ends_by_a_mistake_says_so_and_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    asked: list[None] = []

    def way_is_clear() -> bool:
        asked.append(None)
        return 1 / (len(asked) - 1) > 0  # the first time is a mistake

    with gateway_state(tmp_path) as database:
        put_alert(database, 1, fix_evidence(tmp_path, 1, {"overview-1.jpg": b"overview"}))
        uploader = an_uploader(database, a_folder(tmp_path / "store"), tmp_path, way_is_clear=way_is_clear)
        uploader.start()
        wait_for(lambda: not uploader.alive)
        assert "ended by a mistake" in uploader.state().error
        wait_for(lambda: uploader.tend() is None and uploader.alive)
        wait_until_done(uploader)
        uploader.close(WAIT_S)
    assert len(objects(tmp_path / "store")) == 2


def test_an_answer_that_is_none_is_a_failure_to_try_again_after(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Answer(200, "OK", {"content-length": "9" * 5000}, b"").length is None
    assert Answer(200, "OK", {"content-length": "12"}, b"").length == 12
    target = S3Target("http://127.0.0.1:9", bucket="evidence", prefix="", keys=S3Keys("a", "b", "us-east-1"))
    for body in (b"<L><Part><PartNumber>x</PartNumber></Part></L>", b"no XML", b"<L><Part/></L>"):
        monkeypatch.setattr(target, "_ask", lambda *_, body=body, **__: Answer(200, "OK", {}, body))
        with pytest.raises(DeliveryError, match="is this an S3 store"):
            target._stored_parts("key", "upload")


def test_a_store_whose_name_is_none_or_whose_authorities_are_gone_is_told_by_the_first_try(tmp_path: Path) -> None:
    for url, ca_file, wanted in (
        ("http://a..b/x", None, "http://a..b/x: "),
        ("https://127.0.0.1:9/x", str(tmp_path / "gone.pem"), "gone.pem: is no file of certificates"),
    ):
        with pytest.raises(DeliveryError, match=wanted):
            HttpClient(url, ca_file=ca_file).ask("HEAD", "/", {})
