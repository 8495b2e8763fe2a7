"""Nobody comes: only time that was looked at counts, a sign of life ends it, a false person of one look does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from edge.core.scenarios import Rule
from edge.core.types import NS_PER_S, UInt8, seconds_to_ns
from edge.state.database import Database
from tests.street import Box, Street, Thing, person_rule

HOUR_S = 3600.0
SHORT_S = 600.0  # what most tests take for an hour, since an hour is 120 looks
LOOK_S = 30.0  # the longest that is still looked at without a gap
TOLD_S = 2 * LOOK_S  # how late a look may be that tells

# Where somebody stands in each look of a passage through the door, 0.8 body heights a second.
PASSAGE: tuple[Box, ...] = tuple((60 + 10.0 * step, 80, 84 + 10.0 * step, 140) for step in range(6))


def absence(hour_s: float = SHORT_S, **changes: object) -> Rule:
    """Six hours without a sign of life."""
    return person_rule(
        "absence",
        **{
            "scenario": "no-activity",
            "zone_names": ("door",),
            "after_ns": seconds_to_ns(6 * hour_s),
            "clear_after_ns": 0,
            "stay_ns": 2 * NS_PER_S // 5,
            "moving": True,
            **changes,
        },
    )


@dataclass
class Home(Street):
    """A street, or the way to a door, with nobody in it but who is named."""

    step_s: float = LOOK_S
    hour_s: float = SHORT_S

    def _picture(self, things: Sequence[Thing], gain: float) -> UInt8:
        """Nothing is drawn: the rule goes by tracks, and six hours are many pictures."""
        return self._ground if gain else np.zeros_like(self._ground)

    def nobody(self, hours: float, *, active: bool = True) -> None:
        self.play(hours * self.hour_s, active=active)

    def blind(self, hours: float) -> None:
        self.play(hours * self.hour_s, gain=0.0)
        self.scenario.interrupt()
        self.book.interrupt()

    def seen(self, *boxes: Box, track: int = 1, active: bool = True) -> None:
        """One person, five looks a second, at these places."""
        self.step_s = 0.2
        for box in boxes:
            self.play(0.2, Thing(9, box, track=track, label="person", rest_s=self.now_s), active=active)
        self.step_s = LOOK_S

    def restarted(self, *, away_hours: float, looks_before: int = 0) -> Home:
        """Another process goes on with what was saved, and may look before it knows what that was."""
        again = Home(self.rule, hour_s=self.hour_s, now_s=self.now_s + away_hours * self.hour_s)
        again.play(looks_before * LOOK_S)
        with Database.open(":memory:") as database:
            database.save_running("c", self.book.live)
            known = database.running_cases("c", mono_to_wall=0)
        again.book.restore(known, now_ns=round(again.now_s * NS_PER_S))
        return again

    @property
    def told_hours(self) -> list[float]:
        return [round(when / self.hour_s, 2) for when, _ in self.changes]


def test_six_hours_of_which_one_was_blind_alarm_only_when_six_were_seen() -> None:
    home = Home(absence(HOUR_S), hour_s=HOUR_S)
    home.nobody(2)
    home.blind(1)
    home.nobody(3.9)
    assert home.told == []
    home.nobody(0.2)
    (opened,) = home.at("opened")
    print(f"nobody for six seen hours with one blind: told after {opened / HOUR_S:.2f} h")
    assert 7 * HOUR_S <= opened <= 7 * HOUR_S + TOLD_S
    case = home.changes[0][1].case
    assert (case.label, case.zone, case.visible_ns) == (
        "person",
        "door",
        pytest.approx(6 * HOUR_S * NS_PER_S, rel=0.01),
    )
    assert case.footprint == pytest.approx((32, 24, 288, 216))  # the zone


@pytest.mark.parametrize("looks_before", [0, 3])
def test_a_restart_and_the_time_until_it_cost_nothing_and_count_for_nothing(looks_before: int) -> None:
    home = Home(absence())
    home.nobody(3)
    again = home.restarted(away_hours=2, looks_before=looks_before)
    again.nobody(2.9)
    assert again.told == []
    again.nobody(0.2)
    (opened,) = again.at("opened")
    print(f"three hours, two away, three hours: told after {opened / SHORT_S:.2f} h")
    assert 8 * SHORT_S <= opened <= 8 * SHORT_S + TOLD_S + looks_before * LOOK_S
    assert len(again.book.live) == 1


def test_somebody_who_walks_through_in_a_second_sets_the_clock_back() -> None:
    home = Home(absence())
    home.nobody(5)
    home.seen(*PASSAGE)
    home.nobody(5.9)
    assert home.told == []
    home.nobody(0.2)
    assert home.told == ["opened"]
    assert home.changes[0][1].case.started_ns == pytest.approx(5 * SHORT_S * NS_PER_S, abs=2 * NS_PER_S)


def test_a_sign_of_life_before_blind_time_is_not_forgotten_in_it() -> None:
    home = Home(absence())
    home.nobody(5)
    home.seen(*PASSAGE)
    home.blind(1)
    home.nobody(5.9)
    assert home.told == []
    assert len(home.book.live) == 1


@pytest.mark.parametrize("looks", [1, 2])
def test_a_false_person_of_a_look_or_two_does_not_set_the_clock_back(looks: int) -> None:
    home = Home(absence())
    home.nobody(5)
    home.seen(*PASSAGE[:looks])
    home.nobody(1.1)
    assert home.told == ["opened"]


def test_a_coat_on_a_hook_that_looks_like_a_person_does_not_live() -> None:
    home = Home(absence())
    random = np.random.default_rng(1)
    for track in range(1, 40):  # found and lost again and again, trembling
        tremble = random.normal(0, 2, (10, 4))
        home.seen(*(tuple(np.array(PASSAGE[0]) + shift) for shift in tremble), track=track)  # type: ignore[arg-type]
        home.nobody(0.2)
    assert home.told == ["opened"]


def test_a_sign_of_life_ends_the_case_with_its_own_reason_and_the_next_absence_is_another() -> None:
    home = Home(absence())
    home.nobody(6.1)
    home.seen(*PASSAGE)
    assert [(change.kind, change.reason) for _, change in home.changes] == [("opened", ""), ("cleared", "activity")]
    home.nobody(6.1)
    assert home.told == ["opened", "cleared", "opened"]
    assert len({change.case.case_id for _, change in home.changes}) == 2


def test_an_open_case_goes_on_over_a_restart_and_ends_by_a_sign_of_life() -> None:
    home = Home(absence())
    home.nobody(6.1)
    again = home.restarted(away_hours=1)
    again.nobody(1)
    assert again.told == []
    again.seen(*PASSAGE)
    assert again.told == ["cleared"]
    assert again.changes[0][1].case.case_id == home.changes[0][1].case.case_id


def test_outside_its_hours_the_clock_stands_still_and_goes_on_afterwards() -> None:
    home = Home(absence())
    home.nobody(4)
    home.nobody(8, active=False)
    assert home.told == []
    home.nobody(1.9)
    assert home.told == []
    home.nobody(0.2)
    assert home.told_hours == pytest.approx([14], abs=0.2)


def test_a_sign_of_life_outside_its_hours_counts() -> None:
    home = Home(absence())
    home.nobody(5)
    home.seen(*PASSAGE, active=False)
    home.nobody(1, active=False)
    home.nobody(5.9)
    assert home.told == []
    home.nobody(1)
    assert home.told == ["opened"]
    home.seen(*PASSAGE, active=False)
    assert home.told == ["opened", "cleared"]


def test_each_zone_has_a_clock_of_its_own() -> None:
    rule = absence(zones=(0, 1), zone_names=("left", "right"))
    halves = [((0, 0), (0.5, 0), (0.5, 1), (0, 1)), ((0.5, 0), (1, 0), (1, 1), (0.5, 1))]
    home = Home(rule, polygons=halves)
    home.nobody(3)
    home.seen(*PASSAGE)  # x 60 to 134: on the left
    home.nobody(3.1)
    assert [change.case.zone for _, change in home.changes] == ["right"]


def test_a_guard_who_sits_still_is_there_and_one_who_walks_past_is_not() -> None:
    post = absence(after_ns=600 * NS_PER_S, clear_after_ns=5 * NS_PER_S, stay_ns=3 * NS_PER_S, moving=False)
    home = Home(post)
    guard = Thing(9, PASSAGE[0], track=1, label="person")
    home.play(1800, guard)
    assert home.told == []
    home.play(300)
    home.seen(*PASSAGE, track=2)
    home.play(390)
    assert home.at("opened") == pytest.approx([2400], abs=TOLD_S)
    home.step_s = 0.2
    home.play(10, Thing(9, PASSAGE[0], track=3, label="person"))
    assert home.told == ["opened", "cleared"]
