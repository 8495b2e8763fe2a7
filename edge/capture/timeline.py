"""From a file's own timestamps, which may be missing or jump, to times that only go forward."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from edge.core.types import NS_PER_S

_JUMP_NS = NS_PER_S  # going back by more is a clock that was set; by less, a frame out of order
_LEAP_NS = 3600 * NS_PER_S  # no recording pauses that long between two pictures: a damaged stamp


@dataclass(frozen=True, slots=True)
class FrameOrigin:
    """Where the first frame of a source stands: a clip's place among the successive recordings of one camera."""

    mono_ns: int
    wall_ns: int
    index: int

    def after(self, *, duration_ns: int, frames: int) -> FrameOrigin:
        """Where the next recording begins when it follows this one without a gap."""
        return FrameOrigin(self.mono_ns + duration_ns, self.wall_ns + duration_ns, self.index + frames)


class Ticks:
    """A stream's count of time in nanoseconds: `round(ticks * time_base * NS_PER_S)` without fractions, which
    cost more than all else that is done with a packet."""

    def __init__(self, time_base: Fraction) -> None:
        tick_ns = time_base * NS_PER_S
        self._numerator, self._denominator = tick_ns.numerator, tick_ns.denominator

    def ns(self, ticks: int) -> int:
        whole, rest = divmod(ticks * self._numerator, self._denominator)
        return whole + (2 * rest + (whole & 1) > self._denominator)  # halves go to the even one, as `round` has it


class Timeline:
    """Nanoseconds since the first frame, strictly ascending.

    A timestamp that is missing or does not go forward is replaced by the last one plus the average interval, and
    counted in `repaired`. After a jump back of more than a second, or ahead by more than an hour, the time goes on from
    where it was; when the stamps fit the time before the jump again (one late picture after damage looks like a jump),
    that counts once more.
    """

    def __init__(self, interval_ns: int) -> None:
        self.interval_ns = interval_ns
        self.repaired = 0
        self._zero_ns: int | None = None  # the source's timestamp that counts as 0
        self._zero_before_ns: int | None = None  # what counted as 0 before the last jump
        self._last_ns: int | None = None

    @property
    def end_ns(self) -> int:
        """When the frame after the last one would come; 0 before the first."""
        return 0 if self._last_ns is None else self._last_ns + self.interval_ns

    def place(self, stamp_ns: int | None) -> int:
        """The time of the next frame, given the timestamp that the source claims for it."""
        if stamp_ns is not None and self._zero_ns is None:
            self._zero_ns = stamp_ns - self.end_ns
        if stamp_ns is not None:
            self._return_to_the_zero_before(stamp_ns)
        placed = None if stamp_ns is None or self._zero_ns is None else stamp_ns - self._zero_ns
        leaps = placed is not None and placed - self.end_ns > _LEAP_NS
        if placed is None or leaps or (self._last_ns is not None and placed <= self._last_ns):
            if placed is not None and stamp_ns is not None and (leaps or self.end_ns - placed > _JUMP_NS):
                self._zero_before_ns = self._zero_ns
                self._zero_ns = stamp_ns - self.end_ns
            placed = self.end_ns
            self.repaired += 1
        self._last_ns = placed
        return placed

    def _return_to_the_zero_before(self, stamp_ns: int) -> None:
        if self._zero_before_ns is None or self._zero_ns is None:
            return
        off_ns, off_before_ns = (abs(stamp_ns - zero - self.end_ns) for zero in (self._zero_ns, self._zero_before_ns))
        if off_before_ns < off_ns and off_before_ns <= _JUMP_NS:
            self._zero_ns, self._zero_before_ns = self._zero_before_ns, None


def interval_ns(fps: float) -> int:
    """The average distance between frames; 25 a second where the source does not say."""
    return round(NS_PER_S / fps) if fps > 0 else NS_PER_S // 25
