"""One chain of manifests over all processes of a gateway, whatever moment they are killed at."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import signal
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edge.errors import EvidenceError
from edge.evidence.chain import ChainNote, SharedChain, chain_end
from edge.evidence.keys import SigningKey
from edge.evidence.recorder import CaseRecorder
from edge.evidence.store import EvidenceStore, canonical
from edge.evidence.verify import verify
from edge.ports import EvidenceFile
from tests.test_evidence import ORIGIN, a_change, a_frame

FORK = multiprocessing.get_context("fork")  # the children run a few lines of this file and nothing else


def lengthen(root: Path, case_id: str, *, cut_off: bool = False) -> EvidenceFile:
    """The first manifest of a case that has no pictures; `cut_off` before the head is written."""
    chain, store = SharedChain(root), EvidenceStore(root)

    alert = {"number": 1, "kind": "opened", "reason": ""}
    document = {"case_id": case_id, "alert": alert, "files": [], "previous_in_case": None}

    def stored(name: str, content: bytes) -> EvidenceFile:
        return store.save(
            case_id=case_id, name=name, content=content, role="manifest", media_type="x/x", taken_wall_ns=0
        )

    def save(manifest: bytes, signature: bytes) -> list[EvidenceFile]:
        files = [stored("manifest-1.sig", signature), stored("manifest-1.json", manifest)]
        if cut_off:
            raise KeyboardInterrupt
        return files

    return chain.link(f"evidence/{case_id}/manifest-1.json", document, save)[-1]


def lengthen_often(root: Path, times: int) -> None:
    for _ in range(times):
        lengthen(root, str(uuid.uuid4()))


def chain_length(root: Path) -> int:
    """Manifests from the head back to the first."""
    links = {}
    for path in root.glob("evidence/*/manifest-*.json"):
        content = path.read_bytes()
        links[hashlib.sha256(content).hexdigest()] = json.loads(content)["previous"]
    head, length = chain_end(root).sha256, 0
    while head is not None:
        head, length = links[head], length + 1
    return length


def test_processes_that_write_at_once_make_one_chain(tmp_path: Path) -> None:
    writers = [FORK.Process(target=lengthen_often, args=(tmp_path, 20)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert verify(tmp_path).problems == []
    assert chain_length(tmp_path) == 80


def test_a_writer_killed_after_its_manifest_leaves_no_fork(tmp_path: Path) -> None:
    lengthen(tmp_path, str(uuid.uuid4()))
    with pytest.raises(KeyboardInterrupt):
        lengthen(tmp_path, str(uuid.uuid4()), cut_off=True)
    lengthen(tmp_path, str(uuid.uuid4()))
    assert verify(tmp_path).problems == []
    assert chain_length(tmp_path) == 3


def test_writers_killed_at_any_moment_leave_one_chain(tmp_path: Path) -> None:
    for turn in range(25):
        writer = FORK.Process(target=lengthen_often, args=(tmp_path, 1000))
        writer.start()
        time.sleep(0.005 + 0.005 * turn)
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join(10)
    lengthen(tmp_path, str(uuid.uuid4()))
    stored = len(list(tmp_path.glob("evidence/*/manifest-*.json")))
    print(f"25 writers killed, {stored} manifests in one chain")
    assert verify(tmp_path).problems == []
    assert chain_length(tmp_path) == stored > 5  # how many depends on the disk


@pytest.mark.parametrize("failing", [1, 2])
def test_a_note_that_cannot_be_written_leaves_no_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """The first note fails before the manifest, which is then not written; the second after it, and it stands."""
    first = recorded(tmp_path, 1)
    assert first
    write, turns = SharedChain._write, iter(range(1, 9))

    def fails(chain: SharedChain, note: ChainNote, key: SigningKey) -> None:
        if next(turns) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(chain, note, key)

    monkeypatch.setattr(SharedChain, "_write", fails)
    second = recorded(tmp_path, 2)
    monkeypatch.undo()
    assert bool(second) == (failing == 2)
    assert recorded(tmp_path, 3)
    assert verify(tmp_path).problems == []
    assert chain_length(tmp_path) == (3 if second else 2)


def test_a_manifest_that_is_not_surely_saved_is_taken_back_before_another_follows_it(tmp_path: Path) -> None:
    """Its bytes are under its name when the disk fails; another camera writes as soon as it may."""
    assert recorded(tmp_path, 1)
    failing = CaseRecorder(UnsureStore(tmp_path), origin=ORIGIN, chain=InterruptedChain(tmp_path))
    with pytest.raises(EvidenceError, match="the disk failed"):
        failing.record(a_change("opened", 60, alerts=1, number=2), a_frame(60))
    assert verify(tmp_path).problems == []
    assert chain_length(tmp_path) == 2


def recorded(root: Path, number: int) -> Sequence[EvidenceFile]:
    """A whole case's first alert; none where it could not be stored."""
    recorder = CaseRecorder(EvidenceStore(root), origin=ORIGIN, chain=SharedChain(root))
    with suppress(EvidenceError):
        return recorder.record(a_change("opened", 60, alerts=1, number=number), a_frame(60))
    return ()


