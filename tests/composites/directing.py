"""What recipes are written in: a director puts things and people on a stage, and notes what is true of it.

Times are seconds into the clip, points fractions of the picture. Speeds follow from the size of people at the place: a
person walks about 1.2 m/s. Truth is taken from what was directed, never from what a detector says of it.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.composites.composition import Box, Composition, Placed, Renderer, Waypoint
from tests.composites.cutouts import SOURCES
from tests.composites.footage import Point, Polygon, Stage
from tests.composites.light import Program

WALK_HEIGHTS_PER_S = 0.75
_HEADS = {
    source.name: np.sign(source.until_box[0] - source.box[0]) for source in SOURCES if source.until_box and source.box
}

# Those that the stock detector sees; measured, see cutouts.py.
CARS = ("silver-saloon", "dark-saloon", "white-sedan", "dark-suv", "red-roadster", "grey-hatchback", "motorway-car",
        "motorway-saloon", "pickup")  # fmt: skip
BUSES = ("city-bus", "purple-bus", "school-bus")
LORRIES = (*BUSES, "food-truck")
WALKERS = ("road-1", "road-2", "road-3", "plaza-1", "plaza-3", "plaza-4", "plaza-5", "plaza-6")
STANDERS = ("standing-man", "vendor", "worker", "boy", "man-in-black", "corridor-left", "corridor-right", "plaza-4")
# Things without a class of the detector's, or that it rarely sees.
GOODS = (
    *(f"{kind}-{number}" for kind in ("crate", "sack", "boards") for number in range(6)),
    "backpack",
    "leather-bag",
    "grey-bag",
    "bananas",
    "more-bananas",
)


@dataclass(frozen=True, slots=True)
class Event:
    """Something true: `things` are those whose boxes together are the event's box, at `look_s`."""

    scenario: str
    zone: str
    start_s: float
    end_s: float | None
    things: tuple[Placed, ...]
    look_s: float
    look_until_s: float | None = None  # of somebody who moves: the box is round all of this time


@dataclass(frozen=True, slots=True)
class Take:
    """One clip to be made, and what is true of it."""

    recipe: str
    seed: int
    composition: Composition
    zones: Mapping[str, Polygon]
    uses: tuple[Mapping[str, Any], ...]
    events: tuple[Event, ...]

    @property
    def clip(self) -> str:
        return f"{self.recipe}_{self.seed:05d}.mp4"

    def truth(self, media: Path) -> dict[str, Any]:
        """As a clip of events.json."""
        composition = self.composition
        renderer = Renderer(composition, media)
        return {
            "clip": self.clip,
            "size": list(composition.stage.size),
            "fps": composition.fps,
            "duration_s": composition.duration_s,
            "what": f"recipe {self.recipe}, seed {self.seed}, stage {composition.stage.name}",
            "zones": {name: [list(point) for point in polygon] for name, polygon in self.zones.items()},
            "scenarios": [dict(use) for use in self.uses],
            "events": [_event(event, renderer) for event in self.events],
        }


def _event(event: Event, renderer: Renderer) -> dict[str, Any]:
    until_s = event.look_s if event.look_until_s is None else event.look_until_s
    looks = np.arange(event.look_s, until_s + 0.01, 0.2)
    boxes = np.array([renderer.box(placed, look_s) for look_s in looks for placed in event.things])
    corners = [*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)]
    return {
        "scenario": event.scenario,
        "zone": event.zone,
        "start_s": round(event.start_s, 1),
        "end_s": None if event.end_s is None else round(event.end_s, 1),
        "box_px": [round(float(value)) for value in corners],
    }


