"""What becomes of a camera's measures: read off each scene, put into words, and kept until the courier has sent them.

A measure may be lost, and an alert never: so a database that cannot be written now costs measures, not time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from edge.core.measures import Gauge, Measure
from edge.core.scene import Scene
from edge.errors import StateError
from edge.ports import MeasureBox, WordedMeasure

log = logging.getLogger(__name__)


class Measuring:
    """One camera's gauges. Feed it every scene, the blind ones as well."""

    def __init__(
        self, gauges: Sequence[Gauge], *, word: Callable[[Measure, int], WordedMeasure], box: MeasureBox
    ) -> None:
        """`word` makes the message of a measure that is told at a wall_ns."""
        self._gauges = gauges
        self._word = word
        self._box = box
        self._wall_ns = 0
        self._lost = self._dropped = 0

    @property
    def limits(self) -> dict[str, int]:
        """How many measures were not taken by the database, and how many older ones made room in it."""
        return {"measures_lost": self._lost, "measures_dropped": self._dropped}

    def look(self, scene: Scene) -> None:
        self._wall_ns = scene.frame.wall_ns
        self._keep([measure for gauge in self._gauges for measure in gauge.read(scene)])

    def interrupt(self) -> None:
        """What was since the last look is unknown."""
        for gauge in self._gauges:
            gauge.interrupt()

    def finish(self) -> None:
        """Tell what was measured so far: nobody will go on with it."""
        self._keep([measure for gauge in self._gauges for measure in gauge.finish()])

    def _keep(self, measures: Sequence[Measure]) -> None:
        if not measures:
            return
        try:
            self._dropped += self._box.put_measures([self._word(measure, self._wall_ns) for measure in measures])
        except StateError as error:
            self._lost += len(measures)
            log.warning("%d measures are lost: %s", len(measures), error)
