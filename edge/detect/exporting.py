"""From weights of the ultralytics project (YOLO26, YOLO11, YOLO-World, YOLOE and kin) to a model folder that edge runs.

    weights -> ultralytics' own ONNX export -> bytes in front, masks off -> manifest -> the same answer? -> FOLDER

ultralytics is AGPL-3.0 and heavy, and nothing of edge needs it: it is imported here, inside the functions, and nowhere
else. Install it in a virtual environment of its own, for it brings opencv-python, which takes the place of ours.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from edge.core import boxes
from edge.core.types import Detections, Float32, UInt8
from edge.detect.classifier import OnnxClassifier
from edge.detect.manifest import CLASSES, GIVEN, MANIFEST, YOLO, YOLO_E2E, ModelManifest, load_manifest
from edge.detect.network import Network
from edge.detect.runtimes import CPU
from edge.detect.session import OnnxDetector
from edge.errors import ModelError, OutputError, UsageError

INSTALL = "make a virtual environment of its own and in it: pip install 'cityeye-edge[export]'"
LICENCE = "AGPL-3.0, as the ultralytics project licenses its models"
DETECT, SEGMENT, CLASSIFY = "detect", "segment", "classify"
SCORE_MIN = 0.1  # of the boxes that are compared
COMPARED = 20  # the surest of them
SAME_BOX = 0.95  # IoU
MATCHED_SHARE = 0.8
SCORE_OFF = 0.01
OFF_MAX = 0.05  # px; a score is off by far less
_STRIDE_PX = 32
_MASK = 32  # coefficients
_FILE = "model.onnx"
_PICTURES, _BOXES = "edge_pictures", "edge_boxes"  # names of the graph that nobody else uses
# Any of a dozen libraries fails in there, each with errors of its own.
_THEIR_ERRORS = (
    OSError,
    RuntimeError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    ImportError,
    AssertionError,
    ArithmeticError,
)
_IOU_MAX = 0.7  # ultralytics' own, for the comparison


@dataclass(frozen=True, slots=True)
class ExportOrder:
    """What `edge models export` was asked for."""

    weights: Path  # a .pt; a .yaml of the project gives random weights, to try the way
    out: Path
    labels: tuple[str, ...] = ()  # of an open-vocabulary model: what it is to look for
    longest_side: int = 640
    fixed: bool = False  # one input size alone, a square
    nms_free: bool = False  # the end-to-end head of YOLO26 and YOLOv10
    licence: str = LICENCE


@dataclass(frozen=True, slots=True)
class Comparison:
    """Our answer on a picture beside ultralytics' own."""

    numbers: int  # of the network's answer, all of them compared
    off_max: float  # the largest difference, in px of the input or in score
    boxes: int  # of ultralytics after its own suppression, on the whole way from the picture
    matched: int  # of them, with the same label and score

    @property
    def sound(self) -> bool:
        """Boxes of nearly equal score may be suppressed in another order; numbers have no such excuse."""
        return self.numbers > 0 and self.off_max <= OFF_MAX and self.matched >= MATCHED_SHARE * self.boxes


def export_model(order: ExportOrder, picture: UInt8) -> tuple[ModelManifest, Comparison]:
    """Write the model folder `order.out`, once its answer on `picture` (H, W, 3) is ultralytics' own.

    Raises ModelError, OutputError and UsageError; then no folder is left.
    """
    if order.out.exists():
        raise OutputError(f"{order.out}: is there already: name another folder")
    if order.longest_side <= 0 or order.longest_side % _STRIDE_PX:
        raise UsageError(f"--input {order.longest_side}: must be a multiple of {_STRIDE_PX}, such as 640")
    order.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{order.out.name}-", dir=order.out.parent) as work:
        model = _loaded(order, Path(work))
        labels = list(model.names.values())
        folder = Path(work) / order.out.name
        folder.mkdir()
        exported = _exported(model, order, Path(work))
        detects = model.task != CLASSIFY
        format_name = write_network(exported, folder / _FILE, labels=len(labels), detects=detects)
        _write_manifest(folder, order, format_name=format_name, labels=labels)
        manifest = load_manifest(folder)
        comparison = (_compared_boxes if detects else _compared_classes)(model, manifest, order, picture)
        if not comparison.sound:
            raise ModelError(
                f"{order.weights}: the exported model does not answer as ultralytics does: numbers are off by up to "
                f"{comparison.off_max:.3g}, {comparison.matched} of {comparison.boxes} boxes agree: try --fixed, or "
                "another version of ultralytics"
            )
        folder.rename(order.out)
    return load_manifest(order.out), comparison


