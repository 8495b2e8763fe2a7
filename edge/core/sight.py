"""Whether a camera's picture can be trusted: not black, not covered, not frozen, not turned away.

Judged from the picture alone, against the camera's own *view*: which way its edges run, cell by cell, in logarithms
of light, so that neither exposure nor lamps nor the change to infra-red, which turns bright into dark, changes it.

    frame -> 160 x 90 luma -> all of one level? repeated for long?
          -> 256 x 144 log luma -> edges in 64 x 36 cells -> how much of the view is still there, and how sharp?

A picture in which the street cannot be recognised is not believed, whatever the reason: blind means unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from edge.core.pixels import Pixels
from edge.core.types import NS_PER_S, Bool, Float32, Frame, Int64, UInt8

_Number = TypeVar("_Number", np.int64, np.uint8)

BLACK, COVERED, FROZEN, MOVED = "black", "covered", "frozen", "moved"

# A street at night with one lamp spans some thirty grey levels; a dead sensor or a closed lens spans its noise.
CONTRAST_MIN = 10.0
VIEW_SHAPE = (3, 36, 64)  # edge direction as a vector of twice the angle, and sharpness, in cells

_SAMPLE_WH = (160, 90)
_DETAIL_WH, _EDGE_WH = (256, 144), (128, 72)
_BLOCKS_HW = (9, 16)  # of cells, and of the sample
_DARK_LEVEL = 16.0  # below about this level a camera shows noise
_LOG = np.log(np.arange(256, dtype=np.float32) + _DARK_LEVEL).astype(np.float32)
_FAINT = np.float32(4e-3)  # squared slope of log luma; what is fainter, noise and the codec's blocks, counts little
_TEXTURE_LEVELS = 4  # grey levels; a block that spans no more is crushed to one level
_BAR_SPAN = 0.03  # log luma along a whole row; letterbox bars are flat, and their rims are no part of the street
_COMPARE_NS = 3 * NS_PER_S // 10  # who comes in is not told of before; comparing views costs more than all else here
_STEP_MAX_NS = NS_PER_S  # a look stands for no longer than this when the view is learned
_KNOWN_MAX = 16  # contents of a block that are remembered: more than an encoder makes of a still between keyframes


@dataclass(frozen=True, slots=True)
class SightSettings:
    """Times in ns, shares 0..1 of the view. Measured by tests/test_sight.py; `frozen_after_ns` is the installer's."""

    frozen_after_ns: int = 30 * NS_PER_S  # must be longer than the camera's keyframe distance
    clock_share: float = 0.08  # of the picture's blocks may go on changing over a frozen picture: a burnt-in clock
    learn_ns: int = 60 * NS_PER_S  # until then a view is not believed: a bus may stand before the lens at the start
    follow_ns: int = 600 * NS_PER_S  # how fast a trusted view follows seasons and parked rows
    recognised_min: float = 0.2  # of the view; other views, and the own one turned, share 0.15 with it by chance
    recognised_again: float = 0.3  # to be trusted again, so that a doubtful picture does not flicker
    weak_block: float = 0.15  # of the view's own strength of edges: nothing is to be seen there
    weak_share_max: float = 0.45  # of the view; fog weakens more, but leaves the view recognisable
    clear_share: float = 0.55  # of the view recognised: then weak edges are only fog
    sharpness_min: float = 0.35  # of the view's own; heavy compression takes a third, a lens out of focus more


