"""What matters only when it comes again: gatherings at one place on several days.

An occurrence is one day's gathering in one zone: when it began and how many came, and nothing of anybody in it. The
days are the site's own, as numbers; whoever keeps the occurrences over a restart gets them as rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from edge.core.types import Occurrence


@dataclass(frozen=True, slots=True)
class Recurrence:
    """What a rule asks for: `times_min` days among the last `within_days`, the present one included."""

    times_min: int
    within_days: int


class Diary:
    """The occurrences of one rule. Holds `within_days` of them for each zone at most: older ones are dropped."""

    def __init__(self, scenario: str, recurrence: Recurrence) -> None:
        self._scenario = scenario
        self._recurrence = recurrence
        self._known: dict[tuple[str, int], Occurrence] = {}

    @property
    def rows(self) -> list[Occurrence]:
        return [self._known[key] for key in sorted(self._known)]

    def restore(self, occurrences: Iterable[Occurrence]) -> None:
        for one in occurrences:
            known = self._known.get((one.zone, one.day), one)
            self._known[one.zone, one.day] = replace(
                known, count=max(known.count, one.count), told=known.told or one.told
            )

    def note(self, zone: str, day: int, *, started_wall_ns: int, count: int) -> None:
        """It happens on this day; a second time changes only the number of people."""
        one = Occurrence(self._scenario, zone, day, started_wall_ns, count)
        known = self._known.get((zone, day))
        if known is not None and known.count >= count:
            return
        self._known[zone, day] = one if known is None else replace(known, count=count)
        first = day - self._recurrence.within_days + 1
        # A day that is still to come was noted by a clock that was wrong.
        self._known = {key: kept for key, kept in self._known.items() if first <= key[1] <= day}

    def recent(self, zone: str, day: int) -> tuple[Occurrence, ...]:
        """Those that count on that day, in order."""
        first = day - self._recurrence.within_days + 1
        return tuple(one for one in self.rows if one.zone == zone and first <= one.day <= day)

    def tell(self, zone: str, day: int) -> bool:
        """Whether that day's occurrence is to be told now; once a day at most."""
        known = self._known[zone, day]
        if known.told or len(self.recent(zone, day)) < self._recurrence.times_min:
            return False
        self._known[zone, day] = replace(known, told=True)
        return True