# ultralytics' side


def _loaded(order: ExportOrder, work: Path) -> Any:
    """The model as ultralytics has it, with its labels set."""
    random = order.weights.suffix == ".yaml"
    if not random and not order.weights.is_file():
        raise ModelError(f"{order.weights}: no such file: fetch the weights first; nothing is downloaded here")
    # It would install packages, write its settings to HOME, and report its use.
    os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_VERBOSE="false", YOLO_CONFIG_DIR=str(work))
    try:
        from ultralytics import YOLO as Model  # noqa: N811  # a class by a name that says what it is here
    except ImportError as error:
        raise ModelError(f"ultralytics is not installed here ({error}): {INSTALL}") from None
    # The export is written beside the weights: beside a copy of ours.
    if random:
        _seed()
    source = str(order.weights) if random else str(shutil.copy(order.weights, work / order.weights.name))
    try:
        model = Model(source)
    except _THEIR_ERRORS as error:
        raise ModelError(f"{order.weights}: ultralytics cannot load it: {_first_line(error)}") from None
    if model.task not in (DETECT, SEGMENT, CLASSIFY):
        raise ModelError(f"{order.weights}: is made for {model.task}: edge takes models that detect or classify")
    if order.labels:
        _set_labels(model, order)
    if random:
        _enliven(model)
    return model


def _seed() -> None:
    import torch

    torch.manual_seed(5)


def _enliven(model: Any) -> None:
    """Weights as they are initialised fade from layer to layer until every place looks the same, which would prove
    nothing."""
    import torch

    for layer in model.model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.data *= 1.8
            if (
                layer.bias is not None and float(layer.bias.detach().mean()) < -4
            ):  # of classes: sure of nothing, anywhere
                layer.bias.data[:] = -2.0


def _set_labels(model: Any, order: ExportOrder) -> None:
    if not hasattr(model, "set_classes"):
        known = ", ".join(list(model.names.values())[:8])
        raise ModelError(
            f"{order.weights}: is no open-vocabulary model, so its labels are its own ({known}, ..): leave --labels "
            "out, or take YOLO-World or YOLOE weights"
        )
    os.environ["YOLO_OFFLINE"] = "false"
    try:
        model.set_classes(list(order.labels))
    except _THEIR_ERRORS as error:
        raise ModelError(
            f"{order.weights}: the labels cannot be set ({_first_line(error)}): that needs a text encoder, the package "
            "`clip` and weights that ultralytics fetches: do it where the network is, or take weights that were saved "
            "with their classes set"
        ) from None


def _exported(model: Any, order: ExportOrder, work: Path) -> Path:
    options: dict[str, Any] = {"format": "onnx", "imgsz": order.longest_side, "simplify": False, "verbose": False}
    options["dynamic"] = not order.fixed
    if order.nms_free:
        options["nms"] = False
    try:
        with contextlib.chdir(work):
            return Path(model.export(**options)).absolute()
    except _THEIR_ERRORS as error:
        raise ModelError(f"{order.weights}: ultralytics' export failed: {_first_line(error)}") from None


# Our side


