"""One model file on its runtime: letterboxed pictures in, the network's outputs as they are.

What the outputs mean is not known here: `session.py` makes boxes of them, `classifier.py` classes. Nothing is kept from
one call to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edge.core.pixels import Picture, pixels_of
from edge.core.types import Float32, UInt8
from edge.detect.formats import misfit
from edge.detect.letterbox import Letterbox
from edge.detect.manifest import ModelManifest
from edge.detect.model_input import ModelInput
from edge.detect.runtimes import open_runtime
from edge.errors import ModelError

# Sixteen 640x384 pictures keep the network's inner arrays near 200 MB; more gains nothing on a CPU.
_BATCH_MAX = 16


class Network:
    """One model, loaded and tried out. `threads` and `providers`: see `runtimes.py`."""

    input: ModelInput
    provider: str  # the name of what runs the network
    batch_max: int  # pictures that `run` takes at once

    def __init__(
        self, manifest: ModelManifest, *, longest_side: int | None, threads: int, providers: Sequence[str]
    ) -> None:
        self.provider = providers[0] if providers else ""
        self._manifest = manifest
        self._runtime = open_runtime(manifest, threads=threads, providers=providers)
        if self._runtime.fixed_px != manifest.fixed_px:
            raise ModelError(_wrong_size(manifest, self._runtime.fixed_px))
        self.input = ModelInput.of(manifest, longest_side=longest_side)
        self.batch_max = self._runtime.batch or _BATCH_MAX
        self._try_out()

    def batches(
        self, pictures: Sequence[Picture], *, pixel_aspect: float = 1.0
    ) -> Iterator[tuple[list[int], UInt8, list[Letterbox]]]:
        """Rows of the pictures that go together, as one letterboxed batch (B, H, W, 3), and how each lies."""
        letterboxes = [
            self.input.letterbox(width=width, height=height, pixel_aspect=pixel_aspect)
            for width, height in (pixels_of(picture).size_px for picture in pictures)
        ]
        for rows in self._rows_of_one_size(letterboxes):
            chosen = [letterboxes[row] for row in rows]
            width, height = chosen[0].input_px
            slots = np.empty((len(rows), height, width, 3), np.uint8)
            for row, letterbox, slot in zip(rows, chosen, slots, strict=True):
                letterbox.apply(pictures[row], slot)
            yield rows, slots, chosen

    def run(self, slots: UInt8) -> list[Float32]:
        """The outputs for (B, H, W, 3) letterboxed pictures, each with B rows."""
        missing = (self._runtime.batch or len(slots)) - len(slots)
        filled = np.concatenate([slots, np.zeros((missing, *slots.shape[1:]), np.uint8)]) if missing > 0 else slots
        return [np.asarray(output, np.float32)[: len(slots)] for output in self._runtime.run(filled)]

    def _rows_of_one_size(self, letterboxes: Sequence[Letterbox]) -> list[list[int]]:
        """At most `batch_max` a batch."""
        sizes: dict[tuple[int, int], list[int]] = {}
        for row, letterbox in enumerate(letterboxes):
            sizes.setdefault(letterbox.input_px, []).append(row)
        return [
            rows[start : start + self.batch_max]
            for rows in sizes.values()
            for start in range(0, len(rows), self.batch_max)
        ]

    def _try_out(self) -> None:
        """Run once on a small picture that is not square: wrong outputs show at start, not in the street.

        Large enough for end-to-end heads, which pick the best 300 of all places and fail where there are fewer.
        """
        step = self._manifest.input_multiple
        width, height = self._manifest.fixed_px or (_at_least(320, step), _at_least(256, step))
        batch = self._runtime.batch or 2
        outputs = self.run(np.zeros((batch, height, width, 3), np.uint8))
        shapes = [output.shape for output in outputs]
        problem = misfit(self._manifest, shapes, batch=batch, input_px=(width, height))
        if problem:
            raise ModelError(
                f"{self._manifest.path}: {problem} for format {self._manifest.format} with "
                f"{len(self._manifest.labels)} labels: correct the format or the labels in the manifest"
            )


def _wrong_size(manifest: ModelManifest, fixed_px: tuple[int, int] | None) -> str:
    """Whoever configures a camera must know it before the network is loaded."""
    if fixed_px is None:
        return f"{manifest.path}: takes pictures of any size, its manifest says fixed_px: take that out of the manifest"
    return (
        f"{manifest.path}: takes pictures of {fixed_px[0]}x{fixed_px[1]} alone: "
        f"say so in the manifest, fixed_px: [{fixed_px[0]}, {fixed_px[1]}]"
    )


def _at_least(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
