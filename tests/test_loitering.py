"""People who stay in a zone, or should not be in it at all, among others who walk by; followed by the real tracker."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edge.core.scenarios import Rule
from edge.core.types import NS_PER_S
from tests.street import person_rule
from tests.walkers import Pavement, Walker, walks

YARD = ((0.3, 0.3), (0.7, 0.3), (0.7, 0.9), (0.3, 0.9))  # 96..224, 72..216 px
SECONDS = NS_PER_S


def loitering(after_s: float = 10, **changes: object) -> Rule:
    return person_rule("loitering", **{"after_ns": round(after_s * SECONDS), **changes})


def street(rule: Rule, **how: object) -> Pavement:
    return Pavement(rule, zone=YARD, drawn=True, **how)  # type: ignore[arg-type]


def comes_and_stands(x: float, y: float, *, stay_s: float, from_s: float = 3, **looks: float) -> Walker:
    """Walks in from the left, stands, and walks out to the right."""
    in_s, out_s = abs(x - 20) / 40, abs(300 - x) / 40
    there_s = from_s + in_s
    path = ((from_s, (20, y)), (there_s, (x, y)), (there_s + stay_s, (x, y)), (there_s + stay_s + out_s, (300, y)))
    return Walker(path, **looks)


def pacing(visits: int, *, inside_s: float, outside_s: float, from_s: float = 3) -> Walker:
    """In and out over the zone's left edge, in sight all the time."""
    path: list[tuple[float, tuple[float, float]]] = [(from_s, (60.0, 160.0))]
    now_s = from_s
    for _ in range(visits):
        for seconds, x in ((1.0, 130.0), (inside_s, 130.0), (1.0, 60.0), (outside_s, 60.0)):
            now_s += seconds
            path.append((now_s, (x, 160.0)))
    return Walker(path)


def test_who_stays_is_one_case_from_the_start_of_the_visit_to_its_end() -> None:
    yard = street(loitering())
    yard.play(45, [comes_and_stands(160, 160, stay_s=20)])
    print(f"in the zone from 4.9 s: opened at {yard.at('opened')}, cleared at {yard.at('cleared')}")
    assert yard.told == ["opened", "cleared"]
    assert yard.at("opened") == [pytest.approx(14.9, abs=0.8)]


def test_five_visits_of_somebody_in_sight_all_the_time_are_not_one() -> None:
    yard = street(loitering())
    yard.play(70, [pacing(5, inside_s=2.4, outside_s=8)])
    assert yard.told == []


@pytest.mark.parametrize(("within_s", "told"), [(0, []), (15, ["opened"]), (5, [])])
def test_visits_are_summed_only_where_asked_for_and_no_further_apart(within_s: float, told: Sequence[str]) -> None:
    """Four visits of four seconds, ten apart; the third makes ten."""
    yard = street(loitering(sum_visits_within_ns=round(within_s * SECONDS), clear_after_ns=60 * SECONDS))
    yard.play(60, [pacing(4, inside_s=3, outside_s=8)])
    print(f"summed within {within_s} s: {yard.told} at {yard.at('opened')}")
    assert yard.told == told


def test_visits_of_different_people_are_never_summed() -> None:
    """One after the other, each for four seconds, out of sight between."""
    visitors = [comes_and_stands(160, 160, stay_s=2.5, from_s=3 + 9 * row) for row in range(6)]
    yard = street(loitering(sum_visits_within_ns=60 * SECONDS))
    yard.play(65, visitors)
    assert yard.told == []


@pytest.mark.parametrize("depth", [3, 12])
def test_passers_by_who_hide_the_loiterer_neither_end_the_visit_nor_get_its_time(depth: float) -> None:
    stander = comes_and_stands(160, 150, stay_s=40)
    passers = [walks((20, 150 + depth), (300, 150 + depth), speed=0.8, from_s=6 + 3 * row) for row in range(12)]
    yard = street(loitering(), tremble=0.5)
    yard.play(44, [stander, *passers])
    print(f"told {yard.told} at {yard.at('opened')}")
    assert yard.told == ["opened"]
    assert yard.book.live[0].footprint[2] == pytest.approx(170, abs=12)


