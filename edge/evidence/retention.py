"""Which cases' pictures and clips are given up: by age, by bytes, and for the room that the disk must keep.

Pure: what is stored goes in, what goes is the answer. Evidence of an open case stays whatever happens; that of a case
whose alerts somebody still waits for goes only where the disk would fill, and where it helps: not where something else
has filled it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.core.types import NS_PER_S

OVER = "over"
DISMISSED = "dismissed"  # a person said that it was none
WAITING = "waiting"  # somebody has not stored all of its alerts yet, or its files
OPEN = "open"

_DAY_NS = 86_400 * NS_PER_S
_GB = 1_000_000_000


@dataclass(frozen=True, slots=True)
class StoredCase:
    """What can be given up of one case."""

    case_id: str
    state: str
    bytes: int  # of its pictures and clips
    newest_wall_ns: int  # when the newest of them was written


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may be kept; 0 is no bound."""

    keep_ns: int = 0
    keep_bytes: int = 0
    reserve_bytes: int = 0  # of the disk, to be left free
    dismissed_first: bool = True


@dataclass(frozen=True, slots=True)
class Choice:
    """A case to give up, and why, for the record."""

    case: StoredCase
    reason: str


def choose(cases: Sequence[StoredCase], bounds: Bounds, *, now_wall_ns: int, free_bytes: int) -> list[Choice]:
    """What goes, in order. `free_bytes`: of the disk, now."""
    chosen: list[Choice] = []
    left = sorted(cases, key=lambda case: (case.newest_wall_ns, case.case_id))
    if bounds.keep_ns:
        too_old = [case for case in left if _may_go(case) and now_wall_ns - case.newest_wall_ns > bounds.keep_ns]
        chosen += [Choice(case, f"older than {bounds.keep_ns / _DAY_NS:g} days") for case in too_old]
        gone = {case.case_id for case in too_old}
        left = [case for case in left if case.case_id not in gone]
    # Oldest first; the sort keeps their order within each rank.
    ranked = sorted(left, key=lambda case: _rank(case, bounds))
    removed = sum(choice.case.bytes for choice in chosen)
    excess = sum(case.bytes for case in left) - bounds.keep_bytes if bounds.keep_bytes else 0
    lacking = max(bounds.reserve_bytes - free_bytes - removed, 0)
    mendable = lacking <= sum(case.bytes for case in left if case.state != OPEN)
    for case in ranked:
        if case.state == OPEN or case.bytes == 0:
            continue
        if excess > 0 and _may_go(case):
            chosen.append(Choice(case, f"more than {bounds.keep_bytes / _GB:g} GB of evidence"))
        elif lacking > 0 and (mendable or _may_go(case)):
            chosen.append(Choice(case, f"less than {bounds.reserve_bytes / _GB:g} GB of the disk were free"))
        else:
            continue
        excess -= case.bytes
        lacking -= case.bytes
    return chosen


def _may_go(case: StoredCase) -> bool:
    return case.state in (OVER, DISMISSED)


def _rank(case: StoredCase, bounds: Bounds) -> int:
    if case.state == DISMISSED and bounds.dismissed_first:
        return 0
    return 2 if case.state == WAITING else 1
