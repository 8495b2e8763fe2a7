from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge.core.assignment import assign, match_pairs

costs = arrays.arrays(
    np.float64,
    arrays.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=6),
    elements=st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.5, 0.7, 0.9, 1.0, np.inf]) | st.floats(0, 1),
)

unhurried = settings(deadline=None)  # a busy machine is no failure


def best_gain(cost: np.ndarray, limit: float) -> float:
    """By trying every permutation. A pair of no gain counts 0: it is as if both stayed single."""
    side = max(*cost.shape, 1)
    gain = np.zeros((side, side))
    gain[: cost.shape[0], : cost.shape[1]] = np.maximum(limit - cost, 0)
    ways = np.array(list(permutations(range(side))))
    return float(gain[np.arange(side), ways].sum(axis=1).max())


@unhurried
@given(costs, st.floats(0.05, 1.2))
def test_the_gain_is_the_greatest_there_is(cost, limit):
    rows, columns = assign(cost, limit)
    gain = float((limit - cost[rows, columns]).sum())
    assert np.isclose(gain, best_gain(cost, limit))


@unhurried
@given(costs, st.floats(0.05, 1.2))
def test_nothing_is_matched_twice_nor_above_the_limit(cost, limit):
    rows, columns = assign(cost, limit)
    assert len(set(rows.tolist())) == len(rows)
    assert len(set(columns.tolist())) == len(columns)
    assert (np.diff(rows) > 0).all()
    assert (cost[rows, columns] < limit).all()


@unhurried
@given(costs)
def test_turning_the_matrix_turns_the_answer(cost):
    rows, columns = assign(cost, 0.8)
    turned_rows, turned_columns = assign(cost.T, 0.8)
    assert np.isclose((0.8 - cost[rows, columns]).sum(), (0.8 - cost[turned_columns, turned_rows]).sum())


@unhurried
@given(costs)
def test_the_argument_is_not_changed(cost):
    before = cost.copy()
    assign(cost, 0.6)
    assert np.array_equal(before, cost)


def test_a_pair_is_given_up_for_a_greater_sum():
    cost = np.array([[0.1, 0.2], [0.2, 1.0]])
    rows, columns = assign(cost, 0.9)
    assert list(zip(rows, columns, strict=True)) == [(0, 1), (1, 0)]


def test_a_row_is_left_single_where_a_rival_gains_more():
    rows, columns = assign(np.array([[0.5], [0.1], [0.4]]), 0.9)
    assert (rows.tolist(), columns.tolist()) == ([1], [0])


def test_no_rows_or_no_columns_match_nothing():
    for shape in ((0, 0), (0, 3), (3, 0)):
        rows, columns = assign(np.zeros(shape), 1.0)
        assert rows.shape == columns.shape == (0,)
        assert rows.dtype == columns.dtype == np.int64


def test_pairs_without_rivals_are_matched_beside_a_contested_group():
    row = np.array([7, 2, 2, 5], np.int64)
    column = np.array([1, 3, 9, 9], np.int64)
    matched = match_pairs(row, column, np.array([0.1, 0.5, 0.6, 0.4]))
    assert list(zip(row[matched], column[matched], strict=True)) == [(2, 3), (5, 9), (7, 1)]


def test_the_one_free_matching_among_three_hundred_rows_is_found():
    size = 300
    cost = np.random.default_rng(7).random((size, size))
    hidden = np.random.default_rng(8).permutation(size)
    cost[np.arange(size), hidden] = 0
    rows, columns = assign(cost, 2.0)
    assert np.array_equal(columns, hidden[rows])
    assert len(rows) == size
