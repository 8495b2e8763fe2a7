"""Lines: jitter never counts, N people who cross are N, a mirrored scene answers mirrored, a shifted one as before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core import boxes
from edge.core.lines import BAND, STITCH_NS, Line
from edge.core.scenarios import Rule
from edge.core.tracker import Tracker
from edge.core.types import NS_PER_S, Detections, Float32, Int16, Tracks, seconds_to_ns
from tests.street import HEIGHT, WIDTH, Street, Thing, parking_rule

SIZE = (WIDTH, HEIGHT)
PERSON: Int16 = np.array([0], np.int16)
MIDDLE = ((0.5, 0.1), (0.5, 0.9))  # upright, at x = 160, from y = 24 to 216
TALL, WIDE = 50.0, 20.0


def line(ends: object = MIDDLE, direction: str = "right") -> Line:
    return Line(ends, direction, labels=PERSON, anchor="bottom")  # type: ignore[arg-type]


def boxes_at(feet: np.ndarray) -> Float32:
    """(N, 2) -> (N, 4)"""
    corner, size = np.array([WIDE / 2, TALL]), np.array([WIDE / 2, 0])
    return np.concatenate([feet - corner, feet + size], axis=1).astype(np.float32)


def looked(feet: dict[int, tuple[float, float]], now_s: float, *, unseen: frozenset[int] = frozenset()) -> Tracks:
    """People with their feet there; `unseen` are carried on."""
    names = sorted(feet)
    place = np.array([feet[name] for name in names], np.float32).reshape(-1, 2)
    now = np.full(len(names), seconds_to_ns(now_s))
    return Tracks(
        track_id=np.array(names, np.int64),
        xyxy=boxes_at(place),
        label=np.zeros(len(names), np.int16),
        score=np.full(len(names), 0.8, np.float32),
        detection=np.array([-1 if name in unseen else row for row, name in enumerate(names)], np.int64),
        first_seen_ns=now,
        last_seen_ns=now,
        rest_since_ns=now,
        speed=np.zeros(len(names), np.float32),
    )


def ways(counted: Line, path: list[tuple[float, float]], *, unseen: frozenset[int] = frozenset()) -> list[int]:
    """What one walker counts along a path, one look a step; the steps in `unseen` are not seen."""
    told = []
    for step, feet in enumerate(path):
        tracks = looked({1: feet}, 0.2 * step, unseen=frozenset({1}) if step in unseen else frozenset())
        told += [int(way) for way in counted.cross(tracks, size_px=SIZE).way if way]
    return told


def across(*xs: float, y: float = 120) -> list[tuple[float, float]]:
    return [(x, y) for x in xs]


def test_a_walk_through_the_line_counts_once_with_its_direction() -> None:
    walk = across(*range(100, 221, 8))
    assert ways(line(), walk) == [1]
    assert ways(line(), walk[::-1]) == [-1]
    assert ways(line(direction="left"), walk) == [-1]


def test_a_quick_thing_that_jumps_across_in_one_look_counts() -> None:
    assert ways(line(), across(40, 280)) == [1]


def test_who_walks_past_the_end_of_the_line_does_not_cross_it() -> None:
    assert ways(line(), across(*range(100, 221, 8), y=222)) == []
    assert ways(line(), across(40, 280, y=20)) == []
    around = [(150, 200), (150, 226), (170, 226), (170, 200)]
    assert ways(line(), [*around, *across(150, 130)]) == [-1]  # and comes back through it


def test_there_and_back_counts_once_each_way() -> None:
    assert ways(line(), across(100, 220, 100, 220)) == [1, -1, 1]
    assert ways(line(), across(100, 220, 158, 163, 157, 220)) == [1]  # not clearly back


@settings(max_examples=40)
@given(
    st.floats(100, 220),
    st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=2, max_size=40),
    st.floats(-150, 150),
)
def test_jitter_never_counts(x: float, trembles: list[tuple[float, float]], walked: float) -> None:
    """Standing anywhere near the line, or walking along it, with a box that trembles by just under the band."""
    band = 0.99 * BAND * WIDE
    steps = np.linspace(0, walked, len(trembles))
    path = [(x + band * dx, 120 + step + TALL * dy) for (dx, dy), step in zip(trembles, steps, strict=True)]
    assert ways(line(), path) == []


PATHS = st.lists(st.tuples(st.floats(0, 320), st.floats(0, 240)), min_size=2, max_size=25)


@settings(max_examples=40)
@given(PATHS)
def test_a_mirrored_scene_answers_mirrored(path: list[tuple[float, float]]) -> None:
    mirrored = [(WIDTH - x, y) for x, y in path]
    assert ways(line(direction="left"), mirrored) == ways(line(direction="right"), path)
    assert ways(line(direction="left"), path) == [-way for way in ways(line(direction="right"), path)]
    assert ways(line(MIDDLE[::-1]), path) == ways(line(), path)  # the order of its ends says nothing


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 39), st.integers(0, 29)), min_size=2, max_size=25), st.integers(-9, 9))
def test_a_shifted_scene_answers_as_before(cells: list[tuple[int, int]], shift: int) -> None:
    """On a grid of 8 px that touches neither the line nor its band: there the last bit of a number would decide."""
    path = [(8 * x + 3.0, 8 * y + 2.0) for x, y in cells]
    moved = [(x + 32 * shift, y) for x, y in path]
    ends = ((0.5 + shift / 10, 0.1), (0.5 + shift / 10, 0.9))
    assert ways(line(ends), moved) == ways(line(), path)


def test_a_diagonal_line_counts_by_the_way_over_it() -> None:
    diagonal = ((0.2, 0.2), (0.8, 0.8))
    right_and_up = [(80.0 + 10 * step, 180.0 - 10 * step) for step in range(16)]
    assert ways(line(diagonal, "right"), right_and_up) == [1]
    assert ways(line(diagonal, "up"), right_and_up) == [1]
    assert ways(line(diagonal, "down"), right_and_up) == [-1]


def test_a_track_that_is_carried_on_unseen_crosses_nothing_until_it_is_seen() -> None:
    walk = across(100, 130, 190, 250)
    assert ways(line(), walk, unseen=frozenset({2, 3})) == []
    assert ways(line(), [*walk, (200, 120)], unseen=frozenset({2, 3})) == [1]


def test_nothing_crosses_between_the_looks_before_and_after_blind_time() -> None:
    counted = line()
    assert ways(counted, across(100, 120)) == []
    counted.interrupt()
    assert ways(counted, across(200, 220)) == []
    assert ways(counted, across(220, 100)) == [-1]


def found_again(gap_s: float, x: float, *, expected: float = 168) -> list[int]:
    """A walker is lost at 150 on the way to the right, expected at `expected`, and found as another track at `x`."""
    counted = line()
    before = looked({1: (130, 120)}, 0.0)
    lost = looked({1: (expected, 120)}, 0.2, unseen=frozenset({1}))
    new = looked({1: (expected, 120), 2: (x, 120)}, gap_s, unseen=frozenset({1}))
    held = np.array([0, seconds_to_ns(gap_s)])
    new = Tracks(
        **{
            name: getattr(new, name) if name not in ("first_seen_ns", "last_seen_ns") else held
            for name in Tracks.__slots__
        }
    )
    told = [counted.cross(tracks, size_px=SIZE).way for tracks in (before, lost, new)]
    return [int(way) for look in told for way in look if way]


def test_who_is_lost_on_the_line_and_found_beyond_it_as_another_track_counts_once() -> None:
    assert found_again(0.8, 175) == [1]
    assert found_again(0.8, 152) == []  # found on the near side


def test_another_who_comes_later_or_farther_off_is_not_taken_for_the_lost_one() -> None:
    assert found_again(STITCH_NS / NS_PER_S + 0.1, 175) == []
    assert found_again(0.4, 250) == []


@pytest.mark.parametrize("fps", [2.5, 5.0])
@pytest.mark.parametrize("seed", range(3))
def test_people_who_cross_in_a_drawn_street_are_counted(seed: int, fps: float) -> None:
    """Through the tracker, with boxes that tremble, looks that miss and scores that change; walkers stand apart."""
    random = np.random.default_rng(seed)
    count = 6
    rightward = random.random(count) < 0.5
    starts = random.uniform(0, 8, count)
    levels = 70 + 28 * random.permutation(count)
    tracker, counted = Tracker(), line()
    told: list[int] = []
    for step in range(round(20 * fps)):
        now_s = step / fps
        walked = 40 * (now_s - starts)  # 0.8 body heights a second
        x = np.where(rightward, 20 + walked, 300 - walked)
        here = (walked >= 0) & (x > 10) & (x < 310) & (random.random(count) < 0.9)
        feet = np.stack([x, levels], axis=1)[here] + random.normal(0, 1.5, (here.sum(), 2))
        xyxy = boxes_at(feet)
        seen = Detections(xyxy, random.uniform(0.4, 0.9, len(xyxy)).astype(np.float32), np.zeros(len(xyxy), np.int16))
        tracks = tracker.update(seen, seconds_to_ns(now_s))
        told += [int(way) for way in counted.cross(tracks, size_px=SIZE).way if way]
    print(f"seed {seed} at {fps:g} looks a second: {told.count(1)} to the right, {told.count(-1)} to the left")
    assert (told.count(1), told.count(-1)) == (rightward.sum(), (~rightward).sum())


# The scenario


def wrong_way(**changes: object) -> Rule:
    given = {
        "scenario": "wrong-way",
        "zone_names": ("lane",),
        "line": ((0.1, 0.5), (0.9, 0.5)),
        "direction": "down",
        "after_ns": 0,
        **changes,
    }
    return parking_rule("crossing", **given)


def car(bottom: float, *, track: int = 1, score: float = 0.8, label: str = "car") -> Thing:
    return Thing(track, (140, bottom - 40, 200, bottom), track=track, score=score, label=label)


def drive(street: Street, *bottoms: float, **of: object) -> None:
    for bottom in bottoms:
        street.play(0.2, car(bottom, **of))  # type: ignore[arg-type]


def test_a_car_that_drives_up_a_street_that_leads_down_is_one_case() -> None:
    street = Street(wrong_way())
    drive(street, 200, 170, 140, 110, 80)
    assert street.told == ["opened"]
    case = street.changes[0][1].case
    assert (case.zone, case.label, case.footprint) == ("lane", "car", (140, 70, 200, 110))
    street.play(10)
    assert street.told == ["opened", "cleared"]
    assert street.changes[1][1].reason == "passed"


def test_a_car_that_drives_with_the_street_is_no_case() -> None:
    street = Street(wrong_way())
    drive(street, 80, 110, 140, 170, 200)
    assert street.told == []


def test_one_track_that_crosses_again_while_its_case_is_open_is_the_same_case() -> None:
    street = Street(wrong_way(clear_after_ns=60 * NS_PER_S))
    drive(street, 200, 80, 200, 80)
    assert street.told == ["opened"]


def test_two_cars_that_drive_the_wrong_way_are_two_cases() -> None:
    street = Street(wrong_way(clear_after_ns=60 * NS_PER_S))
    drive(street, 200, 80)
    drive(street, 200, 80, track=2)
    assert street.told == ["opened", "opened"]


def test_a_dim_look_on_the_line_does_not_hide_a_sure_thing() -> None:
    street = Street(wrong_way(score_min=0.4))
    drive(street, 200, 170)
    drive(street, 80, score=0.2)
    assert street.told == ["opened"]
    street = Street(wrong_way(score_min=0.4))
    drive(street, 200, 170, 80, score=0.2)
    assert street.told == []


def test_only_the_labels_that_are_asked_for_count() -> None:
    street = Street(wrong_way())
    drive(street, 200, 80, label="person")
    assert street.told == []


def test_the_anchor_says_which_point_of_the_box_must_cross() -> None:
    centre = Line(((0.1, 0.5), (0.9, 0.5)), "down", labels=PERSON, anchor=boxes.CENTER)
    assert ways(centre, [(160, 110), (160, 135)]) == []  # its middle is at 85 and 110
    assert ways(centre, [(160, 110), (160, 170)]) == [1]
