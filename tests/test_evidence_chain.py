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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edge.errors import EvidenceError
from edge.evidence.manifest import SharedChain, canonical, chain_head, verify_chain
from edge.evidence.recorder import CaseRecorder
from edge.evidence.store import EvidenceStore
from edge.ports import EvidenceFile
from tests.test_evidence import ORIGIN, a_change, a_frame

FORK = multiprocessing.get_context("fork")  # the children run a few lines of this file and nothing else


def lengthen(root: Path, case_id: str, *, cut_off: bool = False) -> EvidenceFile:
    """The first manifest of a case that has no pictures; `cut_off` before the head is written."""
    chain, store = SharedChain(root), EvidenceStore(root)

    def make(head: str | None) -> bytes:
        alert = {"number": 1, "kind": "opened", "reason": ""}
        return canonical(
            {"version": 1, "case_id": case_id, "alert": alert, "files": [], "previous": head, "previous_in_case": None}
        )

    def save(manifest: bytes) -> EvidenceFile:
        file = store.save(
            case_id=case_id,
            name="manifest-1.json",
            content=manifest,
            role="manifest",
            media_type="application/json",
            taken_wall_ns=0,
        )
        if cut_off:
            raise KeyboardInterrupt
        return file

    return chain.link(f"evidence/{case_id}/manifest-1.json", make, save)


def lengthen_often(root: Path, times: int) -> None:
    for _ in range(times):
        lengthen(root, str(uuid.uuid4()))


def chain_length(root: Path) -> int:
    """Manifests from the head back to the first."""
    links = {}
    for path in root.glob("evidence/*/manifest-*.json"):
        content = path.read_bytes()
        links[hashlib.sha256(content).hexdigest()] = json.loads(content)["previous"]
    head, length = chain_head(root), 0
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
    assert verify_chain(tmp_path) == []
    assert chain_length(tmp_path) == 80


def test_a_writer_killed_after_its_manifest_leaves_no_fork(tmp_path: Path) -> None:
    lengthen(tmp_path, str(uuid.uuid4()))
    with pytest.raises(KeyboardInterrupt):
        lengthen(tmp_path, str(uuid.uuid4()), cut_off=True)
    lengthen(tmp_path, str(uuid.uuid4()))
    assert verify_chain(tmp_path) == []
    assert chain_length(tmp_path) == 3


def test_writers_killed_at_any_moment_leave_one_chain(tmp_path: Path) -> None:
    for turn in range(25):
        writer = FORK.Process(target=lengthen_often, args=(tmp_path, 1000))
        writer.start()
        time.sleep(0.005 + 0.003 * turn)
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join(10)
    lengthen(tmp_path, str(uuid.uuid4()))
    stored = len(list(tmp_path.glob("evidence/*/manifest-*.json")))
    print(f"25 writers killed, {stored} manifests in one chain")
    assert [line for line in verify_chain(tmp_path) if "unfinished" not in line] == []
    assert chain_length(tmp_path) == stored > 25


@pytest.mark.parametrize("failing", [1, 2])
def test_a_note_that_cannot_be_written_leaves_no_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """The first note fails before the manifest, which is then not written; the second after it, and it stands."""
    first = recorded(tmp_path, 1)
    assert first
    write, turns = SharedChain._write, iter(range(1, 9))

    def fails(chain: SharedChain, note: Mapping[str, object]) -> None:
        if next(turns) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(chain, note)

    monkeypatch.setattr(SharedChain, "_write", fails)
    second = recorded(tmp_path, 2)
    monkeypatch.undo()
    assert bool(second) == (failing == 2)
    assert recorded(tmp_path, 3)
    assert verify_chain(tmp_path) == []
    assert chain_length(tmp_path) == (3 if second else 2)


def test_a_manifest_that_is_not_surely_saved_is_taken_back_before_another_follows_it(tmp_path: Path) -> None:
    """Its bytes are under its name when the disk fails; another camera writes as soon as it may."""
    assert recorded(tmp_path, 1)
    failing = CaseRecorder(UnsureStore(tmp_path), origin=ORIGIN, chain=InterruptedChain(tmp_path))
    with pytest.raises(EvidenceError, match="the disk failed"):
        failing.record(a_change("opened", 60, alerts=1, number=2), a_frame(60))
    assert verify_chain(tmp_path) == []
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


def test_a_chain_without_a_note_goes_on_from_its_end(tmp_path: Path) -> None:
    first = lengthen(tmp_path, str(uuid.uuid4()))
    (tmp_path / "chain.json").unlink()
    lengthen(tmp_path, str(uuid.uuid4()))
    assert verify_chain(tmp_path) == []
    assert chain_head(tmp_path) != first.sha256


def test_a_damaged_note_is_told(tmp_path: Path) -> None:
    (tmp_path / "chain.json").write_text("[]")
    with pytest.raises(EvidenceError, match=r"chain\.json: is damaged"):
        lengthen(tmp_path, str(uuid.uuid4()))
