"""A thing of a known class that stands still in a zone: a parked car, a chair on the pavement.

Still means that the track's box has kept its place for `SETTLE_NS`; a queue that crawls leaves its place again and
again. That the thing was there before it was looked at does not matter: it stands there. What waits in a queue is told
of as waiting (see `core/queues.py`), wherever in the picture its companions are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from edge.core import boxes
from edge.core.queues import Halts, Queues
from edge.core.scenarios.rule import THING, Rule, Scenario, findings_of, large_enough_cm, three_looks_in, wanted
from edge.core.scene import Scene
from edge.core.types import HOLDS, LASTS, NS_PER_S, WAITS, Bool, Findings, Float32, Int64, Tracks

SETTLE_NS = NS_PER_S
QUEUE_LOOK_NS = 5 * NS_PER_S // 2  # simulated queues raise nothing with looks 2 s apart, and a case or two with 4 s


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StationaryRule(Rule):
    kind: ClassVar[str] = "stationary"
    keyed_by: ClassVar[str] = THING

    size_min: float = 0.0  # fraction of the frame
    size_cm_min: float = 0.0  # the longer side; 0: none asked for
    bays: tuple[str, ...] = ()  # zones in which it may stand
    queue_max_ns: int = 0  # nothing waits in a queue for longer; 0: nothing does

    @property
    def look_max_ns(self) -> int:
        """A queue that has moved up between two looks is a row of other cars, none of which was seen to come."""
        dwell_ns = three_looks_in(self.after_ns)
        return min(dwell_ns, QUEUE_LOOK_NS) if self.queue_max_ns else dwell_ns


class Stationary(Scenario):
    def __init__(self, rule: StationaryRule, zones: Sequence[Float32]) -> None:
        super().__init__(rule, zones)
        self._size_min, self._size_cm_min = rule.size_min, rule.size_cm_min
        self._bays = rule.zone_rows(rule.bays)
        self._queues = Queues(queue_max_ns=rule.queue_max_ns) if rule.queue_max_ns else None

    def find(self, scene: Scene) -> Findings:
        tracks, presence = scene.tracks, scene.presence[self.rule.anchor]
        halts = self._halts(scene)
        width, height = scene.frame.size_px
        large = boxes.area(tracks.xyxy) >= self._size_min * width * height
        watched = presence.inside & self.rule.zone_mask()[:, None]
        still = wanted(tracks, self.rule) & halts.stands & large & ~presence.inside[self._bays].any(axis=0)
        zone, row = np.nonzero(watched & still[None, :])
        large_cm = large_enough_cm(
            tracks.xyxy[row], zone, self.rule, size_cm_min=self._size_cm_min, size_px=scene.frame.size_px
        )
        zone, row = zone[large_cm], row[large_cm]
        second = self._second_boxes(tracks, row)
        since_ns = np.maximum(halts.since_ns[row], presence.entered_ns[zone, row])
        extent = np.where(second[row], LASTS, np.where(halts.waits[row], WAITS, HOLDS)).astype(np.int8)
        return replace(findings_of(tracks, zone=zone, row=row, since_ns=since_ns), extent=extent)

    def interrupt(self) -> None:
        if self._queues is not None:
            self._queues.interrupt()

    def _halts(self, scene: Scene) -> Halts:
        """(T,) of all tracks. A dim vehicle, or one beyond the zone, is as good a neighbour in a queue."""
        tracks, mono_ns = scene.tracks, scene.frame.mono_ns
        stands = mono_ns - tracks.rest_since_ns >= SETTLE_NS
        waits, since_ns = np.zeros(len(tracks), np.bool_), tracks.rest_since_ns.copy()
        if self._queues is not None:
            rows = np.flatnonzero(tracks.labelled(self.rule.labels))
            halts = self._queues.update(tracks.take(rows), mono_ns, size_px=scene.frame.size_px)
            stands[rows], waits[rows], since_ns[rows] = halts
        return Halts(np.asarray(stands), waits, since_ns)

    def _second_boxes(self, tracks: Tracks, found: Int64) -> Bool:
        """(T,) the lesser one of two boxes on one vehicle, which begins no case of its own but carries one on.

        `found`: rows of what could be a case; no other box keeps one from being told. Only where queues are looked for.
        """
        second = np.zeros(len(tracks), np.bool_)
        if self._queues is not None:
            able = np.zeros(len(tracks), np.bool_)
            able[found] = tracks.detection[found] >= 0
            rows = np.flatnonzero(tracks.labelled(self.rule.labels))
            second[rows] = self._queues.second_boxes(able[rows])
        return second
