"""What a place looks like: a small luma patch with its surroundings, and how much of it is still the same.

The patch covers the box and a rim of one sixth round it. The rim says how the light has changed; the inside is
compared block by block, so that a pedestrian before a third of a car leaves two thirds that still agree.

    +--------+   8 x 8 blocks of 8 x 8 px
    | rim    |   the inner 6 x 6 blocks are the box
    |  +--+  |
    |  |  |  |
"""

from __future__ import annotations

import cv2
import numpy as np

from edge.core.pixels import Part, Pixels, pixels_of
from edge.core.types import Float32, UInt8

PATCH_PX = 64
BLOCKS = 8
SAME_THING = 0.5  # agreement from which the pixels say: still there
_BLOCK_PX = PATCH_PX // BLOCKS
_TEXTURED_STD = 5.0  # grey levels; below this a block is flat and only its brightness can be compared
_CORRELATION_MIN = 0.55
_LEVEL_MAX = 14.0  # grey levels between two flat blocks after the light is taken out


def empty_patch() -> Float32:
    return np.zeros((PATCH_PX, PATCH_PX), np.float32)


def luma_patch(picture: Pixels | UInt8, xyxy: Float32) -> Float32:
    """Pixels, (H, W, 3) BGR or (H, W) luma; (4,) px -> (PATCH_PX, PATCH_PX) luma 0..255 of the box and its rim.

    Beyond the picture its edge is repeated.
    """
    width, height = picture.shape[1::-1] if isinstance(picture, np.ndarray) else picture.size_px
    rim_x, rim_y = (xyxy[2] - xyxy[0]) / 6, (xyxy[3] - xyxy[1]) / 6
    left, right = int(np.floor(xyxy[0] - rim_x)), int(np.ceil(xyxy[2] + rim_x))
    top, bottom = int(np.floor(xyxy[1] - rim_y)), int(np.ceil(xyxy[3] + rim_y))
    x0, x1, y0, y1 = max(left, 0), min(right, width), max(top, 0), min(bottom, height)
    if x1 <= x0 or y1 <= y0:
        return empty_patch()
    luma = luma_of(picture, (x0, y0, x1, y1))
    beyond = (y0 - top, bottom - y1, x0 - left, right - x1)
    if any(beyond):
        luma = np.asarray(cv2.copyMakeBorder(luma, *beyond, cv2.BORDER_REPLICATE), np.uint8)
    return cv2.resize(luma, (PATCH_PX, PATCH_PX), interpolation=cv2.INTER_AREA).astype(np.float32)


def luma_of(picture: Pixels | UInt8, part: Part) -> UInt8:
    """A part of a picture, or of what is luma already."""
    if isinstance(picture, np.ndarray) and picture.ndim == 2:
        x1, y1, x2, y2 = part
        return picture[y1:y2, x1:x2]
    return pixels_of(picture).cut(part).luma()


def agreement(before: Float32, now: Float32) -> float:
    """Share 0..1 of the inner blocks that still show the same thing.

    Textured blocks must correlate (zero-mean normalised cross-correlation); flat blocks must keep their level
    once the light of the rim is taken out. A block that gained or lost its texture does not agree.
    """
    first, second = _blocks(before), _blocks(now)
    level_a, level_b = _mean_product(first, _ONES), _mean_product(second, _ONES)
    first, second = first - level_a[..., None], second - level_b[..., None]
    spread_a, spread_b = np.sqrt(_mean_product(first, first)), np.sqrt(_mean_product(second, second))
    gain = min(max(_median((level_b[_RIM] + 1) / (level_a[_RIM] + 1)), 0.4), 2.5)
    textured_a, textured_b = spread_a * gain >= _TEXTURED_STD, spread_b >= _TEXTURED_STD
    correlation = _mean_product(first, second) / np.maximum(spread_a * spread_b, 1e-6)
    same_texture = textured_a & textured_b & (correlation >= _CORRELATION_MIN)
    same_level = ~textured_a & ~textured_b & (np.abs(level_b - gain * level_a) <= _LEVEL_MAX)
    return float((same_texture | same_level)[~_RIM].mean())


def _rim() -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    rim = np.ones((BLOCKS, BLOCKS), np.bool_)
    rim[1:-1, 1:-1] = False
    return rim


_RIM = _rim()
_ONES = np.ones((BLOCKS, BLOCKS, _BLOCK_PX * _BLOCK_PX), np.float32)


def _mean_product(first: Float32, second: Float32) -> Float32:
    """(R, C, P), (R, C, P) -> (R, C): in one pass; numpy's mean and std cost three times as much."""
    return np.asarray(np.einsum("rcp,rcp->rc", first, second) / np.float32(first.shape[2]), np.float32)


def _median(values: Float32) -> float:
    """Of an even number of values; numpy's own takes longer than all the rest of `agreement`."""
    ordered = np.sort(values)
    return float(ordered[len(ordered) // 2 - 1] + ordered[len(ordered) // 2]) / 2


def _blocks(patch: Float32) -> Float32:
    """(P, P) -> (BLOCKS, BLOCKS, pixels of a block)."""
    tiled = patch.reshape(BLOCKS, _BLOCK_PX, BLOCKS, _BLOCK_PX).swapaxes(1, 2)
    return tiled.reshape(BLOCKS, BLOCKS, _BLOCK_PX * _BLOCK_PX)
