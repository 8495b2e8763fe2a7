"""Recipes in which nothing may be told: hours of light, rain, shaking, walkers, traffic, and real footage in a loop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.composites import light
from tests.composites.directing import Director, Take
from tests.composites.footage import BY_NAME
from tests.composites.light import Program
from tests.composites.streets import GOODS_S, PARKING_S

_STILL_STAGES = ("plaza", "overpass", "bricks", "corridor", "hall", "wall", "night", "yard", "korea")
# Real footage without a case of goods in its ground, nor of parking where a lane is given.
_MOVING_STAGES = ("plaza", "overpass", "yard", "motorway", "market")


def _watched(director: Director) -> Director:
    stage = director.stage
    director.watch("piled-goods", "ground", stage.ground, after_s=GOODS_S)
    if stage.kerb_zone:
        director.watch("illegal-parking", "kerb", stage.kerb_zone, after_s=PARKING_S)
        director.watch("piled-goods", "lane", stage.kerb_zone, after_s=GOODS_S)
    return director


def _day(director: Director, kinds: Sequence[str], *, every_s: float) -> list[Program]:
    """All kinds of change, one after the other, over and over. What cannot be undone comes but once, at the end."""
    programs: list[Program] = []
    stage, now_s, row = director.stage, 20.0, director.seed
    (near_x, near_y), (far_x, far_y) = stage.ground[0], stage.ground[len(stage.ground) // 2]
    while now_s < director.duration_s - every_s:
        kind = kinds[row % len(kinds)]
        if kind == "dim":
            programs.append(light.Dimming(now_s, back_s=now_s + every_s * 0.6, to=director.between(0.45, 0.6)))
        elif kind == "headlights":
            for number in range(3):
                begin, end = ((near_x, near_y), (far_x, far_y)) if number % 2 else ((far_x, far_y), (near_x, near_y))
                programs.append(light.Headlights(now_s + 7 * number, director.between(2.5, 5), begin, end))
        elif kind == "shake":
            programs.append(light.Shake(director.seed + row, begin_s=now_s, end_s=now_s + every_s * 0.7))
        now_s += every_s
        row += 1
    return programs


def light_changes(seed: int, media: Path, duration_s: float = 120) -> Take:
    """An empty place with few walkers, under every change of light."""
    director = _watched(
        Director("light-changes", seed, BY_NAME[_STILL_STAGES[seed % len(_STILL_STAGES)]], duration_s, media)
    )
    director.passers_by(int(duration_s // 25))
    changes: tuple[list[Program], ...] = (
        [light.Clouds(seed), *_day(director, ("dim",), every_s=40)],
        [light.Dimming(0, over_s=0.1, to=0.5), *_day(director, ("headlights",), every_s=30)],
        [light.Lamp(duration_s * 0.5, *director.spot(director.stage.ground, apart=0, rim=0))],  # it shines on whoever
        [light.InfraRed(duration_s * 0.5)],
        [light.ExposureSteps(seed), *_day(director, ("dim", "headlights"), every_s=45)],
        [light.Dimming(duration_s * 0.4)],
    )
    director.programs += changes[(seed // len(_STILL_STAGES) + seed) % len(changes)]
    return director.take()


def weather(seed: int, media: Path, duration_s: float = 120) -> Take:
    """Rain that begins and grows, and a mount that shakes in gusts."""
    director = _watched(Director("weather", seed, BY_NAME[_STILL_STAGES[seed % len(_STILL_STAGES)]], duration_s, media))
    director.passers_by(int(duration_s // 20))
    if seed % 3 != 1:
        director.programs.append(light.Rain(seed, streaks=60 + 60 * (seed % 4)))
    if seed % 3 != 0:
        director.programs += _day(director, ("shake",), every_s=30)
    return director.take()


def traffic_and_walkers(seed: int, media: Path, duration_s: float = 120) -> Take:
    """A busy street: vehicles one behind the other, some slow, people everywhere; nobody and nothing stays."""
    director = _watched(
        Director(
            "traffic", seed, BY_NAME[("overpass", "plaza", "bricks", "korea", "yard")[seed % 5]], duration_s, media
        )
    )
    director.traffic(9.0)
    director.passers_by(int(duration_s // 8))
    return director.take()


def real_in_a_loop(seed: int, media: Path, duration_s: float = 120) -> Take:
    """Recorded streets without a case, over and over with cross-fades, under drawn changes of light."""
    director = _watched(
        Director("real-loop", seed, BY_NAME[_MOVING_STAGES[seed % len(_MOVING_STAGES)]], duration_s, media)
    )
    changes: tuple[list[Program], ...] = (
        [],
        _day(director, ("dim", "headlights"), every_s=40),
        [light.Clouds(seed)],
        [light.ExposureSteps(seed)],
        [light.Lamp(duration_s * 0.5, *director.spot(director.stage.ground, apart=0, rim=0))],  # it shines on whoever
        [light.InfraRed(duration_s * 0.6)],
    )
    director.programs += changes[(seed // len(_MOVING_STAGES)) % len(changes)]
    return director.take(moves=True)
