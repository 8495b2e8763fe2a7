"""A thing of a known class that stands still in a zone: a parked car, a chair on the pavement.

Still means that the track's box has kept its place for `SETTLE_NS`; a queue that crawls leaves its place again and
again. That the thing was there before it was looked at does not matter: it stands there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge.core import boxes
from edge.core.scenarios.rule import THING, Rule, Scenario, findings_of, wanted
from edge.core.scene import Scene
from edge.core.types import NS_PER_S, Findings, Float32

SETTLE_NS = NS_PER_S


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StationaryRule(Rule):
    kind: ClassVar[str] = "stationary"
    keyed_by: ClassVar[str] = THING

    size_min: float = 0.0  # fraction of the frame


class Stationary(Scenario):
    def __init__(self, rule: StationaryRule, zones: Sequence[Float32]) -> None:
        super().__init__(rule, zones)
        self._size_min = rule.size_min

    def find(self, scene: Scene) -> Findings:
        tracks, presence = scene.tracks, scene.presence[self.rule.anchor]
        still = wanted(tracks, self.rule) & (scene.frame.mono_ns - tracks.rest_since_ns >= SETTLE_NS)
        width, height = scene.frame.size_px
        still &= boxes.area(tracks.xyxy) >= self._size_min * width * height
        zone, row = np.nonzero(presence.inside & self.rule.zone_mask()[:, None] & still[None, :])
        since_ns = np.maximum(tracks.rest_since_ns[row], presence.entered_ns[zone, row])
        return findings_of(tracks, zone=zone, row=row, since_ns=since_ns)
