"""Several models that look at the same pictures, as one detector.

    labels   model A: 0 .. a-1   | model B: a .. a+b-1
    groups   those of A          | those of B, moved on behind them

Nothing of one model ever meets anything of another, not even where both call it `person`: scores of two models do not
compare, so the one's box must not suppress the other's, and an alert must name the one model that judged. So a thing
that both see is two detections and two tracks, and whoever counts must take the rows of one model alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from edge.core.pixels import Picture
from edge.core.types import Detections, Int16
from edge.ports import Detector


class AskedDetector(Detector, Protocol):
    """A detector that can be asked before its answer is waited for."""

    def ask(self, pictures: Sequence[Picture]) -> Callable[[], list[Detections]]: ...


class JoinedDetector:
    """Satisfies `edge.ports.Detector`. All models are asked, then all are waited for."""

    def __init__(self, parts: Sequence[AskedDetector]) -> None:
        self.name = "+".join(part.name for part in parts)
        self.sha256 = hashlib.sha256("\n".join(part.sha256 for part in parts).encode()).hexdigest()
        self.labels = tuple(label for part in parts for label in part.labels)
        self._first_row = np.cumsum([0, *(len(part.labels) for part in parts)])
        self._parts = tuple(parts)
        groups = [part.groups + first for part, first in zip(parts, self._first_row[:-1], strict=True)]
        self.groups: Int16 = np.concatenate(groups).astype(np.int16)

    def detect(self, pictures: Sequence[Picture]) -> list[Detections]:
        """One answer for each picture, in order, best score first."""
        collect = [part.ask(pictures) for part in self._parts]
        found = [fetch() for fetch in collect]
        return [self._together([answers[row] for answers in found]) for row in range(len(pictures))]

    def _together(self, answers: Sequence[Detections]) -> Detections:
        label = [answer.label + first for answer, first in zip(answers, self._first_row[:-1], strict=True)]
        together = Detections(
            np.concatenate([answer.xyxy for answer in answers]),
            np.concatenate([answer.score for answer in answers]),
            np.concatenate(label).astype(np.int16),
        )
        return together.take(np.argsort(-together.score, kind="stable"))
