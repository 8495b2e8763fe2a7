"""Who crosses a line that is drawn on the ground, and which way.

A thing has crossed when it was clearly on one side, is now clearly on the other, and went through the line between
its two ends. Clearly is `BAND` of its box beyond the line, so that a box that trembles on the line, stands on it or
walks along it crosses nothing, and who has crossed counts again only after having gone clearly back.

Looks are compared with looks: a track that is carried on unseen crosses nothing until it is seen again. The state is
rows beside the tracker's table and dies with the track.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.core import boxes
from edge.core.assignment import match_pairs
from edge.core.carrying import rows_again
from edge.core.types import NS_PER_S, Bool, Float32, Int16, Int64, Tracks

# Of the box's extent across the line. A box of which half is hidden for a moment moves its middle by a quarter.
BAND = 0.2
# A track that is lost on the line and found as a new one is the same when it is met this soon, and near to where the
# tracker expects it: half a box height, and one more for each second.
STITCH_NS = 2 * NS_PER_S
STITCH_REACH = 0.5
STITCH_SPEED = 1.0

WAYS = {"up": (0.0, -1.0), "down": (0.0, 1.0), "left": (-1.0, 0.0), "right": (1.0, 0.0)}  # in the picture

_ROW = np.dtype(
    [
        ("track_id", np.int64),
        ("known", np.bool_),  # it was seen before, and nothing unknown lies between
        ("point", np.float64, 2),  # of the last look that saw it, in fractions
        ("side", np.int8),  # where it was clearly last: 1 where `direction` leads, -1 before, 0 not known
        ("through", np.bool_),  # when it last changed sides, however little, it went between the line's ends
        ("score", np.float32),  # the best so far
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Crossings:
    """What one look says of each track."""

    way: Int64  # (T,) 1 crossed the way of `direction`, -1 against it, 0 did not cross now
    score: Float32  # (T,) the best score of the track so far: one look on the line may be a dim one


class Line:
    """One line of one camera. `cross` once for each trusted look, in time order."""

    def __init__(self, ends: Sequence[Sequence[float]], direction: str, *, labels: Int16, anchor: str) -> None:
        """`ends`: two points in fractions; `direction`: of WAYS; `labels`: of the things that are followed."""
        self._ends = np.asarray(ends, np.float64)
        along = self._ends[1] - self._ends[0]
        across = np.array([-along[1], along[0]])
        self._across = across if across @ np.array(WAYS[direction]) > 0 else -across  # at right angles in fractions
        self._labels = labels
        self._anchor = anchor
        self._rows = np.zeros(0, _ROW)

    def interrupt(self) -> None:
        """Nobody looked until now: who is on the other side then may have gone round, or be somebody else."""
        self._rows = np.zeros(0, _ROW)

    def cross(self, tracks: Tracks, *, size_px: tuple[int, int]) -> Crossings:
        """`size_px`: (width, height) of the picture."""
        rows = self._carry_over(tracks)
        seen = tracks.detection >= 0
        point = boxes.anchors(tracks.xyxy, self._anchor) / np.array(size_px, np.float64)
        ahead = (point - self._ends[0]) @ self._across  # > 0 on the side that `direction` leads to
        self._pass_over(rows, point, ahead, seen & rows["known"])
        clear = np.where(self._is_clear(tracks, ahead, size_px), np.where(ahead > 0, 1, -1), 0)
        crossed = seen & rows["through"] & (rows["side"] * clear < 0)
        rows["side"] = np.where(seen & (clear != 0), clear, rows["side"])
        rows["through"] &= ~crossed
        rows["point"][seen] = point[seen]
        rows["score"] = np.where(seen, np.maximum(rows["score"], tracks.score), rows["score"])
        rows["known"] |= seen
        self._rows = rows
        return Crossings(np.where(crossed, clear, 0).astype(np.int64), rows["score"].copy())

    def _pass_over(self, rows: np.ndarray, point: np.ndarray, ahead: np.ndarray, judged: Bool) -> None:
        """Note where the step from the last look went over the line's own straight: between its ends or beyond."""
        before = (rows["point"] - self._ends[0]) @ self._across
        over = judged & ((before > 0) != (ahead > 0))
        share = np.divide(before, before - ahead, out=np.zeros_like(before), where=over)
        met = rows["point"] + share[:, None] * (point - rows["point"])
        along = self._ends[1] - self._ends[0]
        place = (met - self._ends[0]) @ along / (along @ along)
        rows["through"] = np.where(over, (place >= 0) & (place <= 1), rows["through"])

    def _is_clear(self, tracks: Tracks, ahead: np.ndarray, size_px: tuple[int, int]) -> Bool:
        """(T,) whether each box is further from the line than it trembles. Distances in pixels."""
        scale = np.array(size_px, np.float64)
        normal = self._across / scale  # what is at right angles in the picture, not in fractions of it
        length = np.hypot(*normal)
        box_px = np.abs(tracks.xyxy[:, 2:] - tracks.xyxy[:, :2])
        extent_px = box_px @ np.abs(normal / length)
        return np.asarray(np.abs(ahead) / length > BAND * extent_px, np.bool_)

    def _carry_over(self, tracks: Tracks) -> np.ndarray:
        """The last look's rows in the order of the present tracks."""
        rows = np.zeros(len(tracks), _ROW)
        rows["track_id"] = tracks.track_id
        source = rows_again(tracks.track_id, self._rows["track_id"])
        held = source >= 0
        rows[held] = self._rows[source[held]]
        lost = np.flatnonzero(rows["known"] & (tracks.detection < 0) & tracks.labelled(self._labels))
        found = np.flatnonzero(~held & (tracks.detection >= 0) & tracks.labelled(self._labels))
        old, new = self._same_again(tracks, lost, found)
        for name in ("known", "point", "side", "through", "score"):
            rows[name][new] = rows[name][old]
        rows["known"][old], rows["side"][old] = False, 0  # should it be seen again, it is somebody else
        return rows

    def _same_again(self, tracks: Tracks, lost: Int64, found: Int64) -> tuple[Int64, Int64]:
        """Rows of lost tracks and of the new ones that go on with them."""
        if not len(lost) or not len(found):
            return lost[:0], found[:0]
        gap_ns = tracks.first_seen_ns[found][None, :] - tracks.last_seen_ns[lost][:, None]
        step = boxes.anchors(tracks.xyxy[lost])[:, None, :] - boxes.anchors(tracks.xyxy[found])[None, :, :]
        height = np.maximum(tracks.xyxy[lost, 3] - tracks.xyxy[lost, 1], 1)[:, None]
        reach = height * (STITCH_REACH + STITCH_SPEED * gap_ns / NS_PER_S)
        nearness = 1 - np.hypot(step[..., 0], step[..., 1]) / reach
        row, column = np.nonzero((gap_ns > 0) & (gap_ns <= STITCH_NS) & (nearness > 0))
        pairs = match_pairs(row, column, nearness[row, column].astype(np.float64))
        return lost[row[pairs]], found[column[pairs]]
