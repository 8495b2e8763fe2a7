"""Points against polygons, all at once. A polygon is (V, 2) float32, closed by itself, either turning direction."""

from __future__ import annotations

import numpy as np

from edge.core.types import Bool, Float32


def contains(polygon: Float32, points: Float32) -> Bool:
    """(V, 2), (N, 2) -> (N,): even-odd rule by ray casting (Shimrat 1962).

    Half-open: a point on a shared edge of two polygons that tile the plane is in exactly one of them.
    """
    return contains_each(polygon[None], points)


def contains_each(outlines: Float32, points: Float32) -> Bool:
    """(N or 1, V, 2), (N, 2) -> (N,): the same for each point and a polygon of its own."""
    start, end = outlines, np.roll(outlines, -1, axis=1)
    x, y = points[:, None, 0], points[:, None, 1]
    crosses = (start[..., 1] > y) != (end[..., 1] > y)
    rise = end[..., 1] - start[..., 1]
    slope = np.divide(end[..., 0] - start[..., 0], rise, out=np.zeros_like(rise), where=rise != 0)
    x_at_y = start[..., 0] + (y - start[..., 1]) * slope
    inside = np.count_nonzero(crosses & (x < x_at_y), axis=1) % 2 == 1
    return np.asarray(inside, np.bool_)


def area(polygon: Float32) -> float:
    """Unsigned area by the shoelace formula, in the polygon's own units squared."""
    following = np.roll(polygon, -1, axis=0).astype(np.float64)
    x, y = polygon[:, 0].astype(np.float64), polygon[:, 1].astype(np.float64)
    return float(abs(np.sum(x * following[:, 1] - following[:, 0] * y)) / 2)


def to_pixels(polygon: Float32, *, width: int, height: int) -> Float32:
    """Fractions 0..1 of a frame -> pixels."""
    return (polygon * np.array([width, height], np.float32)).astype(np.float32, copy=False)
