"""Each scenario over occupations, with its own defaults: what it is about opens a case, what looks like it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edge.config.catalogue import stock_catalogue
from edge.core.types import CLEARED, OPENED
from tests.street import Street, Thing
from tests.test_catalogue import rule_of

CATALOGUE = {name: one for name, one in stock_catalogue().scenarios.items() if one.kind == "occupation"}
Drawn = Callable[[float], list[Thing]]  # from when it stands there to what stands there


def named(label: str, *, x: float = 100, y: float = 150, width: float = 40, height: float = 40) -> Thing:
    return Thing(int(x + y), (x, y - height, x + width, y), track=int(x), label=label)


def crate(x: float = 100, y: float = 150, *, width: float = 36, height: float = 24) -> Thing:
    return Thing(int(x + y), (x, y - height, x + width, y), region=True, score=0.9)


def person(x: float, y: float = 152) -> Thing:
    return Thing(int(x + y), (x, y - 60, x + 20, y), track=200 + int(x), label="person")


# Scenario: (what opens a case, its reasons, what does not)
SHOWN: dict[str, tuple[list[Thing], tuple[str, ...], list[list[Thing]]]] = {
    "out-of-store-trading": (
        [named("chair"), crate(150), person(190)],
        ("chair", "appeared-object", "people-stay"),
        [[named("chair")], [person(100), person(130)], [named("suitcase", x=122, width=16, height=30), person(104)]],
    ),
    "mobile-vendor": (
        [crate(), person(140)],
        ("appeared-object", "people-stay"),
        [[crate()], [named("motorcycle")], [person(100)], [named("umbrella", y=96, height=20), person(110)]],
    ),
    "stall-over-line": ([crate()], ("appeared-object",), [[person(100)]]),
    "signboard-on-pavement": ([crate(width=20, height=40)], ("appeared-object",), [[person(100)]]),
    "scrap-collection": (
        [named("motorcycle"), crate(150), crate(100, 172), person(142, 160)],
        ("motorcycle", "appeared-object", "people-stay"),
        [[named("motorcycle"), crate(150), crate(100, 172)], [named("motorcycle"), person(142)]],
    ),
    "fire-lane-things": ([crate()], ("appeared-object",), [[person(100)]]),
    "emergency-exit-blocked": ([named("bicycle")], ("bicycle",), [[person(100)]]),
    "deliveries-left": (
        [crate(100), crate(140), crate(180)],
        ("appeared-object",),
        [[crate(100), crate(140)], [named("handbag", x=118, width=14, height=16), person(100)]],
    ),
    "parking-space-reserved": ([named("chair")], ("chair",), [[person(100)]]),
    "tactile-path-blocked": (
        [named("bicycle")],
        ("bicycle",),
        [[named("suitcase", x=122, width=16, height=30), person(104)]],
    ),
    "corridor-clutter": ([named("couch", width=60), crate(170)], ("couch", "appeared-object"), [[person(100)]]),
    "lawn-occupied": ([named("car", width=80)], ("car",), [[person(100), person(130), person(160)]]),
}


def played(scenario: str, things: list[Thing], folder: Path, *, times: float = 1.0, goes: bool = True) -> Street:
    """The things come after a while, stay for the scenario's own time and a little more, and go."""
    rule = rule_of(CATALOGUE[scenario], folder)
    after_s, clear_after_s = rule.after_ns / 1e9, rule.clear_after_ns / 1e9
    street = Street(rule, step_s=min(max(0.5, after_s / 40), 15))
    street.play(4 * street.step_s)
    came_s = street.now_s
    came = [replace(thing, rest_s=came_s, first_s=came_s) for thing in things]
    street.play(times * (after_s + 30) + 10 * street.step_s, *came)
    if goes:
        street.play(clear_after_s + 10 * street.step_s)
    return street


def test_every_scenario_over_occupations_is_shown_here() -> None:
    assert set(SHOWN) == set(CATALOGUE)


@pytest.mark.parametrize("scenario", SHOWN)
def test_what_the_scenario_is_about_is_one_case_until_it_is_gone(scenario: str, tmp_path: Path) -> None:
    things, reasons, _ = SHOWN[scenario]
    street = played(scenario, things, tmp_path)
    after_s = street.rule.after_ns / 1e9
    print(f"{scenario:24} after {after_s:g} s: opened at {street.at(OPENED)}, cleared at {street.at(CLEARED)}")
    assert [kind for kind in street.told if kind != "updated"] == [OPENED, CLEARED]
    assert street.changes[0][1].case.reasons == reasons
    late_s = street.at(OPENED)[0] - 4 * street.step_s - after_s
    assert 0 <= late_s <= 3 * street.step_s + (20 if "people-stay" in reasons else 0)


@pytest.mark.parametrize(
    ("scenario", "things"), [(scenario, things) for scenario, (_, _, others) in SHOWN.items() for things in others]
)
def test_what_looks_like_it_is_none(scenario: str, things: list[Thing], tmp_path: Path) -> None:
    assert played(scenario, things, tmp_path, times=1.5, goes=False).told == []
