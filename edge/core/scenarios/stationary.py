"""A thing of a known class that stands still in a zone: a parked car, a chair on the pavement.

Still means that the track's box has kept its place for `SETTLE_NS`; a queue that crawls leaves its place again and
again. That the thing was there before it was looked at does not matter: it stands there.
"""

from __future__ import annotations

import numpy as np

from edge.core import boxes
from edge.core.scenarios.rule import Rule, findings_of, wanted
from edge.core.scene import Scene
from edge.core.types import NS_PER_S, Findings

SETTLE_NS = NS_PER_S


class Stationary:
    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def find(self, scene: Scene) -> Findings:
        tracks, presence = scene.tracks, scene.presence[self.rule.anchor]
        still = wanted(tracks, self.rule) & (scene.frame.mono_ns - tracks.rest_since_ns >= SETTLE_NS)
        width, height = scene.frame.size_px
        still &= boxes.area(tracks.xyxy) >= self.rule.size_min * width * height
        zone, row = np.nonzero(presence.inside & self.rule.zone_mask()[:, None] & still[None, :])
        since_ns = np.maximum(tracks.rest_since_ns[row], presence.entered_ns[zone, row])
        return findings_of(tracks, zone=zone, row=row, since_ns=since_ns)
