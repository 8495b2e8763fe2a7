from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.detect.formats import Boxes, decode, misfit
from edge.detect.manifest import ModelManifest, parse_manifest
from tests.tiny_models import LABELS, write_model

INPUT_PX = (96, 64)
CELLS = 12 * 8 + 6 * 4 + 3 * 2


def _manifest(tmp_path: Path, **changes: object) -> ModelManifest:
    return parse_manifest(write_model(tmp_path / "tiny", b"", **changes))


def _decode(manifest: ModelManifest, *outputs: object, score_min: float = 0.1) -> Boxes:
    arrays = [np.asarray(output, np.float32) for output in outputs]
    return decode(manifest, arrays, input_px=INPUT_PX, score_min=score_min)


def _assert_box(boxes: Boxes, row: int, *, picture: int, label: str, score: float, xyxy: list[float]) -> None:
    assert int(boxes.picture[row]) == picture
    assert LABELS[boxes.label[row]] == label
    assert boxes.score[row] == pytest.approx(score, abs=1e-5)
    assert boxes.xyxy[row].tolist() == pytest.approx(xyxy, abs=1e-3)


def test_yolox_cells_become_boxes_at_their_own_stride(tmp_path: Path) -> None:
    raw = np.zeros((2, CELLS, 8), np.float32)
    # Column 5, row 2 of stride 8; column 1, row 3 of stride 16; column 2, row 1 of stride 32.
    raw[0, 2 * 12 + 5] = [0.5, 0.25, np.log(2), np.log(3), 0.8, 0.1, 0.9, 0.2]
    raw[1, 96 + 3 * 6 + 1] = [0, 0, 0, np.log(2), 1.0, 0.5, 0, 0]
    raw[1, 96 + 24 + 3 + 2] = [0, 0, 0, 0, 0.5, 0, 0, 0.5]
    boxes = _decode(_manifest(tmp_path), raw)
    assert len(boxes.score) == 3
    _assert_box(boxes, 0, picture=0, label="car", score=0.72, xyxy=[36, 6, 52, 30])
    _assert_box(boxes, 1, picture=1, label="person", score=0.5, xyxy=[8, 32, 24, 64])
    _assert_box(boxes, 2, picture=1, label="truck", score=0.25, xyxy=[48, 16, 80, 48])


def test_yolo_v5_and_v8_answers_for_one_thing_agree(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path, format="yolo")
    v5 = np.zeros((2, 40, 8), np.float32)
    v5[1, 7] = [40, 30, 20, 10, 0.5, 0.2, 0.1, 0.8]
    v8 = np.zeros((2, 7, 40), np.float32)
    v8[1, :, 7] = [40, 30, 20, 10, 0.1, 0.05, 0.4]
    for raw in (v5, v8):
        boxes = _decode(manifest, raw)
        assert len(boxes.score) == 1
        _assert_box(boxes, 0, picture=1, label="truck", score=0.4, xyxy=[30, 25, 50, 35])


def test_yolo_e2e_rows_are_taken_as_they_are(tmp_path: Path) -> None:
    raw = np.zeros((2, 5, 6), np.float32)
    raw[0, 3] = [1, 2, 30, 40, 0.9, 1]
    raw[1, 0] = [5, 6, 7, 8, 0.05, 0]  # below the limit
    raw[1, 1] = [5, 6, 7, 8, 0.5, 9]  # a label that the model does not have
    boxes = _decode(_manifest(tmp_path, format="yolo-e2e"), raw)
    assert len(boxes.score) == 1
    _assert_box(boxes, 0, picture=0, label="car", score=0.9, xyxy=[1, 2, 30, 40])


