"""Gatherings of people who walk, stand and hide one another, followed by the real tracker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.core.cases import CaseBook
from edge.core.memory import StreetMemory
from edge.core.scenarios import Rule, scenario_for
from edge.core.scene import Scene
from edge.core.tracker import Tracker
from edge.core.types import NS_PER_S, Detections, Frame, StaticRegions
from tests.street import Street, Thing, person_rule
from tests.walkers import Pavement, Walker, stands, walks

WIDE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


def crowd_rule(people_min: int = 4, **changes: object) -> Rule:
    settings: dict[str, object] = {"spacing": 1.5, "stay_ns": 10 * NS_PER_S, "after_ns": 20 * NS_PER_S}
    return person_rule("gathering", people_min=people_min, **{**settings, **changes})


def pavement(rule: Rule | None = None, **how: object) -> Pavement:
    return Pavement(rule or crowd_rule(), zone=WIDE, **how)  # type: ignore[arg-type]


def group(count: int, *, x: float = 60, y: float = 150, gap: float = 30, **looks: float) -> list[Walker]:
    return [stands(x + gap * row, y + 6 * (row % 2), sway=3, **looks) for row in range(count)]


def test_a_gathering_opens_when_its_last_needed_one_has_been_there_for_the_time() -> None:
    street = pavement()
    street.play(60, [*group(3), stands(150, from_s=5)])
    print(f"opened at {street.at('opened')} s; the fourth came at 5 s, after_s 20")
    assert street.at("opened") == [pytest.approx(25, abs=1)]
    case = street.changes[0][1].case
    assert case.started_ns / NS_PER_S == pytest.approx(5, abs=1)
    assert case.count == 4


def test_a_crowd_goes_on_when_the_picture_gets_another_size() -> None:
    """Two zones side by side: nobody who stood at those pixels before has moved into the other."""
    left, right = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)), ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))
    rule = replace(crowd_rule(), zones=(0, 1), zone_names=("left", "right"))
    street = Street(rule, polygons=[left, right], zoom=2)
    people = [Thing(row, (80 + 20 * row, 100, 95 + 20 * row, 150), track=row + 1, label="person") for row in range(4)]
    street.play(15, *people)
    street.zoom = 1
    street.play(25, *people)
    print([(when, change.kind, change.case.zone) for when, change in street.changes])
    assert street.at("opened") == [pytest.approx(20, abs=1)]
    assert street.changes[0][1].case.zone == "left"


def test_twenty_who_walk_by_in_a_stream_are_no_gathering() -> None:
    street = pavement(tremble=1)
    stream = [
        walks((0, 120 + 11 * (row % 5)), (319, 120 + 11 * (row % 5)), speed=0.8, from_s=1.3 * row) for row in range(40)
    ]
    street.play(60, stream)
    seen = max(street.counts)
    print(f"largest group {seen} of {len(stream)} who walked by")
    assert (street.told, seen) == ([], 0)


@pytest.mark.parametrize("speed", [0.25, 0.4, 0.8])
def test_a_group_that_walks_slowly_together_is_nothing_until_it_stops(speed: float) -> None:
    stop_s = 200 / (speed * 50)
    together = [
        Walker(((0, (10 + 24 * row, 150)), (stop_s, (110 + 24 * row + 100, 150)), (1e6, (210 + 24 * row, 150))))
        for row in range(4)
    ]
    street = pavement()
    street.play(stop_s, together)
    assert max(street.counts) == 0
    street.play(stop_s + 40, together)
    print(f"{speed} body heights/s: stopped at {stop_s:.0f} s, opened at {street.at('opened')}")
    assert street.at("opened") == [pytest.approx(stop_s + 20, abs=5)]


def test_who_walks_through_a_group_is_not_counted_with_it() -> None:
    street = pavement()
    through = [walks((0, 155), (319, 155), speed=0.8, from_s=2 * row) for row in range(30)]
    street.play(60, [*group(5), *through])
    counts = np.array(street.counts[60:])
    print(f"five stay while thirty walk through: counted {counts.min()} to {counts.max()}")
    assert street.told == ["opened"]
    assert set(counts.tolist()) == {5}


@pytest.mark.parametrize("missed", [0.0, 0.3, 0.5])
def test_the_count_does_not_collapse_when_half_of_a_crowd_is_hidden(missed: float) -> None:
    """Twelve people in three rows; the rows behind are seen now and then, and half of all boxes are missed."""
    crowd = [stands(60 + 28 * (row % 4) + 9 * (row // 4), 140 + 8 * (row // 4), sway=8) for row in range(12)]
    street = pavement(crowd_rule(8), missed=missed, tremble=1, seed=3)
    street.play(90, crowd)
    late = np.array(street.counts[len(street.counts) // 2 :])
    print(f"{missed:.0%} missed: of 12, counted {late.min()} to {late.max()}, median {np.median(late):.0f}")
    assert street.told == ["opened"]
    assert 10 <= np.median(late) <= 13
    assert late.min() >= 8


def test_two_groups_of_three_ten_metres_apart_are_not_six() -> None:
    street = pavement(crowd_rule(6))
    between = [walks((0, 160), (319, 160), speed=0.8, from_s=row) for row in range(60)]
    street.play(60, [*group(3, x=20, gap=25), *group(3, x=250, gap=25), *between])
    print(f"largest group {max(street.counts)}")
    assert street.told == []


def leaving(walkers: Sequence[Walker], when_s: float) -> list[Walker]:
    """They stand, and then walk out of the picture one after the other."""
    gone = []
    for row, walker in enumerate(walkers):
        x, y = walker.path[0][1]
        begin = when_s + row
        gone.append(Walker(((0, (x, y)), (begin, (x, y)), (begin + 8, (x + 330, y)))))
    return gone


def test_a_crowd_of_which_two_thirds_leave_is_cleared_once() -> None:
    people = group(9, x=40, gap=22)
    street = pavement(crowd_rule(6, clear_after_ns=10 * NS_PER_S))
    street.play(90, [*people[:3], *leaving(people[3:], 40)])
    print(f"six of nine left from 40 s on: cleared at {street.at('cleared')}")
    assert street.told == ["opened", "cleared"]
    assert street.changes[-1][1].reason == "left"
    assert 50 <= street.at("cleared")[0] <= 65


def test_a_crowd_whose_number_goes_up_and_down_round_the_least_is_one_case() -> None:
    """One of the four goes for twelve seconds in every thirty."""
    coming = [Walker(((30 * row, (150, 150)), (30 * row + 18, (150, 150)))) for row in range(6)]
    street = pavement(crowd_rule(4, clear_after_ns=5 * NS_PER_S), step_s=0.5)
    street.play(180, [*group(3), *coming])
    assert street.told == ["opened"]


def test_a_crowd_that_parts_on_its_ground_and_closes_again_is_one_case() -> None:
    there, apart_s, back_s = 20.0, 45.0, 90.0
    left = group(4, x=40, gap=22)
    right = [
        Walker(((0, (128 + 22 * row, 150)), (apart_s, (128 + 22 * row, 150)), (apart_s + 4, (178 + 22 * row, 150))))
        for row in range(4)
    ]
    right = [
        Walker((*walker.path, (back_s, walker.path[-1][1]), (back_s + 4, walker.path[0][1]), (1e6, walker.path[0][1])))
        for walker in right
    ]
    street = pavement(step_s=0.5)
    street.play(150, [*left, *right])
    print(
        f"told {street.told} at {[when for when, _ in street.changes]} (together from 0, apart {apart_s} to {back_s})"
    )
    assert street.at("opened") == [pytest.approx(there, abs=1)]
    assert street.told == ["opened"]


def test_two_gatherings_that_grow_together_become_one() -> None:
    left, right = group(5, x=30, gap=20), group(5, x=200, gap=20)
    joining = [stands(130 + 20 * row, 152, from_s=50, sway=2) for row in range(4)]
    street = pavement(crowd_rule(4, clear_after_ns=10 * NS_PER_S), step_s=0.5)
    street.play(110, [*left, *right, *joining])
    print(f"told {street.told}; last reason {street.changes[-1][1].reason}, count {street.counts[-1]}")
    assert street.told == ["opened", "opened", "cleared"]
    assert street.changes[-1][1].reason == "merged"
    assert street.counts[-1] == 14


def test_a_child_behind_an_adult_is_still_of_the_party() -> None:
    family = [stands(100, 152), stands(130, 152), stands(160, 152)]
    child = Walker(((0, (185, 148)), (20, (185, 148)), (22, (160, 148)), (36, (160, 148)), (37, (185, 148)),
                    (1e6, (185, 148))), height=28)  # fmt: skip
    street = pavement()
    street.play(70, [*family, child])
    print(f"counted {min(street.counts[48:])} to {max(street.counts)}")
    assert street.told == ["opened"]


def test_a_second_dim_box_on_somebody_is_no_further_person() -> None:
    second = stands(120, 151, height=40, score=0.4)  # all within the box of the third
    street = pavement(hide=False)
    street.play(40, [*group(3), second])
    assert street.told == []


def test_a_child_before_an_adult_is_a_person() -> None:
    child = stands(120, 158, height=30, score=0.4)  # most of it within the box of the third, and nearer
    street = pavement(hide=False)
    street.play(40, [*group(3), child])
    assert street.told == ["opened"]


@pytest.mark.parametrize(("gap", "opens"), [(12, True), (45, False)])
def test_density_is_told_from_number(gap: float, opens: bool) -> None:
    """Six shoulder to shoulder, and six in a loose row, where at least one a square metre is asked for."""
    street = pavement(crowd_rule(6, density_min=1.0), hide=False)
    street.play(40, [stands(30 + gap * row, 150) for row in range(6)])
    assert street.told == (["opened"] if opens else [])
    if opens:
        assert street.changes[0][1].case.reasons == ("dense",)


@pytest.mark.parametrize("people_min", [2, 3])
def test_of_real_people_on_a_plaza_only_those_who_meet_are_a_gathering(media: Path, people_min: int) -> None:
    """80 s of PETS 2009 by its own detections: seven or eight walk about, some very slowly; from 3 to 18 s two meet by
    the sign, and a third stands with them for some seconds."""
    rows = np.loadtxt(media / "vtest_pets09_s2l1_det.txt", delimiter=",")
    size_px = (768, 576)
    rule = crowd_rule(people_min, after_ns=10 * NS_PER_S, clear_after_ns=5 * NS_PER_S)
    scenario, tracker = scenario_for(rule, [np.array(WIDE, np.float32)]), Tracker()
    book = CaseBook(rule, camera="c", gateway="s/g")
    bgr, memory, told = np.zeros((size_px[1], size_px[0], 3), np.uint8), StreetMemory(), []
    for number in range(1, 796, 2):
        seen = rows[rows[:, 0] == number]
        xyxy = np.concatenate([seen[:, 2:4], seen[:, 2:4] + seen[:, 4:6]], axis=1).astype(np.float32)
        score = np.clip(seen[:, 6], 0, 1).astype(np.float32)
        now_ns = (number - 1) * NS_PER_S // 10
        tracks = tracker.update(Detections(xyxy, score, np.zeros(len(seen), np.int16)), now_ns)
        frame = Frame("c", number, now_ns, now_ns, bgr)
        scene = Scene(frame, Detections.empty(), tracks, {}, StaticRegions.empty(), memory)
        told += [(now_ns / NS_PER_S, change) for change in book.advance(scenario.find(scene), scene)]
    opened = [(when, change.case.footprint) for when, change in told if change.kind == "opened"]
    print(f"{people_min} people or more: opened {[(when, [round(edge) for edge in box]) for when, box in opened]}")
    assert bool(opened) == (people_min == 2)
    for when, (x1, y1, x2, y2) in opened:
        assert 10 <= when <= 20
        assert 340 <= x1 <= x2 <= 560
        assert 150 <= y1 <= y2 <= 330
