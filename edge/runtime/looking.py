"""One look: what the detector says of a frame, or what it said last where that still stands."""

from __future__ import annotations

from collections.abc import Sequence

from edge.clock import Stopwatch
from edge.core.stillness import Stillness
from edge.core.types import Case, Detections, Float32, Frame
from edge.ports import Detector


class Looking:
    """One camera's detector, which rests while its street does."""

    def __init__(self, detector: Detector, stillness: Stillness, stopwatch: Stopwatch) -> None:
        self._detector = detector
        self._stillness = stillness
        self._stage = stopwatch.stage

    def look(self, frame: Frame, doubtful: Float32, cases: Sequence[Case]) -> Detections:
        """`doubtful` (N, 4) px: tracks of which another look would tell more. `cases`: the live ones."""
        with self._stage("still"):
            found = self._stillness.answer(frame, doubtful, cases)
        if found is None:
            with self._stage("detect"):
                found = self._stillness.keep(frame, self._detector.detect([frame.pixels])[0])
        return found

    def interrupt(self) -> None:
        """What was since the last look is unknown."""
        self._stillness.interrupt()

    @property
    def held(self) -> int:
        """Looks at which the last answer stood."""
        return self._stillness.held
