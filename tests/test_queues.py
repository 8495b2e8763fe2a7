"""A queue is told from parking: simulated traffic, seen by the real tracker through noisy boxes, at two looks a second.

Every vehicle's stops are known, so each case that opens is about somebody.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.queues import Queues
from edge.core.scenarios import Rule
from edge.core.types import NS_PER_S, Float32, Tracks
from tests.street import Street, Thing, parking_rule
from tests.test_cases import moved
from tests.traffic import Driver, Traffic, View, queue_of

SIZE_PX = (640, 360)
RED_FROM_S, RED_S = 8, 40
KERB_M = 3.2  # beside the lane
VIEWS = {"behind": View(0), "aslant": View(60), "across": View(90), "ahead": View(150)}


def rule(**changes: int) -> Rule:
    return parking_rule(**{"after_ns": 20 * NS_PER_S, "queue_max_ns": 180 * NS_PER_S, **changes})


def at_red(time_s: float) -> bool:
    return RED_FROM_S <= time_s < RED_FROM_S + RED_S


def play(traffic: Traffic, seconds: float) -> list[tuple[float, int]]:
    """When whose case opened, by the driver's place in the list."""
    traffic.play(seconds)
    opened = [(when, traffic.drivers.index(driver)) for when, driver in traffic.opened]
    print(opened)
    return opened


def halted_s(traffic: Traffic) -> float:
    """When the first that opened came to its place, by its case."""
    return next(change.case.started_ns for _, change, _ in traffic.changes if change.kind == "opened") / NS_PER_S


@pytest.mark.parametrize("view", VIEWS)
def test_a_queue_at_a_red_light_of_40_s_raises_nothing_and_the_car_parked_beside_it_is_found(view: str) -> None:
    parked = Driver(seed=77, x=KERB_M, z=-7, parks_at=-7)
    drivers = [*queue_of(5, first_s=4, headway_s=4), parked]
    opened = play(Traffic(rule(), VIEWS[view], drivers, red=at_red, fps=2), 65)
    assert opened == [(pytest.approx(21, abs=2), 5)]


def test_without_the_rule_of_queues_the_same_queue_is_five_cases() -> None:
    opened = play(Traffic(rule(queue_max_ns=0), VIEWS["ahead"], queue_of(5, first_s=4), red=at_red, fps=2), 65)
    assert len(opened) >= 4


@pytest.mark.parametrize("view", ["behind", "across"])
def test_two_lanes_that_queue_side_by_side_raise_nothing(view: str) -> None:
    drivers = [*queue_of(3, first_s=4), *queue_of(3, lane=-3.5, first_s=5, headway_s=5)]
    assert play(Traffic(rule(), VIEWS[view], drivers, red=at_red, fps=2), 65) == []


@pytest.mark.parametrize("view", ["aslant", "ahead"])
def test_who_parks_beside_a_queue_is_found_when_it_has_moved_off_and_has_stood_since_then(view: str) -> None:
    parks = Driver(seed=77, x=0, z=-60, enters_s=0, parks_at=-9, parks_x=KERB_M)
    drivers = [parks, *queue_of(4, first_s=5)]
    traffic = Traffic(rule(), VIEWS[view], drivers, red=at_red, fps=2)
    opened = play(traffic, 80)
    assert [driver for _, driver in opened] == [0]
    assert opened[0][0] <= RED_FROM_S + RED_S + 20
    assert halted_s(traffic) == pytest.approx(parks.stopped_s, abs=3)


@pytest.mark.parametrize("view", ["behind", "across"])
def test_who_stays_when_the_queue_moves_off_is_found(view: str) -> None:
    """The last of the queue parks at its end."""
    drivers = [*queue_of(2, first_s=4), Driver(seed=77, x=0, z=-60, enters_s=11, parks_at=-10)]
    traffic = Traffic(rule(), VIEWS[view], drivers, red=at_red, fps=2, stop_line=8)
    opened = play(traffic, 80)
    assert [driver for _, driver in opened] == [2]
    assert RED_FROM_S + RED_S < opened[0][0] <= RED_FROM_S + RED_S + 20
    assert halted_s(traffic) == pytest.approx(drivers[2].stopped_s, abs=3)


