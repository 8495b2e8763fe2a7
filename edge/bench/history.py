"""Figures of earlier commits, and whether one has become worse by more than the noise.

A figure is the median of some rounds, with the median distance from it (MAD) as its noise. Those that are CPU time are
also kept as a ratio to a fixed piece of work that was timed in the same rounds: on a machine that is slower today both
are slower. Entries of another kind of machine are not compared with.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from edge.clock import thread_cpu_s
from edge.errors import OutputError, UsageError

ENTRIES_MAX = 200
# Beyond this a figure is worse: a share of the old one, and so many times what both scatter by (1.48 MAD is sigma).
WORSE_SHARE = 0.10
WORSE_SIGMAS = 4.0
NOISE_SHARE_MAX = 0.30  # where that is more room than this, nothing can be told
ENTRIES_COMPARED = 10
_SIGMA_OF_MAD = 1.4826


@dataclass(frozen=True, slots=True)
class Figure:
    """Smaller is better."""

    unit: str
    median: float
    mad: float
    relative_median: float | None = None  # to the reference work; None for what does not hang on the machine's speed
    relative_mad: float | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    commit: str
    date: str
    machine: str
    figures: Mapping[str, Figure]


def machine() -> str:
    """CPU model and number of cores that we may use."""
    model = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{named[0] if named else model}, {len(os.sched_getaffinity(0))} cores"


def reference_work_s() -> float:
    """CPU seconds of a fixed piece of work of the kinds that ours is made of: pixels, and arrays of some rows."""
    picture = np.random.default_rng(0).integers(0, 256, (540, 960, 3), np.uint8)
    rows = np.random.default_rng(1).random((300, 4))
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    begin_s = thread_cpu_s()
    for _ in range(20):
        small = cv2.resize(picture, (640, 360), interpolation=cv2.INTER_LINEAR)
        cv2.GaussianBlur(small, (9, 9), 0)
        for _ in range(20):
            np.minimum(rows[:, None, :], rows[None, :40, :]).prod(axis=2).argmax(axis=1)
    spent_s = thread_cpu_s() - begin_s
    cv2.setNumThreads(threads)
    return spent_s


def figure(unit: str, values: Sequence[float], reference_s: Sequence[float] = ()) -> Figure:
    """Of a round each, with the reference work beside it, or none."""
    middle, scatter = _spread(values)
    if not reference_s:
        return Figure(unit, middle, scatter)
    relative = _spread([value / beside for value, beside in zip(values, reference_s, strict=True)])
    return Figure(unit, middle, scatter, *relative)


def regressions(before: Entry, after: Entry) -> list[str]:
    """One line a figure that is worse beyond noise, or that is not measured any more."""
    found = []
    for name, old in before.figures.items():
        new = after.figures.get(name)
        if new is None:
            found.append(f"{name}: was measured on {before.commit} and is not any more")
            continue
        was, was_mad, now, now_mad = _compared(old, new)
        room = max(WORSE_SHARE * was, WORSE_SIGMAS * _SIGMA_OF_MAD * float(np.hypot(was_mad, now_mad)))
        if room > NOISE_SHARE_MAX * was:
            found.append(
                f"{name}: too noisy to judge: {room / was:+.0%} may be noise; take more rounds, or a quiet hour"
            )
        elif now > was + room:
            found.append(
                f"{name}: {new.median:.4g} {new.unit}, was {old.median:.4g} on {before.commit}: "
                f"{now / was - 1:+.0%} beside the reference work, {room / was:+.0%} may be noise"
            )
    return found


def read(path: Path) -> list[Entry]:
    """Oldest first. Raises UsageError for what is no history."""
    if not path.exists():
        return []
    try:
        return [
            Entry(
                row["commit"],
                row["date"],
                row["machine"],
                {name: Figure(**values) for name, values in row["figures"].items()},
            )
            for row in json.loads(path.read_text(encoding="utf-8"))["entries"]
        ]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(f"{path}: no history of figures ({error}); take it from the repository again") from error


def add(path: Path, entry: Entry) -> None:
    """The newest takes the place of one of the same commit and machine; the oldest give way."""
    if not entry.figures:
        raise UsageError(f"{path}: an entry without figures would be compared with nothing; measure one round at least")
    kept = [one for one in read(path) if (one.commit, one.machine) != (entry.commit, entry.machine)]
    document = {"entries": [asdict(one) for one in [*kept, entry][-ENTRIES_MAX:]]}
    try:
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


def last_of(entries: Sequence[Entry], of_machine: str, *, but: str = "") -> Entry | None:
    """The newest of that kind of machine, and of another commit than `but`."""
    alike = [entry for entry in entries if entry.machine == of_machine and entry.commit != but]
    return alike[-1] if alike else None


def best_of(entries: Sequence[Entry], of_machine: str) -> Entry | None:
    """What is measured now at its best in the last entries of that kind of machine: so small steps add up."""
    alike = [entry for entry in entries if entry.machine == of_machine][-ENTRIES_COMPARED:]
    if not alike:
        return None
    best = {
        name: min((entry.figures[name] for entry in alike if name in entry.figures), key=_value)
        for name in alike[-1].figures
    }
    named = alike[-1].commit if len(alike) == 1 else f"the best of {alike[0].commit} to {alike[-1].commit}"
    return Entry(named, alike[-1].date, of_machine, best)


def _value(one: Figure) -> float:
    return one.median if one.relative_median is None else one.relative_median


def _compared(old: Figure, new: Figure) -> tuple[float, float, float, float]:
    if None in (old.relative_median, old.relative_mad, new.relative_median, new.relative_mad):
        return old.median, old.mad, new.median, new.mad
    return old.relative_median, old.relative_mad, new.relative_median, new.relative_mad  # type: ignore[return-value]


def _spread(values: Sequence[float]) -> tuple[float, float]:
    middle = median(values)
    return float(f"{middle:.6g}"), float(f"{median(abs(value - middle) for value in values):.6g}")
