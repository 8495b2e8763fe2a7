"""Whether the detector's last answer still stands: nothing has changed where it counts since the picture it is of.

Compared is always with the picture of the last look that asked, never with the last picture: changes too slow to be
seen from one picture to the next add up. Light is taken out over a neighbourhood, noise by what most of the picture
shows, and the sway of a pole by the steepness of its edges.

    picture -> small luma -> minus that of the asked look in the present light -> cells that changed
        -> any of them where it counts?  a track in doubt there?  asked too long ago?  -> ask, else the answer stands

In doubt it asks: a still street that is looked at costs a run of the network, a change that is passed over a case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edge.core import polygons
from edge.core.types import NS_PER_S, Bool, Case, Detections, Float32, Frame, Int64

SIZE_PX = (256, 144)  # two pixels and more of the least thing that a detector finds in an input of 640 px

_LIGHT_PX = (65, 37)  # a quarter of the picture: light is broader, things are narrower
_SWAY_PX = 0.5  # how far an edge may wander
_LEAST_THING = np.ones((2, 2), np.uint8)
_NOISE_FACTOR = 5.0
_MEDIAN_TO_DEVIATION = 1.4826


@dataclass(frozen=True, slots=True)
class StillnessSettings:
    """Measured by tests/test_stillness.py on still seconds of real streets."""

    forced_ns: int = 10 * NS_PER_S  # asked at least so often; 0: at every look
    settle_ns: int = NS_PER_S  # a street must have been still, and its tracks certain, for so long and
    settle_looks: int = 4  # for so many looks
    level_min: float = 5.0  # grey levels; a smaller change is a codec's
    level_max: float = 12.0  # a greater one is a change, however noisy the picture
    margin: float = 0.15  # of the picture's width: who comes so near is looked at, and so is the next in a queue


class Stillness:
    """One camera's. Ask it at every look, and give it every answer of the detector."""

    def __init__(
        self,
        *,
        zones: Sequence[Float32],
        lines: Sequence[Float32] = (),
        whole: bool = False,
        settings: StillnessSettings = StillnessSettings(),
    ) -> None:
        """`zones` (V, 2) and `lines` (2, 2), in fractions: what happens there counts; `whole`: everything does."""
        self.settings = settings
        self.held = 0  # looks at which the last answer stood
        places = (*zones, *lines)
        self._counts = np.ones(SIZE_PX[::-1], np.bool_) if whole else surroundings(places, SIZE_PX, settings.margin)
        self._asked: _Asked | None = None
        self._luma: Float32 = np.zeros(SIZE_PX[::-1], np.float32)  # of the present look
        self._light: Float32 = np.zeros(SIZE_PX[::-1], np.float32)
        self._looked_ns = self._restless_ns = 0
        self._calm_looks = 0  # since then

    def answer(self, frame: Frame, doubtful: Float32, cases: Sequence[Case] = ()) -> Detections | None:
        """The last answer where it still stands, without what has changed elsewhere; None: ask, and `keep`.

        `doubtful` (N, 4) px: tracks of which another look would tell more; so it would of a live case that the last
        look did not see.
        """
        asked, settings = self._asked, self.settings
        if settings.forced_ns <= 0:
            return None
        self._luma = _luma(frame)
        self._light = np.asarray(cv2.blur(self._luma, _LIGHT_PX), np.float32)
        before_ns, self._looked_ns = self._looked_ns, frame.mono_ns
        if asked is None or asked.size_px != frame.size_px:
            self._stir(frame.mono_ns)
            return None
        changed = asked.changed(self._luma, self._light, settings)
        stays = _within(_sums(changed), asked.box) == 0
        happened = (changed & self._counts).any() or (~stays & self._is_near(asked.box)).any()
        unseen = any(case.last_seen_ns < before_ns for case in cases)
        if happened or unseen or self._is_near(_cells(doubtful, frame.size_px)).any():
            self._stir(frame.mono_ns)
            return None
        settled = frame.mono_ns - self._restless_ns >= settings.settle_ns and self._calm_looks >= settings.settle_looks
        if not settled or frame.mono_ns - asked.mono_ns >= settings.forced_ns:
            self._calm_looks += 1
            return None
        self.held += 1
        return asked.answer.take(np.flatnonzero(stays))

    def keep(self, frame: Frame, answer: Detections) -> Detections:
        """What the detector said of the present look; returned as it is."""
        if self.settings.forced_ns > 0:
            self._asked = _Asked.of(frame, self._luma, self._light, answer)
        return answer

    def interrupt(self) -> None:
        """What was since the last look is unknown: no answer stands."""
        self._asked = None

    def _is_near(self, box: Int64) -> Bool:
        """(N, 4) cells -> (N,) whose foot or middle lies where it counts."""
        left, top, right, bottom = box.T
        x, middle = (left + right) // 2, (top + bottom) // 2
        return np.asarray(self._counts[bottom - 1, x] | self._counts[middle, x])

    def _stir(self, mono_ns: int) -> None:
        self._restless_ns, self._calm_looks = mono_ns, 0


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """The picture of which the detector was asked, and what it said."""

    mono_ns: int
    size_px: tuple[int, int]
    luma: Float32  # (H, W) small
    light: Float32  # (H, W) its neighbourhood's level
    sway: Float32  # (H, W) grey levels that an edge's wandering makes
    answer: Detections
    box: Int64  # (N, 4) cells of the answer's boxes

    @classmethod
    def of(cls, frame: Frame, luma: Float32, light: Float32, answer: Detections) -> _Asked:
        x = np.asarray(cv2.Sobel(luma, cv2.CV_32F, 1, 0, scale=_SWAY_PX / 8))
        y = np.asarray(cv2.Sobel(luma, cv2.CV_32F, 0, 1, scale=_SWAY_PX / 8))
        sway = np.asarray(cv2.magnitude(x, y), np.float32)
        return cls(frame.mono_ns, frame.size_px, luma, light, sway, answer, _cells(answer.xyxy, frame.size_px))

    def changed(self, luma: Float32, light: Float32, settings: StillnessSettings) -> Bool:
        """(H, W) cells that show something else now."""
        lit = self.luma * (light + 1) / (self.light + 1)
        apart = np.abs(np.asarray(cv2.blur(luma - lit, (3, 3)), np.float32))
        usual = float(np.median(apart[::3, ::3]))
        level = min(max(_NOISE_FACTOR * _MEDIAN_TO_DEVIATION * usual, settings.level_min), settings.level_max)
        changed = np.asarray(apart > np.maximum(self.sway, level))
        # The least thing that a detector finds fills four cells; one alone, or a row of them, is an edge's wandering.
        return np.asarray(cv2.erode(changed.view(np.uint8), _LEAST_THING), np.bool_)


