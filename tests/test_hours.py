"""The opening hours end cases although nobody was looking when they ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.clock import minute_of_week
from edge.config.schedule import ALWAYS, Schedule, parse_schedule
from edge.core.cases import CaseBook
from edge.core.memory import StreetMemory
from edge.core.scenarios import scenario_for
from edge.core.scene import Scene
from edge.core.types import NS_PER_S, OPENED, PENDING, Case, CaseChange, Detections, Frame, StaticRegions
from edge.core.zones import ZoneMap
from edge.runtime.watch import Watch
from tests.street import KERB, Street, Thing, parking_rule

SHANGHAI = ZoneInfo("Asia/Shanghai")
CAR = Thing(seed=7, box=(100, 100, 150, 140), track=1)
HOURS = parse_schedule("Mon-Sun 07:00-22:00")


def wall_ns(text: str, zone: ZoneInfo = SHANGHAI) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) * NS_PER_S


def held(schedule: Schedule, known_wall_ns: int, now_wall_ns: int, zone: ZoneInfo) -> bool:
    return schedule.holds_since(known_wall_ns, now_wall_ns, lambda moment_ns: minute_of_week(moment_ns, zone))


class Kerb:
    """A watch over a kerb where a car stands; its monotonic clock begins at the first of its times."""

    def __init__(self, begin: str, hours: Schedule = HOURS) -> None:
        self.hours = hours
        self.begin_wall_ns = wall_ns(begin)
        self.street = Street(parking_rule())
        self.zones = ZoneMap([np.array(KERB, np.float32)])
        self.start_process()

    def start_process(self, cases: list[Case] | None = None, *, at: str = "") -> None:
        rule = parking_rule()
        book = CaseBook(rule, camera="c", gateway="s/g")
        if cases:
            book.restore(cases, now_ns=wall_ns(at) - self.begin_wall_ns)
        scenario = scenario_for(rule, [np.array(KERB, np.float32)])
        self.watch = Watch(scenario, book, lambda known, now: held(self.hours, known, now, SHANGHAI))
        self.memory = StreetMemory()

    def look(self, at: str, seconds: float) -> list[CaseChange]:
        """Five looks a second from then on."""
        first_ns = wall_ns(at) - self.begin_wall_ns
        changes = []
        for step in range(round(seconds * 5)):
            now_ns = first_ns + step * NS_PER_S // 5
            self.street.now_s = now_ns / NS_PER_S
            frame = Frame("c", 0, now_ns, self.begin_wall_ns + now_ns, self.street._picture([CAR], 1.0))
            tracks = self.street._tracks([replace(CAR, rest_s=first_ns / NS_PER_S)])
            width, height = frame.size_px
            presence = {"bottom": self.zones.locate(tracks, width=width, height=height, mono_ns=now_ns)}
            scene = Scene(frame, Detections.empty(), tracks, presence, StaticRegions.empty(), self.memory)
            changes += self.watch.judge(self.watch.find(scene), scene)
            self.memory.keep(frame)
        return changes


@pytest.mark.parametrize("restart", [False, True])
def test_a_case_of_yesterday_is_cleared_by_hours_that_ended_while_nobody_looked(restart: bool) -> None:
    kerb = Kerb("2026-05-04T21:00:00")
    kerb.look("2026-05-04T21:00:00", 20)
    (case,) = kerb.watch.cases.live
    assert case.state == OPENED
    if restart:
        kerb.start_process([case], at="2026-05-05T08:00:00")
    first, again = kerb.look("2026-05-05T08:00:00", 30)
    assert (first.kind, first.reason, first.case.case_id) == ("cleared", "hours", case.case_id)
    assert again.kind == "opened"
    assert again.case.case_id != case.case_id
    assert again.case.started_wall_ns >= wall_ns("2026-05-05T08:00:00")


@pytest.mark.parametrize("restart", [False, True])
def test_a_case_in_the_making_of_yesterday_is_dropped(restart: bool) -> None:
    kerb = Kerb("2026-05-04T21:59:40")
    kerb.look("2026-05-04T21:59:40", 6)
    (case,) = kerb.watch.cases.live
    assert case.state == PENDING
    if restart:
        kerb.start_process([case], at="2026-05-05T07:00:05")
    assert kerb.look("2026-05-05T07:00:05", 8) == []
    assert [live.case_id == case.case_id for live in kerb.watch.cases.live] == [False]


@pytest.mark.parametrize("restart", [False, True])
def test_a_gap_within_the_hours_ends_nothing(restart: bool) -> None:
    kerb = Kerb("2026-05-04T07:00:00")
    kerb.look("2026-05-04T07:00:00", 20)
    (case,) = kerb.watch.cases.live
    if restart:
        kerb.start_process([case], at="2026-05-04T21:59:00")
    assert kerb.look("2026-05-04T21:59:00", 20) == []
    assert [live.case_id for live in kerb.watch.cases.live] == [case.case_id]


def test_a_case_is_cleared_when_the_time_begins_in_which_it_is_allowed() -> None:
    kerb = Kerb("2026-05-04T05:59:30", hours=ALWAYS.without(parse_schedule("Mon-Fri 06:00-09:00")))
    (opened,) = kerb.look("2026-05-04T05:59:30", 29)
    (cleared,) = kerb.look("2026-05-04T06:00:00", 30)
    assert (opened.kind, cleared.kind, cleared.reason) == ("opened", "cleared", "hours")
    (again,) = kerb.look("2026-05-04T08:59:45", 30)
    assert again.kind == "opened"
    assert again.case.started_wall_ns >= wall_ns("2026-05-04T08:59:59")


def test_hours_that_begin_now_hold_from_their_first_look() -> None:
    before, now = wall_ns("2026-05-04T06:59:59"), wall_ns("2026-05-04T07:00:00")
    assert held(HOURS, before, now, SHANGHAI)
    assert not held(HOURS, before, before, SHANGHAI)


def test_an_hour_that_comes_twice_ends_nothing_that_is_always_open() -> None:
    """In Berlin the clock goes from 03:00 back to 02:00 on 25 October 2026."""
    berlin = ZoneInfo("Europe/Berlin")
    before = wall_ns("2026-10-25T02:59:30", berlin)
    allday = parse_schedule("Sun 00:00-24:00")
    night = parse_schedule("Sun 00:00-02:30; Sun 02:50-24:00")
    assert minute_of_week(before + 60 * NS_PER_S, berlin) < minute_of_week(before, berlin)
    assert held(allday, before, before + 60 * NS_PER_S, berlin)
    assert held(night, before, before + 60 * NS_PER_S, berlin)
    assert not held(night, before, before + 3600 * NS_PER_S, berlin)


@settings(max_examples=150, deadline=None)
@given(
    known_s=st.integers(0, 14 * 86_400),
    gap_s=st.integers(0, 3 * 86_400) | st.integers(0, 180),
    begin=st.integers(0, 1438),
    length=st.integers(1, 1439),
)
def test_any_closed_minute_in_between_is_found(known_s: int, gap_s: int, begin: int, length: int) -> None:
    end = min(begin + length, 1440)
    schedule = parse_schedule(f"Mon-Sun {begin // 60:02d}:{begin % 60:02d}-{end // 60:02d}:{end % 60:02d}")
    known = wall_ns("2026-05-04T00:00:00") + known_s * NS_PER_S
    now = known + gap_s * NS_PER_S
    minute_ns = 60 * NS_PER_S
    began_since = range(known // minute_ns + 1, now // minute_ns + 1)
    expected = all(
        schedule.holds(minute_of_week(minute * minute_ns, SHANGHAI)) for minute in (*began_since, now // minute_ns)
    )
    assert held(schedule, known, now, SHANGHAI) == expected
