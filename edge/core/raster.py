"""Which zones points lie in, by one look into a raster of the frame: exactly what `polygons.contains` says.

A cell that no outline comes near lies whole in a zone or whole outside; for points in the others, and beyond the frame,
the polygon itself is asked. The raster is made once for each size of picture.

    +--+--+--+--+
    |  |  |##|##|   # an outline passes: ask the polygon
    |  |##|##| i|   i inside, whole
    |  |##| i| i|
    +--+--+--+--+
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.core import polygons
from edge.core.types import Bool, Float32, UInt8

COLUMNS, ROWS = 128, 72
_BEYOND = COLUMNS * ROWS  # the cell of all points that are in no other
_OUTSIDE, _INSIDE, _NEAR_OUTLINE = 0, 1, 2
_ROUNDING_PX = 0.05  # more than 32-bit arithmetic on pixels is off by, in a picture of 8K


class Raster:
    """The zones of one camera: Z polygons, (V, 2) in fractions."""

    def __init__(self, zones: Sequence[Float32]) -> None:
        self._zones = tuple(np.asarray(zone, np.float32) for zone in zones)
        self._size_px = (0, 0)
        self._outlines: Float32 = np.zeros((len(self._zones), 0, 2), np.float32)  # (Z, V, 2) px
        self._cells: UInt8 = np.zeros((len(self._zones), _BEYOND + 1), np.uint8)

    def __len__(self) -> int:
        return len(self._zones)

    def inside(self, points: Float32, *, width: int, height: int) -> Bool:
        """(N, 2) px of a picture of width x height -> (Z, N)."""
        if not len(points) or not self._zones:
            return np.zeros((len(self._zones), len(points)), np.bool_)
        if self._size_px != (width, height):
            self._fit_to(width, height)
        found = self._cells[:, _cell_of(points, width, height)]
        inside: Bool = found == _INSIDE
        zone, row = np.nonzero(found == _NEAR_OUTLINE)
        if len(zone):
            inside[zone, row] = polygons.contains_each(self._outlines[zone], points[row])
        return inside

    def _fit_to(self, width: int, height: int) -> None:
        self._size_px = (width, height)
        own = [polygons.to_pixels(zone, width=width, height=height) for zone in self._zones]
        corners = max(len(polygon) for polygon in own)
        # A corner said twice makes an edge of no length, which nothing crosses.
        self._outlines = np.stack([np.pad(polygon, ((0, corners - len(polygon)), (0, 0)), "edge") for polygon in own])
        self._cells[:, _BEYOND] = _NEAR_OUTLINE
        for cells, polygon in zip(self._cells, own, strict=True):
            cells[:_BEYOND] = _drawn(polygon, width, height).ravel()


def _cell_of(points: Float32, width: int, height: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """(N, 2) px -> (N,) cell."""
    x, y = points[:, 0], points[:, 1]
    framed = (x >= 0) & (x < width) & (y >= 0) & (y < height)  # a NaN is nowhere
    x, y = np.where(framed, x, 0), np.where(framed, y, 0)
    column, row = (x * (COLUMNS / width)).astype(np.int64), (y * (ROWS / height)).astype(np.int64)
    return np.where(framed, np.minimum(row, ROWS - 1) * COLUMNS + np.minimum(column, COLUMNS - 1), _BEYOND)


def _drawn(polygon: Float32, width: int, height: int) -> UInt8:
    """(V, 2) px -> (ROWS, COLUMNS)."""
    half_x, half_y = width / COLUMNS / 2, height / ROWS / 2
    x = (2 * np.arange(COLUMNS) + 1)[None, :] * half_x
    y = (2 * np.arange(ROWS) + 1)[:, None] * half_y
    middles = np.stack(np.broadcast_arrays(x, y), axis=-1).reshape(-1, 2).astype(np.float32)
    cells = polygons.contains(polygon, middles).reshape(ROWS, COLUMNS).astype(np.uint8)
    half_x, half_y = half_x + _ROUNDING_PX, half_y + _ROUNDING_PX
    # One edge of the outline after the other, each against all cells, once for each size of picture.
    for (x1, y1), (x2, y2) in zip(polygon.astype(float), np.roll(polygon, -1, axis=0).astype(float), strict=True):
        beside = (np.abs(2 * x - x1 - x2) <= abs(x2 - x1) + 2 * half_x) & (
            np.abs(2 * y - y1 - y2) <= abs(y2 - y1) + 2 * half_y
        )
        across = np.abs((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) <= abs(x2 - x1) * half_y + abs(y2 - y1) * half_x
        cells[beside & across] = _NEAR_OUTLINE
    return cells
