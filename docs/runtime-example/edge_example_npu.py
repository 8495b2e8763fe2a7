"""A runtime for an NPU in one file: copy it, and put the maker's library in the place of `_Device`.

edge gives letterboxed bytes and takes the network's outputs as floats; letterbox and boxes are its own affair. This one
has what such devices usually have: a compiled file, one size, one picture at a time, whole numbers with a scale.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from edge.core.types import Float32, UInt8
from edge.detect.manifest import ModelManifest, read_model
from edge.errors import ModelError


class ExampleNpu:
    """Satisfies `edge.detect.runtimes.Runtime`."""

    batch = 1  # more are asked for one after the other
    fixed_px: tuple[int, int] | None

    def __init__(self, manifest: ModelManifest) -> None:
        self._path = manifest.path
        try:
            self._device = _Device(read_model(manifest))  # bytes whose hash was checked
        except _DeviceError as error:
            raise ModelError(f"{manifest.path}: the NPU cannot load it: {error}: compile it for this device") from None
        self.fixed_px = self._device.input_px

    def run(self, pictures: UInt8) -> Sequence[Float32]:
        """(1, H, W, 3) -> one output (1, K, 6): a box, its score, its label, as format `yolo-e2e` has them."""
        try:
            answer, scale = self._device.infer(pictures[0])
        except _DeviceError as error:
            raise ModelError(f"{self._path}: the NPU failed: {error}") from None
        return [answer[None].astype(np.float32) * scale]


def open_runtime(manifest: ModelManifest, *, threads: int) -> ExampleNpu:
    """What the entry point names. `threads` is for runtimes on the CPU."""
    return ExampleNpu(manifest)


# From here on: in place of the maker's library. It "finds" one box, the surer the brighter the picture is.


class _DeviceError(Exception):
    pass


class _Device:
    def __init__(self, compiled: bytes) -> None:
        try:
            layout = json.loads(compiled)
            self.input_px = (int(layout["width"]), int(layout["height"]))
        except (ValueError, KeyError, TypeError):
            raise _DeviceError("not a compiled model") from None

    def infer(self, picture: UInt8) -> tuple[np.ndarray, Float32]:  # type: ignore[type-arg]
        """(1, 6) int16 and the scale (6,) that makes numbers of them."""
        width, height = self.input_px
        if picture.shape != (height, width, 3):
            raise _DeviceError(f"input {picture.shape}, expected {(height, width, 3)}")
        score = int(picture.mean() / 255 * 127)
        answer = np.array([[0, 0, width // 2, height // 2, score, 1]], np.int16)
        return answer, np.array([1, 1, 1, 1, 1 / 127, 1], np.float32)
