"""ONNX models of a few nodes that answer with given numbers: one for each output format, sound or broken."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml
from onnx import ModelProto, TensorProto, helper, numpy_helper

LABELS = ["person", "car", "truck"]

Array = npt.NDArray[np.float32]


def constant_model(outputs: Sequence[Array], *, height: int | str = "height", width: int | str = "width") -> bytes:
    """Answers `outputs`, each without its batch, for every picture of the batch."""
    nodes = [
        helper.make_node("Shape", ["pictures"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["batch"], axis=0),
    ]
    tensors = [numpy_helper.from_array(np.array([0], np.int64), "first")]
    answers = []
    for row, output in enumerate(outputs):
        ones = numpy_helper.from_array(np.ones(output.ndim, np.int64), f"ones{row}")
        tensors += [numpy_helper.from_array(output[None], f"value{row}"), ones]
        nodes += [
            helper.make_node("Concat", ["batch", f"ones{row}"], [f"times{row}"], axis=0),
            helper.make_node("Tile", [f"value{row}", f"times{row}"], [f"output{row}"]),
        ]
        answers.append(helper.make_tensor_value_info(f"output{row}", TensorProto.FLOAT, ["batch", *output.shape]))
    pictures = helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["batch", height, width, 3])
    return _bytes(helper.make_model(helper.make_graph(nodes, "constant", [pictures], answers, tensors)))


def brightness_model(*, batch: int | str = "batch") -> bytes:
    """yolo-e2e: one box over the content's left half, whose score is the mean brightness of the picture / 255."""
    nodes = [
        helper.make_node("Cast", ["pictures"], ["bright"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["bright"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Reshape", ["mean", "column"], ["score"]),
        helper.make_node("Mul", ["score", "unit"], ["scored"]),
        helper.make_node("Add", ["scored", "box"], ["output"]),
    ]
    tensors = [
        numpy_helper.from_array(np.array([-1, 1, 1], np.int64), "column"),
        numpy_helper.from_array(np.array([[[0, 0, 0, 0, 1 / 255, 0]]], np.float32), "unit"),
        numpy_helper.from_array(np.array([[[0, 0, 32, 32, 0, 1]]], np.float32), "box"),
    ]
    pictures = helper.make_tensor_value_info("pictures", TensorProto.UINT8, [batch, "height", "width", 3])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, 1, 6])
    return _bytes(helper.make_model(helper.make_graph(nodes, "brightness", [pictures], [output], tensors)))


def bright_or_dark_model() -> bytes:
    """classes: two logits, ten times how far the mean brightness of the picture lies above and below the middle."""
    nodes = [
        helper.make_node("Cast", ["pictures"], ["bright"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["bright"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Reshape", ["mean", "column"], ["level"]),
        helper.make_node("Mul", ["level", "signs"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["output"]),
    ]
    tensors = [
        numpy_helper.from_array(np.array([-1, 1], np.int64), "column"),
        numpy_helper.from_array(np.array([[20 / 255, -20 / 255]], np.float32), "signs"),
        numpy_helper.from_array(np.array([[-10, 10]], np.float32), "shift"),
    ]
    pictures = helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["batch", "height", "width", 3])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 2])
    return _bytes(helper.make_model(helper.make_graph(nodes, "bright-or-dark", [pictures], [output], tensors)))


def write_classifier(folder: Path, **changes: object) -> Path:
    """The folder of a model that tells bright pictures from dark ones."""
    values: dict[str, object] = {"format": "classes", "activation": "softmax", "labels": ["bright", "dark"]}
    return write_model(folder, bright_or_dark_model(), **{**values, **changes})


def float_model() -> bytes:
    """The usual export: float planes, no bytes."""
    pictures = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    nodes = [helper.make_node("Identity", ["images"], ["output"])]
    return _bytes(helper.make_model(helper.make_graph(nodes, "float", [pictures], [output])))


def write_model(folder: Path, content: bytes, **changes: object) -> Path:
    """A model folder: `content` and a manifest that fits it, but for `changes`; a value None takes the key out."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(content)
    values: Mapping[str, object] = {
        "name": folder.name,
        "file": "model.onnx",
        "sha256": hashlib.sha256(content).hexdigest(),
        "format": "yolox",
        "colour": "bgr",
        "padding": "top-left",
        "input_multiple": 32,
        "longest_side": 64,
        "labels": LABELS,
        "score": "given",
        "licence": "Apache-2.0",
        "origin": "made by a test",
        "made": "tests/tiny_models.py",
    }
    kept = {key: value for key, value in {**values, **changes}.items() if value is not None}
    (folder / "manifest.yaml").write_text(yaml.safe_dump(kept, allow_unicode=True), encoding="utf-8")
    return folder


def _bytes(model: ModelProto) -> bytes:
    model.ir_version = 8
    model.opset_import[0].version = 13
    return bytes(model.SerializeToString())
