"""Recipes of parking and of goods: a seed -> a take. What should be found is noted by the director, as it happens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.composites import light
from tests.composites.composition import Box, Placed, Waypoint
from tests.composites.directing import BUSES, CARS, GOODS, LORRIES, STANDERS, Director, Take
from tests.composites.footage import BY_NAME, Polygon, Stage
from tests.composites.light import Program

PARKING_S, GOODS_S, CLEAR_S = 12, 12, 6
ROADS: dict[str, Polygon] = {
    "plaza": ((0.30, 0.36), (0.99, 0.52), (0.99, 0.76), (0.60, 0.57), (0.30, 0.48)),
    "overpass": ((0.46, 0.20), (0.80, 0.08), (0.72, 0.60), (0.58, 0.98), (0.12, 0.98), (0.28, 0.62)),
    "korea": ((0.40, 0.24), (0.54, 0.24), (0.57, 0.72), (0.14, 0.80)),
}
_GOODS_STAGES = ("plaza", "overpass", "bricks", "corridor", "hall", "yard", "wall", "night", "korea", "market")
_PARKING_STAGES = ("plaza", "overpass", "bricks", "korea", "yard")


def _stage(names: Sequence[str], seed: int) -> Stage:
    return BY_NAME[names[seed % len(names)]]


def mild_light(director: Director) -> list[Program]:
    """The light of an ordinary hour: nothing, slow clouds, an exposure that hunts a little, or a light rain."""
    choice = director.rng.integers(5)
    programs: tuple[list[Program], ...] = (
        [],
        [],
        [light.Clouds(director.seed, depth=0.2, period_s=30)],
        [light.ExposureSteps(director.seed, depth=0.1)],
        [light.Rain(director.seed, streaks=90)],
    )
    return programs[int(choice)]


def hard_light(director: Director, at_s: float) -> list[Program]:
    """One of the changes that must not alarm, at a moment."""
    x, y = director.stage.ground[0]
    far_x, far_y = director.stage.ground[len(director.stage.ground) // 2]
    programs: tuple[list[Program], ...] = (
        [light.Dimming(at_s)],
        [light.Dimming(at_s, back_s=at_s + 15)],
        [light.Dimming(0, over_s=0.1, to=0.55), light.Headlights(at_s, 4.0, (x, y), (far_x, far_y)),
         light.Headlights(at_s + 9, 3.0, (far_x, far_y), (x, y))],
        [light.Lamp(at_s, (x + far_x) / 2, (y + far_y) / 2)],
        [light.InfraRed(at_s)],
        [light.ExposureSteps(director.seed)],
        [light.Clouds(director.seed, depth=0.4, period_s=18)],
        [light.Rain(director.seed)],
        [light.Shake(director.seed)],
    )  # fmt: skip
    return programs[director.seed % len(programs)]


# Parking


def _parking(
    recipe: str,
    seed: int,
    media: Path,
    duration_s: float,
    *,
    after_s: float = PARKING_S,
    stages: Sequence[str] = _PARKING_STAGES,
) -> Director:
    director = Director(recipe, seed, _stage(stages, seed), duration_s, media)
    zone = director.stage.kerb_zone
    director.watch("illegal-parking", "kerb", zone, after_s=after_s, clear_after_s=CLEAR_S)
    director.watch("piled-goods", "kerb", zone, after_s=GOODS_S)
    return director


def parking(seed: int, media: Path) -> Take:
    """Vehicles drive in and stay, one or two drive off again; traffic and people pass."""
    director = _parking("parking", seed, media, 75)
    stood: list[Box] = []
    for row in director.rng.permutation(len(director.stage.kerb)):
        at_s = 8 + 12 * len(stood) + director.between(0, 4)
        until_s = at_s + director.between(24, 30) if director.rng.random() < 0.5 else float("inf")
        car = director.parks(director.pick(CARS), director.stage.kerb[row], at_s, until_s=until_s)
        box = director.box(car, at_s + 1)
        if any(_hidden(box, other) for other in stood):
            director.things.remove(car)  # too near
            continue
        stood.append(box)
        director.note("illegal-parking", "kerb", at_s, until_s, car, look_s=at_s + 1)
        if len(stood) == 2:
            break
    director.passers_by(3)
    director.programs += mild_light(director)
    return director.take(moves=seed % 3 == 0 and director.stage.name != "yard")


def _hidden(one: Box, other: Box) -> bool:
    """A fifth of the smaller lies behind the other."""
    shared = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    sizes = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (one, other)]
    return bool(np.prod(np.maximum(shared, 0)) > 0.2 * min(sizes))


def parking_from_start(seed: int, media: Path) -> Take:
    """It stood there before anybody looked, and is a case all the same; it drives off late."""
    director = _parking("parking-from-start", seed, media, 48)
    spot = director.stage.kerb[seed % len(director.stage.kerb)]
    until_s = 30.0 if seed % 2 else float("inf")
    car = director.parks(director.pick(CARS), spot, 0, until_s=until_s, from_start=True)
    director.note("illegal-parking", "kerb", 0, until_s, car, look_s=1)
    director.passers_by(2)
    director.programs += mild_light(director)
    return director.take()


def parking_half_hidden(seed: int, media: Path) -> Take:
    """Pedestrians stand before 28 % of the car for twenty seconds: one case."""
    director = _parking("parking-hidden-28", seed, media, 62, stages=("plaza", "overpass", "bricks", "yard"))
    spot = director.stage.kerb[1]
    car = director.parks(director.pick(CARS), spot, 10)
    director.note("illegal-parking", "kerb", 10, None, car, look_s=12)
    director.things += [_before(director, car, share=0.28, at_s=28, until_s=48)]
    return director.take()


def _before(director: Director, car: Placed, *, share: float, at_s: float, until_s: float) -> Placed:
    """Somebody as high as the car at least, who stands before its left part and hides `share` of its box."""
    name, (x, y) = director.pick(STANDERS), car.feet(at_s)
    place_y = min(y + 0.015, 1.0)
    box = director.box(car, at_s)
    person = director.box(Placed(name, (Waypoint(0, x, place_y),)), at_s)
    scale = max(1.0, (box[3] - box[1]) * 1.05 / (person[3] - person[1]))
    wide = (person[2] - person[0]) * scale
    hidden_px = share * (box[2] - box[0])
    scale *= max(1.0, hidden_px / wide)
    wide = max(wide, hidden_px)
    centre = (box[0] + hidden_px - wide / 2) / director.stage.size[0]
    gate = director.gate()
    way = (
        Waypoint(at_s - director.walk_s(gate, (centre, place_y)), *gate),
        Waypoint(at_s, centre, place_y),
        Waypoint(until_s, centre, place_y),
        Waypoint(until_s + director.walk_s((centre, place_y), gate), *gate),
    )
    return Placed(name, way, until_s=way[-1].at_s, scale=scale, sways_px=0.5)


def parking_behind_lorry(seed: int, media: Path) -> Take:
    """A bus or lorry stops before the parked car for 30 s, outside the zone: still one case."""
    director = _parking("parking-behind-lorry", seed, media, 85, stages=("plaza", "bricks", "yard"))
    spot = director.stage.kerb[1]
    car = director.parks(director.pick(CARS), spot, 9)
    director.note("illegal-parking", "kerb", 9, None, car, look_s=11)
    y = {"plaza": 0.68, "bricks": 0.74, "yard": 0.95}[director.stage.name]
    at_s = 31.0
    way = (
        Waypoint(at_s - 5, 1.6, y),
        Waypoint(at_s, spot[0], y),
        Waypoint(at_s + 30, spot[0], y),
        Waypoint(at_s + 35, -0.6, y),
    )
    director.things.append(Placed(director.pick(LORRIES), way, until_s=at_s + 35, flip=True))
    return director.take()


def parking_replaced(seed: int, media: Path) -> Take:
    """The car leaves and another takes its place within 20 s: two cases."""
    director = _parking("parking-replaced", seed, media, 80)
    spot = director.stage.kerb[seed % len(director.stage.kerb)]
    first, second = director.some(CARS, 2)
    left_s = 9 + director.between(20, 26)
    came_s = left_s + director.between(9, 18)
    car = director.parks(first, spot, 9, until_s=left_s)
    director.note("illegal-parking", "kerb", 9, left_s, car, look_s=11)
    other = director.parks(second, spot, came_s)
    director.note("illegal-parking", "kerb", came_s, None, other, look_s=came_s + 1)
    return director.take()


def _queue(recipe: str, seed: int, media: Path) -> Director:
    """Traffic, then a red light of 40 s at which three or four vehicles halt, then traffic again."""
    director = Director(recipe, seed, _stage(("overpass", "plaza", "korea"), seed), 110, media)
    road = ROADS[director.stage.name]
    director.watch("illegal-parking", "road", road, after_s=20, clear_after_s=CLEAR_S)
    director.traffic(6.0, end_s=16)
    front = {"overpass": 0.78, "plaza": 0.66, "korea": 0.72}[director.stage.name]
    gap = {"overpass": 0.20, "plaza": 0.17, "korea": 0.15}[director.stage.name]
    red_s = 26.0
    for number, vehicle in enumerate(director.some([*CARS, *BUSES[:1]], 4 if seed % 2 else 3)):
        director.drives_through(
            vehicle, red_s - 4 + 1.6 * number, halts=[(front - gap * number, red_s + 40 + 1.6 * number)]
        )
    director.traffic(7.0, begin_s=84)
    return director


def queue_at_light(seed: int, media: Path) -> Take:
    """Nothing may be told of it."""
    return _queue("queue-at-light", seed, media).take()


def queue_and_parked(seed: int, media: Path) -> Take:
    """A car that stands at the kerb beside that queue is found."""
    director = _queue("queue-and-parked", seed, media)
    spot = {"overpass": (0.36, 0.66), "plaza": (0.80, 0.64), "korea": (0.49, 0.44)}[director.stage.name]
    car = director.parks(director.pick(CARS), spot, 12)
    director.note("illegal-parking", "road", 12, None, car, look_s=13)
    return director.take()


# Goods


def _goods(
    recipe: str, seed: int, media: Path, duration_s: float, *, stages: Sequence[str] = _GOODS_STAGES
) -> Director:
    director = Director(recipe, seed, _stage(stages, seed), duration_s, media)
    director.watch("piled-goods", "ground", director.stage.ground, after_s=GOODS_S, clear_after_s=CLEAR_S)
    if director.stage.name in _PARKING_STAGES and director.stage.name != "bricks":
        director.watch("illegal-parking", "ground", director.stage.ground, after_s=PARKING_S)
    return director


def _big_enough(director: Director, y: float) -> float:
    """A scale at which a thing is at least a tenth of a person and ten pixels high: seeable in the small pictures."""
    return max(1.0, 16 / max(director.stage.person_px(y) * 0.3, 1)) * director.between(0.9, 1.3)


def goods(seed: int, media: Path) -> Take:
    """Two or three things are put down one after the other; some are taken away again."""
    director = _goods("goods", seed, media, 75)
    for number in range(3 if director.stage.name in ("plaza", "overpass", "corridor", "hall", "wall") else 2):
        place = director.spot(director.stage.ground, apart=1.3, rim=0.05)
        at_s = 10 + 8 * number + director.between(0, 3)
        until_s = at_s + director.between(24, 30) if director.rng.random() < 0.5 else float("inf")
        thing = director.put_down(
            director.pick(GOODS), place, at_s, until_s=until_s, scale=_big_enough(director, place[1])
        )
        director.note("piled-goods", "ground", at_s, until_s, thing, look_s=at_s + 1)
    director.programs += mild_light(director)
    return director.take(moves=seed % 3 == 1)


def goods_heap(seed: int, media: Path) -> Take:
    """A heap grows within some seconds: sacks and crates that touch. One case."""
    director = _goods("goods-heap", seed, media, 45, stages=("plaza", "overpass", "bricks", "hall", "wall", "corridor"))
    x, y = director.spot(director.stage.ground, rim=0.10)
    step = 0.30 * director.stage.person_px(y) / director.stage.size[0]
    things = [
        director.put_down(
            director.pick(GOODS[:12]), (x + step * (number - 1), y + 0.004 * (number % 2)), 12 + 1.5 * number
        )
        for number in range(3)
    ]
    director.note("piled-goods", "ground", 12, None, *things, look_s=20)
    return director.take()


def goods_tipped(seed: int, media: Path) -> Take:
    """A thing tips over after it became a case, and stays one."""
    director = _goods(
        "goods-tipped", seed, media, 60, stages=("plaza", "overpass", "bricks", "hall", "wall", "corridor")
    )
    place = director.spot(director.stage.ground, rim=0.06)
    name, at_s = director.pick([*GOODS[:6], "backpack", "grey-bag"]), 12.0
    placed = director.put_down(name, place, at_s, scale=_big_enough(director, place[1]))
    tipped = Placed(name, placed.way, placed.until_s, placed.scale, placed.flip, tilt=((38.0, 88.0),))
    director.things[director.things.index(placed)] = tipped
    director.note("piled-goods", "ground", at_s, None, tipped, look_s=at_s + 1)
    return director.take()


def goods_behind_people(seed: int, media: Path) -> Take:
    """People walk past before it, and two stand before it for ten seconds: one case."""
    director = _goods("goods-behind-people", seed, media, 65)
    x, y = place = director.spot(director.stage.ground, rim=0.07)
    thing = director.put_down(director.pick(GOODS), place, 12, scale=_big_enough(director, y))
    director.note("piled-goods", "ground", 12, None, thing, look_s=13)
    director.passers_by(4, begin_s=18)
    director.stays((x - 0.01, min(y + 0.03, 0.99)), 36, 46)
    return director.take()


def goods_under_light(seed: int, media: Path) -> Take:
    """A thing is put down, and the light changes hard before and after: that one case, and no other."""
    director = _goods(
        "goods-under-light", seed, media, 65, stages=("plaza", "overpass", "bricks", "hall", "wall", "yard")
    )
    place = director.spot(director.stage.ground, rim=0.05)
    thing = director.put_down(director.pick(GOODS), place, 12, scale=_big_enough(director, place[1]))
    director.note("piled-goods", "ground", 12, None, thing, look_s=13)
    director.programs += hard_light(director, 34.0)
    return director.take()


def _light_alone(recipe: str, seed: int, media: Path, *programs: Program) -> Take:
    """An empty street with a walker or two, and one change of the light at 25 s: nothing."""
    director = _goods(recipe, seed, media, 60, stages=("plaza", "overpass", "bricks", "hall", "wall", "korea"))
    director.passers_by(2)
    director.programs += programs
    return director.take()


def light_dimmed(seed: int, media: Path) -> Take:
    """The whole frame is dimmed to a half over 2 s, and stays so."""
    return _light_alone("light-dimmed", seed, media, light.Dimming(25, over_s=2, to=0.5))


def light_headlights(seed: int, media: Path) -> Take:
    """Headlights sweep over the zone at dusk, three times."""
    ground = _stage(("plaza", "overpass", "bricks", "hall", "wall", "korea"), seed).ground
    near, far = ground[0], ground[len(ground) // 2]
    sweeps = [light.Headlights(25 + 8 * number, 3.5, *((near, far), (far, near))[number % 2]) for number in range(3)]
    return _light_alone("light-headlights", seed, media, light.Dimming(-9, to=0.5), *sweeps)


def light_lamp(seed: int, media: Path) -> Take:
    """A street lamp over the zone is switched on at dusk."""
    ground = np.array(_stage(("plaza", "overpass", "bricks", "hall", "wall", "korea"), seed).ground)
    x, y = (float(value) for value in ground.mean(axis=0))
    return _light_alone("light-lamp", seed, media, light.Lamp(25, x, y))


def light_infra_red(seed: int, media: Path) -> Take:
    """The camera switches from colour to infra-red."""
    return _light_alone("light-infra-red", seed, media, light.InfraRed(25))


def goods_from_start(seed: int, media: Path) -> Take:
    """A thing that was there from the start is no case, nor is its absence when it is taken away."""
    director = _goods("goods-from-start", seed, media, 60)
    place = director.spot(director.stage.ground, rim=0.05)
    thing = Placed(director.pick(GOODS), (Waypoint(-60, *place),), until_s=22, scale=_big_enough(director, place[1]))
    director.things.append(thing)
    director._carrier(place, 22)
    return director.take()


def person_stands_still(seed: int, media: Path) -> Take:
    """Somebody stands still for 90 s: no goods."""
    director = _goods(
        "person-stands-still", seed, media, 102, stages=("plaza", "overpass", "bricks", "hall", "wall", "corridor")
    )
    director.stays(director.spot(director.stage.ground, rim=0.06), 8, 98)
    director.passers_by(2)
    return director.take()
