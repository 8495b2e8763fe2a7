"""What the street looked like a while ago: a few whole luma pictures, so that an arrival can be told from a fixture.

They are kept as JPEG, and decoded when somebody asks, which is seldom: 8 MB a camera would be more than all else here.
"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

from edge.core.types import NS_PER_S, Frame, UInt8

EVERY_NS = 30 * NS_PER_S
KEPT = 4  # half a megabyte each at 1080p
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95)  # off by a grey level or so; a camera's own coding is off by more


class StreetMemory:
    """Pictures of one camera, `EVERY_NS` apart, the last `KEPT` of them."""

    def __init__(self, *, every_ns: int = EVERY_NS, kept: int = KEPT) -> None:
        self._every_ns = every_ns
        self._pictures: deque[tuple[int, UInt8]] = deque(maxlen=kept)  # when, and the bytes of its JPEG
        self._size_px = (0, 0)

    def keep(self, frame: Frame) -> None:
        if self._size_px != frame.size_px:
            self._pictures.clear()  # the camera has another resolution now: nothing can be compared
            self._size_px = frame.size_px
        if not self._pictures or frame.mono_ns - self._pictures[-1][0] >= self._every_ns:
            done, coded = cv2.imencode(".jpg", frame.pixels.luma(), _JPEG)
            if done:
                self._pictures.append((frame.mono_ns, np.asarray(coded, np.uint8)))

    def before(self, mono_ns: int) -> UInt8 | None:
        """(H, W) luma of the latest picture taken at least 3 s before that moment, or None if there is none."""
        older = [coded for taken_ns, coded in self._pictures if taken_ns <= mono_ns - 3 * NS_PER_S]
        return np.asarray(cv2.imdecode(older[-1], cv2.IMREAD_GRAYSCALE), np.uint8) if older else None
