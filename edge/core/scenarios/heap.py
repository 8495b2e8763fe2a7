"""Things that stand heaped together: `count_min` of them or more, each within `spacing` box heights of another.

One bicycle is in nobody's way, thirty before a station are. Those in a bay do not count. A heap begins with
`count_min` and goes on with two thirds of them (`core/groups.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge.core import boxes
from edge.core.groups import groups_in
from edge.core.scenarios.rule import GROUND, Rule, Scenario
from edge.core.scene import Scene
from edge.core.types import NS_PER_S, Bool, Findings, Float32

SETTLE_NS = NS_PER_S


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class HeapRule(Rule):
    kind: ClassVar[str] = "heap"
    keyed_by: ClassVar[str] = GROUND

    count_min: int
    spacing: float  # neighbours stand within this many box heights
    size_min: float = 0.0  # fraction of the frame
    bays: tuple[str, ...] = ()  # zones in which they may stand

    def begins(self, findings: Findings) -> Bool:
        return np.asarray(findings.count >= self.count_min, np.bool_)


class Heap(Scenario):
    def __init__(self, rule: HeapRule, zones: Sequence[Float32]) -> None:
        super().__init__(rule, zones)
        self._heaps = rule

    def find(self, scene: Scene) -> Findings:
        rule, tracks, now_ns = self._heaps, scene.tracks, scene.frame.mono_ns
        # Carried on unseen for some seconds they count as well: in a heap, each is missed now and then.
        stands = tracks.labelled(rule.labels) & (tracks.score >= rule.score_min)
        stands &= now_ns - tracks.rest_since_ns >= SETTLE_NS
        width, height = scene.frame.size_px
        stands &= boxes.area(tracks.xyxy) >= rule.size_min * width * height
        inside = scene.presence[rule.anchor].inside & stands
        inside &= ~inside[rule.zone_rows(rule.bays)].any(axis=0)
        found = groups_in(tracks.xyxy, inside, rule.zones, spacing=rule.spacing, begins_with=rule.count_min)
        if not found:
            return Findings.empty()
        return Findings(
            zone=np.array([zone for zone, _ in found], np.int16),
            xyxy=np.array([boxes.enclosing(tracks.xyxy[rows]) for _, rows in found], np.float32),
            label=np.array([tracks.label[rows[0]] for _, rows in found], np.int16),
            score=np.array([tracks.score[rows].mean() for _, rows in found], np.float32),
            track_id=np.full(len(found), -1, np.int64),
            since_ns=np.full(len(found), now_ns, np.int64),
            count=np.array([len(rows) for _, rows in found], np.int16),
            reasons=np.zeros((len(found), 0), np.bool_),
        )
