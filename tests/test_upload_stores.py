"""Real stores: nginx and Apache by HTTP PUT, SeaweedFS by S3, and a folder; a killed upload goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from edge.config.delivery import UploadConfig
from edge.delivery.upload_s3 import S3Target
from edge.state.retrievals import Retrievals
from edge.wiring.uploading import target_of
from tests.alerts import a_change
from tests.brokers import WAIT_S
from tests.stores import Apache, Nginx, SeaweedFs
from tests.test_evidence_store import tmpfs
from tests.uploads import fix_evidence, gateway_state, object_of, put_alert, uploading, wait_until_done

pytestmark = pytest.mark.delivery


@dataclass(frozen=True)
class Store:
    """One kind of store, as a test sees it."""

    config: dict[str, Any]
    holds: Callable[[str], bytes | None]
    arrived_bytes: Callable[[str], int]  # of an object that may still be half there
    part_bytes: int  # in these tests
    resumes: bool = True


@pytest.fixture(scope="module", params=["folder", "nginx", "apache", "s3"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    if request.param == "folder":
        yield _folder(tmp_path_factory.mktemp("store"))
        return
    server = {"nginx": Nginx, "apache": Apache, "s3": SeaweedFs}[request.param]()
    yield _s3(server) if isinstance(server, SeaweedFs) else _web(server)
    server.close()


def _folder(folder: Path) -> Store:
    def arrived_bytes(name: str) -> int:
        partial = (folder / name).with_name(f".{Path(name).name}.part")
        return partial.stat().st_size if partial.exists() else 0

    def holds(name: str) -> bytes | None:
        return (folder / name).read_bytes() if (folder / name).exists() else None

    return Store({"url": f"file://{folder}"}, holds, arrived_bytes, part_bytes=1 << 20)


def _web(server: Nginx | Apache) -> Store:
    return Store(server.config(), server.holds, server.partial_bytes, 1 << 20, resumes=server.takes_parts)


def _s3(server: SeaweedFs) -> Store:
    target = target_of(UploadConfig(**server.config()))
    assert isinstance(target, S3Target)
    made = target._ask("PUT", "")
    assert made.good, made

    def holds(name: str) -> bytes | None:
        path = target._path(f"xiaohe/gw-01/{name}")
        headers = target._signed("GET", path, {}, {}, hashlib.sha256(b"").hexdigest())
        try:
            with urlopen(Request(f"{server.endpoint}{path}", headers=headers)) as answer:
                return bytes(answer.read())
        except HTTPError:
            return None

    def arrived_bytes(name: str) -> int:
        key = f"xiaohe/gw-01/{name}"
        upload = target._begun(key)
        return sum(size for size, _ in target._stored_parts(key, upload).values()) if upload else 0

    return Store(server.config(), holds, arrived_bytes, part_bytes=5 << 20)


def test_evidence_arrives_byte_for_byte_and_is_not_sent_twice(store: Store, tmp_path: Path) -> None:
    files = {"overview-1.jpg": os.urandom(200_000), "crop-1.jpg": b"crop", "still-1-1.jpg": os.urandom(70_000)}
    with gateway_state(tmp_path) as database:
        evidence = fix_evidence(tmp_path, 1, files)
        put_alert(database, 1, evidence)
        with uploading(database, target_of(UploadConfig(**store.config)), tmp_path) as uploader:
            wait_until_done(uploader)
        first = uploader.state().counts
        Retrievals(database).ask(a_change(1).case.case_id, wall_ns=1)
        with uploading(database, target_of(UploadConfig(**store.config)), tmp_path) as uploader:
            wait_until_done(uploader)
        again = uploader.state().counts
    for file in evidence:
        assert store.holds(object_of(file)) == (tmp_path / file.path).read_bytes()
    sent = sum(file.bytes for file in evidence)
    assert (first.files, first.there) == (4, 0)
    assert sent <= first.bytes <= sent + evidence[0].bytes  # Apache wants its folder first, and takes the second try
    assert (again.files, again.there, again.bytes) == (0, 4, 0)


def test_a_killed_upload_goes_on_where_it_was(store: Store, tmp_path: Path) -> None:
    size = 2 * store.part_bytes + 300_000
    with gateway_state(tmp_path) as database:
        evidence = fix_evidence(tmp_path, 1, {"clip-1.mp4": os.urandom(size)})
        put_alert(database, 1, evidence)
    name = object_of(evidence[0])
    order = {"root": str(tmp_path), "config": store.config, "part_bytes": store.part_bytes}
    slow = {**order, "config": {**store.config, "rate_kbps": store.part_bytes * 16 / 1000}}  # two parts a second
    process = subprocess.Popen([sys.executable, "-m", "tests.uploads", json.dumps(slow)])
    deadline = time.monotonic() + WAIT_S
    while store.resumes and store.arrived_bytes(name) < store.part_bytes:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    if not store.resumes:
        time.sleep(0.8)
        assert process.poll() is None
    process.kill()
    process.wait(WAIT_S)
    there = store.arrived_bytes(name)
    assert store.holds(name) is None or there < size
    done = subprocess.run(
        [sys.executable, "-m", "tests.uploads", json.dumps(order)], check=True, capture_output=True, text=True
    )
    said = json.loads(done.stdout)
    rest = said["bytes"] - 2 * evidence[1].bytes  # Apache wants a folder for the manifest first, and takes it then
    print(f"{size} bytes, {there} were there after the kill, {rest} were sent then")
    assert store.holds(name) == (tmp_path / evidence[0].path).read_bytes()
    whole_parts = there // store.part_bytes * store.part_bytes
    # nginx takes no parts of files, but says so only once it has been sent one.
    assert rest <= (size - whole_parts if store.resumes else size + store.part_bytes)
    assert whole_parts >= store.part_bytes or not store.resumes


@pytest.mark.parametrize("secret", ["token", "secret_key"])
def test_who_has_not_the_right_keys_stores_nothing_and_says_why(secret: str, store: Store, tmp_path: Path) -> None:
    if secret not in store.config:
        return  # this store has no such secret
    config = UploadConfig(**{**store.config, secret: "quite-wrong"})
    with gateway_state(tmp_path) as database:
        evidence = fix_evidence(tmp_path, 1, {"overview-1.jpg": os.urandom(1000)})
        put_alert(database, 1, evidence)
        with uploading(database, target_of(config), tmp_path, retry_s=60) as uploader:
            deadline = time.monotonic() + WAIT_S
            while not uploader.state().error:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        state = uploader.state()
        assert "check the token or the keys" in state.error
        assert "quite-wrong" not in state.error
        assert store.holds(object_of(evidence[0])) is None
        assert state.waiting == 1
        with uploading(database, target_of(UploadConfig(**store.config)), tmp_path) as uploader:
            wait_until_done(uploader)
        assert store.holds(object_of(evidence[0])) is not None


@pytest.mark.parametrize("kind", [Nginx, Apache])
def test_a_server_whose_disk_is_full_is_told_and_served_once_there_is_room(
    kind: type[Nginx | Apache], tmp_path: Path
) -> None:
    server = kind()
    try:
        with tmpfs(server.root / "sha256", size="300k") as disk, gateway_state(tmp_path) as database:
            server.own()
            (disk / "other").write_bytes(b"x" * 200_000)
            evidence = fix_evidence(tmp_path, 1, {"overview-1.jpg": os.urandom(200_000)})
            put_alert(database, 1, evidence)
            target = target_of(UploadConfig(**server.config()))
            with uploading(database, target, tmp_path, retry_s=0.2, retry_max_s=0.2) as uploader:
                deadline = time.monotonic() + WAIT_S
                while not uploader.state().error:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                print(uploader.state().error)
                assert server.holds(object_of(evidence[0])) is None
                (disk / "other").unlink()
                for rest in disk.rglob("*.0*"):  # nginx leaves what it could not store whole, as docs/upload.md says
                    rest.unlink()
                wait_until_done(uploader)
            assert server.holds(object_of(evidence[0])) == (tmp_path / evidence[0].path).read_bytes()
    finally:
        server.close()
