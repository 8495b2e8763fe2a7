"""What is measured over time, in intervals of the wall clock. A measure is a number, never an alert, and nobody's name.

Each interval says how much of it the camera could see: one that was blind is not an empty one, and its numbers are
None. An interval may be told in parts, when the process ends within it; counts and seen time of its parts add up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from edge.core.boxes import BOTTOM
from edge.core.scene import Scene
from edge.core.types import Int16, Measure
from edge.core.zones import seen_step_ns

Intervals = Callable[[int], tuple[int, int]]  # wall_ns -> the interval [from, to) in which it lies


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MeasureRule:
    """The parameters that every kind has; each kind adds its own."""

    kind: ClassVar[str]

    name: str
    places: tuple[str, ...]
    labels: Int16  # rows of the model's labels
    score_min: float
    anchor: str = BOTTOM

    @property
    def look_max_ns(self) -> int:
        """As of a scenario's rule. Measures count those that pass, who are gone by the next keyframe."""
        return 0


class Gauge:
    """Reads one measure off the scenes of one camera. `read` each scene, in time order."""

    def __init__(self, rule: MeasureRule, intervals: Intervals) -> None:
        self.rule = rule
        self._intervals = intervals
        self._interval = (0, 0)
        self._first_wall_ns = -1  # of the interval's first look, -1 where it had none
        self._looked_ns = -1
        self._seen_ns = 0

    def read(self, scene: Scene) -> list[Measure]:
        """The measures of the interval that has ended before this scene, if one has."""
        frame = scene.frame
        step_ns = 0 if scene.blind else seen_step_ns(self._looked_ns, frame.mono_ns)
        told: list[Measure] = []
        begin_ns, end_ns = self._interval
        if not begin_ns <= frame.wall_ns < end_ns:
            before_ns = min(max(end_ns - (frame.wall_ns - step_ns), 0), step_ns)
            self._spend(before_ns)
            told = self.finish()
            step_ns -= before_ns
            self._interval = self._intervals(frame.wall_ns)
        if self._first_wall_ns < 0:
            self._first_wall_ns = frame.wall_ns
        self._looked_ns = -1 if scene.blind else frame.mono_ns
        if not scene.blind:
            self._look(scene)
            self._spend(step_ns)
        return told

    def finish(self) -> list[Measure]:
        """What was measured since the interval began, or since it was asked last."""
        if self._first_wall_ns < 0:
            return []
        begin_ns, end_ns = self._interval
        told = [
            Measure(
                self.rule.name,
                place,
                begin_ns,
                end_ns,
                self._first_wall_ns,
                self._seen_ns,
                tuple((name, value if self._seen_ns else None) for name, value in values),
            )
            for place, values in zip(self.rule.places, self._values(self._seen_ns), strict=True)
        ]
        self._first_wall_ns, self._seen_ns = -1, 0
        self._begin()
        return told

    def interrupt(self) -> None:
        """What was since the last look is unknown."""
        self._looked_ns = -1

    def _spend(self, step_ns: int) -> None:
        """So much time was seen as the last look shows it."""
        self._seen_ns += step_ns

    def _look(self, scene: Scene) -> None:
        """Take a trusted scene in."""
        raise NotImplementedError

    def _values(self, seen_ns: int) -> Sequence[Sequence[tuple[str, int | float]]]:
        """For each of the rule's places its numbers by name."""
        raise NotImplementedError

    def _begin(self) -> None:
        """A new interval: all counts are 0."""
        raise NotImplementedError
