"""Gatherings at one place on several days: sales meetings for health products, day after day in the same house.

Each day's gathering is found as any other; the case book opens a case for it when it has come often enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge.core.recurrence import Recurrence
from edge.core.scenarios.gathering import GatheringRule


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RepeatedGatheringRule(GatheringRule):
    kind: ClassVar[str] = "repeated_gathering"

    times_min: int  # days on which people gathered in the zone, today included
    within_days: int

    @property
    def recurrence(self) -> Recurrence:
        return Recurrence(self.times_min, self.within_days)
