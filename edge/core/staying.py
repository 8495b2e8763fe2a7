"""Who stays: people who have kept within a small circle, remembered by the place where they stand.

    tracks -> follow -> begin -> take over -> forget -> spots

A *spot* is one person's place. It goes on when the person shifts about, ends when the person is seen to walk out of
its circle, and outlives the track for a while: in a crowd somebody is always hidden, and tracks get lost and change
places. Whoever stands where a lost one stood takes over its time. Depth is foreshortened, seen from a pole: a step
along y counts double.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge.core import boxes, ground
from edge.core.assignment import match_pairs
from edge.core.carrying import rows_again
from edge.core.types import NS_PER_S, Bool, Float32, Tracks
from edge.core.zones import seen_step_ns

# Body heights. A metre and a quarter: turning round to a neighbour, and two steps to let somebody pass.
CIRCLE = 0.75
# The circle's middle follows the person this slowly, so that a crowd may drift, and a quarter of a metre a second
# (0.15 body heights; the slowest stroll is twice that) leaves it for good.
DRIFT_NS = 5 * NS_PER_S
JUMP_SPEED = 2.0  # body heights a second; nobody walks so fast: the track has taken somebody else's box
JUMP_MIN = 0.5  # body heights, below which a jump is a trembling box
SETTLED_NS = 2 * NS_PER_S  # who takes over a lost one's time has stood there for as long; a walker is through sooner
LOST_NS = NS_PER_S  # unseen for as long, a spot may be taken over, although its track is still carried on
# A spot in plain view, at which the detector finds nobody, is given up after three times as long as it was ever missed
# before: who was seen in every look has gone, who is seen in every tenth has not.
MISSED_TIMES = 3
MISSED_MIN_NS = 3 * NS_PER_S
MISSED_MAX_NS = 8 * NS_PER_S
WALKED_OFF_NS = 3 * NS_PER_S  # a spot whose own track walked off, where nobody else turns up
HIDDEN_NS = 15 * NS_PER_S  # a spot behind somebody or something
HIDDEN_SHARE = 0.5  # of the box, covered by what stands nearer: who is half covered is mostly still seen
SHRUNK = 0.85  # of the height known so far: legs behind somebody, or a head behind a sign
SHRUNK_NS = 10 * NS_PER_S  # how fast the known height follows such a box; a taller one it follows at once
SPOTS_MAX = 1024  # as many as there are tracks

_SPOT = np.dtype(
    [
        ("track_id", np.int64),  # -1: lost
        ("since_ns", np.int64),
        ("own_ns", np.int64),  # when its track was last seen here
        ("seen_ns", np.int64),  # when anybody was
        ("missed_ns", np.int64),  # the longest time for which nobody was, so far
        ("walked", np.bool_),  # the track came here from elsewhere, step by step; of a lost one, it went so
        ("xyxy", np.float32, 4),  # the whole person, what is hidden added
        ("foot", np.float32, 2),  # middle of the circle
        ("head", np.float32, 2),  # the same for the upper edge, which a crowd does not hide
        ("label", np.int16),
        ("score", np.float32),
    ],
    align=True,
)


class Spots:
    """The places where people of one camera stand. `look` once for each analysed frame, in time order."""

    def __init__(self) -> None:
        self._spots: npt.NDArray[np.void] = np.zeros(0, _SPOT)
        self._looked_ns = -1
        self._size_px = (0, 0)

    def look(self, tracks: Tracks, people: Bool, mono_ns: int, *, size_px: tuple[int, int]) -> None:
        """One frame's tracks; `people` (T,) are those that were seen in it and count; `size_px` (width, height)."""
        step_ns = seen_step_ns(self._looked_ns, mono_ns)
        if step_ns == 0:
            self.interrupt()
        self._looked_ns = mono_ns
        self._fit_to(size_px)
        self._follow(tracks, people, step_ns, mono_ns)
        self._begin(tracks, people, mono_ns)
        self._hand_on(mono_ns)
        self._forget(tracks, mono_ns)

    def interrupt(self) -> None:
        """What was until now is unknown: everybody stands there from the next look on."""
        self._spots = np.zeros(0, _SPOT)

    def staying(self, stay_ns: int) -> npt.NDArray[np.void]:
        """The spots of those who have been seen to stay that long, `_SPOT` rows; they may be hidden at this look."""
        spots = self._spots
        return spots[np.flatnonzero(spots["seen_ns"] - spots["since_ns"] >= stay_ns)]

    def _fit_to(self, size_px: tuple[int, int]) -> None:
        """A camera that has another resolution now still shows the same street."""
        factor = boxes.rescaling(self._size_px, size_px)
        self._size_px = size_px
        self._spots["xyxy"] *= factor
        self._spots["foot"] *= factor[:2]
        self._spots["head"] *= factor[:2]

    def _follow(self, tracks: Tracks, people: Bool, step_ns: int, mono_ns: int) -> None:
        spots = self._spots
        place = rows_again(spots["track_id"], tracks.track_id)
        spots["track_id"][place < 0] = -1
        own = np.flatnonzero(place >= 0)
        own = own[people[place[own]]]
        row = place[own]
        before = spots[own]  # a copy
        whole = _whole(tracks.xyxy[row], before["xyxy"], step_ns)
        foot, head = boxes.anchors(whole), _heads(whole)
        height = whole[:, 3] - whole[:, 1]
        # A person who bends keeps the feet where they are, and one half hidden the head: who walks takes both along.
        away = np.minimum(_apart(foot, before["foot"], height), _apart(head, before["head"], height))
        stepped = _apart(foot, boxes.anchors(before["xyxy"]), height)
        left = away > CIRCLE
        jumped = left & (stepped > max(JUMP_MIN, JUMP_SPEED * step_ns / NS_PER_S))
        follow = np.float32(1 - np.exp(-step_ns / DRIFT_NS))
        for name, point in (("foot", foot), ("head", head)):
            spots[name][own] = np.where(left[:, None], point, before[name] + follow * (point - before[name]))
        spots["since_ns"][own] = np.where(left, mono_ns, before["since_ns"])
        spots["missed_ns"][own] = np.where(left, 0, np.maximum(before["missed_ns"], mono_ns - before["own_ns"]))
        spots["walked"][own] = np.where(left, ~jumped, before["walked"])
        spots["own_ns"][own] = spots["seen_ns"][own] = mono_ns
        spots["xyxy"][own] = whole
        spots["label"][own], spots["score"][own] = tracks.label[row], tracks.score[row]
        # Who was seen to walk off may still be there: in a crowd a track slides from one to the next.
        stood = left & (jumped | (before["own_ns"] - before["since_ns"] >= SETTLED_NS))
        left_behind = before[stood]
        left_behind["track_id"], left_behind["walked"] = -1, ~jumped[stood]
        self._spots = np.concatenate([spots, left_behind])

    def _begin(self, tracks: Tracks, people: Bool, mono_ns: int) -> None:
        row = np.flatnonzero(people & ~np.isin(tracks.track_id, self._spots["track_id"]))
        born = np.zeros(len(row), _SPOT)
        born["track_id"], born["xyxy"] = tracks.track_id[row], tracks.xyxy[row]
        born["since_ns"] = born["own_ns"] = born["seen_ns"] = mono_ns
        born["foot"], born["head"] = boxes.anchors(born["xyxy"]), _heads(born["xyxy"])
        born["label"], born["score"] = tracks.label[row], tracks.score[row]
        self._spots = np.concatenate([self._spots, born])

    def _hand_on(self, mono_ns: int) -> None:
        """Who has settled where a lost one stood, and came when that one was lost, is that one.

        Until then whoever turns up there, and has not walked in, shows that the place is not empty.
        """
        spots = self._spots
        rested_ns = spots["own_ns"] - spots["since_ns"]
        lost = np.flatnonzero((spots["track_id"] < 0) | (mono_ns - spots["own_ns"] >= LOST_NS))
        heir = np.flatnonzero((spots["track_id"] >= 0) & (spots["own_ns"] == mono_ns))
        height = spots["xyxy"][lost, 3] - spots["xyxy"][lost, 1]
        distance = _apart(spots["foot"][heir][None], spots["foot"][lost][:, None], height[:, None])
        came_then = spots["since_ns"][heir][None] >= spots["own_ns"][lost][:, None] - NS_PER_S
        settled = rested_ns[heir] >= SETTLED_NS
        # One walks off and another walks up: two people, and neither has stayed for long.
        changed = spots["walked"][lost][:, None] & spots["walked"][heir][None]
        stood = (rested_ns[lost] >= SETTLED_NS)[:, None]
        shows = (settled[None] & ~changed) | (stood & ~spots["walked"][heir][None])
        pair = np.nonzero((distance < CIRCLE) & came_then & shows)
        chosen = match_pairs(pair[0], pair[1], (CIRCLE - distance[pair]).astype(np.float64))
        if not len(chosen):
            return
        gone, here = lost[pair[0][chosen]], heir[pair[1][chosen]]
        spots["seen_ns"][gone] = mono_ns
        missed_ns = np.maximum(spots["missed_ns"][gone], spots["since_ns"][here] - spots["own_ns"][gone])
        over = settled[pair[1][chosen]]
        spots["missed_ns"][here[over]] = np.maximum(spots["missed_ns"][here], missed_ns)[over]
        spots["since_ns"][here[over]] = spots["since_ns"][gone[over]]
        self._spots = np.delete(spots, gone[over])

    def _forget(self, tracks: Tracks, mono_ns: int) -> None:
        spots = self._spots
        unseen_ns = mono_ns - spots["seen_ns"]
        walked_off = spots["walked"] & (spots["track_id"] < 0)
        patience_ns = np.clip(MISSED_TIMES * spots["missed_ns"], MISSED_MIN_NS, MISSED_MAX_NS)
        doubtful = np.flatnonzero(unseen_ns > np.where(walked_off, WALKED_OFF_NS, patience_ns))
        keep = np.ones(len(spots), np.bool_)
        if len(doubtful):
            hidden = ~walked_off[doubtful] & (_hidden_share(spots[doubtful], tracks) >= HIDDEN_SHARE)
            keep[doubtful] = hidden & (unseen_ns[doubtful] <= HIDDEN_NS)
        if not keep.all():
            self._spots = spots = spots[keep]
        if len(spots) > SPOTS_MAX:
            latest = np.lexsort((spots["since_ns"], -spots["seen_ns"]))
            self._spots = spots[np.sort(latest[:SPOTS_MAX])]


