"""The only place that reads the machine's clocks; everything else is given a time.

A frame brings its own time. What the program itself costs is measured with a `Stopwatch`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo

from edge.core.types import NS_PER_S

CLOCK_OFF_S = 1.0  # GA/T 832-2014: the clock of what proves a traffic violation may be wrong by so much


class SystemClock:
    """The machine's own time."""

    def mono_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()


class Stopwatch:
    """Seconds spent in each named stage of the frame path, and how often it was entered.

    `cpu_s` is of the calling thread: what decoders and networks do in threads of their own is not in it.
    """

    def __init__(self) -> None:
        self.wall_s: dict[str, float] = {}
        self.cpu_s: dict[str, float] = {}
        self.count: dict[str, int] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begin_cpu_s, begin_s = time.thread_time(), time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - begin_s)
            self.cpu_s[name] = self.cpu_s.get(name, 0.0) + time.thread_time() - begin_cpu_s

    def add(self, name: str, wall_s: float) -> None:
        """What was measured elsewhere."""
        self.wall_s[name] = self.wall_s.get(name, 0.0) + wall_s
        self.count[name] = self.count.get(name, 0) + 1


def elapsed_s() -> float:
    """Seconds from an arbitrary start, for differences only."""
    return time.perf_counter()


def cpu_s() -> float:
    """CPU seconds of this process so far, all threads."""
    return time.process_time()


def thread_cpu_s() -> float:
    """CPU seconds of the calling thread so far."""
    return time.thread_time()


def iso(wall_ns: int, zone: tzinfo) -> str:
    """RFC 3339 with milliseconds and the zone's offset: `2026-05-04T09:31:07.120+08:00`."""
    whole_s, rest_ns = divmod(wall_ns, NS_PER_S)
    moment = datetime.fromtimestamp(whole_s, zone).replace(microsecond=rest_ns // 1_000_000 * 1000)
    return moment.isoformat(timespec="milliseconds")


def told_offset(offset_s: float | None) -> dict[str, object]:
    """How far a camera's clock is ahead of ours, as evidence and messages say it, and whether that is too much."""
    if offset_s is None:
        return {"clock_offset_s": None, "clock_off": False}
    return {"clock_offset_s": round(offset_s, 3), "clock_off": abs(offset_s) > CLOCK_OFF_S}


def local_day(wall_ns: int, zone: tzinfo) -> int:
    """The number of the day, local time: what `date.fromordinal` makes a date of."""
    return datetime.fromtimestamp(wall_ns // NS_PER_S, zone).toordinal()


def minute_of_week(wall_ns: int, zone: tzinfo) -> int:
    """Minutes since Monday 00:00, local time: what opening hours are asked with."""
    moment = datetime.fromtimestamp(wall_ns // NS_PER_S, zone)
    return moment.weekday() * 1440 + moment.hour * 60 + moment.minute


def interval_of(wall_ns: int, every_s: int, zone: tzinfo) -> tuple[int, int]:
    """The interval [from, to) in which a moment lies, in wall_ns; intervals are counted from local midnight.

    The last one of a day ends with it, also where summer time makes that day shorter or longer.
    """
    midnight = datetime.fromtimestamp(wall_ns // NS_PER_S, zone).replace(hour=0, minute=0, second=0, fold=0)
    begin_s = round(midnight.timestamp())
    end_s = round((midnight.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=zone).timestamp())
    from_s = begin_s + (wall_ns // NS_PER_S - begin_s) // every_s * every_s
    return from_s * NS_PER_S, min(from_s + every_s, end_s) * NS_PER_S
