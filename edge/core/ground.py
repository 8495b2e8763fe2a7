"""How far apart things stand on the ground, as far as one picture tells.

A thing stands where its box's lower edge is. Seen from a pole, depth is foreshortened: a step along the picture's
columns counts `DEPTH` times, as much as a camera that looks down by thirty degrees makes of it.
"""

from __future__ import annotations

import numpy as np

from edge.core import boxes
from edge.core.types import Bool, Float32, Int64

DEPTH = 2.0
ON_IT = 0.2  # share of the smaller box in the larger one from which one stands on, under or in the other


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
