"""Simulated traffic before a pinhole camera: who drives, halts and parks where is known, and the real tracker sees it.

    drivers -> places on the road -> boxes in the picture, noisy, some missed -> tracker -> scenario -> case book

Drivers follow one another by the intelligent driver model (Treiber et al. 2000), so queues, start-up waves and
stop-and-go come about by themselves. The road runs along z; a lane is a sideways offset x. Metres, seconds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from edge.core.cases import CaseBook
from edge.core.memory import StreetMemory
from edge.core.scenarios import Rule, scenario_for
from edge.core.scene import Scene
from edge.core.tracker import Tracker
from edge.core.types import CaseChange, Detections, Frame, StaticRegions, UInt8, seconds_to_ns
from edge.core.zones import ZoneMap
from tests.street import texture

WIDTH, HEIGHT = 640, 360
STEP_S = 0.1
EVERYWHERE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """A camera on a pole. yaw 0 looks along the road in the direction of travel, 90 across it, 180 into the faces."""

    yaw_deg: float
    pitch_deg: float = 25
    height_m: float = 6
    away_m: float = 22  # from the place on the road that the picture's middle shows, over the ground
    focal_px: float = 420

    def pixels(self, points: Points) -> Points:
        """(N, 3) x, height, z around the road's origin -> (N, 2) px. The origin is what the camera looks at."""
        yaw, pitch = math.radians(self.yaw_deg), math.radians(self.pitch_deg)
        forward = np.array([math.sin(yaw), 0, math.cos(yaw)])
        right = np.array([math.cos(yaw), 0, -math.sin(yaw)])
        camera = -forward * self.away_m + np.array([0, self.height_m, 0])
        level = points - camera
        ahead, up = level @ forward, level[:, 1]
        depth = np.maximum(ahead * math.cos(pitch) - up * math.sin(pitch), 0.5)
        drop = -ahead * math.sin(pitch) - up * math.cos(pitch)
        middle = self.height_m * math.cos(pitch) - self.away_m * math.sin(pitch)
        depth_0 = self.away_m * math.cos(pitch) + self.height_m * math.sin(pitch)
        y = HEIGHT * 0.6 + self.focal_px * (drop / depth - middle / depth_0)
        return np.stack([WIDTH / 2 + self.focal_px * (level @ right) / depth, y], axis=1)

    def box(self, x: float, z: float, size_m: tuple[float, float, float]) -> Points:
        """(4,) px of a vehicle whose middle stands there."""
        length, width, height = size_m
        corners = [
            (x + dx * width / 2, up * height, z + dz * length / 2) for dx in (-1, 1) for up in (0, 1) for dz in (-1, 1)
        ]
        px = self.pixels(np.array(corners))
        return np.concatenate([px.min(axis=0), px.max(axis=0)])

    def depth(self, x: float, z: float) -> float:
        yaw = math.radians(self.yaw_deg)
        return self.away_m + x * math.sin(yaw) + z * math.cos(yaw)


@dataclass
class Driver:
    """One vehicle in one lane, driving towards +z from `z` on; or, with a `stop`, one that parks."""

    seed: int
    x: float
    z: float
    enters_s: float = 0.0
    speed: float = 9.0
    size_m: tuple[float, float, float] = (4.5, 1.8, 1.5)
    parks_at: float | None = None  # z of its own stop
    parks_s: float = math.inf  # for how long
    parks_x: float | None = None  # swerves to the kerb over the last metres
    flickers: bool = True  # car, truck and bus in turn
    lane: float = field(init=False)
    stopped_s: float = field(init=False, default=-1.0)  # when it came to its own stop
    arrived: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.lane = self.x
        self.arrived = self.parks_at is not None and self.z >= self.parks_at
        self.stopped_s = 0.0 if self.arrived else -1.0


