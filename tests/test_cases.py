"""The life of cases, on a drawn street: what opens, what stays one case, what clears and what must not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.core import appearance
from edge.core.cases import withdrawn
from edge.core.scene import Scene
from edge.core.types import LASTS, NS_PER_S, Findings, seconds_to_ns
from tests.street import Street, Thing, parking_rule, person_rule

CAR = Thing(seed=7, box=(100, 100, 150, 140), track=1, rest_s=5)
OTHER_CAR = Thing(seed=8, box=(102, 101, 151, 141), track=2, rest_s=40)
LORRY = Thing(seed=9, box=(80, 60, 190, 170), track=3, label="truck", rest_s=999)


def moved(thing: Thing, x: float, y: float = 0) -> Thing:
    x1, y1, x2, y2 = thing.box
    return replace(thing, box=(x1 + x, y1 + y, x2 + x, y2 + y))


def parked(seconds: float = 15, **rule: object) -> Street:
    """A street that was empty for 5 s, and a car that then stands there."""
    street = Street(parking_rule(**rule))
    street.play(5)
    street.play(seconds, CAR)
    return street


def test_a_parked_car_opens_one_case_after_its_time() -> None:
    street = parked(60)
    assert street.told == ["opened"]
    assert street.at("opened") == [pytest.approx(15.0, abs=0.3)]
    case = street.changes[0][1].case
    assert (case.label, case.zone, case.alerts) == ("car", "kerb", 1)
    assert case.started_ns == 5 * NS_PER_S


def test_a_car_that_leaves_in_time_is_no_case() -> None:
    street = parked(8)
    street.play(30)
    assert street.told == []
    assert street.book.live == []


def test_clearance_is_told_once_and_only_after_the_place_was_seen_empty() -> None:
    street = parked()
    left_s = street.now_s
    street.play(30)
    assert street.told == ["opened", "cleared"]
    assert street.at("cleared")[0] - left_s == pytest.approx(5.0, abs=0.6)
    assert street.changes[-1][1].reason == "seen-empty"


def test_a_car_seen_in_every_third_look_is_one_case() -> None:
    street = Street(parking_rule())
    street.play(5)
    for _ in range(60):
        street.play(0.2, CAR)
        street.play(0.4, replace(CAR, track=0))
    assert street.told == ["opened"]


def test_pixels_alone_do_not_open_a_case() -> None:
    street = Street(parking_rule())
    street.play(5)
    street.play(1.4, CAR)
    street.play(60, replace(CAR, track=0))
    assert street.told == []


@pytest.mark.parametrize("before_opening", [True, False])
def test_a_car_hidden_for_ten_seconds_stays_one_case(before_opening: bool) -> None:
    street = parked(6 if before_opening else 15)
    first = street.book.live[0].case_id
    street.play(10, CAR_BEHIND, LORRY)
    street.play(20, replace(CAR, track=5, rest_s=street.now_s))  # the tracker has given it a new number
    assert street.told == ["opened"]
    assert street.changes[0][1].case.case_id == first


CAR_BEHIND = replace(CAR, track=0)


def test_hidden_time_is_not_visible_time() -> None:
    street = parked(6)
    hidden_from_s = street.now_s
    street.play(10, CAR_BEHIND, LORRY)
    assert street.told == []
    street.play(20, CAR)
    assert street.at("opened")[0] - hidden_from_s == pytest.approx(10 + 4, abs=0.6)


def test_a_pedestrian_before_a_third_of_the_car_changes_nothing() -> None:
    street = parked()
    street.play(20, CAR, Thing(seed=11, box=(100, 95, 117, 145), track=4, label="person"))
    assert street.told == ["opened"]


def test_a_bench_behind_the_place_that_is_seen_again_does_not_keep_the_case() -> None:
    street = parked()
    left_s = street.now_s
    bench = Thing(seed=10, box=(105, 85, 150, 120), track=5, label="person", rest_s=left_s)  # covers 45 % of the place
    street.play(20, bench)
    print(f"left at {left_s} s, cleared at {street.at('cleared')} s")
    assert street.told == ["opened", "cleared"]
    assert street.at("cleared")[0] - left_s == pytest.approx(5.0, abs=0.8)


def test_another_car_in_the_same_place_is_another_case() -> None:
    street = parked()
    street.play(2)
    street.play(30, replace(OTHER_CAR, rest_s=street.now_s))
    assert street.told == ["opened", "opened", "cleared"]
    first, second, cleared = (change.case.case_id for _, change in street.changes)
    assert first != second
    assert cleared == first


def test_a_queue_that_crawls_is_no_parking() -> None:
    street = Street(parking_rule())
    street.play(5)
    for halt in range(12):  # each halt of 6 s: every car has moved up by its own length
        cars = [
            moved(Thing(seed=20 + halt - place, box=(40, 100, 90, 140), track=20 + halt - place), 52 * place)
            for place in range(3)
        ]
        street.play(6, *(replace(car, rest_s=street.now_s) for car in cars))
    assert street.told == []


def test_the_same_car_that_moves_up_in_its_zone_stays_one_open_case() -> None:
    street = parked()
    street.play(20, replace(moved(CAR, 60), rest_s=street.now_s))
    assert street.told == ["opened"]


def test_a_gap_without_frames_neither_clears_nor_adds_up() -> None:
    street = parked(6)
    street.skip(3600)
    street.play(1, CAR)
    assert street.told == []
    assert street.book.live[0].visible_ns < 8 * NS_PER_S
    street = parked()
    street.skip(3600)
    street.play(1)
    assert street.told == ["opened"]


def test_a_look_a_trifle_too_soon_is_the_one_that_was_due() -> None:
    street = Street(parking_rule(after_ns=20 * NS_PER_S), step_s=1.99)
    street.play(6)
    came_s = street.now_s
    street.play(40, replace(CAR, rest_s=came_s))
    assert street.told == ["opened"]
    assert street.at("opened")[0] - came_s == pytest.approx(20, abs=0.3)


def test_a_look_that_is_more_than_a_trifle_too_soon_is_not_yet_the_one() -> None:
    step_s = 1.9
    street = Street(parking_rule(after_ns=19 * NS_PER_S + NS_PER_S // 3), step_s=step_s)
    street.play(6)
    came_s = street.now_s
    street.play(40, replace(CAR, rest_s=came_s))
    assert street.told == ["opened"]
    assert street.at("opened")[0] - came_s == pytest.approx(11 * step_s, abs=0.01)


def test_keyframes_25_seconds_apart_are_looks_enough() -> None:
    street = Street(parking_rule(after_ns=60 * NS_PER_S), step_s=25)
    street.play(25)
    street.play(200, replace(CAR, rest_s=25))
    assert street.told == ["opened"]
    assert 85 <= street.at("opened")[0] <= 150


def test_a_black_or_covered_camera_clears_nothing() -> None:
    for gain in (0.0, 200.0):
        street = parked()
        street.play(60, gain=gain)
        assert street.told == ["opened"]
        street.play(1, CAR)
        street.play(20)
        assert street.told == ["opened", "cleared"]


def test_hours_begin_at_their_beginning() -> None:
    """A car that was there two hours before the hours is a case ten seconds after they begin, and counted from then."""
    street = Street(parking_rule())
    street.play(10, CAR, active=False)
    street.now_s += 7200
    street.play(2, CAR, active=False)
    begun_s = street.now_s
    street.play(20, CAR)
    assert street.at("opened") == [pytest.approx(begun_s + 10, abs=1.5)]
    case = street.changes[0][1].case
    assert case.started_ns >= seconds_to_ns(begun_s - 1)


def test_the_same_car_on_two_days_is_two_cases() -> None:
    street = parked()
    for _ in range(3):
        street.play(5, CAR, active=False)
        street.play(15, CAR)
    opened = [change.case.case_id for _, change in street.changes if change.kind == "opened"]
    assert len(opened) == len(set(opened)) == 4
    assert street.told == ["opened", "cleared"] * 3 + ["opened"]


def test_clearing_at_once_still_asks_for_an_empty_place() -> None:
    street = parked(20, clear_after_ns=0)
    assert street.told == ["opened"]
    street.play(2)
    assert street.told == ["opened", "cleared"]


def test_a_change_of_resolution_keeps_the_case() -> None:
    street = parked()
    street.zoom = 0.5
    street.play(20, CAR)
    assert street.told == ["opened"]
    assert street.book.live[0].footprint == pytest.approx((50, 50, 75, 70), abs=1.5)
    street.zoom = 1.0
    street.play(20)
    assert street.told == ["opened", "cleared"]


def test_half_the_light_does_not_clear() -> None:
    street = parked()
    for gain in np.linspace(1, 0.5, 10):
        street.play(0.2, replace(CAR, track=0), gain=float(gain))
    street.play(20, replace(CAR, track=0), gain=0.5)
    assert street.told == ["opened"]


def test_what_was_always_there_must_be_a_sure_thing() -> None:
    sign = replace(CAR, score=0.4, rest_s=0)
    street = Street(parking_rule())
    street.play(60, sign)
    assert street.told == []
    street = Street(parking_rule())
    street.play(60, replace(sign, score=0.8))
    assert street.told == ["opened"]


def test_updates_come_as_often_as_asked() -> None:
    street = parked(60, repeat_ns=15 * NS_PER_S)
    assert street.told == ["opened", "updated", "updated", "updated"]
    assert [change.case.alerts for _, change in street.changes] == [1, 2, 3, 4]


def test_leaving_the_hours_clears_with_the_reason() -> None:
    street = parked()
    street.play(1, CAR, active=False)
    assert street.told == ["opened", "cleared"]
    assert street.changes[-1][1].reason == "hours"
    assert street.book.live == []


def test_a_dismissed_case_is_withdrawn_once() -> None:
    street = parked()
    case_id = street.book.live[0].case_id
    change = street.book.dismiss(case_id, mono_ns=1)
    assert change is not None
    assert (change.kind, change.case.state, change.reason) == ("withdrawn", "withdrawn", "dismissed")
    assert street.book.dismiss(case_id, mono_ns=1) is None


def test_open_cases_go_on_after_a_restart() -> None:
    street = parked()
    stored = street.book.live
    again = Street(parking_rule(), now_s=street.now_s)
    again.book.restore(stored, now_ns=seconds_to_ns(again.now_s))
    again.play(10, replace(CAR, track=1, rest_s=street.now_s))
    assert again.told == []
    assert again.book.live[0].case_id == stored[0].case_id
    again.play(10)
    assert again.told == ["cleared"]


def test_a_case_whose_zone_or_scenario_is_gone_is_no_longer_watched() -> None:
    (stored,) = parked().book.live
    assert Street(parking_rule()).book.watches(stored)
    assert not Street(parking_rule(zone_names=("yard",))).book.watches(stored)
    assert not Street(person_rule("loitering")).book.watches(stored)
    change = withdrawn(stored, mono_ns=9, reason="not-watched")
    assert (change.kind, change.case.alerts, change.reason) == ("withdrawn", stored.alerts + 1, "not-watched")


def test_five_short_visits_are_not_one_long_one() -> None:
    person = Thing(seed=3, box=(100, 80, 120, 140), track=1, label="person")
    street = Street(person_rule("loitering"))
    for visit in range(5):
        street.play(2.4, replace(person, track=visit + 1, rest_s=street.now_s))
        street.play(60)
    assert street.told == []


def test_a_person_who_walks_about_in_the_zone_loiters_once() -> None:
    street = Street(person_rule("loitering"))
    for second in range(30):
        person = Thing(seed=3, box=(60 + 4 * second, 80, 80 + 4 * second, 140), track=1, label="person")
        street.play(1, person)
    street.play(20)
    assert street.told == ["opened", "cleared"]
    assert street.changes[-1][1].reason == "left"


def test_a_lost_walker_met_again_near_is_the_same() -> None:
    street = Street(person_rule("loitering"))
    person = Thing(seed=3, box=(100, 80, 120, 140), track=1, label="person")
    street.play(8, person)
    street.play(1)
    street.play(8, replace(moved(person, 20), track=2, first_s=street.now_s))
    assert street.told == ["opened"]


def test_four_who_stand_together_are_one_gathering() -> None:
    people = [
        Thing(seed=30 + row, box=(80 + 30 * row, 100, 96 + 30 * row, 150), track=row + 1, label="person")
        for row in range(4)
    ]
    rule = person_rule("gathering", people_min=4, spacing=1.5)
    street = Street(rule)
    street.play(20, *people)
    street.play(1, *people[:3])  # one is lost for a moment
    street.play(20, *people)
    street.play(20, people[0])
    assert street.told == ["opened", "cleared"]
    assert street.changes[0][1].case.count == 4
    apart = [moved(person, 0, 0) for person in people[:3]] + [moved(people[3], 90, 60)]
    lonely = Street(rule)
    lonely.play(30, *apart)
    assert lonely.told == []


LEFT_HALF = ((0.1, 0.1), (0.5, 0.1), (0.5, 0.9), (0.1, 0.9))
RIGHT_HALF = ((0.5, 0.1), (0.9, 0.1), (0.9, 0.9), (0.5, 0.9))


def test_a_car_on_the_line_between_two_zones_is_one_case() -> None:
    street = Street(parking_rule(zones=(0, 1), zone_names=("left", "right")), polygons=(LEFT_HALF, RIGHT_HALF))
    street.play(5)
    for look in range(100):  # its lower edge has its middle on the line, now on this side and now on that
        street.play(0.2, moved(CAR, 34 if look % 2 else 36))
    street.play(10)
    assert street.told == ["opened", "cleared"]


@pytest.mark.parametrize("kind", ["stationary", "loitering"])
def test_one_thing_in_two_zones_that_overlap_is_one_case(kind: str) -> None:
    rule = parking_rule(kind=kind, zones=(0, 1), zone_names=("one", "two"))
    street = Street(rule)
    street.play(5)
    street.play(20, replace(CAR, first_s=5))
    street.play(10)
    assert street.told == ["opened", "cleared"]
    assert street.changes[0][1].case.zone == "one"


def test_a_car_that_drives_on_to_another_zone_is_cleared_in_the_first() -> None:
    street = Street(parking_rule(zones=(0, 1), zone_names=("left", "right")), polygons=(LEFT_HALF, RIGHT_HALF))
    street.play(5)
    street.play(15, moved(CAR, -30))
    street.play(30, replace(moved(CAR, 80), rest_s=street.now_s))
    assert [(change.kind, change.case.zone) for _, change in street.changes] == [
        ("opened", "left"),
        ("cleared", "left"),
        ("opened", "right"),
    ]


def test_a_second_box_on_the_same_ground_is_no_second_case() -> None:
    street = parked()
    # The detector sees its rear, and in every other look the whole of it as well.
    whole = Thing(seed=0, box=(96, 88, 176, 143), track=9, rest_s=20, drawn=False)
    for _ in range(60):
        street.play(0.2, CAR)
        street.play(0.2, CAR, whole)
    assert street.told == ["opened"]


@pytest.mark.parametrize(
    "beside",
    [
        Thing(seed=12, box=(136, 100, 186, 140), track=2),  # in the next bay: boxes overlap by a quarter
        Thing(seed=12, box=(90, 40, 190, 126), track=2, label="truck"),  # a lorry behind it
    ],
)
def test_two_that_stand_beside_one_another_are_two_cases(beside: Thing) -> None:
    street = Street(parking_rule())
    street.play(5)
    street.play(30, replace(beside, rest_s=5), CAR)
    assert street.told == ["opened", "opened"]


PERSON = Thing(seed=3, box=(100, 80, 120, 140), track=1, label="person")


def test_a_bollard_taken_for_a_person_does_not_loiter() -> None:
    street = Street(person_rule("loitering"))
    street.play(60, replace(PERSON, score=0.9))
    assert street.told == []
    street.play(1, PERSON, Thing(seed=11, box=(90, 80, 125, 150), track=2, label="person"))  # somebody passes it
    street.play(20, PERSON)
    assert street.told == []


def test_a_person_who_was_there_from_the_first_look_and_fidgets_loiters() -> None:
    street = Street(person_rule("loitering"))
    for second in range(20):
        street.play(1, replace(PERSON, seed=100 + second))
    assert street.told == ["opened"]


def test_a_person_who_came_and_then_stood_quite_still_loiters() -> None:
    street = Street(person_rule("loitering"))
    street.play(5)
    street.play(20, replace(PERSON, first_s=5))
    assert street.told == ["opened"]


def test_a_walker_lost_behind_another_is_not_also_the_other() -> None:
    street = Street(person_rule("loitering"))
    street.play(3)
    street.play(12, replace(PERSON, first_s=3))
    other = replace(moved(PERSON, 12), seed=4, track=2, first_s=street.now_s)
    street.play(1, other)  # the first is hidden, and the other was never seen before
    street.play(6, replace(PERSON, first_s=3), moved(other, 40))
    street.play(3, replace(PERSON, first_s=3))
    assert street.told == ["opened"]
    assert street.book.live[0].footprint == PERSON.box


def test_who_comes_in_where_another_went_out_is_somebody_else() -> None:
    whole = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    street = Street(person_rule("loitering"), polygons=(whole,))
    street.play(3)
    for step in range(9):
        street.play(1, replace(moved(PERSON, 110 + 10 * step), first_s=3))
    street.play(0.4, replace(moved(PERSON, 215), drawn=False, carried=True))  # carried on out of the picture
    street.play(6, replace(moved(PERSON, 180), seed=4, track=2, first_s=street.now_s))
    assert street.told == []


def test_live_cases_are_bounded() -> None:
    street = Street(parking_rule())
    street.play(2)
    cars = [
        Thing(
            seed=1, box=(34 + 12 * column, 26 + 11 * row, 42 + 12 * column, 34 + 11 * row), track=20 * row + column + 1
        )
        for row in range(16)
        for column in range(20)
    ]
    street.look(cars)
    assert len(street.book.live) == 256
    assert street.book.refused == len(cars) - 256


@settings(max_examples=8, deadline=None)
@given(x=st.integers(-50, 90), y=st.integers(-40, 60))
@example(x=71, y=-6)  # the ground there looks a little like the car
def test_shifting_the_scene_shifts_the_alerts(x: int, y: int) -> None:
    def run(dx: int, dy: int) -> list[tuple[float, str, tuple[int, ...]]]:
        street = Street(parking_rule())
        street.play(4)
        street.play(12, moved(replace(CAR, rest_s=4), dx, dy))
        street.play(8)
        return [
            (when, change.kind, tuple(round(edge) for edge in change.case.footprint)) for when, change in street.changes
        ]

    plain, shifted = run(0, 0), run(x, y)
    assert [(when, kind) for when, kind, _ in plain] == [(when, kind) for when, kind, _ in shifted]
    for (_, _, box), (_, _, other) in zip(plain, shifted, strict=True):
        assert other == (box[0] + x, box[1] + y, box[2] + x, box[3] + y)


def test_a_crowd_in_two_parts_is_no_more_than_its_parts_are() -> None:
    people = [
        Thing(30 + row, (60 + 20 * row, 100, 76 + 20 * row, 150), track=row + 1, label="person") for row in range(8)
    ]
    street = Street(person_rule("gathering", people_min=4, spacing=1.5, stay_ns=2 * NS_PER_S))
    find = street.scenario.find

    def parted(scene: Scene) -> Findings:
        halves = take(find(scene), [0, 0])
        return replace(halves, extent=np.full(len(halves), LASTS, np.int8))

    street.play(5, *people)
    assert len(street.book.live) == 1
    street.scenario.find = parted  # type: ignore[method-assign]
    street.play(20, *people)
    assert street.told == []  # enough for an open case to go on, and none is


@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(4)))
def test_the_order_of_findings_does_not_matter(order: list[int]) -> None:
    cars = [Thing(seed=40 + row, box=(40 + 60 * row, 100, 85 + 60 * row, 140), track=row + 1) for row in range(4)]

    def run(rows: list[int]) -> set[str]:
        street = Street(parking_rule())
        find = street.scenario.find
        street.scenario.find = lambda scene: take(find(scene), rows)  # type: ignore[method-assign]
        street.play(12, *cars)
        return {change.case.case_id for _, change in street.changes}

    assert run(list(order)) == run([0, 1, 2, 3])


def take(findings: Findings, order: list[int]) -> Findings:
    rows = np.array([row for row in order if row < len(findings)], np.int64)
    return Findings(
        findings.zone[rows],
        findings.xyxy[rows],
        findings.label[rows],
        findings.score[rows],
        findings.track_id[rows],
        findings.since_ns[rows],
        findings.count[rows],
        findings.reasons[rows],
    )


@pytest.mark.parametrize("shift", [(3, 0), (4, 1), (5, 1)])
def test_a_car_that_looks_much_the_same_is_another_if_the_first_drove_off(
    shift: tuple[float, float],
) -> None:
    """A third to a half of its picture agrees with the first one's, as two cars of one make and colour may."""
    street = parked()
    second = replace(moved(CAR, *shift), track=2)
    seen = appearance.luma_patch(street._picture([second], 1.0), np.array(CAR.box, np.float32))
    agrees = appearance.agreement(street.book._lives[0].patch, seen)
    print(f"agreement {agrees:.2f}")
    assert 0.3 <= agrees < 0.7
    for step in range(1, 6):
        street.play(0.4, moved(CAR, 30 * step))
    street.play(10)
    street.play(30, replace(second, rest_s=street.now_s))
    opened = [change.case.case_id for _, change in street.changes if change.kind == "opened"]
    assert len(set(opened)) == 2
    assert sorted(street.told) == ["cleared", "opened", "opened"]