def _apart(one: Float32, other: Float32, height: Float32) -> Float32:
    """(..., 2), (..., 2), (...) -> (...) in body heights on the ground, see `ground.DEPTH`."""
    step = one - other
    return np.asarray(np.hypot(step[..., 0], ground.DEPTH * step[..., 1]) / np.maximum(height, 1), np.float32)


def _heads(xyxy: Float32) -> Float32:
    return np.stack([(xyxy[:, 0] + xyxy[:, 2]) * 0.5, xyxy[:, 1]], axis=1).astype(np.float32, copy=False)


def _whole(seen: Float32, known: Float32, step_ns: int) -> Float32:
    """(N, 4) boxes as seen, and whole ones of before -> whole ones: an edge that is hidden is where the body ends."""
    height, before = seen[:, 3] - seen[:, 1], known[:, 3] - known[:, 1]
    shrunk = height < SHRUNK * before
    whole = before + (height - before) * np.float32(1 - np.exp(-step_ns / SHRUNK_NS))
    shift = np.abs(seen - known)
    feet_hidden = shrunk & (shift[:, 1] <= shift[:, 3])
    head_hidden = shrunk & ~feet_hidden
    xyxy = seen.copy()
    xyxy[:, 3] = np.where(feet_hidden, seen[:, 1] + whole, seen[:, 3])
    xyxy[:, 1] = np.where(head_hidden, seen[:, 3] - whole, seen[:, 1])
    return xyxy


def _hidden_share(spots: npt.NDArray[np.void], tracks: Tracks) -> Float32:
    """(N,) how much of each is covered by the tracks seen nearer than it; where they overlap, it counts twice."""
    nearer = (tracks.xyxy[None, :, 3] >= spots["xyxy"][:, None, 3]) & (tracks.detection >= 0)[None, :]
    nearer &= tracks.track_id[None, :] != spots["track_id"][:, None]
    return np.asarray((boxes.coverage(spots["xyxy"], tracks.xyxy) * nearer).sum(axis=1), np.float32)