@dataclass
class Traffic:
    """Plays drivers, the light at z = 0 and the camera into one case book."""

    rule: Rule
    view: View
    drivers: Sequence[Driver]
    red: Callable[[float], bool] = lambda time_s: False
    stop_line: float = 0.0
    fps: float = 5.0
    noise: float = 0.015  # of a box's size, one sigma
    miss: float = 0.03  # of looks
    seed: int = 1
    polygon: Sequence[tuple[float, float]] = EVERYWHERE
    now_s: float = 0.0
    changes: list[tuple[float, CaseChange, Driver]] = field(default_factory=list)  # and whose vehicle it is about

    def __post_init__(self) -> None:
        zones = [np.array(self.polygon, np.float32)]
        self.scenario = scenario_for(self.rule, zones)
        self.book = CaseBook(self.rule, camera="c", gateway="s/g")
        self.tracker = Tracker(groups=np.array([0, 1, 1], np.int16))
        self._zones, self._memory = ZoneMap(zones), StreetMemory()
        self._random = np.random.default_rng(self.seed)
        self._ground = texture(1, WIDTH, HEIGHT, level=90)
        self._steps = 0

    def play(self, seconds: float) -> None:
        """Drives on; looks as often as the camera does."""
        for _ in range(round(seconds / STEP_S)):
            self._drive()
            self._steps += 1
            if int(self._steps * STEP_S * self.fps + 1e-6) > int((self._steps - 1) * STEP_S * self.fps + 1e-6):
                self._look()
            self.now_s = round(self.now_s + STEP_S, 6)

    @property
    def opened(self) -> list[tuple[float, Driver]]:
        return [(when, driver) for when, change, driver in self.changes if change.kind == "opened"]

    def _whose(self, change: CaseChange) -> Driver:
        x1, y1, x2, y2 = change.case.footprint

        def away(driver: Driver) -> float:
            box = self.view.box(driver.x, driver.z, driver.size_m)
            return float(np.abs(box - np.array([x1, y1, x2, y2])).sum())

        return min(self.drivers, key=away)

    def _drive(self) -> None:
        """One step of the intelligent driver model for each, the foremost first."""
        on_road = [driver for driver in self.drivers if driver.enters_s <= self.now_s]
        for driver in sorted(on_road, key=lambda one: -one.z):
            gap, lead_speed = math.inf, driver.speed
            for other in on_road:
                if other is not driver and other.z > driver.z and abs(other.x - driver.x) < 1.6:
                    room = other.z - driver.z - (other.size_m[0] + driver.size_m[0]) / 2
                    if room < gap:
                        gap, lead_speed = room, _speeds(other)
            front = driver.z + driver.size_m[0] / 2
            ahead = self.stop_line - front
            if self.red(self.now_s) and ahead > -0.5 and ahead + 2 < gap and _can_stop(driver, ahead):
                gap, lead_speed = ahead + 1.5, 0.0
            if driver.parks_at is not None and (driver.stopped_s < 0 or self.now_s < driver.stopped_s + driver.parks_s):
                own = driver.parks_at - driver.z
                if driver.parks_x is not None and own < 14:
                    driver.x += (driver.parks_x - driver.x) * min(1.0, _speeds(driver) * STEP_S / max(own, 0.5))
                if own + 2 < gap:
                    gap, lead_speed = own + 2, 0.0
            elif driver.parks_at is not None and driver.x != driver.lane:
                driver.x += (driver.lane - driver.x) * 0.1
            _accelerate(driver, gap, lead_speed)
            if (
                driver.parks_at is not None
                and driver.stopped_s < 0
                and _speeds(driver) < 0.5
                and self._near_stop(driver)
            ):
                driver.stopped_s = self.now_s

    def _near_stop(self, driver: Driver) -> bool:
        return driver.parks_at is not None and abs(driver.parks_at - driver.z) < 1.0

    def _look(self) -> None:
        now_ns = seconds_to_ns(self.now_s)
        shown = sorted(
            (driver for driver in self.drivers if driver.enters_s <= self.now_s),
            key=lambda driver: -self.view.depth(driver.x, driver.z),
        )
        picture = self._ground.copy()
        found = []
        truths = [self.view.box(driver.x, driver.z, driver.size_m) for driver in shown]
        for place, (driver, box) in enumerate(zip(shown, truths, strict=True)):
            if not (8 < self.view.depth(driver.x, driver.z) < 70) or not _in_picture(box):
                continue
            _draw(picture, driver.seed, box)
            hidden = sum(_covered(box, nearer) for nearer in truths[place + 1 :])
            if hidden > 0.6 or self._random.random() < self.miss:
                continue
            size = np.sqrt((box[2] - box[0]) * (box[3] - box[1]))
            seen = np.clip(box + self._random.normal(0, self.noise * size, 4), 0, [WIDTH, HEIGHT] * 2)
            label = 1 + int(driver.flickers and self._random.random() < 0.3)
            found.append((*seen, self._random.uniform(0.35, 0.9), label))
        rows = np.array(found, np.float32).reshape(-1, 6)
        detections = Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int16))
        tracks = self.tracker.update(detections, now_ns)
        presence = {"bottom": self._zones.locate(tracks, width=WIDTH, height=HEIGHT, mono_ns=now_ns)}
        frame = Frame("c", 0, now_ns, now_ns, picture)
        self._memory.keep(frame)
        scene = Scene(frame, detections, tracks, presence, StaticRegions.empty(), self._memory)
        told = self.book.advance(self.scenario.find(scene), scene)
        self.changes += [(self.now_s, change, self._whose(change)) for change in told]


