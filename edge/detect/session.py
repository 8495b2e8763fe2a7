"""The detector port on ONNX Runtime: pictures -> letterboxed batch -> network -> boxes in source pixels.

`detect` does all three. The detector process of a gateway finds its pictures letterboxed in shared memory already and
calls `run_batch`. Nothing is kept from one call to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edge.core.pixels import Picture
from edge.core.types import Detections, Int16, UInt8
from edge.detect.formats import Boxes, decode
from edge.detect.letterbox import Letterbox
from edge.detect.manifest import CLASSES, ModelManifest
from edge.detect.model_input import ModelInput
from edge.detect.network import Network
from edge.detect.nms import best_of_each, suppress
from edge.detect.runtimes import CPU
from edge.errors import ModelError

# A crowded square gives 300 to 400 candidates a picture at score 0.1; suppression costs their number squared.
_CANDIDATES_MAX = 1000


class OnnxDetector:
    """One model, loaded and tried out; satisfies `edge.ports.Detector`. `threads`, `providers`: see `Network`."""

    name: str
    sha256: str
    labels: tuple[str, ...]
    groups: Int16  # (C,) labels of one group stand for one thing
    candidates_dropped: int  # boxes beyond the bound on suppression, since the start
    input: ModelInput
    provider: str  # the name in PROVIDERS of what runs the network
    batch_max: int  # pictures that `run_batch` takes at once

    def __init__(
        self,
        manifest: ModelManifest,
        *,
        longest_side: int | None = None,
        threads: int = 2,
        score_min: float = 0.1,
        iou_max: float | None = None,
        providers: Sequence[str] = (CPU,),
    ) -> None:
        if manifest.format == CLASSES:
            raise ModelError(f"{manifest.path}: is a classifier, which finds no boxes: name a detector")
        self.name = manifest.name
        self.sha256 = manifest.sha256
        self.labels = manifest.labels
        self.groups = manifest.label_groups()
        self.candidates_dropped = 0
        self._manifest = manifest
        self._score_min = score_min
        self._iou_max = manifest.overlap_max if iou_max is None else iou_max
        self._network = Network(manifest, longest_side=longest_side, threads=threads, providers=providers)
        self.input = self._network.input
        self.provider = self._network.provider
        self.batch_max = self._network.batch_max

    def detect(self, pictures: Sequence[Picture], *, pixel_aspect: float = 1.0) -> list[Detections]:
        """One answer for each picture, in order, best score first, in pixels of that picture."""
        answers = [Detections.empty()] * len(pictures)
        for rows, slots, letterboxes in self._network.batches(pictures, pixel_aspect=pixel_aspect):
            for row, answer in zip(rows, self.run_batch(slots, letterboxes), strict=True):
                answers[row] = answer
        return answers

    def ask(self, pictures: Sequence[Picture]) -> Callable[[], list[Detections]]:
        """The answers are there when this returns: in one process nothing is gained by waiting later."""
        answers = self.detect(pictures)
        return lambda: answers

    def letterbox(self, *, width: int, height: int, pixel_aspect: float = 1.0) -> Letterbox:
        """How a picture of this size goes into the model's input. `pixel_aspect`: see `fit_size`."""
        return self.input.letterbox(width=width, height=height, pixel_aspect=pixel_aspect)

    def run_batch(self, slots: UInt8, letterboxes: Sequence[Letterbox]) -> list[Detections]:
        """(B, H, W, 3) letterboxed pictures -> one answer each, in pixels of the source pictures."""
        outputs = self._network.run(slots)
        input_px = (slots.shape[2], slots.shape[1])
        boxes = decode(self._manifest, outputs, input_px=input_px, score_min=self._score_min)
        boxes = self._without_repeats(boxes)
        return _split(boxes, letterboxes)

    def _without_repeats(self, boxes: Boxes) -> Boxes:
        bounded = boxes.take(best_of_each(picture=boxes.picture, score=boxes.score, count_max=_CANDIDATES_MAX))
        self.candidates_dropped += len(boxes.score) - len(bounded.score)
        kept = suppress(
            picture=bounded.picture,
            xyxy=bounded.xyxy,
            score=bounded.score,
            label=bounded.label,
            groups=self.groups,
            iou_max=self._iou_max,
        )
        return bounded.take(kept)


def _split(boxes: Boxes, letterboxes: Sequence[Letterbox]) -> list[Detections]:
    """Rows sorted by picture -> one answer a picture, in its own pixels, without what lies in the border alone."""
    ends = np.searchsorted(boxes.picture, np.arange(len(letterboxes) + 1))
    answers = []
    for row, letterbox in enumerate(letterboxes):
        own = slice(ends[row], ends[row + 1])
        xyxy = letterbox.to_source(boxes.xyxy[own])
        seen = (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
        answers.append(Detections(xyxy[seen], boxes.score[own][seen], boxes.label[own][seen]))
    return answers
