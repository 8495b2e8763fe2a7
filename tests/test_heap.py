"""Bicycles heaped up, and bays in which they may stand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.core.scenarios import Rule
from tests.street import KERB, Street, Thing, parking_rule

RACK = ((0.1, 0.1), (0.5, 0.1), (0.5, 0.9), (0.1, 0.9))


def bicycles(count: int, *, x: float = 40, step: float = 14, rest_s: float = 0) -> list[Thing]:
    return [
        Thing(seed=60 + row, box=(x + step * row, 100, x + 12 + step * row, 118), track=row + 1, rest_s=rest_s)
        for row in range(count)
    ]


def heap_rule(**changes: object) -> Rule:
    return parking_rule("heap", **{"count_min": 6, "spacing": 1.5, **changes})


def rack_rule(kind: str, **changes: object) -> Rule:
    return parking_rule(kind, zone_names=("kerb", "rack"), bays=("rack",), **changes)


def test_six_together_are_one_case_and_five_are_none() -> None:
    for count, told in ((5, []), (6, ["opened"])):
        street = Street(heap_rule())
        street.play(20, *bicycles(count))
        assert street.told == told
    assert street.changes[0][1].case.count == 6


def test_six_here_and_there_are_no_heap() -> None:
    street = Street(heap_rule())
    street.play(20, *bicycles(6, step=38))
    assert street.told == []


def test_a_heap_of_which_some_are_missed_or_taken_goes_on_and_ends_when_they_are_gone() -> None:
    street = Street(heap_rule())
    heap = bicycles(6)
    for _ in range(20):
        street.play(0.4, *heap)
        street.play(0.4, *heap[:5], replace(heap[5], carried=True))
    street.play(10, *heap[:4])
    assert street.told == ["opened"]
    street.play(10, *heap[:3])
    assert street.told == ["opened", "cleared"]


def test_those_that_roll_by_are_no_heap() -> None:
    street = Street(heap_rule())
    for _ in range(40):
        street.play(0.4, *bicycles(6, rest_s=street.now_s))
    assert street.told == []


@pytest.mark.parametrize("kind", ["stationary", "heap"])
def test_what_stands_in_a_bay_does_not_count(kind: str) -> None:
    number = {"count_min": 3, "spacing": 1.5} if kind == "heap" else {}
    street = Street(rack_rule(kind, **number), polygons=(KERB, RACK))
    street.play(20, *bicycles(4))
    assert street.told == []
    street.play(20, *bicycles(4, x=180, rest_s=street.now_s))
    assert set(street.told) == {"opened"}
