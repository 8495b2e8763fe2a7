"""What is hidden in a picture before it is published: privacy masks, people's faces, the plates of uninvolved vehicles.

    boxes of a frame -> [heads of people, plates' places of vehicles but the case's own] -> blocks of one colour

The detectors know people and vehicles, neither faces nor plates: hidden is where those are, the upper end of a person
and the lower end of a vehicle. A person or a vehicle that no detector has found is not hidden; `docs/privacy.md`
gives the figures. Nobody's face is needed to send somebody to a place: those of a case's own people are hidden, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge.core import boxes
from edge.core.types import Case, Detections, Float32, Int16, UInt8
from edge.evidence.drawing import blur

OWN_IOU = 0.5  # from which a box is the case's own thing

# Fractions of a box. A person who stands has his head in the uppermost eighth; the rest is for detectors that cut
# heads off, for those who bend, and for hats. A box that is wide for its height is of somebody who sits, or of whom
# only the upper end is seen.
HEAD_HEIGHT = 0.26
HEAD_OF_WIDTH = 0.75
MARGIN = 0.08
# Plates are on the lower half of cars; of two-wheelers they are at the back, above the wheel.
PLATE_FROM_CAR = 0.42
PLATE_FROM_TWO_WHEELER = 0.2


def heads_of(people: Float32) -> Float32:
    """(N, 4) -> (N, 4) px: where the head of each is."""
    width, height = people[:, 2] - people[:, 0], people[:, 3] - people[:, 1]
    deep = np.minimum(np.maximum(HEAD_HEIGHT * height, HEAD_OF_WIDTH * width), height)
    x1, x2 = people[:, 0] - MARGIN * width, people[:, 2] + MARGIN * width
    y1, y2 = people[:, 1] - MARGIN * height, people[:, 1] + deep
    return np.stack([x1, y1, x2, y2], axis=1).astype(np.float32, copy=False)


def whole(things: Float32) -> Float32:
    return things


def plates_of_cars(cars: Float32) -> Float32:
    """(N, 4) -> (N, 4) px: where the plate of each may be, from whichever side it is seen."""
    return _lower_end(cars, PLATE_FROM_CAR)


def plates_of_two_wheelers(two_wheelers: Float32) -> Float32:
    return _lower_end(two_wheelers, PLATE_FROM_TWO_WHEELER)


def _lower_end(things: Float32, begin: float) -> Float32:
    lower = things.copy()
    lower[:, 1] += begin * (things[:, 3] - things[:, 1])
    return lower


@dataclass(frozen=True, slots=True, eq=False)
class HiddenPart:
    """A part of the things with one of these labels."""

    labels: Int16
    part_of: Callable[[Float32], Float32]  # boxes (N, 4) px -> (N, 4) px
    spares_own: bool  # not of the case's own thing


class Hiding:
    """What one camera's published pictures do not show."""

    def __init__(
        self, privacy: Sequence[Float32] = (), parts: Sequence[HiddenPart] = (), *, own_labels: Sequence[str] = ()
    ) -> None:
        """`privacy`: polygons (V, 2) in fractions. `own_labels`: of cases whose own thing some parts spare."""
        self._privacy = tuple(privacy)
        self._parts = tuple(parts)
        self._own_labels = frozenset(own_labels)

    @property
    def hides(self) -> bool:
        """Whether a published picture is another than the one that was taken, or may be."""
        return bool(self._privacy or self._parts)

    @property
    def finds(self) -> bool:
        """Whether what is hidden lies where something was found, and not always in the same place."""
        return bool(self._parts)

    def own(self, case: Case) -> tuple[float, float, float, float] | None:
        """The box that is spared where the case is about it; cases with none may share one picture."""
        spares = any(part.spares_own for part in self._parts) and case.label in self._own_labels
        return case.footprint if spares else None

    def published(
        self, bgr: UInt8, things: Detections | None, own: tuple[float, float, float, float] | None = None
    ) -> UInt8:
        """The picture without what is hidden. `things`: all boxes of this very picture; None, where nobody knows them:
        then all of it is hidden, where any of it would be."""
        if not self.hides:
            return bgr
        if self._parts and things is None:
            return blur(bgr, [_EVERYTHING])
        height, width = bgr.shape[:2]
        size_px = np.array([width, height] * 2, np.float32)
        hidden = boxes.clip(self._hidden(things, own) if things is not None else _NOTHING, width=width, height=height)
        seen = (hidden[boxes.area(hidden) > 0] / size_px).astype(np.float32)
        # Each is a patch of its own size, blurred by its own calls.
        corners = [np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], np.float32) for x1, y1, x2, y2 in seen]
        return blur(bgr, [*self._privacy, *corners])

    def _hidden(self, things: Detections, own: tuple[float, float, float, float] | None) -> Float32:
        found = [_NOTHING]
        for part in self._parts:
            rows = np.isin(things.label, part.labels)
            if part.spares_own and own is not None:
                rows &= boxes.iou(things.xyxy, np.array([own], np.float32))[:, 0] < OWN_IOU
            found.append(part.part_of(things.xyxy[rows]))
        return np.concatenate(found)


_NOTHING = np.zeros((0, 4), np.float32)
_EVERYTHING = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
