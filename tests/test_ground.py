"""How large things are and how far they stand out, from two lengths known on the ground."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge.config.loader import load_site
from edge.core.ground import Ground, Scale, from_line, sizes_cm
from edge.core.scenarios import Rule
from edge.core.types import OPENED, Float32
from edge.errors import ConfigError
from tests.rules import first_rule
from tests.street import HEIGHT, LABELS, WIDTH, Street, Thing, parking_rule

SIZE_PX = (1920, 1080)


@given(
    st.floats(250, 800),  # cm above the ground
    st.floats(10, 60),  # degrees downwards
    st.floats(0.6, 2.5),  # focal length in widths of the picture
    st.lists(st.floats(0.02, 0.98), min_size=3, max_size=3, unique=True),
    st.floats(30, 400),  # cm across
)
def test_the_scale_is_that_of_a_pinhole_over_a_plane(
    above_cm: float, down: float, focal: float, rows: list[float], length_cm: float
) -> None:
    """Against rays through the picture, written with angles."""
    width, height = SIZE_PX
    focal_px, tilt = focal * width, np.radians(down)

    def px_across(row: float) -> float:
        below_axis = np.arctan((row - 0.5) * height / focal_px)
        assume(tilt + below_axis > np.radians(3))  # below the horizon
        axial_cm = above_cm / np.sin(tilt + below_axis) * np.cos(below_axis)
        return float(focal_px * length_cm / axial_cm)

    one, other, third = rows
    assume(abs(one - other) > 0.05)
    scale = Scale.through(*((row, px_across(row) / width / length_cm) for row in (one, other)))
    measured = px_across(third) / scale.px_per_cm(np.array([third * height], np.float32), SIZE_PX)
    assert measured[0] == pytest.approx(length_cm, rel=0.01)


def test_a_size_is_the_longer_side_where_the_thing_stands_and_none_without_a_scale() -> None:
    grounds = (Ground(Scale(0.0, 0.002)), Ground())  # 0.002 widths to a centimetre in the lowest row
    xyxy: Float32 = np.array([[0, 40, 30, 120], [0, 200, 60, 240], [0, 200, 60, 240]], np.float32)
    size = sizes_cm(xyxy, np.array([0, 0, 1]), grounds, (WIDTH, HEIGHT))
    assert size[:2] == pytest.approx([80 / (0.001 * WIDTH), 60 / (0.002 * WIDTH)])
    assert np.isnan(size[2])


def test_the_distance_from_a_line_counts_depth_twice() -> None:
    points: Float32 = np.array([[50, 100], [10, 60]], np.float32)
    across, away = ((0.0, 0.25), (1.0, 0.25)), ((0.25, 0.0), (0.25, 1.0))
    assert from_line(points, across, (200, 200)) == pytest.approx([100, 20])
    assert from_line(points, away, (200, 200)) == pytest.approx([0, 40])


# In the rules

NEAR_CM, FAR_CM = 0.001 * WIDTH, 0.0005 * WIDTH  # px to a centimetre at the foot of the picture, and in its middle
LEVEL = (Ground(Scale(0.0, 0.001)),)


@pytest.mark.parametrize("kind", ["stationary", "left_object", "occupation"])
def test_a_thing_must_have_its_centimetres_where_it_stands(kind: str) -> None:
    thing = Thing(5, (100, 120, 140, 160), track=0 if kind == "left_object" else 1, region=kind == "left_object")
    size_cm = 40 / (0.001 * WIDTH * 160 / HEIGHT)
    for factor, told in ((0.9, [OPENED]), (1.1, [])):
        rule = parking_rule(kind, size_cm_min=factor * size_cm, grounds=LEVEL)
        street = Street(rule)
        street.play(3)
        street.play(13, replace(thing, rest_s=3, first_s=3))
        assert street.told == told


def shop(**changes: object) -> Rule:
    """The shops stand along the zone's upper edge."""
    ground = (replace(LEVEL[0], front=((0.1, 0.1), (0.9, 0.1))),)
    return parking_rule("occupation", **{"grounds": ground, **changes})


def box_at(y: float) -> Thing:
    return Thing(5, (100, y - 20, 140, y), region=True, score=0.9, rest_s=2)


@pytest.mark.parametrize(
    ("tolerance", "y", "told"),
    [
        ({"tolerance": 0.25}, 0.1 * HEIGHT + 0.20 * 0.8 * HEIGHT, []),
        ({"tolerance": 0.25}, 0.1 * HEIGHT + 0.30 * 0.8 * HEIGHT, [OPENED]),
        # At row 120 a centimetre is 0.16 px, and the 96 px below the front, counted twice, are 12 m.
        ({"tolerance_cm": 1250.0}, 120, []),
        ({"tolerance_cm": 1150.0}, 120, [OPENED]),
        ({"tolerance_cm": 1150.0, "tolerance": 1.0}, 120, [OPENED]),  # with a scale the centimetres count
        ({}, 0.1 * HEIGHT + 2, [OPENED]),
    ],
)
def test_what_stands_within_the_tolerance_of_the_front_does_not_count(
    tolerance: dict[str, float], y: float, told: list[str]
) -> None:
    street = Street(shop(**tolerance))
    street.play(2)
    street.play(13, box_at(y))
    assert street.told == told


