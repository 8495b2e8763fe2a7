"""The second stage: a classifier looks at a crop of each finding, and only what it agrees to stays a finding.

It remembers what it was told of a thing, by its track or by its place, so that a thing costs one crop in `EVERY_NS` and
one crop that went wrong decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.core import boxes
from edge.core.pixels import Picture, pixels_of
from edge.core.scene import Scene
from edge.core.types import NS_PER_S, Findings, Float32, UInt8
from edge.ports import Classifier

EVERY_NS = NS_PER_S * 3 // 2  # a thing is looked at again after so long
CROPS_MAX = 4  # in one look at the street: the others wait for the next one, and what was never judged is no finding
KNOWN_MAX = 256  # things remembered; beyond, the one that was not found for longest is forgotten
FORGET_NS = 30 * NS_PER_S  # not found for so long
SAME_PLACE = 0.5  # IoU from which a finding without a track is the thing of before
WEIGHT = 0.5  # of the newest crop: two of a kind outvote what was before
MARGIN = 0.15  # of the box's larger side, on each side
SIDE_MIN_PX = 32  # of the picture: less shows nothing


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the classifier thinks of one thing, over its last crops."""

    model: str
    label: str  # the most probable one
    score: float
    agrees: bool


@dataclass(slots=True, eq=False)
class _Known:
    track_id: int
    box: Float32  # (4,) px, when it was found last
    found_ns: int
    asked_ns: int = -EVERY_NS
    chances: Float32 | None = None  # (C,) None: never judged


class SecondLook:
    """One scenario's second stage at one camera. `keep` once for each frame, in time order."""

    def __init__(self, classifier: Classifier, *, labels: Sequence[str], score_min: float) -> None:
        self._classifier = classifier
        self._wanted = frozenset(labels)
        self._score_min = score_min
        self._known: list[_Known] = []
        self._size_px = (0, 0)
        self.crops = 0  # looked at so far
        self.put_off = 0  # crops that had to wait for a later frame
        self.forgotten = 0  # things that the bound on memory cost

    def keep(self, findings: Findings, scene: Scene) -> Findings:
        """Those findings that the classifier agrees to."""
        now_ns = scene.frame.mono_ns
        self._fit_to(scene.frame.size_px)
        # A scenario finds a handful of things in a frame: a loop over them reads better than arrays of memories.
        things = [self._thing(findings, row, now_ns) for row in range(len(findings))]
        self._ask(things, scene.frame.pixels, now_ns)
        self._forget(now_ns)
        agreed = np.array([self._verdict(thing).agrees for thing in things], np.bool_)
        return findings.take(agreed)

    def verdict_at(self, box: Sequence[float]) -> Verdict | None:
        """What is thought of the thing whose box (xyxy px) this is, None where nothing was asked."""
        judged = [thing for thing in self._known if thing.chances is not None]
        if not judged:
            return None
        overlap = boxes.iou(np.array([box], np.float32), np.array([thing.box for thing in judged]))[0]
        best = int(overlap.argmax())
        return self._verdict(judged[best]) if overlap[best] >= SAME_PLACE else None

    def _thing(self, findings: Findings, row: int, now_ns: int) -> _Known:
        track_id, box = int(findings.track_id[row]), findings.xyxy[row]
        thing = self._by_track(track_id) if track_id >= 0 else self._by_place(box)
        if thing is None:
            thing = _Known(track_id, box, now_ns)
            self._known.append(thing)
        thing.box, thing.found_ns = box, now_ns
        return thing

    def _by_track(self, track_id: int) -> _Known | None:
        return next((thing for thing in self._known if thing.track_id == track_id), None)

    def _by_place(self, box: Float32) -> _Known | None:
        placed = [thing for thing in self._known if thing.track_id < 0]
        if not placed:
            return None
        overlap = boxes.iou(box[None], np.array([thing.box for thing in placed]))[0]
        best = int(overlap.argmax())
        return placed[best] if overlap[best] >= SAME_PLACE else None

    def _ask(self, things: Sequence[_Known], picture: Picture, now_ns: int) -> None:
        """Those that were not looked at for longest first."""
        due = {id(thing): thing for thing in things if now_ns - thing.asked_ns >= EVERY_NS}
        waiting = sorted(due.values(), key=lambda thing: thing.asked_ns)
        asked = waiting[:CROPS_MAX]
        self.put_off += len(waiting) - len(asked)
        self.crops += len(asked)
        if not asked:
            return
        answers = self._classifier.classify([crop_of(picture, thing.box) for thing in asked])
        for thing, chances in zip(asked, answers, strict=True):
            before = chances if thing.chances is None else thing.chances
            thing.chances = before + np.float32(WEIGHT) * (chances - before)
            thing.asked_ns = now_ns

    def _verdict(self, thing: _Known) -> Verdict:
        if thing.chances is None:
            return Verdict(self._classifier.name, "", 0.0, agrees=False)
        best = int(thing.chances.argmax())
        label, score = self._classifier.labels[best], float(thing.chances[best])
        agrees = label in self._wanted and score >= self._score_min
        return Verdict(self._classifier.name, label, score, agrees)

    def _forget(self, now_ns: int) -> None:
        self._known = [thing for thing in self._known if now_ns - thing.found_ns <= FORGET_NS]
        excess = len(self._known) - KNOWN_MAX
        if excess > 0:
            self._known = sorted(self._known, key=lambda thing: thing.found_ns)[excess:]
            self.forgotten += excess

    def _fit_to(self, size_px: tuple[int, int]) -> None:
        """A camera that has another resolution now still shows the same street."""
        before, self._size_px = self._size_px, size_px
        if before in ((0, 0), size_px):
            return
        scale = np.array([size_px[0] / before[0], size_px[1] / before[1]] * 2, np.float32)
        for thing in self._known:
            thing.box = thing.box * scale


def crop_of(picture: Picture, box: Float32) -> UInt8:
    """The picture's part that is a square round the box with a margin, moved inside the picture: no edge is padded
    where the picture has more to show."""
    pixels = pixels_of(picture)
    width, height = pixels.size_px
    middle = (box[:2] + box[2:]) / 2
    side = max(float((box[2:] - box[:2]).max()) * (1 + 2 * MARGIN), SIDE_MIN_PX)
    sides = np.minimum(np.array([side, side]), [width, height])
    corner = np.clip(middle - sides / 2, 0, [width, height] - sides)
    x1, y1 = np.floor(corner).astype(int).tolist()
    x2, y2 = np.ceil(corner + sides).astype(int).tolist()
    return pixels.cut((x1, y1, x2, y2)).bgr()
