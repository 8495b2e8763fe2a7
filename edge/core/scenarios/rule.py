"""One scenario as one camera uses it: names turned into rows, seconds into nanoseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge.core.boxes import BOTTOM
from edge.core.ground import Ground, sizes_cm
from edge.core.recurrence import Recurrence
from edge.core.scene import Scene
from edge.core.types import NS_PER_S, Bool, Findings, Float32, Int16, Int64, Tracks

# How a case is found again, and with that what ends it: `core/cases.py`.
THING = "thing"  # by its place and its looks: a parked car
REGION = "region"  # the same for a thing of no known class, which has no track
PERSON = "person"  # by the track, and then by nearness: somebody who walks about
GROUND = "ground"  # by the ground that both share: a gathering
SPOT = "spot"  # by the ground that both share, whatever stands on it and however it changes: goods put out
ZONE = "zone"  # the zone is the place: nobody came, too many bicycles
MOMENT = "moment"  # it was over when it was seen: somebody crossed a line

# What a camera's keyframes are apart, at most, for the rules that are content with them; tests hold it up to here.
LOOK_MAX_NS = 4 * NS_PER_S
PEOPLE_LOOK_NS = NS_PER_S  # who stays among people who pass is followed up to here


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rule:
    """The parameters that every kind has; each kind adds its own. Times in nanoseconds."""

    kind: ClassVar[str]
    keyed_by: ClassVar[str]
    sees_regions: ClassVar[bool] = False  # asks the static-object model about its zones
    over: ClassVar[str] = "left"  # why a case is cleared when its condition was seen to hold no more
    pauses: ClassVar[bool] = False  # outside its hours its clock stands still; else its cases end there

    scenario: str
    zones: tuple[int, ...]  # rows of the camera's zones
    zone_names: tuple[str, ...]  # of all the camera's zones
    labels: Int16  # rows of the model's labels
    label_names: tuple[str, ...]  # of all the model's labels
    score_min: float
    after_ns: int
    clear_after_ns: int
    repeat_ns: int  # 0: never updated
    anchor: str = BOTTOM
    grounds: tuple[Ground, ...] = ()  # (Z,) of the camera's zones; () where nothing is known of them

    @property
    def reason_names(self) -> tuple[str, ...]:
        """What a finding may be reasoned with, R names; most kinds have one reason only, and do not name it."""
        return ()

    @property
    def found_within_ns(self) -> int:
        """After a gap, what is not found by then is not there: until then the finder has to find everybody anew."""
        return 3 * NS_PER_S

    @property
    def look_max_ns(self) -> int:
        """How far apart looks may be for the same cases to be found; 0: it needs every analysed frame."""
        return three_looks_in(self.after_ns)

    @property
    def waits_ns(self) -> int:
        """For how long somebody in the making who stepped out of the zone, and is still followed, is waited for."""
        return 0

    @property
    def recurrence(self) -> Recurrence | None:
        """How often it must have come before a case is opened; None where once is enough."""
        return None

    def begins(self, findings: Findings) -> Bool:
        """(N,) which findings may begin a case; the others only carry one on."""
        return np.ones(len(findings), np.bool_)

    def zone_rows(self, zones: tuple[str, ...]) -> list[int]:
        return [self.zone_names.index(zone) for zone in zones]

    def zone_mask(self) -> Bool:
        """(Z,) which of the camera's zones the rule watches."""
        mask = np.zeros(len(self.zone_names), np.bool_)
        mask[list(self.zones)] = True
        return mask


def three_looks_in(dwell_ns: int) -> int:
    """How far apart looks may be to tell what stays from what passes: it must be met again, twice."""
    return min(dwell_ns // 2, LOOK_MAX_NS)


class Scenario:
    """Says for which things a condition holds in one frame. Keeps no dwell: that is the case book's."""

    def __init__(self, rule: Rule, zones: Sequence[Float32]) -> None:
        """`zones`: the camera's polygons, (V, 2) in fractions."""
        self.rule = rule

    def find(self, scene: Scene) -> Findings:
        raise NotImplementedError

    def interrupt(self) -> None:
        """What was since the last look is unknown: whoever compares looks begins anew."""


def large_enough_cm(xyxy: Float32, zone: Int64, rule: Rule, *, size_cm_min: float, size_px: tuple[int, int]) -> Bool:
    """(N, 4) px, (N,) rows of zones -> (N,); 0 asks for no size, and what is in a zone without a scale has none."""
    if size_cm_min <= 0:
        return np.ones(len(xyxy), np.bool_)
    return np.asarray(~(sizes_cm(xyxy, zone, rule.grounds, size_px) < size_cm_min))


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
        reasons=np.zeros((len(row), 0), np.bool_),
    )


def wanted(tracks: Tracks, rule: Rule) -> Bool:
    """(T,) the tracks seen in this frame whose label and score the rule asks for."""
    return (tracks.detection >= 0) & tracks.labelled(rule.labels) & (tracks.score >= rule.score_min)
