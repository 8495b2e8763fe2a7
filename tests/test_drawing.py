"""What is drawn lies where it should, at every size, and hides nothing it need not."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.polygons import contains
from edge.core.types import NS_PER_S, OPENED, PENDING, Case, Float32, Tracks, UInt8
from edge.evidence.drawing import blur, clock, draw_after, draw_grid, draw_overview, draw_scene

KERB = np.array([[0.4, 0.2], [0.6, 0.2], [0.7, 0.7], [0.3, 0.7]], np.float32)
CAPTION = ("qiaonong-03  illegal-parking", "2026-05-04 09:31:07 +08:00  opened")
SIZES = [(320, 240), (640, 360), (1920, 1080), (3840, 2160)]


def noise(width: int, height: int, seed: int = 1) -> UInt8:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def grey(width: int, height: int) -> UInt8:
    return np.full((height, width, 3), 120, np.uint8)


def changed(first: UInt8, second: UInt8) -> UInt8:
    """(H, W): 1 where the pictures differ."""
    return np.asarray((first != second).any(axis=2), np.uint8)


def inside(polygon: Float32, width: int, height: int) -> UInt8:
    """(H, W): 1 for pixels whose centre lies in the polygon."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    points = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
    return contains(polygon, points).reshape(height, width).astype(np.uint8)


def a_case(state: str, footprint: tuple[float, float, float, float]) -> Case:
    return Case(
        case_id="",
        camera="c",
        scenario="illegal-parking",
        zone="kerb",
        state=state,
        label="car",
        score=0.8,
        count=1,
        footprint=footprint,
        appearance=np.zeros((8, 8), np.float32),
        started_ns=0,
        opened_ns=0,
        last_seen_ns=0,
        visible_ns=0,
        cleared_ns=0,
        started_wall_ns=0,
        opened_wall_ns=0,
        alerts=0,
    )


def tracks_at(*boxes: tuple[float, float, float, float]) -> Tracks:
    count = len(boxes)
    nothing = Tracks.empty()
    return replace(
        nothing,
        track_id=np.arange(count, dtype=np.int64),
        xyxy=np.array(boxes, np.float32).reshape(count, 4),
        label=np.zeros(count, np.int16),
        score=np.ones(count, np.float32),
        detection=np.full(count, -1, np.int64),
        first_seen_ns=np.zeros(count, np.int64),
        last_seen_ns=np.zeros(count, np.int64),
        rest_since_ns=np.zeros(count, np.int64),
        speed=np.zeros(count, np.float32),
    )


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (-3, "0:00"), (59.99, "0:59"), (60, "1:00"), (3599, "59:59"), (3729, "1:02:09")]
)
def test_the_dwell_clock_counts_whole_seconds(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_letters_are_readable_and_small_at_every_size(width: int, height: int) -> None:
    bare = draw_overview(grey(width, height), polygon=None, box=(0, 0, 0, 0), label="")
    told = draw_overview(grey(width, height), polygon=None, box=(0, 0, 0, 0), label="", caption=CAPTION)
    rows = np.flatnonzero(changed(bare, told).any(axis=1))
    columns = np.flatnonzero(changed(bare, told).any(axis=0))
    line_px = (rows.max() + 1 - rows.min()) / 2
    share = changed(bare, told).mean()
    print(f"{width}x{height}: caption lines of {line_px:.0f} px, {len(columns)} px wide, {share:.1%} of the picture")
    assert line_px >= 11
    assert line_px / height < 0.07
    assert share < 0.1


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_box_is_drawn_where_it_is(width: int, height: int) -> None:
    box = (0.4 * width, 0.3 * height, 0.6 * width, 0.6 * height)
    drawn = changed(grey(width, height), draw_overview(grey(width, height), polygon=None, box=box, label=""))
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    found = np.array([columns.min(), rows.min(), columns.max(), rows.max()])
    assert np.abs(found - box).max() <= max(3, 0.012 * height)
    assert drawn[height * 45 // 100, width // 2] == 0  # what is in the box stays as it was


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-500, 1500, width=32), min_size=4, max_size=4),
    st.integers(16, 400),
    st.integers(16, 400),
    st.text(max_size=40),
)
def test_drawing_takes_any_box_and_text_at_any_size_and_changes_no_argument(
    box: list[float], width: int, height: int, text: str
) -> None:
    bgr = noise(width, height)
    before = bgr.copy()
    drawn = [
        draw_overview(bgr, polygon=KERB, box=box, label=text, caption=(text, *CAPTION)),
        draw_after(bgr, polygon=KERB, box=box, caption=(text, *CAPTION)),
        draw_scene(
            bgr,
            zones={"kerb": KERB},
            tracks=tracks_at(tuple(box), tuple(box)),
            labels=("car",),
            cases=[a_case(OPENED, tuple(box)), a_case(PENDING, tuple(box))],
            now_ns=90 * NS_PER_S,
            caption=(text,),
        ),
        draw_grid(bgr),
        blur(bgr, [KERB]),
    ]
    assert all(picture.shape == bgr.shape and picture.dtype == np.uint8 for picture in drawn)
    assert not any(np.shares_memory(picture, bgr) for picture in drawn)
    np.testing.assert_array_equal(bgr, before)


