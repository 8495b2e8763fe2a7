"""What happens to the picture as a whole. Programs are pure: picture and time in, picture out; a seed fixes chance.

Each takes the picture as float32 (H, W, 3) in grey levels and may change it in place. They run in the order in which a
camera has them: light of the street, rain, the mount, the sensor's exposure, infra-red.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


class Program(Protocol):
    def apply(self, picture: Float32, time_s: float) -> Float32: ...


def _ramp(time_s: float, begin_s: float, over_s: float) -> float:
    """0 before, 1 after, smooth between."""
    share = float(np.clip((time_s - begin_s) / max(over_s, 1e-6), 0, 1))
    return share * share * (3 - 2 * share)


def _spot(shape: tuple[int, int], x: float, y: float, radius_x: float, radius_y: float) -> Float32:
    """(H, W, 1) a soft spot; all in fractions of the picture."""
    height, width = shape
    across = np.exp(-0.5 * ((np.arange(width) / width - x) / radius_x) ** 2)
    down = np.exp(-0.5 * ((np.arange(height) / height - y) / radius_y) ** 2)
    return np.asarray((down[:, None] * across[None])[..., None], np.float32)


_blob = functools.lru_cache(maxsize=64)(_spot)  # for those that stay where they are


@dataclass(frozen=True, slots=True)
class Dimming:
    """All levels fall to a share of what they were, as behind a cloud or at dusk; and rise again if told to."""

    at_s: float
    over_s: float = 2.0
    to: float = 0.5
    back_s: float | None = None

    def apply(self, picture: Float32, time_s: float) -> Float32:
        dark = _ramp(time_s, self.at_s, self.over_s)
        if self.back_s is not None:
            dark *= 1 - _ramp(time_s, self.back_s, self.over_s)
        return picture * np.float32(1 - (1 - self.to) * dark)


@dataclass(frozen=True, slots=True)
class Clouds:
    """Slow light and shade of the sun: mostly for all, a little one side before the other."""

    seed: int
    depth: float = 0.35
    period_s: float = 24.0

    def apply(self, picture: Float32, time_s: float) -> Float32:
        rng = np.random.default_rng([21, self.seed])
        phases, speeds = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.6, 1.7, 3)
        x = np.linspace(0, 0.6, picture.shape[1], dtype=np.float32)
        angle = 2 * np.pi * time_s / self.period_s
        wave = sum(np.sin(speed * (angle - x) + phase) for speed, phase in zip(speeds, phases, strict=True)) / 3
        return picture * np.asarray(1 + self.depth * wave, np.float32)[None, :, None]


@dataclass(frozen=True, slots=True)
class Headlights:
    """Two beams that sweep along the ground from one point to another; they add light, also to what is dark."""

    at_s: float
    lasts_s: float
    begin: tuple[float, float]
    end: tuple[float, float]
    strength: float = 1.2

    def apply(self, picture: Float32, time_s: float) -> Float32:
        share = (time_s - self.at_s) / self.lasts_s
        if not 0 <= share <= 1:
            return picture
        x, y = (a + (b - a) * share for a, b in zip(self.begin, self.end, strict=True))
        spot = np.zeros((*picture.shape[:2], 1), np.float32)
        for offset in (-0.035, 0.035):
            spot += _spot(picture.shape[:2], x + offset, y, 0.10, 0.06)
        fades = min(1.0, share * 5, (1 - share) * 5)
        warm = np.array([0.85, 0.98, 1.0], np.float32)
        return picture * (1 + self.strength * fades * spot * warm) + 45 * fades * spot * warm


@dataclass(frozen=True, slots=True)
class Lamp:
    """A street lamp is switched on at dusk: before it the picture is dark, after it a warm pool lies on the ground."""

    at_s: float
    x: float
    y: float
    dusk: float = 0.45
    strength: float = 1.5

    def apply(self, picture: Float32, time_s: float) -> Float32:
        lit = _ramp(time_s, self.at_s, 0.4)
        pool = _blob(picture.shape[:2], self.x, self.y, 0.22, 0.20) * np.float32(lit * self.strength)
        warm = np.array([0.55, 0.9, 1.1], np.float32)
        return picture * np.float32(self.dusk) * (1 + pool * warm)


@dataclass(frozen=True, slots=True)
class ExposureSteps:
    """Automatic exposure that hunts: the level jumps now and then and settles within a second."""

    seed: int
    every_s: float = 9.0
    depth: float = 0.22

    def apply(self, picture: Float32, time_s: float) -> Float32:
        number = int(time_s // self.every_s)
        before, now = (self._level(row) for row in (number - 1, number))
        share = 1 - np.exp(-(time_s - number * self.every_s) / 0.4)
        return picture * np.float32(before + (now - before) * share)

    def _level(self, number: int) -> float:
        return 1 + self.depth * float(np.random.default_rng([22, self.seed, max(number, 0)]).uniform(-1, 1))


@dataclass(frozen=True, slots=True)
class InfraRed:
    """A camera's switch from colour to infra-red: black while the filter moves, too bright, then grey.

    Dusk before it; after it the lamps at the camera light the middle, greenery is bright, and colours are lost.
    """

    at_s: float
    dusk: float = 0.5

    def apply(self, picture: Float32, time_s: float) -> Float32:
        since_s = time_s - self.at_s
        if since_s < 0:
            return picture * np.float32(self.dusk)
        if since_s < 0.45:
            return picture * np.float32(0.02)
        infra = picture @ np.array([0.05, 0.35, 0.6], np.float32)
        infra = infra + 0.35 * np.maximum(picture[..., 1] - picture[..., [0, 2]].max(axis=2), 0)
        lit = 0.35 + 0.9 * _blob(picture.shape[:2], 0.5, 0.62, 0.36, 0.42)[..., 0]
        gain = 0.8 + 1.1 * np.exp(-(since_s - 0.45) / 0.5)
        curve = 255 * (np.clip(infra * lit * gain, 0, 255) / 255) ** 0.8
        return np.repeat(np.asarray(curve, np.float32)[..., None], 3, axis=2)


@dataclass(frozen=True, slots=True)
class Rain:
    """Streaks that fall before the camera, new ones in each picture, and a veil that takes some contrast."""

    seed: int
    streaks: int = 140
    veil: float = 0.12

    def apply(self, picture: Float32, time_s: float) -> Float32:
        height, width = picture.shape[:2]
        rng = np.random.default_rng([23, self.seed, round(time_s * 1000)])
        drops = np.zeros((height, width), np.uint8)
        count = round(self.streaks * width / 640)
        near = rng.uniform(0, 1, count) ** 2
        x, y = rng.uniform(-20, width, count), rng.uniform(-40, height, count)
        length = (0.02 + 0.06 * near) * height
        level = (40 + 90 * near).astype(int)
        for row in range(count):
            end = (round(x[row] + 0.12 * length[row]), round(y[row] + length[row]))
            cv2.line(drops, (round(x[row]), round(y[row])), end, int(level[row]), 1, cv2.LINE_AA)
        soft = cv2.GaussianBlur(drops, (0, 0), 0.6).astype(np.float32)[..., None] / 255
        veiled = picture * np.float32(1 - self.veil) + np.float32(150 * self.veil)
        return veiled * (1 - soft) + 215 * soft


@dataclass(frozen=True, slots=True)
class Shake:
    """A pole in the wind: the picture wanders by some pixels and comes back."""

    seed: int
    reach_px: float = 2.0  # at 640 px of width
    begin_s: float = 0.0
    end_s: float = 1e9

    def apply(self, picture: Float32, time_s: float) -> Float32:
        if not self.begin_s <= time_s <= self.end_s:
            return picture
        rng = np.random.default_rng([24, self.seed])
        rates, phases = rng.uniform(0.7, 3.1, (2, 3)), rng.uniform(0, 2 * np.pi, (2, 3))
        reach = self.reach_px * picture.shape[1] / 640
        gust = 0.4 + 0.6 * abs(np.sin(2 * np.pi * time_s / 17 + phases[0, 0]))
        dx, dy = reach * gust * np.sin(2 * np.pi * rates * time_s + phases).mean(axis=1) * 1.7
        move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        size = (picture.shape[1], picture.shape[0])
        return np.asarray(cv2.warpAffine(picture, move, size, borderMode=cv2.BORDER_REFLECT), np.float32)
