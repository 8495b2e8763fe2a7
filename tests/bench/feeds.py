"""What the RTSP server sends: clips that loop for ever, the cameras that show them, and each client's place in them.

Runs in the system's Python, which alone has `gi`.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import json
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402  # the version must be chosen first
from mutations import Corruption  # noqa: E402  # stands beside this file, where the server's own folder is searched

QUEUED_UNITS_MAX = 64  # in one client's pipeline; what does not fit is dropped and counted
LATE_MAX_NS = 500_000_000  # later than this the whole server slept: the camera's clock moves on, there is no burst
LOOK_AGAIN_NS = 20_000_000  # while a camera pauses


@dataclass(frozen=True)
class Unit:
    """One access unit; times are of the media, in nanoseconds from its first picture's decoding."""

    data: bytes
    pts_ns: int
    dts_ns: int
    is_key: bool


@dataclass(frozen=True)
class Media:
    """A clip that loops for ever. Units are numbered on through the loops."""

    codec: str  # h264 | h265
    duration_ns: int
    units: list[Unit]

    @classmethod
    @functools.cache
    def load(cls, index: str) -> Media:
        """Reads what streams.py wrote, once for all cameras that show it. Errors: OSError, KeyError or ValueError."""
        written = json.loads(Path(index).read_text(encoding="utf-8"))
        data = Path(index).with_name(written["file"]).read_bytes()
        units = [Unit(data[at : at + size], pts, dts, bool(key)) for at, size, pts, dts, key in written["units"]]
        if not units or not units[0].is_key:
            raise ValueError(f"{index}: the first access unit is not a keyframe")
        return cls(written["codec"], written["duration_ns"], units)

    def unit(self, number: int) -> Unit:
        return self.units[number % len(self.units)]

    def dts_ns(self, number: int) -> int:
        """Decoding time in the endless media."""
        return number // len(self.units) * self.duration_ns + self.unit(number).dts_ns

    def keyframe_at(self, position_ns: int) -> int:
        """The number of the last keyframe at or before a moment of the endless media."""
        loop, inside_ns = divmod(position_ns, self.duration_ns)
        before = [index for index, unit in enumerate(self.units) if unit.is_key and unit.dts_ns <= inside_ns]
        return loop * len(self.units) + max(before, default=0)


@dataclass
class Mount:
    """One camera, and what is wrong with it at present. Counters are of all its connections together."""

    path: str
    media: Media
    pace: float
    begun_ns: int
    switched_ns: int = 0  # monotonic: when the first picture of a switched view was due, of the last client to see it
    paused: bool = False
    still: bytes | None = None  # the keyframe that a frozen camera repeats
    corruption: Corruption | None = None
    awake: threading.Event = field(default_factory=threading.Event)  # cleared: RTSP requests wait
    feeds: set[Feed] = field(default_factory=set)
    connections: int = 0  # pipelines made so far
    pushed: int = 0  # access units handed to pipelines
    mutated: dict[str, int] = field(default_factory=dict)  # by kind
    overflowed: int = 0

    def keyframe_now(self) -> int:
        """The number of the unit that a new client begins with."""
        return self.media.keyframe_at(int((time.monotonic_ns() - self.begun_ns) * self.pace))

    def stats(self) -> dict[str, Any]:
        return {
            "clients": len(self.feeds),
            "connections": self.connections,
            "pushed": self.pushed,
            "mutated": sum(self.mutated.values()),
            "mutated_by_kind": self.mutated,
            "overflowed": self.overflowed,
            "switched_ns": self.switched_ns,
        }


