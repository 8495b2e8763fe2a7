"""What the street looked like a while ago: a few whole luma pictures, so that an arrival can be told from a fixture."""

from __future__ import annotations

from collections import deque

from edge.core.types import NS_PER_S, Frame, UInt8

EVERY_NS = 30 * NS_PER_S
KEPT = 4  # 2 MB each at 1080p


class StreetMemory:
    """Pictures of one camera, `EVERY_NS` apart, the last `KEPT` of them."""

    def __init__(self, *, every_ns: int = EVERY_NS, kept: int = KEPT) -> None:
        self._every_ns = every_ns
        self._pictures: deque[tuple[int, UInt8]] = deque(maxlen=kept)

    def keep(self, frame: Frame) -> None:
        if self._pictures and self._pictures[-1][1].shape[::-1] != frame.size_px:
            self._pictures.clear()  # the camera has another resolution now: nothing can be compared
        if not self._pictures or frame.mono_ns - self._pictures[-1][0] >= self._every_ns:
            self._pictures.append((frame.mono_ns, frame.pixels.luma()))

    def before(self, mono_ns: int) -> UInt8 | None:
        """(H, W) luma of the latest picture taken at least 3 s before that moment, or None if there is none."""
        older = [picture for taken_ns, picture in self._pictures if taken_ns <= mono_ns - 3 * NS_PER_S]
        return older[-1] if older else None
