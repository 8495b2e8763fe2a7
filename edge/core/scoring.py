"""Alerts against ground truth: events found, missed, doubled, and false alarms.

An event is found by one `opened` alert of its scenario, told between `start_s + after_s - 2` and
`start_s + after_s + 10`, whose box overlaps the event's box (IoU >= 0.2) or holds its centre without being 25 times
its size. A second `opened` on the same place while the event lasts is a duplicate; any other is a false alarm.
An event that ends must be cleared between `end_s` and `end_s + clear_after_s + 5`. Times are seconds into the file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.core import boxes
from edge.core.assignment import assign

EARLY_S = 2.0
LATE_S = 10.0
CLEAR_LATE_S = 5.0
IOU_MIN = 0.2
SIZE_RATIO_MAX = 25.0
CONFIDENCE = 0.95
_WILSON_Z = 1.959964  # the normal distribution's 97.5 % point: two sides of 2.5 % each
_PAIR_WORTH_S = 1e6  # far above all onset errors together: one event more is worth more than any nearness


@dataclass(frozen=True, slots=True)
class TrueEvent:
    scenario: str
    start_s: float
    end_s: float | None  # None: to the end of the file
    box_px: tuple[float, float, float, float]
    after_s: float
    clear_after_s: float


@dataclass(frozen=True, slots=True)
class ToldCase:
    """What the alerts said of one case."""

    case_id: str
    scenario: str
    box_px: tuple[float, float, float, float]
    opened_s: float
    cleared_s: float | None


@dataclass(frozen=True, slots=True)
class EventScore:
    event: TrueEvent
    found: ToldCase | None
    cleared_in_time: bool | None  # None where nothing had to be cleared
    duplicates: int

    @property
    def onset_error_s(self) -> float:
        """Told minus the first moment at which it could be told; NaN when missed."""
        if self.found is None:
            return float("nan")
        return self.found.opened_s - (self.event.start_s + self.event.after_s)


@dataclass(frozen=True, slots=True)
class ClipScore:
    events: tuple[EventScore, ...]
    false_alarms: tuple[ToldCase, ...]


def score(events: Sequence[TrueEvent], told: Sequence[ToldCase]) -> ClipScore:
    """Judge one clip's cases; each case is used once. Every event gets its case before any case is a duplicate."""
    left = sorted(told, key=lambda case: (case.opened_s, case.case_id))
    found = _found(events, left)
    left = [case for case in left if case not in found.values()]
    scored: list[EventScore] = []
    for row, event in enumerate(events):
        doubled = [case for case in left if row in found and _is_while(case, event) and _is_at(case, event)]
        left = [case for case in left if case not in doubled]
        mine = found.get(row)
        scored.append(EventScore(event, mine, _cleared_in_time(mine, event), len(doubled)))
    return ClipScore(tuple(scored), tuple(left))


def _found(events: Sequence[TrueEvent], cases: Sequence[ToldCase]) -> dict[int, ToldCase]:
    """Event's row -> its case: as many events as can be, and among those ways the one nearest to the onsets."""
    error_s = np.full((len(events), len(cases)), np.inf)
    for row, event in enumerate(events):
        for column, case in enumerate(cases):
            if _is_in_time(case, event) and _is_at(case, event):
                error_s[row, column] = abs(case.opened_s - (event.start_s + event.after_s))
    rows, columns = assign(error_s, _PAIR_WORTH_S)
    return {int(row): cases[column] for row, column in zip(rows, columns, strict=True)}


def _is_in_time(case: ToldCase, event: TrueEvent) -> bool:
    due_s = event.start_s + event.after_s
    return due_s - EARLY_S <= case.opened_s <= due_s + LATE_S


def _is_while(case: ToldCase, event: TrueEvent) -> bool:
    end_s = float("inf") if event.end_s is None else event.end_s + event.clear_after_s + CLEAR_LATE_S
    return event.start_s <= case.opened_s <= end_s


