"""A composition: a stage, things on it with their tracks, and light; rendered picture by picture, with true boxes."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from tests.composites import footage
from tests.composites.cutouts import SPRITE_FPS, Cutout, cutout
from tests.composites.footage import Stage
from tests.composites.light import Program

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]
SHADOW = 0.42  # of the light is gone under a thing
_NOISE_FIELDS = 12
_DRAWN_MAX = 600


@dataclass(frozen=True, slots=True)
class Waypoint:
    """Where the feet or wheels are at a moment: fractions of the picture."""

    at_s: float
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Placed:
    """A thing on its way. It is there from its first waypoint to `until_s`; between waypoints it glides."""

    thing: str  # of cutouts.py
    way: tuple[Waypoint, ...]
    until_s: float = float("inf")
    scale: float = 1.0
    flip: bool = False
    tilt: tuple[tuple[float, float], ...] = ()  # (at_s, degrees): tipped over from then on
    sways_px: float = 0.0  # somebody who stands: shifts weight by so much
    phase: float = 0.0
    lift_cm: float = 0.0  # above the ground: what lies on a table, or is carried

    def there(self, time_s: float) -> bool:
        return self.way[0].at_s <= time_s < self.until_s

    def feet(self, time_s: float) -> tuple[float, float]:
        times = [point.at_s for point in self.way]
        row = int(np.clip(np.searchsorted(times, time_s, side="right") - 1, 0, len(times) - 1))
        here = self.way[row]
        if row + 1 == len(self.way) or time_s <= here.at_s:
            return here.x, here.y
        there = self.way[row + 1]
        share = (time_s - here.at_s) / (there.at_s - here.at_s)
        return here.x + (there.x - here.x) * share, here.y + (there.y - here.y) * share

    def moves(self, time_s: float) -> bool:
        x, y = self.feet(time_s)
        later = self.feet(time_s + 0.1)
        return self.way[0].at_s <= time_s and abs(later[0] - x) + abs(later[1] - y) > 1e-5


@dataclass(frozen=True, slots=True)
class Composition:
    stage: Stage
    duration_s: float
    seed: int
    things: tuple[Placed, ...] = ()
    programs: tuple[Program, ...] = ()
    fps: int = 5
    moves: bool = False  # the background is footage, not a still
    begin_s: float = 0.0  # into that footage


@dataclass(slots=True, eq=False)
class Renderer:
    """Draws a composition. The same composition gives the same pixels."""

    composition: Composition
    media: Path
    # By the sprite's id and its shift; the sprite is kept too, or another could come to have its id.
    _drawn: dict[tuple[int, int, int], tuple[UInt8, Float32]] = field(default_factory=dict)

    def pictures(self) -> Iterator[UInt8]:
        """(H, W, 3) BGR, `fps` a second."""
        composition = self.composition
        background = self._background()
        noise = self._noise_fields()
        rng = np.random.default_rng([31, composition.seed])
        for index in range(round(composition.duration_s * composition.fps)):
            time_s = index / composition.fps
            picture = next(background).astype(np.float32)
            for placed in self._back_to_front(time_s):
                self._lay(picture, placed, time_s)
            for program in composition.programs:
                picture = program.apply(picture, time_s)
            if not composition.moves:
                row, shift = int(rng.integers(len(noise))), rng.integers(0, 64, 2)
                picture = picture + np.roll(noise[row], tuple(shift), axis=(0, 1))
            yield np.clip(picture + 0.5, 0, 255).astype(np.uint8)

    def box(self, placed: Placed, time_s: float) -> Box:
        """Where the thing is drawn, px, cut at the picture's edge; zero-sized where it is not."""
        if not placed.there(time_s):
            return (0.0, 0.0, 0.0, 0.0)
        sprite, left, top = self._sprite(placed, time_s)
        width, height = self.composition.stage.size
        return (
            float(np.clip(left, 0, width)),
            float(np.clip(top, 0, height)),
            float(np.clip(left + sprite.shape[1], 0, width)),
            float(np.clip(top + sprite.shape[0], 0, height)),
        )

    def _back_to_front(self, time_s: float) -> Sequence[Placed]:
        there = [placed for placed in self.composition.things if placed.there(time_s)]
        return sorted(there, key=lambda placed: placed.feet(time_s)[1] + placed.lift_cm * 1e-5)

    def _background(self) -> Iterator[UInt8]:
        composition = self.composition
        if composition.moves:
            yield from footage.moving(composition.stage, self.media, fps=composition.fps, begin_s=composition.begin_s)
        picture = footage.still(composition.stage, self.media)
        while True:
            yield picture

    def _noise_fields(self) -> list[Float32]:
        width, height = self.composition.stage.size
        rng = np.random.default_rng([32, self.composition.seed])
        level = self.composition.stage.noise
        fields = [rng.normal(0, level, (height, width, 1)).astype(np.float32) for _ in range(_NOISE_FIELDS)]
        return [cv2.GaussianBlur(one, (0, 0), 0.6)[..., None] * np.float32(1.6) for one in fields]

    def _sprite(self, placed: Placed, time_s: float) -> tuple[UInt8, float, float]:
        """The picture of a thing at a moment, scaled; and its left and top edge, px, with fractions."""
        stage = self.composition.stage
        thing = cutout(placed.thing, self.media)
        x, y = placed.feet(time_s)
        walks = placed.moves(time_s)
        row = _row(thing, time_s + placed.phase, walks=walks)
        height_px = stage.person_px(y) * thing.height_cm / 170 * placed.scale
        degrees = next((angle for at_s, angle in reversed(placed.tilt) if time_s >= at_s), 0.0)
        sprite = _scaled(placed.thing, self.media, row, round(height_px * 2) / 2, placed.flip, degrees, stage.soft_px)
        width, height = stage.size
        swing_px = placed.sways_px * np.sin(2 * np.pi * (time_s + placed.phase) / 4.3)
        swing_px += 0.6 * placed.sways_px * np.sin(2 * np.pi * (time_s + placed.phase) / 1.7)
        bob_px = 0.0
        if walks and len(thing.pictures) == 1 and thing.label == "person":
            bob_px = 0.025 * height_px * abs(np.sin(2 * np.pi * (time_s + placed.phase) * 0.9))
        lift_px = stage.person_px(y) * placed.lift_cm / 170
        left = x * width - sprite.shape[1] / 2 + swing_px
        return sprite, left, y * height - sprite.shape[0] - bob_px - lift_px

    def _lay(self, picture: Float32, placed: Placed, time_s: float) -> None:
        """Shadow first, then the thing, as bright as the ground is. Changes `picture`."""
        sprite, left, top = self._sprite(placed, time_s)
        column, row = int(np.floor(left)), int(np.floor(top))
        # A quarter of a pixel is as finely as anybody sees a thing move; what stands is then drawn once.
        part = self._shifted(sprite, round((left - column) * 4), round((top - row) * 4))
        if placed.lift_cm == 0:
            _shade(picture, left, top, sprite.shape)
        window = _overlap(picture, part, column - 1, row - 1)
        if window is None:
            return
        target, source = window
        target *= 1 - source[..., 3:]
        target += source[..., :3]

    def _shifted(self, sprite: UInt8, right_quarters: int, down_quarters: int) -> Float32:
        """A rim of one pixel round the sprite, moved by quarters of a pixel, colours lit and multiplied by alpha."""
        key = (id(sprite), right_quarters, down_quarters)
        if key not in self._drawn:
            if len(self._drawn) >= _DRAWN_MAX:
                self._drawn.clear()
            part = cv2.copyMakeBorder(sprite, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0)).astype(np.float32)
            part[..., 3] /= 255
            part[..., :3] *= part[..., 3:]
            if self.composition.stage.grey:
                part[..., :3] = part[..., :3].mean(axis=2, keepdims=True)
            part[..., :3] *= _gain(part, float(footage.still(self.composition.stage, self.media).mean()))
            shift = np.array([[1, 0, right_quarters / 4], [0, 1, down_quarters / 4]], np.float32)
            self._drawn[key] = (sprite, cv2.warpAffine(part, shift, (part.shape[1], part.shape[0])))
        return self._drawn[key][1]


