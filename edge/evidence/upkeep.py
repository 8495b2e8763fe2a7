"""What lies in the evidence folder, kept in order: what a kill left half-done goes, and what the bounds give up.

    tidy:  after a start, only cases that changed since the last one; never a file that a manifest names
    prune: policy (retention.py) -> what goes is recorded and signed first (pruning.py) -> then the files go

Manifests and signatures stay for ever. A case whose manifest cannot be read keeps all of its files.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from edge.clock import iso
from edge.core.types import NS_PER_S
from edge.errors import EvidenceError
from edge.evidence.keys import SigningKey
from edge.evidence.manifest import alert_of, manifest_name, manifest_number, signature_name
from edge.evidence.pruning import PRUNED, Removal, record_removals, recorded_removals
from edge.evidence.retention import OPEN, OVER, Bounds, StoredCase, choose
from edge.evidence.store import EVIDENCE, write_atomically

log = logging.getLogger(__name__)

TIDIED = "tidied"  # when the gateway last began to look for what a kill had left, in `run/`
# Between a case's pictures and its row in the database there is a moment; a case that is in no table and as young as
# that may be in it.
YOUNG_NS = 3600 * NS_PER_S
_CLOCK_STEP_NS = 2 * NS_PER_S  # some file systems count a folder's time in whole seconds


@dataclass(slots=True)
class Tidied:
    """What was put right after a kill."""

    cases: int = 0  # looked at
    files: int = 0  # removed: unfinished, or named by no manifest
    unproved: int = 0  # left alone: their manifest is gone, and later ones of the case are there
    finished: int = 0  # removed, because an earlier removal had been recorded and cut short


@dataclass(slots=True)
class Pruned:
    """What is there, and what was given up in one go."""

    cases: int = 0  # that have pictures
    bytes: int = 0  # of pictures and clips that stay
    removed_cases: int = 0
    removed_files: int = 0
    removed_bytes: int = 0
    failures: int = 0  # cases whose files could not be given up


@dataclass(frozen=True, slots=True)
class _Folder:
    """One case's folder by its names and times alone. A hundred thousand are held at once."""

    name: str
    bytes: int  # of pictures and clips
    newest_wall_ns: int  # when the newest of them was written, 0 where there is none
    has_leftovers: bool  # that no manifest names
    is_pruned: bool


def tidy(root: Path, key: SigningKey, *, now_wall_ns: int) -> Tidied:
    """Put right what a killed gateway left, before its cameras start again.

    Only cases are looked at that changed since the last call: a stat each, so that a hundred thousand take a second.
    """
    done, marker = Tidied(), root / "run" / TIDIED
    for part in root.glob(".*.part"):
        _unlink(part)
    since_ns = _since(marker, now_wall_ns)
    for entry in _case_entries(root):
        if entry.stat(follow_symlinks=False).st_mtime_ns >= since_ns:
            done.cases += 1
            _tidy_case(root, Path(entry.path), key, done)
    with suppress(OSError):  # then the next start looks at more than it must
        marker.parent.mkdir(exist_ok=True)
        write_atomically(marker, f"{now_wall_ns}\n".encode())
    return done


def prune(
    root: Path,
    key: SigningKey,
    bounds: Bounds,
    *,
    states: Callable[[], Mapping[str, str]],
    now_wall_ns: int,
    free_bytes: Callable[[], int],
    dry_run: bool = False,
    still_wanted: Callable[[], bool] = lambda: True,
) -> Pruned:
    """Give up what the bounds say. `states`: of the cases that the gateway knows; others are over.

    `still_wanted` is asked between two cases. Raises nothing for one case that cannot be given up: it is counted.
    """
    folders = [folder for folder in _folders(root) if folder.newest_wall_ns]
    known = states()  # asked after the look: no case that opened meanwhile is taken for one that is over
    for folder in folders:
        if still_wanted() and not dry_run and known.get(folder.name) != OPEN:
            _finish_and_clean(root, folder, key, now_wall_ns)
    stored = [
        StoredCase(folder.name, _state_of(folder, known, now_wall_ns), folder.bytes, folder.newest_wall_ns)
        for folder in folders
    ]
    done = Pruned(cases=len(stored), bytes=sum(case.bytes for case in stored))
    for choice in choose(stored, bounds, now_wall_ns=now_wall_ns, free_bytes=free_bytes()):
        if not still_wanted():
            break
        try:
            removed = _give_up(root, choice.case.case_id, choice.reason, key, now_wall_ns, dry_run=dry_run)
        except (EvidenceError, OSError) as error:
            done.failures += 1
            log.warning("evidence of case %s is not given up: %s", choice.case.case_id, error)
            continue
        done.removed_cases += bool(removed)
        done.removed_files += len(removed)
        done.removed_bytes += sum(removal.bytes for removal in removed)
    done.bytes -= done.removed_bytes
    return done