def queue_of(
    count: int, *, lane: float = 0.0, first_s: float = 0.0, headway_s: float = 3.5, from_z: float = -60
) -> list[Driver]:
    """Vehicles that come one after another in one lane."""
    return [Driver(seed=200 + 20 * round(lane + 9) + turn, x=lane, z=from_z, enters_s=first_s + headway_s * turn)
            for turn in range(count)]  # fmt: skip


_SPEED: dict[int, float] = {}


def _speeds(driver: Driver) -> float:
    return getattr(driver, "_speed", 0.0 if driver.arrived else driver.speed)


def _accelerate(driver: Driver, gap: float, lead_speed: float) -> None:
    """s0 = 2 m, T = 1.2 s, a = 1.6 m/s², b = 2 m/s²."""
    speed = _speeds(driver)
    wish = 2 + max(0.0, speed * 1.2 + speed * (speed - lead_speed) / (2 * math.sqrt(1.6 * 2)))
    pull = 1.6 * (1 - (speed / max(driver.speed, 0.1)) ** 4 - (wish / max(gap, 0.1)) ** 2)
    speed = max(speed + max(pull, -8.0) * STEP_S, 0.0)
    driver.z += speed * STEP_S
    driver._speed = speed  # type: ignore[attr-defined]


def _can_stop(driver: Driver, ahead: float) -> bool:
    return _speeds(driver) ** 2 / (2 * 5.0) <= max(ahead, 0) + 1


def _in_picture(box: Points) -> bool:
    x1, y1, x2, y2 = np.clip(box, 0, [WIDTH, HEIGHT] * 2)
    whole = (box[2] - box[0]) * (box[3] - box[1])
    return bool((x2 - x1) * (y2 - y1) >= 0.4 * whole and y2 - y1 > 8 and x2 - x1 > 8)


def _covered(box: Points, nearer: Points) -> float:
    wh = np.minimum(box[2:], nearer[2:]) - np.maximum(box[:2], nearer[:2])
    return float(np.maximum(wh, 0).prod() / (box[2:] - box[:2]).prod())


@functools.cache
def _looks(seed: int) -> UInt8:
    return texture(seed, 64, 48)


def _draw(picture: UInt8, seed: int, box: Points) -> None:
    x1, y1, x2, y2 = (round(float(edge)) for edge in box)
    whole = cv2.resize(_looks(seed), (max(x2 - x1, 1), max(y2 - y1, 1)), interpolation=cv2.INTER_AREA)
    left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, WIDTH), min(y2, HEIGHT)
    if right > left and bottom > top:
        picture[top:bottom, left:right] = whole[top - y1 : bottom - y1, left - x1 : right - x1]
