"""A person who stays in a zone, moving or not. A visit ends when the person leaves.

Visits are summed only where it is asked for, and only of somebody who was followed all the while: who steps out of the
zone and back. Whoever was out of sight is somebody else; people are not recognised again, here or anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge.core.scenarios.rule import PERSON, Rule, Scenario, findings_of, wanted
from edge.core.scene import Scene
from edge.core.types import Findings


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LoiteringRule(Rule):
    kind: ClassVar[str] = "loitering"
    keyed_by: ClassVar[str] = PERSON

    sum_visits_within_ns: int = 0  # 0: not summed

    @property
    def look_max_ns(self) -> int:
        """Who walks is two steps further on after a second: from look to look it might be anybody."""
        return 0

    @property
    def waits_ns(self) -> int:
        return self.sum_visits_within_ns


class Loitering(Scenario):
    def find(self, scene: Scene) -> Findings:
        tracks, presence = scene.tracks, scene.presence[self.rule.anchor]
        here = presence.inside & self.rule.zone_mask()[:, None] & wanted(tracks, self.rule)[None, :]
        zone, row = np.nonzero(here)
        return findings_of(tracks, zone=zone, row=row, since_ns=presence.entered_ns[zone, row])
