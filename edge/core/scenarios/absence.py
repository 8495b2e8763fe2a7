"""Nobody comes: no sign of life in a zone, for as long as it could be seen.

The finding is "nobody is here", and it holds in every look that shows nobody; the case book adds up the time that was
looked at, keeps it over a restart, and lets blind time count for nothing. Somebody is there when a track was seen
inside for `stay_ns`: a false person of one look makes no life. Where `moving` is asked for it must also have moved:
a coat on a hook that the detector takes for a person would else live for ever, and nobody would come to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge.core import boxes
from edge.core.carrying import rows_again
from edge.core.scenarios.rule import ZONE, Rule, Scenario, three_looks_in, wanted
from edge.core.scene import Scene
from edge.core.types import Bool, Findings, Float32, Tracks

MOVED = 0.3  # box heights away from where it was seen first; half of a step, and more than a box trembles


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AbsenceRule(Rule):
    kind: ClassVar[str] = "absence"
    keyed_by: ClassVar[str] = ZONE
    over: ClassVar[str] = "activity"
    pauses: ClassVar[bool] = True

    stay_ns: int
    moving: bool

    @property
    def look_max_ns(self) -> int:
        """Who walks past between two looks is a sign of life that nobody saw; who sits there for `stay_ns` is seen."""
        return 0 if self.moving else min(self.stay_ns, three_looks_in(self.after_ns))


class Absence(Scenario):
    def __init__(self, rule: AbsenceRule, zones: Sequence[Float32]) -> None:
        super().__init__(rule, zones)
        self._stay_ns, self._moving = rule.stay_ns, rule.moving
        self._bounds = np.array([[*zone.min(axis=0), *zone.max(axis=0)] for zone in zones], np.float32)  # (Z, 4)
        self._began_ns = -1  # of the first look; what was before is not known
        self._active_ns = np.full(len(zones), -1, np.int64)  # (Z,) of the last sign of life
        self._track_id = np.zeros(0, np.int64)  # (T,) of the last look
        self._first = np.zeros((0, 2), np.float64)  # (T, 2) where each was seen first, in fractions
        self._moved = np.zeros(0, np.bool_)

    def find(self, scene: Scene) -> Findings:
        now_ns, tracks = scene.frame.mono_ns, scene.tracks
        self._began_ns = now_ns if self._began_ns < 0 else self._began_ns
        presence = scene.presence[self.rule.anchor]
        alive = wanted(tracks, self.rule) & (self._has_moved(tracks, scene.frame.size_px) | (not self._moving))
        here = presence.inside & (presence.visible_ns >= self._stay_ns) & alive[None, :]
        self._active_ns[here.any(axis=1)] = now_ns
        zone = np.flatnonzero(self.rule.zone_mask() & ~here.any(axis=1))
        width, height = scene.frame.size_px
        return Findings(
            zone=zone.astype(np.int16),
            xyxy=self._bounds[zone] * np.array([width, height, width, height], np.float32),
            label=np.full(len(zone), self.rule.labels[0], np.int16),  # what is not there
            score=np.zeros(len(zone), np.float32),
            track_id=np.full(len(zone), -1, np.int64),
            since_ns=np.maximum(self._active_ns[zone], self._began_ns),
            count=np.zeros(len(zone), np.int16),
            reasons=np.zeros((len(zone), 0), np.bool_),
        )

    def _has_moved(self, tracks: Tracks, size_px: tuple[int, int]) -> Bool:
        """(T,) rows beside the tracker's table; they die with the track."""
        scale = np.array(size_px, np.float64)
        point = boxes.anchors(tracks.xyxy, boxes.CENTER) / scale
        source = rows_again(tracks.track_id, self._track_id)
        held = source >= 0
        first, moved = point.copy(), np.zeros(len(tracks), np.bool_)
        first[held], moved[held] = self._first[source[held]], self._moved[source[held]]
        way_px = np.hypot(*((point - first) * scale).T)
        moved |= (tracks.detection >= 0) & (way_px >= MOVED * (tracks.xyxy[:, 3] - tracks.xyxy[:, 1]))
        self._track_id, self._first, self._moved = tracks.track_id, first, moved
        return moved