class Sight:
    """Judges the pictures of one camera. `judge` every frame, in time order; state is bounded and small."""

    def __init__(self, settings: SightSettings = SightSettings()) -> None:
        self.settings = settings
        self._stillness = _Stillness(settings)
        self._view: Float32 = np.zeros(VIEW_SHAPE, np.float32)
        self._learned_ns = 0
        self._looked_ns = -1
        self._size_px = (0, 0)
        self._compared_ns, self._reason_was = -1, ""  # of the last comparison

    def judge(self, frame: Frame) -> str:
        """ "" when the picture can be trusted, else why not: "black", "frozen", "covered" or "moved".

        Not seen: a freeze younger than `frozen_after_ns`, or behind an encoder so starved of bits that it never makes
        the same of a still twice; a recorded loop in place of the camera; a push of less than about a twentieth of the
        picture and, in every fifth scene, a level pan by a seventh of it (lines that run across stay where they were);
        what was so already while the view was learned.
        """
        sample = frame.pixels.luma(_SAMPLE_WH)
        frozen = self._stillness.lasts(sample, frame.mono_ns)
        black = shows_nothing(sample)
        if black or frozen:
            self._compared_ns = -1
            return BLACK if black else FROZEN
        rests = self._compared_ns >= 0 and frame.mono_ns - self._compared_ns < _COMPARE_NS
        if not rests or self._size_px != frame.size_px:
            self._compared_ns = frame.mono_ns
            self._reason_was = self._compare(frame)
        return self._reason_was

    @property
    def view(self) -> Float32 | None:
        """`VIEW_SHAPE`: what the camera normally looks at, to be kept over a restart; None until it is learned."""
        return self._view.copy() if self._learned_ns >= self.settings.learn_ns else None

    def restore(self, view: Float32) -> None:
        """Go on with the view of an earlier run: a camera that was turned meanwhile is noticed at the first look."""
        if view.shape != VIEW_SHAPE or view.dtype != np.float32:
            raise ValueError(f"Sight.restore: expected {VIEW_SHAPE} float32, got {view.shape} {view.dtype.name}")
        self._view = view.copy()
        self._learned_ns, self._compared_ns = self.settings.learn_ns, -1

    def forget(self) -> None:
        """Somebody says that the camera looks where it should: learn the view anew."""
        self._learned_ns, self._compared_ns, self._reason_was = 0, -1, ""

    def _compare(self, frame: Frame) -> str:
        now = _cells(frame.pixels)
        if self._size_px not in {frame.size_px, (0, 0)}:
            self._view[2] = now[2]  # another resolution is as sharp as it is
        self._size_px = frame.size_px
        reason = self._reason(now) if self._learned_ns >= self.settings.learn_ns else ""
        if not reason:
            self._follow(now, frame.mono_ns)
        self._looked_ns = frame.mono_ns
        return reason

    def _reason(self, now: Float32) -> str:
        settings = self.settings
        recognised, weak, sharpness = _likeness(self._view, now, settings.weak_block)
        if weak > settings.weak_share_max and recognised < settings.clear_share:
            return COVERED
        if recognised < (settings.recognised_again if self._reason_was else settings.recognised_min):
            return MOVED
        return COVERED if sharpness < settings.sharpness_min else ""

    def _follow(self, now: Float32, mono_ns: int) -> None:
        """A plain mean at first, then a slow one."""
        step_ns = min(max(mono_ns - self._looked_ns, 1), _STEP_MAX_NS) if self._looked_ns >= 0 else _STEP_MAX_NS
        self._learned_ns = min(self._learned_ns + step_ns, self.settings.follow_ns)
        self._view += np.float32(step_ns / self._learned_ns) * (now - self._view)


def recognises(view: Float32, frame: Frame, settings: SightSettings = SightSettings()) -> bool:
    """Whether a frame shows the street of a view that another run has learned, `VIEW_SHAPE`."""
    recognised, _, _ = _likeness(view, _cells(frame.pixels), settings.weak_block)
    return recognised >= settings.recognised_again


class _Stillness:
    """How long a picture has shown nothing that it had not shown before, block by block.

    A sensor's noise never comes twice. Between keyframes a codec may repeat a quiet street bit for bit, and an encoder
    behind a frozen picture makes the same few contents of it again and again: so a content counts as new only if
    none of the last `_KNOWN_MAX` different ones was the same, and the wait is longer than keyframes are apart.
    """

    def __init__(self, settings: SightSettings) -> None:
        self._settings = settings
        blocks = _BLOCKS_HW[0] * _BLOCKS_HW[1]
        self._known: Int64 = np.zeros((blocks, _KNOWN_MAX), np.int64)
        self._oldest = np.zeros(blocks, np.int64)  # place in `_known` that is written next
        self._new_ns: Int64 = np.zeros(blocks, np.int64)  # when each block last showed something new
        width, height = _SAMPLE_WH
        self._weight = np.random.default_rng(0).integers(1, 1 << 40, (height, width))

    def lasts(self, sample: UInt8, mono_ns: int) -> bool:
        """(90, 160) luma -> whether the picture has been still for `frozen_after_ns`."""
        content = _tiles(sample * self._weight).sum(axis=(1, 3)).ravel()
        new = np.flatnonzero(~(self._known == content[:, None]).any(axis=1))
        self._known[new, self._oldest[new]] = content[new]
        self._oldest[new] = (self._oldest[new] + 1) % _KNOWN_MAX
        self._new_ns[new] = mono_ns
        lively = int(np.count_nonzero(mono_ns - self._new_ns < self._settings.frozen_after_ns))
        allowed = self._settings.clock_share
        # The second question costs more than the first, and is seldom asked.
        return lively <= allowed * len(content) and lively <= allowed * _count_textured(sample)