def test_a_lorry_that_takes_the_cars_track_along_does_not_end_its_case() -> None:
    street = parked()
    street.play(4, replace(CAR, track=0), replace(LORRY, track=3))
    for step in range(1, 6):  # the lorry drives off under the car's number
        street.play(0.4, replace(CAR, track=0), replace(moved(LORRY, 25 * step), track=1))
    street.play(30, replace(CAR, track=9, rest_s=street.now_s))
    assert street.told == ["opened"]


def test_a_case_does_not_follow_its_track_that_slides_off_with_a_vehicle_that_passes() -> None:
    """For half a second the tracker holds it to be at rest as before."""
    street = parked()
    for step in range(1, 4):
        passer = moved(replace(CAR, seed=9, track=0), 22 * step)
        street.play(0.2, CAR_BEHIND, passer, replace(passer, track=1, drawn=False))
    street.play(20, replace(CAR, track=2, rest_s=street.now_s))
    assert street.told == ["opened"]
    assert street.book.live[0].footprint == pytest.approx(CAR.box, abs=2)


def test_the_last_of_a_car_that_is_seen_beside_a_lorry_is_not_its_leaving() -> None:
    street = parked()
    last = replace(CAR, box=(100, 100, 112, 130), drawn=False)
    street.play(1, CAR_BEHIND, moved(LORRY, 32), last)
    street.play(20, CAR_BEHIND, LORRY)
    street.play(10, replace(CAR, track=5, rest_s=street.now_s))
    assert street.told == ["opened"]


