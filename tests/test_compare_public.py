"""scripts/compare-public: what it makes of its measurements. The measuring itself takes minutes, by command."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "compare_public.py"


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_public", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def a_case(onset_s: float, scenario: str = "illegal-parking") -> dict[str, Any]:
    return {"scenario": scenario, "zone": "kerb", "onset_s": onset_s}


def a_round(public: float, *, resting: float | None = None, onset_s: float = 4.8, **others: float) -> dict[str, Any]:
    """Cases of ours are true where `onset_s` is left; the public parts find nothing."""
    theirs = {"public parts": public, "public parts, resting threads": resting or public}
    ours = {"all": 10.0, "all, still zones skipped": 5.0, **others}
    rows = {name: {"cpu_s_per_minute": cost, "cases": []} for name, cost in theirs.items()}
    rows |= {name: {"cpu_s_per_minute": cost, "cases": [a_case(onset_s)]} for name, cost in ours.items()}
    return dict.fromkeys(TRUTH, rows)


TRUTH = {street: [a_case(4.8)] for street in ("parking", "goods", "quiet")}


def test_what_is_found_may_begin_two_seconds_from_the_truth_and_no_more(compare: ModuleType) -> None:
    assert compare.untrue([a_case(5.0)], [a_case(7.0)]) == []
    assert compare.untrue([a_case(5.0)], [a_case(7.1)]) == [
        "misses illegal-parking from 5.0 s",
        "adds illegal-parking from 7.1 s",
    ]
    assert compare.untrue([a_case(5.0)], [a_case(5.0, "piled-goods")])[0].startswith("misses")
    assert compare.untrue([a_case(5.0)], [a_case(5.0), a_case(5.5)]), "told twice"


def test_a_ratio_is_the_median_of_the_rounds_own_ratios(compare: ModuleType) -> None:
    """A round on a machine that was twice as slow says the same."""
    rounds = [
        a_round(20, auto=2),
        a_round(40, auto=4),
        a_round(20, auto=2.2),
        a_round(18, auto=1.8),
        a_round(30, auto=3),
    ]
    row = compare.judge(rounds, TRUTH)["parking"]["auto"]
    print(row)
    assert row["ratio"] == 0.1
    assert row["cpu_s_per_minute"] == 2.2
    assert row["cpu_s_range"] == [1.8, 4]


def test_a_bar_that_is_missed_is_told(compare: ModuleType) -> None:
    assert compare.missed(compare.judge([a_round(20, auto=2)], TRUTH)) == []
    faults = compare.missed(compare.judge([a_round(20, auto=2.4)], TRUTH))
    print(faults)
    assert faults == [f"{street}, auto: 0.120 of the public parts, may be 0.1" for street in ("parking", "goods")]


def test_who_misses_the_truth_in_any_round_misses_the_bar(compare: ModuleType) -> None:
    faults = compare.missed(compare.judge([a_round(20, auto=2), a_round(20, auto=2, onset_s=9.0)], TRUTH))
    print(faults)
    for contestant in ("auto", "all"):
        assert f"parking, {contestant}: misses illegal-parking from 4.8 s" in faults
    assert "quiet, all, still zones skipped: adds illegal-parking from 9.0 s" in faults


def test_what_was_not_measured_or_not_judged_is_told(compare: ModuleType) -> None:
    alone = {street: {"auto": rows["auto"]} for street, rows in a_round(20, auto=2).items() if street != "quiet"}
    faults = compare.missed(compare.judge([alone], TRUTH))
    print(faults)
    assert "parking, auto: was not measured" in faults, "no yardstick"
    assert "parking, all: its cases were not judged" in faults
    assert "quiet, all, still zones skipped: was not measured" in faults


def test_the_bars_are_held_to_the_public_parts_with_resting_threads(compare: ModuleType) -> None:
    assert compare.missed(compare.judge([a_round(34, auto=2.6)], TRUTH)) == []
    faults = compare.missed(compare.judge([a_round(34, resting=20, auto=2.6)], TRUTH))
    print(faults)
    assert faults[0] == "parking, auto: 0.130 of the public parts, may be 0.1"


def test_a_run_that_was_interrupted_goes_on_where_the_orders_are_the_same(compare: ModuleType, tmp_path: Path) -> None:
    left = tmp_path / "rounds.json"
    assert compare.interrupted(left, {"commit": "a"}) == []
    left.write_text('{"commit": "a", "rounds": [{}, {}]}')
    assert len(compare.interrupted(left, {"commit": "a"})) == 2
    assert compare.interrupted(left, {"commit": "b"}) == []
