"""Opening hours: `Mon-Fri 07:00-22:00; Sat,Sun 09:00-18:00`, and the question whether they hold.

    hours  := group (";" group)*       group := day-or-range+ span+
    "Mon-Fri 07:00-09:00, 17:00-19:00" two spans on each of five days
    "Fri-Sat 22:00-04:00"              over midnight: the span belongs to the day on which it begins

Local time throughout; which time zone that is, the caller knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from edge.errors import ConfigError

DAY_MIN = 1440
WEEK_MIN = 7 * DAY_MIN
_MINUTE_NS = 60_000_000_000
_TEXT_MAX = 500

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NAMES = {name: day for day, full in enumerate(_DAYS) for name in (full, full[:3])}
_SPAN = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})", re.ASCII)
_EXAMPLE = "write it like Mon-Sun 07:00-22:00"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Spans of the week. Two schedules that hold at the same minutes are equal."""

    text: str = field(compare=False)
    spans: tuple[tuple[int, int], ...]  # [from, to) in minutes since Monday 00:00, ascending, apart

    def holds(self, minute_of_week: int) -> bool:
        """Whether the schedule holds in the minute that begins then, 0 for Monday 00:00."""
        return any(begin <= minute_of_week < end for begin, end in self.spans)

    def holds_since(self, known_wall_ns: int, wall_ns: int, minute_of: Callable[[int], int]) -> bool:
        """Whether it holds now and in every minute that began after the one of `known_wall_ns`.

        `minute_of`: the minute of the week of a wall_ns. Asked minute by minute, so that summer time is right; after
        a week there is none left to ask.
        """
        first_ns = max(known_wall_ns + _MINUTE_NS, wall_ns - WEEK_MIN * _MINUTE_NS)
        moments = (*range(first_ns, wall_ns, _MINUTE_NS), wall_ns)
        return all(self.holds(minute_of(moment)) for moment in moments)

    def without(self, other: Schedule) -> Schedule:
        """The minutes of this one that are not the other's."""
        gaps = zip((0, *(end for _, end in other.spans)), (*(begin for begin, _ in other.spans), WEEK_MIN), strict=True)
        pieces = [(max(begin, left), min(end, right)) for left, right in gaps for begin, end in self.spans]
        return Schedule(f"{self.text} without {other.text}", _merge([span for span in pieces if span[0] < span[1]]))


ALWAYS = Schedule("always", ((0, WEEK_MIN),))


def parse_schedule(text: str) -> Schedule:
    """Raises ConfigError, the end of a sentence: the caller knows where the text stands and what it is called."""
    if len(text) > _TEXT_MAX:
        raise ConfigError(f"is longer than {_TEXT_MAX} characters")
    spans: list[tuple[int, int]] = []
    for group in re.sub(r"\s*[-–]\s*", "-", text.strip().lower()).split(";"):
        spans += _group(group)
    return Schedule(text, _merge(spans))


def _group(group: str) -> list[tuple[int, int]]:
    """One stretch between semicolons; days that follow times begin anew."""
    spans: list[tuple[int, int]] = []
    days: list[int] = []
    timed = False
    for word in re.findall(r"[^\s,]+", group):
        if word[0].isdigit():
            if not days:
                raise ConfigError(f"names no day before {word[:20]}; {_EXAMPLE}")
            begin, length = _span(word)
            spans += [(day * DAY_MIN + begin, day * DAY_MIN + begin + length) for day in days]
            timed = True
        else:
            days = _days(word) if timed else days + _days(word)
            timed = False
    if not timed:
        raise ConfigError(f"names no times{' after the days' if days else ''}; {_EXAMPLE}")
    return spans


def _days(word: str) -> list[int]:
    first, dash, last = word.partition("-")
    for name in (first, last) if dash else (first,):
        if name not in _NAMES:
            raise ConfigError(f"has {name[:20]!r}, which is no day; days are Mon Tue Wed Thu Fri Sat Sun")
    if not dash:
        return [_NAMES[first]]
    count = (_NAMES[last] - _NAMES[first]) % 7 + 1
    return [(_NAMES[first] + step) % 7 for step in range(count)]


def _span(word: str) -> tuple[int, int]:
    """`22:00-04:00` as begin and length, in minutes."""
    match = _SPAN.fullmatch(word)
    if not match:
        raise ConfigError(f"has {word[:20]!r}, which is no span of time; {_EXAMPLE}")
    hour, minute, end_hour, end_minute = map(int, match.groups())
    begin, end = hour * 60 + minute, end_hour * 60 + end_minute
    if minute > 59 or end_minute > 59 or begin >= DAY_MIN or end > DAY_MIN:
        raise ConfigError(f"has {word}, which leaves the day; it begins at 00:00 and ends at 24:00")
    if begin == end:
        raise ConfigError(f"has {word}, which is empty; a whole day is 00:00-24:00")
    return begin, (end - begin) % DAY_MIN or DAY_MIN


def _merge(spans: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Ascending and apart; what runs past Sunday midnight goes on on Monday."""
    pieces = [(begin, min(end, WEEK_MIN)) for begin, end in spans]
    pieces += [(0, end - WEEK_MIN) for _, end in spans if end > WEEK_MIN]
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(pieces):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return tuple(merged)
