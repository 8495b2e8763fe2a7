"""Which threshold would have parted dismissed cases from confirmed ones, and how far that may be believed.

A stricter threshold keeps a case or loses it. For each judged case its *limit* is the strictest value tried at which
it still opens. A threshold is proposed only if it loses no confirmed case; of those that spare the most dismissed ones,
the one in the middle of the gap. It is believed only if it does well on cases that it was not chosen by (whole days are
left out in turn, or single cases where there are few days), and if chance would seldom do the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edge.core.types import Bool, Int64

CASES_MIN = 20  # judged cases of one scenario at one camera, below which nothing is proposed
EACH_MIN = 5  # of them confirmed, and dismissed, at least
DAYS_MIN = 3  # from so many days on whole days are left out
CHANCE_MAX = 0.05


class Threshold(NamedTuple):
    """A value for a parameter; `row` of the grid."""

    row: int
    spared: int  # dismissed cases that would not have opened
    chance: float  # that labels drawn at random would have let it spare as many


class Trial(NamedTuple):
    """How thresholds fared on the cases that they were not chosen by."""

    spared: int
    lost: int
    dismissed: int
    confirmed: int


def best_threshold(limit: Int64, confirmed: Bool) -> Threshold | None:
    """(N,) row of the strictest value at which each case opens, (N,) labels -> a row of the grid, or None.

    A case whose limit is below the row does not open there. Row 0 is the value in force.
    """
    dismissed = limit[~confirmed]
    if not len(dismissed) or not confirmed.any():
        return None
    safe = int(limit[confirmed].min())  # the strictest row that loses nobody
    spared = dismissed[dismissed < safe]
    if not len(spared):
        return None
    loosest = int(spared.max()) + 1  # of the rows that spare as many
    row = (loosest + safe + 1) // 2
    return Threshold(row, len(spared), _chance(len(spared), len(dismissed), int(confirmed.sum())))


def cross_validated(limit: Int64, confirmed: Bool, group: Int64) -> Trial:
    """Each group in turn is judged by the threshold that the others choose; where they choose none, all opens."""
    spared = lost = 0
    # Groups are days or cases: a few dozen small choices.
    for left_out in np.unique(group):
        others = group != left_out
        chosen = best_threshold(limit[others], confirmed[others])
        if chosen is not None:
            unopened = limit[~others] < chosen.row
            spared += int((unopened & ~confirmed[~others]).sum())
            lost += int((unopened & confirmed[~others]).sum())
    return Trial(spared, lost, int((~confirmed).sum()), int(confirmed.sum()))


def groups_of(days: Sequence[str]) -> tuple[Int64, bool]:
    """(N,) which cases are left out together, and whether those are days."""
    names, day = np.unique(np.array(days), return_inverse=True)
    by_day = len(names) >= DAYS_MIN
    return (day if by_day else np.arange(len(days))).astype(np.int64), by_day


def _chance(spared: int, dismissed: int, confirmed: int) -> float:
    """That the lowest `spared` of all are dismissed ones, were the labels dealt out at random."""
    return math.comb(dismissed, spared) / math.comb(dismissed + confirmed, spared)
