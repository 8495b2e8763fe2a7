"""State that is kept beside the tracks, in rows of its own: carried from one look to the next by the tracks' ids."""

from __future__ import annotations

import numpy as np

from edge.core.types import Int64


def rows_again(track_id: Int64, before: Int64) -> Int64:
    """(N,) ids now, (B,) ids before, each of these once and in any order -> (N,) each one's row of before, or -1."""
    if not len(before):
        return np.full(len(track_id), -1, np.int64)
    order = np.argsort(before, kind="stable")
    place = np.minimum(np.searchsorted(before, track_id, sorter=order), len(order) - 1)
    row = order[place]
    return np.where(before[row] == track_id, row, -1).astype(np.int64, copy=False)
