"""Something of no known class that was put down in a zone and stayed (the static-object model says what)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge.core import boxes, polygons
from edge.core.scenarios.rule import REGION, Rule, Scenario, large_enough_cm
from edge.core.scene import Scene
from edge.core.types import Findings, Float32
from edge.core.zones import ZoneMap

AREA_MIN_PX = 40.0  # px² of the source: below this a region is noise whatever the zone's size


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LeftObjectRule(Rule):
    kind: ClassVar[str] = "left_object"
    keyed_by: ClassVar[str] = REGION
    sees_regions: ClassVar[bool] = True

    size_min: float = 0.0  # fraction of the zone
    size_cm_min: float = 0.0  # the longer side; 0: none asked for


class LeftObject(Scenario):
    def __init__(self, rule: LeftObjectRule, zones: Sequence[Float32]) -> None:
        super().__init__(rule, zones)
        self._size_min, self._size_cm_min = rule.size_min, rule.size_cm_min
        self._zones = ZoneMap(zones, anchor=boxes.CENTER)
        self._zone_area = np.array([polygons.area(zone) for zone in zones])  # (Z,) of the frame's area

    def find(self, scene: Scene) -> Findings:
        regions = scene.regions
        width, height = scene.frame.size_px
        area_px = boxes.area(regions.xyxy)
        size_min_px = np.maximum(self._zone_area * (width * height) * self._size_min, AREA_MIN_PX)
        unexplained = regions.appeared & (regions.explained_by < 0) & (regions.score >= self.rule.score_min)
        inside = self._zones.inside(regions.xyxy, width=width, height=height)
        large = area_px[None, :] >= size_min_px[:, None]
        zone, row = np.nonzero(inside & large & self.rule.zone_mask()[:, None] & unexplained[None, :])
        large_cm = large_enough_cm(
            regions.xyxy[row], zone, self.rule, size_cm_min=self._size_cm_min, size_px=scene.frame.size_px
        )
        zone, row = zone[large_cm], row[large_cm]
        return Findings(
            zone=zone.astype(np.int16),
            xyxy=regions.xyxy[row],
            label=np.full(len(row), -1, np.int16),
            score=regions.score[row],
            track_id=np.full(len(row), -1, np.int64),
            since_ns=regions.since_ns[row],
            count=np.ones(len(row), np.int16),
            reasons=np.zeros((len(row), 0), np.bool_),
        )