def shows_nothing(sample: UInt8) -> bool:
    """Whether a picture, by a sample of its luma, is all of one level: 98 % of it within `CONTRAST_MIN` levels."""
    darker = np.bincount(sample.ravel(), minlength=256).cumsum()
    dark, bright = np.searchsorted(darker, (0.01 * sample.size, 0.99 * sample.size))
    return bool(bright - dark < CONTRAST_MIN)


def _count_textured(sample: UInt8) -> int:
    """Blocks that are not all of one level: a night sky crushed to black is as still as any frozen one."""
    tiles = _tiles(sample)
    return int(np.count_nonzero(tiles.max(axis=(1, 3)) - tiles.min(axis=(1, 3)) > _TEXTURE_LEVELS))


def _tiles(cells: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """(H, W) -> (9, h, 16, w) view."""
    rows, columns = _BLOCKS_HW
    return cells.reshape(rows, cells.shape[0] // rows, columns, cells.shape[1] // columns)


def _cells(pixels: Pixels) -> Float32:
    """A picture -> `VIEW_SHAPE`."""
    detail = _array(cv2.LUT(pixels.luma(_DETAIL_WH), _LOG))
    coarse = _array(cv2.resize(detail, _EDGE_WH, interpolation=cv2.INTER_AREA))
    x = _array(cv2.Sobel(coarse, cv2.CV_32F, 1, 0, scale=0.25))
    y = _array(cv2.Sobel(coarse, cv2.CV_32F, 0, 1, scale=0.25))
    xx, yy = x * x, y * y
    strength = _array(cv2.blur(xx + yy + _FAINT, (3, 3)))
    street = ~_beside_bars(coarse)
    cells = np.empty(VIEW_SHAPE, np.float32)
    for plane, part in zip(cells[:2], (xx - yy, 2 * x * y), strict=True):
        direction = _to_cells(_array(cv2.blur(part, (3, 3))) / strength) * street
        # What a whole neighbourhood has in common, the run of a road, is the same after a turn; the rest is not.
        np.multiply(direction - cv2.blur(direction, (17, 17)), street, out=plane)
    cells[2] = _sharpness(detail, coarse)
    return cells


def _sharpness(detail: Float32, coarse: Float32) -> Float32:
    """(36, 64) what is fine against what is broad: contrast, fog and light take as much from both."""
    fine = _array(cv2.absdiff(detail, cv2.blur(detail, (3, 3))))
    cells = _to_cells(coarse)
    broad = _array(cv2.absdiff(cells, cv2.blur(cells, (9, 9))))
    return _to_cells(fine) / _array(cv2.blur(broad, (5, 5)) + np.float32(0.01))


def _beside_bars(luma: Float32) -> Bool:
    """(72, 128) log luma -> (36, 64) cells in and beside rows and columns that are flat from end to end."""
    beside = np.zeros(luma.shape, np.float32)
    beside[np.ptp(luma[:, 4:-4], axis=1) < _BAR_SPAN] = 1
    beside[:, np.ptp(luma[4:-4], axis=0) < _BAR_SPAN] = 1
    return np.asarray(_to_cells(cv2.dilate(beside, np.ones((5, 5), np.uint8))) > 0, np.bool_)


def _to_cells(picture: cv2.typing.MatLike) -> Float32:
    return _array(cv2.resize(picture, VIEW_SHAPE[:0:-1], interpolation=cv2.INTER_AREA))


def _array(picture: cv2.typing.MatLike) -> Float32:
    return np.asarray(picture, np.float32)


def _likeness(view: Float32, now: Float32, weak_block: float) -> tuple[float, float, float]:
    """(recognised, weak, sharpness): how far the edges run as in the view, the share of it where there are next to
    none, and how sharp they are against the view's. Blocks count by how much the view has there."""
    strength = view[0] ** 2 + view[1] ** 2
    mine, theirs = _block_means(strength), _block_means(now[0] ** 2 + now[1] ** 2)
    shared = _block_means(view[0] * now[0] + view[1] * now[1])
    cosine = shared / np.sqrt(mine * theirs + np.float32(1e-9))
    recognised = float((mine * cosine).sum() / (mine.sum() + 1e-6))
    weight = np.sqrt(mine)
    weak = float(weight[theirs < weak_block * mine].sum() / (weight.sum() + 1e-6))
    sharpness = float((strength * now[2]).sum() / ((strength * view[2]).sum() + 1e-6))
    return recognised, weak, sharpness


def _block_means(cells: Float32) -> Float32:
    return _array(cv2.resize(cells, _BLOCKS_HW[::-1], interpolation=cv2.INTER_AREA))
