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
    """Rows (better, worse) of equal key, best first within a key, that overlap by more than `iou_max`.

    A sweep from left to right, the keys side by side: only boxes that begin before another ends are paired at all.
    """
    if not len(key):
        return key, key
    x1, y1, x2, y2 = np.ascontiguousarray(xyxy.T)
    left = float(x1.min())
    offset = key * (float(x2.max()) - left + 1) - left  # float64: no two keys touch, and no pixel is lost
    sweep = np.argsort(offset + x1, kind="stable")
    begin = np.arange(1, len(key) + 1)
    count = np.maximum(np.searchsorted((offset + x1)[sweep], (offset + x2)[sweep]) - begin, 0)
    first = np.repeat(sweep, count)
    second = sweep[np.arange(len(first)) + np.repeat(begin - np.cumsum(count) + count, count)]
    # Most pairs are apart in y: what costs is done for the few that are not.
    meeting = (y1[second] < y2[first]) & (y1[first] < y2[second])
    better, worse = np.minimum(first, second)[meeting], np.maximum(first, second)[meeting]
    width = np.minimum(x2[better], x2[worse]) - np.maximum(x1[better], x1[worse])
    height = np.minimum(y2[better], y2[worse]) - np.maximum(y1[better], y1[worse])
    area = (x2 - x1) * (y2 - y1)
    shared = width * height
    over = shared > iou_max * (area[better] + area[worse] - shared)
    return better[over], worse[over]


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
