"""Non-maximum suppression over a whole batch at once, aware of groups of labels.

Boxes of different pictures or different groups never meet. Inside a group the best score keeps its label, so that
a van found as car and as truck stays one detection.
"""

from __future__ import annotations

import numpy as np

from edge.core.types import Bool, Float32, Int16, Int64


def suppress(*, picture: Int64, xyxy: Float32, score: Float32, label: Int16, groups: Int16, iou_max: float) -> Int64:
    """(N,) picture row of each box -> (K,) rows that stay, by picture, best score first.

    Greedy: a box goes when a better one that stays overlaps it by more than `iou_max`. Equal scores are ordered by
    the boxes themselves, so the order of the input does not show in the answer.
    """
    key = picture * (int(groups.max(initial=0)) + 1) + groups[label]
    order = _best_first(key, xyxy, score, label)
    better, worse = _overlapping_pairs(key[order], xyxy[order], iou_max)
    kept = order[_greedy(len(order), better, worse)]
    return kept[_best_first(picture[kept], xyxy[kept], score[kept], label[kept])]


def best_of_each(*, picture: Int64, score: Float32, count_max: int) -> Bool:
    """(N,) True for the `count_max` best boxes of each picture: the bound on what suppression costs."""
    order = np.lexsort((-score, picture))
    sorted_picture = picture[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_picture, sorted_picture)
    chosen = np.zeros(len(order), np.bool_)
    chosen[order] = rank < count_max
    return chosen


def _best_first(key: Int64, xyxy: Float32, score: Float32, label: Int16) -> Int64:
    return np.lexsort((label, xyxy[:, 3], xyxy[:, 2], xyxy[:, 1], xyxy[:, 0], -score, key)).astype(np.int64, copy=False)


def _overlapping_pairs(key: Int64, xyxy: Float32, iou_max: float) -> tuple[Int64, Int64]:
    """Rows (better, worse) of equal key, `key` sorted, that overlap by more than `iou_max`.

    Pairs are written out rather than held in a matrix: most of the batch's N x N would be boxes that never meet.
    """
    row = np.arange(len(key), dtype=np.int64)
    partners = np.searchsorted(key, key, side="right") - row - 1
    first = np.repeat(row, partners)
    begin = np.cumsum(partners) - partners
    second = first + 1 + np.arange(len(first)) - np.repeat(begin, partners)
    x1, y1, x2, y2 = np.ascontiguousarray(xyxy.T)
    # Most pairs are apart in x already: what costs is done for the few that are not.
    for low, high in ((x1, x2), (y1, y2)):
        meeting = (low[second] < high[first]) & (low[first] < high[second])
        first, second = first[meeting], second[meeting]
    width = np.minimum(x2[first], x2[second]) - np.maximum(x1[first], x1[second])
    height = np.minimum(y2[first], y2[second]) - np.maximum(y1[first], y1[second])
    area = (x2 - x1) * (y2 - y1)
    shared = width * height
    over = shared > iou_max * (area[first] + area[second] - shared)
    return first[over], second[over]


def _greedy(count: int, better: Int64, worse: Int64) -> Bool:
    """(count,) True for the rows that greedy suppression keeps.

    All rows are judged at once by the present verdict on their betters, until no verdict changes. A row is final once
    its betters are, so this ends after the longest chain of suppressions, two to five rounds in a street, with the
    answer of the row-by-row loop.
    """
    kept = np.ones(count, np.bool_)
    while True:
        judged = np.ones(count, np.bool_)
        judged[worse[kept[better]]] = False
        if np.array_equal(judged, kept):
            return kept
        kept = judged
