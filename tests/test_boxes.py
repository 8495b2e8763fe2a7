import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge.core import boxes

corner = st.integers(-200, 2000).map(float)
some_boxes = arrays.arrays(np.float32, st.tuples(st.integers(0, 5), st.just(4)), elements=corner)

unhurried = settings(deadline=None)  # a busy machine is no failure


def box(*corners: float) -> np.ndarray:
    return np.array([corners], np.float32)


@unhurried
@given(some_boxes, some_boxes)
def test_iou_is_between_0_and_1_and_symmetric(first, second):
    iou = boxes.iou(first, second)
    assert iou.shape == (len(first), len(second))
    assert iou.dtype == np.float32
    assert ((iou >= 0) & (iou <= 1)).all()
    assert np.array_equal(iou, boxes.iou(second, first).T)


@unhurried
@given(some_boxes, some_boxes, st.integers(-50, 50), st.integers(-50, 50))
def test_shifting_both_changes_no_iou(first, second, right, down):
    shift = np.array([right, down, right, down], np.float32)
    assert np.array_equal(boxes.iou(first, second), boxes.iou(first + shift, second + shift))
    assert np.array_equal(boxes.coverage(first, second), boxes.coverage(first + shift, second + shift))


@unhurried
@given(some_boxes)
def test_a_box_is_itself_unless_it_is_empty(some):
    iou = np.diag(boxes.iou(some, some))
    assert np.array_equal(iou, (boxes.area(some) > 0).astype(np.float32))


@unhurried
@given(some_boxes, st.integers(1, 1920), st.integers(1, 1080))
def test_a_clipped_box_is_in_the_frame_and_clipping_again_changes_nothing(some, width, height):
    clipped = boxes.clip(some, width=width, height=height)
    assert clipped.dtype == np.float32
    assert (clipped >= 0).all()
    assert (clipped <= np.array([width, height, width, height])).all()
    assert np.array_equal(clipped, boxes.clip(clipped, width=width, height=height))


@unhurried
@given(some_boxes.filter(len))
def test_the_enclosing_box_touches_the_outermost_corners(some):
    around = boxes.enclosing(some)
    assert (around[:2] <= some[:, :2]).all()
    assert (around[2:] >= some[:, 2:]).all()
    assert around[0] in some[:, 0]
    assert around[3] in some[:, 3]


def test_iou_of_two_halves_is_a_third():
    assert boxes.iou(box(0, 0, 10, 10), box(5, 0, 15, 10))[0, 0] == pytest.approx(1 / 3)


def test_coverage_is_the_share_of_the_first():
    assert boxes.coverage(box(0, 0, 10, 10), box(0, 0, 5, 100))[0, 0] == 0.5
    assert boxes.coverage(box(0, 0, 5, 100), box(0, 0, 10, 10))[0, 0] == pytest.approx(0.1)


def test_a_box_turned_inside_out_covers_nothing():
    inside_out = box(10, 10, 0, 20)
    assert boxes.area(inside_out)[0] == 0
    assert boxes.iou(inside_out, box(0, 0, 20, 20))[0, 0] == 0
    assert boxes.coverage(inside_out, inside_out)[0, 0] == 0


def test_the_bottom_anchor_is_where_a_thing_stands():
    assert boxes.anchors(box(10, 20, 30, 60)).tolist() == [[20, 60]]
    assert boxes.anchors(box(10, 20, 30, 60), boxes.CENTER).tolist() == [[20, 40]]


def test_no_boxes_keep_shape_and_dtype():
    none = np.zeros((0, 4), np.float32)
    assert boxes.area(none).shape == (0,)
    assert boxes.iou(none, box(0, 0, 1, 1)).shape == (0, 1)
    assert boxes.coverage(box(0, 0, 1, 1), none).shape == (1, 0)
    assert boxes.anchors(none).shape == (0, 2)
    assert boxes.clip(none, width=5, height=5).shape == (0, 4)
