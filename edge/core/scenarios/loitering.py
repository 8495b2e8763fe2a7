"""A person who stays in a zone, moving or not. A visit ends when the person leaves; visits are not summed."""

from __future__ import annotations

import numpy as np

from edge.core.scenarios.rule import Rule, wanted
from edge.core.scene import Scene
from edge.core.types import Findings


class Loitering:
    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def find(self, scene: Scene) -> Findings:
        tracks, presence = scene.tracks, scene.presence[self.rule.anchor]
        here = presence.inside & self.rule.zone_mask()[:, None] & wanted(tracks, self.rule)[None, :]
        zone, row = np.nonzero(here)
        return Findings(
            zone=zone.astype(np.int16),
            xyxy=tracks.xyxy[row],
            label=tracks.label[row],
            score=tracks.score[row],
            track_id=tracks.track_id[row],
            since_ns=presence.entered_ns[zone, row],
            count=np.ones(len(row), np.int16),
        )
