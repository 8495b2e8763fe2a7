"""Evidence files are written once and whole, or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import EvidenceError
from edge.evidence.store import EvidenceStore, write_atomically
from edge.ports import EvidenceFile
from tests.conftest import missing

CASE = "0b8f3c1e-6f1d-5a53-9c55-1f6f5b1f2a77"


def save(store: EvidenceStore, content: bytes, *, name: str = "overview-1.jpg", case_id: str = CASE) -> EvidenceFile:
    return store.save(
        case_id=case_id, name=name, content=content, role="overview", media_type="image/jpeg", taken_wall_ns=7
    )


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@contextmanager
def tmpfs(folder: Path, *, size: str) -> Iterator[Path]:
    """A small file system of its own, which is soon full."""
    folder.mkdir()
    if os.geteuid() != 0:
        missing("a small tmpfs needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        missing(f"a small tmpfs cannot be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with tmpfs(tmp_path / "disk", size="64k") as folder:
        yield folder


def test_a_stored_file_is_described_by_its_own_bytes(tmp_path: Path) -> None:
    file = save(EvidenceStore(tmp_path), b"picture")
    assert file.path == f"evidence/{CASE}/overview-1.jpg"
    assert (tmp_path / file.path).read_bytes() == b"picture"
    assert (file.sha256, file.bytes, file.taken_wall_ns) == (hashlib.sha256(b"picture").hexdigest(), 7, 7)
    assert files_below(tmp_path) == [file.path]


def test_the_same_bytes_are_stored_already_and_other_bytes_are_refused(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    first = save(store, b"picture")
    assert save(store, b"picture") == first
    with pytest.raises(EvidenceError, match=r"overview-1\.jpg: exists with other content and is never overwritten"):
        save(store, b"another")
    assert (tmp_path / first.path).read_bytes() == b"picture"


@pytest.mark.parametrize(
    "case_id", ["", "..", "../../etc", "a/b", CASE.upper(), "{" + CASE + "}", CASE.replace("-", "")]
)
def test_only_a_plain_uuid_names_a_case_folder(tmp_path: Path, case_id: str) -> None:
    with pytest.raises(EvidenceError, match="expected a UUID"):
        save(EvidenceStore(tmp_path), b"picture", case_id=case_id)
    assert list(tmp_path.iterdir()) == []


@given(name=st.text(max_size=20).filter(lambda name: not re.fullmatch("[a-z0-9]+([.-][a-z0-9]+)*", name)))
def test_no_file_name_leads_out_of_its_case(name: str) -> None:
    with pytest.raises(EvidenceError, match="evidence file name") as raised:
        EvidenceStore(Path("/nowhere")).read(CASE, name)
    assert "\n" not in str(raised.value)


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(small_disk: Path) -> None:
    store = EvidenceStore(small_disk)
    kept = save(store, b"k" * 1000)
    with pytest.raises(EvidenceError) as raised:
        save(store, b"x" * 200_000, name="original-1.jpg")
    assert str(raised.value) == (
        f"evidence/{CASE}/original-1.jpg: not stored: No space left on device: free some space or prune evidence"
    )
    assert files_below(small_disk) == [kept.path]
    assert save(store, b"s" * 1000, name="original-1.jpg").bytes == 1000  # the space came back


def test_a_full_disk_leaves_no_folder_for_a_case_without_files(small_disk: Path) -> None:
    with pytest.raises(EvidenceError):
        save(EvidenceStore(small_disk), b"x" * 200_000)
    assert list((small_disk / "evidence").iterdir()) == []


def test_a_place_that_is_no_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "evidence").write_text("in the way")
    with pytest.raises(EvidenceError, match=r"^evidence/.*: not stored: \w.*$"):
        save(EvidenceStore(tmp_path), b"picture")


def test_an_interrupted_write_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x.jpg", b"picture")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_program_left_is_not_taken_for_evidence(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    folder = store.case_folder(CASE)
    folder.mkdir(parents=True)
    (folder / ".overview-1.jpg.part").write_bytes(b"pict")
    assert store.names(CASE) == []
    save(store, b"picture")
    assert store.names(CASE) == ["overview-1.jpg"]
    assert files_below(folder) == ["overview-1.jpg"]
