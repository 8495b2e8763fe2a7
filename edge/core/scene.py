"""Everything that is known of one frame, as the scenarios see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edge.core.memory import StreetMemory
from edge.core.types import Detections, Frame, Presence, StaticRegions, Tracks, UInt8

# A street at night with one lamp spans some thirty grey levels; a covered lens or a dead sensor spans its noise.
CONTRAST_MIN = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    frame: Frame
    detections: Detections
    tracks: Tracks
    presence: Mapping[str, Presence]  # by anchor
    regions: StaticRegions
    memory: StreetMemory
    blind: bool = False  # the picture shows nothing, and so no empty street either


def shows_nothing(bgr: UInt8) -> bool:
    """Whether a picture is all of one level: 98 % of it within `CONTRAST_MIN` grey levels."""
    sample = bgr[::8, ::8, 1]  # green is most of the luma
    dark, bright = np.percentile(sample, (1, 99))
    return bool(bright - dark < CONTRAST_MIN)
