"""How far apart things stand on the ground, and how large they are, as far as one picture tells.

A thing stands where its box's lower edge is. Seen from a pole, depth is foreshortened: a step along the picture's
columns counts `DEPTH` times, as much as a camera that looks down by thirty degrees makes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.core import boxes
from edge.core.types import Bool, Float32, Int64

DEPTH = 2.0
PX_PER_CM_MIN = 0.01  # at the horizon and above it a centimetre has no size
Line = Sequence[Sequence[float]]  # two points
ON_IT = 0.2  # share of the smaller box in the larger one from which one stands on, under or in the other


@dataclass(frozen=True, slots=True)
class Scale:
    """Pixels to a centimetre of ground, measured across the view: a linear function of the picture's row.

    A pinhole camera h above a plane and tilted down by t draws what is at depth Z along its axis at f / Z px a unit,
    and its ground f h / (Z cos t) rows below the horizon. So the scale is the rows below the horizon times cos t / h,
    and two lengths known at two depths give it, whatever the lens, the height and the tilt (Criminisi, Reid and
    Zisserman, Single View Metrology, IJCV 40, 2000). It holds on one plane, without roll and without a wide lens's
    distortion.
    """

    at_top: float  # widths of the picture to a centimetre in its uppermost row; negative where that is sky
    gain: float  # how much more in its lowest row

    @classmethod
    def through(cls, one: tuple[float, float], other: tuple[float, float]) -> Scale:
        """Of two (row in heights of the picture, widths of the picture to a centimetre), the rows not the same."""
        gain = (other[1] - one[1]) / (other[0] - one[0])
        return cls(one[1] - gain * one[0], gain)

    def at(self, row: float) -> float:
        """Row in heights of the picture -> widths of the picture to a centimetre; 0 at the horizon."""
        return self.at_top + self.gain * row

    def px_per_cm(self, y: Float32, size_px: tuple[int, int]) -> Float32:
        """(N,) px from the top -> (N,)"""
        width, height = size_px
        return np.asarray(np.maximum(width * (self.at_top + self.gain * y / height), PX_PER_CM_MIN), np.float32)


@dataclass(frozen=True, slots=True)
class Ground:
    """What is known of a zone's ground beside its outline; lines in fractions of the frame."""

    scale: Scale | None = None
    front: Line | None = None  # along which the shops stand


def sizes_cm(xyxy: Float32, zone: Int64, grounds: Sequence[Ground], size_px: tuple[int, int]) -> Float32:
    """(N, 4) px, (N,) rows of zones -> (N,) cm: the longer side of each box, where it stands. NaN without a scale."""
    return in_cm(sides(xyxy), xyxy[:, 3], zone, grounds, size_px)


def in_cm(length_px: Float32, y: Float32, zone: Int64, grounds: Sequence[Ground], size_px: tuple[int, int]) -> Float32:
    """(N,) lengths across the view at (N,) rows, in px -> (N,) cm. NaN without a scale."""
    centimetres = np.full(len(length_px), np.nan, np.float32)
    for row, known in enumerate(grounds):  # zones are few
        if known.scale is not None:
            here = zone == row
            centimetres[here] = length_px[here] / known.scale.px_per_cm(y[here], size_px)
    return centimetres


def from_line(points: Float32, line: Line, size_px: tuple[int, int]) -> Float32:
    """(N, 2) px, a line in fractions -> (N,) px of ground between each point and the line, both ways prolonged."""
    stretch = np.array([1, DEPTH], np.float32)
    ends = np.array(line, np.float32) * np.array(size_px, np.float32) * stretch
    along = (ends[1] - ends[0]) / np.hypot(*(ends[1] - ends[0]))
    step = points * stretch - ends[0]
    return np.asarray(np.abs(along[0] * step[:, 1] - along[1] * step[:, 0]), np.float32)


def gaps(xyxy: Float32) -> Float32:
    """(N, 4) px -> (N, N) px of ground between each two, along the lower edges; 0 where one stands on the other."""
    aside = np.maximum(xyxy[:, None, 0] - xyxy[None, :, 2], xyxy[None, :, 0] - xyxy[:, None, 2])
    behind = xyxy[:, None, 3] - xyxy[None, :, 3]
    gap = np.hypot(np.maximum(aside, 0), DEPTH * behind)
    share = boxes.coverage(xyxy, xyxy)
    return np.where(np.maximum(share, share.T) >= ON_IT, 0, gap).astype(np.float32)


def sides(xyxy: Float32) -> Float32:
    """(N, 4) -> (N,) px, the longer side of each box."""
    return np.asarray((xyxy[:, 2:] - xyxy[:, :2]).max(axis=1, initial=0), np.float32)


def beside(xyxy: Float32, people: Float32) -> Bool:
    """(N, 4) things, (M, 4) people -> (N, M): who stands at which, within about a body's height or touching it."""
    feet, height = boxes.anchors(people), people[:, 3] - people[:, 1]
    aside = np.maximum(xyxy[:, None, 0] - feet[None, :, 0], feet[None, :, 0] - xyxy[:, None, 2])
    # Who stands behind a cart shows no feet: the box ends where the cart begins.
    before = np.maximum(feet[None, :, 1] - xyxy[:, None, 3], xyxy[:, None, 1] - feet[None, :, 1])
    distance = np.hypot(np.maximum(aside, 0), DEPTH * np.maximum(before, 0))
    return np.asarray((distance <= height[None, :]) | touching(xyxy, people))


def touching(xyxy: Float32, people: Float32) -> Bool:
    """(N, 4) things, (M, 4) people -> (N, M): whose box meets which, or all but does: a suitcase, a parasol above."""
    margin = 0.1 * (people[:, 3] - people[:, 1])[None, :]
    aside = np.maximum(xyxy[:, None, 0] - people[None, :, 2], people[None, :, 0] - xyxy[:, None, 2])
    above = np.maximum(xyxy[:, None, 1] - people[None, :, 3], people[None, :, 1] - xyxy[:, None, 3])
    return np.asarray(np.maximum(aside, above) <= margin)


def connected(near: Bool) -> Int64:
    """(N, N) symmetric -> (N,) number of the chain that each belongs to: the row of its first member."""
    count = len(near)
    chain = np.arange(count)
    # Each round hands the smallest number on to all neighbours; N rounds reach the end of the longest chain.
    for _ in range(count):
        handed = np.minimum(chain, np.where(near, chain[None, :], count).min(axis=1, initial=count))
        if np.array_equal(handed, chain):
            break
        chain = handed
    return chain.astype(np.int64, copy=False)
