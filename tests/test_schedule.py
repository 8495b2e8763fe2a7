"""Opening hours: which minutes of the week they hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config.schedule import DAY_MIN, WEEK_MIN, Schedule, parse_schedule
from edge.errors import ConfigError

DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]


def minutes(text: str) -> set[int]:
    schedule = parse_schedule(text)
    return {minute for minute in range(WEEK_MIN) if schedule.holds(minute)}


def span(day: int, begin: str, end: str) -> set[int]:
    def minute(clock: str) -> int:
        hour, rest = clock.split(":")
        return int(hour) * 60 + int(rest)

    start, length = minute(begin), (minute(end) - minute(begin)) % DAY_MIN or DAY_MIN
    return {(day * DAY_MIN + start + step) % WEEK_MIN for step in range(length)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mon 07:00-22:00", span(0, "07:00", "22:00")),
        ("Mon-Tue 07:00-22:00", span(0, "07:00", "22:00") | span(1, "07:00", "22:00")),
        ("Mon,Wed 08:00-09:00", span(0, "08:00", "09:00") | span(2, "08:00", "09:00")),
        ("Mon 07:00-09:00, 17:00-19:00", span(0, "07:00", "09:00") | span(0, "17:00", "19:00")),
        ("Mon 07:00-09:00; Tue 10:00-11:00", span(0, "07:00", "09:00") | span(1, "10:00", "11:00")),
        ("Mon 07:00-09:00, Tue 10:00-11:00", span(0, "07:00", "09:00") | span(1, "10:00", "11:00")),
        ("Fri-Sat 22:00-04:00", span(4, "22:00", "04:00") | span(5, "22:00", "04:00")),
        ("Sun 22:00-04:00", span(6, "22:00", "24:00") | span(0, "00:00", "04:00")),
        ("Sat-Mon 00:00-24:00", span(5, "0:00", "24:00") | span(6, "0:00", "24:00") | span(0, "0:00", "24:00")),
        ("Mon-Sun 00:00-24:00", set(range(WEEK_MIN))),
        (" monday – TUE  7:00 - 8:00 ", span(0, "07:00", "08:00") | span(1, "07:00", "08:00")),
    ],
)
def test_hours_hold_in_exactly_the_minutes_they_name(text: str, expected: set[int]) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no times"),
        ("Mon-Fri", "names no times after the days"),
        ("Mon 07:00-08:00, Tue", "names no times after the days"),
        ("Mon 07:00-08:00;", "names no times"),
        ("07:00-22:00", "names no day before 07:00-22:00"),
        ("Mon 07:00-09:00; 10:00-11:00", "names no day before 10:00-11:00"),
        ("Mo 07:00-22:00", "'mo', which is no day; days are Mon Tue Wed Thu Fri Sat Sun"),
        ("Mon-Xyz 07:00-22:00", "'xyz', which is no day"),
        ("Mon-Wed-Fri 07:00-22:00", "'wed-fri', which is no day"),
        ("Mon 7-22", "'7-22', which is no span of time; write it like Mon-Sun 07:00-22:00"),
        ("Mon 07:00", "'07:00', which is no span of time"),
        ("Mon 07:00-07:00", "07:00-07:00, which is empty; a whole day is 00:00-24:00"),
        ("Mon 24:00-25:00", "which leaves the day"),
        ("Mon 07:60-08:00", "which leaves the day"),
        ("Mon 07:00-24:01", "which leaves the day"),
        ("x" * 501, "longer than 500 characters"),
    ],
)
def test_what_are_no_hours_is_told_in_words(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_schedule(text)
    assert words in str(caught.value)


_spans = st.tuples(st.integers(0, 6), st.integers(0, DAY_MIN - 1), st.integers(1, DAY_MIN))


def written(day: int, begin: int, end: int) -> str:
    return f"{DAYS[day]} {begin // 60:02d}:{begin % 60:02d}-{end // 60:02d}:{end % 60:02d}"


@given(st.lists(_spans.filter(lambda span: span[1] != span[2]), min_size=1, max_size=6))
def test_hours_are_the_union_of_their_spans_in_any_order(spans: list[tuple[int, int, int]]) -> None:
    texts = [written(*one) for one in spans]
    expected = set()
    for day, begin, end in spans:
        expected |= {(day * DAY_MIN + begin + step) % WEEK_MIN for step in range((end - begin) % DAY_MIN or DAY_MIN)}
    assert minutes("; ".join(texts)) == expected
    assert parse_schedule("; ".join(texts)) == parse_schedule(", ".join(reversed(texts)))


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, DAY_MIN - 1), st.integers(1, DAY_MIN))
def test_a_week_that_begins_on_another_day_holds_at_the_shifted_minutes(
    day: int, shift: int, begin: int, end: int
) -> None:
    if begin == end:
        return
    moved = {(minute + shift * DAY_MIN) % WEEK_MIN for minute in minutes(written(day, begin, end))}
    assert minutes(written((day + shift) % 7, begin, end)) == moved


@given(*[st.integers(0, DAY_MIN - 1)] * 4, st.integers(0, 6))
def test_hours_without_others_are_the_minutes_that_only_the_first_holds(
    begin: int, end: int, other: int, other_end: int, day: int
) -> None:
    if begin == end or other == other_end:
        return
    text, left_out = written(day, begin, end), f"Mon-Sun {written(0, other, other_end)[4:]}"
    left = parse_schedule(text).without(parse_schedule(left_out))
    assert {minute for minute in range(WEEK_MIN) if left.holds(minute)} == minutes(text) - minutes(left_out)


@given(
    st.text(max_size=60) | st.lists(st.sampled_from([*DAYS, "-", ",", ";", " ", "07:00", "22:00", "9"])).map("".join)
)
def test_any_text_is_hours_or_a_config_error(text: str) -> None:
    try:
        schedule = parse_schedule(text)
    except ConfigError:
        return
    assert isinstance(schedule, Schedule)
    assert schedule.spans
    assert all(0 <= begin < end <= WEEK_MIN for begin, end in schedule.spans)
