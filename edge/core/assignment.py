"""Optimal one-to-one matching of rows and columns, where staying single is allowed.

A pair gains `limit - cost`; pairs that gain nothing are never matched, and the total gain is the greatest there is.
Shortest augmenting paths after Jonker and Volgenant (1987), in the form of Crouse (2016): O(n³), the inner loop is
arrays. Most frames never come there: a pair without a rival is matched at sight.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge.core.types import Int64

Float64 = npt.NDArray[np.float64]


def assign(cost: npt.NDArray[np.floating], limit: float) -> tuple[Int64, Int64]:
    """(R, C) -> (M,) rows ascending and (M,) their columns; only pairs with cost < limit; infinite costs are fine."""
    row, column = np.nonzero(cost < limit)
    matched = match_pairs(row, column, limit - cost[row, column].astype(np.float64))
    return row[matched], column[matched]


def match_pairs(row: Int64, column: Int64, gain: Float64) -> Int64:
    """The same for a list of admissible pairs, each at most once, with gain > 0: indices of the pairs to match.

    The answer is sorted by row.
    """
    if len(row) == 0:
        return np.zeros(0, np.int64)
    alone = (np.bincount(row)[row] == 1) & (np.bincount(column)[column] == 1)
    chosen = np.flatnonzero(alone)
    if len(chosen) < len(row):
        rivals = np.flatnonzero(~alone)
        chosen = np.concatenate([chosen, rivals[_match_rivals(row[rivals], column[rivals], gain[rivals])]])
    return np.asarray(chosen[np.argsort(row[chosen])], np.int64)


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
