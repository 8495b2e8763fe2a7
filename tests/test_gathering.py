"""What the scenarios find in one frame: people who stand together, people who stay, things that nobody explains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core import boxes
from edge.core.groups import groups_of
from edge.core.memory import StreetMemory
from edge.core.scenarios import Rule, scenario_for
from edge.core.scenarios.gathering import density_of
from edge.core.scene import Scene
from edge.core.types import NS_PER_S, Detections, Findings, Float32, Frame, Presence, StaticRegions, Tracks
from tests.street import HEIGHT, WIDTH, parking_rule, person_rule

SPACING = 1.5
WHOLE = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
LEFT = np.array([(0, 0), (0.5, 0), (0.5, 1), (0, 1)], np.float32)
NOW_NS = 60 * NS_PER_S
STAY_NS = 10 * NS_PER_S

# Feet on a grid of 8 px, heights of 16 to 64: sums of such numbers are exact, so that a shift changes no answer.
person = st.tuples(st.integers(0, 60), st.integers(0, 40), st.integers(2, 8))
crowds = st.lists(person, min_size=0, max_size=14).map(
    lambda rows: np.array(
        [(8 * x - 2 * h, 8 * y - 8 * h, 8 * x + 2 * h, 8 * y) for x, y, h in rows], np.float32
    ).reshape(-1, 4)
)


def partition(group: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(group == number).tolist()) for number in set(group.tolist())}


@given(crowds)
def test_groups_are_the_chains_of_neighbours(xyxy: Float32) -> None:
    """Against a walk from person to person, written without arrays."""
    feet, height = boxes.anchors(xyxy), xyxy[:, 3] - xyxy[:, 1]
    unseen, expected = set(range(len(xyxy))), set()
    while unseen:
        chain, rim = set(), [unseen.pop()]
        while rim:
            one = rim.pop()
            chain.add(one)
            reach = [SPACING * min(height[one], height[other]) for other in range(len(xyxy))]
            step = feet - feet[one]
            near = {o for o in unseen if np.hypot(step[o, 0], 2 * step[o, 1]) <= reach[o]}
            unseen -= near
            rim += sorted(near)
        expected.add(frozenset(chain))
    assert partition(groups_of(xyxy, SPACING)) == expected


@given(crowds, st.randoms(use_true_random=False))
def test_the_order_of_people_does_not_matter(xyxy: Float32, random: object) -> None:
    order = list(range(len(xyxy)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = partition(groups_of(xyxy[order], SPACING))
    assert {frozenset(order[row] for row in rows) for rows in shuffled} == partition(groups_of(xyxy, SPACING))


@given(crowds, st.integers(-50, 50), st.integers(-50, 50), st.sampled_from([0.25, 0.5, 2, 4]))
def test_groups_move_and_grow_with_the_picture(xyxy: Float32, x: int, y: int, scale: float) -> None:
    other = (xyxy + np.array([8 * x, 8 * y, 8 * x, 8 * y], np.float32)) * np.float32(scale)
    assert np.array_equal(groups_of(other, SPACING), groups_of(xyxy, SPACING))


@given(crowds)
def test_more_spacing_never_parts_a_group(xyxy: Float32) -> None:
    near, far = partition(groups_of(xyxy, 1)), partition(groups_of(xyxy, 2))
    assert all(any(group <= wider for wider in far) for group in near)


def test_nobody_is_no_group() -> None:
    group = groups_of(np.zeros((0, 4), np.float32), SPACING)
    assert (group.shape, group.dtype) == ((0,), np.int64)


def row_of(count: int, *, gap: float = 30, x: float = 20) -> Float32:
    """People of 20 x 50 px, `gap` px between their feet."""
    left = x + gap * np.arange(count)
    return np.stack([left, np.full(count, 100), left + 20, np.full(count, 150)], axis=1).astype(np.float32)


def seen(
    xyxy: Float32,
    rule: Rule,
    *,
    zones: tuple[Float32, ...] = (WHOLE,),
    moved_px: float = 0.0,
    visible_ns: int = STAY_NS,
    detected: bool = True,
    score: float = 0.8,
    label: int = 0,
) -> Findings:
    """What is found in the second of two looks, `visible_ns` apart, between which they walked to the right."""
    count, since = len(xyxy), np.full(len(xyxy), NOW_NS - visible_ns, np.int64)
    tracks = Tracks(
        track_id=np.arange(1, count + 1),
        xyxy=xyxy,
        label=np.full(count, label, np.int16),
        score=np.full(count, score, np.float32),
        detection=np.arange(count) if detected else np.full(count, -1),
        first_seen_ns=since,
        last_seen_ns=np.full(count, NOW_NS, np.int64),
        rest_since_ns=since,
        speed=np.zeros(count, np.float32),
    )
    before = replace(tracks, xyxy=xyxy - np.array([moved_px, 0, moved_px, 0], np.float32))
    inside = np.stack([boxes.anchors(xyxy)[:, 0] < zone[:, 0].max() * WIDTH for zone in zones])
    shape = inside.shape
    presence = Presence(inside, np.broadcast_to(since, shape).copy(), np.full(shape, visible_ns, np.int64))
    scenario = scenario_for(rule, zones)
    scenario.find(scene(before, presence, StaticRegions.empty(), NOW_NS - visible_ns))
    return scenario.find(scene(tracks, presence, StaticRegions.empty()))


def scene(tracks: Tracks, presence: Presence, regions: StaticRegions, now_ns: int = NOW_NS) -> Scene:
    frame = Frame("c", 0, now_ns, now_ns, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    return Scene(frame, Detections.empty(), tracks, {"bottom": presence}, regions, StreetMemory())


def gathering(people_min: int = 4, **changes: object) -> Rule:
    return person_rule("gathering", people_min=people_min, spacing=SPACING, stay_ns=STAY_NS, **changes)


def test_a_gathering_is_the_box_round_its_people() -> None:
    people = row_of(5)
    found = seen(people, gathering())
    assert found.count.tolist() == [5]
    assert found.xyxy.tolist() == [[20, 100, 160, 150]]
    assert (found.track_id.tolist(), found.since_ns.tolist()) == ([-1], [NOW_NS - STAY_NS])


@settings(max_examples=30)
@given(st.integers(0, 7), st.integers(1, 7))
def test_a_gathering_begins_with_as_many_as_asked_for_and_goes_on_with_two_thirds(count: int, people_min: int) -> None:
    rule = gathering(people_min)
    found = seen(row_of(count), rule)
    assert len(found) == int(3 * count >= 2 * people_min)
    assert rule.begins(found).tolist() == [count >= people_min] * len(found)


def test_two_groups_are_two_gatherings() -> None:
    people = np.concatenate([row_of(2), row_of(3, x=200)])
    assert sorted(seen(people, gathering(2)).count.tolist()) == [2, 3]


@pytest.mark.parametrize(
    "changes",
    [
        {"moved_px": 50},  # they walk through together
        {"visible_ns": STAY_NS - 1},
        {"detected": False},
        {"score": 0.1},
        {"label": 1},
    ],
)
def test_who_passes_or_is_not_surely_seen_does_not_gather(changes: dict[str, float]) -> None:
    assert len(seen(row_of(5), gathering(), **changes)) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("people", "ground_m2"),
    [
        (row_of(6, gap=12), 2.04 + 0.785),  # a row of 2.04 m, half a metre on each side, and half a circle at each end
        (row_of(6, gap=60), 10.2 + 0.785),
        (row_of(2, gap=0), 0.785),  # a child held by the hand
        (
            np.concatenate([row_of(2), row_of(2) + np.float32(15)]),
            1.04 + 2.16 + 0.785,
        ),  # 1.02 m apart, in two rows 1.02 m apart
    ],
)
def test_density_is_people_on_the_ground_that_they_take_up(people: Float32, ground_m2: float) -> None:
    density = density_of(people)
    print(f"{len(people)} people on {len(people) / density:.2f} m²")
    assert len(people) / density == pytest.approx(ground_m2, rel=0.02)
    assert density_of(people * np.float32(4)) == pytest.approx(density, rel=1e-3)


def test_only_those_inside_the_zone_are_counted() -> None:
    rule = gathering(4, zones=(0, 1), zone_names=("left", "whole"))
    found = seen(row_of(5, x=80), rule, zones=(LEFT, WHOLE))  # three of the five stand on the left
    assert (found.zone.tolist(), found.count.tolist()) == ([0, 1], [3, 5])
    assert rule.begins(found).tolist() == [False, True]


def test_each_person_in_a_watched_zone_is_found_with_the_start_of_the_visit() -> None:
    found = seen(row_of(3), person_rule("loitering"), visible_ns=7 * NS_PER_S)
    assert found.track_id.tolist() == [1, 2, 3]
    assert set(found.since_ns.tolist()) == {NOW_NS - 7 * NS_PER_S}
    assert len(seen(row_of(3), person_rule("loitering"), detected=False)) == 0


def regions(**changes: object) -> StaticRegions:
    """One thing of 20 x 20 px in the middle of the left half."""
    values: dict[str, object] = {
        "xyxy": np.array([(70, 100, 90, 120)], np.float32),
        "since_ns": np.array([5 * NS_PER_S]),
        "appeared": np.array([True]),
        "explained_by": np.array([-1]),
        "score": np.array([0.7], np.float32),
    }
    return StaticRegions(**{**values, **changes})  # type: ignore[arg-type]


def left_objects(what: StaticRegions, **rule: object) -> Findings:
    nobody = Presence(np.zeros((1, 0), np.bool_), np.zeros((1, 0), np.int64), np.zeros((1, 0), np.int64))
    scenario = scenario_for(parking_rule(kind="left_object", **rule), [LEFT])
    return scenario.find(scene(Tracks.empty(), nobody, what))


def test_a_thing_that_was_put_down_is_found_since_it_came() -> None:
    found = left_objects(regions())
    assert (found.xyxy.tolist(), found.since_ns.tolist()) == ([[70, 100, 90, 120]], [5 * NS_PER_S])
    assert (found.label.tolist(), found.track_id.tolist(), found.count.tolist()) == ([-1], [-1], [1])


@pytest.mark.parametrize(
    "what",
    [
        regions(appeared=np.array([False])),  # something was taken away
        regions(explained_by=np.array([3])),  # a person or a car that stands there
        regions(xyxy=np.array([(150, 100, 172, 120)], np.float32)),  # its centre is in the other half
        regions(xyxy=np.array([(70, 100, 76, 106)], np.float32)),  # 36 px²: noise in any zone
        regions(score=np.array([0.24], np.float32)),  # the empty place shows through in most of it
    ],
)
def test_what_is_explained_elsewhere_or_too_small_is_no_left_object(what: StaticRegions) -> None:
    assert len(left_objects(what)) == 0


def test_the_least_size_is_a_share_of_the_zone() -> None:
    share = 400 / (WIDTH * HEIGHT / 2)
    assert len(left_objects(regions(), size_min=0.99 * share)) == 1
    assert len(left_objects(regions(), size_min=1.01 * share)) == 0