@pytest.mark.parametrize("view", ["behind", "across"])
def test_two_who_park_in_a_row_one_after_the_other_are_both_found(view: str) -> None:
    drivers = [
        Driver(seed=77, x=0, z=-60, enters_s=1, parks_at=2, parks_x=KERB_M),
        Driver(seed=78, x=0, z=-60, enters_s=20, parks_at=-5, parks_x=KERB_M),
        *queue_of(6, first_s=4, headway_s=7),  # they pass
    ]
    opened = play(Traffic(rule(), VIEWS[view], drivers, fps=2), 65)
    assert [driver for _, driver in opened] == [0, 1]
    for when, driver in opened:
        assert when == pytest.approx(drivers[driver].stopped_s + 20, abs=4)


@pytest.mark.parametrize("view", ["behind", "ahead"])
def test_two_who_park_two_lengths_apart_at_once_are_both_found(view: str) -> None:
    """Nobody in a queue leaves so much, though seen along the street it is no more than the height of a box."""
    drivers = [
        Driver(seed=77, x=0, z=-60, enters_s=1, parks_at=4, parks_x=KERB_M),
        Driver(seed=78, x=0, z=-60, enters_s=5, parks_at=-11, parks_x=KERB_M),
    ]
    opened = play(Traffic(rule(), VIEWS[view], drivers, fps=2), 45)
    assert sorted(driver for _, driver in opened) == [0, 1]
    assert abs(drivers[0].stopped_s - drivers[1].stopped_s) < 8


def test_a_car_that_stops_alone_counts_at_once() -> None:
    driver = Driver(seed=77, x=0, z=-60, enters_s=1, parks_at=0)
    opened = play(Traffic(rule(), VIEWS["behind"], [driver], fps=2), 50)
    assert opened == [(pytest.approx(driver.stopped_s + 20, abs=4), 0)]  # it rolls for its last 3 s


@pytest.mark.parametrize("view", ["behind", "across"])
def test_who_takes_the_place_of_one_that_left_within_20_s_is_a_case_of_its_own(view: str) -> None:
    first = Driver(seed=77, x=0, z=-60, enters_s=1, parks_at=0, parks_s=26)
    second = Driver(seed=78, x=0, z=-60, enters_s=42, parks_at=0)
    traffic = Traffic(rule(), VIEWS[view], [first, second], fps=2)
    opened = play(traffic, 85)
    assert [driver for _, driver in opened] == [0, 1]
    assert second.stopped_s - (first.stopped_s + first.parks_s) < 20
    for when, driver in opened:
        assert when == pytest.approx(traffic.drivers[driver].stopped_s + 20, abs=4)


@pytest.mark.parametrize("view", ["behind", "across"])
def test_stop_and_go_raises_nothing(view: str) -> None:
    """Red for 25 s, green for 5, five times: each cycle lets two or three through, the others move up."""
    drivers = queue_of(12, first_s=4, headway_s=5)
    traffic = Traffic(rule(), VIEWS[view], drivers, red=lambda time_s: time_s % 30 < 25, fps=2)
    assert play(traffic, 110) == []


def test_what_nobody_moves_for_longer_than_any_red_light_is_told() -> None:
    traffic = Traffic(
        rule(queue_max_ns=60 * NS_PER_S), VIEWS["behind"], queue_of(2, first_s=4), red=lambda time_s: True, fps=2
    )
    opened = play(traffic, 100)
    assert [driver for _, driver in opened] == [0, 1]
    assert min(when for when, _ in opened) >= 60


def test_a_second_box_on_the_same_car_is_no_companion() -> None:
    """Its cabin and the whole of it, or it and the crane behind it: both stand on one ground."""
    queues = Queues(queue_max_ns=180 * NS_PER_S)
    for look in range(40):
        now_ns = look * NS_PER_S // 5
        came = max(0, 20 - look) * 8
        boxes = np.array([(200 + came, 150, 260 + came, 205), (196 + came, 80, 270 + came, 208)], np.float32)
        halts = queues.update(standing(boxes, now_ns, rest_ns=min(now_ns, 4 * NS_PER_S)), now_ns, size_px=SIZE_PX)
    assert halts.stands.all()
    assert not halts.waits.any()


