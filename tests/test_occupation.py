"""Things put out on the ground: one case for a stall, whatever it is made of and however it changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core import ground
from edge.core.scenarios import Rule
from edge.core.types import CLEARED, NS_PER_S, OPENED, Float32
from tests.street import Street, Thing, parking_rule

LABELS = ("person", "chair", "umbrella", "suitcase", "motorcycle")


def trading(**changes: object) -> Rule:
    """10 s to open, 5 s to clear; a single thing is enough unless a test asks for more."""
    settings: dict[str, object] = {
        "scenario": "out-of-store-trading",
        "label_names": LABELS,
        "labels": np.array([1, 2, 3], np.int16),
        "carried": ("umbrella", "suitcase"),
        "stay_ns": 2 * NS_PER_S,
    }
    return parking_rule("occupation", **{**settings, **changes})


def chair(number: int, x: float, y: float = 150, **changes: object) -> Thing:
    """24 px wide, 30 high, its feet at y."""
    return replace(Thing(40 + number, (x, y - 30, x + 24, y), track=number, label="chair"), **changes)  # type: ignore[arg-type]


def crate(number: int, x: float, y: float = 150, **changes: object) -> Thing:
    thing = Thing(60 + number, (x, y - 24, x + 36, y), region=True, score=0.9)
    return replace(thing, **changes)  # type: ignore[arg-type]


def person(number: int, x: float, y: float = 150, **changes: object) -> Thing:
    thing = Thing(80 + number, (x, y - 60, x + 20, y), track=100 + number, label="person")
    return replace(thing, **changes)  # type: ignore[arg-type]


def since(seconds: float, things: Iterable[Thing]) -> list[Thing]:
    return [replace(thing, rest_s=seconds, first_s=seconds) for thing in things]


STALL = (chair(1, 100), chair(2, 140), crate(1, 180), chair(3, 120, 170), crate(2, 160, 176))


def test_a_stall_of_five_things_is_one_case_with_its_reasons() -> None:
    street = Street(trading(things_min=2))
    street.play(5)
    street.play(15, *since(5, STALL), person(1, 130, 160))
    assert street.told == [OPENED]
    case = street.changes[0][1].case
    assert (case.count, case.reasons, case.label) == (5, ("chair", "appeared-object", "people-stay"), "chair")
    assert case.footprint == (100, 120, 216, 176)
    assert street.at(OPENED) == pytest.approx([15], abs=1.5)
    assert case.started_ns == pytest.approx(5 * NS_PER_S, abs=NS_PER_S)


def test_two_shops_apart_are_two_cases_and_what_is_put_beside_one_belongs_to_it() -> None:
    street = Street(trading())
    street.play(2)
    left, right = since(2, [chair(1, 50)]), since(2, [chair(2, 240)])
    street.play(15, *left, *right)
    assert street.told == [OPENED, OPENED]
    street.play(15, *left, *right, *since(17, [chair(3, 80), crate(1, 110)]))
    assert street.told == [OPENED, OPENED]
    assert sorted(case.count for case in street.book.live) == [1, 3]


def test_a_detector_that_misses_each_chair_in_every_other_look_changes_nothing() -> None:
    street = Street(trading(things_min=2, repeat_ns=NS_PER_S))
    street.play(5)
    first, second = since(5, [chair(1, 100), chair(2, 140)])
    unseen = [replace(thing, carried=True) for thing in (first, second)]  # the tracker keeps it for 20 s
    for _ in range(30):
        street.play(0.2, first, unseen[1])
        street.play(0.2, unseen[0], second)
    assert street.told[:1] == [OPENED]
    assert street.at(OPENED) == pytest.approx([15], abs=2)
    assert CLEARED not in street.told
    assert {change.case.count for _, change in street.changes} == {2}


def test_a_case_lives_on_while_its_pieces_change_and_ends_when_the_last_was_seen_to_go() -> None:
    street = Street(trading(things_min=2))
    street.play(5)
    street.play(12, *since(5, STALL))
    street.play(8, *since(5, STALL[1:]))  # somebody takes a chair away
    moved = since(25, [chair(2, 150, 160), crate(4, 196)])  # and puts the goods into another order
    street.play(8, *moved)
    street.play(8, *since(33, [crate(5, 120)]))
    assert street.told == [OPENED]
    street.play(20)
    assert street.told == [OPENED, CLEARED]
    assert street.changes[-1][1].reason == "seen-empty"
    assert street.at(CLEARED) == pytest.approx([41 + 5], abs=1.5)


def test_goods_on_either_side_of_one_that_was_taken_away_stay_one_case() -> None:
    street = Street(trading())
    row = since(2, [chair(1, 60), chair(2, 120), chair(3, 180)])
    street.play(2)
    street.play(12, *row)
    street.play(12, row[0], row[2])
    assert (street.told, [case.count for case in street.book.live]) == ([OPENED], [2])


def test_two_rows_of_goods_that_grow_together_become_one_case() -> None:
    street = Street(trading())
    row = since(2, [chair(1, 60), chair(2, 200)])
    street.play(2)
    street.play(12, *row)
    assert street.told == [OPENED, OPENED]
    street.play(5, *row, *since(14, [chair(3, 130)]))
    assert [(change.kind, change.reason) for _, change in street.changes[2:]] == [(CLEARED, "merged")]
    assert [case.count for case in street.book.live] == [3]


def test_a_stall_behind_its_customers_is_hidden_and_not_empty() -> None:
    street = Street(trading())
    goods = since(2, [chair(1, 100), crate(1, 130)])
    street.step_s = 0.5
    street.play(2)
    street.play(12, *goods)
    wall = [person(row, 90 + 14 * row, 156, box=(90.0 + 14 * row, 90, 110.0 + 14 * row, 156)) for row in range(6)]
    behind = [replace(thing, track=0, region=False) for thing in goods]
    street.play(60, *behind, *wall)
    assert street.told == [OPENED]
    assert street.book.live[0].last_seen_ns <= 16 * NS_PER_S
    street.play(60, *wall)  # nobody knows that the goods went in the meantime
    assert street.told == [OPENED]
    street.play(12)
    assert street.told == [OPENED, CLEARED]


def test_dwell_stands_still_behind_customers_and_goes_on_after_them() -> None:
    street = Street(trading())
    goods = since(2, [chair(1, 100), crate(1, 130)])
    street.play(2)
    street.play(6, *goods)
    wall = [person(row, 0, 0, box=(90.0 + 14 * row, 90, 110.0 + 14 * row, 156)) for row in range(6)]
    street.play(15, *(replace(thing, track=0, region=False) for thing in goods), *wall)
    assert street.told == []
    street.play(8, *goods)
    assert street.at(OPENED) == pytest.approx([23 + 4], abs=2)


def test_people_alone_make_no_case() -> None:
    street = Street(trading(), step_s=0.5)
    street.play(40, *(person(row, 60 + 22 * row) for row in range(5)))
    assert street.told == []


def test_a_customer_who_waits_with_a_suitcase_sells_nothing_but_a_suitcase_left_behind_counts() -> None:
    suitcase = Thing(30, (122, 120, 140, 152), track=1, label="suitcase", rest_s=5, first_s=5)
    street = Street(trading())
    street.play(5)
    street.play(30, suitcase, person(1, 104))
    assert street.told == []
    street.play(20, suitcase)
    assert street.at(OPENED) == pytest.approx([35 + 10], abs=1)


def test_two_people_who_wait_under_umbrellas_sell_nothing() -> None:
    street = Street(trading(things_min=2))
    people = [person(1, 100), person(2, 150)]
    umbrellas = [
        Thing(31, (90, 74, 130, 94), track=1, label="umbrella"),
        Thing(32, (140, 74, 180, 94), track=2, label="umbrella"),
    ]
    street.play(40, *umbrellas, *people)
    assert street.told == []


def test_a_delivery_that_is_carried_in_before_the_time_raises_nothing() -> None:
    street = Street(trading(things_min=2))
    street.play(5)
    street.play(8, *since(5, STALL), person(1, 130))
    street.play(30)
    assert street.told == []


def test_a_lone_thing_is_no_trade_unless_it_is_large() -> None:
    zone_px = 0.64 * 320 * 240
    rule = {"things_min": 2, "large_min": 0.04}
    for width, kinds in ((36, []), (0.05 * zone_px / 40, [OPENED])):
        street = Street(trading(**rule))
        street.play(5)
        street.play(15, crate(1, 0, box=(60, 110, 60 + float(width), 150), rest_s=5))
        assert street.told == kinds, width


def test_a_chair_and_its_own_static_region_are_one_thing() -> None:
    street = Street(trading(things_min=2))
    street.play(5)
    one = chair(1, 100, rest_s=5, first_s=5)
    street.play(20, one, replace(one, track=0, region=True))
    assert street.told == []


def test_street_furniture_that_the_detector_is_unsure_of_is_nothing_put_out() -> None:
    bench = chair(1, 100, score=0.4)
    street = Street(trading(), step_s=0.5)
    street.play(40, bench)  # there from the first look
    assert street.told == []
    sure = Street(trading(), step_s=0.5)
    sure.play(20, replace(bench, score=0.7))
    assert sure.told == [OPENED]
    street.play(20)
    street.play(40, chair(2, 200, score=0.4, rest_s=60, first_s=60))  # as unsure, but it has come
    assert street.told == [OPENED]


def test_a_false_box_that_comes_up_now_and_then_opens_nothing() -> None:
    street = Street(trading())
    false = chair(1, 100, drawn=False, score=0.9)
    for _ in range(20):
        street.play(0.4, false)
        street.play(1.6)
    assert street.told == []


def test_a_gap_in_which_nobody_looked_neither_clears_nor_counts() -> None:
    street = Street(trading())
    goods = since(2, [crate(1, 100)])
    street.play(2)
    street.play(6, *goods)
    street.skip(600)
    street.scenario.interrupt()
    street.book.interrupt()
    street.play(2, *goods)
    assert street.told == []
    street.play(6, *goods)
    assert street.told == [OPENED]


vendor = {"needs_person": True, "must_arrive": True, "labels": np.array([1, 2, 4], np.int16)}
CART = Thing(50, (120, 110, 160, 150), region=True, score=0.9)
BIKE = Thing(51, (120, 110, 160, 150), track=1, label="motorcycle")


@pytest.mark.parametrize("thing", [CART, BIKE], ids=["cart", "motorcycle"])
def test_a_thing_that_stays_with_somebody_is_a_vendor_and_by_itself_it_is_not(thing: Thing) -> None:
    come = replace(thing, rest_s=6, first_s=6)
    together, alone = Street(trading(**vendor), step_s=0.5), Street(trading(**vendor), step_s=0.5)
    for street in (together, alone):
        street.play(6)
    together.play(20, come, person(1, 164))
    alone.play(40, come)
    assert (together.told, alone.told) == ([OPENED], [])
    assert together.at(OPENED) == pytest.approx([6 + 10], abs=1.5)
    assert together.changes[0][1].case.reasons[-1] == "people-stay"
    together.play(60, come)  # the vendor goes for a meal: the cart is still there
    assert together.told == [OPENED]


def test_whoever_waits_beside_what_was_there_before_is_no_vendor() -> None:
    street = Street(trading(**vendor), step_s=0.5)
    bench = replace(BIKE, label="chair")
    street.play(40, bench)
    street.play(60, bench, person(1, 164))
    assert street.told == []


def test_a_vendor_who_left_before_the_time_starts_anew() -> None:
    street = Street(trading(**vendor), step_s=0.5)
    street.play(6)
    come = replace(CART, rest_s=6)
    street.play(5, come, person(1, 164))
    street.play(60, come)
    street.play(7, come, person(2, 164))
    assert street.told == []
    street.play(8, come, person(2, 164))
    assert street.told == [OPENED]


def test_a_vendor_who_has_not_stayed_long_enough_is_known_to_have_come_with_the_cart() -> None:
    street = Street(trading(**{**vendor, "stay_ns": 8 * NS_PER_S}), step_s=0.5)
    street.play(6)
    come = replace(BIKE, rest_s=6, first_s=6)
    street.play(16, come, person(1, 164))
    assert street.at(OPENED) == pytest.approx([16], abs=1.5)


def test_a_shopkeeper_who_steps_up_to_a_parked_cart_has_not_been_there_with_it() -> None:
    street = Street(trading(**vendor), step_s=0.5)
    street.play(6)
    come = replace(CART, rest_s=6)
    street.play(60, come, person(1, 20, 80))  # in the zone, and not beside it
    street.play(8, come, person(1, 164))
    assert street.told == []
    street.play(4, come, person(1, 164))
    assert street.told == [OPENED]


def test_a_vendor_s_case_survives_a_restart_and_ends_when_the_cart_goes() -> None:
    before = Street(trading(**vendor), step_s=0.5)
    before.play(6)
    come = replace(BIKE, rest_s=6, first_s=6)
    before.play(16, come, person(1, 164))
    assert before.told == [OPENED]
    after = Street(trading(**vendor), step_s=0.5, now_s=60)
    after.book.restore(before.book.live, now_ns=60 * NS_PER_S)
    # Nobody has seen it come: by what is found it might be street furniture.
    after.play(30, replace(come, score=0.4))
    assert after.told == []
    after.play(12)
    assert (after.told, after.changes[0][1].reason) == ([CLEARED], "seen-empty")


def test_a_cart_that_is_pushed_off_does_not_take_its_case_along() -> None:
    street = Street(trading(**vendor))
    street.play(6)
    street.play(20, replace(CART, rest_s=6), person(1, 164))
    left_s = street.now_s
    for look in range(40):  # by its box it rests for 1.4 s again and again, taken for a motorcycle now
        x, y = 2.4 * look, -1.2 * look
        box = (120 + x, 110 + y, 160 + x, 150 + y)
        rests_s = left_s + 1.4 * (look // 7)
        street.play(0.2, Thing(50, box, track=1, label="motorcycle", rest_s=rests_s, first_s=left_s, speed=0.3))
    street.play(10)
    print(f"left at {left_s} s, cleared at {street.at(CLEARED)} s")
    assert street.told == [OPENED, CLEARED]
    assert street.at(CLEARED)[0] <= left_s + 3.4 + 5 + 1  # 3.4 s until it no longer covers the place


def test_who_walks_past_a_cart_does_not_stay_with_it() -> None:
    street = Street(trading(**vendor))
    street.play(6)
    for turn in range(120):
        street.play(0.2, replace(CART, rest_s=6), person(1, 100 + turn, speed=0.8))
    assert street.told == []


# Properties

things = st.lists(
    st.tuples(st.integers(4, 28), st.integers(12, 26), st.integers(2, 5), st.integers(2, 5), st.booleans()),
    min_size=1,
    max_size=8,
    unique_by=lambda row: row[:2],
)


def found(
    rows: list[tuple[int, int, int, int, bool]], *, shift: tuple[float, float] = (0, 0)
) -> list[tuple[float, ...]]:
    """Box, count and extent of what one look finds in these boxes, on a grid of 8 px, sorted."""
    street = Street(trading(), polygons=[[(0, 0), (1, 0), (1, 1), (0, 1)]])
    pieces = []
    for number, (x, y, width, height, labelled) in enumerate(rows, 1):
        x1, y2 = 8 * x + shift[0], 8 * y + shift[1]
        box = (x1, y2 - 4 * height, x1 + 4 * width, y2)
        pieces.append(Thing(number, box, track=number * labelled, label="chair", region=not labelled, rest_s=-5))
    told: list[tuple[float, ...]] = []
    find = street.scenario.find

    def listening(scene: object) -> object:
        findings = find(scene)  # type: ignore[arg-type]
        told.extend(
            (*(box - np.array([*shift, *shift])).tolist(), int(count), int(extent))
            for box, count, extent in zip(findings.xyxy, findings.count, findings.extent, strict=True)
        )
        return findings

    street.scenario.find = listening  # type: ignore[assignment,method-assign]
    street.look(pieces)
    return sorted(told)


@settings(max_examples=25, deadline=None)
@given(things, st.integers(-3, 3), st.integers(-3, 3))
def test_occupations_move_with_the_picture(rows: list[tuple[int, int, int, int, bool]], x: int, y: int) -> None:
    assert found(rows, shift=(8.0 * x, 8.0 * y)) == found(rows)


@settings(max_examples=25, deadline=None)
@given(things, st.randoms(use_true_random=False))
def test_the_order_of_pieces_does_not_matter(rows: list[tuple[int, int, int, int, bool]], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    # Of two boxes on one thing the earlier counts, so that only the number of things is the same, not which they are.
    assert found(shuffled) == found(rows)


def test_things_on_one_another_are_no_ground_apart() -> None:
    table, bottle, far = (100, 100, 160, 140), (120, 85, 128, 110), (300, 100, 360, 140)
    xyxy: Float32 = np.array([table, bottle, far], np.float32)
    assert ground.gaps(xyxy).tolist() == [
        [0, 0, 140],
        [0, 0, pytest.approx(np.hypot(172, 60))],
        [140, pytest.approx(np.hypot(172, 60)), 0],
    ]
