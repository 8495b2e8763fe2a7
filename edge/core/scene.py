"""Everything that is known of one frame, as the scenarios see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from edge.core import boxes
from edge.core.appearance import luma_patch
from edge.core.memory import StreetMemory
from edge.core.types import Bool, Detections, Float32, Frame, Presence, StaticRegions, Tracks

# IoU from which tracks of two models are of one thing. Two things that hide one another this far are rare, and then the
# model's own track says enough.
SAME_THING = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    frame: Frame
    detections: Detections
    tracks: Tracks
    presence: Mapping[str, Presence]  # by anchor
    regions: StaticRegions
    memory: StreetMemory
    blind: bool = False  # the picture is not to be trusted: it shows no empty street either
    ignored: Detections = field(default_factory=Detections.empty)  # detections that no rule may see

    @property
    def things(self) -> Detections | None:
        """All boxes of the frame, for who must hide what they are of: seen ones, ignored ones, and where the tracker
        believes that somebody is whom the detector has missed. None where nobody has looked."""
        if self.blind:
            return None
        carried = self.tracks.take(np.flatnonzero(self.tracks.detection < 0))
        parts = (self.detections, self.ignored, carried)
        return Detections(
            np.concatenate([part.xyxy for part in parts]),
            np.concatenate([part.score for part in parts]),
            np.concatenate([part.label for part in parts]),
        )

    def patch(self, xyxy: Float32) -> Float32:
        """What a place looks like now: (4,) px -> luma with a rim, see `appearance`."""
        return luma_patch(self.frame.pixels, xyxy)

    def patch_before(self, xyxy: Float32, mono_ns: int) -> Float32 | None:
        """What it looked like some seconds before that moment, None where nobody remembers."""
        earlier = self.memory.before(mono_ns)
        same_size = earlier is not None and earlier.shape[::-1] == self.frame.size_px
        return luma_patch(earlier, xyxy) if earlier is not None and same_size else None

    @classmethod
    def unseen(cls, frame: Frame, memory: StreetMemory) -> Scene:
        """A frame whose picture is not to be trusted: nothing is known of it but its time."""
        return cls(frame, Detections.empty(), Tracks.empty(), {}, StaticRegions.empty(), memory, blind=True)

    def seen_by(self, own: Bool) -> Scene:
        """As a scenario of one model must see it, `own` (C,) being the labels of that model: each thing once.

        Its own tracks all stay. Of other models' those stay that it has no track of, for what stands before a thing
        hides it whoever saw that; but the thing itself under another model's name hides nothing.
        """
        mine = own[self.tracks.label]
        if mine.all():
            return self
        rows = np.concatenate([np.flatnonzero(mine), np.flatnonzero(~mine)])
        same = np.triu(boxes.iou(self.tracks.xyxy[rows], self.tracks.xyxy[rows]) >= SAME_THING, k=1)
        same[: int(mine.sum()), : int(mine.sum())] = False
        kept = np.sort(rows[~same.any(axis=0)])
        presence = {
            anchor: Presence(there.inside[:, kept], there.entered_ns[:, kept], there.visible_ns[:, kept])
            for anchor, there in self.presence.items()
        }
        return replace(self, tracks=self.tracks.take(kept), presence=presence)