@pytest.mark.parametrize("turn", [1, -1])
def test_the_time_of_one_who_leaves_does_not_go_to_a_passer_by(turn: int) -> None:
    """He has stood for eight seconds when another walks by before him, and goes with or against him at that moment."""
    meet_s, x = 12.9, 160.0
    stander = Walker(((3, (20, 150)), (6.5, (x, 150)), (meet_s, (x, 150)), (meet_s + 4, (x + turn * 160, 150))))
    passer = walks((20, 155), (300, 155), speed=0.8, from_s=meet_s - (x - 20) / 40 - 0.2)
    yard = street(loitering(), tremble=0.5)
    yard.play(30, [stander, passer])
    print(f"he was in the zone for 9.6 s, the passer-by for 3.2 s: told {yard.told} at {yard.at('opened')}")
    assert yard.told == []


# Intrusion: nobody should be there at all.


def intrusion(**changes: object) -> Rule:
    return loitering(0, **{"scenario": "intrusion", "score_min": 0.4, "clear_after_ns": 5 * SECONDS, **changes})


@pytest.mark.parametrize("step_s", [0.2, 0.5, 1.0])
def test_who_walks_into_the_closed_zone_is_a_case_within_a_second_or_two_looks(step_s: float) -> None:
    yard = street(intrusion(), step_s=step_s)
    yard.play(20, [walks((20, 160), (300, 160), speed=0.8, from_s=3)])
    entered_s = 3 + (96 - 20) / 40
    print(f"a look each {step_s} s: entered at {entered_s:.1f} s, opened at {yard.at('opened')}")
    assert yard.told == ["opened", "cleared"]
    assert entered_s <= yard.at("opened")[0] <= entered_s + max(1.0, 2.5 * step_s)


def test_one_false_look_is_no_intrusion() -> None:
    """A ghost of one look, again and again, somewhere in the zone."""
    ghosts = [Walker(((3 * row, (110 + 13 * row, 160)), (3 * row + 0.1, (110 + 13 * row, 160)))) for row in range(8)]
    yard = street(intrusion(), step_s=0.2)
    yard.play(26, ghosts)
    assert yard.told == []


def test_who_leans_over_the_edge_is_not_inside() -> None:
    """The box lies half in the zone, the feet beside it; they tremble over the line in some looks."""
    yard = street(intrusion(), tremble=1.5, seed=5)
    yard.play(40, [comes_and_stands(92, 160, stay_s=30)])  # four px beside the line, on the way through from 36 s on
    print(f"leaned from 5 to 35 s: told {yard.told} at {yard.at('opened')}")
    assert all(when > 34 for when in yard.at("opened"))


def test_who_walks_along_the_line_outside_is_not_inside() -> None:
    yard = street(intrusion(), tremble=1.5, seed=6)
    yard.play(14, [walks((93, 100), (93, 235), speed=0.4, from_s=3)])
    assert yard.told == []


def test_somebody_inside_when_the_hours_begin_counts_from_then() -> None:
    yard = street(intrusion(scenario="after-hours-entry"))
    late = [comes_and_stands(160, 160, stay_s=60)]
    yard.play(25, late, active=False)
    assert yard.told == []
    yard.play(40, late)
    (case,) = (change.case for _, change in yard.changes if change.kind == "opened")
    print(f"hours begin at 25 s: opened at {yard.at('opened')}, counted from {case.started_ns / SECONDS:.2f} s")
    assert 25 <= yard.at("opened")[0] <= 26.5
    assert case.started_ns >= 24.5 * SECONDS


def test_who_left_before_the_hours_begin_is_no_case() -> None:
    yard = street(intrusion(scenario="after-hours-entry"))
    yard.play(20, [comes_and_stands(160, 160, stay_s=2)], active=False)
    yard.play(30, [])
    assert yard.told == []
