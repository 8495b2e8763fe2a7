"""Gatherings that matter only when they come again: what counts as a day, when a case opens, and what is kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import av
import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.clock import local_day
from edge.config.loader import load_site
from edge.core.recurrence import Diary, Recurrence
from edge.core.scenarios import Rule
from edge.core.types import NS_PER_S, CaseChange, Occurrence, seconds_to_ns
from edge.delivery.schema import alert_schema
from edge.resources import configs_dir
from edge.state.database import Database
from edge.state.occurrences import Occurrences
from edge.wiring.recorded import ReplayOrder, replay
from tests.street import Street, Thing, person_rule

DAY_S = 86_400
NINE_S = 9 * 3600
PEOPLE = tuple(
    Thing(seed=30 + row, box=(60 + 28 * row, 100, 76 + 28 * row, 150), track=row + 1, label="person", drawn=False)
    for row in range(5)
)


def sales_rule(times_min: int = 3, within_days: int = 7, **changes: object) -> Rule:
    settings: dict[str, object] = {
        "scenario": "product-promotion-gathering",
        "people_min": 4,
        "spacing": 1.5,
        "stay_ns": 2 * NS_PER_S,
    }
    return person_rule("repeated_gathering", times_min=times_min, within_days=within_days, **{**settings, **changes})


def meeting(street: Street, day: int, *, seconds: float = 20, people: Sequence[Thing] = PEOPLE) -> None:
    """At nine o'clock of that day they come, stay, and leave; the hours end a while later."""
    street.now_s = max(day * DAY_S + NINE_S, street.now_s)
    street.play(2)
    street.play(seconds, *people)
    street.play(20)
    street.play(1, active=False)


def opened_on(changes: Sequence[tuple[float, CaseChange]]) -> list[int]:
    return [int(when // DAY_S) for when, change in changes if change.kind == "opened"]


@pytest.mark.parametrize(
    ("days", "opened"),
    [
        ((0, 1), []),
        ((0, 1, 2), [2]),
        ((0, 3, 6), [6]),
        ((0, 4, 7), []),  # the first is a week ago when the third comes
        ((0, 1, 2, 3, 9), [2, 3]),
        ((0, 0, 0, 0), []),  # four times in one morning are one day
        ((0, 1, 2, 2, 2), [2]),  # and once told is told
    ],
)
def test_a_case_opens_with_the_third_day_within_a_week_and_once_a_day(days: Sequence[int], opened: list[int]) -> None:
    street = Street(sales_rule(), step_s=1)
    for day in days:
        meeting(street, day)
    print(f"gathered on days {days}: opened on {opened_on(street.changes)}")
    assert opened_on(street.changes) == opened
    assert street.told == ["opened", "cleared"] * len(opened)


def test_the_case_names_its_days_and_how_many_came() -> None:
    street = Street(sales_rule(), step_s=1)
    for day, count in ((2, 4), (3, 5), (5, 4)):
        meeting(street, day, people=PEOPLE[:count])
    (case,) = (change.case for _, change in street.changes if change.kind == "opened")
    assert [(one.day, one.count) for one in case.occurrences] == [(2, 4), (3, 5), (5, 4)]
    assert case.occurrences[-1].started_wall_ns == case.started_wall_ns
    assert street.book.occurrences[-1].told


def test_a_gathering_that_breaks_up_before_its_time_does_not_count() -> None:
    street = Street(sales_rule(after_ns=20 * NS_PER_S), step_s=1)
    for day in range(4):
        meeting(street, day, seconds=10)  # and are remembered at their places for eight more
    assert (street.told, street.book.occurrences) == ([], [])


def restarted(street: Street, *, diary_kept: bool = True) -> Street:
    """A new process: what was saved, and nothing else."""
    again = Street(street.rule, step_s=street.step_s, now_s=street.now_s)
    with Database.open(":memory:") as database:
        database.save_running("c", street.book.live)
        if diary_kept:
            Occurrences(database).keep("c", street.book.occurrences)
        again.book.remember(Occurrences(database).of_camera("c"))
        again.book.restore(database.running_cases("c"), now_ns=seconds_to_ns(again.now_s))
    again.changes = list(street.changes)
    return again


def test_days_are_counted_over_restarts() -> None:
    street = Street(sales_rule(), step_s=1)
    for day in (0, 2, 4, 5):
        meeting(street, day)
        street = restarted(street)
    assert opened_on(street.changes) == [4, 5]


def test_a_kill_between_the_alert_and_the_diary_does_not_tell_the_day_twice() -> None:
    street = Street(sales_rule(), step_s=1)
    meeting(street, 0)
    meeting(street, 1)
    street.now_s = 2 * DAY_S + NINE_S
    street.play(2)
    street.play(13, *PEOPLE)
    assert street.told == ["opened"]
    street = restarted(street, diary_kept=False)
    street.play(10, *(replace(one, track=one.track + 50) for one in PEOPLE))
    street.play(20)
    meeting(street, 2)
    assert street.told == ["opened", "cleared"]


def test_a_rule_takes_only_what_is_its_own() -> None:
    mine = Occurrence("product-promotion-gathering", "kerb", 5, 0, 7)
    book = Street(sales_rule()).book
    book.remember([mine, replace(mine, scenario="other"), replace(mine, zone="other")])
    assert book.occurrences == [mine]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40)), max_size=40),
    st.integers(2, 5),
    st.integers(0, 5),
)
def test_it_is_told_on_the_days_that_have_enough_before_them(
    noted: list[tuple[str, int]], times_min: int, more: int
) -> None:
    """Against counting by hand; and never more rows than the window holds."""
    within = times_min + more
    diary, told, seen = Diary("s", Recurrence(times_min, within)), [], set[tuple[str, int]]()
    for zone, day in sorted(noted, key=lambda one: one[1]):
        diary.note(zone, day, started_wall_ns=0, count=5)
        first = (zone, day) not in seen
        seen.add((zone, day))
        enough = sum(1 for other, when in seen if other == zone and day - within < when <= day) >= times_min
        told.append(diary.tell(zone, day))
        assert told[-1] == (enough and first)
        assert len(diary.rows) <= 2 * within


