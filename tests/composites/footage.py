"""Stages: real backgrounds, moving or still, with the ground on which things may stand.

A still is a temporal median, so that nobody is in it; the sensor's noise is laid over it again when it is rendered. A
moving stretch is the footage itself; where it is shorter than the composition it is played again, with a cross-fade of
a second at the seam. Points and polygons are fractions of the stage's picture. Heights are read off the
people and cars in the footage.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
Point = tuple[float, float]
Polygon = tuple[Point, ...]
SEAM_S = 1.0
_STILL_SAMPLES = 25


@dataclass(frozen=True, slots=True)
class Stage:
    """One camera's view. `gates`: where people come in. `lane`: the traffic's way. `kerb`: where vehicles stand."""

    name: str
    clip: str
    size: tuple[int, int]  # width, height px of the composition
    person: tuple[float, float]  # one of 170 cm at y: (person[0] + person[1] * y) of the picture's height
    ground: Polygon
    gates: tuple[Point, ...]
    lane: tuple[Point, ...] = ()
    kerb: tuple[Point, ...] = ()  # from near to far; empty: no place for vehicles
    kerb_zone: Polygon = ()
    still_s: tuple[float, float] = (0.0, 1e9)  # the median is taken of this stretch
    moving_s: tuple[float, float] | None = None  # this stretch moves, and has no case of its own
    crop: tuple[int, int, int, int] | None = None  # x, y, width, height px of the file
    noise: float = 2.0  # grey levels of the sensor
    soft_px: float = 0.6  # how blurred the picture is: a cut-out must not be sharper than the street
    grey: bool = False

    def person_px(self, y: float) -> float:
        return max((self.person[0] + self.person[1] * y) * self.size[1], 4.0)


PLAZA = Path(__file__).resolve().parents[2] / "configs" / "demo" / "plaza.mp4"

STAGES = (
    Stage(
        "plaza", "plaza.mp4", (480, 360), (0.051, 0.195),
        ground=((0.02, 0.50), (0.30, 0.54), (0.52, 0.70), (0.72, 0.84), (0.70, 0.97), (0.02, 0.97)),
        gates=((-0.05, 0.44), (1.05, 0.66), (1.05, 0.80), (-0.05, 0.75)),
        lane=((1.15, 0.68), (0.80, 0.50), (0.40, 0.405), (-0.15, 0.39)),
        kerb=((0.88, 0.62), (0.62, 0.50), (0.40, 0.44)),
        kerb_zone=((0.36, 0.40), (0.66, 0.44), (0.97, 0.60), (0.97, 0.74), (0.60, 0.56), (0.36, 0.47)),
        moving_s=(0.0, 79.4), soft_px=0.8,
    ),
    Stage(
        "overpass", "jetyey_overpass.mp4", (480, 270), (0.163, 0.125),
        ground=((0.44, 0.24), (0.66, 0.22), (0.48, 0.72), (0.42, 0.96), (0.06, 0.96), (0.15, 0.74)),
        gates=((-0.05, 0.85), (0.30, 1.30), (0.72, 0.04), (1.0, 0.03)),
        lane=((0.82, -0.02), (0.70, 0.36), (0.58, 0.80), (0.45, 1.45)),
        kerb=((0.30, 0.86), (0.42, 0.58), (0.52, 0.38)),
        kerb_zone=((0.46, 0.26), (0.62, 0.26), (0.50, 0.62), (0.40, 0.95), (0.12, 0.95), (0.28, 0.62)),
        moving_s=(0.0, 30.2),
    ),
    Stage(
        "bricks", "carpark_leaving_car6.mp4", (400, 320), (0.05, 0.45),
        ground=((0.20, 0.34), (0.72, 0.34), (0.90, 0.60), (0.86, 0.76), (0.18, 0.74)),
        gates=((1.08, 0.62), (-0.08, 0.80), (0.50, 1.25)),
        lane=((1.25, 0.84), (0.70, 0.82), (0.30, 0.80), (-0.30, 0.78)),
        kerb=((0.34, 0.50), (0.52, 0.50), (0.70, 0.52)),
        kerb_zone=((0.18, 0.32), (0.74, 0.30), (0.84, 0.62), (0.14, 0.60)),
        still_s=(21.5, 27.0), crop=(80, 48, 480, 384), noise=2.5,
    ),
    Stage(
        "korea", "kr_noparking_overlay.mp4", (480, 270), (-0.086, 0.43),
        ground=((0.55, 0.56), (0.62, 0.52), (0.80, 0.70), (0.78, 0.80), (0.56, 0.74)),
        gates=((0.60, 1.20), (1.05, 0.85), (0.58, 0.42)),
        lane=((0.505, 0.18), (0.44, 0.38), (0.30, 0.72), (0.10, 1.30)),
        kerb=((0.45, 0.62), (0.485, 0.48), (0.505, 0.38)),
        kerb_zone=((0.48, 0.23), (0.54, 0.23), (0.57, 0.70), (0.38, 0.70)),
        still_s=(0.0, 3.6),
    ),
    Stage(
        "corridor", "aboda_video1_cut.mp4", (480, 360), (-0.082, 0.653),
        ground=((0.32, 0.58), (0.62, 0.52), (0.98, 0.60), (0.98, 0.85), (0.20, 0.85)),
        gates=((1.12, 0.75), (0.30, 0.52), (0.52, 0.45)),
        still_s=(12.0, 41.0), noise=2.5,
    ),
    Stage(
        "hall", "pets2006_3.mp4", (400, 320), (0.075, 0.23),
        ground=((0.03, 0.46), (0.80, 0.47), (0.97, 0.58), (0.97, 0.96), (0.03, 0.96)),
        gates=((-0.06, 0.62), (1.06, 0.72), (0.40, 1.30), (-0.06, 0.90)),
    ),
    Stage(
        "yard", "park_rain_yard.mp4", (300, 200), (-0.296, 0.63),
        ground=((0.14, 0.68), (0.70, 0.64), (0.80, 0.80), (0.70, 0.96), (0.05, 0.96)),
        gates=((-0.05, 0.80), (0.72, 0.62), (1.06, 0.98)),
        lane=((1.25, 0.98), (0.60, 0.96), (0.20, 0.94), (-0.30, 0.93)),
        kerb=((0.30, 0.76), (0.48, 0.75), (0.62, 0.76)),
        kerb_zone=((0.10, 0.66), (0.70, 0.64), (0.76, 0.84), (0.08, 0.84)),
        moving_s=(0.0, 7.3), soft_px=0.9,
    ),
    Stage(
        "motorway", "dvrscan_motorway.mp4", (480, 270), (-0.089, 0.27),
        ground=((0.04, 0.80), (0.18, 0.64), (0.24, 0.60), (0.13, 0.82), (0.04, 0.97)),
        gates=((-0.04, 0.95), (0.26, 0.56)),
        moving_s=(0.0, 22.8), soft_px=0.7,
    ),
    Stage(
        "night", "night_ir_car_passer.mp4", (480, 270), (0.065, 0.25),
        ground=((0.30, 0.68), (0.62, 0.66), (0.60, 0.95), (0.22, 0.95)),
        gates=((0.10, 1.20), (0.72, 0.70), (0.24, 0.66)),
        still_s=(7.2, 11.8), moving_s=(7.2, 11.8), noise=3.0, grey=True,
    ),
    Stage(
        "wall", "fall_and_helpers.mp4", (480, 270), (-0.05, 0.80),
        ground=((0.03, 0.56), (0.97, 0.56), (0.97, 0.97), (0.03, 0.97)),
        gates=((-0.12, 0.75), (1.12, 0.75), (-0.12, 0.92), (1.12, 0.92)),
        still_s=(0.0, 1.2),
    ),
    Stage(
        "market", "saigon_rain_stalls.mp4", (320, 240), (0.02, 0.16),
        ground=((0.25, 0.58), (0.48, 0.62), (0.88, 0.82), (0.88, 0.96), (0.30, 0.96)),
        gates=((0.22, 1.06), (1.05, 0.92), (0.30, 0.46)),
        moving_s=(0.0, 9.8), soft_px=1.0,
    ),
)  # fmt: skip
BY_NAME = {stage.name: stage for stage in STAGES}


def path_of(clip: str, media: Path) -> Path:
    return PLAZA if clip == PLAZA.name else media / clip


def pictures_of(path: Path, *, start_s: float, end_s: float, fps: float) -> Iterator[UInt8]:
    """Pictures (H, W, 3) BGR, `fps` a second: for each moment the first picture that is not before it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        due_s = start_s
        for frame in container.decode(stream):
            now_s = float(frame.time or 0.0)
            if now_s >= end_s:
                return
            if now_s + 1e-6 >= due_s:
                yield frame.to_ndarray(format="bgr24")
                due_s += 1 / fps


