"""Everything that is known of one frame, as the scenarios see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge.core.memory import StreetMemory
from edge.core.types import Detections, Frame, Presence, StaticRegions, Tracks


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    frame: Frame
    detections: Detections
    tracks: Tracks
    presence: Mapping[str, Presence]  # by anchor
    regions: StaticRegions
    memory: StreetMemory
    blind: bool = False  # the picture is not to be trusted: it shows no empty street either

    @classmethod
    def unseen(cls, frame: Frame, memory: StreetMemory) -> Scene:
        """A frame whose picture is not to be trusted: nothing is known of it but its time."""
        return cls(frame, Detections.empty(), Tracks.empty(), {}, StaticRegions.empty(), memory, blind=True)
