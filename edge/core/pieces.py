"""The pieces that an occupation of the ground is made of, remembered from look to look.

A detector misses a chair in every other look, customers stand before a crate: neither takes it away. As a case in
`cases.py`, a piece is

    found     by the detector or the static-object model
    same      not found, but its pixels still show what was found there
    hidden    somebody stands before it, or something moves there: no clock runs
    empty     it looks different, at rest, with nothing before it; after `GONE_NS` of this it is forgotten

No rule and no dwell here: which pieces count, and for what, is the scenario's.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from edge.core import appearance, boxes, finding_again
from edge.core.appearance import SAME_THING
from edge.core.assignment import assign
from edge.core.finding_again import HIDDEN_SHARE, IN_VIEW_SHARE, SAME_PLACE
from edge.core.scene import Scene
from edge.core.types import NS_PER_S, Bool, Float32, Int16, Int64, Tracks
from edge.core.zones import seen_step_ns

PIECES_MAX = 64  # of one rule at one camera; beyond, new ones are not taken in. 32 KB each, nearly all of it patches
GONE_NS = 3 * NS_PER_S  # a place seen empty for so long has lost its piece; a look that fails is over sooner
NO_LABEL = -1  # of a static region

Float64 = npt.NDArray[np.float64]
Table = npt.NDArray[np.void]
_PATCH = (appearance.PATCH_PX, appearance.PATCH_PX)
ROW = np.dtype(
    [
        ("zone", np.int64),  # row of the camera's zones
        ("xyxy", np.float32, 4),  # px
        ("label", np.int16),  # row of the model's labels, or NO_LABEL
        ("track_id", np.int64),  # -1 for a static region
        ("since_ns", np.int64),  # since when it stands there
        ("found", np.bool_),  # in this look
        ("same", np.bool_),  # not found in this look, but there by its pixels
        ("empty", np.bool_),  # in this look its place lies open, at rest, without it
        ("arrived", np.bool_),  # the place looked different before it stood there
        ("visible_ns", np.int64),  # how long it was in view
        ("found_ns", np.int64),  # how long of that it was found, while it was judged
        ("score_ns", np.float64),  # that time, each look's times its score
        ("empty_ns", np.int64),  # how long its place has been seen without it
        ("occupation", np.int64),  # number of the occupation that it is part of, -1 of none
        ("taken_in_ns", np.int64),  # the look in which it was first known
        ("carried_ns", np.int64),  # when it was last in somebody's hands; 0 never
        ("beside_since_ns", np.int64),  # since when people have been standing beside it, one after the other; 0 nobody
        ("beside_ns", np.int64),  # when somebody last did
        ("company_since_ns", np.int64),  # since when, as far as is known, those who stay have been beside it; 0 nobody
        ("company_ns", np.int64),  # when somebody last did
        ("patch", np.float32, _PATCH),
        ("last_patch", np.float32, _PATCH),  # of the last look in which it was not found
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What one look shows, before it is known what of it is new."""

    zone: Int64  # (N,)
    xyxy: Float32  # (N, 4) px
    label: Int16  # (N,)
    track_id: Int64  # (N,)
    since_ns: Int64  # (N,)
    score: Float32  # (N,)

    def __len__(self) -> int:
        return len(self.zone)

    def take(self, rows: Bool | Int64) -> Evidence:
        return Evidence(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def and_also(self, other: Evidence) -> Evidence:
        names = [field.name for field in fields(self)]
        return Evidence(**{name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in names})


class PieceMemory:
    """The pieces of one rule. `update` once for each look, in time order."""

    def __init__(self, *, judged_ns: int) -> None:
        """`judged_ns`: a piece is judged by its first time in view, so long; after that it is known for what it is."""
        self.table: Table = np.zeros(0, ROW)  # in the order in which they came
        self.refused = 0
        self._judged_ns = judged_ns
        self._looked_ns = -1
        self._size_px = (0, 0)

    @property
    def looked_ns(self) -> int:
        """When the last look was, -1 if what was then is not known to have lasted."""
        return self._looked_ns

    @property
    def found_share(self) -> Float64:
        """(P,) of the time by which each is judged, the share in which it was found."""
        return np.asarray(self.table["found_ns"] / np.clip(self.table["visible_ns"], 1, self._judged_ns), np.float64)

    @property
    def score(self) -> Float64:
        """(P,) mean over the looks that found it."""
        return np.asarray(self.table["score_ns"] / np.maximum(self.table["found_ns"], 1), np.float64)

    def interrupt(self) -> None:
        """The time until the next look is unknown: nothing was seen in it, neither a piece nor an empty place."""
        self._looked_ns = -1

    def update(self, evidence: Evidence, scene: Scene) -> Table:
        """The pieces after this look, those that were seen to be gone left out."""
        now_ns = scene.frame.mono_ns
        step_ns = seen_step_ns(self._looked_ns, now_ns)
        self._looked_ns = now_ns
        self._fit_to(scene.frame.size_px)
        piece, row = assign(-self._continues(evidence), 0.0)
        for name in ("found", "same", "empty"):
            self.table[name] = False
        self.table["found"][piece] = True
        before = _hiders(scene.tracks, np.concatenate([self.table["track_id"], evidence.track_id]))
        self._follow(piece, evidence.take(row), before, scene)
        self._look_for_the_others(before, scene, step_ns)
        self._judge(piece, evidence.score[row], step_ns)
        self.table = self.table[self.table["empty_ns"] < GONE_NS]
        fresh = np.ones(len(evidence), np.bool_)
        fresh[row] = False
        self._take_in(evidence.take(fresh), scene)
        return self.table

    def _fit_to(self, size_px: tuple[int, int]) -> None:
        """A camera that has another resolution now still shows the same street."""
        self.table["xyxy"] *= boxes.rescaling(self._size_px, size_px)
        self._size_px = size_px

    def _continues(self, evidence: Evidence) -> Float32:
        """(P, N) how well each row of this look's evidence continues each piece; 0 not at all."""
        table = self.table
        region, other_region = table["label"] == NO_LABEL, evidence.label == NO_LABEL
        place = finding_again.place_overlap(table["xyxy"], evidence.xyxy)
        within = boxes.coverage(evidence.xyxy, table["xyxy"]).T
        # A static region breaks into pieces, and grows, more readily than a box of the detector's.
        share = np.where(region[:, None], np.maximum(boxes.coverage(table["xyxy"], evidence.xyxy), within), place)
        share = np.where(share >= SAME_PLACE, share, 0)
        same_track = (table["track_id"][:, None] == evidence.track_id[None, :]) & ~other_region[None, :]
        # A chair before a table covers half of it: the label tells them apart, where the detector keeps to it.
        same_label = table["label"][:, None] == evidence.label[None, :]
        strength = share + same_track + 0.5 * (same_label & (share > 0))
        same_kind = (region[:, None] == other_region[None, :]) & (table["zone"][:, None] == evidence.zone[None, :])
        return np.where(same_kind, strength, 0).astype(np.float32)

    def _follow(self, piece: Int64, seen: Evidence, before: Float32, scene: Scene) -> None:
        """Keep place and appearance of what was found true, and never learn the one who stands before it."""
        table = self.table
        overlap = finding_again.place_overlap(table["xyxy"][piece], seen.xyxy).diagonal()
        moved = overlap < SAME_PLACE
        moved &= table["label"][piece] != NO_LABEL
        table["track_id"][piece], table["empty_ns"][piece] = seen.track_id, 0
        table["since_ns"][piece[moved]] = seen.since_ns[moved]
        table["occupation"][piece[moved]] = -1  # it belongs to those that it stands beside now
        rate = np.where(moved, 1.0, 0.2).astype(np.float32)[:, None]  # a box that somebody cuts short is soon whole
        table["xyxy"][piece] += rate * (seen.xyxy - table["xyxy"][piece])
        in_view = moved | (finding_again.covered_share(table["xyxy"][piece], before) <= IN_VIEW_SHARE)
        # Patches are cut out of the picture one by one; a shop puts out a handful of things.
        for index, anew in zip(piece[in_view], moved[in_view], strict=True):
            patch = scene.patch(table["xyxy"][index])
            table["patch"][index] += np.float32(1 if anew else 0.1) * (patch - table["patch"][index])

    def _look_for_the_others(self, before: Float32, scene: Scene, step_ns: int) -> None:
        """What was not found is there by its pixels, or hidden, or its place is empty."""
        table = self.table
        hidden = finding_again.hidden_share(table["xyxy"], before)
        for index in np.flatnonzero(~table["found"]):  # patches, as above
            patch = scene.patch(table["xyxy"][index])
            at_rest = appearance.agreement(table["last_patch"][index], patch) >= SAME_THING
            table["last_patch"][index] = patch
            if appearance.agreement(table["patch"][index], patch) >= SAME_THING:
                table["same"][index], table["empty_ns"][index] = True, 0
            elif at_rest and hidden[index] < HIDDEN_SHARE:
                table["empty"][index] = True
                table["empty_ns"][index] += step_ns

    def _judge(self, piece: Int64, score: Float32, step_ns: int) -> None:
        table = self.table
        still = table["visible_ns"][piece] < self._judged_ns
        table["visible_ns"][table["found"] | table["same"]] += step_ns
        table["found_ns"][piece[still]] += step_ns
        table["score_ns"][piece[still]] += score[still] * float(step_ns)

    def _take_in(self, evidence: Evidence, scene: Scene) -> None:
        now_ns = scene.frame.mono_ns
        room = PIECES_MAX - len(self.table)
        self.refused += max(len(evidence) - room, 0)
        evidence = evidence.take(np.arange(min(len(evidence), room)))
        fresh = np.zeros(len(evidence), ROW)
        for name in ("zone", "xyxy", "label", "track_id", "since_ns"):
            fresh[name] = getattr(evidence, name)
        fresh["found"], fresh["occupation"], fresh["taken_in_ns"] = True, -1, now_ns
        first_ns = np.maximum(now_ns - evidence.since_ns, 1)
        fresh["visible_ns"], fresh["found_ns"], fresh["score_ns"] = first_ns, first_ns, evidence.score * first_ns
        for index, row in enumerate(fresh):  # patches, as above
            row["patch"] = scene.patch(row["xyxy"])
            row["last_patch"] = row["patch"]
            is_region = evidence.label[index] == NO_LABEL  # the static-object model has seen it come
            row["arrived"] = is_region or finding_again.has_arrived(
                row["xyxy"], row["patch"], int(row["since_ns"]), scene
            )
        self.table = np.concatenate([self.table, fresh])


def _hiders(tracks: Tracks, pieces: Int64) -> Float32:
    """(H, 4) px: whatever is seen in this look and is no piece."""
    return tracks.xyxy[(tracks.detection >= 0) & ~np.isin(tracks.track_id, pieces)]
