"""People who walk, stand and queue on a drawn street, seen as a detector would and followed by the real tracker.

Beside `tests/street.py`, which draws single things and says itself which track is which: here tracks get lost and
change places as they do in a crowd, because people hide one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edge.core import boxes
from edge.core.cases import CaseBook
from edge.core.memory import StreetMemory
from edge.core.scenarios import Rule, scenario_for
from edge.core.scene import Scene
from edge.core.tracker import Tracker
from edge.core.types import CaseChange, Detections, Float32, Frame, StaticRegions, UInt8, seconds_to_ns
from edge.core.zones import ZoneMap
from tests.street import HEIGHT, KERB, LABELS, WIDTH, texture

HIDDEN_MIN = 0.6  # of a box that nearer people cover: the detector does not see it any more
Point = tuple[float, float]


@dataclass(frozen=True)
class Walker:
    """Somebody who is at each place of `path` (seconds, foot in px) in turn, and in a straight line between them.

    Not there before the first moment, nor after the last.
    """

    path: Sequence[tuple[float, Point]]
    height: float = 50.0
    score: float = 0.8
    sway: float = 0.0  # px; shifts about from one foot to the other

    def foot(self, now_s: float) -> Point | None:
        times = [moment for moment, _ in self.path]
        if not times[0] <= now_s <= times[-1]:
            return None
        x, y = (np.interp(now_s, times, [place[axis] for _, place in self.path]) for axis in (0, 1))
        return float(x + self.sway * np.sin(1.7 * now_s + self.height)), float(y)

    def box(self, now_s: float) -> tuple[float, float, float, float] | None:
        foot = self.foot(now_s)
        if foot is None:
            return None
        half = 0.2 * self.height
        return foot[0] - half, foot[1] - self.height, foot[0] + half, foot[1]


def stands(x: float, y: float = 150, *, from_s: float = 0, to_s: float = 1e6, **looks: float) -> Walker:
    return Walker(((from_s, (x, y)), (to_s, (x, y))), **looks)


def walks(start: Point, end: Point, *, speed: float, from_s: float = 0, **looks: float) -> Walker:
    """`speed` in body heights a second; an adult's walk is 0.8."""
    height = looks.get("height", 50.0)
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    return Walker(((from_s, start), (from_s + length / (speed * height), end)), **looks)


@dataclass
class Pavement:
    """Plays walkers into one case book, look by look."""

    rule: Rule
    step_s: float = 0.25
    missed: float = 0.0  # share of the boxes that the detector misses by chance
    tremble: float = 0.0  # px, standard deviation of a box's edges
    hide: bool = True
    seed: int = 0
    zone: Sequence[Point] = KERB
    drawn: bool = False  # for rules that look at pixels
    now_s: float = 0.0
    changes: list[tuple[float, CaseChange]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)  # of the largest finding at each look

    def __post_init__(self) -> None:
        zone = np.array(self.zone, np.float32)
        self.scenario = scenario_for(self.rule, [zone])
        self.book = CaseBook(self.rule, camera="c", gateway="s/g")
        self.tracker = Tracker()
        self._zones = ZoneMap([zone])
        self._memory = StreetMemory()
        self._ground = texture(1, WIDTH, HEIGHT, level=90)
        self._random = np.random.default_rng(self.seed)

    def play(self, until_s: float, walkers: Sequence[Walker], *, active: bool = True) -> None:
        while self.now_s < until_s:
            self.look(walkers, active=active)
            self.now_s = round(self.now_s + self.step_s, 6)

    def look(self, walkers: Sequence[Walker], *, active: bool = True, blind: bool = False) -> Scene:
        now_ns = seconds_to_ns(self.now_s)
        present = [(walker, box) for walker in walkers if (box := walker.box(self.now_s)) is not None]
        frame = Frame("c", 0, now_ns, now_ns, self._picture(present))
        tracks = self.tracker.update(self._seen(present), now_ns)
        presence = {"bottom": self._zones.locate(tracks, width=WIDTH, height=HEIGHT, mono_ns=now_ns)}
        scene = Scene(frame, Detections.empty(), tracks, presence, StaticRegions.empty(), self._memory, blind)
        found = self.scenario.find(scene)
        self.counts.append(int(found.count.max(initial=0)))
        self.changes += [(self.now_s, change) for change in self.book.advance(found, scene, active=active)]
        self._memory.keep(frame)
        return scene

    @property
    def told(self) -> list[str]:
        return [change.kind for _, change in self.changes]

    def at(self, kind: str) -> list[float]:
        return [when for when, change in self.changes if change.kind == kind]

    def _seen(self, present: Sequence[tuple[Walker, tuple[float, float, float, float]]]) -> Detections:
        """What nearer people do not hide, less what is missed by chance; who is half hidden is seen dimly."""
        xyxy: Float32 = np.array([box for _, box in present], np.float32).reshape(-1, 4)
        score = np.array([walker.score for walker, _ in present], np.float32)
        nearer = xyxy[None, :, 3] > xyxy[:, None, 3]
        covered = (boxes.coverage(xyxy, xyxy) * nearer).max(axis=1, initial=0) if self.hide else np.zeros(len(xyxy))
        seen = (covered < HIDDEN_MIN) & (self._random.random(len(xyxy)) >= self.missed)
        xyxy = xyxy + self._random.normal(0, 1, xyxy.shape).astype(np.float32) * np.float32(self.tremble)
        score = (score * (1 - 0.5 * covered)).astype(np.float32)
        return Detections(xyxy[seen], score[seen], np.full(int(seen.sum()), LABELS.index("person"), np.int16))

    def _picture(self, present: Sequence[tuple[Walker, tuple[float, float, float, float]]]) -> UInt8:
        if not self.drawn:
            return self._ground
        picture = self._ground.copy()
        for walker, box in sorted(present, key=lambda one: one[1][3]):
            x1, y1, x2, y2 = (round(edge) for edge in box)
            coat = texture(round(walker.height * 100), x2 - x1, y2 - y1)
            inner = (max(y1, 0), min(y2, HEIGHT), max(x1, 0), min(x2, WIDTH))
            picture[inner[0] : inner[1], inner[2] : inner[3]] = coat[
                inner[0] - y1 : inner[1] - y1, inner[2] - x1 : inner[3] - x1
            ]
        return picture
