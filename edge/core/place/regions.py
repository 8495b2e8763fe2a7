"""Cells where something stands -> regions: one for each thing, appeared or removed, matter or light, explained or not.

A region is told as soon as it is credible, and keeps its number and its time from look to look by the cells it shares.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import numpy.typing as npt

from edge.core import boxes
from edge.core.ground import connected
from edge.core.place.grid import Grid, at, put
from edge.core.place.layers import Layers
from edge.core.place.light import SIDE_CELLS, ground_goes_on, light_around, light_likeness, stands_out
from edge.core.place.ranks import median, quantile
from edge.core.place.settings import BackgroundSettings
from edge.core.types import Bool, Float32, Int64, StaticRegions, Tracks, UInt8

Int32 = npt.NDArray[np.int32]
_SQUARE = np.ones((3, 3), np.uint8)
_OUTLINE = np.ones((5, 5), np.uint8)
_OUTLINE_SEEN = 0.3  # of it must be in view to say whether it stirs
_RIM = np.ones((9, 9), np.uint8)
_PIECES_MAX = 64  # more of them are no thing's
_STRONG = 0.7  # a region is as strong as this share of its cells is at most
_SETTLED_SHARE = 0.9  # of lit cells; before that a light is still on its way
_FIGURE_WIDTH = 0.1  # of a box's width changed: somebody, or something, is in this row of it


_UNREST_AT_FIRST = 0.45
_UNREST_RATE = 1 / 16  # of a look
_LIT_AT_FIRST = 0.45
_LIT_RATE = 1 / 16


@dataclass(slots=True, eq=False)
class Region:
    """What is remembered of one region from look to look."""

    number: int
    xyxy: Float32  # (4,) px
    since_ns: int
    cells: int
    contrast: float  # -1 removed .. 1 appeared
    light: float  # 0 matter .. 1 light
    strength: float  # difference from the empty place in tolerances
    explained_by: int
    explained_ns: int  # when it last was
    score: float
    looks: int
    explained_cells: int = 0  # how large it was then
    explainer_xyxy: Float32 = field(default_factory=lambda: np.zeros(4, np.float32))  # px; where that track was then
    explainer_rows: int = 0  # of cells: how tall a figure stood there when the detector last saw it; 0 not known
    explainer_seen_ns: int = 0  # for how long the detector had seen it
    came_as_track: bool = False  # it was explained before it was ever told
    left: bool = False  # the track that explained it has been seen elsewhere since
    lit: float = _LIT_AT_FIRST  # share of the last looks in which it was light
    seen: float = 1.0  # share of it that is in view, as it was, at this look
    unrest: float = _UNREST_AT_FIRST  # share of the last looks in which its outline stirred
    calm_since_ns: int = 0  # when that became little; 0 while it is much
    matter: bool = False  # credible, be it a thing or somebody who stands
    told: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """What one look has brought, for all of its regions."""

    layers: Layers
    changed: Bool
    things: UInt8  # cells that differ from the empty place by more than light
    empty: Float32  # the empty place in the light of now
    excess: Float32  # (rows, columns) difference in tolerances
    tracks: Tracks
    resting: Bool  # (T,)
    behind: Bool  # (rows, columns) covered by a resting track
    covered: Bool  # (rows, columns) by any
    moved: Bool  # (rows, columns) not as at the look before
    moved_share: float  # of the whole picture: rain
    mono_ns: int


class Regions:
    """The regions of one camera; bounded by `regions_max`, rebuilt at each look."""

    def __init__(self, grid: Grid, settings: BackgroundSettings) -> None:
        self._grid = grid
        self._settings = settings
        self._number = 1
        self._kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * settings.join_cells + 1,) * 2)
        self.clear()

    def clear(self) -> None:
        self._regions: dict[int, Region] = {}
        self._owner = np.zeros(self._grid.shape, np.int32)
        self._lit = np.zeros(self._grid.shape, np.bool_)  # large regions that were judged to be light
        self._relit_ns = np.zeros(self._grid.shape, np.int64)  # when the empty place under a thing last was
        self._figures: dict[int, int] = {}  # track -> rows of cells that it filled when it was last seen
        self.left = np.zeros(self._grid.shape, np.bool_)  # cells of things that are told and not explained

    def interrupt(self, mono_ns: int) -> None:
        for region in self._regions.values():
            region.explained_ns = mono_ns if region.explained_by >= 0 else region.explained_ns

    def find(self, layers: Layers, *, changed: Bool, tracks: Tracks, mono_ns: int) -> None:
        """Takes what is no longer there, and what only the light has changed, into the empty place."""
        self._measure_figures(changed, tracks, mono_ns)
        if not self._regions and not np.any(layers.has_thing):
            return
        look = self._look(layers, changed, tracks, mono_ns)
        joined = cv2.morphologyEx(look.things, cv2.MORPH_CLOSE, self._kernel)
        solid = cv2.erode(joined, _SQUARE)
        _, pieces, piece_stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
        labels, stats = self._with_fragments(np.asarray(pieces, np.int32), np.asarray(piece_stats, np.int32), layers)
        regions: dict[int, Region] = {}
        owner = np.zeros_like(self._owner)
        removed = np.zeros_like(layers.has_thing)
        self.left = np.zeros_like(layers.has_thing)
        lit = np.zeros_like(layers.has_thing)
        largest = np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[: self._settings.regions_max] + 1
        # A zone holds a handful of regions, each judged on its own crop: a loop is cheaper than whole pictures.
        for label in largest:
            x, y, width, height, _area = (int(v) for v in stats[label])
            place = np.s_[y : y + height, x : x + width]
            body = labels[place] == label
            own = body & (look.things[place] > 0)
            if np.count_nonzero(own) < self._settings.thing_min_cells or not np.any(solid[place] * body):
                continue
            strength = quantile(look.excess[place][own], _STRONG)
            if strength < self._settings.strength_min:
                continue
            region = self._judge(place, body, own, look, strength=strength, taken=regions)
            regions[region.number] = region
            owner[place][body] = region.number
            if region.told and region.explained_by < 0:
                self.left[place] |= body
            if region.light >= 0.5 and region.cells >= self._settings.lit_share_min * self._grid.zone.size:
                lit[place] |= body
            if region.contrast < 0 and region.looks >= 2 and region.matter:
                removed[place] |= body
        self._regions, self._owner, self._lit = regions, owner, lit
        layers.absorb(removed & layers.has_thing)

    def date(self, since_ns: Int64, cells: Bool) -> None:
        """Write into (rows, columns) since when the regions that are told have stood."""
        for region in self._regions.values():
            if region.told:
                since_ns[cells & (self._owner == region.number)] = region.since_ns

    def _with_fragments(self, labels: Int32, stats: Int32, layers: Layers) -> tuple[Int32, Int32]:
        """Pieces that lie near one another, for their size, and came together are one thing: labels as of the first.

        So are those that were told as one: its middle may look like the ground for a while.
        """
        count = len(stats) - 1
        if not 1 < count <= _PIECES_MAX:
            return labels, stats
        begin = stats[1:, :2]
        size = stats[1:, 2:4]
        gap = np.maximum(begin[:, None], begin[None]) - np.minimum((begin + size)[:, None], (begin + size)[None])
        largest = size.max(axis=1)
        reach = self._settings.join_share * np.maximum(largest[:, None], largest[None])
        near = np.hypot(*np.maximum(gap, 0).transpose(2, 0, 1)) <= reach
        since_ns, told = np.zeros(count), np.zeros(count, np.int64)
        for number, (x, y, width, height) in enumerate(stats[1:, :4].tolist()):  # each is asked about its own cells
            place = np.s_[y : y + height, x : x + width]
            piece = labels[place] == number + 1
            times = layers.thing_since_ns[place][piece & layers.has_thing[place]]
            since_ns[number] = median(times) if len(times) else 0
            told[number] = self._told_as(self._owner[place][piece])
        together = np.abs(since_ns[:, None] - since_ns[None]) <= self._settings.join_together_ns
        near &= together | ((told[:, None] == told[None]) & (told > 0))
        first = connected(near)
        names = np.concatenate([[0], first + 1]).astype(np.int32)
        joined = stats.copy()
        for row in np.flatnonzero(first != np.arange(count)):
            into, piece = joined[first[row] + 1], joined[row + 1]
            corner = np.maximum(into[:2] + into[2:4], piece[:2] + piece[2:4])
            into[:2] = np.minimum(into[:2], piece[:2])
            into[2:4] = corner - into[:2]
            into[4] += piece[4]
            piece[4] = 0
        return names[labels], joined

    def _told_as(self, owner: Int32) -> int:
        """(cells,) of a piece -> the number of the region, told and not explained, that most belonged to; 0: none."""
        owners = np.bincount(owner, minlength=1)
        owners[0] = 0
        old = self._regions.get(int(owners.argmax()))
        return old.number if old is not None and old.told and old.explained_by < 0 else 0

    def told(self) -> StaticRegions:
        told = [region for region in self._regions.values() if region.told and self._grid.in_zones(region.xyxy)]
        if not told:
            return StaticRegions.empty()
        return StaticRegions(
            xyxy=np.stack([region.xyxy for region in told]),
            since_ns=np.array([region.since_ns for region in told], np.int64),
            appeared=np.array([region.contrast >= 0 for region in told], np.bool_),
            explained_by=np.array([region.explained_by for region in told], np.int64),
            score=np.array([region.score for region in told], np.float32),
        )

    def _look(self, layers: Layers, changed: Bool, tracks: Tracks, mono_ns: int) -> _Look:
        settings = self._settings
        empty, excess = self._without_light(layers, mono_ns)
        # Faint things, a patch that dries or the halo of a shadow, would join strong ones that stand by themselves.
        things = (layers.has_thing & (excess >= settings.plain_tolerances) & self._grid.zone).astype(np.uint8)
        resting = (mono_ns - tracks.rest_since_ns >= settings.rest_ns) | (tracks.speed < settings.rest_speed)
        behind = self._grid.covered(tracks.xyxy[resting])
        moved = layers.newest_since_ns == mono_ns
        return _Look(
            layers=layers,
            changed=changed,
            things=things,
            empty=empty,
            excess=excess,
            tracks=tracks,
            resting=resting,
            behind=behind,
            covered=self._grid.covered(tracks.xyxy),
            moved=moved,
            moved_share=float(moved[self._grid.zone].mean()) if np.any(self._grid.zone) else 0.0,
            mono_ns=mono_ns,
        )

    def _without_light(self, layers: Layers, mono_ns: int) -> tuple[Float32, Float32]:
        """The empty place as it is lit where something has changed, and the difference to it in tolerances.

        Lit or shaded ground is the empty place of now, once it has stayed so for a while; what stands in that light is
        compared with the ground as its neighbourhood is lit.
        """
        rows, columns = (np.flatnonzero(layers.has_thing.any(axis=axis)) for axis in (1, 0))
        excess = np.zeros(self._grid.shape, np.float32)
        if not len(rows):
            return layers.empty, excess
        crop = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        empty, thing, tolerance = (
            picture[:, crop[0], crop[1]] for picture in (layers.empty, layers.thing, layers.tolerance)
        )
        has_thing = layers.has_thing[crop]
        goes_on, gone = ground_goes_on(empty[0], np.where(has_thing, thing[0], empty[0]), has_thing)
        goes_on |= self._smoothly_lit(thing - empty, has_thing & self._lit[crop], tolerance)
        change = thing - empty
        # Asked for are the cells with something in them alone: (3, cells) is a small part of the crop.
        apart = np.zeros(has_thing.shape, np.float32)
        apart[has_thing] = (np.abs(at(change, has_thing)) / at(tolerance, has_thing)).max(axis=0)
        if not np.any(goes_on):
            excess[crop] = apart
            return layers.empty, excess
        light, told = light_around(change, goes_on, gone, asked=has_thing)
        known = has_thing.copy()
        known[has_thing] = told
        shone = light[:, told]
        apart[known] = (np.abs(at(change, known) - shone) / at(tolerance, known)).max(axis=0)
        # At its rim a light fades over some cells.
        rim = known & (cv2.dilate((~has_thing).astype(np.uint8), _RIM) > 0)
        there, then = light[:, rim[has_thing]], at(change, rim)
        fading = np.clip(then[0] / np.where(there[0] == 0, 1, there[0]), 0, 1) * there
        apart[rim] = np.minimum(apart[rim], (np.abs(then - fading) / at(tolerance, rim)).max(axis=0))
        excess[crop] = apart
        lit_empty = layers.empty.copy()
        for plane, own in zip(lit_empty, shone, strict=True):
            plane[crop][known] += own
        self._take_light(
            layers,
            crop,
            lit=known & (apart < self._settings.plain_tolerances),
            known=known,
            lit_empty=lit_empty,
            mono_ns=mono_ns,
        )
        return lit_empty, excess

    def _smoothly_lit(self, change: Float32, lit: Bool, tolerance: Float32) -> Bool:
        """What was judged to be light though the ground has no texture: without that which stands in it."""
        if not np.any(lit):
            return lit
        light, _ = light_around(change, lit, np.zeros_like(lit), asked=lit)
        apart = (np.abs(at(change, lit) - light) / at(tolerance, lit)).max(axis=0)
        smooth = np.zeros_like(lit)
        smooth[lit] = apart < self._settings.plain_tolerances
        return smooth

    def _take_light(
        self,
        layers: Layers,
        crop: tuple[slice, slice],
        *,
        lit: Bool,
        known: Bool,
        lit_empty: Float32,
        mono_ns: int,
    ) -> None:
        """Light that has come to rest belongs to the empty place, also to that under the things in it."""
        age_ns = mono_ns - layers.thing_since_ns[crop]
        settled = np.count_nonzero(lit & (age_ns >= self._settings.light_ns))
        if settled == 0 or settled < _SETTLED_SHARE * np.count_nonzero(lit):
            return
        under = np.zeros(self._grid.shape, np.bool_)
        under[crop] = known & ~lit & (mono_ns - self._relit_ns[crop] >= self._settings.relight_ns)
        np.copyto(layers.empty, lit_empty, where=under)
        self._relit_ns[under] = mono_ns
        whole = np.zeros(self._grid.shape, np.bool_)
        whole[crop] = lit
        layers.absorb(whole)

    def _judge(
        self,
        place: tuple[slice, slice],
        body: Bool,
        own: Bool,
        look: _Look,
        *,
        strength: float,
        taken: Container[int],
    ) -> Region:
        layers = look.layers
        rows, columns = np.nonzero(own)
        y, x = place[0].start, place[1].start
        box = np.array([columns.min() + x, rows.min() + y, columns.max() + x + 1, rows.max() + y + 1], np.float32)
        xyxy = self._grid.to_px(box[None])[0]
        cells = len(rows)
        since_ns = int(median(layers.thing_since_ns[place][own]))
        witness = (*self._witness(place, body, own, look), strength)
        owners = np.bincount(self._owner[place][own], minlength=1)
        owners[0] = 0
        old = self._regions.get(int(owners.argmax()))
        if old is None:
            region = self._new_region(xyxy, since_ns, cells, witness)
        elif old.number in taken:
            region = self._new_region(xyxy, since_ns, cells, witness)
            region.explained_by, region.explained_ns = old.explained_by, old.explained_ns
            region.explained_cells, region.came_as_track = old.explained_cells, old.came_as_track
            region.explainer_xyxy, region.explainer_rows = old.explainer_xyxy, old.explainer_rows
            region.explainer_seen_ns = old.explainer_seen_ns
            region.left, region.lit = old.left, old.lit
        else:
            region = replace(old)
            # A bag that tips over is the same bag. What was explained until now may be what its owner left behind.
            if old.explained_by < 0 and old.cells >= 0.3 * cells and old.told:
                since_ns = min(since_ns, old.since_ns)
            region.contrast += 0.5 * (witness[0] - region.contrast)
            region.light += 0.5 * (witness[1] - region.light)
            region.strength += 0.5 * (witness[2] - region.strength)
        region.xyxy, region.since_ns, region.cells = xyxy, since_ns, cells
        region.score = float(np.count_nonzero(look.changed[place] & own)) / cells
        region.looks += 1
        region.seen = float(np.count_nonzero(layers.same_thing[place] & own)) / cells
        # Drift and light bring few edges of their own; a thing has them all round.
        needed = self._settings.strength_min * (1 + (self._settings.small_cells / cells) ** 0.5)
        needed *= 1.25 - 0.5 * abs(region.contrast)
        if old is not None and cells < self._settings.shrunk_share * old.cells:
            region.unrest, region.calm_since_ns = _UNREST_AT_FIRST, 0  # somebody has gone; this is what is left
        self._follow_unrest(region, place, body, look)
        region.matter = region.light < 0.5 and region.strength >= needed
        # A shadow on ground with little texture is taken for matter now and then, for a look or two.
        region.lit += _LIT_RATE * (witness[1] - region.lit)
        region.told = region.matter and region.calm_since_ns > 0 and region.lit < 0.5
        covered_share = float(np.count_nonzero(look.behind[place] & own)) / cells
        self._explain(region, look, covered_share)
        return region

    def _new_region(self, xyxy: Float32, since_ns: int, cells: int, witness: tuple[float, float, float]) -> Region:
        self._number += 1
        return Region(self._number, xyxy, since_ns, cells, *witness, -1, 0, 0.0, 0)

    def _follow_unrest(self, region: Region, place: tuple[slice, slice], body: Bool, look: _Look) -> None:
        """Nobody stands as still as a thing: the outline of a person stirs at most looks, a thing's when one passes by.

        What has been calm for long is a thing, whatever comes to stand around it.
        """
        settings = self._settings
        outline = np.zeros((body.shape[0] + 4, body.shape[1] + 4), np.uint8)
        outline[2:-2, 2:-2] = body
        outline = cv2.dilate(outline, _OUTLINE) - cv2.erode(outline, _SQUARE)
        rows, columns = np.nonzero(outline)
        rows, columns = rows + place[0].start - 2, columns + place[1].start - 2
        inside = (rows >= 0) & (columns >= 0) & (rows < self._grid.shape[0]) & (columns < self._grid.shape[1])
        rows, columns = rows[inside], columns[inside]
        seen = ~look.covered[rows, columns]
        if np.count_nonzero(seen) > _OUTLINE_SEEN * len(seen):
            stirred = float(look.moved[rows, columns][seen].mean())
            restless = stirred > settings.stir_share_max + 2 * look.moved_share
            region.unrest += _UNREST_RATE * (restless - region.unrest)
        was_calm = region.calm_since_ns > 0
        calm = region.unrest < (settings.unrest_again if was_calm else settings.unrest_max)
        if calm and not was_calm:
            region.calm_since_ns = look.mono_ns
        elif not calm and look.mono_ns - region.calm_since_ns < settings.calm_ns:
            region.calm_since_ns = 0

    def _explain(self, region: Region, look: _Look, covered_share: float) -> None:
        """`covered_share`: how much of the region lies under resting tracks, all together: people stand in groups."""
        settings, tracks = self._settings, look.tracks
        share = boxes.coverage(region.xyxy[None], tracks.xyxy)[0]
        explains = look.resting & (share > 0) & (covered_share >= settings.covered_share)
        if region.told and region.looks > 1 and region.explained_by < 0:
            # A passer-by who stops before an old thing is not that thing.
            explains &= boxes.iou(region.xyxy[None], tracks.xyxy)[0] >= settings.same_iou
        if np.any(explains):
            region.came_as_track |= not region.told or region.looks <= 1
            row = int(np.where(explains, share, 0).argmax())
            known_ns = region.explainer_seen_ns if region.explained_by >= 0 and not region.left else 0
            region.explained_by, region.explainer_xyxy = int(tracks.track_id[row]), tracks.xyxy[row].copy()
            region.explained_ns, region.explained_cells, region.left = look.mono_ns, region.cells, False
            region.explainer_rows = self._figures.get(region.explained_by, 0)
            seen_ns = int(tracks.last_seen_ns[row] - tracks.first_seen_ns[row])
            region.explainer_seen_ns = max(seen_ns, known_ns)  # he who was lost there may be a new track now
            return
        if region.explained_by >= 0:
            its_own = tracks.track_id == region.explained_by
            if np.any(its_own & look.resting & self._at_feet(region, tracks)):
                region.explained_ns = look.mono_ns
                return
            region.left = region.left or bool(np.any(its_own & (share < settings.covered_share)))
        # Who is lost where he stood still stands there, unless what is left is much less than he was.
        shrunk = region.cells < settings.shrunk_share * region.explained_cells
        gone = region.left or shrunk or self._overtopped(region, look)
        # Nobody comes from nowhere: a box of a moment is the thing itself, which the detector took for somebody.
        still_he = region.came_as_track and not gone and region.explainer_seen_ns >= settings.known_ns
        waits_ns = settings.lost_ns if still_he else settings.explained_ns
        # What is not seen, as it was, may not even be there: cells of those who have left wait for a still look.
        if region.seen >= settings.seen_share and look.mono_ns - region.explained_ns >= waits_ns:
            region.explained_by = -1

    def _measure_figures(self, changed: Bool, tracks: Tracks, mono_ns: int) -> None:
        """How tall is what is seen in the box of each track; of one that is carried on unseen, what was seen last."""
        figures: dict[int, int] = {}
        for row, box in enumerate(self._grid.to_cells(tracks.xyxy)):  # each is asked about its own cells
            track_id = int(tracks.track_id[row])
            before, lost_ns = self._figures.get(track_id, 0), mono_ns - tracks.last_seen_ns[row]
            if lost_ns < self._settings.look_ns:
                now = _filled_rows(changed, box)
                figures[track_id] = now if lost_ns == 0 else max(before, now)
            else:
                figures[track_id] = before
        self._figures = figures

    def _overtopped(self, region: Region, look: _Look) -> bool:
        """Whether its explainer, where he was lost, rose higher than anything that is there now: so he has gone."""
        both = boxes.enclosing(np.stack([region.xyxy, region.explainer_xyxy]))
        now = _filled_rows(look.changed, self._grid.to_cells(both[None])[0])
        return now < self._settings.lower_share * region.explainer_rows

    def _at_feet(self, region: Region, tracks: Tracks) -> Bool:
        """(T,) whether a region is so small, and so near the feet, as the shadow of somebody who stands there."""
        share = self._settings.feet_share
        height = tracks.xyxy[:, 3] - tracks.xyxy[:, 1]
        feet = tracks.xyxy.copy()
        feet[:, 0] -= share * height
        feet[:, 1] = tracks.xyxy[:, 3] - share * height
        feet[:, 2] += share * height
        feet[:, 3] += share * height
        small = boxes.area(region.xyxy[None])[0] <= self._settings.feet_area_max * boxes.area(tracks.xyxy)
        return np.asarray(small & (boxes.coverage(region.xyxy[None], feet)[0] > 0.9), np.bool_)

    def _witness(self, place: tuple[slice, slice], body: Bool, own: Bool, look: _Look) -> tuple[float, float]:
        """(contrast, light) of a region; what stands before the thing now does not matter."""
        rim = SIDE_CELLS // 2 + 1
        rows, columns = self._grid.shape
        y0, y1 = max(place[0].start - rim, 0), min(place[0].stop + rim, rows)
        x0, x1 = max(place[1].start - rim, 0), min(place[1].stop + rim, columns)
        wide = np.s_[y0:y1, x0:x1]
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        inner = np.s_[place[0].start - y0 : place[0].stop - y0, place[1].start - x0 : place[1].stop - x0]
        mask[inner] = own
        whole = np.zeros_like(mask)
        whole[inner] = body
        before = look.empty[:, wide[0], wide[1]]
        now = before.copy()
        put(now, look.layers.thing[:, wide[0], wide[1]], mask > 0)
        smooth_cells = round(self._settings.smooth_share_min * self._grid.zone.size)
        return stands_out(before, now, whole), light_likeness(before, now, mask, smooth_cells=smooth_cells)


def _filled_rows(changed: Bool, box: Int64) -> int:
    """In how many rows of a box of cells (x1, y1, x2, y2) something is to be seen."""
    x1, y1, x2, y2 = box
    return int(np.count_nonzero(changed[y1:y2, x1:x2].sum(axis=1) > _FIGURE_WIDTH * (x2 - x1)))
