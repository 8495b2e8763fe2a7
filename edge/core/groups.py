"""Who stands together: people, or things, each within some heights of another on the ground.

A group begins with as many as asked for and goes on with two thirds of them: not everybody is seen in every look, and
one goes for a coffee.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.core import boxes, ground
from edge.core.types import Bool, Float32, Int64

KEPT_SHARE = 2 / 3


def groups_of(xyxy: Float32, spacing: float) -> Int64:
    """(N, 4) -> (N,) number of the group of each: connected when their feet are within `spacing` heights."""
    feet = boxes.anchors(xyxy)
    height = xyxy[:, 3] - xyxy[:, 1]
    reach = spacing * np.minimum(height[:, None], height[None, :])
    step = feet[:, None, :] - feet[None, :, :]
    return ground.connected(np.hypot(step[..., 0], ground.DEPTH * step[..., 1]) <= reach)


def groups_in(
    xyxy: Float32, inside: Bool, zones: Sequence[int], *, spacing: float, begins_with: int
) -> list[tuple[int, Int64]]:
    """(N, 4), (Z, N) -> (zone, rows) of each group in one of `zones` that is large enough to go on."""
    kept_min = np.ceil(begins_with * KEPT_SHARE)
    groups = []
    # Zones are few, and groups fewer: a list of groups is clearer than a padded (Z, groups, members) array.
    for zone in zones:
        rows = np.flatnonzero(inside[zone])
        group = groups_of(xyxy[rows], spacing)
        large = np.flatnonzero(np.bincount(group, minlength=1) >= kept_min)
        groups += [(zone, rows[group == number]) for number in large]
    return groups
