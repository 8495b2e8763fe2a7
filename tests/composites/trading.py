"""Recipes of trading, vendors, two-wheelers and fire lanes: what the words of the scenarios mean, not what a kind does.

A stall is ONE case round all that belongs to it. A vendor is a cart with a person who stays; without one it is goods.
"""

from __future__ import annotations

from pathlib import Path

from tests.composites.composition import Placed, Waypoint
from tests.composites.directing import CARS, GOODS, Director, Take
from tests.composites.footage import BY_NAME, Point

TRADING_S, CLEAR_S = 12, 8
VENDOR_S = 24  # longer than the catalogue's stay_s of 20: that somebody stays is known no sooner
_STALL_STAGES = ("wall", "overpass", "bricks", "hall", "plaza")
# Two-wheelers are seen where they are near: measured 0.4 and more on these stages.
_BIKE_STAGES = ("wall", "corridor", "bricks")


def stall(seed: int, media: Path) -> Take:
    """Within some seconds a parasol, a chair and goods are put out; the trader stays; later all is cleared away."""
    director = Director("trading-stall", seed, BY_NAME[_STALL_STAGES[seed % len(_STALL_STAGES)]], 75, media)
    director.watch("out-of-store-trading", "pavement", director.stage.ground, after_s=TRADING_S, clear_after_s=CLEAR_S)
    x, y = director.spot(director.stage.ground, rim=0.12)
    unit = director.stage.person_px(y) / director.stage.size[0]
    until_s = 48.0 if seed % 2 else float("inf")
    pieces: tuple[tuple[str, Point], ...] = (
        ("parasol", (x, y - 0.01)),
        (director.pick(("black-chair", "armchair", "large-plant")), (x - 0.55 * unit, y + 0.01)),
        (director.pick(GOODS[:12]), (x + 0.35 * unit, y + 0.015)),
        (director.pick(GOODS[:6]), (x + 0.75 * unit, y + 0.01)),
    )
    things = [
        director.put_down(name, place, 10 + 1.6 * number, until_s=until_s + 1.2 * number)
        for number, (name, place) in enumerate(pieces)
    ]
    director.stays((x - 0.1 * unit, y), 12, min(until_s + 4, 200), who="vendor")
    director.note("out-of-store-trading", "pavement", 12, None if until_s > 75 else until_s + 4, *things, look_s=20)
    director.passers_by(2)
    return director.take()


def mobile_vendor(seed: int, media: Path) -> Take:
    """A cart is pushed in by somebody who stays with it for a minute, and goes on with it."""
    director = Director("mobile-vendor", seed, BY_NAME[_STALL_STAGES[seed % len(_STALL_STAGES)]], 75, media)
    director.watch("mobile-vendor", "pavement", director.stage.ground, after_s=VENDOR_S, clear_after_s=CLEAR_S)
    place, gate = director.spot(director.stage.ground, rim=0.10), director.gate()
    reach = 0.75 * director.stage.person_px(place[1]) / director.stage.size[0]
    # On the side on which there is room: a vendor beyond the picture's edge is none that anybody sees.
    beside = (place[0] + (reach if place[0] + reach < 0.95 else -reach), place[1])
    seconds = director.walk_s(gate, place, pace=0.7)
    cart = Placed(
        f"cart-{seed % 8}",
        (Waypoint(10 - seconds, *gate), Waypoint(10, *place), Waypoint(52, *place), Waypoint(52 + seconds, *gate)),
        until_s=52 + seconds,
    )
    near = (gate[0] + beside[0] - place[0], gate[1])
    vendor = Placed(
        ("vendor", "worker", "corridor-left")[seed % 3],
        (Waypoint(10 - seconds, *near), Waypoint(10, *beside), Waypoint(52, *beside), Waypoint(52 + seconds, *near)),
        until_s=52 + seconds, sways_px=0.8,
    )  # fmt: skip
    director.things += [cart, vendor]
    director.note("mobile-vendor", "pavement", 10, 52, cart, look_s=12)
    director.passers_by(2)
    return director.take()


def vendor_walks_past(seed: int, media: Path) -> Take:
    """A cart that is pushed through without a stop is nothing."""
    director = Director("vendor-walks-past", seed, BY_NAME[_STALL_STAGES[seed % len(_STALL_STAGES)]], 60, media)
    director.watch("mobile-vendor", "pavement", director.stage.ground, after_s=TRADING_S)
    director.watch("out-of-store-trading", "pavement", director.stage.ground, after_s=TRADING_S)
    begin, end = director.stage.gates[0], director.stage.gates[1]
    for number, at_s in enumerate((10.0, 34.0)):
        place = director.spot(director.stage.ground, apart=0, rim=0.05)
        person = director.walks([begin, place, end], at_s, pace=0.8)
        shift = 0.55 * director.stage.person_px(place[1]) / director.stage.size[0]
        way = tuple(Waypoint(point.at_s, point.x + shift, point.y) for point in person.way)
        director.things.append(Placed(f"cart-{number}", way, until_s=person.until_s))
    return director.take()


def non_motor_parking(seed: int, media: Path) -> Take:
    """Motorcycles are left one beside another."""
    director = Director("non-motor-parking", seed, BY_NAME[_BIKE_STAGES[seed % len(_BIKE_STAGES)]], 60, media)
    director.watch("non-motor-parking", "pavement", director.stage.ground, after_s=TRADING_S, clear_after_s=CLEAR_S)
    place = director.spot(director.stage.ground, rim=0.10)
    until_s = 36.0 if seed % 2 else float("inf")
    bike = director.put_down(("old-motorcycle", "moto-cross")[seed % 2], place, 10, until_s=until_s)
    director.note("non-motor-parking", "pavement", 10, until_s, bike, look_s=11)
    director.passers_by(1)
    return director.take()


def fire_lane(seed: int, media: Path) -> Take:
    """A vehicle stops in the fire lane; traffic that goes through does not count."""
    director = Director("fire-lane", seed, BY_NAME[("bricks", "yard", "overpass", "plaza")[seed % 4]], 60, media)
    director.watch("fire-lane-blocked", "lane", director.stage.kerb_zone, after_s=TRADING_S, clear_after_s=CLEAR_S)
    until_s = 36.0 if seed % 2 else float("inf")
    car = director.parks(director.pick(CARS), director.stage.kerb[seed % 3], 10, until_s=until_s)
    director.note("fire-lane-blocked", "lane", 10, until_s, car, look_s=11)
    director.passers_by(2)
    return director.take()
