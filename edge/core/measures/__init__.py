"""The kinds of measure: from a rule to the gauge that reads it.

A kind is a file here with its rule and its gauge, a row of KINDS, and its parameters in `edge/config/kinds.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edge.core.measures.flow import Flow, FlowRule
from edge.core.measures.gauge import Gauge, Intervals, MeasureRule
from edge.core.measures.occupancy import Occupancy, OccupancyRule
from edge.core.types import Float32, Measure, Number

__all__ = ["KINDS", "Gauge", "Intervals", "Measure", "MeasureRule", "Number", "gauge_for", "measure_class"]

KINDS: Mapping[str, tuple[type[MeasureRule], Callable[[Any, Sequence[Float32], Intervals], Gauge]]] = {
    "flow": (FlowRule, Flow),
    "occupancy": (OccupancyRule, Occupancy),
}


def measure_class(kind: str) -> type[MeasureRule]:
    return KINDS[kind][0]


def gauge_for(rule: MeasureRule, zones: Sequence[Float32], intervals: Intervals) -> Gauge:
    """The gauge that a rule asks for; `zones` are the camera's polygons in fractions."""
    return KINDS[rule.kind][1](rule, zones, intervals)
