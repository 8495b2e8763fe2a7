"""Rows of the last look found again by the tracks' ids."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.core.carrying import rows_again

ids = st.lists(st.integers(0, 30), max_size=12, unique=True)


@given(ids, ids)
def test_each_track_gets_its_own_row_and_a_new_one_none(now: list[int], before: list[int]) -> None:
    rows = rows_again(np.array(now, np.int64), np.array(before, np.int64))
    assert rows.dtype == np.int64
    assert rows.tolist() == [before.index(one) if one in before else -1 for one in now]


def test_a_lost_one_has_no_row() -> None:
    assert rows_again(np.array([-1, 3, -1]), np.array([2, 3])).tolist() == [-1, 1, -1]
