"""Cases over the end of a process: whoever goes on with them tells what would have been told without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.core.scenarios import Rule
from edge.core.types import NS_PER_S, Case, CaseChange, seconds_to_ns
from edge.state.database import Database
from tests.street import Street, Thing, parking_rule, person_rule

CAR = Thing(seed=7, box=(100, 100, 150, 140), track=1, rest_s=5)
CAPTION = Thing(seed=7, box=(100, 100, 150, 140), track=1, score=0.36)
CRATE = Thing(seed=6, box=(120, 120, 150, 145), rest_s=5, region=True)
PERSON = Thing(seed=3, box=(100, 80, 120, 140), track=1, label="person", first_s=3)
GROUP = tuple(
    replace(PERSON, seed=30 + row, box=(80 + 30 * row, 90, 96 + 30 * row, 140), track=row) for row in range(1, 5)
)
FOUND_WITHIN_S = 3  # a thing must stand, a group stay, before it is a case in the making


@dataclass(frozen=True)
class Story:
    """What is to be seen on a street, second by second, and the rule that judges it."""

    rule: Rule
    acts: Sequence[tuple[int, Sequence[Thing]]]  # seconds, and what stands there meanwhile
    from_s: int = 1  # a process that has just begun has seen nothing come: whoever comes then is judged as a fixture

    def told(self, *, restart_s: int = -1, away_s: float = 0) -> list[CaseChange]:
        """Everything that is told, with a restart before that second or without."""
        street = Street(self.rule)
        changes: list[CaseChange] = []
        for second, things in enumerate(self._seconds()):
            if second == restart_s:
                changes += [change for _, change in street.changes]
                street = restarted(street, away_s=away_s)
            street.play(1, *(known_since(thing, street) for thing in things))
        return changes + [change for _, change in street.changes]

    def _seconds(self) -> list[Sequence[Thing]]:
        return [things for seconds, things in self.acts for _ in range(seconds)]


@dataclass
class NextStreet(Street):
    """The same street, seen by a process that knows nothing but what was saved."""

    began_s: float = 0.0


def restarted(street: Street, *, away_s: float = 0, zoom: float = 1.0, put_back_s: float = 0) -> NextStreet:
    """Through the database and back, as the worker's processes do it; the wall clock may be `put_back_s` meanwhile."""
    now_s = round(street.now_s + away_s, 6)
    again = NextStreet(street.rule, now_s=now_s, zoom=zoom, began_s=now_s)
    with Database.open(":memory:") as database:
        database.save_running("c", street.book.live)
        known = database.running_cases("c", mono_to_wall=-seconds_to_ns(put_back_s))
    again.book.restore(known, now_ns=seconds_to_ns(now_s))
    return again


def known_since(thing: Thing, street: Street) -> Thing:
    """A tracker numbers and times all anew, the static-object model as well."""
    if not isinstance(street, NextStreet) or not (thing.track or thing.region):
        return thing
    began_s = street.began_s
    track = thing.track + 50 if thing.track else 0
    return replace(thing, track=track, rest_s=max(thing.rest_s, began_s), first_s=max(thing.first_s, began_s))


STORIES = {
    "a car that parks and leaves": Story(parking_rule(), ((5, ()), (20, (CAR,)), (15, ()))),
    "a car that is told of again": Story(parking_rule(repeat_ns=10 * NS_PER_S), ((5, ()), (35, (CAR,)), (3, ()))),
    "a caption": Story(parking_rule(), ((40, (CAPTION,)),)),
    "a sure thing that was always there": Story(parking_rule(), ((20, (replace(CAPTION, score=0.8),)), (15, ()))),
    "a dim car that arrives": Story(parking_rule(), ((5, ()), (20, (replace(CAR, score=0.36),)), (15, ())), from_s=8),
    "a crate": Story(
        parking_rule(kind="left_object", scenario="piled-goods", size_min=0.0005), ((5, ()), (20, (CRATE,)), (15, ()))
    ),
    "a loiterer": Story(person_rule("loitering"), ((3, ()), (20, (PERSON,)), (15, ())), from_s=6),
    "a bollard": Story(person_rule("loitering"), ((40, (replace(PERSON, score=0.9, first_s=0),)),)),
    "a gathering": Story(
        person_rule("gathering", people_min=4, spacing=1.5, stay_ns=2 * NS_PER_S), ((3, ()), (20, GROUP), (20, ()))
    ),
}


@lru_cache
def told_without_a_restart(name: str) -> list[CaseChange]:
    return STORIES[name].told()


@pytest.mark.parametrize("name", STORIES)
@settings(max_examples=6, deadline=None)
@given(restart_s=st.integers(1, 43), away_s=st.sampled_from([0.2, 3.0, 5.0]))
@example(restart_s=14, away_s=3.0)
@example(restart_s=24, away_s=3.0)
def test_a_restart_at_any_moment_changes_nothing_that_is_told(name: str, restart_s: int, away_s: float) -> None:
    restart_s = max(restart_s, STORIES[name].from_s)
    through = told_without_a_restart(name)
    over = STORIES[name].told(restart_s=restart_s, away_s=away_s)
    late_s = away_s + STORIES[name].rule.found_within_ns / NS_PER_S + 1  # everybody must be found anew
    assert [change.kind for change in over] == [change.kind for change in through]
    assert [change.case.alerts for change in over] == [change.case.alerts for change in through]
    for first, second in zip(through, over, strict=True):
        known = first.case.started_ns + FOUND_WITHIN_S * NS_PER_S <= restart_s * NS_PER_S
        assert not known or first.case.case_id == second.case.case_id
        assert -1 <= (moment(second.case) - moment(first.case)) / NS_PER_S <= late_s


def moment(case: Case) -> int:
    return case.cleared_ns or case.grounds.told_ns


def test_a_caption_is_held_back_through_any_number_of_restarts() -> None:
    street = Street(parking_rule())
    street.play(30, CAPTION)
    for _ in range(10):
        street = restarted(street, away_s=3)
        street.play(12, known_since(CAPTION, street))
        assert street.told == []


def test_a_camera_that_comes_back_with_another_resolution_after_a_restart_keeps_its_case() -> None:
    street = Street(parking_rule())
    street.play(5)
    street.play(15, CAR)
    (before,) = street.book.live
    again = restarted(street, away_s=3, zoom=0.5)
    again.play(20, known_since(CAR, again))
    assert again.told == []
    (after,) = again.book.live
    assert after.case_id == before.case_id
    assert after.footprint == pytest.approx((50, 50, 75, 70), abs=1.5)
    assert after.frame_px == (160, 120)
    again.play(10)
    assert again.told == ["cleared"]


@pytest.mark.parametrize("put_back_s", [0.5, 8 * 3600.0, 20_000 * 86_400.0])
def test_a_case_is_cleared_although_the_wall_clock_was_put_back(put_back_s: float) -> None:
    street = Street(parking_rule())
    street.play(5)
    street.play(15, CAR)
    again = restarted(street, away_s=0.2, put_back_s=put_back_s)
    assert again.book.live[0].last_seen_ns < seconds_to_ns(again.now_s)
    again.play(5, known_since(CAR, again))
    assert again.told == []
    again.play(10)
    assert again.told == ["cleared"]
    case = again.changes[0][1].case
    assert 15 <= (case.last_seen_ns - case.started_ns) / NS_PER_S <= 21