@dataclass
class Director:
    """Builds one take. `duration_s` bounds all that happens."""

    recipe: str
    seed: int
    stage: Stage
    duration_s: float
    media: Path
    zones: dict[str, Polygon] = field(default_factory=dict)
    uses: list[Mapping[str, Any]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    things: list[Placed] = field(default_factory=list)
    programs: list[Program] = field(default_factory=list)
    fps: int = 5

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng([self.seed, zlib.crc32(self.recipe.encode())])
        self._taken: list[tuple[float, float, float]] = []

    def take(self, *, moves: bool = False) -> Take:
        begin_s = float(self.rng.uniform(0, 60)) if moves else 0.0
        composition = Composition(
            self.stage, self.duration_s, self.seed, tuple(self.things), tuple(self.programs), self.fps,
            moves=moves and self.stage.moving_s is not None, begin_s=begin_s,
        )  # fmt: skip
        return Take(self.recipe, self.seed, composition, self.zones, tuple(self.uses), tuple(self.events))

    def box(self, placed: Placed, time_s: float) -> Box:
        return Renderer(self.take().composition, self.media).box(placed, time_s)

    def watch(self, scenario: str, zone: str, polygon: Polygon, **settings: float) -> None:
        self.zones[zone] = polygon
        self.uses.append({"use": scenario, "zones": [zone], **settings})

    def note(
        self,
        scenario: str,
        zone: str,
        start_s: float,
        end_s: float | None,
        *things: Placed,
        look_s: float,
        look_until_s: float | None = None,
    ) -> None:
        ends = None if end_s is None or end_s >= self.duration_s else end_s
        self.events.append(Event(scenario, zone, start_s, ends, things, look_s, look_until_s))

    def pick(self, choices: Sequence[str]) -> str:
        return choices[int(self.rng.integers(len(choices)))]

    def some(self, choices: Sequence[str], count: int) -> list[str]:
        """Different ones."""
        rows = self.rng.permutation(len(choices))[:count]
        return [choices[row] for row in rows]

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    # Places

    def spot(self, polygon: Polygon, *, apart: float = 1.0, rim: float = 0.03) -> Point:
        """A free place in a polygon, `apart` body heights from the others so far where there is so much room."""
        corners = np.array(polygon, np.float32)
        low, high = corners.min(axis=0), corners.max(axis=0)
        x = y = 0.0
        for row in range(300):
            patience = 1 - 0.7 * row / 300  # a full stage takes what is nearly free
            x, y = (float(value) for value in self.rng.uniform(low, high))
            body = self.stage.person_px(y)
            if cv2.pointPolygonTest(corners, (x, y), True) < rim * patience:
                continue
            if all(self._heights_apart((x, y), (a, b)) >= apart * patience for a, b, _ in self._taken):
                self._taken.append((x, y, body))
                return x, y
        raise ValueError(f"{self.recipe} {self.seed}: no free place on {self.stage.name}")

    def _heights_apart(self, one: Point, other: Point) -> float:
        width, height = self.stage.size
        across, down = (one[0] - other[0]) * width, (one[1] - other[1]) * height * 1.6
        return float(np.hypot(across, down)) / self.stage.person_px(max(one[1], other[1]))

    def gate(self) -> Point:
        return self.stage.gates[int(self.rng.integers(len(self.stage.gates)))]

    # People

    def walk_s(self, begin: Point, end: Point, *, pace: float = 1.0) -> float:
        """How long the way takes; towards the camera a step looks shorter."""
        width, height = self.stage.size
        length = np.hypot((end[0] - begin[0]) * width, (end[1] - begin[1]) * height * 1.6)
        body = self.stage.person_px((begin[1] + end[1]) / 2)
        return max(float(length / (WALK_HEIGHTS_PER_S * pace * body)), 0.6)

    def walks(self, points: Sequence[Point], at_s: float, *, who: str | None = None, pace: float = 1.0) -> Placed:
        """Somebody who walks from point to point and is gone after the last."""
        name = who or self.pick(WALKERS)
        way, now_s = [Waypoint(at_s, *points[0])], at_s
        for begin, end in itertools.pairwise(points):
            now_s += self.walk_s(begin, end, pace=pace)
            way.append(Waypoint(now_s, *end))
        placed = Placed(
            name, tuple(way), until_s=now_s, flip=_turned(name, points[-1][0] - points[0][0]), phase=self.between(0, 3),
            scale=self.between(0.94, 1.06),
        )  # fmt: skip
        self.things.append(placed)
        return placed

    def stays(
        self, place: Point, at_s: float, until_s: float, *, who: str | None = None, gate: Point | None = None
    ) -> Placed:
        """Somebody who walks in, stands at `place` from `at_s` to `until_s`, and walks off. Shifts weight meanwhile."""
        name = who or self.pick(STANDERS)
        came, goes = gate or self.gate(), self.gate()
        way = [Waypoint(at_s - self.walk_s(came, place), *came), Waypoint(at_s, *place)]
        gone_s = until_s
        if until_s < self.duration_s:
            gone_s = until_s + self.walk_s(place, goes)
            way += [Waypoint(until_s, *place), Waypoint(gone_s, *goes)]
        placed = Placed(
            name, tuple(way), until_s=gone_s, flip=bool(self.rng.integers(2)), sways_px=self.between(0.4, 1.2),
            phase=self.between(0, 3), scale=self.between(0.94, 1.06),
        )  # fmt: skip
        self.things.append(placed)
        return placed

    def passers_by(self, count: int, *, begin_s: float = 0.0, end_s: float | None = None) -> None:
        """People who cross the ground without staying."""
        for _ in range(count):
            begin, end = (self.stage.gates[row] for row in self.rng.permutation(len(self.stage.gates))[:2])
            middle = self.spot(self.stage.ground, apart=0.0)
            at_s = self.between(begin_s, (end_s or self.duration_s) - 4)
            self.walks([begin, middle, end], at_s, pace=self.between(0.8, 1.4))

    # Goods

    def put_down(
        self, thing: str, place: Point, at_s: float, *, until_s: float = float("inf"), scale: float = 1.0
    ) -> Placed:
        """Somebody brings it, bends over it for a moment, and goes; likewise when it is taken away again."""
        placed = Placed(thing, (Waypoint(at_s, *place),), until_s=until_s, scale=scale, flip=bool(self.rng.integers(2)))
        self.things.append(placed)
        self._carrier(place, at_s)
        if until_s < self.duration_s:
            self._carrier(place, until_s)
        return placed

    def _carrier(self, place: Point, at_s: float) -> None:
        """Before the thing (nearer to the camera) at that moment, so that it comes from behind a person."""
        came, goes = self.gate(), self.gate()
        before = (place[0] + self.between(-0.004, 0.004), place[1] + 0.012)
        arrives_s, leaves_s = at_s - self.between(0.6, 1.2), at_s + self.between(0.8, 1.6)
        name = self.pick(WALKERS)
        way = (
            Waypoint(arrives_s - self.walk_s(came, before), *came),
            Waypoint(arrives_s, *before),
            Waypoint(leaves_s, *before),
            Waypoint(leaves_s + self.walk_s(before, goes), *goes),
        )
        self.things.append(Placed(name, way, until_s=way[-1].at_s, flip=_turned(name, goes[0] - place[0])))

    # Vehicles

    def parks(
        self, vehicle: str, place: Point, at_s: float, *, until_s: float = float("inf"), from_start: bool = False
    ) -> Placed:
        """Comes along the lane, stops at `place` at `at_s`, and drives on along the lane at `until_s`."""
        lane = self.stage.lane
        row = _nearest_leg(lane, place)
        way = [Waypoint(at_s, *place)]
        if not from_start:
            points = [*lane[: row + 1], place]
            back_s = at_s
            for begin, end, rate in zip(points[-2::-1], points[:0:-1], (0.45, 0.9, 1.0, 1.0), strict=False):
                back_s -= self._drive_s(begin, end) / rate
                way.insert(0, Waypoint(back_s, *begin))
        gone_s = until_s
        if until_s < self.duration_s:
            points, gone_s = [place, *lane[row + 1 :]], until_s
            way.append(Waypoint(until_s, *place))
            for begin, end in itertools.pairwise(points):
                gone_s += self._drive_s(begin, end) / 0.8
                way.append(Waypoint(gone_s, *end))
        placed = Placed(vehicle, tuple(way), until_s=gone_s, flip=lane[-1][0] < lane[0][0])
        self.things.append(placed)
        return placed

    def drives_through(
        self, vehicle: str, at_s: float, *, pace: float = 1.0, halts: Sequence[tuple[float, float]] = ()
    ) -> Placed:
        """Along the whole lane; `halts`: (share of the lane, until_s)."""
        lane = self.stage.lane
        lengths = [self._drive_s(begin, end) / pace for begin, end in itertools.pairwise(lane)]
        total = sum(lengths)
        marks: list[tuple[float, Point, float | None]] = [
            (sum(lengths[:row]) / total, point, None) for row, point in enumerate(lane)
        ]
        marks += [(share, along(lane, lengths, share), until_s) for share, until_s in halts]
        way, now_s, here = [], at_s, 0.0
        for share, point, until_s in sorted(marks, key=lambda mark: mark[0]):
            now_s += (share - here) * total
            here = share
            if not way or now_s > way[-1].at_s + 1e-6:
                way.append(Waypoint(now_s, *point))
            if until_s is not None and until_s > now_s:
                now_s = until_s
                way.append(Waypoint(now_s, *point))
        placed = Placed(vehicle, tuple(way), until_s=now_s, flip=lane[-1][0] < lane[0][0])
        self.things.append(placed)
        return placed

    def traffic(self, every_s: float, *, begin_s: float = 0.0, end_s: float | None = None) -> None:
        now_s = begin_s + self.between(0, every_s)
        while now_s < (end_s or self.duration_s):
            self.drives_through(self.pick(CARS), now_s, pace=self.between(0.8, 1.3))
            now_s += every_s * self.between(0.6, 1.4)

    def _drive_s(self, begin: Point, end: Point) -> float:
        """About 5 m/s in a street."""
        return self.walk_s(begin, end, pace=4.0)

    def entered_s(self, placed: Placed, polygon: Polygon) -> float:
        """When its feet first are inside."""
        corners = np.array(polygon, np.float32)
        for time_s in np.arange(0, self.duration_s, 0.1):
            inside = placed.there(time_s) and cv2.pointPolygonTest(corners, placed.feet(time_s), False) >= 0
            if inside:
                return float(time_s)
        raise ValueError(f"{self.recipe} {self.seed}: {placed.thing} never enters")

    def left_s(self, placed: Placed, polygon: Polygon) -> float:
        corners = np.array(polygon, np.float32)
        for time_s in np.arange(self.duration_s, 0, -0.1):
            if placed.there(time_s) and cv2.pointPolygonTest(corners, placed.feet(time_s), False) >= 0:
                return float(time_s)
        raise ValueError(f"{self.recipe} {self.seed}: {placed.thing} never enters")


def along(lane: Sequence[Point], lengths: Sequence[float], share: float) -> Point:
    """The point at a share of the lane's length."""
    left = share * sum(lengths)
    for begin, end, length in zip(lane, lane[1:], lengths, strict=False):
        if left <= length:
            part = left / length
            return begin[0] + (end[0] - begin[0]) * part, begin[1] + (end[1] - begin[1]) * part
        left -= length
    return lane[-1]


def _nearest_leg(lane: Sequence[Point], place: Point) -> int:
    """The last point of the lane before the place."""
    middles = [((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, b in itertools.pairwise(lane)]
    apart = [np.hypot(x - place[0], y - place[1]) for x, y in middles]
    return int(np.argmin(apart))


def _turned(name: str, dx: float) -> bool:
    heads = float(_HEADS.get(name, 0.0))
    return bool(heads * dx < 0)
