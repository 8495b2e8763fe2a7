"""The raster of zones says what the polygons say, everywhere."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core import polygons
from edge.core.raster import COLUMNS, ROWS, Raster

fraction = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)
corner = st.tuples(fraction, fraction)
outlines = st.lists(corner, min_size=3, max_size=9, unique=True).map(lambda rows: np.array(rows, np.float32))
sizes = st.sampled_from([(1920, 1080), (640, 360), (720, 1152), (97, 61), (7680, 4320)])


@settings(max_examples=30)
@given(st.lists(outlines, min_size=1, max_size=3), sizes, st.integers(0, 2**32 - 1))
def test_a_raster_says_what_the_polygons_say(zones: list[np.ndarray], size_px: tuple[int, int], seed: int) -> None:
    """At random places in the frame and beyond it, on the outlines and a rounding beside them, on cells' borders."""
    width, height = size_px
    random = np.random.default_rng(seed)
    scattered = random.uniform(-0.2, 1.2, (300, 2)) * size_px
    borders = np.stack([random.integers(0, COLUMNS + 1, 200) * width / COLUMNS, random.uniform(0, height, 200)], axis=1)
    levels = np.stack([random.uniform(0, width, 200), random.integers(0, ROWS + 1, 200) * height / ROWS], axis=1)
    on_outline = []
    for zone in zones:
        share = random.uniform(0, 1, (40, len(zone), 1))
        on_outline.append(((1 - share) * zone + share * np.roll(zone, -1, axis=0)).reshape(-1, 2) * size_px)
        on_outline.append(zone * size_px)
    line = np.concatenate(on_outline)
    beside = line + random.normal(0, 1e-3, line.shape)
    points = np.concatenate([scattered, borders, levels, line, beside, [[np.nan, 1.0]]]).astype(np.float32)
    raster = Raster(zones)
    for _ in range(2):  # made, and found again
        found = raster.inside(points, width=width, height=height)
    said = [polygons.contains(polygons.to_pixels(zone, width=width, height=height), points) for zone in zones]
    assert np.array_equal(found, np.array(said))


def test_a_picture_of_another_size_gets_a_raster_of_its_own() -> None:
    left = np.array([[0, 0], [0.5, 0], [0.5, 1], [0, 1]], np.float32)
    raster, point = Raster([left]), np.array([[300.0, 50.0]], np.float32)
    assert not raster.inside(point, width=400, height=300)[0, 0]
    assert raster.inside(point, width=1920, height=1080)[0, 0]
    assert not raster.inside(point, width=400, height=300)[0, 0]


def test_no_zone_and_no_point_have_their_shapes() -> None:
    assert Raster([]).inside(np.zeros((3, 2), np.float32), width=9, height=9).shape == (0, 3)
    assert Raster([np.eye(3, 2, dtype=np.float32)]).inside(np.zeros((0, 2), np.float32), width=9, height=9).shape == (
        1,
        0,
    )
