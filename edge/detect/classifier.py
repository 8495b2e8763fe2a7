"""The classifier port on ONNX Runtime: a crop of a finding -> how probable each class is.

A classifier answers through the same slots as a detector: one row a class, in the order of its labels, whose box is the
whole crop. So the detector process serves both with one loop.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.core.types import Detections, Float32, UInt8
from edge.detect.formats import probabilities
from edge.detect.letterbox import Letterbox
from edge.detect.manifest import CLASSES, ModelManifest
from edge.detect.model_input import ModelInput
from edge.detect.network import Network
from edge.detect.runtimes import CPU
from edge.errors import ModelError


class OnnxClassifier:
    """One model, loaded and tried out; satisfies `edge.ports.Classifier`. `threads`, `providers`: see `Network`."""

    name: str
    sha256: str
    labels: tuple[str, ...]
    candidates_dropped: int = 0  # a slot has room for every class
    input: ModelInput
    provider: str
    batch_max: int

    def __init__(self, manifest: ModelManifest, *, threads: int = 2, providers: Sequence[str] = (CPU,)) -> None:
        if manifest.format != CLASSES:
            raise ModelError(
                f"{manifest.path}: is a detector (format {manifest.format}), which judges no crops: name a model of "
                f"format {CLASSES}"
            )
        self.name = manifest.name
        self.sha256 = manifest.sha256
        self.labels = manifest.labels
        self._manifest = manifest
        self._network = Network(manifest, longest_side=None, threads=threads, providers=providers)
        self.input = self._network.input
        self.provider = self._network.provider
        self.batch_max = self._network.batch_max

    def classify(self, pictures: Sequence[UInt8]) -> list[Float32]:
        """(C,) for each picture (H, W, 3) BGR, in order: 0..1, how probable each label is."""
        answers: list[Float32] = [np.zeros(0, np.float32)] * len(pictures)
        for rows, slots, _ in self._network.batches(pictures):
            for row, answer in zip(rows, self._probabilities(slots), strict=True):
                answers[row] = answer
        return answers

    def run_batch(self, slots: UInt8, letterboxes: Sequence[Letterbox]) -> list[Detections]:
        """(B, H, W, 3) letterboxed pictures -> one answer each, a row a class."""
        label = np.arange(len(self.labels), dtype=np.int16)
        return [
            Detections(np.tile(np.array((0, 0, *letterbox.source_px), np.float32), (len(label), 1)), scores, label)
            for scores, letterbox in zip(self._probabilities(slots), letterboxes, strict=True)
        ]

    def _probabilities(self, slots: UInt8) -> Float32:
        return probabilities(self._manifest, self._network.run(slots))
