"""Somebody goes over a line against the direction that it allows: a car that drives the wrong way up a one-way street.

It is over when it is seen, so a case is one crossing of one track; the line's name stands where others have a zone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge.core.lines import Line
from edge.core.scenarios.rule import MOMENT, Rule, Scenario, findings_of
from edge.core.scene import Scene
from edge.core.types import Findings, Float32


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CrossingRule(Rule):
    """`zone_names` holds one name, the line's."""

    kind: ClassVar[str] = "crossing"
    keyed_by: ClassVar[str] = MOMENT
    over: ClassVar[str] = "passed"

    line: tuple[tuple[float, float], ...]  # two points in fractions
    direction: str  # the way that is allowed, of lines.WAYS
    after_ns: int = 0  # a moment has no dwell
    repeat_ns: int = 0

    @property
    def look_max_ns(self) -> int:
        """On which side somebody was, and then is, must be seen of one track: a car is past in a second."""
        return 0


class Crossing(Scenario):
    def __init__(self, rule: CrossingRule, zones: Sequence[Float32]) -> None:
        super().__init__(rule, zones)
        self._line = Line(rule.line, rule.direction, labels=rule.labels, anchor=rule.anchor)

    def find(self, scene: Scene) -> Findings:
        tracks = scene.tracks
        crossings = self._line.cross(tracks, size_px=scene.frame.size_px)
        sure = tracks.labelled(self.rule.labels) & (crossings.score >= self.rule.score_min)
        row = np.flatnonzero((crossings.way < 0) & sure)
        since_ns = np.full(len(row), scene.frame.mono_ns, np.int64)
        return findings_of(tracks, zone=np.zeros(len(row), np.int64), row=row, since_ns=since_ns)

    def interrupt(self) -> None:
        self._line.interrupt()