def _state_of(folder: _Folder, known: Mapping[str, str], now_wall_ns: int) -> str:
    if folder.name in known:
        return known[folder.name]
    return OPEN if now_wall_ns - folder.newest_wall_ns < YOUNG_NS else OVER


def _give_up(
    root: Path, case_id: str, reason: str, key: SigningKey, now_wall_ns: int, *, dry_run: bool
) -> Sequence[Removal]:
    """Recorded first, then deleted. What no manifest names is no evidence and stays for `tidy`."""
    folder = root / EVIDENCE / case_id
    removed_at = iso(now_wall_ns, UTC)
    removals = [
        Removal(name, sha256, size, removed_at, reason)
        for name, sha256, size in _named_files(folder)
        if (folder / name).is_file()
    ]
    if removals and not dry_run:
        record_removals(root, case_id, removals, key)
        for removal in removals:
            (folder / removal.name).unlink(missing_ok=True)
    return removals


def _named_files(folder: Path) -> Iterator[tuple[str, str, int]]:
    """Name, sha256 and bytes of each file that a manifest names, once. Raises EvidenceError for a damaged manifest."""
    told: set[str] = set()
    for path in sorted(folder.iterdir()):
        if manifest_number(path.name) == 0:
            continue
        try:
            entries = json.loads(path.read_bytes())["files"]
            rows = [(_name_in(entry["path"]), str(entry["sha256"]), int(entry["bytes"])) for entry in entries]
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
            raise EvidenceError(f"{path.name} is damaged: {error}") from error
        for row in rows:
            if row[0] not in told and alert_of(row[0]):
                told.add(row[0])
                yield row


def _name_in(path: str) -> str:
    return path.rpartition("/")[2]


def _finish_and_clean(root: Path, folder: _Folder, key: SigningKey, now_wall_ns: int) -> None:
    """What a start could not see to: a clock that was put back hides a change from `tidy`."""
    still = now_wall_ns - folder.newest_wall_ns >= YOUNG_NS
    if folder.is_pruned or (folder.has_leftovers and still):
        _tidy_case(root, root / EVIDENCE / folder.name, key, Tidied())


def _tidy_case(root: Path, folder: Path, key: SigningKey, done: Tidied) -> None:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        log.warning("%s: cannot be looked at: %s", folder, error.strerror or error)
        return
    done.unproved += len(_unproved(names))
    for name in _leftovers(names):
        done.files += _unlink(folder / name)
    if PRUNED in names:
        try:
            removed = recorded_removals(root, folder.name, key)
        except EvidenceError as error:
            log.error("%s", error)
            removed = {}
        for name in set(removed).intersection(names):
            done.finished += _unlink(folder / name)
    with suppress(OSError):  # as a rule it is not empty
        folder.rmdir()


def _leftovers(names: Sequence[str]) -> list[str]:
    """What an alert that was never finished left: parts of files, and what comes after the case's newest manifest.

    A manifest is written last, so that what comes after the newest is named by no alert.
    """
    newest = max(map(manifest_number, names), default=0)
    parts = [name for name in names if name.startswith(".") and name.endswith(".part")]
    return [*parts, *(name for name in names if alert_of(name) > newest)]


def _unproved(names: Sequence[str]) -> list[str]:
    """What an alert told of, and whose manifest is gone: it stays, for whoever heard the alert knows its hash."""
    manifests = {name for name in names if manifest_number(name)}
    newest = max(map(manifest_number, manifests), default=0)
    return [name for name in names if 0 < alert_of(name) <= newest and manifest_name(alert_of(name)) not in manifests]


def _folders(root: Path) -> Iterator[_Folder]:
    for entry in _case_entries(root):
        size = newest_wall_ns = 0
        names: list[str] = []
        try:
            with os.scandir(entry.path) as inside:
                for file in inside:
                    names.append(file.name)
                    number = alert_of(file.name)
                    if number and not manifest_number(file.name) and file.name != signature_name(number):
                        status = file.stat(follow_symlinks=False)
                        size += status.st_size
                        newest_wall_ns = max(newest_wall_ns, status.st_mtime_ns)
        except OSError:
            continue  # it has just gone
        yield _Folder(entry.name, size, newest_wall_ns, bool(_leftovers(names)), PRUNED in names)


def _case_entries(root: Path) -> Iterator[os.DirEntry[str]]:
    try:
        entries = os.scandir(root / EVIDENCE)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield entry


def _since(marker: Path, now_wall_ns: int) -> int:
    """From when on a case may have been changed behind our back. All of them, where we do not know."""
    try:
        last_ns = int(marker.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
    return last_ns - _CLOCK_STEP_NS if last_ns <= now_wall_ns else 0


def _unlink(path: Path) -> int:
    """How many files that were: 1 or 0."""
    try:
        path.unlink()
    except FileNotFoundError:
        return 0
    except OSError as error:
        log.warning("%s: cannot be removed: %s", path, error.strerror or error)
        return 0
    return 1
