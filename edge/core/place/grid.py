"""Which part of the frame is looked at, how coarsely, and what a picture is made into: log luma and chroma in cells.

In logarithms light is something added. Chroma as a difference of two of them does not know about light at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edge.core import boxes, polygons
from edge.core.pixels import Pixels
from edge.core.place.settings import BackgroundSettings
from edge.core.types import Bool, Float32, Int64, UInt8

# Added to grey levels before the logarithm: below about this level a camera shows noise, not reflectance.
DARK_LEVEL = 16.0
LOG = np.log(np.arange(256, dtype=np.float32) + DARK_LEVEL).astype(np.float32)
# Rows: luma, red against green, blue against green.
_MIX = np.array([[0.1, 0.6, 0.3], [0, -1, 1], [1, -1, 0]], np.float32)
_EVEN_FROM = 4  # px a cell; from here on an even number of them, which scales in cheap steps
_BLUR_HW = (3, 3)


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Which part of the frame is looked at, and how coarsely."""

    frame_hw: tuple[int, int]
    x_px: int
    y_px: int
    cell_px: int
    zone: Bool  # (rows, columns) cells looked at, margin included
    zones: Bool  # (rows, columns) cells inside the zones

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)"""
        rows, columns = self.zone.shape
        return rows, columns

    @property
    def window_px(self) -> tuple[int, int, int]:
        """Left, top, and the size of a cell."""
        return self.x_px, self.y_px, self.cell_px

    def to_px(self, xyxy: Float32) -> Float32:
        offset = np.array([self.x_px, self.y_px, self.x_px, self.y_px], np.float32)
        return np.asarray(xyxy * self.cell_px + offset, np.float32)

    def to_cells(self, xyxy: Float32) -> Int64:
        """(N, 4) px -> (N, 4) cells that they touch, inside the picture."""
        offset = np.array([self.x_px, self.y_px, self.x_px, self.y_px], np.float32)
        cells = (xyxy - offset) / self.cell_px
        cells[:, :2] = np.floor(cells[:, :2])
        cells[:, 2:] = np.ceil(cells[:, 2:])
        rows, columns = self.shape
        return np.clip(cells, 0, np.array([columns, rows, columns, rows])).astype(np.int64)

    def covered(self, xyxy: Float32) -> Bool:
        """(N, 4) px -> (rows, columns): the cells that the boxes touch."""
        covered = np.zeros(self.shape, np.bool_)
        for x1, y1, x2, y2 in self.to_cells(xyxy):  # slices of one picture cannot be painted all at once
            covered[y1:y2, x1:x2] = True
        return covered

    def in_zones(self, xyxy: Float32) -> bool:
        """Whether the middle of one box, (4,) px, lies in a zone."""
        middle = (boxes.anchors(xyxy[None], boxes.CENTER)[0] - (self.x_px, self.y_px)) // self.cell_px
        column, row = np.clip(middle, 0, (self.shape[1] - 1, self.shape[0] - 1)).astype(int)
        return bool(self.zones[row, column])

    def features(self, pixels: Pixels) -> Float32:
        """The whole picture -> (3, rows, columns) log luma, log chroma."""
        rows, columns = self.shape
        right, bottom = self.x_px + columns * self.cell_px, self.y_px + rows * self.cell_px
        small = pixels.cut((self.x_px, self.y_px, right, bottom)).scaled((columns, rows))
        mixed = cv2.transform(cv2.GaussianBlur(cv2.LUT(small, LOG), _BLUR_HW, 0), _MIX)
        return np.ascontiguousarray(mixed.transpose(2, 0, 1))


def at(picture: Float32, cells: Bool) -> Float32:
    """(3, rows, columns), (rows, columns) -> (3, n) in those cells; `picture[:, cells]` takes thirty times as long."""
    return picture.reshape(len(picture), -1).take(np.flatnonzero(cells), axis=1)


def put(into: Float32, picture: Float32, cells: Bool) -> None:
    """(3, rows, columns) twice: what is in those cells; one mask for all three planes takes six times as long."""
    for own, new in zip(into, picture, strict=True):
        np.copyto(own, new, where=cells)


def levels(picture: Float32) -> UInt8:
    """(3, rows, columns) log luma and chroma -> (rows, columns, 3) BGR: what `Grid.features` was made from."""
    mix = np.linalg.inv(_MIX.astype(np.float64)).astype(np.float32)
    grey = np.clip(np.exp(np.tensordot(mix, picture, axes=1)) - DARK_LEVEL + 0.5, 0, 255)
    return np.ascontiguousarray(grey.transpose(1, 2, 0), dtype=np.uint8)


def make_grid(
    zones: Sequence[Float32], ignored: Sequence[Float32], frame_hw: tuple[int, int], settings: BackgroundSettings
) -> Grid:
    height, width = frame_hw
    points = np.concatenate([polygons.to_pixels(zone, width=width, height=height) for zone in zones])
    margin_px = settings.margin_share * max(np.ptp(points[:, 0]), np.ptp(points[:, 1]))
    corner = np.clip(points.min(axis=0) - margin_px, 0, (width - 1, height - 1))  # at least one pixel is looked at
    x1, y1 = np.floor(corner).astype(int)
    x2, y2 = np.ceil(np.minimum(points.max(axis=0) + margin_px, (width, height))).astype(int)
    cell_px = _cell_px(float(np.sqrt((x2 - x1) * (y2 - y1) / settings.cells_max)))
    columns, rows = max((x2 - x1) // cell_px, 1), max((y2 - y1) // cell_px, 1)
    inside, left_out = np.zeros((2, rows, columns), np.uint8)
    for mask, outlines in ((inside, zones), (left_out, ignored)):
        for outline in outlines:  # cv2.fillPoly on all at once would count overlaps out
            cells = (polygons.to_pixels(outline, width=width, height=height) - (x1, y1)) / cell_px
            cv2.fillPoly(mask, [np.round(cells - 0.5).astype(np.int32)], 1)
    margin = max(1, round(float(margin_px) / cell_px))
    around = cv2.dilate(inside, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    looked_at = left_out == 0
    return Grid(frame_hw, int(x1), int(y1), cell_px, (around > 0) & looked_at, (inside > 0) & looked_at)


def _cell_px(wanted: float) -> int:
    """Whole pixels, and an even number of them where a cell is large."""
    return max(1, round(wanted)) if wanted < _EVEN_FROM else 2 * round(wanted / 2)