def test_goods_within_the_strip_add_nothing_to_a_case_beyond_it() -> None:
    street = Street(shop(tolerance=0.25))
    street.play(2)
    street.play(13, box_at(100), replace(box_at(50), seed=6, box=(150, 20, 180, 50)))
    assert [(change.case.count, change.case.footprint) for _, change in street.changes] == [(1, (100, 80, 140, 100))]


# In the configuration

SITE = """version: 1
site: {{id: s, timezone: UTC}}
gateway: {{id: g}}
cameras:
  - id: c
    source: clip.mp4
    zones:
      - id: pavement
        polygon: [[0.1, 0.4], [0.9, 0.4], [0.9, 0.9], [0.1, 0.9]]
        {zone}
    scenarios:
      - {{use: piled-goods, zones: [pavement]{use}}}
"""
SCALE = "scale: [{line: [[0.4, 0.4], [0.6, 0.4]], cm: 200}, {line: [[0.3, 0.8], [0.7, 0.8]], cm: 200}]"


def rule_of(folder: Path, zone: str, use: str) -> Rule:
    (folder / "site.yaml").write_text(SITE.format(zone=zone, use=use))
    site = load_site(folder / "site.yaml", environ={})
    return first_rule(site, LABELS)


def test_a_zone_tells_its_ground_to_the_rule(tmp_path: Path) -> None:
    rule = rule_of(tmp_path, SCALE + "\n        front: [[0.1, 0.4], [0.9, 0.4]]", ", size_cm_min: 40")
    (known,) = rule.grounds
    assert known.front == ((0.1, 0.4), (0.9, 0.4))
    assert known.scale is not None
    assert [known.scale.at(row) for row in (0.0, 0.4, 0.6)] == pytest.approx([0, 0.001, 0.0015])
    bare = rule_of(tmp_path, "", "").grounds
    assert bare == (Ground(),)


FAR, NEAR = "{line: [[0.4, 0.4], [0.6, 0.4]], cm: 200}", "{line: [[0.3, 0.8], [0.7, 0.8]], cm: 200}"


@pytest.mark.parametrize(
    ("zone", "use", "words"),
    [
        (f"scale: [{FAR}]", "", "10: cameras.c.zones.pavement: scale"),
        (f"scale: [{FAR}, {FAR}]", "", "10: cameras.c.zones.pavement: scale has both its lines at the same depth"),
        (
            f"scale: [{FAR}, {FAR.replace('200', '100')}]",
            "",
            "10: cameras.c.zones.pavement: scale has both its lines at the same depth; measure one near",
        ),
        (
            f"scale: [{FAR.replace('200', '20')}, {NEAR}]",
            "",
            "10: cameras.c.zones.pavement: scale says that things are drawn smaller the nearer they are: are the two",
        ),
        (
            f"scale: [{NEAR.replace('0.8', '0.55').replace('200', '800')}, {NEAR.replace('200', '100')}]",
            "",
            "10: cameras.c.zones.pavement: scale puts the horizon inside the zone: check the two lengths",
        ),
        (
            f"scale: [{FAR.replace('0.6, 0.4', '0.4, 0.4')}, {NEAR}]",
            "",
            "10: cameras.c.zones.pavement.scale[0]: line has both its points at one place",
        ),
        (
            f"scale: [{FAR.replace('0.6, 0.4', '0.45, 0.8')}, {NEAR}]",
            "",
            "10: cameras.c.zones.pavement.scale[0]: line runs away from the camera; measure across the view",
        ),
        (f"scale: [{FAR}, {NEAR.replace('200', '0')}]", "", "10: cameras.c.zones.pavement.scale[1]: cm must be more"),
        ("front: [[0.1, 0.4], [0.1, 0.4]]", "", "10: cameras.c.zones.pavement: front has both its points at one place"),
        (
            "",
            ", size_cm_min: 40",
            "12: cameras.c.scenarios.piled-goods: size_cm_min asks for centimetres, and zone pavement has no scale",
        ),
    ],
)
def test_what_cannot_be_measured_is_told_with_its_line(tmp_path: Path, zone: str, use: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rule_of(tmp_path, zone, use)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("zone", "use", "words"),
    [
        ("", "tolerance: 0.2", "tolerance is measured from the shops, and zone pavement has no front"),
        (SCALE, "tolerance_cm: 60", "tolerance_cm is measured from the shops, and zone pavement has no front"),
        ("front: [[0.1, 0.4], [0.9, 0.4]]", "tolerance_cm: 60", "tolerance_cm asks for centimetres, and zone pavement"),
    ],
)
def test_a_tolerance_needs_its_front(tmp_path: Path, zone: str, use: str, words: str) -> None:
    text = SITE.format(zone=zone, use=f", {use}").replace("piled-goods", "out-of-store-trading")
    (tmp_path / "site.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_site(tmp_path / "site.yaml", environ={})
    assert words in str(caught.value)
