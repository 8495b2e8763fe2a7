"""The stock scenarios of people, each by its own defaults: what it is about is a case, what looks like it is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.test_catalogue import CATALOGUE, rule_of
from tests.walkers import Pavement, Walker, stands, walks


@dataclass(frozen=True)
class Meaning:
    scenario: str
    yes: Callable[[], Sequence[Walker]]
    no: Callable[[], Sequence[Walker]]
    seconds: float
    step_s: float = 1.0


def row(
    count: int, gap: float, *, y: float = 150, from_s: float = 4, to_s: float = 1e6, sway: float = 2
) -> list[Walker]:
    return [stands(45 + gap * place, y, from_s=from_s, to_s=to_s, sway=sway) for place in range(count)]


def stream(count: int, every_s: float, *, speed: float = 0.8) -> list[Walker]:
    lanes = (120, 140, 160, 180)
    return [
        walks((5, lanes[one % 4]), (315, lanes[one % 4]), speed=speed, from_s=every_s * one) for one in range(count)
    ]


def along(y: float, *, speed: float) -> list[Walker]:
    return [walks((60, y), (260, y), speed=speed, from_s=4)]


def to_and_fro(turns: int) -> list[Walker]:
    """Ten seconds before the door, and eight beside it, in sight."""
    path, now_s = [(4.0, (60.0, 150.0))], 4.0
    for _ in range(turns):
        for wait_s, x in ((2.0, 60.0), (8.0, 60.0), (2.0, 10.0), (6.0, 10.0)):
            now_s += wait_s
            path.append((now_s, (x, 150.0)))
    return [Walker(path)]


def one_after_the_other(count: int) -> list[Walker]:
    """Each stays for eight seconds, and is out of sight when the next one comes."""
    return [stands(45, from_s=15.0 * number + 3, to_s=15.0 * number + 11) for number in range(count)]


MEANINGS = (
    Meaning("crowd-gathering", lambda: row(4, 30), lambda: [*row(3, 30), *stream(30, 2)], 60),
    Meaning("crowd-at-door", lambda: row(8, 28), lambda: [*row(8, 28, to_s=120), *stream(60, 3)], 230),
    Meaning("queue-too-long", lambda: row(10, 24), lambda: [*row(5, 24), *row(5, 24, y=210)], 340, 2.0),
    Meaning(
        "person-on-carriageway",
        lambda: [walks((60, 150), (260, 150), speed=0.8, from_s=4)],  # along the road
        lambda: [walks((60, 18), (60, 78), speed=1.0, from_s=4)],  # over a lane of 50 px
        14,
        0.25,
    ),
    Meaning("night-loitering", lambda: to_and_fro(5), lambda: one_after_the_other(6), 94, 0.5),
)


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda meaning: meaning.scenario)
def test_a_scenario_of_people_tells_what_it_is_about_and_not_what_looks_like_it(
    meaning: Meaning, tmp_path: Path
) -> None:
    rule = rule_of(CATALOGUE[meaning.scenario], tmp_path)
    opened = {}
    for name, people in (("what it is about", meaning.yes()), ("what looks like it", meaning.no())):
        street = Pavement(rule, step_s=meaning.step_s, drawn=rule.kind == "loitering", hide=rule.kind == "loitering")
        street.play(meaning.seconds, people)
        opened[name] = street.at("opened")
    print(f"{meaning.scenario}: {opened}")
    assert len(opened["what it is about"]) == 1
    assert opened["what looks like it"] == []


def test_every_scenario_of_people_is_here_or_tested_by_its_own() -> None:
    elsewhere = {"loitering", "intrusion", "after-hours-entry", "product-promotion-gathering"}
    people = {name for name, one in CATALOGUE.items() if one.labels == ("person",) and one.kind != "absence"}
    mine = {name for name in people if CATALOGUE[name].kind in ("gathering", "repeated_gathering", "loitering")}
    assert mine == elsewhere | {meaning.scenario for meaning in MEANINGS}
