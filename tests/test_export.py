"""`edge models export`, without ultralytics: what is put in front of its networks, and what it says where it cannot.

With ultralytics itself it is run by `scripts/try-export`.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from edge.core.types import UInt8
from edge.detect.exporting import ExportOrder, export_model, write_network
from edge.detect.manifest import load_manifest
from edge.detect.models import open_model
from edge.errors import ModelError, OutputError, UsageError
from tests.test_architecture import PACKAGE, imports
from tests.tiny_models import write_model

PICTURE = np.zeros((48, 64, 3), np.uint8)


def _red_level(planes: UInt8) -> float:
    return float(planes[..., 2].mean()) / 255


def exported(path: Path, shape: tuple[int, ...], *, at: tuple[int, ...], box: list[float], masks: bool = False) -> Path:
    """What ultralytics' export looks like: planes (B, 3, H, W) of floats 0..1 in RGB, and an answer of `shape` in which
    one row is `box` and scored with the mean of the red plane. `masks`: with a second output."""
    constant, scored = np.zeros((1, *shape), np.float32), np.zeros((1, *shape), np.float32)
    if shape[1] in (6, 38):  # end to end
        constant[0, at[0], :4], constant[0, at[0], 5], scored[0, at[0], 4] = box, 1, 1
    else:
        constant[0, :4, at[0]], scored[0, 5, at[0]] = box, 1
    tensors = [
        numpy_helper.from_array(constant, "constant"),
        numpy_helper.from_array(scored, "scored"),
        numpy_helper.from_array(np.array([-1, 1, 1], np.int64), "one"),
        numpy_helper.from_array(np.array([0], np.int64), "first"),
    ]
    nodes = [
        helper.make_node("Gather", ["images", "first"], ["red"], axis=1),
        helper.make_node("ReduceMean", ["red"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Reshape", ["mean", "one"], ["level"]),
        helper.make_node("Mul", ["level", "scored"], ["score"]),
        helper.make_node("Add", ["score", "constant"], ["output0"]),
    ]
    planes = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, None)]
    if masks:
        nodes.append(helper.make_node("Identity", ["mean"], ["output1"]))
        outputs.append(helper.make_tensor_value_info("output1", TensorProto.FLOAT, None))
    model = helper.make_model(helper.make_graph(nodes, "export", [planes], outputs, tensors))
    model.ir_version = 8
    model.opset_import[0].version = 13
    save(model, str(path))
    return path


CENTRED_BOX, CORNERS = [32.0, 24.0, 32.0, 32.0], [16.0, 8.0, 48.0, 40.0]


@pytest.mark.parametrize(
    ("shape", "format_name", "box", "masks"),
    [
        ((7, 9), "yolo", CENTRED_BOX, False),
        ((7 + 32, 9), "yolo", CENTRED_BOX, True),
        ((9, 6), "yolo-e2e", CORNERS, False),
        ((300, 6 + 32), "yolo-e2e", CORNERS, True),
    ],
    ids=["raw", "raw with masks", "nms-free", "nms-free with masks"],
)
def test_bytes_take_the_place_of_planes_and_masks_are_left_out(
    tmp_path: Path, shape: tuple[int, int], format_name: str, box: list[float], masks: bool
) -> None:
    source = exported(tmp_path / "exported.onnx", shape, at=(3,), box=box, masks=masks)
    folder = tmp_path / "model"
    folder.mkdir()
    found = write_network(source, folder / "model.onnx", labels=3, detects=True)
    assert found == format_name
    content = (folder / "model.onnx").read_bytes()
    write_model(folder, content, format=found, colour="rgb", padding="centred")
    detector = open_model(load_manifest(folder), threads=1)
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[..., 0], picture[..., 2] = 50, 153  # BGR: blue and red
    answer = detector.detect([picture])[0]  # type: ignore[union-attr]
    assert answer.xyxy.tolist() == [pytest.approx(CORNERS, abs=1e-3)]
    assert answer.score[0] == pytest.approx(_red_level(picture), abs=1e-4)
    assert answer.label.tolist() == [1]


def test_nothing_of_edge_needs_ultralytics() -> None:
    """It is AGPL and heavy: one file may import it, inside its functions."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        at_top = [name for node in tree.body for _, name in imports(ast.Module([node], [])) if _is_top(node)]
        anywhere = [name for _, name in imports(tree)]
        heavy = {"ultralytics", "torch", "torchvision", "onnx"}
        assert not heavy & {name.split(".")[0] for name in at_top}, path
        if path.name != "exporting.py":
            assert not heavy & {name.split(".")[0] for name in anywhere}, path


def _is_top(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


# What it says where it cannot


def test_without_ultralytics_it_says_how_to_install_it(tmp_path: Path) -> None:
    if importlib.util.find_spec("ultralytics"):
        pytest.fail("ultralytics is installed beside edge; the tests want it in an environment of its own")
    weights = tmp_path / "own.pt"
    weights.write_bytes(b"weights")
    with pytest.raises(ModelError, match=r"^ultralytics is not installed here .*make a virtual environment of its own"):
        export_model(ExportOrder(weights=weights, out=tmp_path / "models" / "own"), PICTURE)
    assert not (tmp_path / "models" / "own").exists()
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"weights": Path("nowhere.pt")}, ModelError, "nowhere.pt: no such file: fetch the weights first"),
        ({"longest_side": 650}, UsageError, "--input 650: must be a multiple of 32"),
        ({"longest_side": 0}, UsageError, "--input 0: must be a multiple of 32"),
        ({"out": Path(os.sep)}, OutputError, "is there already: name another folder"),
    ],
)
def test_what_cannot_be_exported_is_told_in_one_line(
    tmp_path: Path, changes: dict[str, object], error: type[Exception], says: str
) -> None:
    order = {"weights": Path("yolo11n.yaml"), "out": tmp_path / "own", **changes}
    with pytest.raises(error, match=says) as raised:
        export_model(ExportOrder(**order), PICTURE)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_the_command_is_misused_without_out_and_fails_with_one_line(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edge", "models", "export", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert run("own.pt").returncode == 2
    failed = run("own.pt", "--out", str(tmp_path / "own"))
    assert failed.returncode == 1
    assert len(failed.stderr.strip().splitlines()) == 1
    assert "own.pt: no such file" in failed.stderr
    bad = run("own.pt", "--out", str(tmp_path / "own"), "--picture", str(tmp_path / "none.jpg"))
    assert bad.returncode == 2
    assert len(bad.stderr.strip().splitlines()) == 1
    assert "none.jpg: is no picture that can be read" in bad.stderr
