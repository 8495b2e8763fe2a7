"""How many cross a line, each way. Who crosses, and when it counts, is `core/lines.py`'s to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge.core.lines import Line
from edge.core.measures.gauge import Gauge, Intervals, MeasureRule
from edge.core.scene import Scene
from edge.core.types import Float32


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FlowRule(MeasureRule):
    kind: ClassVar[str] = "flow"

    line: tuple[tuple[float, float], ...]  # two points in fractions
    direction: str  # the way that counts as `in`, of lines.WAYS


class Flow(Gauge):
    def __init__(self, rule: FlowRule, zones: Sequence[Float32], intervals: Intervals) -> None:
        super().__init__(rule, intervals)
        self._line = Line(rule.line, rule.direction, labels=rule.labels, anchor=rule.anchor)
        self._in = self._out = 0

    def interrupt(self) -> None:
        super().interrupt()
        self._line.interrupt()

    def _look(self, scene: Scene) -> None:
        tracks = scene.tracks
        crossings = self._line.cross(tracks, size_px=scene.frame.size_px)
        sure = tracks.labelled(self.rule.labels) & (crossings.score >= self.rule.score_min)
        self._in += int(np.count_nonzero(sure & (crossings.way > 0)))
        self._out += int(np.count_nonzero(sure & (crossings.way < 0)))

    def _values(self, seen_ns: int) -> Sequence[Sequence[tuple[str, int | float]]]:
        return [(("in", self._in), ("out", self._out))]

    def _begin(self) -> None:
        self._in = self._out = 0
