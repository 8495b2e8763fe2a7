"""Medians and quantiles are numpy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.place.ranks import median, quantile, quantiles


@given(
    n=st.integers(1, 40), rows=st.integers(1, 3), share=st.floats(0, 1), kind=st.sampled_from([np.float32, np.int64])
)
def test_they_are_those_of_numpy_for_any_number_of_values_and_any_share(
    n: int, rows: int, share: float, kind: type[np.generic]
) -> None:
    values = (np.random.default_rng(n).normal(0, 1000, (rows, n))).astype(kind)
    assert quantiles(values, share, 0.5) == pytest.approx(np.quantile(values, (share, 0.5), axis=1), rel=1e-5, abs=1e-3)
    assert quantile(values, share) == pytest.approx(np.quantile(values, share), rel=1e-5, abs=1e-3)
    assert median(values) == pytest.approx(np.median(values), rel=1e-5, abs=1e-3)


def test_a_median_of_nanoseconds_is_exact_to_the_microsecond_two_hundred_days_after_the_start() -> None:
    since_ns = np.array([200 * 86_400 * 10**9 + step for step in (0, 2_000_000, 9)], np.int64)
    assert median(since_ns) == pytest.approx(int(np.median(since_ns)), abs=1_000)
