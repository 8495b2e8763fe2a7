"""Arithmetic on boxes: xyxy float32, pixels, all pairs at once.

A box with x2 <= x1 or y2 <= y1 has area 0, and an IoU or coverage with area 0 is 0, never NaN.
"""

from __future__ import annotations

import numpy as np

from edge.core.types import Float32

BOTTOM = "bottom"
CENTER = "center"


def area(xyxy: Float32) -> Float32:
    """(N, 4) -> (N,) px²."""
    size = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 0)
    return np.asarray(size[:, 0] * size[:, 1], np.float32)


def intersection(first: Float32, second: Float32) -> Float32:
    """(A, 4), (B, 4) -> (A, B) px² that both cover."""
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = np.minimum(first[:, None, 2:], second[None, :, 2:])
    size = np.maximum(bottom_right - top_left, 0)
    return np.asarray(size[..., 0] * size[..., 1], np.float32)


def iou(first: Float32, second: Float32) -> Float32:
    """(A, 4), (B, 4) -> (A, B) intersection over union, 0..1."""
    shared = intersection(first, second)
    union = area(first)[:, None] + area(second)[None, :] - shared
    return _ratio(shared, union)


def coverage(first: Float32, second: Float32) -> Float32:
    """(A, 4), (B, 4) -> (A, B) share of each first box that each second box covers, 0..1."""
    shared = intersection(first, second)
    own = np.broadcast_to(area(first)[:, None], shared.shape)
    return _ratio(shared, own)


def anchors(xyxy: Float32, anchor: str = BOTTOM) -> Float32:
    """(N, 4) -> (N, 2): the point that says where a thing is, the middle of its lower edge or of the box."""
    points = np.empty((len(xyxy), 2), np.float32)
    points[:, 0] = (xyxy[:, 0] + xyxy[:, 2]) * 0.5
    points[:, 1] = xyxy[:, 3] if anchor == BOTTOM else (xyxy[:, 1] + xyxy[:, 3]) * 0.5
    return points


def clip(xyxy: Float32, *, width: int, height: int) -> Float32:
    """(N, 4) -> (N, 4) inside a frame of width x height px."""
    limit = np.array([width, height, width, height], np.float32)
    return np.clip(xyxy, 0, limit).astype(np.float32, copy=False)


def enclosing(xyxy: Float32) -> Float32:
    """(N, 4), N >= 1 -> (4,) the smallest box round them all."""
    return np.concatenate([xyxy[:, :2].min(axis=0), xyxy[:, 2:].max(axis=0)]).astype(np.float32, copy=False)


def rescaling(before_px: tuple[int, int], now_px: tuple[int, int]) -> Float32:
    """(4,) by which boxes in a picture of one (width, height) become those of the same view in another; from (0, 0),
    which is no size yet, all stay as they are."""
    if before_px in ((0, 0), now_px):
        return np.ones(4, np.float32)
    return np.array([now_px[0] / before_px[0], now_px[1] / before_px[1]] * 2, np.float32)


def _ratio(part: Float32, whole: Float32) -> Float32:
    ratio = np.zeros_like(part)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio
