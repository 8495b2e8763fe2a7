"""The detector port on ONNX Runtime: pictures -> letterboxed batch -> network -> boxes in source pixels.

`detect` does all three. The detector process of a gateway finds its pictures letterboxed in shared memory already and
calls `run_batch`. Nothing is kept from one call to the next.

The tests run on the CPU; of the other providers they show that they are refused where they are absent. OpenVINO was
tried by hand (onnxruntime-openvino 1.24: the CPU's boxes to 0.0001 px); CUDA and TensorRT were not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from edge.core.types import Detections, Float32, Int16, UInt8
from edge.detect.formats import Boxes, decode, misfit
from edge.detect.letterbox import Letterbox
from edge.detect.manifest import ModelManifest, read_model
from edge.detect.model_input import ModelInput
from edge.detect.nms import best_of_each, suppress
from edge.errors import ModelError

# The official build reports to its maker from the moment of the import, and leaves a device id in HOME. A camera
# gateway reports to nobody; the runtime looks for this variable once, when it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime  # type: ignore[import-untyped]  # ships no types
from onnxruntime.capi import (  # type: ignore[import-untyped]
    onnxruntime_pybind11_state as _onnxruntime_state,
)

# Sixteen 640x384 pictures keep the network's inner arrays near 200 MB; more gains nothing on a CPU.
_BATCH_MAX = 16
# A crowded square gives 300 to 400 candidates a picture at score 0.1; suppression costs their number squared.
_CANDIDATES_MAX = 1000

CPU = "cpu"
OPENVINO = "openvino"
# Name in a configuration -> ONNX Runtime's name, and the package that brings it. All of these packages put their files
# under the one import name `onnxruntime`: only one of them may be installed.
PROVIDERS = {
    CPU: ("CPUExecutionProvider", "onnxruntime"),
    OPENVINO: ("OpenVINOExecutionProvider", "onnxruntime-openvino"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "tensorrt": ("TensorrtExecutionProvider", "onnxruntime-gpu"),
}

# ONNX Runtime's errors share no base class of their own.
_RUNTIME_ERRORS: tuple[type[Exception], ...] = tuple(
    member for member in vars(_onnxruntime_state).values() if isinstance(member, type) and issubclass(member, Exception)
)


class OnnxDetector:
    """One model, loaded and tried out; satisfies `edge.ports.Detector`.

    `threads` 0 leaves half of the cores to decoding. `providers` are names of PROVIDERS, best first, and each must
    load. Where `cpu` is among them, it takes what the others cannot run; without it a model that they cannot run whole
    is refused.
    """

    name: str
    sha256: str
    labels: tuple[str, ...]
    groups: Int16  # (C,) labels of one group stand for one thing
    longest_side: int  # px
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
        self.name = manifest.name
        self.sha256 = manifest.sha256
        self.labels = manifest.labels
        self.groups = manifest.label_groups()
        self.longest_side = longest_side or manifest.longest_side
        self.candidates_dropped = 0
        self.provider = providers[0] if providers else ""
        self._manifest = manifest
        self._score_min = score_min
        self._iou_max = manifest.overlap_max if iou_max is None else iou_max
        self._session = _open(manifest, threads=threads, providers=providers)
        self._input = self._session.get_inputs()[0].name
        self._fixed_batch, fixed_px = self._read_input_shape()
        self.input = ModelInput.of(manifest, longest_side=longest_side, fixed_px=fixed_px)
        self.batch_max = self._fixed_batch or _BATCH_MAX
        self._try_out()

    def detect(self, pictures: Sequence[UInt8], *, pixel_aspect: float = 1.0) -> list[Detections]:
        """One answer for each picture (H, W, 3) BGR, in order, best score first, in pixels of that picture."""
        answers = [Detections.empty()] * len(pictures)
        letterboxes = [
            self.letterbox(width=picture.shape[1], height=picture.shape[0], pixel_aspect=pixel_aspect)
            for picture in pictures
        ]
        for rows in self._batches(letterboxes):
            chosen = [letterboxes[row] for row in rows]
            slots = self.prepare([pictures[row] for row in rows], chosen)
            for row, answer in zip(rows, self.run_batch(slots, chosen), strict=True):
                answers[row] = answer
        return answers

    def letterbox(self, *, width: int, height: int, pixel_aspect: float = 1.0) -> Letterbox:
        """How a picture of this size goes into the model's input. `pixel_aspect`: see `fit_size`."""
        return self.input.letterbox(width=width, height=height, pixel_aspect=pixel_aspect)

    def prepare(self, pictures: Sequence[UInt8], letterboxes: Sequence[Letterbox]) -> UInt8:
        """Pictures with letterboxes of one input size -> (B, H, W, 3)."""
        width, height = letterboxes[0].input_px
        slots = np.empty((len(pictures), height, width, 3), np.uint8)
        for picture, letterbox, slot in zip(pictures, letterboxes, slots, strict=True):
            letterbox.apply(picture, slot)
        return slots

    def run_batch(self, slots: UInt8, letterboxes: Sequence[Letterbox]) -> list[Detections]:
        """(B, H, W, 3) letterboxed pictures -> one answer each, in pixels of the source pictures."""
        outputs = self._run(slots)
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

    def _batches(self, letterboxes: Sequence[Letterbox]) -> list[list[int]]:
        """Rows of one input size together, at most `batch_max` a batch."""
        sizes: dict[tuple[int, int], list[int]] = {}
        for row, letterbox in enumerate(letterboxes):
            sizes.setdefault(letterbox.input_px, []).append(row)
        return [
            rows[start : start + self.batch_max]
            for rows in sizes.values()
            for start in range(0, len(rows), self.batch_max)
        ]

    def _run(self, slots: UInt8) -> list[Float32]:
        missing = (self._fixed_batch or len(slots)) - len(slots)
        filled = np.concatenate([slots, np.zeros((missing, *slots.shape[1:]), np.uint8)]) if missing > 0 else slots
        try:
            outputs = self._session.run(None, {self._input: filled})
        except _RUNTIME_ERRORS as error:
            raise ModelError(f"{self._manifest.path}: input {slots.shape}: {_first_line(error)}") from None
        return [np.asarray(output, np.float32)[: len(slots)] for output in outputs]

    def _read_input_shape(self) -> tuple[int, tuple[int, int] | None]:
        """The batch and the (width, height) that the model insists on; 0 and None where it takes any."""
        inputs = self._session.get_inputs()
        found = ", ".join(f"{item.name} {item.type} {item.shape}" for item in inputs)
        shape = inputs[0].shape
        if len(inputs) != 1 or inputs[0].type != "tensor(uint8)" or len(shape) != 4 or shape[3] not in (3, None):
            raise ModelError(
                f"{self._manifest.path}: expected one input tensor(uint8) (B, H, W, 3), got {found}: "
                "put a Transpose and a Cast in front, as scripts/prepare-yolox does"
            )
        batch, height, width = (side if isinstance(side, int) else 0 for side in shape[:3])
        return batch, (width, height) if width and height else None

    def _try_out(self) -> None:
        """Run once on a small picture that is not square: wrong outputs show at start, not in the street."""
        step = self._manifest.input_multiple
        width, height = self.input.fixed_px or (_at_least(96, step), _at_least(64, step))
        batch = self._fixed_batch or 2
        outputs = self._run(np.zeros((batch, height, width, 3), np.uint8))
        shapes = [output.shape for output in outputs]
        problem = misfit(self._manifest, shapes, batch=batch, input_px=(width, height))
        if problem:
            raise ModelError(
                f"{self._manifest.path}: {problem} for format {self._manifest.format} with "
                f"{len(self.labels)} labels: correct the format or the labels in the manifest"
            )