@pytest.mark.parametrize(("score", "waits"), [(0.3, False), (0.8, True)])
def test_a_dim_box_that_was_never_seen_to_drive_holds_nobody(score: float, waits: bool) -> None:
    """A parked car that the detector begins to see when another parks beside it; a sure one has come as well."""
    queues = Queues(queue_max_ns=180 * NS_PER_S)
    for look in range(60):
        now_ns = look * NS_PER_S // 5
        came = max(0, 20 - look) * 8
        boxes = np.array([(200 + came, 150, 260 + came, 205), (150, 130, 195, 165)], np.float32)
        tracks = standing(boxes, now_ns, rest_ns=min(now_ns, 4 * NS_PER_S))
        tracks = replace(tracks, first_seen_ns=np.array([0, 3 * NS_PER_S]), score=np.array([0.9, score], np.float32))
        halts = queues.update(tracks.take(tracks.first_seen_ns <= now_ns), now_ns, size_px=SIZE_PX)
    assert halts.stands.all()
    assert halts.waits[0] == waits


def test_two_halves_that_a_car_falls_into_as_it_halts_do_not_wait_for_one_another() -> None:
    queues = Queues(queue_max_ns=180 * NS_PER_S)
    for look in range(60):
        now_ns = look * NS_PER_S // 5
        came = max(0, 35 - look) * 8
        front = 40 - min(max(look - 30, 0), 5) * 6  # the first box becomes its left half alone
        boxes = np.array([(200 + came, 150, 250 + came + front, 205), (236 + came, 160, 290 + came, 203)], np.float32)
        tracks = standing(boxes, now_ns, rest_ns=min(now_ns, 7 * NS_PER_S))
        tracks.first_seen_ns[1] = 6 * NS_PER_S
        halts = queues.update(tracks.take(np.arange(2 if look >= 30 else 1)), now_ns, size_px=SIZE_PX)
    assert halts.stands.all()
    assert not halts.waits.any()


def test_a_car_that_is_seen_as_two_boxes_side_by_side_is_one_case() -> None:
    """Its left end is a dim box of its own from the moment at which the rest appears on its ground."""
    street = Street(rule(after_ns=10 * NS_PER_S))
    street.play(5)
    for look in range(10):
        street.play(0.2, moved(Thing(seed=7, box=(100, 100, 160, 140), track=1, rest_s=street.now_s), 50 - 5 * look))
    left = Thing(seed=7, box=(100, 100, 160, 140), track=1, score=0.3, rest_s=7)
    right = replace(left, box=(125, 108, 160, 138), track=2, score=0.8, drawn=False, rest_s=7, first_s=7)
    street.play(0.4, left, right)
    street.play(40, replace(left, track=0), replace(left, box=(100, 100, 126, 140), drawn=False), right)
    assert street.told == ["opened"]
    assert street.changes[0][1].case.footprint == pytest.approx(right.box)


def test_a_dim_box_round_the_car_and_more_does_not_keep_it_from_being_told() -> None:
    """A tree and the car that has come to stand below it, taken for a lorry that has always been there."""
    street = Street(rule(after_ns=10 * NS_PER_S))
    whole = Thing(seed=3, box=(80, 60, 190, 141), track=2, label="truck", score=0.3, drawn=False)
    street.play(5)
    street.play(20, Thing(seed=7, box=(100, 100, 150, 140), track=1, rest_s=5.2, first_s=4), replace(whole, rest_s=5))
    assert street.at("opened") == [pytest.approx(15, abs=0.5)]
    assert street.changes[0][1].case.label == "car"


def test_two_that_come_apart_are_two_cases() -> None:
    """The second is first seen on the ground of the first, and then parks beside it."""
    street = Street(rule(after_ns=10 * NS_PER_S))
    street.play(5)
    first = Thing(seed=7, box=(100, 100, 150, 140), track=1, rest_s=5, first_s=5)
    street.play(15, first)
    for look in range(30):
        second = replace(first, seed=8, box=(104, 102, 154, 143), track=2, score=0.6, rest_s=street.now_s, first_s=20)
        street.play(0.2, first, moved(second, 2.5 * look))
    street.play(20, first, replace(moved(second, 0), box=(179, 102, 229, 143)))
    assert street.told == ["opened", "opened"]


