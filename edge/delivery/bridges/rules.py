"""What kind of rule told an alert, for the bridges whose systems tell kinds apart: an alert names its scenario only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rule:
    kind: str  # of the catalogue: stationary, loitering, crossing, ...
    moment: bool = False  # being there is enough, however short


@dataclass(frozen=True, slots=True)
class Rules:
    """Of one gateway. A scenario that is configured no more is known by the catalogue, should a late alert come."""

    configured: Mapping[tuple[str, str], Rule] = field(default_factory=dict)  # by camera and scenario
    catalogue: Mapping[str, Rule] = field(default_factory=dict)  # by scenario

    def of(self, camera: str, scenario: str) -> Rule | None:
        return self.configured.get((camera, scenario)) or self.catalogue.get(scenario)
