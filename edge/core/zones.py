"""Which track is in which zone, and the visits that follow from it.

A visit begins with the first look inside and ends after `leave_ns` outside: a box's lower edge that trembles on
the line neither ends a visit nor begins one. The state is rows beside the tracker's table and dies with the track.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.core import boxes
from edge.core.carrying import rows_again
from edge.core.raster import Raster
from edge.core.types import NS_PER_S, Bool, Detections, Float32, Int64, Presence, Tracks

LEAVE_NS = 3 * NS_PER_S // 2
# Time between two looks that still counts as looked at: cameras send a keyframe at least this often (25 s was the
# longest met in files). A longer gap is time in which nobody knows, and counts for nothing.
GAP_MAX_NS = 30 * NS_PER_S
TOLD_LATE_NS = NS_PER_S  # a track is told of at its second look: at two a second, at once


class ZoneMap:
    """The zones of one camera, and the present visits to them by one kind of anchor point."""

    def __init__(self, zones: Sequence[Float32], *, anchor: str = boxes.BOTTOM, leave_ns: int = LEAVE_NS) -> None:
        self._zones = Raster(zones)
        self._anchor = anchor
        self._leave_ns = leave_ns
        self._looked_ns = -1
        self._track_id = np.zeros(0, np.int64)  # (T,) of the last look
        self._entered_ns = np.zeros((len(zones), 0), np.int64)  # (Z, T), 0 outside
        self._visible_ns = np.zeros((len(zones), 0), np.int64)
        self._inside_ns = np.zeros((len(zones), 0), np.int64)  # last time inside

    def locate(self, tracks: Tracks, *, width: int, height: int, mono_ns: int) -> Presence:
        """Where each track is now. Coasting tracks stay where they were last seen."""
        inside = self.inside(tracks.xyxy, width=width, height=height)
        entered, visible, last_inside = self._carry_over(tracks.track_id)  # of the last look's
        step_ns = seen_step_ns(self._looked_ns, mono_ns)
        visiting = inside | ((entered > 0) & (mono_ns - last_inside <= self._leave_ns))
        entered = np.where(visiting, np.where(entered > 0, entered, np.maximum(self._came_ns(tracks, mono_ns), 1)), 0)
        seen = inside & (tracks.detection >= 0)[None, :] & (entered < mono_ns)
        visible = np.where(visiting, visible + np.where(seen, step_ns, 0), 0)
        self._track_id, self._entered_ns, self._visible_ns = tracks.track_id, entered, visible
        self._inside_ns = np.where(inside, mono_ns, last_inside)
        self._looked_ns = mono_ns
        return Presence(inside, entered, visible)

    def interrupt(self) -> None:
        """The time until the next look is unknown: no visit was seen in it."""
        self._looked_ns = -1

    def inside(self, xyxy: Float32, *, width: int, height: int) -> Bool:
        """(N, 4) px -> (Z, N): whose anchor point lies in which zone, at this very look."""
        points = boxes.anchors(xyxy, self._anchor)
        # A box cut by the frame's lower edge has its foot on the last line: keep it inside a zone that ends there.
        points = np.minimum(points, np.array([width - 0.5, height - 0.5], np.float32))
        return self._zones.inside(points, width=width, height=height)

    def _came_ns(self, tracks: Tracks, mono_ns: int) -> Int64:
        """(T,) since when each has been where it is: who is told of only now, looks being far apart, since it rests."""
        if self._looked_ns < 0 or mono_ns - self._looked_ns <= TOLD_LATE_NS:
            return np.full(len(tracks), mono_ns, np.int64)
        late = (mono_ns - tracks.rest_since_ns > TOLD_LATE_NS) & ~np.isin(tracks.track_id, self._track_id)
        return np.where(late, tracks.rest_since_ns, mono_ns)

    def _carry_over(self, track_id: Int64) -> tuple[Int64, Int64, Int64]:
        """The last look's rows in the order of the present tracks; zero for a track that is new."""
        source = rows_again(track_id, self._track_id)
        known = source >= 0
        carried = []
        for rows in (self._entered_ns, self._visible_ns, self._inside_ns):  # three arrays, one order
            moved = np.zeros((len(self._zones), len(track_id)), np.int64)
            moved[:, known] = rows[:, source[known]]
            carried.append(moved)
        return carried[0], carried[1], carried[2]


def seen_step_ns(looked_ns: int, now_ns: int) -> int:
    """How much of the time since the last look (-1: there was none) counts as looked at."""
    gap_ns = now_ns - looked_ns
    return gap_ns if looked_ns >= 0 and gap_ns <= GAP_MAX_NS else 0


def parted_by_masks(detections: Detections, masks: Raster, *, width: int, height: int) -> tuple[Detections, Detections]:
    """The detections whose middle lies in none of the masks, and the others."""
    if not len(masks):
        return detections, Detections.empty()
    # What is cut by the frame's edge has its middle inside; the last pixel is whose the edge is.
    middles = np.minimum(
        boxes.anchors(detections.xyxy, boxes.CENTER), np.array([width - 0.5, height - 0.5], np.float32)
    )
    hidden = masks.inside(middles, width=width, height=height).any(axis=0)
    return detections.take(np.asarray(~hidden, np.bool_)), detections.take(np.asarray(hidden, np.bool_))
