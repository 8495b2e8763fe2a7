"""People who stand together in a zone: `people_min` of them or more, each within `spacing` body heights of another.

Only people who stay count: those who walk through at a walking pace do not make a gathering.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge.core import boxes
from edge.core.scenarios.rule import GROUND, Rule, Scenario, wanted
from edge.core.scene import Scene
from edge.core.types import NS_PER_S, Bool, Findings, Float32, Int64

STAY_NS = 2 * NS_PER_S  # a visit shorter than this is somebody passing
# Body heights a second. An adult's walk is about 0.8 (1.4 m/s at 1.7 m); people in a group shuffle below half of it.
SPEED_MAX = 0.4


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GatheringRule(Rule):
    kind: ClassVar[str] = "gathering"
    keyed_by: ClassVar[str] = GROUND

    people_min: int
    spacing: float  # neighbours stand within this many body heights


class Gathering(Scenario):
    def __init__(self, rule: GatheringRule, zones: Sequence[Float32]) -> None:
        super().__init__(rule, zones)
        self._people_min, self._spacing = rule.people_min, rule.spacing

    def find(self, scene: Scene) -> Findings:
        tracks, presence = scene.tracks, scene.presence[self.rule.anchor]
        staying = wanted(tracks, self.rule) & (tracks.speed <= SPEED_MAX)
        stays = presence.inside & (presence.visible_ns >= STAY_NS) & staying[None, :]
        found: list[tuple[int, Int64]] = []
        # Zones are few, and groups fewer: a list of groups is clearer than a padded (Z, groups, members) array.
        for zone in self.rule.zones:
            rows = np.nonzero(stays[zone])[0]
            group = groups_of(tracks.xyxy[rows], self._spacing)
            sizes = np.bincount(group, minlength=1)
            found += [(zone, rows[group == large]) for large in np.nonzero(sizes >= self._people_min)[0]]
        if not found:
            return Findings.empty()
        return Findings(
            zone=np.array([zone for zone, _ in found], np.int16),
            xyxy=np.array([boxes.enclosing(tracks.xyxy[rows]) for _, rows in found], np.float32),
            label=np.array([tracks.label[rows[0]] for _, rows in found], np.int16),
            score=np.array([tracks.score[rows].mean() for _, rows in found], np.float32),
            track_id=np.full(len(found), -1, np.int64),
            since_ns=np.full(len(found), scene.frame.mono_ns, np.int64),
            count=np.array([len(rows) for _, rows in found], np.int16),
            reasons=np.zeros((len(found), 0), np.bool_),
        )


def groups_of(xyxy: Float32, spacing: float) -> Int64:
    """(N, 4) -> (N,) number of the group of each person: connected when feet stand within `spacing` body heights."""
    near = _near(xyxy, spacing)
    group = np.arange(len(xyxy))
    # Each round hands the smallest number on to all neighbours; N rounds reach the end of the longest chain.
    for _ in range(len(xyxy)):
        handed = np.where(near, group[None, :], len(xyxy)).min(axis=1, initial=len(xyxy))
        if np.array_equal(handed, group):
            break
        group = handed
    return group.astype(np.int64, copy=False)


def _near(xyxy: Float32, spacing: float) -> Bool:
    feet = boxes.anchors(xyxy)
    height = xyxy[:, 3] - xyxy[:, 1]
    reach = spacing * np.minimum(height[:, None], height[None, :])
    step = feet[:, None, :] - feet[None, :, :]
    # Seen from a pole, depth is foreshortened: a step along y counts double.
    return np.asarray(np.hypot(step[..., 0], 2 * step[..., 1]) <= reach, np.bool_)
