"""Everything that is known of one frame, as the scenarios see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge.core.appearance import luma_patch
from edge.core.memory import StreetMemory
from edge.core.types import Detections, Float32, Frame, Presence, StaticRegions, Tracks


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    frame: Frame
    detections: Detections
    tracks: Tracks
    presence: Mapping[str, Presence]  # by anchor
    regions: StaticRegions
    memory: StreetMemory
    blind: bool = False  # the picture is not to be trusted: it shows no empty street either

    def patch(self, xyxy: Float32) -> Float32:
        """What a place looks like now: (4,) px -> luma with a rim, see `appearance`."""
        return luma_patch(self.frame.bgr, xyxy)

    def patch_before(self, xyxy: Float32, mono_ns: int) -> Float32 | None:
        """What it looked like some seconds before that moment, None where nobody remembers."""
        earlier = self.memory.before(mono_ns)
        same_size = earlier is not None and earlier.shape == self.frame.bgr.shape[:2]
        return luma_patch(earlier, xyxy) if earlier is not None and same_size else None

    @classmethod
    def unseen(cls, frame: Frame, memory: StreetMemory) -> Scene:
        """A frame whose picture is not to be trusted: nothing is known of it but its time."""
        return cls(frame, Detections.empty(), Tracks.empty(), {}, StaticRegions.empty(), memory, blind=True)