def _is_at(case: ToldCase, event: TrueEvent) -> bool:
    if case.scenario != event.scenario:
        return False
    mine, true = np.array([case.box_px], np.float32), np.array([event.box_px], np.float32)
    if boxes.iou(mine, true)[0, 0] >= IOU_MIN:
        return True
    x, y = boxes.anchors(true, boxes.CENTER)[0]
    holds = bool(mine[0, 0] <= x <= mine[0, 2] and mine[0, 1] <= y <= mine[0, 3])
    return holds and bool(boxes.area(mine)[0] < SIZE_RATIO_MAX * boxes.area(true)[0])


def _cleared_in_time(found: ToldCase | None, event: TrueEvent) -> bool | None:
    if event.end_s is None:
        return None
    if found is None or found.cleared_s is None:
        return False
    return event.end_s <= found.cleared_s <= event.end_s + event.clear_after_s + CLEAR_LATE_S


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over clips. Ratios of nothing are NaN, never a flattering 1."""

    events: int
    found: int
    duplicates: int
    false_alarms: int
    clearances: int
    cleared_in_time: int
    onset_rmse_s: float
    camera_hours: float

    @property
    def precision(self) -> float:
        told = self.found + self.false_alarms + self.duplicates
        return self.found / told if told else float("nan")

    @property
    def recall(self) -> float:
        return self.found / self.events if self.events else float("nan")

    @property
    def f1(self) -> float:
        wrong = (self.events - self.found) + self.false_alarms + self.duplicates
        return 2 * self.found / (2 * self.found + wrong) if self.found or wrong else float("nan")

    @property
    def precision_interval(self) -> tuple[float, float]:
        return wilson_interval(self.found, self.found + self.false_alarms + self.duplicates)

    @property
    def recall_interval(self) -> tuple[float, float]:
        return wilson_interval(self.found, self.events)

    @property
    def false_alarms_per_camera_hour(self) -> float:
        return self.false_alarms / self.camera_hours if self.camera_hours else float("nan")

    @property
    def false_alarms_per_camera_hour_max(self) -> float:
        """What the true rate is below, with 95 % confidence: 3/hours where none was seen (the rule of three)."""
        return poisson_upper(self.false_alarms) / self.camera_hours if self.camera_hours else float("nan")


def total(clips: Sequence[ClipScore], *, media_s: float) -> Totals:
    events = [event for clip in clips for event in clip.events]
    errors = np.array([event.onset_error_s for event in events if event.found is not None])
    must_clear = [event for event in events if event.cleared_in_time is not None]
    return Totals(
        events=len(events),
        found=len(errors),
        duplicates=sum(event.duplicates for event in events),
        false_alarms=sum(len(clip.false_alarms) for clip in clips),
        clearances=len(must_clear),
        cleared_in_time=sum(bool(event.cleared_in_time) for event in must_clear),
        onset_rmse_s=float(np.sqrt(np.mean(errors**2))) if len(errors) else float("nan"),
        camera_hours=media_s / 3600,
    )


def poisson_upper(count: int) -> float:
    """The mean of a Poisson variable that gives `count` or fewer in 5 of 100 cases: 2.996 for 0 (Garwood 1936)."""
    low, high = float(count), count + 10 * math.sqrt(count + 1) + 10
    for _ in range(60):
        middle = (low + high) / 2
        log_terms = [number * math.log(middle) - middle - math.lgamma(number + 1) for number in range(count + 1)]
        low, high = (middle, high) if sum(map(math.exp, log_terms)) > 1 - CONFIDENCE else (low, middle)
    return high


def wilson_interval(hits: int, of: int) -> tuple[float, float]:
    """Where the true share lies with 95 % confidence (Wilson 1927); NaN of nothing."""
    if of == 0:
        return float("nan"), float("nan")
    share, weight = hits / of, _WILSON_Z**2 / of
    middle = (share + weight / 2) / (1 + weight)
    half = math.sqrt(share * (1 - share) * weight + weight**2 / 4) / (1 + weight)
    return max(middle - half, 0.0), min(middle + half, 1.0)
