"""The standard set: which recipes there are, and how many takes of each a seed gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.composites import negatives, people, streets, trading
from tests.composites.directing import Take

NEGATIVE_S = 600.0  # of one clip of the long form


@dataclass(frozen=True, slots=True)
class Recipe:
    name: str
    make: Callable[[int, Path], Take]
    takes: int  # in the standard set


POSITIVE = (
    Recipe("parking", streets.parking, 15),
    Recipe("parking-from-start", streets.parking_from_start, 10),
    Recipe("parking-hidden-28", streets.parking_half_hidden, 8),
    Recipe("parking-behind-lorry", streets.parking_behind_lorry, 6),
    Recipe("parking-replaced", streets.parking_replaced, 10),
    Recipe("queue-at-light", streets.queue_at_light, 6),
    Recipe("queue-and-parked", streets.queue_and_parked, 6),
    Recipe("goods", streets.goods, 20),
    Recipe("goods-heap", streets.goods_heap, 6),
    Recipe("goods-tipped", streets.goods_tipped, 6),
    Recipe("goods-behind-people", streets.goods_behind_people, 6),
    Recipe("goods-under-light", streets.goods_under_light, 12),
    Recipe("light-dimmed", streets.light_dimmed, 4),
    Recipe("light-headlights", streets.light_headlights, 4),
    Recipe("light-lamp", streets.light_lamp, 4),
    Recipe("light-infra-red", streets.light_infra_red, 4),
    Recipe("goods-from-start", streets.goods_from_start, 6),
    Recipe("person-stands-still", streets.person_stands_still, 6),
    Recipe("crowd-gathering", people.gathering, 12),
    Recipe("walking-through", people.walking_through, 6),
    Recipe("loitering", people.loitering, 12),
    Recipe("intrusion", people.intrusion, 10),
    Recipe("trading-stall", trading.stall, 10),
    Recipe("mobile-vendor", trading.mobile_vendor, 8),
    Recipe("vendor-walks-past", trading.vendor_walks_past, 4),
    Recipe("non-motor-parking", trading.non_motor_parking, 6),
    Recipe("fire-lane", trading.fire_lane, 8),
)
NEGATIVE: dict[str, Callable[..., Take]] = {
    "light-changes": negatives.light_changes,
    "weather": negatives.weather,
    "traffic": negatives.traffic_and_walkers,
    "real-loop": negatives.real_in_a_loop,
}
# Two takes of the shorter recipes: what must be shown and needs no long footage.
SHORT = (
    "parking-from-start", "parking-hidden-28", "parking-replaced", "queue-at-light", "goods", "goods-heap",
    "goods-under-light", "light-dimmed", "light-headlights", "light-lamp", "light-infra-red", "crowd-gathering",
    "loitering",
)  # fmt: skip
NAMES = (*(recipe.name for recipe in POSITIVE), *NEGATIVE)


def standard(
    media: Path, *, seed: int = 0, events_min: int = 0, only: Sequence[str] = (), takes_max: int = 100
) -> list[Take]:
    """Takes of the standard set; more rounds of it until there are `events_min` events. Different for each seed."""
    takes: list[Take] = []
    for around in range(20):
        first = 1000 * seed + 100 * around
        takes += [
            recipe.make(first + number, media)
            for recipe in POSITIVE
            if not only or recipe.name in only
            for number in range(min(recipe.takes, takes_max))
        ]
        if sum(len(take.events) for take in takes) >= events_min:
            break
    return takes


def short(media: Path, *, seed: int = 0) -> list[Take]:
    chosen = [recipe for recipe in POSITIVE if recipe.name in SHORT]
    return [recipe.make(1000 * seed + number, media) for recipe in chosen for number in range(2)]


def one(name: str, seed: int, media: Path) -> Take:
    """A take by its recipe and seed, as a table of misses names it."""
    if name in NEGATIVE:
        return NEGATIVE[name](seed, media, NEGATIVE_S)
    return next(recipe for recipe in POSITIVE if recipe.name == name).make(seed, media)


def empty_hours(
    hours: float, media: Path, *, seed: int = 0, only: Sequence[str] = (), clip_s: float = NEGATIVE_S
) -> list[Take]:
    """Footage without a case, of every kind in turn, `hours` of it in all."""
    kinds = [name for name in NEGATIVE if not only or name in only]
    count = max(1, round(hours * 3600 / clip_s)) if kinds and hours > 0 else 0
    return [
        NEGATIVE[kinds[number % len(kinds)]](10_000 * (seed + 1) + number // len(kinds), media, clip_s)
        for number in range(count)
    ]