def _luma(frame: Frame) -> Float32:
    """(H, W) small: the mean of four samples to a pixel, which takes half the time of the mean of all it covers. One
    sample alone shows too much noise."""
    width, height = SIZE_PX
    samples = frame.pixels.luma((2 * width, 2 * height))
    return np.asarray(cv2.resize(samples, SIZE_PX, interpolation=cv2.INTER_AREA), np.float32)


def surroundings(places: Sequence[Float32], size_px: tuple[int, int], margin: float) -> Bool:
    """(H, W) of a small picture: cells in and round zones (V, 2) and lines (2, 2), `margin` in picture widths."""
    width, height = size_px
    near = np.zeros((height, width), np.uint8)
    for place in places:  # few, and once
        corners = polygons.to_pixels(place, width=width, height=height).round().astype(np.int32)
        cv2.fillPoly(near, [corners], 1)
    reach = 2 * round(margin * width) + 1
    near = np.asarray(cv2.dilate(near, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))), np.uint8)
    return near > 0


def _cells(xyxy: Float32, size_px: tuple[int, int]) -> Int64:
    """(N, 4) px -> (N, 4) first and last row and column of the small picture, these exclusive; a cell at least."""
    scale = np.array([SIZE_PX[0] / size_px[0], SIZE_PX[1] / size_px[1]], np.float32)
    limit = np.array(SIZE_PX)
    first = np.clip(np.floor(xyxy[:, :2] * scale), 0, limit - 1)
    last = np.clip(np.ceil(xyxy[:, 2:] * scale), first + 1, limit)
    return np.concatenate([first, last], axis=1).astype(np.int64)


def _sums(cells: Bool) -> Int64:
    """(H, W) -> (H + 1, W + 1) how many lie above and to the left: any box's number is four look-ups."""
    return np.asarray(cv2.integral(cells.view(np.uint8)), np.int64)


def _within(sums: Int64, box: Int64) -> Int64:
    """(N, 4) cells -> (N,) how many in each box."""
    left, top, right, bottom = box.T
    return np.asarray(sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left], np.int64)