def _row(thing: Cutout, time_s: float, *, walks: bool) -> int:
    count = len(thing.pictures)
    step = int(time_s * SPRITE_FPS)
    if count == 1 or (not walks and not thing.there_and_back):
        return 0
    if not thing.there_and_back:
        return step % count
    around = step % (2 * count - 2)
    return around if around < count else 2 * count - 2 - around


@functools.lru_cache(maxsize=2048)
def _scaled(  # noqa: PLR0917  its arguments are a cache's key
    name: str, media: Path, row: int, height_px: float, flip: bool, degrees: float, soft_px: float
) -> UInt8:
    picture = cutout(name, media).pictures[row]
    if degrees:
        height, width = picture.shape[:2]
        side = int(np.hypot(height, width)) + 2
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
        turn[:, 2] += (side / 2 - width / 2, side / 2 - height / 2)
        turned = cv2.warpAffine(picture, turn, (side, side))
        rows, columns = np.nonzero(turned[..., 3] > 127)
        turned = turned[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        height_px *= turned.shape[0] / height
        picture = turned
    scale = height_px / picture.shape[0]
    size = (max(2, round(picture.shape[1] * scale)), max(2, round(height_px)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    # Premultiplied, or the colour of what was behind the thing comes back at its rim.
    alpha = picture[..., 3:].astype(np.float32) / 255
    whole = np.dstack([picture[..., :3] * alpha, picture[..., 3:].astype(np.float32)])
    small = cv2.resize(whole, size, interpolation=way)
    small = cv2.GaussianBlur(small, (0, 0), soft_px) if soft_px > 0 else small
    colour = small[..., :3] / np.maximum(small[..., 3:] / 255, 1e-3)
    small = np.dstack([np.clip(colour, 0, 255), np.clip(small[..., 3], 0, 255)]).astype(np.uint8)
    return np.ascontiguousarray(small[:, ::-1] if flip else small)


def _shade(picture: Float32, left: float, top: float, shape: tuple[int, ...]) -> None:
    """A soft contact shadow where the thing touches the ground. Changes `picture`."""
    height, width = shape[:2]
    depth = max(2.0, min(width * 0.16, height * 0.22))
    mask = np.zeros((int(depth * 4) + 4, int(width * 1.5) + 6), np.float32)
    centre = (mask.shape[1] // 2, mask.shape[0] // 2)
    cv2.ellipse(mask, centre, (max(1, round(width * 0.48)), max(1, round(depth * 0.7))), 0, 0, 360, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), depth * 0.45 + 0.4)[..., None]
    window = _overlap(
        picture, mask, round(left + width / 2) - centre[0], round(top + height - depth * 0.35) - centre[1]
    )
    if window is not None:
        window[0][...] *= 1 - SHADOW * window[1]


def _overlap(picture: Float32, part: Float32, left: int, top: int) -> tuple[Float32, Float32] | None:
    """The same part of the picture (a view) and of what is laid on it; None where they do not meet."""
    height, width = picture.shape[:2]
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + part.shape[1], width), min(top + part.shape[0], height)
    if x2 <= x1 or y2 <= y1:
        return None
    return picture[y1:y2, x1:x2], part[y1 - top : y2 - top, x1 - left : x2 - left]


def _gain(part: Float32, around: float) -> np.float32:
    """A dark street makes bright things darker, and the other way round; halfway only, things have a colour."""
    weight = float(part[..., 3].sum())
    if weight < 1:
        return np.float32(1)
    own = float(part[..., :3].mean(axis=2).sum()) / weight
    return np.float32(np.clip((around / max(own, 10.0)) ** 0.3, 0.65, 1.35))