@pytest.mark.parametrize("gap", [0, 5, 10])
def test_who_parks_bumper_to_bumper_with_the_one_on_whose_ground_it_was_first_seen_is_a_case(gap: int) -> None:
    street = Street(rule(after_ns=10 * NS_PER_S))
    street.play(5)
    first = Thing(seed=7, box=(100, 100, 150, 140), track=1, rest_s=5, first_s=5)
    street.play(15, first)
    for look in range(30):
        right = (50 + gap) * (look + 1) / 30
        box = (100 + right, 102, 150 + right, 143)
        second = replace(first, seed=8, box=box, track=2, score=0.8, rest_s=street.now_s, first_s=20)
        street.play(0.2, first, second)
    street.play(20, first, second)
    assert street.told == ["opened", "opened"]


@pytest.mark.parametrize("shorter", [0, 9])
def test_two_boxes_of_one_car_stay_one_whatever_one_look_shows_of_them(shorter: int) -> None:
    street = Street(rule(after_ns=10 * NS_PER_S))
    street.play(5)
    for look in range(10):
        street.play(0.2, moved(Thing(seed=7, box=(100, 100, 160, 140), track=1, rest_s=street.now_s), 50 - 5 * look))
    left = Thing(seed=7, box=(100, 100, 160, 140), track=1, score=0.7, rest_s=7)
    right = replace(left, box=(125, 108, 160, 138), track=2, score=0.8, drawn=False, rest_s=7, first_s=7)
    street.play(0.4, left, right)
    car, part = replace(left, track=0), replace(left, box=(100, 100, 126, 140), drawn=False)
    street.play(4, car, part, right)
    street.play(0.2, car, replace(part, box=(100, 100, 126 - shorter, 140)), right)
    street.play(60, car, part, right)
    assert street.told == ["opened"]
    assert street.at("opened") == [pytest.approx(17, abs=1)]


@pytest.mark.parametrize(("score", "trembles"), [(0.4, True), (0.2, False)])
def test_a_box_that_can_be_no_case_keeps_no_car_on_its_ground_from_being_told(score: float, trembles: bool) -> None:
    street = Street(rule(after_ns=10 * NS_PER_S))
    car = Thing(seed=7, box=(100, 100, 150, 140), track=2, score=0.5, rest_s=5.2, first_s=4)
    elder = Thing(seed=3, box=(80, 60, 190, 141), track=1, label="truck", score=score, drawn=False)
    street.play(4)
    for _ in range(100):
        street.play(0.2, car, replace(elder, rest_s=street.now_s if trembles else 0))
    assert street.told == ["opened"]


def test_who_parks_as_it_takes_the_track_of_a_parked_car_along_and_that_car_do_not_wait_for_one_another() -> None:
    """The parked one is a new track at that moment, which nobody has seen drive in."""
    queues = Queues(queue_max_ns=180 * NS_PER_S)
    parked, place = (200, 100, 250, 140), (140, 104, 192, 145)
    for look in range(200):
        now_ns = look * NS_PER_S // 5
        slides = min(max(look - 120, 0), 10)
        first = np.array(parked) + slides / 10 * (np.array(place) - parked)
        first = first + max(0, 20 - look) * np.array([6, 0, 6, 0])
        tracks = standing(np.array([first, parked], np.float32), now_ns, rest_ns=0)
        tracks.first_seen_ns[1] = tracks.rest_since_ns[1] = 25 * NS_PER_S
        tracks.rest_since_ns[0] = min(now_ns, (4 if look < 123 else 26) * NS_PER_S)
        halts = queues.update(tracks.take(np.arange(2 if look >= 125 else 1)), now_ns, size_px=SIZE_PX)
    assert halts.stands.all()
    assert not halts.waits.any()


