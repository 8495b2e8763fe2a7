"""One chain of manifests over all processes of a gateway, whatever moment they are killed at."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import time
import uuid
from pathlib import Path

import pytest

from edge.errors import EvidenceError
from edge.evidence.manifest import SharedChain, canonical, chain_head, verify_chain
from edge.evidence.store import EvidenceStore
from edge.ports import EvidenceFile

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
