"""The kinds of scenario: from a rule to the object that looks for it."""

from __future__ import annotations

from collections.abc import Sequence

from edge.core.scenarios.gathering import Gathering
from edge.core.scenarios.left_object import LeftObject
from edge.core.scenarios.loitering import Loitering
from edge.core.scenarios.rule import GATHERING, LEFT_OBJECT, LOITERING, STATIONARY, Rule, Scenario
from edge.core.scenarios.stationary import Stationary
from edge.core.types import Float32

__all__ = ["GATHERING", "LEFT_OBJECT", "LOITERING", "STATIONARY", "Rule", "Scenario", "scenario_for"]


def scenario_for(rule: Rule, zones: Sequence[Float32]) -> Scenario:
    """The scenario that a rule asks for; `zones` are the camera's polygons in fractions."""
    if rule.kind == LEFT_OBJECT:
        return LeftObject(rule, zones)
    plain: dict[str, type[Stationary] | type[Loitering] | type[Gathering]] = {
        STATIONARY: Stationary,
        LOITERING: Loitering,
        GATHERING: Gathering,
    }
    return plain[rule.kind](rule)