def test_a_parked_car_that_is_a_new_track_when_who_parks_beside_it_has_passed_is_parked_as_before() -> None:
    """Its old track is carried on for some seconds, unseen."""
    queues = Queues(queue_max_ns=180 * NS_PER_S)
    for look in range(200):
        now_ns = look * NS_PER_S // 5
        came, passes = max(0, 20 - look) * 8, max(0, 120 - look) * 8
        boxes = np.array(
            [(200 + came, 100, 250 + came, 140), (140 + passes, 104, 190 + passes, 143), (201, 100, 251, 140)]
        )
        tracks = standing(boxes.astype(np.float32), now_ns, rest_ns=0)
        tracks.rest_since_ns[:] = np.minimum(now_ns, np.array([4, 24, 24]) * NS_PER_S)
        tracks.first_seen_ns[:] = np.array([0, 20, 24]) * NS_PER_S
        tracks.last_seen_ns[0] = min(now_ns, 22 * NS_PER_S)
        known = (tracks.first_seen_ns <= now_ns) & (now_ns - tracks.last_seen_ns <= 5 * NS_PER_S)
        halts = queues.update(tracks.take(known), now_ns, size_px=SIZE_PX)
    assert halts.stands.all()
    assert not halts.waits.any()


def test_who_has_begun_to_move_off_does_not_stand_any_more_but_one_that_trembles_does() -> None:
    queues = Queues(queue_max_ns=180 * NS_PER_S)
    stood = []
    for look in range(60):
        now_ns = look * NS_PER_S // 5
        away = max(look - 40, 0) * 4 + (2 if look == 30 else 0)
        tracks = standing(np.array([(200 + away, 150, 260 + away, 205)], np.float32), now_ns, rest_ns=0)
        tracks.rest_since_ns[0] = now_ns if look == 30 or look > 42 else 0  # the tracker knows half a second late
        stood.append(bool(queues.update(tracks, now_ns, size_px=SIZE_PX).stands[0]))
    assert all(stood[10:43])
    assert not any(stood[43:])


def test_who_has_just_come_to_stand_waits_until_it_is_known_for_what() -> None:
    """So the case begins with the first second: a dim car may not be seen well again for long."""
    queues = Queues(queue_max_ns=180 * NS_PER_S)
    told = []
    for look in range(30):
        now_ns = look * NS_PER_S // 5
        box = np.array([(200 + max(0, 20 - look) * 8, 150, 260 + max(0, 20 - look) * 8, 205)], np.float32)
        halts = queues.update(standing(box, now_ns, rest_ns=min(now_ns, 4 * NS_PER_S)), now_ns, size_px=SIZE_PX)
        told.append((bool(halts.stands[0]), bool(halts.waits[0])))
    assert told.index((True, True)) == 25  # at rest since look 20, five looks a second
    assert told.index((True, False)) == 28
    assert set(told[28:]) == {(True, False)}


def test_a_queue_stays_one_over_a_gap_and_the_gap_is_not_waited() -> None:
    """Two halt, nobody looks for 50 s, and then they stand there as new tracks, with a third behind them."""
    queues = Queues(queue_max_ns=60 * NS_PER_S)
    for look in range(100):
        now_ns = look * NS_PER_S // 5
        came = max(0, 20 - look) * 8
        halts = queues.update(
            standing(a_queue(2) + np.float32(came), now_ns, rest_ns=min(now_ns, 4 * NS_PER_S)), now_ns, size_px=SIZE_PX
        )
    assert halts.waits.all()
    queues.interrupt()
    again_ns = 70 * NS_PER_S
    for look in range(100):
        now_ns = again_ns + look * NS_PER_S // 5
        tracks = standing(a_queue(3), now_ns, rest_ns=again_ns, first_ns=again_ns, number=11)
        halts = queues.update(tracks, now_ns, size_px=SIZE_PX)
    assert halts.stands.all()
    assert halts.waits.all()


