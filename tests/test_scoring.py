"""The scoring rule of the ground truth, clause by clause."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from edge.core.scoring import ToldCase, TrueEvent, poisson_upper, score, total, wilson_interval

EVENT = TrueEvent("illegal-parking", 10.0, 40.0, (100, 100, 140, 130), after_s=5, clear_after_s=5)
CASE = ToldCase("a", "illegal-parking", (102, 101, 141, 131), opened_s=15.4, cleared_s=46.0)


def test_one_alert_in_time_and_place_finds_the_event() -> None:
    clip = score([EVENT], [CASE])
    assert clip.events[0].found == CASE
    assert clip.events[0].cleared_in_time is True
    assert clip.false_alarms == ()
    assert abs(clip.events[0].onset_error_s - 0.4) < 1e-9


def test_the_window_of_opening_is_two_before_to_ten_after() -> None:
    for opened_s, found in ((12.9, False), (13.0, True), (25.0, True), (25.1, False)):
        clip = score([EVENT], [replace(CASE, opened_s=opened_s)])
        assert (clip.events[0].found is not None) is found
        assert len(clip.false_alarms) == (0 if found else 1)


def test_a_box_that_holds_the_centre_counts_unless_it_is_huge() -> None:
    assert score([EVENT], [replace(CASE, box_px=(60, 60, 180, 170))]).events[0].found is not None
    assert score([EVENT], [replace(CASE, box_px=(0, 0, 640, 360))]).events[0].found is None
    assert score([EVENT], [replace(CASE, box_px=(300, 100, 340, 130))]).events[0].found is None


def test_a_second_alert_is_a_duplicate_and_one_elsewhere_a_false_alarm() -> None:
    again = replace(CASE, case_id="b", opened_s=30.0)
    elsewhere = replace(CASE, case_id="c", box_px=(300, 10, 330, 40))
    clip = score([EVENT], [CASE, again, elsewhere])
    assert clip.events[0].duplicates == 1
    assert clip.false_alarms == (elsewhere,)


def test_another_scenario_finds_nothing() -> None:
    clip = score([EVENT], [replace(CASE, scenario="piled-goods")])
    assert clip.events[0].found is None
    assert len(clip.false_alarms) == 1


def test_clearance_has_its_own_window() -> None:
    for cleared_s, right in ((39.9, False), (40.0, True), (50.0, True), (50.1, False), (None, False)):
        assert score([EVENT], [replace(CASE, cleared_s=cleared_s)]).events[0].cleared_in_time is right
    assert score([replace(EVENT, end_s=None)], [CASE]).events[0].cleared_in_time is None


def test_totals_are_honest_about_nothing() -> None:
    nothing = total([score([], [])], media_s=3600)
    assert math.isnan(nothing.precision)
    assert math.isnan(nothing.f1)
    assert nothing.false_alarms_per_camera_hour == 0
    found = total([score([EVENT], [CASE]), score([], [CASE])], media_s=1800)
    assert (found.found, found.false_alarms) == (1, 1)
    assert found.precision == 0.5
    assert found.false_alarms_per_camera_hour == 2
    missed = total([score([EVENT], [])], media_s=60)
    assert (missed.recall, missed.f1) == (0, 0)


def test_the_next_car_in_the_same_bay_is_found_and_no_duplicate() -> None:
    left = replace(EVENT, start_s=0, end_s=100, after_s=10, clear_after_s=20)
    followed = replace(left, start_s=105, end_s=None)
    first, second = replace(CASE, opened_s=10, cleared_s=121), replace(CASE, case_id="b", opened_s=115, cleared_s=None)
    for events in ([left, followed], [followed, left]):
        clip = score(events, [first, second])
        assert {scored.event: scored.found for scored in clip.events} == {left: first, followed: second}
        assert [scored.duplicates for scored in clip.events] == [0, 0]
        assert clip.false_alarms == ()


def test_of_two_cases_in_time_the_one_nearest_to_the_onset_finds_the_event() -> None:
    early, near = replace(CASE, opened_s=13.1), replace(CASE, case_id="b", opened_s=15.2)
    clip = score([EVENT], [early, near])
    assert clip.events[0].found == near
    assert clip.events[0].duplicates == 1


def test_no_event_goes_without_because_a_neighbour_took_the_only_case_that_it_could_have() -> None:
    """The near case would do for both, the other one for the first alone."""
    first, second = EVENT, replace(EVENT, start_s=18)
    only_first, both = replace(CASE, opened_s=13.5), replace(CASE, case_id="b", opened_s=22.0)
    clip = score([first, second], [only_first, both])
    assert [scored.found for scored in clip.events] == [only_first, both]


def test_no_false_alarm_in_some_hours_is_a_rate_below_three_by_the_hours() -> None:
    quiet = total([score([], [])], media_s=3 * 3600)
    assert quiet.false_alarms_per_camera_hour == 0
    assert abs(quiet.false_alarms_per_camera_hour_max - 1.0) < 0.002


def test_the_limits_are_those_of_the_tables() -> None:
    """Garwood's upper limits at 95 %, and Wilson's interval as in Newcombe 1998 (81 of 263, and 0 of 20)."""
    for count, upper in ((0, 2.996), (1, 4.744), (2, 6.296), (10, 16.962), (100, 118.079)):
        assert abs(poisson_upper(count) - upper) < 0.001
    for (hits, of), (low, high) in (((81, 263), (0.2553, 0.3662)), ((0, 20), (0.0, 0.1611)), ((10, 10), (0.7225, 1.0))):
        assert np.allclose(wilson_interval(hits, of), (low, high), atol=1e-4)
    assert np.isnan(wilson_interval(0, 0)).all()