def test_the_zone_lets_the_ground_through() -> None:
    bgr = noise(640, 360)
    drawn = draw_overview(bgr, polygon=KERB, box=(0, 0, 0, 0), label="")
    ground = cv2.erode(inside(KERB, 640, 360), np.ones((9, 9), np.uint8)) > 0
    alike = np.corrcoef(bgr[ground].ravel(), drawn[ground].ravel())[0, 1]
    print(f"ground in the zone correlates {alike:.3f} with what was there")
    assert alike > 0.93


def test_the_after_picture_leaves_the_place_untouched() -> None:
    bgr = noise(640, 360)
    drawn = draw_after(bgr, polygon=KERB, box=(280, 120, 360, 200))
    np.testing.assert_array_equal(drawn[125:196, 285:356], bgr[125:196, 285:356])


def test_the_caption_gives_way_to_the_box() -> None:
    bgr = grey(640, 360)
    box = (10, 250, 200, 355)  # bottom left, where the caption would stand
    bare = draw_overview(bgr, polygon=None, box=box, label="")
    told = draw_overview(bgr, polygon=None, box=box, label="", caption=CAPTION)
    assert changed(bare, told)[250:355, 10:200].sum() == 0


def test_labels_of_neighbours_do_not_cover_each_other() -> None:
    bgr = grey(640, 360)
    side_by_side = [(100.0 + 30 * row, 150.0, 125.0 + 30 * row, 200.0) for row in range(3)]
    single = [
        changed(bgr, draw_scene(bgr, zones={}, tracks=tracks_at(box), labels=("person",), cases=[], now_ns=0)).sum()
        for box in side_by_side
    ]
    together = changed(
        bgr, draw_scene(bgr, zones={}, tracks=tracks_at(*side_by_side), labels=("person",), cases=[], now_ns=0)
    ).sum()
    assert together > 0.85 * sum(int(pixels) for pixels in single)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_grid_stands_at_every_tenth(width: int, height: int) -> None:
    drawn = changed(grey(width, height), draw_grid(grey(width, height)))
    middle_row, middle_column = drawn[round(0.45 * height)], drawn[:, round(0.45 * width)]
    for tenth in range(1, 10):
        assert middle_row[round(tenth * width / 10)]
        assert middle_column[round(tenth * height / 10)]
    assert drawn[round(0.2 * height) : round(0.8 * height), round(0.2 * width) : round(0.8 * width)].mean() < 0.2


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 0.5), st.floats(0.05, 0.5), st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_mask_changes_only_its_polygon_and_leaves_few_colours(
    seed: int, width: float, height: float, x: float, y: float
) -> None:
    bgr = noise(320, 240, seed)
    polygon = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], np.float32)
    masked = blur(bgr, [polygon])
    within = inside(polygon, 320, 240)
    outside = cv2.dilate(within, np.ones((5, 5), np.uint8)) == 0
    np.testing.assert_array_equal(masked[outside], bgr[outside])
    colours = np.unique(masked[cv2.erode(within, np.ones((3, 3), np.uint8)) > 0], axis=0)
    longer, shorter = max(width * 320, height * 240), min(width * 320, height * 240)
    assert len(colours) <= 4 * (4 * longer / shorter + 2)


def test_a_mask_says_nothing_of_what_fills_less_than_a_block() -> None:
    """Two plates of the same brightness, different letters: the same masked picture."""
    pictures = []
    for shift in (0, 1):
        bgr = grey(320, 240)
        bgr[100:140:2, 100 + shift : 140 : 2] = 20
        bgr[101:140:2, 101 - shift : 140 : 2] = 20
        pictures.append(blur(bgr, [np.array([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]], np.float32)]))
    np.testing.assert_array_equal(pictures[0], pictures[1])


def test_masks_may_reach_over_the_edge_or_be_thin() -> None:
    bgr = noise(320, 240)
    whole = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    thin = np.array([[0.2, 0.5], [0.8, 0.5], [0.8, 0.5]], np.float32)
    assert len(np.unique(blur(bgr, [whole]).reshape(-1, 3), axis=0)) <= 5 * 6
    assert changed(bgr, blur(bgr, [thin])).sum() > 0