def test_two_parked_cars_at_a_camera_whose_stream_breaks_again_and_again_do_not_wait_for_one_another() -> None:
    """Its first stretches are too short to know who stands there: whom a later one finds may have stood there."""
    queues = Queues(queue_max_ns=180 * NS_PER_S)
    for stretch, looks in enumerate((8, 12, 50)):
        begun_ns = stretch * 10 * NS_PER_S
        for look in range(looks):
            now_ns = begun_ns + look * NS_PER_S // 5
            tracks = standing(a_queue(2), now_ns, rest_ns=begun_ns, first_ns=begun_ns, number=1 + 10 * stretch)
            halts = queues.update(tracks, now_ns, size_px=SIZE_PX)
        queues.interrupt()
    assert halts.stands.all()
    assert not halts.waits.any()


def test_a_queue_stays_one_when_the_picture_gets_another_size() -> None:
    queues = Queues(queue_max_ns=180 * NS_PER_S)
    for look in range(200):
        now_ns = look * NS_PER_S // 5
        came, zoom = max(0, 20 - look) * 8, 1 if look < 100 else 2
        xyxy = (a_queue(2) + np.float32(came)) * np.float32(zoom)
        rest_ns = min(now_ns, 4 * NS_PER_S) if look < 110 else 22 * NS_PER_S  # a box trembles
        size_px = (SIZE_PX[0] * zoom, SIZE_PX[1] * zoom)
        halts = queues.update(standing(xyxy, now_ns, rest_ns=rest_ns), now_ns, size_px=size_px)
    assert halts.waits.all()
    assert (halts.since_ns == 4 * NS_PER_S).all()


def a_queue(count: int) -> Float32:
    """(N, 4) one behind the other, towards the lower right."""
    return np.array(
        [(100 + 50 * row, 100 + 25 * row, 140 + 50 * row, 130 + 25 * row) for row in range(count)], np.float32
    )


def standing(xyxy: Float32, now_ns: int, *, rest_ns: int, first_ns: int = 0, number: int = 1) -> Tracks:
    count = len(xyxy)
    return Tracks(
        track_id=np.arange(number, number + count),
        xyxy=xyxy,
        label=np.ones(count, np.int16),
        score=np.ones(count, np.float32),
        detection=np.arange(count),
        first_seen_ns=np.full(count, first_ns, np.int64),
        last_seen_ns=np.full(count, now_ns, np.int64),
        rest_since_ns=np.full(count, rest_ns, np.int64),
        speed=np.zeros(count, np.float32),
    )


@functools.cache
def looks() -> tuple[tuple[int, Tracks], ...]:
    """What the tracker says of a queue of four at a red light."""
    traffic = Traffic(rule(), VIEWS["ahead"], queue_of(4, first_s=4), red=at_red, fps=2)
    seen: list[tuple[int, Tracks]] = []
    find = traffic.scenario.find
    traffic.scenario.find = lambda scene: seen.append((scene.frame.mono_ns, scene.tracks)) or find(scene)  # type: ignore[method-assign,func-returns-value]
    traffic.play(40)
    return tuple(seen)


def waiting(ids: dict[int, int], shift: tuple[float, float] = (0, 0)) -> list[set[int]]:
    """Who waits at each look, by the first number, when tracks have other numbers and stand elsewhere."""
    queues = Queues(queue_max_ns=180 * NS_PER_S)
    told = []
    for mono_ns, tracks in looks():
        renamed = np.array([ids[number] for number in tracks.track_id.tolist()], np.int64)
        moved = tracks.xyxy + np.array([*shift, *shift], np.float32)
        other = replace(tracks, track_id=renamed, xyxy=moved).take(np.argsort(renamed))
        halts = queues.update(other, mono_ns, size_px=SIZE_PX)
        told.append({number for number in ids if ids[number] in other.track_id[halts.waits]})
    return told


def first_numbers() -> list[int]:
    return sorted({number for _, tracks in looks() for number in tracks.track_id.tolist()})


def test_all_four_wait() -> None:
    assert len(waiting({number: number for number in first_numbers()})[-1]) == 4


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), x=st.integers(-300, 900), y=st.integers(-300, 900))
def test_neither_numbers_nor_place_matter(seed: int, x: int, y: int) -> None:
    numbers = first_numbers()
    renamed = dict(zip(numbers, np.random.default_rng(seed).permutation(numbers).tolist(), strict=True))
    same = {number: number for number in numbers}
    assert waiting(renamed, (x, y)) == waiting(same)
