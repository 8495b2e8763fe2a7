"""How many are in a zone: the mean over the time that was seen, the most at once, and for what share of it there were
at least `count_min`. With `speed_max` only those count that stand or crawl: a queue, and with `count_min` a jam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge.core.measures.gauge import Gauge, Intervals, MeasureRule
from edge.core.scene import Scene
from edge.core.types import NS_PER_S, Float32

# A detector misses a thing now and then; a track that was seen this lately is still where it was.
MISSED_NS = NS_PER_S


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class OccupancyRule(MeasureRule):
    kind: ClassVar[str] = "occupancy"

    zones: tuple[int, ...]  # rows of the camera's zones
    count_min: int
    speed_max: float | None  # box heights/s, None: whoever is there


class Occupancy(Gauge):
    def __init__(self, rule: OccupancyRule, zones: Sequence[Float32], intervals: Intervals) -> None:
        super().__init__(rule, intervals)
        self._zones = list(rule.zones)
        self._count_min = rule.count_min
        self._speed_max = np.inf if rule.speed_max is None else rule.speed_max
        self._present = np.zeros(len(self._zones), np.int64)  # (Z,) of ours, at the last look
        self._most = np.zeros(len(self._zones), np.int64)
        self._begin()

    def _look(self, scene: Scene) -> None:
        tracks, rule = scene.tracks, self.rule
        lately = scene.frame.mono_ns - tracks.last_seen_ns <= MISSED_NS
        wanted = tracks.labelled(rule.labels) & (tracks.score >= rule.score_min)
        wanted &= lately & (tracks.speed <= self._speed_max)
        self._present = np.count_nonzero(scene.presence[rule.anchor].inside[self._zones] & wanted[None, :], axis=1)
        self._most = np.maximum(self._most, self._present)

    def _spend(self, step_ns: int) -> None:
        super()._spend(step_ns)
        self._sum_ns += self._present * step_ns
        self._enough_ns += np.where(self._present >= self._count_min, step_ns, 0)

    def _values(self, seen_ns: int) -> Sequence[Sequence[tuple[str, int | float]]]:
        seen = max(seen_ns, 1)
        return [
            (("mean", round(spent / seen, 3)), ("max", most), ("share", round(enough / seen, 4)))
            for spent, most, enough in zip(
                self._sum_ns.tolist(), self._most.tolist(), self._enough_ns.tolist(), strict=True
            )
        ]

    def _begin(self) -> None:
        self._sum_ns = np.zeros(len(self._zones), np.int64)
        self._enough_ns = np.zeros(len(self._zones), np.int64)
        self._most = np.zeros(len(self._zones), np.int64)
