"""One scenario as one camera uses it: names turned into rows, seconds into nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edge.core.boxes import BOTTOM
from edge.core.scene import Scene
from edge.core.types import Bool, Findings, Int16, Int64, Tracks

STATIONARY = "stationary"
LEFT_OBJECT = "left_object"
LOITERING = "loitering"
GATHERING = "gathering"


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """The parameters of one use. Times in nanoseconds; `size_min` is a fraction of the frame,
    for a left object of the zone."""

    scenario: str
    kind: str
    zones: tuple[int, ...]  # rows of the camera's zones
    zone_names: tuple[str, ...]  # of all the camera's zones
    labels: Int16  # rows of the model's labels
    label_names: tuple[str, ...]  # of all the model's labels
    score_min: float
    after_ns: int
    clear_after_ns: int
    repeat_ns: int  # 0: never updated
    anchor: str = BOTTOM
    size_min: float = 0.0
    people_min: int = 0
    spacing: float = 0.0  # of a gathering: neighbours stand within this many body heights

    def zone_mask(self) -> Bool:
        """(Z,) which of the camera's zones the rule watches."""
        mask = np.zeros(len(self.zone_names), np.bool_)
        mask[list(self.zones)] = True
        return mask


class Scenario(Protocol):
    """Says for which things a condition holds in one frame. Keeps no dwell: that is the case book's."""

    rule: Rule

    def find(self, scene: Scene) -> Findings: ...


def findings_of(tracks: Tracks, *, zone: Int64, row: Int64, since_ns: Int64) -> Findings:
    """(N,) rows of zones and of tracks -> one finding for each pair."""
    return Findings(
        zone=zone.astype(np.int16),
        xyxy=tracks.xyxy[row],
        label=tracks.label[row],
        score=tracks.score[row],
        track_id=tracks.track_id[row],
        since_ns=since_ns,
        count=np.ones(len(row), np.int16),
    )


def wanted(tracks: Tracks, rule: Rule) -> Bool:
    """(T,) the tracks seen in this frame whose label and score the rule asks for."""
    return (tracks.detection >= 0) & np.isin(tracks.label, rule.labels) & (tracks.score >= rule.score_min)
