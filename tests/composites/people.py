"""Recipes of people: gatherings, loitering, intrusion; and of those who only walk through."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.composites.directing import STANDERS, Director, Take
from tests.composites.footage import BY_NAME, Point, Polygon, Stage
from tests.composites.streets import GOODS_S, mild_light

GATHERING_S, LOITERING_S, PEOPLE_CLEAR_S = 12, 20, 10
CLEARED_S = PEOPLE_CLEAR_S + 6  # so long a clip must go on, for the end to be told in time
PEOPLE_MIN = 4  # the catalogue's default
_STAGES = ("overpass", "bricks", "hall", "wall", "corridor", "plaza")


def _stage(seed: int) -> Stage:
    return BY_NAME[_STAGES[seed % len(_STAGES)]]


def _director(recipe: str, seed: int, media: Path, duration_s: float) -> Director:
    director = Director(recipe, seed, _stage(seed), duration_s, media)
    director.watch("piled-goods", "ground", director.stage.ground, after_s=GOODS_S, clear_after_s=PEOPLE_CLEAR_S)
    return director


def _circle(director: Director, count: int) -> list[Point]:
    """Places round a middle, as people stand who talk: hardly hiding one another."""
    stage = director.stage
    corners = np.array(stage.ground)
    x, y = corners.mean(axis=0) + director.rng.uniform(-0.03, 0.03, 2)
    body = stage.person_px(float(y))
    across, down = 0.62 * body / stage.size[0], 0.20 * body / stage.size[1]
    places = [
        (float(x + (number - (count - 1) / 2) * across), float(y + down * (1 if number % 2 else -1)))
        for number in range(count)
    ]
    return [(min(max(a, 0.06), 0.94), min(max(b, 0.05), 0.98)) for a, b in places]


def gathering(seed: int, media: Path) -> Take:
    """Five to seven people come one by one, stay and go; a case from the fourth on. Others pass."""
    director = _director("crowd-gathering", seed, media, 75)
    zone = _wide(director.stage.ground)
    director.watch("crowd-gathering", "square", zone, after_s=GATHERING_S, clear_after_s=PEOPLE_CLEAR_S)
    count = 5 + seed % 3 if director.stage.name not in ("wall", "corridor") else 5
    names = director.some(STANDERS, count)
    arrivals = sorted(director.between(10, 18) for _ in range(count))
    leaves_s = director.between(48, 52)
    people = [
        director.stays(place, arrives_s, leaves_s, who=name)
        for place, name, arrives_s in zip(_circle(director, count), names, arrivals, strict=True)
    ]
    # It ends when fewer are left in the zone; to walk out of it takes some seconds.
    departures = sorted(director.left_s(person, zone) for person in people)
    director.note(
        "crowd-gathering",
        "square",
        arrivals[PEOPLE_MIN - 1],
        departures[count - PEOPLE_MIN],
        *people,
        look_s=arrivals[-1] + GATHERING_S,
    )
    director.passers_by(2)
    return director.take()


def walking_through(seed: int, media: Path) -> Take:
    """Many people, none of whom stays: neither a gathering nor loitering nor goods."""
    director = _director("walking-through", seed, media, 70)
    zone = _wide(director.stage.ground)
    director.watch("crowd-gathering", "square", zone, after_s=GATHERING_S, clear_after_s=PEOPLE_CLEAR_S)
    director.watch("loitering", "square", zone, after_s=40)
    director.passers_by(16, begin_s=2)
    director.programs += mild_light(director)
    return director.take()


def loitering(seed: int, media: Path) -> Take:
    """Somebody walks to and fro in the zone for half a minute and more, and goes; others walk through."""
    director = _director("loitering", seed, media, 80)
    zone = director.stage.ground
    director.watch("loitering", "square", zone, after_s=LOITERING_S, clear_after_s=PEOPLE_CLEAR_S)
    points = [director.gate()]
    now_s = 8.0
    x, y = director.spot(zone, apart=0.0, rim=0.08)
    step = 0.25 * director.stage.person_px(y) / director.stage.size[0]
    while now_s < 44:  # until he has been about for more than half a minute
        place = (x + director.between(-step, step), y + director.between(-0.008, 0.008))
        now_s += director.walk_s(points[-1], place, pace=0.5)
        points.append(place)
    person = director.walks([*points, director.gate()], 8.0, pace=0.5)
    entered_s, left_s = director.entered_s(person, zone), director.left_s(person, zone)
    director.note(
        "loitering",
        "square",
        entered_s,
        left_s,
        person,
        look_s=entered_s + LOITERING_S,
        look_until_s=entered_s + LOITERING_S + 3,
    )
    return director.take()


def intrusion(seed: int, media: Path) -> Take:
    """Somebody enters where nobody should be, stays a little, and leaves."""
    director = _director("intrusion", seed, media, 45)
    zone = director.stage.ground
    director.watch("intrusion", "closed", zone, clear_after_s=PEOPLE_CLEAR_S)
    place = director.spot(zone, rim=0.06)
    person = director.walks(
        [director.gate(), place, director.spot(zone, apart=0.5, rim=0.05), director.gate()], 14.0, pace=0.7
    )
    entered_s, left_s = director.entered_s(person, zone), director.left_s(person, zone)
    director.duration_s = max(director.duration_s, float(np.ceil(left_s + CLEARED_S)))
    director.note(
        "intrusion",
        "closed",
        entered_s,
        left_s,
        person,
        look_s=entered_s + 0.2,
        look_until_s=min(entered_s + 1.2, left_s),
    )
    return director.take()


def _wide(polygon: Polygon, *, by: float = 0.10) -> Polygon:
    """A little beyond the ground, so that a gathering at its rim is inside."""
    corners = np.array(polygon)
    middle = corners.mean(axis=0)
    grown = np.clip(middle + (corners - middle) * (1 + by * 2), 0.005, 0.995)
    return tuple((round(float(x), 3), round(float(y), 3)) for x, y in grown)