@functools.lru_cache(maxsize=16)
def median_of(path: Path, start_s: float = 0.0, end_s: float = 1e9) -> UInt8:
    """The place without what moves in it, in the file's own size."""
    pictures = list(pictures_of(path, start_s=start_s, end_s=end_s, fps=2 if end_s - start_s > 12 else 8))
    chosen = [pictures[row] for row in np.unique(np.linspace(0, len(pictures) - 1, _STILL_SAMPLES).astype(int))]
    return np.asarray(np.median(np.stack(chosen), axis=0), np.uint8)


def fitted(picture: UInt8, stage: Stage) -> UInt8:
    if stage.crop is not None:
        x, y, width, height = stage.crop
        picture = picture[y : y + height, x : x + width]
    return np.asarray(cv2.resize(picture, stage.size, interpolation=cv2.INTER_AREA), np.uint8)


@functools.lru_cache(maxsize=16)
def still(stage: Stage, media: Path) -> UInt8:
    return fitted(median_of(path_of(stage.clip, media), *stage.still_s), stage)


@functools.lru_cache(maxsize=4)
def _stretch(stage: Stage, media: Path, fps: float) -> UInt8:
    assert stage.moving_s is not None, stage.name
    start_s, end_s = stage.moving_s
    pictures = pictures_of(path_of(stage.clip, media), start_s=start_s, end_s=end_s, fps=fps)
    return np.stack([fitted(picture, stage) for picture in pictures])


def moving(stage: Stage, media: Path, *, fps: float, begin_s: float) -> Iterator[UInt8]:
    """The stage's footage for ever, from `begin_s` into it; each seam is a cross-fade."""
    pictures = _stretch(stage, media, fps)
    seam = max(1, round(SEAM_S * fps))
    period = len(pictures) - seam
    row = round(begin_s * fps) % period
    first = True
    while True:
        if row < seam and not first:
            share = (row + 1) / (seam + 1)
            yield cv2.addWeighted(pictures[row], share, pictures[period + row], 1 - share, 0)
        else:
            yield pictures[row]
        row += 1
        if row == period:
            row, first = 0, False