class Feed:
    """What one client is sent: its place in the media, and how that becomes running time of its pipeline."""

    def __init__(self, mount: Mount, source: Gst.Element) -> None:
        self.mount = mount
        self.due_ns = time.monotonic_ns()  # of unit `_number`, on the monotonic clock
        self._media = mount.media
        self._number = mount.keyframe_now()
        self._source: Gst.Element | None = source
        self._shift_ns: int | None = None  # the pipeline's running time minus the monotonic clock
        self._held: Gst.Buffer | None = None  # a unit that leaves behind its successor

    def close(self) -> None:
        self.mount.feeds.discard(self)
        self._source = None

    def turn(self, now_ns: int) -> bool:
        """Push the unit that is due and find when the next one is. False when the pipeline is gone."""
        source = self._source
        if source is None:
            return False
        if self.mount.paused:
            self.due_ns = now_ns + LOOK_AGAIN_NS  # the clock goes on, the media waits
            return True
        if now_ns - self.due_ns > LATE_MAX_NS:
            self.due_ns = now_ns
        if self._shift_ns is None:
            # On its way to PLAYING an element may have its clock but not yet its base time: running time is wrong then.
            if source.get_state(0).state != Gst.State.PLAYING:
                self.due_ns = now_ns + LOOK_AGAIN_NS
                return True
            self._shift_ns = source.get_current_running_time() - self.due_ns
            corruption = None  # the first unit stays whole, or nobody could describe the stream
        else:
            corruption = self.mount.corruption
        self._follow_switch()
        alive = all([self._push(source, buffer) for buffer in self._buffers(corruption)])
        step_ns = self._media.dts_ns(self._number + 1) - self._media.dts_ns(self._number)
        self._number += 1
        self.due_ns += round(step_ns / self.mount.pace)
        return alive

    def _follow_switch(self) -> None:
        """A scene that changes in front of the camera does so at a keyframe, without a new connection."""
        if self._media is not self.mount.media and self._media.unit(self._number).is_key:
            self._media, self._number = self.mount.media, 0
            self.mount.switched_ns = self.due_ns

    def _buffers(self, corruption: Corruption | None) -> list[Gst.Buffer]:
        """What leaves now: none, the unit that is due, or it and the one that it overtook."""
        unit = self._media.unit(self._number)
        if self.mount.still is not None:
            return [self._stamp(self.mount.still, replace(unit, pts_ns=unit.dts_ns, is_key=True))]
        kind = corruption.fate(self._number) if corruption else None
        data = unit.data
        if corruption and kind:
            self.mount.mutated[kind] = self.mount.mutated.get(kind, 0) + 1
            if kind in {"bitflip", "truncate"}:
                data = corruption.damage(data, self._number, kind)
        buffer = self._stamp(data, unit)
        if kind == "reorder" and self._held is None:
            self._held = buffer
            return []
        overtaken, self._held = self._held, None
        return ([] if kind == "drop" else [buffer]) + ([overtaken] if overtaken else [])

    def _stamp(self, data: bytes, unit: Unit) -> Gst.Buffer:
        assert self._shift_ns is not None
        buffer = Gst.Buffer.new_wrapped(data)
        buffer.dts = self.due_ns + self._shift_ns
        buffer.pts = buffer.dts + round((unit.pts_ns - unit.dts_ns) / self.mount.pace)
        if not unit.is_key:
            buffer.set_flags(Gst.BufferFlags.DELTA_UNIT)
        return buffer

    def _push(self, source: Gst.Element, buffer: Gst.Buffer) -> bool:
        if source.get_property("current-level-buffers") >= QUEUED_UNITS_MAX:
            self.mount.overflowed += 1
            return True
        self.mount.pushed += 1
        # Anything else, FLUSHING above all, is how a pipeline says that its client has left.
        return source.emit("push-buffer", buffer) == Gst.FlowReturn.OK


class Pusher(threading.Thread):
    """Gives every feed its next unit when it is due."""

    def __init__(self) -> None:
        super().__init__(name="pusher", daemon=True)
        self._changed = threading.Condition()
        self._order = itertools.count()
        self._due: list[tuple[int, int, Feed]] = []

    def add(self, feed: Feed) -> None:
        with self._changed:
            heapq.heappush(self._due, (feed.due_ns, next(self._order), feed))
            self._changed.notify()

    def run(self) -> None:
        while True:
            feed = self._wait()
            if feed.turn(time.monotonic_ns()):
                self.add(feed)

    def _wait(self) -> Feed:
        with self._changed:
            while True:
                wait_ns = self._due[0][0] - time.monotonic_ns() if self._due else 1_000_000_000
                if wait_ns <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait_ns / 1e9)
