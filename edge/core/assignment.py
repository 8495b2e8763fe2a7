"""Optimal one-to-one matching of rows and columns, where staying single is allowed.

A pair gains `limit - cost`; pairs that gain nothing are never matched, and the total gain is the greatest there is.
A pair that gains more than the best rivals of its row and of its column together is in every best matching: such pairs
are taken at once, as arrays, and then those that are so among what is left. Few frames leave a knot of others: for it
shortest augmenting paths after Jonker and Volgenant (1987), in the form of Crouse (2016): O(n³).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge.core.types import Bool, Int64

Float64 = npt.NDArray[np.float64]

_ROUNDS_MAX = 8  # each costs a sort of the pairs that are left; a long chain of rivals is left to the knots


def assign(cost: npt.NDArray[np.floating], limit: float) -> tuple[Int64, Int64]:
    """(R, C) -> (M,) rows ascending and (M,) their columns; only pairs with cost < limit; infinite costs are fine."""
    row, column = np.nonzero(cost < limit)
    matched = match_pairs(row, column, limit - cost[row, column].astype(np.float64))
    return row[matched], column[matched]


def match_pairs(row: Int64, column: Int64, gain: Float64) -> Int64:
    """The same for a list of admissible pairs, each at most once, with gain > 0: indices of the pairs to match.

    The answer is sorted by row.
    """
    chosen, left = [], np.arange(len(row))
    for _ in range(_ROUNDS_MAX):
        if not len(left):
            break
        alone = gain[left] > _best_other(row[left], gain[left]) + _best_other(column[left], gain[left])
        if not alone.any():
            break
        taken = left[alone]
        chosen.append(taken)
        if len(taken) == len(left):  # most frames
            left = left[:0]
            break
        left = left[~(_among(row[left], row[taken]) | _among(column[left], column[taken]))]
    if len(left):
        chosen.append(left[_match_rivals(row[left], column[left], gain[left])])
    pairs = np.concatenate([np.zeros(0, np.int64), *chosen])
    return np.asarray(pairs[np.argsort(row[pairs])], np.int64)


def _among(numbers: Int64, taken: Int64) -> Bool:
    """(P,) which of these small numbers are taken, that are all among them: a look-up costs a tenth of sorting."""
    known = np.zeros(numbers.max() + 1, np.bool_)
    known[taken] = True
    return np.asarray(known[numbers])


def _best_other(group: Int64, gain: Float64) -> Float64:
    """(P,) what the best of the other pairs of the same row, or column, gains; 0 where there is none."""
    order = np.lexsort((-gain, group))
    group, gain = group[order], gain[order]
    place = np.arange(len(order))
    leads = np.ones(len(order), np.bool_)
    leads[1:] = group[1:] != group[:-1]
    leader = np.maximum.accumulate(np.where(leads, place, 0))
    followed = np.zeros(len(order), np.bool_)
    followed[:-1] = ~leads[1:]
    runner_up = np.where(followed, gain[np.minimum(place + 1, len(order) - 1)], 0.0)
    other = np.empty(len(order))
    other[order] = np.where(leads, runner_up, gain[leader])
    return other


def _match_rivals(row: Int64, column: Int64, gain: Float64) -> Int64:
    """Closes the gaps in the row and column numbers and solves what is left as one dense matrix."""
    rows, dense_row = np.unique(row, return_inverse=True)
    columns, dense_column = np.unique(column, return_inverse=True)
    cost = np.zeros((len(rows), len(columns)))
    cost[dense_row, dense_column] = -gain
    pair_at = np.full(cost.shape, -1, np.int64)
    pair_at[dense_row, dense_column] = np.arange(len(row))
    column_of = _solve(cost)
    pairs = pair_at[np.flatnonzero(column_of >= 0), column_of[column_of >= 0]]
    return np.asarray(pairs[pairs >= 0], np.int64)


def _solve(cost: Float64) -> Int64:
    """(R, C) costs <= 0 -> (R,) column of each row, or -1. A row may stay single at cost 0."""
    price = np.zeros(cost.shape[1])
    rows = np.arange(len(cost))
    best = cost.argmin(axis=1)
    worth = cost[rows, best]  # the rows' dual; never above 0, the cost of staying single

    column_of = np.full(len(cost), -1, np.int64)
    row_of = np.full(cost.shape[1], -1, np.int64)
    first_of_column, first_row = np.unique(best, return_index=True)
    column_of[first_row], row_of[first_of_column] = first_of_column, first_row

    # One path at a time: each changes the prices that the next one starts from.
    for row in np.flatnonzero(column_of < 0):
        _augment(cost, worth, price, column_of, row_of, start=int(row))
    return column_of


def _augment(cost: Float64, worth: Float64, price: Float64, column_of: Int64, row_of: Int64, *, start: int) -> None:
    """Grows the cheapest path from `start` to a free column, or to a row that is better left single; swaps along it.

    Updates the duals and the matching in place. Invariant: cost - worth - price >= 0, and 0 on matched pairs.
    """
    distance = np.full(cost.shape[1], np.inf)
    came_from = np.full(cost.shape[1], -1, np.int64)
    open_columns = np.ones(cost.shape[1], np.bool_)
    reached_rows, reached_at = [start], [0.0]
    row, so_far = start, 0.0
    single_row, single_at = start, -worth[start]

    while True:
        step = so_far + cost[row] - worth[row] - price
        shorter = open_columns & (step < distance)
        distance[shorter] = step[shorter]
        came_from[shorter] = row
        column = int(np.where(open_columns, distance, np.inf).argmin())
        if not open_columns[column] or single_at <= distance[column]:
            column, so_far = -1, single_at
            break
        so_far = distance[column]
        open_columns[column] = False
        row = int(row_of[column])
        if row < 0:
            break
        reached_rows.append(row)
        reached_at.append(so_far)
        if so_far - worth[row] < single_at:
            single_row, single_at = row, so_far - worth[row]

    worth[reached_rows] += so_far - np.array(reached_at)
    closed = ~open_columns
    price[closed] -= so_far - distance[closed]
    if column < 0:
        column = int(column_of[single_row])
        column_of[single_row] = -1
        if single_row == start:
            return
    _swap_along(came_from, column_of, row_of, start=start, column=column)


def _swap_along(came_from: Int64, column_of: Int64, row_of: Int64, *, start: int, column: int) -> None:
    """Walks the path back from `column`: every row on it takes the column behind it."""
    row = -1
    while row != start:
        row = int(came_from[column])
        row_of[column] = row
        column_of[row], column = column, int(column_of[row])
