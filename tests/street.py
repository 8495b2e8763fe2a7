"""A drawn street for tests of the rules: textured ground, things put on it, and the scenes that a worker would see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from edge.core.cases import CaseBook
from edge.core.memory import StreetMemory
from edge.core.scenarios import Rule, rule_class, scenario_for
from edge.core.scene import Scene
from edge.core.sight import shows_nothing
from edge.core.types import (
    NS_PER_S,
    CaseChange,
    Detections,
    Findings,
    Float32,
    Frame,
    StaticRegions,
    Tracks,
    UInt8,
    seconds_to_ns,
)
from edge.core.zones import ZoneMap

WIDTH, HEIGHT = 320, 240
LABELS = ("person", "car", "truck")
Box = tuple[float, float, float, float]
KERB: Sequence[tuple[float, float]] = ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9))


def texture(seed: int, width: int, height: int, *, level: float = 110, contrast: float = 35) -> UInt8:
    """Smooth random texture: what a thing looks like, always the same for a seed."""
    random = np.random.default_rng(seed)
    coarse = random.normal(level, contrast, (height // 6 + 2, width // 6 + 2, 3))
    rows = np.linspace(0, coarse.shape[0] - 1.001, height)
    columns = np.linspace(0, coarse.shape[1] - 1.001, width)
    top, left = rows.astype(int), columns.astype(int)
    down, right = (rows - top)[:, None, None], (columns - left)[None, :, None]
    upper = coarse[top][:, left] * (1 - right) + coarse[top][:, left + 1] * right
    lower = coarse[top + 1][:, left] * (1 - right) + coarse[top + 1][:, left + 1] * right
    return np.clip(upper * (1 - down) + lower * down, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Thing:
    """Something to draw; with a track it is also seen by the detector."""

    seed: int
    box: Box
    track: int = 0  # 0: the detector does not see it
    label: str = "car"
    score: float = 0.8
    rest_s: float = 0.0  # since when it stands
    first_s: float = 0.0
    drawn: bool = True  # False: only the detector believes in it
    carried: bool = False  # the tracker carries it on unseen
    region: bool = False  # the static-object model reports it
    appeared: bool = True  # False: as something that was taken away
    speed: float = 0.0  # box heights a second


@dataclass
class Street:
    """Plays looks of `step_s` into one case book and collects what it tells."""

    rule: Rule
    step_s: float = 0.2
    ground: int = 1
    polygons: Sequence[Sequence[tuple[float, float]]] = ()  # of the rule's zones, all KERB if not given
    now_s: float = 0.0
    zoom: float = 1.0  # the camera's resolution over WIDTH x HEIGHT
    changes: list[tuple[float, CaseChange]] = field(default_factory=list)

    def __post_init__(self) -> None:
        polygons = self.polygons or [KERB] * len(self.rule.zone_names)
        zones = [np.array(polygon, np.float32) for polygon in polygons]
        self.scenario = scenario_for(self.rule, zones)
        self.book = CaseBook(self.rule, camera="c", gateway="s/g")
        self._zones = ZoneMap(zones, anchor=self.rule.anchor)
        self._memory = StreetMemory()
        self._ground = texture(self.ground, WIDTH, HEIGHT, level=90)

    def play(self, seconds: float, *things: Thing, active: bool = True, gain: float = 1.0) -> None:
        """The same things for some seconds."""
        for _ in range(round(seconds / self.step_s)):
            self.look(things, active=active, gain=gain)
            self.now_s = round(self.now_s + self.step_s, 6)

    def look(self, things: Sequence[Thing], *, active: bool = True, gain: float = 1.0) -> None:
        now_ns = seconds_to_ns(self.now_s)
        frame = Frame("c", 0, now_ns, now_ns, self._picture(things, gain))
        tracks = self._tracks([thing for thing in things if thing.track])
        width, height = frame.size_px
        presence = {self.rule.anchor: self._zones.locate(tracks, width=width, height=height, mono_ns=now_ns)}
        blind = shows_nothing(frame.pixels.luma())
        regions = self._regions([thing for thing in things if thing.region])
        scene = Scene(frame, Detections.empty(), tracks, presence, regions, self._memory, blind)
        findings = Findings.empty() if blind else self.scenario.find(scene)
        told = self.book.advance(findings, scene, active=active)
        self._memory.keep(frame)
        self.changes += [(self.now_s, change) for change in told]

    def skip(self, seconds: float) -> None:
        """Time in which no frame comes."""
        self.now_s += seconds

    @property
    def told(self) -> list[str]:
        return [change.kind for _, change in self.changes]

    def at(self, kind: str) -> list[float]:
        return [when for when, change in self.changes if change.kind == kind]

    def _picture(self, things: Sequence[Thing], gain: float) -> UInt8:
        picture = self._ground.copy()
        for thing in (thing for thing in things if thing.drawn):
            x1, y1, x2, y2 = (round(edge) for edge in thing.box)
            picture[y1:y2, x1:x2] = texture(thing.seed, x2 - x1, y2 - y1)
        lit = np.clip(picture * gain, 0, 255).astype(np.uint8)
        return (
            lit if self.zoom == 1 else cv2.resize(lit, None, fx=self.zoom, fy=self.zoom, interpolation=cv2.INTER_AREA)
        )

    def _regions(self, things: Sequence[Thing]) -> StaticRegions:
        boxes: Float32 = np.array([thing.box for thing in things], np.float32).reshape(-1, 4) * np.float32(self.zoom)
        return StaticRegions(
            xyxy=boxes,
            since_ns=np.array([seconds_to_ns(thing.rest_s) for thing in things], np.int64),
            appeared=np.array([thing.appeared for thing in things], np.bool_),
            explained_by=np.full(len(things), -1, np.int64),
            score=np.array([thing.score for thing in things], np.float32),
        )

    def _tracks(self, things: Sequence[Thing]) -> Tracks:
        things = sorted(things, key=lambda thing: thing.track)
        boxes: Float32 = np.array([thing.box for thing in things], np.float32).reshape(-1, 4) * np.float32(self.zoom)
        return Tracks(
            track_id=np.array([thing.track for thing in things], np.int64),
            xyxy=boxes,
            label=np.array([self.rule.label_names.index(thing.label) for thing in things], np.int16),
            score=np.array([thing.score for thing in things], np.float32),
            detection=np.array([-1 if thing.carried else row for row, thing in enumerate(things)], np.int64),
            first_seen_ns=np.array([seconds_to_ns(thing.first_s) for thing in things], np.int64),
            last_seen_ns=np.full(len(things), seconds_to_ns(self.now_s), np.int64),
            rest_since_ns=np.array([seconds_to_ns(thing.rest_s) for thing in things], np.int64),
            speed=np.array([thing.speed for thing in things], np.float32),
        )


def parking_rule(kind: str = "stationary", **changes: object) -> Rule:
    """Illegal parking as the tests use it: 10 s to open, 5 s to clear."""
    settings: dict[str, object] = {
        "scenario": "illegal-parking",
        "zones": (0,),
        "zone_names": ("kerb",),
        "labels": np.array([1, 2], np.int16),
        "label_names": LABELS,
        "score_min": 0.25,
        "after_ns": 10 * NS_PER_S,
        "clear_after_ns": 5 * NS_PER_S,
        "repeat_ns": 0,
    }
    return rule_class(kind)(**{**settings, **changes})  # type: ignore[arg-type]


def person_rule(kind: str, **changes: object) -> Rule:
    settings: Mapping[str, object] = {"scenario": kind, "labels": np.array([0], np.int16)}
    return parking_rule(kind, **{**settings, **changes})
