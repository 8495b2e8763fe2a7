from __future__ import annotations

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.core.boxes import iou
from edge.core.types import Float32, Int16, Int64
from edge.detect.nms import best_of_each, suppress

GROUPS = np.array([0, 1, 1, 3], np.int16)  # labels 1 and 2 stand for one thing

Rows = tuple[Int64, Float32, Float32, Int16]


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    """Boxes on a coarse grid, so that equal boxes, equal scores and exact touching are common."""
    count = draw(st.integers(0, 30))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corner = generator.integers(0, 12, (count, 2)) * 4
    size = generator.integers(1, 8, (count, 2)) * 4
    xyxy = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    score = (generator.integers(1, 12, count) / 12).astype(np.float32)
    return generator.integers(0, 3, count), xyxy, score, generator.integers(0, 4, count).astype(np.int16)


limits = st.sampled_from([0.1, 0.45, 0.6, 0.8])


def _suppress(given_rows: Rows, iou_max: float) -> Int64:
    picture, xyxy, score, label = given_rows
    return suppress(picture=picture, xyxy=xyxy, score=score, label=label, groups=GROUPS, iou_max=iou_max)


def _answer(given_rows: Rows, kept: Int64) -> list[tuple[object, ...]]:
    picture, xyxy, score, label = given_rows
    return [(int(picture[row]), *xyxy[row].tolist(), float(score[row]), int(label[row])) for row in kept]


def _one_by_one(given_rows: Rows, iou_max: float) -> set[int]:
    """Greedy suppression as the textbook has it."""
    picture, xyxy, score, label = given_rows
    overlap = iou(xyxy, xyxy)
    order = np.lexsort((label, xyxy[:, 3], xyxy[:, 2], xyxy[:, 1], xyxy[:, 0], -score))
    kept: list[int] = []
    for row in order.tolist():
        rivals = [k for k in kept if picture[k] == picture[row] and GROUPS[label[k]] == GROUPS[label[row]]]
        if not any(overlap[k, row] > iou_max for k in rivals):
            kept.append(row)
    return set(kept)


@given(rows(), limits)
def test_the_answer_is_that_of_the_textbook_loop(given_rows: Rows, iou_max: float) -> None:
    assert set(_suppress(given_rows, iou_max).tolist()) == _one_by_one(given_rows, iou_max)


@given(rows(), limits, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_show(given_rows: Rows, iou_max: float, random: object) -> None:
    order = np.arange(len(given_rows[0]))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled: Rows = tuple(column[order] for column in given_rows)  # type: ignore[assignment]
    assert _answer(given_rows, _suppress(given_rows, iou_max)) == _answer(shuffled, _suppress(shuffled, iou_max))


@given(rows(), limits)
def test_a_batch_answers_like_its_pictures_one_by_one(given_rows: Rows, iou_max: float) -> None:
    together = _answer(given_rows, _suppress(given_rows, iou_max))
    single: list[tuple[object, ...]] = []
    for picture in range(3):
        own: Rows = tuple(column[given_rows[0] == picture] for column in given_rows)  # type: ignore[assignment]
        single += _answer(own, _suppress(own, iou_max))
    assert together == single


@given(rows(), limits)
def test_kept_boxes_of_a_group_never_overlap_above_the_limit(given_rows: Rows, iou_max: float) -> None:
    picture, xyxy, _, label = given_rows
    kept = _suppress(given_rows, iou_max)
    same = (picture[kept][:, None] == picture[kept]) & (GROUPS[label[kept]][:, None] == GROUPS[label[kept]])
    np.fill_diagonal(same, False)
    assert not (same & (iou(xyxy[kept], xyxy[kept]) > iou_max + 1e-6)).any()


@given(rows(), limits)
def test_the_best_of_each_picture_always_stays_and_comes_first(given_rows: Rows, iou_max: float) -> None:
    picture, _, score, _ = given_rows
    kept = _suppress(given_rows, iou_max)
    assert (np.diff(picture[kept]) >= 0).all()
    for row in np.unique(picture):
        own = score[kept][picture[kept] == row]
        assert own[0] == score[picture == row].max()
        assert (np.diff(own) <= 0).all()


def test_a_van_found_as_car_and_as_truck_is_one_detection_with_the_better_label() -> None:
    xyxy = np.array([[10, 10, 110, 60], [11, 10, 110, 61], [10, 10, 110, 60]], np.float32)
    kept = suppress(
        picture=np.zeros(3, np.int64),
        xyxy=xyxy,
        score=np.array([0.5, 0.7, 0.6], np.float32),
        label=np.array([1, 2, 3], np.int16),  # car, truck, and something else in the same place
        groups=GROUPS,
        iou_max=0.8,
    )
    assert kept.tolist() == [1, 2]


def test_no_boxes_are_no_trouble() -> None:
    empty = (np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int16))
    kept = _suppress(empty, 0.6)
    assert kept.shape == (0,)
    assert kept.dtype == np.int64


@given(rows(), st.integers(1, 5))
def test_the_bound_keeps_the_best_of_each_picture(given_rows: Rows, count_max: int) -> None:
    picture, _, score, _ = given_rows
    chosen = best_of_each(picture=picture, score=score, count_max=count_max)
    for row in np.unique(picture):
        own = picture == row
        assert chosen[own].sum() == min(count_max, own.sum())
        if not chosen[own].all():
            assert score[own & chosen].min() >= score[own & ~chosen].max()


def test_a_crowd_in_sixteen_pictures_is_suppressed_in_milliseconds() -> None:
    generator = np.random.default_rng(5)
    count = 16 * 300
    corner = generator.uniform(0, 600, (count, 2))
    xyxy = np.concatenate([corner, corner + generator.uniform(10, 60, (count, 2))], axis=1).astype(np.float32)
    arguments = {
        "picture": np.repeat(np.arange(16), 300),
        "xyxy": xyxy,
        "score": generator.uniform(0.1, 1, count).astype(np.float32),
        "label": np.zeros(count, np.int16),
        "groups": GROUPS,
        "iou_max": 0.6,
    }
    spent_s = []
    for _ in range(5):
        begin = time.perf_counter()
        kept = suppress(**arguments)
        spent_s.append(time.perf_counter() - begin)
    print(f"suppression, 16 pictures x 300 boxes of one label: {np.median(spent_s) * 1e3:.1f} ms, {len(kept)} stay")
    assert min(spent_s) < 1
