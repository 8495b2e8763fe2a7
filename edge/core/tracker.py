"""Follows things from look to look: detections in, tracks out.

Two stages after ByteTrack (Zhang et al. 2022): sure detections choose among all tracks, dim ones among what is left
of those seen lately; only sure ones begin a track. Between looks as far apart as keyframes a third stage finds who has
halted where the last look saw it. Boxes are buffered (C-BIoU, Yang et al. 2023) by as much as the motion filter does
not know, so a quick thing seen twice a second still meets its own box. All durations are times.

    detections -> predict -> match sure, dim, halted -> correct -> rest, speed, label -> begin -> forget -> tracks

A track's whole state is one row of one table, and nothing loops over rows. Zones, pictures and cases are unknown here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge.core import boxes, kalman
from edge.core.assignment import match_pairs
from edge.core.types import NS_PER_S, Bool, Detections, Float32, Int16, Int64, Tracks

Float64 = npt.NDArray[np.float64]
Table = npt.NDArray[np.void]

VOTED_LABELS = 4  # labels that one track remembers votes for; a group that flickers has two or three

_ROW = np.dtype(
    [
        ("track_id", np.int64),
        ("group", np.int16),
        ("confirmed", np.bool_),
        ("best_score", np.float32),  # so far; one that began dim must be seen better, or more often, to be told of
        ("hits", np.int64),
        ("missed", np.int64),  # looks in a row without a detection
        ("first_seen_ns", np.int64),
        ("last_seen_ns", np.int64),
        ("score", np.float32),  # of the latest detection
        ("label", np.int16),
        ("voted", np.int16, VOTED_LABELS),  # labels that have votes, -1 where free
        ("votes", np.float64, VOTED_LABELS),
        ("position", np.float64, 4),  # see kalman.Belief
        ("velocity", np.float64, 4),
        ("covariance", np.float64, (4, 3)),
        ("seen_box", np.float64, 4),  # centre and size when last seen
        ("anchor", np.float64, 4),  # xyxy where the box came to rest
        ("rest_since_ns", np.int64),
        ("left_ns", np.int64),  # when the box was first seen off its anchor, -1 while on it
        ("left_box", np.float64, 4),  # xyxy then
        ("speed", np.float64),  # box heights/s
    ],
    align=True,
)


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """Defaults for analysis at 2 to 10 frames a second, and for things that stand still and are seen dimly."""

    high_score_min: float = 0.3  # from here on a detection is sure
    low_score_min: float = 0.1  # below, a detection is not looked at
    new_score_min: float = 0.3  # what a detection needs to begin a track
    # Between looks as far apart as keyframes any detection may begin one, for a parked car whose score is 0.25 in the
    # mean passes 0.3 in one of fifty looks and in none of five. It is told of when it was met in so many looks, once so
    # surely: scenarios have their own least score.
    dim_hits: int = 3
    dim_score_min: float = 0.2
    similarity_min: float = 0.15  # of sure detections: buffered IoU, likeness of size and trust, multiplied
    dim_similarity_min: float = 0.3  # of dim ones
    halted_iou: float = 0.5  # with the box of the last look, of one that was not found where it should have gone
    halts_within_ns: int = 4_000_000_000  # of looks further apart, who stands where one stood may be another
    duplicate_iou: float = 0.7  # a second box of one group over a thing already followed begins no track
    confirm_ns: int = 200_000_000  # a track is told of when it is this old and was seen twice
    tentative_ns: int = 600_000_000  # how long an unconfirmed track is kept unseen
    recent_ns: int = 2_000_000_000  # how long dim detections may go on with a track not seen in the last look
    lost_ns: int = 3_000_000_000  # how long a confirmed track is kept unseen
    leave_ns: int = 600_000_000  # a departure from rest shorter than this is jitter or a passer-by
    still_ns: int = 1_000_000_000  # at rest this long, a thing is taken to stand, and coasts where it stands
    label_half_life_ns: int = 5_000_000_000
    speed_smoothing_ns: int = 500_000_000
    tracks_max: int = 1024
    motion: kalman.Motion = field(default_factory=kalman.Motion)


class Tracker:
    """The tracks of one camera. `dropped` counts tracks given up because the table was full."""

    def __init__(self, settings: TrackerSettings = TrackerSettings(), groups: Int16 | None = None) -> None:
        """`groups` (labels,): group of each label. Detections follow tracks of their own group only, so that a van
        called car, truck and bus in turn stays one track. Without it every label is its own group."""
        self.settings = settings
        self.dropped = 0
        self._groups = groups
        self._table: Table = np.zeros(0, _ROW)
        self._next_id = 1
        self._mono_ns: int | None = None
        self._resumes = False  # a gap in which nobody looked says nothing of how far apart looks are
        self._is_sparse = False  # looks are so far apart that one off its anchor is no jitter
        self._may_have_halted = False  # and near enough that who stands where one stood is that one
        self._size_px: tuple[int, int] | None = None

    def update(self, detections: Detections, mono_ns: int) -> Tracks:
        """One look: the confirmed tracks after it, seen or carried on. Looks must come in time order.

        Boxes that are empty or not finite are passed over. The order of the detections does not matter.
        """
        if self._mono_ns is not None and mono_ns < self._mono_ns:
            raise ValueError(f"Tracker.update: expected mono_ns >= {self._mono_ns}, got {mono_ns}")
        apart_ns = mono_ns - self._mono_ns if self._mono_ns is not None and not self._resumes else 0
        self._is_sparse, self._resumes = apart_ns >= self.settings.leave_ns, False
        self._may_have_halted = self._is_sparse and apart_ns <= self.settings.halts_within_ns
        source_row = _usable_rows(detections, self.settings.low_score_min)
        seen = detections.take(source_row)
        group = self._group_of(seen.label)
        measured = _to_center(seen.xyxy)

        self._predict(mono_ns)
        track_row, seen_row = self._match(measured, seen.score, group, mono_ns)
        missed = np.ones(len(self._table), np.bool_)
        missed[track_row] = False
        self._carry_on(np.flatnonzero(missed), mono_ns)
        self._see(track_row, measured[seen_row], seen.take(seen_row), mono_ns)

        fresh = np.ones(len(seen), np.bool_)
        fresh[seen_row] = False
        fresh = _worth_a_track(seen, group, fresh, self.settings, score_min=self._begin_score_min)
        detection = np.full(len(self._table), -1, np.int64)
        detection[track_row] = source_row[seen_row]
        detection = np.concatenate([detection, source_row[fresh]])
        self._begin(seen.take(fresh), measured[fresh], group[fresh], mono_ns)
        keep = self._forget(mono_ns)
        self._mono_ns = mono_ns
        return self._tracks(detection[keep])

    @property
    def doubtful(self) -> Float32:
        """(N, 4) px: boxes of tracks that the next look may say more of: young, not seen in the last one, or moving.

        One that flickers too dimly to be told of says nothing: it waits for a look that others ask for.
        """
        table = self._table
        rests = self._resting(np.arange(len(table)), self._mono_ns or 0)
        known = table["confirmed"] & (table["missed"] == 0) & rests
        dim = ~table["confirmed"] & (table["best_score"] < self.settings.dim_score_min)
        return _to_corners(table["position"][~known & ~dim]).astype(np.float32)

    @property
    def _begin_score_min(self) -> float:
        settings = self.settings
        return settings.low_score_min if self._is_sparse else max(settings.new_score_min, settings.high_score_min)

    def interrupt(self, mono_ns: int) -> None:
        """Nobody looked until now: what was last seen too long ago to be told from another is forgotten at once.

        A thing that stands where one stood is then a new track, at rest since it was seen again; cases know it by
        its looks.
        """
        self._resumes = True
        patience_ns = np.where(self._table["confirmed"], self.settings.lost_ns, self.settings.tentative_ns)
        self._table = self._table[mono_ns - self._table["last_seen_ns"] <= patience_ns]

    def fit_to(self, *, width: int, height: int) -> None:
        """The size of the next picture in px: a camera may come back with another one, and its tracks go on."""
        before, self._size_px = self._size_px, (width, height)
        if before in (None, self._size_px):
            return
        assert before is not None
        scale = np.array([width / before[0], height / before[1]] * 2)
        for column in ("position", "velocity", "seen_box", "anchor"):
            self._table[column] *= scale
        self._table["covariance"] *= (scale**2)[:, None]

    def _group_of(self, label: Int16) -> Int16:
        if self._groups is None:
            return label
        if len(label) and (label.min() < 0 or label.max() >= len(self._groups)):
            raise ValueError(f"Tracker: labels must be 0..{len(self._groups) - 1} to have a group, got {label.max()}")
        return np.asarray(self._groups[label], np.int16)

    def _predict(self, mono_ns: int) -> None:
        if self._mono_ns is None or not len(self._table):
            return
        table = self._table
        unseen_s = (self._mono_ns - table["last_seen_ns"]) / NS_PER_S
        step_s = (mono_ns - self._mono_ns) / NS_PER_S
        motion = self.settings.motion
        self._store(slice(None), kalman.predict(self._belief(), unseen_s=unseen_s, step_s=step_s, motion=motion))

    def _belief(self) -> kalman.Belief:
        return kalman.Belief(self._table["position"], self._table["velocity"], self._table["covariance"])

    def _store(self, rows: Int64 | slice, belief: kalman.Belief) -> None:
        self._table["position"][rows] = belief.position
        self._table["velocity"][rows] = belief.velocity
        self._table["covariance"][rows] = belief.covariance

    def _match(self, measured: Float64, score: Float32, group: Int16, mono_ns: int) -> tuple[Int64, Int64]:
        """Rows of the table and the detections that they are seen as."""
        table, settings = self._table, self.settings
        row, column, similarity = _similar_pairs(table, measured, group)
        similarity *= np.where(table["confirmed"], 1.0, 0.9)[row] * (0.7 + 0.3 * score[column])
        high = score[column] >= settings.high_score_min

        first = np.flatnonzero(high & (similarity > settings.similarity_min))
        first = first[match_pairs(row[first], column[first], similarity[first] - settings.similarity_min)]

        free = (table["missed"] == 0) | (mono_ns - table["last_seen_ns"] <= settings.recent_ns)
        free[row[first]] = False
        second = np.flatnonzero(~high & free[row] & (similarity > settings.dim_similarity_min))
        second = second[match_pairs(row[second], column[second], similarity[second] - settings.dim_similarity_min)]
        pairs = np.concatenate([first, second])
        row, column = row[pairs], column[pairs]
        if not self._may_have_halted:
            return row, column
        free = score >= settings.high_score_min
        free[column] = False
        halted_row, halted_column = self._halted(row, column, measured, group, free)
        return np.concatenate([row, halted_row]), np.concatenate([column, halted_column])

    def _halted(self, row: Int64, column: Int64, measured: Float64, group: Int16, free: Bool) -> tuple[Int64, Int64]:
        """Who was not found where it should have gone, and has halted where the last look saw it.

        Between looks as far apart as keyframes a car drives in and stands at the next: its speed by the last two looks
        would carry it out of the picture. `free`: sure detections that no track has.
        """
        table, settings = self._table, self.settings
        left = table["missed"] == 0
        left[row] = False
        now = _to_corners(measured).astype(np.float32)
        taken = boxes.iou(now, now[column]) * (group[:, None] == group[column])
        free = free & ~(taken >= settings.duplicate_iou).any(axis=1)  # a second box is no other thing
        rows, columns = np.flatnonzero(left), np.flatnonzero(free)
        before = _to_corners(table["seen_box"][rows]).astype(np.float32)
        overlap = boxes.iou(before, now[columns]) * (table["group"][rows][:, None] == group[columns])
        one, other = np.nonzero(overlap >= settings.halted_iou)
        pairs = match_pairs(one, other, overlap[one, other].astype(np.float64))
        return rows[one[pairs]], columns[other[pairs]]

    def _carry_on(self, rows: Int64, mono_ns: int) -> None:
        """Rows that nothing was seen of: a thing at rest stays, a moving one neither swells nor shrinks away."""
        table = self._table
        table["missed"][rows] += 1
        rests = rows[self._resting(rows, mono_ns)]
        table["position"][rests], table["velocity"][rests] = table["seen_box"][rests], 0
        seen_wh = table["seen_box"][rows, 2:]
        table["position"][rows, 2:] = np.clip(table["position"][rows, 2:], seen_wh * 0.5, seen_wh * 2)

    def _resting(self, rows: Int64, mono_ns: int) -> Bool:
        table = self._table
        old_enough = mono_ns - table["rest_since_ns"][rows] >= self.settings.still_ns
        return np.asarray(old_enough & (table["left_ns"][rows] < 0))

    def _see(self, rows: Int64, measured: Float64, seen: Detections, mono_ns: int) -> None:
        table = self._table
        before = table[rows]
        belief = kalman.Belief(before["position"], before["velocity"], before["covariance"])
        belief = kalman.correct(belief, measured, self.settings.motion)
        np.maximum(belief.position[:, 2:], 1, out=belief.position[:, 2:])
        self._store(rows, belief)
        table["seen_box"][rows] = belief.position
        table["score"][rows] = seen.score
        self._vote(rows, seen, (mono_ns - before["last_seen_ns"]) / self.settings.label_half_life_ns)
        table["hits"][rows] += 1
        table["missed"][rows] = 0
        table["last_seen_ns"][rows] = mono_ns
        self._rest(rows, mono_ns)
        self._pace(rows, (mono_ns - before["last_seen_ns"]) / self.settings.speed_smoothing_ns, mono_ns)
        age_ns = mono_ns - table["first_seen_ns"][rows]
        best = np.maximum(before["best_score"], seen.score)
        table["best_score"][rows] = best
        often = (table["hits"][rows] >= self.settings.dim_hits) & (best >= self.settings.dim_score_min)
        sure = (often & self._is_sparse) | (best >= self.settings.new_score_min)
        table["confirmed"][rows] |= sure & (age_ns >= self.settings.confirm_ns)

    def _vote(self, rows: Int64, seen: Detections, half_lives: Float64) -> None:
        """Adds each score to its label's votes, which fade; the least voted label makes room for a new one.

        The present label keeps its seat until another has half as many votes again: a coin toss does not flip it.
        """
        table = self._table
        voted, votes = table["voted"][rows], table["votes"][rows] * np.exp2(-half_lives)[:, None]
        known = voted == seen.label[:, None]
        slot = np.where(known.any(axis=1), known.argmax(axis=1), votes.argmin(axis=1))
        each = np.arange(len(rows))
        votes[each, slot] = np.where(known.any(axis=1), votes[each, slot], 0) + seen.score
        voted[each, slot] = seen.label
        table["voted"][rows], table["votes"][rows] = voted, votes
        seat = np.where(voted == table["label"][rows][:, None], 1.5, 1.0)
        table["label"][rows] = voted[each, (votes * seat).argmax(axis=1)]

    def _rest(self, rows: Int64, mono_ns: int) -> None:
        """Moves the anchor, and its time, of the boxes that have been off it for long enough.

        Between looks as far apart as keyframes a thing may come to stand elsewhere: the look that saw it there first,
        and jitter or a passer-by that time, is then its first at rest.
        """
        table = self._table
        box = _to_corners(table["position"][rows])
        off = ~_on_anchor(box, table["anchor"][rows])
        before = table["left_ns"][rows]
        since = np.where(off, np.where(before < 0, mono_ns, before), -1)
        gone = off & (mono_ns - since >= self.settings.leave_ns)
        stayed = gone & self._is_sparse & _on_anchor(box, table["left_box"][rows])
        table["left_box"][rows] = np.where((off & (before < 0))[:, None], box, table["left_box"][rows])
        table["left_ns"][rows] = np.where(gone, -1, since)
        table["anchor"][rows[gone]] = np.where(stayed[:, None], table["left_box"][rows], box)[gone]
        table["rest_since_ns"][rows[gone]] = np.where(stayed, before, mono_ns)[gone]

    def _pace(self, rows: Int64, smoothings: Float64, mono_ns: int) -> None:
        """Speed from the filter, or, at rest, from the way made since the rest began: jitter has none."""
        table = self._table
        position, height = table["position"][rows], table["position"][rows, 3]
        anchor = _to_center(table["anchor"][rows])
        moved = np.linalg.norm(position[:, :2] - anchor[:, :2], axis=1)
        rested_s = np.maximum(mono_ns - table["rest_since_ns"][rows], 1) / NS_PER_S
        moving = np.linalg.norm(table["velocity"][rows, :2], axis=1)
        pace = np.where(self._resting(rows, mono_ns), moved / rested_s, moving) / height
        before = table["speed"][rows]
        table["speed"][rows] = before + (pace - before) * (1 - np.exp(-smoothings))

    def _begin(self, seen: Detections, measured: Float64, group: Int16, mono_ns: int) -> None:
        if not len(seen):
            return  # as in most looks, and joining tables of so many columns is slow
        born = np.zeros(len(seen), _ROW)
        belief = kalman.begin(measured, self.settings.motion)
        born["track_id"] = self._next_id + np.arange(len(seen))
        self._next_id += len(seen)
        born["group"], born["label"], born["score"], born["hits"] = group, seen.label, seen.score, 1
        born["voted"], born["voted"][:, 0], born["votes"][:, 0] = -1, seen.label, seen.score
        for name in ("first_seen_ns", "last_seen_ns", "rest_since_ns"):
            born[name] = mono_ns
        born["left_ns"] = -1
        born["best_score"] = seen.score
        born["confirmed"] = (self.settings.confirm_ns <= 0) & (seen.score >= self.settings.new_score_min)
        born["position"], born["velocity"], born["covariance"] = belief.position, belief.velocity, belief.covariance
        born["seen_box"], born["anchor"] = measured, seen.xyxy
        self._table = np.concatenate([self._table, born])

    def _forget(self, mono_ns: int) -> Int64:
        """Drops the rows unseen for too long, and the longest unseen when the table is full; the rows kept.

        Two missed looks at least: with a look every four seconds, one miss says little.
        """
        table, settings = self._table, self.settings
        patience_ns = np.where(table["confirmed"], settings.lost_ns, settings.tentative_ns)
        over = (mono_ns - table["last_seen_ns"] > patience_ns) & (table["missed"] >= 2)
        keep = np.flatnonzero(~over)
        excess = len(keep) - settings.tracks_max
        if excess > 0:
            self.dropped += excess
            eldest = np.lexsort((-table["track_id"][keep], table["last_seen_ns"][keep]))
            keep = np.sort(keep[eldest[excess:]])
        if len(keep) < len(table):
            self._table = table[keep]
        return np.asarray(keep, np.int64)

    def _tracks(self, detection: Int64) -> Tracks:
        rows = np.flatnonzero(self._table["confirmed"])
        told = self._table[rows]
        rest_since_ns = told["rest_since_ns"].copy()
        if self._is_sparse:
            rest_since_ns = np.maximum(rest_since_ns, told["left_ns"])
        return Tracks(
            track_id=told["track_id"].copy(),
            xyxy=_to_corners(told["position"]).astype(np.float32),
            label=told["label"].copy(),
            score=told["score"].copy(),
            detection=detection[rows],
            first_seen_ns=told["first_seen_ns"].copy(),
            last_seen_ns=told["last_seen_ns"].copy(),
            rest_since_ns=rest_since_ns,
            speed=told["speed"].astype(np.float32),
        )


def _usable_rows(detections: Detections, score_min: float) -> Int64:
    """Rows that can be followed, best first, in an order that does not depend on theirs."""
    xyxy, score = detections.xyxy, detections.score
    with np.errstate(invalid="ignore"):
        sound = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1]) & np.isfinite(xyxy).all(axis=1)
    rows = np.flatnonzero(sound & (score >= score_min))
    order = np.lexsort((detections.label[rows], *xyxy[rows].T, -score[rows]))
    return np.asarray(rows[order], np.int64)


def _similar_pairs(table: Table, measured: Float64, group: Int16) -> tuple[Int64, Int64, Float64]:
    """Pairs (track row, detection) of one group whose buffered boxes meet, with buffered IoU times likeness of size.

    The buffer is one standard deviation of the predicted place, between a tenth of the box and the whole of it. It
    makes boxes of all sizes alike, so their widths and heights are compared unbuffered.
    """
    position = np.ascontiguousarray(table["position"])
    size = kalman.box_size(position)
    spread = np.sqrt(table["covariance"][:, :2, 0])
    buffer = np.minimum(np.maximum(spread, np.maximum(0.1 * size, 2)), np.maximum(size, 2))
    row, column = _level_pairs(position[:, 0], position[:, 2] / 2 + 2 * buffer[:, 0], measured)
    # Of those beside one another few are of one height and of one group: the others are gone before it costs.
    reach = position[:, 3] + 2 * buffer[:, 1]
    apart = np.abs(position[:, 1][row] - measured[:, 1][column])
    near = (apart < (reach + 2 * buffer[:, 1])[row] / 2 + measured[:, 3][column] / 2) & (
        table["group"][row] == group[column]
    )
    row, column = row[near], column[near]

    own_wh, seen_wh = position[row, 2:], measured[column, 2:]
    grown, other = own_wh + 2 * buffer[row], seen_wh + 2 * buffer[row]
    apart_xy = np.abs(position[row, :2] - measured[column, :2])
    shared = np.minimum(np.minimum(grown, other), (grown + other) / 2 - apart_xy)
    meet = np.flatnonzero((shared > 0).all(axis=1))

    both = shared[meet, 0] * shared[meet, 1]
    buffered_iou = both / (grown[meet, 0] * grown[meet, 1] + other[meet, 0] * other[meet, 1] - both)
    likeness = (np.minimum(own_wh, seen_wh)[meet] / np.maximum(own_wh, seen_wh)[meet]).prod(axis=1)
    return row[meet], column[meet], buffered_iou * likeness


def _level_pairs(center_x: Float64, reach: Float64, measured: Float64) -> tuple[Int64, Int64]:
    """Pairs near enough from left to right: a sweep over sorted centres, so that a crowd costs no T x N matrix."""
    order = np.argsort(measured[:, 0], kind="stable")
    reach = reach + measured[:, 2].max(initial=0) / 2
    begin = np.searchsorted(measured[order, 0], center_x - reach)
    count = np.searchsorted(measured[order, 0], center_x + reach, side="right") - begin
    row = np.repeat(np.arange(len(center_x)), count)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    return row, order[begin[row] + nth]


def _worth_a_track(seen: Detections, group: Int16, fresh: Bool, settings: TrackerSettings, *, score_min: float) -> Bool:
    """Which unmatched detections begin a track: sure ones that are not a second box over a better or followed one."""
    wanted = fresh & (seen.score >= score_min)
    if not wanted.any():
        return wanted
    rows = np.flatnonzero(wanted)
    overlap = boxes.iou(seen.xyxy[rows], seen.xyxy) >= settings.duplicate_iou
    overlap &= group[rows][:, None] == group[None, :]
    better = np.arange(len(seen))[None, :] < rows[:, None]  # detections come best first
    wanted[rows] = ~(overlap & (~fresh[None, :] | (better & wanted[None, :]))).any(axis=1)
    return wanted


def _on_anchor(xyxy: Float64, anchor: Float64) -> Bool:
    """Whether each box still stands on its anchor: nearly the same box, or the anchor with a part of it hidden.

    A passer-by hides one side: one upright and one level edge stay where they were, and the rest lies inside. A thing
    that moves takes both of its edges with it.
    """
    anchor_wh = anchor[:, 2:] - anchor[:, :2]
    wh = xyxy[:, 2:] - xyxy[:, :2]
    shift = np.abs(xyxy - anchor)
    shared_wh = np.maximum(np.minimum(xyxy[:, 2:], anchor[:, 2:]) - np.maximum(xyxy[:, :2], anchor[:, :2]), 0)
    shared, own, place = shared_wh.prod(axis=1), wh.prod(axis=1), anchor_wh.prod(axis=1)
    center_shift = np.linalg.norm((xyxy[:, :2] + xyxy[:, 2:] - anchor[:, :2] - anchor[:, 2:]) / 2, axis=1)
    same = (center_shift < 0.15 * np.sqrt(place)) & (shared >= 0.6 * (own + place - shared))
    edges_stay = (np.minimum(shift[:, :2], shift[:, 2:]) < 0.15 * anchor_wh).all(axis=1)
    hidden = edges_stay & (shared >= 0.8 * own) & (shared >= 0.3 * place)
    return np.asarray(same | hidden)


def _to_center(xyxy: Float32 | Float64) -> Float64:
    """(N, 4) corners -> (N, 4) centre x, centre y, width, height."""
    corners = xyxy.astype(np.float64)
    return np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)


def _to_corners(box: Float64) -> Float64:
    """(N, 4) centre x, centre y, width, height -> (N, 4) corners."""
    half = box[:, 2:] / 2
    return np.concatenate([box[:, :2] - half, box[:, :2] + half], axis=1)