class UnsureStore(EvidenceStore):
    """Writes a manifest and then fails, as a disk that cannot be synced."""

    def save(self, **file: Any) -> EvidenceFile:
        saved = super().save(**file)
        if saved.role == "manifest":
            raise EvidenceError("the disk failed")
        return saved


class InterruptedChain(SharedChain):
    """Another camera's turn comes at once when the lock is given back, before anything else happens here."""

    def link(self, *link: Any) -> EvidenceFile:
        try:
            return super().link(*link)
        finally:
            lengthen(self._root, str(uuid.uuid4()))


def test_a_note_that_is_lost_is_made_anew_and_that_is_told_for_ever(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = lengthen(tmp_path, str(uuid.uuid4()))
    (tmp_path / "chain.json").unlink()
    second = lengthen(tmp_path, str(uuid.uuid4()))
    assert "is gone: the chain goes on after manifest 1" in caplog.text
    assert chain_end(tmp_path).sha256 == second.sha256 != first.sha256
    assert chain_length(tmp_path) == 2
    [problem] = verify(tmp_path).problems
    assert "was lost and made anew after manifest 1" in problem


@pytest.mark.parametrize("content", ["[]", "", '{"count":1,"head":null}\n'])
def test_a_note_that_is_damaged_or_forged_is_set_aside(tmp_path: Path, content: str) -> None:
    lengthen(tmp_path, str(uuid.uuid4()))
    (tmp_path / "chain.json").write_text(content)
    lengthen(tmp_path, str(uuid.uuid4()))
    assert (tmp_path / "chain.json.damaged").read_text() == content
    assert chain_length(tmp_path) == 2
    assert verify(tmp_path).problem_count == 1


def as_before_signatures(root: Path, *, killed: bool) -> None:
    """A state folder of version 0.1: three manifests without signatures, and a note without one."""
    head, heads = None, []
    for _ in range(3):
        case_id = str(uuid.uuid4())
        folder = root / "evidence" / case_id
        folder.mkdir(parents=True)
        alert = {"number": 1, "kind": "opened", "reason": ""}
        document = {"version": 1, "case_id": case_id, "alert": alert, "files": [], "previous": head}
        content = canonical({**document, "previous_in_case": None})
        (folder / "manifest-1.json").write_bytes(content)
        head = hashlib.sha256(content).hexdigest()
        heads.append((f"evidence/{case_id}/manifest-1.json", head))
    following = {"next": {"path": heads[-1][0], "sha256": heads[-1][1]}} if killed else {}
    (root / "chain.json").write_bytes(canonical({"head": heads[-2 if killed else -1][1], **following}))


@pytest.mark.parametrize("killed", [False, True])
def test_a_state_folder_of_before_signatures_goes_on_and_is_sealed(tmp_path: Path, killed: bool) -> None:
    as_before_signatures(tmp_path, killed=killed)
    before = verify(tmp_path)
    assert before.sound
    assert before.notes == [
        "nothing here is signed: this proves that the files are complete and fit, not whose they are"
    ]
    SharedChain(tmp_path).begin()
    assert verify(tmp_path).sound
    lengthen(tmp_path, str(uuid.uuid4()))
    after = verify(tmp_path)
    assert after.problems == []
    assert (after.count, after.signatures) == (4, 1)
    assert after.notes == ["3 manifests of before there were signatures: held by the chain alone"]
    oldest = next(
        path for path in tmp_path.glob("evidence/*/manifest-1.json") if b'"previous":null' in path.read_bytes()
    )
    oldest.unlink()
    assert not verify(tmp_path).sound
