"""People who stay together in a zone: `people_min` of them or more, each within `spacing` body heights of another.

Who stays has kept within a small circle for `stay_ns` (`core/staying.py`); a stroll through, however slow, is not
staying, and nobody is chained together by passers-by. The count is of the places where people stay, so that it does
not fall when half of a crowd is hidden in one look.

A gathering begins with `people_min` and goes on with two thirds of them (`core/groups.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from edge.core import boxes, ground
from edge.core.finding_again import PART_SHARE, SAME_DEPTH
from edge.core.groups import KEPT_SHARE, groups_in
from edge.core.scenarios.rule import GROUND, PEOPLE_LOOK_NS, Rule, Scenario, three_looks_in, wanted
from edge.core.scene import Scene
from edge.core.staying import Spots
from edge.core.types import NS_PER_S, Bool, Findings, Float32, Int64, Tracks
from edge.core.zones import ZoneMap

BODY_M = 1.7  # what a body height stands for on the ground
REACH_M = 0.5  # ground that somebody takes up round the feet
FOUND_MORE_NS = 2 * NS_PER_S  # beyond the stay: a track must be confirmed first


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GatheringRule(Rule):
    kind: ClassVar[str] = "gathering"
    keyed_by: ClassVar[str] = GROUND

    people_min: int
    spacing: float  # neighbours stand within this many body heights
    stay_ns: int = 10 * NS_PER_S  # who has been in one place for less is passing
    density_min: float = 0.0  # people a square metre

    @property
    def found_within_ns(self) -> int:
        return self.stay_ns + FOUND_MORE_NS

    @property
    def look_max_ns(self) -> int:
        """In a stream of people somebody is always where somebody was two seconds ago: it looks like a crowd."""
        return min(PEOPLE_LOOK_NS, three_looks_in(min(self.after_ns, self.stay_ns)))

    @property
    def reason_names(self) -> tuple[str, ...]:
        return ("dense",) if self.density_min else ()

    def begins(self, findings: Findings) -> Bool:
        enough = findings.count >= self.people_min
        return np.asarray(enough & findings.reasons.all(axis=1), np.bool_)


class Gathering(Scenario):
    def __init__(self, rule: GatheringRule, zones: Sequence[Float32]) -> None:
        super().__init__(rule, zones)
        self._gathers = rule
        self._zones = ZoneMap(zones, anchor=rule.anchor)
        self._spots = Spots()

    def interrupt(self) -> None:
        self._spots.interrupt()

    def find(self, scene: Scene) -> Findings:
        rule, now_ns = self._gathers, scene.frame.mono_ns
        people = wanted(scene.tracks, rule) & ~_seen_twice(scene.tracks, rule)
        self._spots.look(scene.tracks, people, now_ns, size_px=scene.frame.size_px)
        spots = self._spots.staying(rule.stay_ns)
        width, height = scene.frame.size_px
        inside = self._zones.inside(_standing(spots), width=width, height=height)
        groups = [(zone, spots[rows]) for zone, rows in self._groups(spots, inside)]
        if not groups:
            return Findings.empty(len(rule.reason_names))
        nth = [min(len(group), rule.people_min) - 1 for _, group in groups]
        dense = [density_of(_standing(group)) >= rule.density_min for _, group in groups]
        return Findings(
            zone=np.array([zone for zone, _ in groups], np.int16),
            xyxy=np.array([boxes.enclosing(group["xyxy"]) for _, group in groups], np.float32),
            label=np.array([group["label"][0] for _, group in groups], np.int16),
            score=np.array([group["score"].mean() for _, group in groups], np.float32),
            track_id=np.full(len(groups), -1, np.int64),
            since_ns=np.array([np.sort(group["since_ns"])[n] for n, (_, group) in zip(nth, groups, strict=True)]),
            count=np.array([len(group) for _, group in groups], np.int16),
            reasons=np.array(dense, np.bool_)[:, None][:, : len(rule.reason_names)],
        )

    def _groups(self, spots: npt.NDArray[np.void], inside: Bool) -> list[tuple[int, Int64]]:
        """(zone, rows of the spots) of each group that is large and dense enough to go on."""
        rule, standing = self._gathers, _standing(spots)
        large = groups_in(standing, inside, rule.zones, spacing=rule.spacing, begins_with=rule.people_min)
        kept_density = rule.density_min * KEPT_SHARE
        return [(zone, rows) for zone, rows in large if density_of(standing[rows]) >= kept_density]


def _seen_twice(tracks: Tracks, rule: Rule) -> Bool:
    """(T,) the dimmer box of two on one body: all but within the other, their feet at one depth.

    Who stands behind somebody shows above him, and a child before him has its feet nearer.
    """
    xyxy = tracks.xyxy
    height = xyxy[:, 3] - xyxy[:, 1]
    within = boxes.coverage(xyxy, xyxy) >= PART_SHARE
    one_depth = np.abs(xyxy[:, None, 3] - xyxy[None, :, 3]) <= SAME_DEPTH * np.minimum(height[:, None], height[None, :])
    seen = tracks.labelled(rule.labels) & (tracks.detection >= 0)
    surer = (tracks.score[None, :] > tracks.score[:, None]) & seen[None, :]
    return np.asarray(((within | within.T) & one_depth & surer).any(axis=1))


def _standing(spots: npt.NDArray[np.void]) -> Float32:
    """(N, 4) each person's box where the circle's middle is: it trembles less than the person's own."""
    xyxy: Float32 = spots["xyxy"]
    step = spots["foot"] - boxes.anchors(xyxy)
    return np.asarray(xyxy + np.concatenate([step, step], axis=1), np.float32)


def density_of(xyxy: Float32) -> float:
    """(N, 4), N >= 1 -> people a square metre of the ground that they take up: the hull of their feet and a rim.

    A body height is taken for 1.7 m. Without the ground's own scale this is good to about a factor of two.
    """
    scale = BODY_M / max(float((xyxy[:, 3] - xyxy[:, 1]).mean()), 1.0)
    feet_m = (boxes.anchors(xyxy) * np.array([scale, ground.DEPTH * scale], np.float32)).astype(np.float32)
    hull = cv2.convexHull(feet_m)
    area = cv2.contourArea(hull) + cv2.arcLength(hull, closed=True) * REACH_M + np.pi * REACH_M**2
    return float(len(xyxy) / area)
