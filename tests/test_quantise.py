"""scripts/quantise-model makes a model that edge loads, of pictures in a folder, and says what it cannot use."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge.detect.manifest import load_manifest
from edge.detect.onnx_runtime import OnnxRuntime
from edge.resources import models_dir
from tests.tiny_models import write_model

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "quantise-model"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = SourceFileLoader("quantise_model", str(SCRIPT))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    dice = np.random.default_rng(5)
    for number in range(8):
        cv2.imwrite(str(folder / f"{number}.png"), dice.integers(0, 255, (48, 64, 3)).astype(np.uint8))
    return folder


def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["quantise-model", *map(str, arguments)])
    return int(script.main())


def three_convolutions() -> bytes:
    """yolo-e2e: six numbers for each cell, by convolutions with an activation between."""
    dice = np.random.default_rng(3)
    shapes = {"w0": (8, 3, 3, 3), "w1": (8, 8, 3, 3), "w2": (6, 8, 1, 1)}
    tensors = [
        numpy_helper.from_array(dice.normal(size=shape).astype(np.float32), name) for name, shape in shapes.items()
    ]
    tensors.append(numpy_helper.from_array(np.array([0, 6, -1], np.int64), "flat"))
    nodes = [
        helper.make_node("Transpose", ["pictures"], ["planes"], "to_planes", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["a0"], "to_float", to=TensorProto.FLOAT),
        helper.make_node("Conv", ["a0", "w0"], ["b0"], "first", strides=[8, 8]),
        helper.make_node("Sigmoid", ["b0"], ["c0"], "sigmoid"),
        helper.make_node("Mul", ["b0", "c0"], ["a1"], "mul"),
        helper.make_node("Conv", ["a1", "w1"], ["a2"], "second"),
        helper.make_node("Conv", ["a2", "w2"], ["b2"], "head"),
        helper.make_node("Reshape", ["b2", "flat"], ["cells"], "reshape"),
        helper.make_node("Transpose", ["cells"], ["output"], "to_rows", perm=[0, 2, 1]),
    ]
    pictures = helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["batch", "height", "width", 3])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", "cells", 6])
    graph = helper.make_graph(nodes, "convolutions", [pictures], [output], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_convolutions_become_int8_but_the_head_and_what_is_named_do_not(
    method: str, script: ModuleType, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_model(tmp_path / "source", three_convolutions(), format="yolo-e2e"), tmp_path / "small"
    options = ["--out", out, "--input", 64, "--method", method, "--float", "first"]
    assert run(script, monkeypatch, source, frames, *options) == 0
    manifest, before = load_manifest(out), load_manifest(source)
    model = onnx.load(manifest.path)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    maker = {output: node for node in model.graph.node for output in node.output}
    eight_bit = [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv"
        and node.input[1] in maker
        and types[maker[node.input[1]].input[0]] == TensorProto.INT8
    ]
    assert eight_bit == ["second"]
    assert (manifest.labels, manifest.format, manifest.name) == (before.labels, before.format, "small")
    assert before.sha256 in manifest.made
    picture = np.random.default_rng(7).integers(0, 255, (1, 64, 64, 3)).astype(np.uint8)
    exact, rough = (OnnxRuntime(one, threads=1, providers=["cpu"]).run(picture)[0] for one in (before, manifest))
    off = float(np.abs(rough - exact).mean() / np.abs(exact).mean())
    print(f"{method}: off by {off:.3f} of the mean answer")
    assert 0 < off < 0.05


def test_what_cannot_be_used_is_told(
    script: ModuleType,
    frames: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = models_dir() / "yolox-nano"
    assert run(script, monkeypatch, source, frames, "--out", tmp_path) == 2
    assert "is there already" in capsys.readouterr().err
    assert run(script, monkeypatch, tmp_path / "none", frames, "--out", tmp_path / "new") == 1
    assert "manifest.yaml" in capsys.readouterr().err
    (frames / "0.png").unlink()
    assert run(script, monkeypatch, source, frames, "--out", tmp_path / "new") == 2
    assert "7 pictures, needs 8 or more" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
