from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.detect.letterbox import PAD, Letterbox, fit_size

sides = st.integers(1, 4000)
inputs = st.integers(1, 40).map(lambda steps: steps * 32)
sizes = st.tuples(sides, sides)
sizes_of_inputs = st.tuples(inputs, inputs)
fractions = st.lists(st.floats(0, 1), min_size=4, max_size=4)


@pytest.mark.parametrize(
    ("source", "longest_side", "expected"),
    [
        ((1920, 1080), 640, (640, 384)),
        ((1280, 720), 640, (640, 384)),
        ((640, 360), 960, (960, 544)),
        ((704, 576), 640, (640, 544)),
        ((720, 1152), 640, (416, 640)),
        ((320, 240), 640, (640, 480)),
        ((1920, 1080), 600, (608, 352)),  # 600 is no multiple of 32: the next one is taken
        ((4000, 10), 640, (640, 32)),
    ],
)
def test_the_input_is_the_smallest_that_holds_the_picture(
    source: tuple[int, int], longest_side: int, expected: tuple[int, int]
) -> None:
    assert fit_size(width=source[0], height=source[1], longest_side=longest_side, multiple=32) == expected


@given(sides, sides, inputs, st.booleans())
def test_the_content_lies_inside_the_input_and_fills_one_side(
    width: int, height: int, longest_side: int, centred: bool
) -> None:
    input_px = fit_size(width=width, height=height, longest_side=longest_side, multiple=32)
    box = Letterbox.fit(source_px=(width, height), input_px=input_px, centred=centred)
    right, bottom = (offset + content for offset, content in zip(box.offset_px, box.content_px, strict=True))
    assert 0 < box.content_px[0] <= right <= input_px[0]
    assert 0 < box.content_px[1] <= bottom <= input_px[1]
    assert box.content_px[0] == input_px[0] or box.content_px[1] == input_px[1]


@given(sizes, sizes_of_inputs, st.sampled_from([0.5, 1.0, 16 / 11, 2.0]), fractions)
def test_a_box_comes_back_to_where_it_was(
    source_px: tuple[int, int], input_px: tuple[int, int], pixel_aspect: float, corners: list[float]
) -> None:
    box = Letterbox.fit(source_px=source_px, input_px=input_px, pixel_aspect=pixel_aspect, centred=True)
    xyxy = np.array([corners], np.float32) * np.array(source_px * 2, np.float32)
    there = box.to_input(xyxy)
    back = box.to_source(there)
    assert back.dtype == there.dtype == np.float32
    assert np.abs(back - xyxy).max() < 1


@given(sizes, sizes_of_inputs)
def test_no_box_leaves_the_source(source_px: tuple[int, int], input_px: tuple[int, int]) -> None:
    box = Letterbox.fit(source_px=source_px, input_px=input_px)
    far = np.array([[-500, -500, 9000, 9000], [0, 0, *input_px]], np.float32)
    back = box.to_source(far)
    assert (back >= 0).all()
    assert (back[:, 2] <= source_px[0]).all()
    assert (back[:, 3] <= source_px[1]).all()


def test_no_boxes_keep_shape_and_dtype() -> None:
    box = Letterbox.fit(source_px=(100, 50), input_px=(64, 32))
    back = box.to_source(np.zeros((0, 4), np.float32))
    assert back.shape == (0, 4)
    assert back.dtype == np.float32


def test_a_1080p_picture_is_scaled_and_its_border_is_grey() -> None:
    picture = np.full((1080, 1920, 3), (10, 20, 30), np.uint8)
    box = Letterbox.fit(source_px=(1920, 1080), input_px=(640, 384))
    slot = np.zeros((384, 640, 3), np.uint8)  # a slot that was used before
    box.apply(picture, slot)
    assert (slot[:360] == (10, 20, 30)).all()
    assert (slot[360:] == PAD).all()


@given(sides.map(lambda side: side % 300 + 1), sides.map(lambda side: side % 300 + 1), st.booleans())
def test_every_pixel_of_a_used_slot_is_written(width: int, height: int, centred: bool) -> None:
    box = Letterbox.fit(source_px=(width, height), input_px=(96, 64), centred=centred)
    picture = np.full((height, width, 3), 7, np.uint8)
    slots = [np.full((64, 96, 3), used, np.uint8) for used in (0, 255)]
    for slot in slots:
        box.apply(picture, slot)
    assert np.array_equal(slots[0], slots[1])
    assert int((slots[0] == 7).all(axis=2).sum()) == box.content_px[0] * box.content_px[1]


def test_a_slot_may_be_part_of_a_batch_and_the_picture_stays_as_it_was() -> None:
    picture = np.arange(60 * 80 * 3, dtype=np.uint32).astype(np.uint8).reshape(60, 80, 3)
    before = picture.copy()
    batch = np.zeros((3, 64, 96, 3), np.uint8)
    box = Letterbox.fit(source_px=(80, 60), input_px=(96, 64), centred=True)
    box.apply(picture, batch[1])
    assert np.array_equal(picture, before)
    assert not batch[0].any()
    assert not batch[2].any()
    assert batch[1].any()


def test_a_part_of_a_larger_picture_needs_no_copy() -> None:
    larger = np.random.default_rng(1).integers(0, 255, (200, 300, 3)).astype(np.uint8)
    part = larger[20:140, 30:220]
    box = Letterbox.fit(source_px=(190, 120), input_px=(96, 64))
    slots = np.zeros((2, 64, 96, 3), np.uint8)
    box.apply(part, slots[0])
    box.apply(part.copy(), slots[1])
    assert np.array_equal(slots[0], slots[1])


def test_colours_are_swapped_for_a_model_that_wants_rgb() -> None:
    picture = np.full((32, 32, 3), (1, 2, 3), np.uint8)
    slot = np.zeros((32, 32, 3), np.uint8)
    Letterbox.fit(source_px=(32, 32), input_px=(32, 32), swap_colours=True).apply(picture, slot)
    assert (slot == (3, 2, 1)).all()


def test_a_centred_picture_has_its_border_on_both_sides() -> None:
    box = Letterbox.fit(source_px=(640, 360), input_px=(640, 384), centred=True)
    assert box.offset_px == (0, 12)
    assert box.to_input(np.array([[0, 0, 640, 360]], np.float32)).tolist() == [[0, 12, 640, 372]]


def test_a_stretched_picture_is_given_its_true_shape() -> None:
    input_px = fit_size(width=704, height=288, longest_side=640, multiple=32, pixel_aspect=0.5)
    box = Letterbox.fit(source_px=(704, 288), input_px=input_px, pixel_aspect=0.5)
    assert input_px == (640, 544)
    assert box.content_px == (640, 524)
    assert box.to_source(np.array([[0, 0, 320, 262]], np.float32)).tolist() == [[0, 0, 352, 144]]