def test_a_clock_that_was_ahead_leaves_no_days_behind() -> None:
    diary = Diary("s", Recurrence(2, 7))
    diary.note("a", 5000, started_wall_ns=0, count=5)
    diary.note("a", 100, started_wall_ns=0, count=5)
    assert [one.day for one in diary.rows] == [100]
    assert not diary.tell("a", 100)


def test_the_occurrences_of_cameras_that_are_gone_are_forgotten() -> None:
    one = Occurrence("product-promotion-gathering", "hall", 5, 0, 7, told=True)
    with Database.open(":memory:") as database:
        table = Occurrences(database)
        table.keep("stays", [one])
        table.keep("goes", [one])
        table.forget_other_cameras(["stays"])
        assert (table.of_camera("stays"), table.of_camera("goes")) == ([one], [])
        table.forget_other_cameras([])
        assert table.of_camera("stays") == []


@pytest.mark.slow
def test_three_mornings_of_real_footage_open_a_case_on_the_third(tmp_path: Path) -> None:
    """The meeting by the demo's sign, recorded on three days; nothing but the files' own times says so."""
    clips = []
    for day in (4, 6, 7):
        clips.append(first_seconds(configs_dir() / "demo" / "plaza.mp4", tmp_path / f"day-{day}.mp4", 19))
        ended_s = datetime(2026, 5, day, 9, 30, tzinfo=UTC).timestamp()
        os.utime(clips[-1], (ended_s, ended_s))
    text = (configs_dir() / "demo" / "site.yaml").read_text(encoding="utf-8")
    head, _, _ = text.partition("    scenarios:")
    use = (
        "      - {use: product-promotion-gathering, zones: [sign], people_min: 2, stay_s: 5, after_s: 5,"
        ' active: "Mon-Sun 09:00-12:00"}'
    )
    path = tmp_path / "site.yaml"
    path.write_text(f"{head.replace('fps: 5', 'fps: 3')}    scenarios:\n{use}\n", encoding="utf-8")
    result = replay(load_site(path, environ={}), ReplayOrder(clips=clips, out=tmp_path / "out"))
    kinds = [str(alert["type"]).split(".")[2] for alert in result.alerts]
    opened, filmed = result.alerts
    days = [one["day"] for one in opened["data"]["occurrences"]]  # type: ignore[index]
    print(f"told {kinds}, at {opened['time']}, because of {days}")
    jsonschema.validate(opened, alert_schema())
    assert kinds == ["opened", "updated"]
    assert filmed["data"]["reason"] == "clip"
    assert days == ["2026-05-04", "2026-05-06", "2026-05-07"]


def first_seconds(source: Path, target: Path, seconds: float) -> Path:
    """The beginning of a recording, packets as they are."""
    with av.open(str(source)) as clip, av.open(str(target), "w") as cut:
        stream = cut.add_stream_from_template(clip.streams.video[0])
        for packet in clip.demux(video=0):
            if packet.dts is not None and packet.pts * packet.time_base < seconds:
                packet.stream = stream
                cut.mux(packet)
    return target


def test_a_day_is_the_sites_own() -> None:
    late = datetime(2026, 5, 4, 20, 0, tzinfo=UTC)
    wall_ns = int(late.timestamp()) * NS_PER_S
    assert local_day(wall_ns, UTC) == late.toordinal()
    assert local_day(wall_ns, ZoneInfo("Asia/Shanghai")) == late.toordinal() + 1
