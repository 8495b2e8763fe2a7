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


def a_round(public: float, **others: float) -> dict[str, Any]:
    costs = {"public parts": public, **{name.replace("_", " "): cost for name, cost in others.items()}}
    rows = {name: {"cpu_s_per_minute": cost, "cases": [a_case(4.8)]} for name, cost in costs.items()}
    return {"parking": rows, "goods": rows}


def test_the_same_cases_may_begin_two_seconds_apart_and_no_more(compare: ModuleType) -> None:
    assert compare.unlike([a_case(5.0)], [a_case(7.0)], []) == []
    assert compare.unlike([a_case(5.0)], [a_case(7.1)], []) == [
        "misses illegal-parking from 5.0 s",
        "adds illegal-parking from 7.1 s",
    ]
    assert compare.unlike([a_case(5.0)], [a_case(5.0, "piled-goods")], [])[0].startswith("misses")


def test_a_case_more_is_no_fault_where_it_happened(compare: ModuleType) -> None:
    assert compare.unlike([a_case(5.0)], [a_case(5.0), a_case(46.0)], [a_case(45.8)]) == []
    assert compare.unlike([a_case(5.0)], [a_case(5.0), a_case(60.0)], [a_case(45.8)])
    assert compare.unlike([a_case(5.0)], [a_case(5.0), a_case(5.5)], [a_case(45.8)]), "told twice"


def test_a_ratio_is_the_median_of_the_rounds_own_ratios(compare: ModuleType) -> None:
    """A round on a machine that was twice as slow says the same."""
    rounds = [
        a_round(20, auto=2),
        a_round(40, auto=4),
        a_round(20, auto=2.2),
        a_round(18, auto=1.8),
        a_round(30, auto=3),
    ]
    row = compare.judge(rounds)["parking"]["auto"]
    print(row)
    assert row["ratio"] == 0.1
    assert row["cpu_s_per_minute"] == 2.2
    assert row["cpu_s_range"] == [1.8, 4]


def test_a_bar_that_is_missed_or_was_not_measured_is_told(compare: ModuleType) -> None:
    faults = compare.missed(compare.judge([a_round(20, auto=2.4, all=16)]))
    print(faults)
    assert faults[:2] == [f"{street}, auto: 0.120 of the public parts, may be 0.1" for street in ("parking", "goods")]
    assert len(faults) == 3
    assert "was not measured" in faults[2]


def test_the_bars_are_held_to_the_public_parts_with_resting_threads(compare: ModuleType) -> None:
    one = a_round(34, auto=2.6, all=16) | {"quiet": a_round(34, auto=2)["parking"]}
    assert not [fault for fault in compare.missed(compare.judge([one])) if "auto" in fault]
    for rows in one.values():
        rows["public parts, resting threads"] = {"cpu_s_per_minute": 20.0, "cases": []}
    faults = [fault for fault in compare.missed(compare.judge([one])) if "auto" in fault]
    print(faults)
    assert faults[0] == "parking, auto: 0.130 of the public parts, may be 0.1"
