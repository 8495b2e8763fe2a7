"""What the rules saw of one case, look by look: enough to run its scenario and its case book over it once more.

Tracks and static regions are kept as they were, so nothing is found anew; of the pictures only a small luma cut round
the case's place, a few seconds apart, for the book to compare. What lies beyond the cut has no looks to be known by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from edge.core.appearance import luma_of, luma_patch
from edge.core.memory import StreetMemory
from edge.core.pixels import Pixels
from edge.core.scenarios import Rule
from edge.core.scene import Scene
from edge.core.types import Bool, Detections, Float32, Frame, Presence, StaticRegions, Tracks, UInt8
from edge.core.zones import ZoneMap

CUT_PX = 160  # longest side of a cut: the thing in its middle is then about as large as the book's patch
_CUT_REACH = 1.0  # of the footprint's size, kept round it on each side
_CUT_MIN_PX = 64.0  # of the source

_NO_PICTURE: UInt8 = np.zeros((1, 1, 3), np.uint8)


def _no_cut() -> UInt8:
    return np.zeros((1, 1), np.uint8)


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of the picture is kept, and how small."""

    corner: tuple[float, float]  # px of the source
    size: tuple[float, float]  # px of the source
    scale: float  # px of the cut to one of the source

    @classmethod
    def round_place(cls, footprint: Sequence[float], frame_px: tuple[int, int]) -> Window:
        x1, y1, x2, y2 = footprint
        reach_x = max((x2 - x1) * _CUT_REACH, (_CUT_MIN_PX - (x2 - x1)) / 2)
        reach_y = max((y2 - y1) * _CUT_REACH, (_CUT_MIN_PX - (y2 - y1)) / 2)
        left, top = max(np.floor(x1 - reach_x), 0.0), max(np.floor(y1 - reach_y), 0.0)
        right, bottom = min(np.ceil(x2 + reach_x), frame_px[0]), min(np.ceil(y2 + reach_y), frame_px[1])
        width, height = max(float(right - left), 1.0), max(float(bottom - top), 1.0)
        return cls((float(left), float(top)), (width, height), min(1.0, CUT_PX / max(width, height)))

    def cut(self, picture: Pixels | UInt8) -> UInt8:
        """Pixels, (H, W) luma or (H, W, 3) BGR -> the small luma of this part."""
        left, top = (round(edge) for edge in self.corner)
        width, height = (round(length) for length in self.size)
        across, down = picture.shape[1::-1] if isinstance(picture, np.ndarray) else picture.size_px
        right, bottom = min(left + width, across), min(top + height, down)
        if right <= left or bottom <= top:
            return _no_cut()
        luma = luma_of(picture, (left, top, right, bottom))
        small = (max(1, round(luma.shape[1] * self.scale)), max(1, round(luma.shape[0] * self.scale)))
        return np.asarray(cv2.resize(luma, small, interpolation=cv2.INTER_AREA), np.uint8)

    def patch(self, cut: UInt8, xyxy: Float32) -> Float32:
        """What a place looks like: (4,) px of the source, see `appearance`."""
        corner = np.array([*self.corner, *self.corner], np.float32)
        return luma_patch(cut, (np.asarray(xyxy, np.float32) - corner) * np.float32(self.scale))


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One look at the whole picture."""

    mono_ns: int
    wall_ns: int
    frame_px: tuple[int, int]
    tracks: Tracks
    regions: StaticRegions
    blind: bool
    resumed: bool  # what was before it is unknown


@dataclass(frozen=True, slots=True, eq=False)
class KeptCase:
    """A case that was opened, and what was seen from some time before it began."""

    case_id: str
    camera: str
    scenario: str
    zone: str
    started_ns: int  # mono, as all times here but for those named wall
    found_ns: int  # the first look at which it was a case in the making; what is before was seen of others
    opened_ns: int
    opened_wall_ns: int
    footprint: tuple[float, float, float, float]  # px, when it opened
    over: bool  # the street ended it while looks were kept; else nobody knows how long it lasted
    rule: Rule  # as it was
    own_labels: Bool | None  # (C,) see `Scene.seen_by`
    zones: Mapping[str, Float32]  # of the camera: id -> (V, 2) fractions
    looks: Sequence[Look]
    window: Window
    cuts: Sequence[tuple[int, UInt8]]  # when, and the small luma
    earlier: UInt8 | None  # the same place some seconds before the case began

    def _before(self) -> UInt8:
        """What stands for the looks before the first cut."""
        if self.earlier is not None:
            return self.earlier
        return self.cuts[0][1] if self.cuts else _no_cut()

    def scenes(self) -> Iterator[Scene]:
        """Every look as its scenario sees it, with the visits to the zones counted anew."""
        anchor = self.rule.anchor
        zones = ZoneMap(list(self.zones.values()), anchor=anchor)
        memory = StreetMemory()
        shown, following = self._before(), 0
        for look in self.looks:
            while following < len(self.cuts) and self.cuts[following][0] <= look.mono_ns:
                shown, following = self.cuts[following][1], following + 1
            width, height = look.frame_px
            empty = np.broadcast_to(_NO_PICTURE, (height, width, 3))
            frame = Frame(self.camera, 0, look.mono_ns, look.wall_ns, empty, resumed=look.resumed)
            if look.resumed:
                zones.interrupt()
            presence: dict[str, Presence] = {}
            if not look.blind:
                presence[anchor] = zones.locate(look.tracks, width=width, height=height, mono_ns=look.mono_ns)
            scene = KeptScene(
                frame,
                Detections.empty(),
                look.tracks,
                presence,
                look.regions,
                memory,
                look.blind,
                window=self.window,
                shown=shown,
                earlier=self.earlier,
            )
            yield scene if self.own_labels is None else scene.seen_by(self.own_labels)


@dataclass(frozen=True, slots=True, eq=False)
class KeptScene(Scene):
    """A scene whose picture is a cut."""

    window: Window = Window((0.0, 0.0), (1.0, 1.0), 1.0)
    shown: UInt8 = field(default_factory=_no_cut)
    earlier: UInt8 | None = None

    def patch(self, xyxy: Float32) -> Float32:
        return self.window.patch(self.shown, xyxy)

    def patch_before(self, xyxy: Float32, mono_ns: int) -> Float32 | None:
        return None if self.earlier is None else self.window.patch(self.earlier, xyxy)