@pytest.mark.parametrize("boxes_first", [False, True])
def test_detr_queries_become_boxes_whichever_output_comes_first(tmp_path: Path, boxes_first: bool) -> None:
    logits = np.full((1, 6, 3), -9, np.float32)
    logits[0, 4] = [-2, 1, 0]
    queries = np.zeros((1, 6, 4), np.float32)
    queries[0, 4] = [0.5, 0.5, 0.25, 0.5]
    outputs = (queries, logits) if boxes_first else (logits, queries)
    boxes = _decode(_manifest(tmp_path, format="detr"), *outputs)
    assert len(boxes.score) == 1
    _assert_box(boxes, 0, picture=0, label="car", score=1 / (1 + np.exp(-1)), xyxy=[36, 16, 60, 48])


def test_detr_with_softmax_leaves_out_the_no_object_column(tmp_path: Path) -> None:
    logits = np.log(np.array([[[0.1, 0.2, 0.6, 0.1], [0.02, 0.03, 0.05, 0.9]]], np.float32))
    queries = np.full((1, 2, 4), 0.5, np.float32)
    boxes = _decode(_manifest(tmp_path, format="detr", activation="softmax"), logits, queries)
    assert len(boxes.score) == 1
    _assert_box(boxes, 0, picture=0, label="truck", score=0.6, xyxy=[24, 16, 72, 48])


def test_scores_and_boxes_that_are_no_numbers_are_dropped(tmp_path: Path) -> None:
    raw = np.zeros((1, CELLS, 8), np.float32)
    raw[0, :6, 4:6] = 1
    raw[0, 0, 4] = np.nan  # objectness
    raw[0, 1, 5] = np.nan  # class
    raw[0, 2, 0] = np.nan  # place
    raw[0, 3, 2] = 1000  # a width beyond float32
    raw[0, 4, 1] = -np.inf
    boxes = _decode(_manifest(tmp_path), raw)
    assert len(boxes.score) == 1
    assert np.isfinite(boxes.xyxy).all()


@pytest.mark.parametrize("score_min", [0.05, 0.3, 0.7])
def test_nothing_below_the_limit_comes_through_and_nothing_above_is_lost(tmp_path: Path, score_min: float) -> None:
    raw = np.random.default_rng(2).uniform(0, 1, (3, CELLS, 8)).astype(np.float32)
    expected = raw[..., 4] * raw[..., 5:].max(axis=2)
    boxes = _decode(_manifest(tmp_path), raw, score_min=score_min)
    assert len(boxes.score) == (expected >= score_min).sum()
    assert (boxes.score >= score_min).all()


@pytest.mark.parametrize(
    ("changes", "shapes", "fits"),
    [
        ({}, [(2, CELLS, 8)], True),
        ({}, [(2, CELLS, 9)], False),
        ({}, [(2, CELLS + 1, 8)], False),
        ({}, [(1, CELLS, 8)], False),
        ({"format": "yolo"}, [(2, 77, 8)], True),
        ({"format": "yolo"}, [(2, 7, 77)], True),
        ({"format": "yolo"}, [(2, 84, 77)], False),
        ({"format": "yolo-e2e"}, [(2, 300, 6)], True),
        ({"format": "yolo-e2e"}, [(2, 300, 7)], False),
        ({"format": "detr"}, [(2, 300, 3), (2, 300, 4)], True),
        ({"format": "detr"}, [(2, 300, 4), (2, 300, 3)], True),
        ({"format": "detr"}, [(2, 300, 4)], False),
        ({"format": "detr"}, [], False),
        ({"format": "detr", "activation": "softmax"}, [(2, 300, 4), (2, 300, 4)], True),
    ],
)
def test_outputs_are_held_against_the_format(
    tmp_path: Path, changes: dict[str, object], shapes: list[tuple[int, ...]], fits: bool
) -> None:
    problem = misfit(_manifest(tmp_path, **changes), shapes, batch=2, input_px=INPUT_PX)
    assert (problem == "") is fits
    assert "\n" not in problem


def test_a_misfit_names_the_expected_and_the_actual_shapes(tmp_path: Path) -> None:
    problem = misfit(_manifest(tmp_path), [(2, 10, 85)], batch=2, input_px=INPUT_PX)
    assert problem == f"expected outputs (2, {CELLS}, 8), got (2, 10, 85)"
