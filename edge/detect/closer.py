"""A second, closer look at the far zones of a picture: the same model on crops, and one answer made of all.

Things at the end of a street are a few pixels of the model's input. A crop round their zone fills that input with
what matters; each crop costs one more run of the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edge.core.pixels import Picture, pixels_of
from edge.core.types import Bool, Detections, Float32, Int16, Int64
from edge.detect.joined import AskedDetector
from edge.detect.nms import suppress

MARGIN = 0.15  # of the zone's larger side, on each side: things stand on the line and reach out of it
SIDE_MIN = 0.125  # of the frame: eight times larger than in the whole picture, and no detail is left to gain
SEAM = 0.01  # of the crop's side, 2 px at least: a box that ends so near to its edge may have been cut there


def crop_round(polygon: Float32) -> Float32:
    """(P, 2) a zone in fractions of the frame -> (4,) the crop's xyxy in fractions, inside the frame.

    Of the frame's own shape, so that it fills the model's input as the whole picture does: in fractions, a square.
    """
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    side = min(max(float((high - low).max()) * (1 + 2 * MARGIN), SIDE_MIN), 1.0)
    corner = np.clip((low + high) / 2 - side / 2, 0, 1 - side)
    return np.concatenate([corner, corner + side]).astype(np.float32)


class CloserDetector:
    """A detector that looks at each picture whole and at `crops` of it. Satisfies `edge.ports.Detector`."""

    name: str
    sha256: str
    labels: tuple[str, ...]
    groups: Int16

    def __init__(self, detector: AskedDetector, crops: Sequence[Float32], *, iou_max: float) -> None:
        """`crops`: (4,) xyxy each, in fractions; `iou_max`: above it two boxes of a group are one thing."""
        self.name = detector.name
        self.sha256 = detector.sha256
        self.labels = detector.labels
        self.groups = detector.groups
        self._detector = detector
        self._crops: Float32 = np.array(crops, np.float32).reshape(-1, 4)
        self._iou_max = iou_max

    def detect(self, pictures: Sequence[Picture]) -> list[Detections]:
        """One answer for each picture, in order, best score first, in pixels of that picture."""
        return self.ask(pictures)()

    def ask(self, pictures: Sequence[Picture]) -> Callable[[], list[Detections]]:
        """Whole pictures first, then the crops of each."""
        places = [self._places(picture) for picture in pictures]
        crops = [
            pixels_of(picture).cut((x1, y1, x2, y2))
            for picture, rows in zip(pictures, places, strict=True)
            for x1, y1, x2, y2 in rows.tolist()
        ]
        collect = self._detector.ask([*pictures, *crops])

        def merged() -> list[Detections]:
            answers = collect()
            whole, close = answers[: len(pictures)], iter(answers[len(pictures) :])
            return [
                self._merge(answer, rows, [next(close) for _ in rows], picture)
                for answer, rows, picture in zip(whole, places, pictures, strict=True)
            ]

        return merged

    def _places(self, picture: Picture) -> Int64:
        """(K, 4) the crops in whole pixels of this picture."""
        width, height = pixels_of(picture).size_px
        places: Int64 = np.rint(self._crops * np.array([width, height] * 2)).astype(np.int64)
        return places

    def _merge(self, whole: Detections, places: Int64, close: Sequence[Detections], picture: Picture) -> Detections:
        width, height = pixels_of(picture).size_px
        parts = [whole]
        for place, answer in zip(places, close, strict=True):
            kept = answer.take(~_cut(answer.xyxy, place, width=width, height=height))
            moved = (kept.xyxy + np.tile(place[:2], 2)).astype(np.float32)
            parts.append(Detections(moved, kept.score, kept.label))
        xyxy = np.concatenate([part.xyxy for part in parts])
        score = np.concatenate([part.score for part in parts])
        label = np.concatenate([part.label for part in parts])
        rows = suppress(
            picture=np.zeros(len(score), np.int64),
            xyxy=xyxy,
            score=score,
            label=label,
            groups=self.groups,
            iou_max=self._iou_max,
        )
        return Detections(xyxy, score, label).take(rows)


def _cut(xyxy: Float32, place: Int64, *, width: int, height: int) -> Bool:
    """(N, 4) px of the crop -> (N,) whether the crop's edge, where it is not the picture's, may have cut the box: the
    whole picture shows that thing better."""
    size = np.tile(place[2:] - place[:2], 2)
    seam = np.maximum(size * SEAM, 2)
    distance = np.concatenate([xyxy[:, :2], size[:2] - xyxy[:, 2:]], axis=1)
    inner = np.concatenate([place[:2] > 0, place[2:] < np.array([width, height])])
    return np.asarray(((distance <= seam) & inner).any(axis=1), np.bool_)