@pytest.mark.parametrize("look", ["hazard lights", "an open door", "headlights"])
def test_a_driver_in_the_car_does_not_begin_its_time_anew(look: str) -> None:
    street = Street(parking_rule(after_ns=20 * NS_PER_S))
    street.play(5)
    lamps = [(102, 122, 108, 128), (142, 122, 148, 128)]
    parts = {"hazard lights": lamps, "an open door": [(94, 108, 106, 134)], "headlights": lamps}[look]
    extra = [Thing(seed=5000 + row, box=box) for row, box in enumerate(parts)]
    for blink in range(60):
        lit = blink % 2 if look == "hazard lights" else blink > 20
        street.play(0.4, CAR, *(extra if lit else ()))
    assert street.told == ["opened"]
    assert street.at("opened") == [pytest.approx(25, abs=1)]
    assert street.changes[0][1].case.started_ns == 5 * NS_PER_S
    for blink in range(50):  # the detector misses it: its picture must do
        street.play(0.4, replace(CAR, track=0), *(extra if blink % 2 else ()))
    assert street.told == ["opened"]


@pytest.mark.parametrize("walker", [False, True])
def test_a_heap_whose_rim_is_seen_first_is_one_case_as_large_as_the_heap(walker: bool) -> None:
    street = Street(parking_rule("left_object", scenario="piled-goods", after_ns=12 * NS_PER_S))
    heap = Thing(seed=6, box=(124, 140, 199, 168), rest_s=7.0, region=True)
    rim = Thing(seed=5, box=(124, 140, 129, 153), rest_s=5.2, region=True, drawn=False)
    carrier = Thing(seed=3, box=(130, 90, 200, 168), track=1, label="person")
    street.play(7)
    street.play(2, replace(heap, region=False), rim, carrier)
    if walker:  # he goes off over the heap, which is a region meanwhile
        street.play(1, heap, replace(carrier, box=(110, 90, 135, 168)))
    street.play(30, heap)
    assert street.told == ["opened"]
    box = street.changes[0][1].case.footprint
    print(f"opened at {street.at('opened')} with {box}")
    assert box == pytest.approx(heap.box, abs=3)
    assert street.at("opened") == [pytest.approx(17.2, abs=2.0)]


def test_ground_that_is_uncovered_bit_by_bit_is_no_goods() -> None:
    street = Street(parking_rule("left_object", scenario="piled-goods", after_ns=12 * NS_PER_S))
    ground = Thing(seed=6, box=(101, 186, 141, 217), rest_s=5.0, region=True, drawn=False)
    street.play(8)
    street.play(0.6, ground)  # half of it is seen: to the model it stands out
    street.play(0.6, replace(ground, box=(101, 185, 141, 217), appeared=False))  # all of it: it was the thing that did
    street.play(30)
    assert street.told == []
    assert street.book.live == []
