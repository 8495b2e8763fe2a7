"""The kinds of scenario: from a rule to the object that looks for it.

A kind is a file here with its rule and its scenario, a row of KINDS, and its parameters in `edge/config/kinds.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge.core.scenarios.absence import Absence, AbsenceRule
from edge.core.scenarios.crossing import Crossing, CrossingRule
from edge.core.scenarios.gathering import Gathering, GatheringRule
from edge.core.scenarios.heap import Heap, HeapRule
from edge.core.scenarios.left_object import LeftObject, LeftObjectRule
from edge.core.scenarios.loitering import Loitering, LoiteringRule
from edge.core.scenarios.occupation import Occupation, OccupationRule
from edge.core.scenarios.repeated_gathering import RepeatedGatheringRule
from edge.core.scenarios.rule import Rule, Scenario
from edge.core.scenarios.stationary import Stationary, StationaryRule
from edge.core.types import Float32

__all__ = ["KINDS", "Rule", "Scenario", "rule_class", "scenario_for"]

KINDS: Mapping[str, tuple[type[Rule], type[Scenario]]] = {
    rule.kind: (rule, scenario)
    for rule, scenario in (
        (StationaryRule, Stationary),
        (LeftObjectRule, LeftObject),
        (LoiteringRule, Loitering),
        (GatheringRule, Gathering),
        (HeapRule, Heap),
        (RepeatedGatheringRule, Gathering),
        (CrossingRule, Crossing),
        (AbsenceRule, Absence),
        (OccupationRule, Occupation),
    )
}


def rule_class(kind: str) -> type[Rule]:
    return KINDS[kind][0]


def scenario_for(rule: Rule, zones: Sequence[Float32]) -> Scenario:
    """The scenario that a rule asks for; `zones` are the camera's polygons in fractions."""
    return KINDS[rule.kind][1](rule, zones)