def automatic_threads() -> int:
    """Half of the cores that this process may use, at least one: the other half decodes."""
    return max(len(os.sched_getaffinity(0)) // 2, 1)


def _open(manifest: ModelManifest, *, threads: int, providers: Sequence[str]) -> onnxruntime.InferenceSession:
    wanted = _execution_providers(providers)
    threads = threads or automatic_threads()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin between calls would take the cores that decode the other cameras.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A memory plan is kept for every shape that was ever run: with eight batch sizes and seven kinds of cameras the
    # process went from 245 to 530 MiB and was no faster.
    options.enable_mem_pattern = False
    if CPU not in providers:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    content = read_model(manifest)
    # OpenVINO has threads of its own, by default on all cores.
    own = {PROVIDERS[OPENVINO][0]: {"num_of_threads": str(threads)}}
    try:
        session = onnxruntime.InferenceSession(
            content, options, providers=[(name, own.get(name, {})) for name in wanted], enable_fallback=0
        )
    except _RUNTIME_ERRORS as error:
        raise ModelError(f"{manifest.path}: not a model that ONNX Runtime can load: {_first_line(error)}") from None
    _refuse_silent_fallback(wanted, session.get_providers())
    return session


def _execution_providers(names: Sequence[str]) -> list[str]:
    """ONNX Runtime's names, in the order asked for; ModelError for one that is not known or not installed."""
    unknown = [name for name in names if name not in PROVIDERS]
    if unknown or not names:
        named = ", ".join(unknown) or "(none)"
        raise ModelError(f"provider {named} is not known: name one or more of {', '.join(PROVIDERS)}")
    present = onnxruntime.get_available_providers()
    for name in names:
        provider, package = PROVIDERS[name]
        if provider not in present:
            here = ", ".join(known for known, (own, _) in PROVIDERS.items() if own in present)
            raise ModelError(
                f"provider {name} is not in this ONNX Runtime, which has {here}: "
                f"install {package} in place of onnxruntime (both use one import name), or name another provider"
            )
    return [PROVIDERS[name][0] for name in names]


def _refuse_silent_fallback(wanted: Sequence[str], loaded: Sequence[str]) -> None:
    """ONNX Runtime leaves out a provider whose libraries are missing without an error, and the CPU does its work."""
    for name, (provider, _) in PROVIDERS.items():
        if provider in wanted and provider not in loaded:
            raise ModelError(
                f"provider {name} is installed but could not start: its driver or libraries are missing or of another "
                "version; install them, or name another provider"
            )


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


def _at_least(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
