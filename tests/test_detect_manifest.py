from __future__ import annotations

from pathlib import Path

import pytest

from edge.detect.manifest import find_model, known_models, load_manifest, parse_manifest
from edge.errors import ModelError
from edge.resources import models_dir
from tests.tiny_models import write_model


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"licence": None}, "licence is missing: add it"),
        ({"colors": "bgr"}, "unknown key 'colors': known are activation, colour"),
        ({"format": "ssd"}, "format is 'ssd': expected one of yolox, yolo, yolo-e2e, detr, classes"),
        ({"colour": "grey"}, "colour is 'grey': expected one of bgr, rgb"),
        ({"padding": 114}, "padding is 114: expected one of top-left, centred"),
        ({"sha256": "abc"}, "sha256 is 'abc': expected 64 hexadecimal digits"),
        ({"file": "../other/model.onnx"}, "expected the name of a file in the same folder"),
        ({"input_multiple": 0}, "input_multiple is 0: expected a whole number"),
        ({"longest_side": "640"}, "longest_side is '640': expected a whole number"),
        ({"iou_max": 1.5}, "iou_max is 1.5: expected a number above 0"),
        ({"labels": []}, "labels: expected a list of names"),
        ({"labels": ["car", "car"]}, "labels: 'car' stands there twice"),
        ({"labels": "car"}, "labels: expected a list of names"),
        ({"groups": {"vehicle": ["car", "tram"]}}, "groups.vehicle: 'tram' is not among the labels"),
        ({"groups": {"a": ["car"], "b": ["car"]}}, "groups.b: 'car' is in another group already"),
        ({"groups": ["car"]}, "groups: expected names with lists of labels"),
        ({"fixed_px": 64}, "fixed_px is 64: expected [width, height]"),
        ({"fixed_px": [64, "32"]}, "fixed_px is [64, '32']: expected [width, height]"),
        ({"fixed_px": [96, 64]}, "longest_side is 64, but fixed_px has 96"),
        ({"activation": "given"}, "activation is 'given': that is for format classes"),
        ({"format": "classes"}, "activation is missing: softmax or sigmoid of logits, given where"),
        ({"format": "classes", "activation": "softmax", "iou_max": 0.5}, "iou_max is for detectors"),
        ({"format": "classes", "activation": "softmax", "groups": {}}, "groups is for detectors"),
        ({"origin": " "}, "origin is ' ': expected text"),
    ],
)
def test_a_wrong_manifest_says_what_is_wrong(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    folder = write_model(tmp_path / "tiny", b"weights", **changes)
    with pytest.raises(ModelError) as raised:
        parse_manifest(folder)
    assert says in str(raised.value)
    assert str(folder / "manifest.yaml") in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"name: a\nname: b\n", "manifest.yaml:2: repeated key 'name'"),
        (b"name: [a\n", "manifest.yaml:"),
        (b"- a\n", "expected keys and values, found list"),
        (b"", "expected keys and values, found NoneType"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"name: \x00", "not YAML"),
    ],
)
def test_a_manifest_that_is_no_manifest_says_so(tmp_path: Path, text: bytes, says: str) -> None:
    (tmp_path / "manifest.yaml").write_bytes(text)
    with pytest.raises(ModelError) as raised:
        parse_manifest(tmp_path)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_the_one_that_was_checked_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny", b"weights")
    load_manifest(folder)
    (folder / "model.onnx").write_bytes(b"other weights")
    with pytest.raises(
        ModelError,
        match=r"model\.onnx: sha256 is [0-9a-f]{12}\.\., manifest says [0-9a-f]{12}\.\.: the file is not the",
    ):
        load_manifest(folder)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny", b"weights")
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx: No such file or directory"):
        load_manifest(folder)


def test_a_model_is_found_by_name_in_the_first_folder_that_has_it_or_by_path(tmp_path: Path) -> None:
    state, package = tmp_path / "state", tmp_path / "package"
    for folder in (state / "own", state / "both", package / "both", package / "stock"):
        write_model(folder, b"weights")
    folders = [state, package]
    assert find_model("own", folders) == state / "own"
    assert find_model("both", folders) == state / "both"
    assert find_model("stock", folders) == package / "stock"
    assert find_model(str(package / "both"), folders) == package / "both"
    assert [path.name for path in known_models(folders)] == ["both", "own", "stock"]
    assert known_models(folders)[0] == state / "both"


@pytest.mark.parametrize("name", ["yolo", "", "../nothing"])
def test_an_unknown_model_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(ModelError) as raised:
        find_model(name, [models_dir()])
    assert "yolox-nano" in str(raised.value) or not name


def test_labels_of_a_group_share_a_number_and_the_others_keep_their_own(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny", b"weights", groups={"vehicle": ["truck", "car"]})
    assert parse_manifest(folder).label_groups().tolist() == [0, 1, 1]
    assert parse_manifest(write_model(tmp_path / "plain", b"weights")).label_groups().tolist() == [0, 1, 2]


def test_the_committed_model_is_small_and_the_one_that_its_manifest_names() -> None:
    manifest = load_manifest(models_dir() / "yolox-nano")
    assert manifest.path.stat().st_size < 5_000_000
    assert len(manifest.labels) == 80
    assert (manifest.folder / "NOTICE").is_file()
