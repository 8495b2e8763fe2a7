"""Points in polygons, visits to zones, and what is masked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core import polygons
from edge.core.raster import Raster
from edge.core.types import NS_PER_S, Detections, Tracks
from edge.core.zones import ZoneMap, parted_by_masks

SQUARE = np.array([(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)], np.float32)
ARROW = np.array([(0.1, 0.1), (0.9, 0.1), (0.5, 0.4), (0.9, 0.9), (0.1, 0.9)], np.float32)  # concave
fractions = st.floats(0, 1, width=32)
points = st.lists(st.tuples(fractions, fractions), min_size=0, max_size=30).map(
    lambda rows: np.array(rows, np.float32).reshape(-1, 2)
)


def tracks_at(*feet: tuple[float, float], ids: list[int] | None = None, seen: bool = True) -> Tracks:
    """Boxes of 10x20 px whose lower edge has its middle at the given pixels."""
    count = len(feet)
    now = np.zeros(count, np.int64)
    return Tracks(
        track_id=np.array(ids or range(1, count + 1), np.int64),
        xyxy=np.array([(x - 5, y - 20, x + 5, y) for x, y in feet], np.float32).reshape(-1, 4),
        label=np.zeros(count, np.int16),
        score=np.ones(count, np.float32),
        detection=np.arange(count, dtype=np.int64) if seen else np.full(count, -1, np.int64),
        first_seen_ns=now,
        last_seen_ns=now,
        rest_since_ns=now,
        speed=np.zeros(count, np.float32),
    )


@given(points)
def test_inside_a_square_is_between_its_sides(where: np.ndarray) -> None:
    expected = ((where >= 0.25) & (where < 0.75)).all(axis=1) if len(where) else np.zeros(0, bool)
    inside = polygons.contains(SQUARE, where)
    on_edge = np.isclose(where, 0.25, atol=1e-6) | np.isclose(where, 0.75, atol=1e-6)
    clear = ~on_edge.any(axis=1) if len(where) else np.zeros(0, bool)
    assert np.array_equal(inside[clear], expected[clear])


@given(points, st.integers(0, 4), st.booleans())
def test_neither_the_first_corner_nor_the_turning_direction_matters(where: np.ndarray, turn: int, back: bool) -> None:
    other = np.roll(ARROW, turn, axis=0)[:: -1 if back else 1]
    differs = polygons.contains(ARROW, where) != polygons.contains(np.ascontiguousarray(other), where)
    # Rounding may fall either way on the very outline.
    assert differs.sum() <= near_outline(where).sum()


def near_outline(where: np.ndarray) -> np.ndarray:
    steps = np.linspace(0, 1, 200, dtype=np.float32)[:, None]
    outline = np.concatenate(
        [start + steps * (end - start) for start, end in zip(ARROW, np.roll(ARROW, -1, axis=0), strict=True)]
    )
    gaps = np.hypot(*(where[:, None] - outline[None]).transpose(2, 0, 1)) if len(where) else np.zeros((0, 1))
    return gaps.min(axis=1, initial=1) < 0.01


def test_the_notch_of_a_concave_polygon_is_outside() -> None:
    inside = polygons.contains(ARROW, np.array([(0.85, 0.5), (0.2, 0.5)], np.float32))
    assert inside.tolist() == [False, True]


def test_area_is_by_the_shoelace() -> None:
    assert polygons.area(SQUARE) == pytest.approx(0.25)
    assert polygons.area(SQUARE[::-1]) == pytest.approx(0.25)


def test_a_thing_is_where_its_lower_edge_is() -> None:
    zones = ZoneMap([SQUARE])
    presence = zones.locate(tracks_at((50, 80), (50, 70)), width=100, height=100, mono_ns=0)
    assert presence.inside.tolist() == [[False, True]]
    middle = ZoneMap([SQUARE], anchor="center").locate(tracks_at((50, 80)), width=100, height=100, mono_ns=0)
    assert middle.inside.tolist() == [[True]]


def test_a_box_cut_by_the_lower_edge_is_in_a_zone_that_ends_there() -> None:
    whole = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
    presence = ZoneMap([whole]).locate(tracks_at((50, 100)), width=100, height=100, mono_ns=0)
    assert presence.inside.all()


def test_a_foot_that_trembles_on_the_line_is_one_visit() -> None:
    zones = ZoneMap([SQUARE])
    for look in range(50):
        y = 74 if look % 3 else 77
        presence = zones.locate(tracks_at((50, y)), width=100, height=100, mono_ns=look * NS_PER_S // 5)
    assert presence.entered_ns[0, 0] == NS_PER_S // 5


def test_a_visit_ends_when_the_thing_is_gone_for_longer() -> None:
    zones = ZoneMap([SQUARE])
    for second, y in enumerate([50, 50, 50, 95, 95, 95, 50]):
        presence = zones.locate(tracks_at((50, y)), width=100, height=100, mono_ns=second * NS_PER_S)
    assert presence.entered_ns[0, 0] == 6 * NS_PER_S
    assert presence.visible_ns[0, 0] == 0


def test_only_seen_time_counts_as_visible() -> None:
    zones = ZoneMap([SQUARE])
    for second in range(1, 11):
        presence = zones.locate(
            tracks_at((50, 50), seen=second % 2 == 0), width=100, height=100, mono_ns=second * NS_PER_S
        )
    assert presence.visible_ns[0, 0] == 5 * NS_PER_S
    assert presence.entered_ns[0, 0] == NS_PER_S


def test_a_visit_belongs_to_its_track_and_dies_with_it() -> None:
    zones = ZoneMap([SQUARE])
    zones.locate(tracks_at((50, 50), (60, 60), ids=[3, 7]), width=100, height=100, mono_ns=NS_PER_S)
    presence = zones.locate(tracks_at((60, 60), (50, 50), ids=[7, 9]), width=100, height=100, mono_ns=2 * NS_PER_S)
    assert presence.entered_ns.tolist() == [[NS_PER_S, 2 * NS_PER_S]]


def test_no_tracks_and_no_zones_keep_their_shapes() -> None:
    assert ZoneMap([SQUARE]).locate(Tracks.empty(), width=9, height=9, mono_ns=0).inside.shape == (1, 0)
    assert ZoneMap([]).locate(tracks_at((5, 5)), width=9, height=9, mono_ns=0).inside.shape == (0, 1)


def test_what_lies_in_a_mask_is_not_analysed() -> None:
    boxes = np.array([(40, 40, 60, 60), (0, 0, 10, 10)], np.float32)
    detections = Detections(boxes, np.ones(2, np.float32), np.zeros(2, np.int16))
    left, _ = parted_by_masks(detections, Raster([SQUARE]), width=100, height=100)
    assert left.xyxy.tolist() == [[0, 0, 10, 10]]