def write_network(exported: Path, path: Path, *, labels: int, detects: bool) -> str:
    """The network with bytes (B, H, W, 3) in place of planes of floats, and boxes alone; returns its format."""
    from onnx import TensorProto, helper, load, numpy_helper, save

    model = load(str(exported))
    graph = model.graph
    planes = graph.input[0]
    batch, _, height, width = (side.dim_param or side.dim_value for side in planes.type.tensor_type.shape.dim)
    graph.input.remove(planes)
    graph.input.append(helper.make_tensor_value_info(_PICTURES, TensorProto.UINT8, [batch, height, width, 3]))
    graph.initializer.append(numpy_helper.from_array(np.array(1 / 255, np.float32), f"{_PICTURES}_unit"))
    front = [
        helper.make_node("Transpose", [_PICTURES], [f"{_PICTURES}_planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", [f"{_PICTURES}_planes"], [f"{_PICTURES}_floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{_PICTURES}_floats", f"{_PICTURES}_unit"], [planes.name]),
    ]
    for row, node in enumerate(front):
        graph.node.insert(row, node)
    if not detects:
        save(model, str(path))
        return CLASSES
    shape = _shape_of_answer(model)
    # Behind each box a segmenting model has the coefficients of its mask.
    nms_free = shape[2] in (6, 6 + _MASK)
    format_name, axis, wanted = (YOLO_E2E, 2, 6) if nms_free else (YOLO, 1, 4 + labels)
    if shape[axis] > wanted:
        _cut_output(graph, axis=axis, length=wanted)
    save(model, str(path))
    return format_name


def _shape_of_answer(model: Any) -> tuple[int, ...]:
    """Of the first output, by a run on a small picture, or on one of the only size."""
    import onnxruntime  # type: ignore[import-untyped]  # ships no types

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    batch, height, width, _ = session.get_inputs()[0].shape
    sides = [side if isinstance(side, int) else free for side, free in ((batch, 1), (height, 256), (width, 320))]
    shape: tuple[int, ...] = session.run(None, {_PICTURES: np.zeros((*sides, 3), np.uint8)})[0].shape
    return shape


def _cut_output(graph: Any, *, axis: int, length: int) -> None:
    """The first output up to `length` along `axis`; the others are dropped."""
    from onnx import TensorProto, helper, numpy_helper

    for name, number in (("begin", 0), ("end", length), ("axis", axis)):
        graph.initializer.append(numpy_helper.from_array(np.array([number], np.int64), f"{_BOXES}_{name}"))
    inputs = [graph.output[0].name, f"{_BOXES}_begin", f"{_BOXES}_end", f"{_BOXES}_axis"]
    graph.node.append(helper.make_node("Slice", inputs, [_BOXES]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(_BOXES, TensorProto.FLOAT, None))


def _write_manifest(folder: Path, order: ExportOrder, *, format_name: str, labels: Sequence[str]) -> None:
    import ultralytics

    weights = order.weights
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.suffix != ".yaml" else ""
    origin = f"{weights.name}, sha256 {digest}" if digest else f"{weights.name} with random weights: it finds nothing"
    flags = f"{' --fixed' if order.fixed else ''}{' --nms-free' if order.nms_free else ''}"
    values: dict[str, object] = {
        "name": order.out.name,
        "file": _FILE,
        "sha256": hashlib.sha256((folder / _FILE).read_bytes()).hexdigest(),
        "format": format_name,
        **({"activation": GIVEN} if format_name == CLASSES else {}),
        "colour": "rgb",
        "padding": "centred",
        "input_multiple": _STRIDE_PX,
        "longest_side": order.longest_side,
        **({"fixed_px": [order.longest_side] * 2} if order.fixed else {}),
        "score": "class probability, 0..1; the best class only, not calibrated",
        "licence": order.licence,
        "origin": origin,
        "made": f"edge models export, ultralytics {ultralytics.__version__}: --input {order.longest_side}{flags}",
        "labels": list(labels),
    }
    text = yaml.safe_dump(values, allow_unicode=True, sort_keys=False, width=120)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


# The proof


def _compared_boxes(model: Any, manifest: ModelManifest, order: ExportOrder, picture: UInt8) -> Comparison:
    """The network's numbers on their letterboxed picture, and the boxes on the whole way from the picture."""
    from ultralytics.utils.nms import non_max_suppression
    from ultralytics.utils.ops import scale_boxes

    letterboxed = _their_input(picture, order)
    planes = _planes(letterboxed)
    net = model.model.float().eval()
    if hasattr(net, "end2end"):
        net.end2end = order.nms_free
    raw = _first_of(net(planes))
    nms_free = manifest.format == YOLO_E2E
    theirs = non_max_suppression(
        raw.clone(), SCORE_MIN, _IOU_MAX, nc=len(manifest.labels), end2end=nms_free, max_det=1000
    )[0]
    xyxy = scale_boxes(planes.shape[2:], theirs[:, :4].clone(), picture.shape).numpy().astype(np.float32)
    found = Detections(xyxy, theirs[:, 4].numpy(), theirs[:, 5].numpy().astype(np.int16))
    detector = OnnxDetector(manifest, threads=1, score_min=SCORE_MIN * 0.9, iou_max=_IOU_MAX)
    boxes_compared, matched = _matched(found, detector.detect([picture])[0])
    network = Network(manifest, longest_side=None, threads=1, providers=(CPU,))
    off = _off(raw.numpy(), network.run(letterboxed[None])[0], nms_free=nms_free)
    return Comparison(raw.numel(), off, boxes_compared, matched)


def _off(theirs: Float32, ours: Float32, *, nms_free: bool) -> float:
    """An end-to-end head orders equal scores as it likes, and which box comes last is chance: there its scores are
    compared, and the boxes by `_matched` alone."""
    kept = theirs[..., 4] if nms_free else theirs[:, : ours.shape[1]]
    same = ours[..., 4] if nms_free else ours
    return float(np.abs(kept - same).max())


def _matched(theirs: Detections, ours: Detections) -> tuple[int, int]:
    """How many of their surest boxes are looked for, and how many there are of ours of that label, place and score."""
    best = np.argsort(-theirs.score, kind="stable")[:COMPARED]
    overlap = boxes.iou(theirs.xyxy[best], ours.xyxy) >= SAME_BOX
    overlap &= theirs.label[best][:, None] == ours.label[None, :]
    overlap &= np.abs(theirs.score[best][:, None] - ours.score[None, :]) <= SCORE_OFF
    return len(best), int(overlap.any(axis=1).sum())


def _compared_classes(model: Any, manifest: ModelManifest, order: ExportOrder, picture: UInt8) -> Comparison:
    side = min(picture.shape[:2])
    square = np.ascontiguousarray(picture[:side, :side])
    theirs = _first_of(model.model.float().eval()(_planes(_their_input(square, order))))[0].numpy()
    ours = OnnxClassifier(manifest, threads=1).classify([square])[0]
    return Comparison(len(theirs), float(np.abs(theirs - ours).max()), boxes=0, matched=0)


def _their_input(picture: UInt8, order: ExportOrder) -> UInt8:
    """(H, W, 3) RGB in ultralytics' own letterbox."""
    from ultralytics.data.augment import LetterBox

    side = order.longest_side
    letterboxed = LetterBox((side, side), auto=not order.fixed, stride=_STRIDE_PX)(image=picture)
    return np.ascontiguousarray(letterboxed[..., ::-1])


def _planes(picture: UInt8) -> Any:
    """(H, W, 3) -> (1, 3, H, W) as the network takes it there."""
    import torch

    torch.set_grad_enabled(False)
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None].float() / 255


def _first_of(answer: Any) -> Any:
    while isinstance(answer, list | tuple):
        answer = answer[0]
    return answer


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
