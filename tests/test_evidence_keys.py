"""The gateway's key: made once, the same for everybody, refused when it proves nothing any more."""

from __future__ import annotations

import multiprocessing
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from edge.errors import EvidenceError, UsageError
from edge.evidence.chain import SharedChain
from edge.evidence.keys import (
    SigningKey,
    gateway_key,
    parse_public_key,
    publish_key,
    read_public_key,
    sealed,
    sealed_by,
    unsealed,
)
from edge.evidence.recorder import CaseRecorder
from edge.evidence.store import EvidenceStore
from tests.conftest import need_program
from tests.test_evidence import ORIGIN, a_change, a_frame, roles

pytestmark = pytest.mark.delivery
FORK = multiprocessing.get_context("fork")  # the children run a few lines of this file and nothing else


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_key_is_made_once_for_its_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        first = gateway_key(tmp_path / "state")
    finally:
        os.umask(before)
    folder = tmp_path / "state" / "keys"
    assert (mode(folder), mode(folder / "gateway.key")) == (0o700, 0o600)
    assert gateway_key(tmp_path / "state").key_id == first.key_id
    assert [path.name for path in folder.iterdir()] == ["gateway.key"]


def test_processes_that_ask_at_once_get_the_same_key(tmp_path: Path) -> None:
    pipes = [FORK.Pipe(duplex=False) for _ in range(8)]
    askers = [FORK.Process(target=lambda end: end.send(gateway_key(tmp_path).key_id), args=(end,)) for _, end in pipes]
    for asker in askers:
        asker.start()
    told = {receiver.recv() for receiver, _ in pipes}
    for asker in askers:
        asker.join(10)
    assert told == {gateway_key(tmp_path).key_id}


def test_what_a_killed_maker_left_is_not_taken_for_a_key(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "keys" / ".gateway.key.part").write_bytes(b"-----BEGIN")
    assert len(gateway_key(tmp_path).key_id) == 64


@pytest.mark.parametrize("readable", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, readable: int) -> None:
    gateway_key(tmp_path)
    (tmp_path / "keys" / "gateway.key").chmod(readable)
    with pytest.raises(EvidenceError, match=rf"gateway\.key: others may read it \(mode {readable:o}\).*chmod 600"):
        gateway_key(tmp_path)


def test_a_folder_that_others_may_write_is_refused(tmp_path: Path) -> None:
    gateway_key(tmp_path)
    (tmp_path / "keys").chmod(0o770)
    with pytest.raises(EvidenceError, match=r"keys: others may write it"):
        gateway_key(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_key_is_told_and_not_replaced(tmp_path: Path, content: bytes) -> None:
    gateway_key(tmp_path)
    (tmp_path / "keys" / "gateway.key").write_bytes(content)
    with pytest.raises(EvidenceError, match=r"gateway\.key: is damaged.*put it back from a backup"):
        gateway_key(tmp_path)
    assert (tmp_path / "keys" / "gateway.key").read_bytes() == content


def test_a_key_that_is_a_link_is_refused(tmp_path: Path) -> None:
    gateway_key(tmp_path / "a")
    (tmp_path / "b" / "keys").mkdir(parents=True, mode=0o700)
    (tmp_path / "b" / "keys" / "gateway.key").symlink_to(tmp_path / "a" / "keys" / "gateway.key")
    with pytest.raises(EvidenceError, match="cannot be used"):
        gateway_key(tmp_path / "b")


def test_a_key_that_is_gone_is_told_and_a_renamed_public_half_makes_room_for_a_new_one(tmp_path: Path) -> None:
    SharedChain(tmp_path).begin()
    keys = tmp_path / "keys"
    (keys / "gateway.key").unlink()
    with pytest.raises(EvidenceError, match=r"gateway\.key: is gone, but gateway\.pub is there"):
        gateway_key(tmp_path)
    (keys / "gateway.pub").rename(keys / "2026.pub")
    SharedChain(tmp_path).begin()
    assert sorted(path.name for path in keys.iterdir()) == ["2026.pub", "gateway.key", "gateway.pub"]


def test_no_words_of_ours_hold_the_secret() -> None:
    key = SigningKey.new()
    assert repr(key) == f"SigningKey({key.key_id})"


def test_openssl_agrees_with_a_signature(tmp_path: Path) -> None:
    """Who verifies needs no program of ours."""
    openssl = need_program("openssl")
    recorder = CaseRecorder(EvidenceStore(tmp_path), origin=ORIGIN, chain=SharedChain(tmp_path))
    files = recorder.record(a_change("opened", 60, alerts=1), a_frame(60))
    assert roles(files)[-2:] == ["signature", "manifest"]
    signature, manifest = (tmp_path / file.path for file in files[-2:])
    assert signature.stat().st_size == 64
    command = [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", tmp_path / "keys" / "gateway.pub"]
    asked = [*command, "-rawin", "-in", manifest, "-sigfile", signature]
    assert subprocess.run(asked, capture_output=True, check=False).returncode == 0
    manifest.write_bytes(manifest.read_bytes().replace(b"kerb", b"curb"))
    assert subprocess.run(asked, capture_output=True, check=False).returncode != 0


def test_a_public_key_is_read_as_pem_or_raw_and_nothing_else(tmp_path: Path) -> None:
    key = SigningKey.new().public
    (tmp_path / "a.pub").write_bytes(key.pem)
    (tmp_path / "b.pub").write_bytes(key.raw)
    assert read_public_key(tmp_path / "a.pub") == read_public_key(tmp_path / "b.pub") == key
    for content in (b"", b"x" * 5000, SigningKey.new().pem):
        (tmp_path / "c.pub").write_bytes(content)
        with pytest.raises(UsageError, match=r"c\.pub: is no Ed25519 public key"):
            read_public_key(tmp_path / "c.pub")
    with pytest.raises(UsageError, match=re.escape("nowhere.pub: cannot be read: No such file")):
        read_public_key(tmp_path / "nowhere.pub")


def test_a_published_key_is_mended_from_the_secret_one(tmp_path: Path) -> None:
    SharedChain(tmp_path).begin()
    path = tmp_path / "keys" / "gateway.pub"
    good = path.read_bytes()
    path.write_bytes(b"damaged")
    publish_key(tmp_path, gateway_key(tmp_path).public)
    assert path.read_bytes() == good
    assert parse_public_key(good) is not None


def test_a_note_is_of_the_key_that_sealed_it_and_no_other() -> None:
    key, other = SigningKey.new(), SigningKey.new()
    document = unsealed(sealed({"a": 1}, key))
    assert document is not None
    assert sealed_by(document, [other.public, key.public]) == key.public
    assert sealed_by(document, [other.public]) is None
    assert sealed_by({**document, "a": 2}, [key.public]) is None
    assert sealed_by({**document, "key_id": other.key_id}, [key.public, other.public]) is None
    for signature in ("zz", document["signature"].upper(), document["signature"] + " ", None, 7):
        assert sealed_by({**document, "signature": signature}, [key.public]) is None
