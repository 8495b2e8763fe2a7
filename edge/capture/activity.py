"""Whether something moves before a camera, from the sizes of its packets and from small grey pictures, few a second.

A picture says whether it moved since the one before it, by itself: nothing is learned, so a street that is always busy
is never taken for still. What the packets of a still street measure is learned between pictures that say so. Between
two pictures the packets alone tell, unless pictures have shown that their sizes do not (a bit rate that is held
constant).
"""

from __future__ import annotations

import math
from collections import deque

import cv2
import numpy as np

from edge.core.types import Bool, UInt8

LOOK_PX = (320, 180)  # width, height of the grey pictures: an eighth of a person's height at the far end of a street
_LEAST_STEP = 12  # grey levels; the sensor's noise, averaged over a cell, and the coder's pulse at keyframes stay below
_NOISES = 6.0  # or so many times the picture's own noise, if that is more
_CELLS_MIN = 4  # of the nine round one cell: a mark of a few pixels is noise, or a digit of the clock
_FAINT_STEP = 5  # the same of a mean over nine cells: at night people are hardly brighter than the ground
_FAINT_SHARE = 0.95  # of all cells: there the noise of bright or textured parts still counts
_FAINT_NOISES = 3.0
_FAINT_CELLS = 9  # of the nine: averaged noise has no sharp edges, so a few say nothing
_LEARNED_MAX = 512  # packets of each kind: 20 s at 25 a second, so that slow changes and another bit rate are followed
_LEARNED_MIN = 25  # of both kinds
_KIND_MIN = 8  # of one
_SPREAD_MIN = 0.08  # of the logarithm: cameras that send the same size again and again
_EMPTY_BYTES = 200  # a picture in which nothing changes is nearly empty, and ten bytes more mean nothing
_BIGGEST_SIGNS = 5.0  # one packet counts for no more: a lamp, a second of the burnt-in clock
_USUAL_SIGNS = 1.0
_SIGNS_MIN = 10.0  # three packets that are far too big, or ten that are twice the spread too big
_UNJUDGED_MAX = 1024
_LOOKS_MIN = 2  # in a row that show motion; a single one may be the coder's pulse at a keyframe
_DECILE_SIGMA = 1.2816  # the lowest tenth of a normal distribution lies so many standard deviations below its middle
_MAD_SIGMA = 1.4826


class Pictures:
    """Compares each small grey picture with the one before."""

    def __init__(self, watched: Bool | None = None) -> None:
        """`watched`: (180, 320) where it is looked at, None for everywhere."""
        self._watched = watched
        self._before: UInt8 | None = None

    def moved(self, grey: UInt8) -> bool:
        """(180, 320); True as well for the first one, which tells nothing. A change of all the light is no motion."""
        before, self._before = self._before, grey
        if before is None:
            return True
        change = cv2.subtract(grey, before, dtype=cv2.CV_16S)
        some = change[::3, ::3]
        middle = np.median(some)
        noise = _MAD_SIGMA * float(np.median(np.abs(some - middle)))
        change = change.astype(np.float32) - np.float32(middle)
        if self._is_anywhere(np.abs(change) > max(_LEAST_STEP, _NOISES * noise), _CELLS_MIN):
            return True
        faint = np.abs(cv2.blur(change, (3, 3)))
        usual = float(np.quantile(faint[::3, ::3], _FAINT_SHARE))
        return self._is_anywhere(faint > max(_FAINT_STEP, _FAINT_NOISES * usual), _FAINT_CELLS)

    def _is_anywhere(self, changed: Bool, cells_min: int) -> bool:
        """Whether so many of the nine cells round one that is watched have changed."""
        if self._watched is not None:
            changed &= self._watched
        near = cv2.boxFilter(changed.view(np.uint8), -1, (3, 3), normalize=False)
        return bool(near.max() >= cells_min)


class PacketSizes:
    """Judges packets between keyframes by what they measure while nothing moves, pictures of two kinds apart: those
    that are shown in the order of sending, and those between them (B), which are smaller.

    The spread is that of the lower half: whatever moves only ever adds to a packet.
    """

    def __init__(self) -> None:
        self._still = (_Usual(), _Usual())
        self._unjudged: deque[tuple[bool, float]] = deque(maxlen=_UNJUDGED_MAX)
        self._signs = 0.0
        self._stirred = [False, False]  # before and since the last judgement; since the motion began, while it lasts
        self._moved_looks = 0  # in a row; counted from when the sizes of the still street are known
        self.tell = True  # whether they told of the last motion that pictures showed

    @property
    def ready(self) -> bool:
        return self._still[False].ready and sum(usual.learned for usual in self._still) >= _LEARNED_MIN

    def stir(self, size: int, *, between: bool) -> bool:
        """Takes the next packet that is no keyframe. Whether those up to here say that something moves."""
        measured = math.log(size + _EMPTY_BYTES)
        self._unjudged.append((between, measured))
        signs = min(self._still[between].signs(measured), _BIGGEST_SIGNS)
        self._signs = max(0.0, self._signs + signs - _USUAL_SIGNS)
        if self._signs < _SIGNS_MIN:
            return False
        self._signs = 0.0
        self._stirred[1] = True
        return True

    def judge(self, *, moved: bool) -> None:
        """What pictures say of the packets since the last call."""
        if moved:
            self._moved_looks += self.ready
        else:
            if self._moved_looks >= _LOOKS_MIN:
                self.tell = any(self._stirred)
            self._moved_looks = 0
            self._stirred = [self._stirred[1], False]
            for between, measured in self._unjudged:
                self._still[between].learn(measured)
            for usual in self._still:
                usual.settle()
        self._unjudged.clear()

    def pass_over(self) -> None:
        """The packets since the last call are those of a street that stirs: nothing is learned of them."""
        self._unjudged.clear()


class _Usual:
    """Sizes of one kind of packet in a still street, as logarithms."""

    def __init__(self) -> None:
        self._learned: deque[float] = deque(maxlen=_LEARNED_MAX)
        self._middle = self._spread = 0.0

    @property
    def learned(self) -> int:
        return len(self._learned)

    @property
    def ready(self) -> bool:
        return self.learned >= _KIND_MIN

    def signs(self, measured: float) -> float:
        """By how many spreads it is larger than usual; 0 while nothing is known."""
        return (measured - self._middle) / self._spread if self._spread else 0.0

    def learn(self, measured: float) -> None:
        self._learned.append(measured)

    def settle(self) -> None:
        if self.ready:
            low, middle = np.percentile(self._learned, (10, 50))
            self._middle, self._spread = float(middle), max(float(middle - low) / _DECILE_SIGMA, _SPREAD_MIN)


def payload_bytes(data: bytes | memoryview) -> int:
    """A packet's size without the filling that keeps a bit rate constant: a last unit of 0xFF (H.264 7.3.2.7)."""
    view = memoryview(data)
    if view.nbytes < 8 or bytes(view[-3:]) != b"\xff\xff\x80":
        return view.nbytes
    return len(bytes(view).rstrip(b"\x80").rstrip(b"\xff"))
