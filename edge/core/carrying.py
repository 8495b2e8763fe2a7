"""State that is kept beside the tracks, in rows of its own: carried from one look to the next by the tracks' ids."""

from __future__ import annotations

import numpy as np

from edge.core.types import Int64


def rows_again(track_id: Int64, before: Int64) -> Int64:
    """(N,) ids now, (B,) ids before, each of these once and in any order -> (N,) each one's row of before, or -1."""
    order = np.argsort(before, kind="stable")
    # One row more, for ids beyond the last; it is no track's.
    row = np.append(order, -1)[np.searchsorted(before, track_id, sorter=order)]
    return np.where(np.append(before, -1)[row] == track_id, row, -1).astype(np.int64)
