"""Things of no known class that were put down and stayed, seen as change of the empty place.

One small picture of the zones' surroundings, in logarithms, so that light is something added and can be taken out.

    frame -> cells -> log luma and chroma -> light taken out -> compare with three layers of the same size
        empty    the place without things: a median of the first seconds, then slowly followed, frozen under things
        thing    what stands there instead, with the time since when
        newest   what has been seen last, until it is still for long enough to be a thing

    cells of things -> joined at the scale of objects -> regions: appeared or removed, light or matter, explained or not

No dwell and no cases here: a region is told as soon as it is credible. No classes: tracks only explain regions.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from edge.core import boxes, polygons
from edge.core.types import NS_PER_S, Bool, Float32, Int16, Int64, StaticRegions, Tracks, UInt8

# Added to grey levels before the logarithm: below about this level a camera shows noise, not reflectance.
_DARK_LEVEL = 16.0
_LOG = np.log(np.arange(256, dtype=np.float32) + _DARK_LEVEL).astype(np.float32)
# Rows: luma, red against green, blue against green. Chroma as a difference of logs does not know about light.
_MIX = np.array([[0.1, 0.6, 0.3], [0, -1, 1], [1, -1, 0]], np.float32)
Float64 = npt.NDArray[np.float64]

_LIGHT_CELLS_MIN = 32  # of the coarse grid; fewer cannot tell light from things
_SHADE_MIN = -1.1  # log luma; deeper is no shadow
_SHADE_COLOUR_MAX = 0.12  # log chroma; the blue of the sky in a shadow
_EVEN_SHADE_MAX = 0.7  # log luma; half of the light gone, evenly and with a sharp rim, is about as much as shade takes
_PENUMBRA_CELLS = 6  # over which a half-shadow fades; a thing's edge takes two or three
_TEXTURE_CELLS_MIN = 16  # a correlation over fewer is chance
_TEXTURE_AGREES = 0.7  # correlation
_TEXTURE_MIN = 0.02  # log luma; fainter is the camera's noise
_SIDE_CELLS = 9  # neighbourhood on either side of a region's border
_SHIFT_CELLS_MIN = 8  # a side of the picture; in a smaller one a thing and a shift look the same
_SAMPLES_MAX = 16  # of the first seconds; a median needs no more


@dataclass(frozen=True, slots=True)
class BackgroundSettings:
    """Times in ns, sizes in cells of the small picture or shares; differences in logs (0.1 is about 10 % of light)."""

    cells_max: int = 80_000  # of the small picture: 320 x 240 keeps a bag in a street view above 4 x 4 cells
    look_ns: int = NS_PER_S // 2  # things that stay for seconds need no more looks
    learn_ns: int = 3 * NS_PER_S  # a walker leaves his own width in less, so the median of this time is empty
    still_ns: int = 2 * NS_PER_S  # nobody stands as still as a thing for longer without a track
    empty_ns: int = NS_PER_S  # seen empty for this long, a place is empty; one look may be an accident
    follow_ns: int = 60 * NS_PER_S  # how fast the empty place follows slow change: wet floors, fading light
    absorb_ns: int = 4 * 3600 * NS_PER_S  # what stood for so long belongs to the place
    relearn_ns: int = 5 * NS_PER_S  # a picture changed as a whole for so long is a new place: camera turned, lamps on
    explained_ns: int = 3 * NS_PER_S  # a lost track goes on explaining: trackers lose people for seconds
    noise_sigmas: float = 4.0  # a difference counts beyond so many deviations of the cell's own noise
    noise_levels: float = 4.0  # grey levels by which compression moves dark cells; in logs it grows with darkness
    noise_ns: int = 5 * NS_PER_S  # how often the noise is looked up: it changes over a minute
    luma_min: float = 0.10  # and beyond this: compression moves flat areas by some grey levels
    chroma_min: float = 0.08
    difference_max: float = 0.5  # even in waving leaves a difference of 40 % counts
    changed_share_max: float = 0.6  # of the zones, at once: no thing does that
    shift_max_cells: float = 0.7  # edges that moved by more look like things
    shifted_share_min: float = 0.01  # of the cells changed: fewer is no moved picture, whatever moved in it
    shift_fit_max: float = 0.7  # of the difference left when the empty place is moved along: then it was the camera
    join_cells: int = 3  # gaps bridged: straps, glossy spots, a pattern that equals the floor
    thing_min_cells: int = 6  # fewer are noise
    still_tolerances: float = 1.5  # a thing's own surface is noisier than the place: its texture wanders in the codec
    plain_tolerances: float = 1.3  # cells that differ by less are kept in mind but make no region
    strength_min: float = 2.0  # tolerances, of a large region; noise and drift stay near one, things are far off
    small_cells: float = 10.0  # a region so small must be twice as strong: chance makes small ones
    margin_share: float = 0.03  # of the picture's size, looked at beyond the zones, so that no thing is cut
    covered_share: float = 0.5  # of a region's box within a track's: the track explains it
    seen_share: float = 0.5  # of a region in view again before it is held to be left behind by its explainer
    same_iou: float = 0.3  # an old region is explained by a new track only if it is the same thing
    rest_ns: int = NS_PER_S  # only a track that rests can be a still region
    rest_speed: float = 0.3  # box heights/s; slower, a track may be at rest: somebody who turns round where he stands
    regions_max: int = 32


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """Which part of the frame is looked at, and how coarsely."""

    frame_hw: tuple[int, int]
    x_px: int
    y_px: int
    cell_px: int
    rows: int
    columns: int
    zone: Bool  # (rows, columns) cells looked at, margin included
    zones: Bool  # (rows, columns) cells inside the zones

    def to_px(self, xyxy: Float32) -> Float32:
        offset = np.array([self.x_px, self.y_px, self.x_px, self.y_px], np.float32)
        return np.asarray(xyxy * self.cell_px + offset, np.float32)

    def to_cells(self, xyxy: Float32) -> Int64:
        """(N, 4) px -> (N, 4) cells that they touch, inside the picture."""
        offset = np.array([self.x_px, self.y_px, self.x_px, self.y_px], np.float32)
        cells = (xyxy - offset) / self.cell_px
        cells[:, :2] = np.floor(cells[:, :2])
        cells[:, 2:] = np.ceil(cells[:, 2:])
        limit = np.array([self.columns, self.rows, self.columns, self.rows])
        return np.clip(cells, 0, limit).astype(np.int64)


@dataclass(slots=True, eq=False)
class _Region:
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
    seen: float = 1.0  # share of it that is in view, as it was, at this look
    told: bool = False  # credible


class BackgroundModel:
    """The static regions of one camera. `update` for every analysed frame, in time order."""

    def __init__(
        self,
        zones: Sequence[Float32],
        settings: BackgroundSettings = BackgroundSettings(),
        *,
        explaining_labels: Int16 | None = None,
        ignored: Sequence[Float32] = (),
    ) -> None:
        """`zones`, and what to leave out of them: (V, 2) fractions 0..1.

        `explaining_labels`: labels whose tracks explain a region; None for all.
        """
        self.settings = settings
        self._zones = list(zones)
        self._ignored = list(ignored)
        self._explaining = explaining_labels
        self._grid: _Grid | None = None
        self._answer = StaticRegions.empty()
        self._looked_ns = 0

    def update(self, bgr: UInt8, tracks: Tracks, mono_ns: int) -> StaticRegions:
        """(H, W, 3) source picture and the tracks of the same frame -> what stands there now."""
        if not self._zones:
            return self._answer
        if self._grid is None or self._grid.frame_hw != bgr.shape[:2]:
            self._begin(bgr.shape[0], bgr.shape[1], mono_ns)
        assert self._grid is not None
        if self._learning:
            self._learn(bgr, tracks, mono_ns)
        elif mono_ns - self._looked_ns >= self.settings.look_ns:
            self._looked_ns = mono_ns
            self._look(_features(bgr, self._grid), self._that_explain(tracks), mono_ns)
        return self._answer

    def interrupt(self, mono_ns: int) -> None:
        """Nobody looked until now: that time was neither still nor empty, and no picture settled in it."""
        if self._grid is None:
            return
        if self._learning:
            self._forget(mono_ns)
            return
        self._steady_ns = mono_ns
        self._newest_since[:] = mono_ns
        self._empty_since[self._has_thing] = mono_ns
        for region in self._regions.values():
            region.explained_ns = mono_ns if region.explained_by >= 0 else region.explained_ns

    def forget(self, mono_ns: int) -> None:
        """Somebody says that what stands there now is the empty place: learn it anew."""
        if self._grid is not None:
            self._forget(mono_ns)

    def empty_picture(self) -> UInt8:
        """(rows, columns, 3) BGR: the place without things, as it is remembered; nothing before it is learned."""
        if self._grid is None or self._learning:
            return np.zeros((0, 0, 3), np.uint8)
        mix = np.linalg.inv(_MIX.astype(np.float64)).astype(np.float32)
        logs = np.tensordot(mix, self._empty, axes=1)
        levels = np.clip(np.exp(logs) - _DARK_LEVEL + 0.5, 0, 255).transpose(1, 2, 0)
        return np.ascontiguousarray(levels, dtype=np.uint8)

    # -- learning the empty place

    def _begin(self, height: int, width: int, mono_ns: int) -> None:
        self._grid = _make_grid(self._zones, self._ignored, (height, width), self.settings)
        shape = (self._grid.rows, self._grid.columns)
        self._ramp = _ramps(*shape)
        self._window = None
        if min(shape) >= _SHIFT_CELLS_MIN:
            self._window = cv2.createHanningWindow((shape[1], shape[0]), cv2.CV_32F)
        self._empty = np.zeros((3, *shape), np.float32)
        self._number = 1
        self._forget(mono_ns)

    def _forget(self, mono_ns: int) -> None:
        """Everything seen so far is another place: learn anew."""
        assert self._grid is not None
        shape = (self._grid.rows, self._grid.columns)
        self._learning = True
        self._learn_from_ns = mono_ns
        self._samples: list[Float32] = []
        self._samples_clear: list[Bool] = []
        self._looked_ns = mono_ns
        self._steady_ns = mono_ns
        self._thing = np.zeros((3, *shape), np.float32)
        self._newest = np.zeros((3, *shape), np.float32)
        self._has_thing = np.zeros(shape, np.bool_)
        self._thing_since = np.zeros(shape, np.int64)
        self._newest_since = np.full(shape, mono_ns, np.int64)
        self._empty_since = np.full(shape, mono_ns, np.int64)
        self._seen_empty_ns = np.full(shape, mono_ns, np.int64)
        self._known = np.zeros(shape, np.bool_)
        self._same_thing = np.zeros(shape, np.bool_)
        self._left = np.zeros(shape, np.bool_)
        self._owner = np.zeros(shape, np.int32)
        self._regions: dict[int, _Region] = {}  # bounded by regions_max, rebuilt at each look
        self._answer = StaticRegions.empty()

    def _learn(self, bgr: UInt8, tracks: Tracks, mono_ns: int) -> None:
        assert self._grid is not None
        pause_ns = self.settings.learn_ns // _SAMPLES_MAX
        elapsed_ns = mono_ns - self._learn_from_ns
        if elapsed_ns >= len(self._samples) * pause_ns and len(self._samples) < _SAMPLES_MAX:
            self._samples.append(_features(bgr, self._grid))
            self._samples_clear.append(~self._covered(self._that_explain(tracks).xyxy))
        if elapsed_ns < self.settings.learn_ns or len(self._samples) < 3:
            return
        samples = np.stack(self._samples)
        clear = np.stack(self._samples_clear)
        self._empty, self._known = _empty_place(samples, clear)
        self._noise = 1.5 * np.median(np.abs(samples - self._empty), axis=0).astype(np.float32)
        self._newest = samples[-1].copy()
        self._newest_since[:] = mono_ns
        self._empty_since[:] = mono_ns
        self._tolerance, self._tolerance_ns = self._tolerances(), mono_ns
        self._samples, self._samples_clear = [], []
        self._learning = False
        self._looked_ns = self._steady_ns = mono_ns

    def _tolerances(self) -> Float32:
        settings = self.settings
        least = np.array([settings.luma_min, settings.chroma_min, settings.chroma_min], np.float32)[:, None, None]
        # The noise of a neighbour counts too: the camera's mount lets edges wander by part of a cell.
        kernel = np.ones((3, 3), np.uint8)
        widest = [np.asarray(cv2.dilate(noise, kernel), np.float32) for noise in self._noise]
        noise: Float32 = np.stack(widest) * np.float32(settings.noise_sigmas)
        return np.minimum(np.maximum(noise, least), np.float32(settings.difference_max))

    # -- one look

    def _look(self, picture: Float32, tracks: Tracks, mono_ns: int) -> None:
        grid, settings = self._grid, self.settings
        assert grid is not None
        covered = self._covered(tracks.xyxy)
        usable = self._known & ~self._left & ~covered
        tolerance = np.maximum(self._tolerance, self.settings.noise_levels / cv2.exp(picture[0]))
        picture = picture - _light(picture, self._empty, usable, self._ramp)
        changed = _differs(picture, self._empty, tolerance)
        if self._unsteady(picture, changed & ~covered & ~self._has_thing, covered):
            if mono_ns - self._steady_ns >= settings.relearn_ns:
                self._forget(mono_ns)
            elif mono_ns - self._steady_ns >= settings.still_ns:
                self._answer = StaticRegions.empty()
            return
        self._steady_ns = mono_ns
        if mono_ns - self._tolerance_ns >= settings.noise_ns:
            self._tolerance, self._tolerance_ns = self._tolerances(), mono_ns
        self._follow_layers(picture, tolerance, changed, covered, mono_ns)
        self._find_regions(changed, tracks, mono_ns)

    def _unsteady(self, picture: Float32, changed: Bool, covered: Bool) -> bool:
        """Has the camera moved, or has the light changed in a way that is beyond taking out?"""
        grid, settings = self._grid, self.settings
        assert grid is not None
        open_cells = int(np.count_nonzero(grid.zone & ~covered & ~self._has_thing))
        n_changed = int(np.count_nonzero(changed & grid.zone))
        if n_changed > settings.changed_share_max * max(open_cells, 1):
            return True
        if self._window is None or n_changed <= settings.shifted_share_min * open_cells:
            return False
        # phaseCorrelate multiplies its window into what it is given, hence the copies.
        (x, y), _ = cv2.phaseCorrelate(self._empty[0].copy(), picture[0].copy(), self._window)
        if float(np.hypot(x, y)) <= settings.shift_max_cells:
            return False
        move = np.array([[1, 0, x], [0, 1, y]], np.float32)
        moved = cv2.warpAffine(self._empty[0], move, picture.shape[:0:-1], borderMode=cv2.BORDER_REPLICATE)
        # On a bare road a thing that came can look like a shift; only a true one explains the changes.
        fits = np.abs(picture[0] - moved)[changed].mean()
        return bool(fits < settings.shift_fit_max * np.abs(picture[0] - self._empty[0])[changed].mean())

    def _follow_layers(self, picture: Float32, tolerance: Float32, changed: Bool, covered: Bool, mono_ns: int) -> None:
        settings = self.settings
        tolerance = tolerance * np.float32(settings.still_tolerances)
        same_newest = ~_differs(picture, self._newest, tolerance)
        self._newest_since[~same_newest] = mono_ns
        np.copyto(self._newest, picture, where=~same_newest)
        self._newest += np.float32(0.3) * (picture - self._newest)
        still = mono_ns - self._newest_since >= settings.still_ns

        # What was hidden by a person or vehicle from the start is learned when it is first seen.
        fresh = ~self._known & still & ~covered
        if np.any(fresh):
            np.copyto(self._empty, self._newest, where=fresh)
            self._known |= fresh
        changed &= self._known

        self._seen_empty_ns[~changed] = mono_ns
        self._empty_since[changed] = mono_ns
        self._has_thing &= mono_ns - self._empty_since < settings.empty_ns
        same_thing = self._has_thing & ~_differs(picture, self._thing, tolerance)
        self._same_thing = same_thing
        begins = changed & still & ~self._has_thing
        # A left thing is kept while somebody stands before it; what people themselves looked like is not worth keeping.
        begins |= changed & still & self._has_thing & ~same_thing & ~(covered & self._left)
        np.copyto(self._thing, self._newest, where=begins)
        self._thing_since[begins] = np.maximum(self._newest_since, self._seen_empty_ns)[begins]
        self._has_thing |= begins
        np.copyto(self._thing, self._thing + np.float32(0.1) * (picture - self._thing), where=same_thing)
        self._follow_empty(picture, changed, covered)
        self._absorb(self._has_thing & (mono_ns - self._thing_since >= settings.absorb_ns))

    def _follow_empty(self, picture: Float32, changed: Bool, covered: Bool) -> None:
        """The empty place and its noise, slowly, and not where something stands."""
        open_cells = self._known & ~self._has_thing & ~covered
        follow = np.float32(self.settings.look_ns / self.settings.follow_ns)
        step = picture - self._empty
        # Leaves and flags without a track make their cells noisy, whether or not they are told from the place.
        noise = np.minimum(np.abs(step) * np.float32(1.25), np.float32(self.settings.difference_max))
        self._noise += (follow * open_cells) * (noise - self._noise)
        self._empty += (follow * (open_cells & ~changed)) * step

    def _absorb(self, cells: Bool) -> None:
        """What stands in these cells is the empty place from now on."""
        if not np.any(cells):
            return
        np.copyto(self._empty, self._thing, where=cells)
        self._has_thing &= ~cells
        self._empty_since[cells] = 0

    # -- regions

    def _find_regions(self, changed: Bool, tracks: Tracks, mono_ns: int) -> None:
        grid, settings = self._grid, self.settings
        assert grid is not None
        # Faint things, a patch that dries or the halo of a shadow, would join strong ones that stand by themselves.
        excess = (np.abs(self._thing - self._empty) / self._tolerance).max(axis=0)
        things = (self._has_thing & (excess >= settings.plain_tolerances) & grid.zone).astype(np.uint8)
        size = 2 * settings.join_cells + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
        joined = cv2.morphologyEx(things, cv2.MORPH_CLOSE, kernel)
        solid = cv2.erode(joined, np.ones((3, 3), np.uint8))
        _, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
        resting = (mono_ns - tracks.rest_since_ns >= settings.rest_ns) | (tracks.speed < settings.rest_speed)
        behind = self._covered(tracks.xyxy[resting])
        regions: dict[int, _Region] = {}
        owner = np.zeros_like(self._owner)
        removed = np.zeros_like(self._has_thing)
        self._left = np.zeros_like(self._has_thing)
        largest = np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[: settings.regions_max] + 1
        # A zone holds a handful of regions, each judged on its own crop: a loop is cheaper than whole pictures.
        for label in largest:
            x, y, width, height, _area = (int(v) for v in stats[label])
            place = np.s_[y : y + height, x : x + width]
            body = labels[place] == label
            own = body & (things[place] > 0)
            if np.count_nonzero(own) < settings.thing_min_cells or not np.any(solid[place] * body):
                continue
            strength = float(np.percentile(excess[place][own], 70))
            if strength < settings.strength_min:
                continue
            region = self._judge(
                place=place,
                body=body,
                own=own,
                strength=strength,
                changed=changed,
                tracks=tracks,
                resting=resting,
                behind=behind,
                taken=regions,
                mono_ns=mono_ns,
            )
            regions[region.number] = region
            owner[place][body] = region.number
            if region.told and region.explained_by < 0:
                self._left[place] |= body
            if region.contrast < 0 and region.looks >= 2 and region.told:
                removed[place] |= body
        self._regions, self._owner = regions, owner
        self._answer = self._tell()
        self._absorb(removed & self._has_thing)

    def _judge(
        self,
        *,
        place: tuple[slice, slice],
        body: Bool,
        own: Bool,
        strength: float,
        changed: Bool,
        tracks: Tracks,
        resting: Bool,
        behind: Bool,
        taken: Container[int],
        mono_ns: int,
    ) -> _Region:
        grid = self._grid
        assert grid is not None
        rows, columns = np.nonzero(own)
        y, x = place[0].start, place[1].start
        box = np.array([columns.min() + x, rows.min() + y, columns.max() + x + 1, rows.max() + y + 1], np.float32)
        xyxy = grid.to_px(box[None])[0]
        cells = len(rows)
        since_ns = int(np.median(self._thing_since[place][own]))
        witness = (*self._witness(place, body, own), strength)
        owners = np.bincount(self._owner[place][own], minlength=1)
        owners[0] = 0
        old = self._regions.get(int(owners.argmax()))
        if old is None:
            region = self._new_region(xyxy, since_ns, cells, witness)
        elif old.number in taken:
            region = self._new_region(xyxy, since_ns, cells, witness)
            region.explained_by, region.explained_ns = old.explained_by, old.explained_ns
        else:
            region = replace(old)
            # A bag that tips over is the same bag. What was explained until now may be what its owner left behind.
            if old.explained_by < 0 and old.cells >= 0.3 * cells and old.told:
                since_ns = min(since_ns, old.since_ns)
            region.contrast += 0.5 * (witness[0] - region.contrast)
            region.light += 0.5 * (witness[1] - region.light)
            region.strength += 0.5 * (witness[2] - region.strength)
        region.xyxy, region.since_ns, region.cells = xyxy, since_ns, cells
        region.score = float(np.count_nonzero(changed[place] & own)) / cells
        region.looks += 1
        region.seen = float(np.count_nonzero(self._same_thing[place] & own)) / cells
        # Drift and light bring few edges of their own; a thing has them all round.
        needed = self.settings.strength_min * (1 + (self.settings.small_cells / cells) ** 0.5)
        needed *= 1.25 - 0.5 * abs(region.contrast)
        region.told = region.light < 0.5 and region.strength >= needed
        covered_share = float(np.count_nonzero(behind[place] & own)) / cells
        self._explain(region, tracks, resting, covered_share, mono_ns)
        return region

    def _new_region(self, xyxy: Float32, since_ns: int, cells: int, witness: tuple[float, float, float]) -> _Region:
        self._number += 1
        return _Region(self._number, xyxy, since_ns, cells, *witness, -1, 0, 0.0, 0)

    def _explain(self, region: _Region, tracks: Tracks, resting: Bool, covered_share: float, mono_ns: int) -> None:
        """`covered_share`: how much of the region lies under resting tracks, all together: people stand in groups."""
        settings = self.settings
        share = boxes.coverage(region.xyxy[None], tracks.xyxy)[0]
        explains = resting & (share > 0) & (covered_share >= settings.covered_share)
        if region.told and region.looks > 1 and region.explained_by < 0:
            # A passer-by who stops before an old thing is not that thing.
            explains &= boxes.iou(region.xyxy[None], tracks.xyxy)[0] >= settings.same_iou
        if np.any(explains):
            region.explained_by = int(tracks.track_id[np.where(explains, share, 0).argmax()])
            region.explained_ns = mono_ns
            return
        in_view = region.seen >= settings.seen_share or not np.any(share > 0)
        if in_view and mono_ns - region.explained_ns >= settings.explained_ns:
            region.explained_by = -1

    def _witness(self, place: tuple[slice, slice], body: Bool, own: Bool) -> tuple[float, float]:
        """(contrast, light) of a region; what stands before the thing now does not matter."""
        rim = _SIDE_CELLS // 2 + 1
        rows, columns = self._has_thing.shape
        y0, y1 = max(place[0].start - rim, 0), min(place[0].stop + rim, rows)
        x0, x1 = max(place[1].start - rim, 0), min(place[1].stop + rim, columns)
        wide = np.s_[y0:y1, x0:x1]
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        inner = np.s_[place[0].start - y0 : place[0].stop - y0, place[1].start - x0 : place[1].stop - x0]
        mask[inner] = own
        whole = np.zeros_like(mask)
        whole[inner] = body
        before = self._empty[:, wide[0], wide[1]]
        now = np.where(mask > 0, self._thing[:, wide[0], wide[1]], before)
        return _contrast(before, now, whole), _light_likeness(before, now, mask)

    def _tell(self) -> StaticRegions:
        grid = self._grid
        assert grid is not None
        told = [region for region in self._regions.values() if region.told and self._in_zone(region.xyxy)]
        if not told:
            return StaticRegions.empty()
        return StaticRegions(
            xyxy=np.stack([region.xyxy for region in told]),
            since_ns=np.array([region.since_ns for region in told], np.int64),
            appeared=np.array([region.contrast >= 0 for region in told], np.bool_),
            explained_by=np.array([region.explained_by for region in told], np.int64),
            score=np.array([region.score for region in told], np.float32),
        )

    def _in_zone(self, xyxy: Float32) -> bool:
        grid = self._grid
        assert grid is not None
        column, row = ((boxes.anchors(xyxy[None], boxes.CENTER)[0] - (grid.x_px, grid.y_px)) // grid.cell_px).astype(
            int
        )
        return bool(grid.zones[min(row, grid.rows - 1), min(column, grid.columns - 1)])

    # -- tracks

    def _that_explain(self, tracks: Tracks) -> Tracks:
        if self._explaining is None:
            return tracks
        return tracks.take(np.isin(tracks.label, self._explaining))

    def _covered(self, xyxy: Float32) -> Bool:
        grid = self._grid
        assert grid is not None
        covered = np.zeros((grid.rows, grid.columns), np.bool_)
        for x1, y1, x2, y2 in grid.to_cells(xyxy):  # slices of one picture cannot be painted all at once
            covered[y1:y2, x1:x2] = True
        return covered


def _make_grid(
    zones: Sequence[Float32], ignored: Sequence[Float32], frame_hw: tuple[int, int], settings: BackgroundSettings
) -> _Grid:
    height, width = frame_hw
    points = np.concatenate([polygons.to_pixels(zone, width=width, height=height) for zone in zones])
    margin_px = settings.margin_share * max(np.ptp(points[:, 0]), np.ptp(points[:, 1]))
    corner = np.clip(points.min(axis=0) - margin_px, 0, (width - 1, height - 1))  # at least one pixel is looked at
    x1, y1 = np.floor(corner).astype(int)
    x2, y2 = np.ceil(np.minimum(points.max(axis=0) + margin_px, (width, height))).astype(int)
    cell_px = max(1, round(float(np.sqrt((x2 - x1) * (y2 - y1) / settings.cells_max))))
    columns, rows = max((x2 - x1) // cell_px, 1), max((y2 - y1) // cell_px, 1)
    inside, left_out = np.zeros((2, rows, columns), np.uint8)
    for mask, outlines in ((inside, zones), (left_out, ignored)):
        for outline in outlines:  # cv2.fillPoly on all at once would count overlaps out
            cells = (polygons.to_pixels(outline, width=width, height=height) - (x1, y1)) / cell_px
            cv2.fillPoly(mask, [np.round(cells - 0.5).astype(np.int32)], 1)
    margin = max(1, round(float(margin_px) / cell_px))
    around = cv2.dilate(inside, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    looked_at = left_out == 0
    return _Grid(
        frame_hw, int(x1), int(y1), cell_px, int(rows), int(columns), (around > 0) & looked_at, (inside > 0) & looked_at
    )


def _features(bgr: UInt8, grid: _Grid) -> Float32:
    """(H, W, 3) -> (3, rows, columns) log luma, log chroma."""
    size = grid.cell_px
    crop = bgr[grid.y_px : grid.y_px + grid.rows * size, grid.x_px : grid.x_px + grid.columns * size]
    small = cv2.resize(crop, (grid.columns, grid.rows), interpolation=cv2.INTER_AREA)
    logs = cv2.LUT(small, _LOG)
    mixed = cv2.transform(cv2.GaussianBlur(logs, (3, 3), 0), _MIX)
    return np.ascontiguousarray(mixed.transpose(2, 0, 1))


def _ramps(rows: int, columns: int) -> Float32:
    """(3, rows, columns): one, and -1 .. 1 across and down."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    return np.stack([np.ones_like(x), x, y]).astype(np.float32)


def _empty_place(samples: Float32, clear: Bool) -> tuple[Float32, Bool]:
    """(N, 3, rows, columns), (N, rows, columns) -> median of the clear samples, and where there were any."""
    count = clear.sum(axis=0)
    hidden = np.where(clear[:, None], samples, np.inf)
    hidden.sort(axis=0)
    middle = np.maximum(count - 1, 0) // 2
    median = np.take_along_axis(hidden, np.broadcast_to(middle, samples.shape[1:])[None], axis=0)[0]
    known = count > 0
    return np.where(known, median, samples[-1]).astype(np.float32), known


def _differs(first: Float32, second: Float32, tolerance: Float32) -> Bool:
    _, rows, columns = first.shape
    flat = (3 * rows, columns)
    apart = cv2.absdiff(first.reshape(flat), second.reshape(flat)).reshape(first.shape) > tolerance
    return np.asarray(apart[0] | apart[1] | apart[2], np.bool_)


def _light(picture: Float32, empty: Float32, usable: Bool, ramp: Float32) -> Float32:
    """(3, rows, columns) by how much the whole picture is lighter than the empty place: smooth, seen by most cells.

    A tilted plane in x and y, a curve in brightness (exposure, gamma, haze) and a mixing of colours (white balance,
    and dark colours that the offset of the logarithm bends). Fitted to every eighth cell, again and again with what
    fits badly left out (Tukey's biweight), so that things and shadows do not pull at it.
    """
    step = np.s_[4::8, 4::8]
    rows = usable[step]
    if np.count_nonzero(rows) < _LIGHT_CELLS_MIN:
        return np.zeros_like(picture)
    seen = picture[(slice(None), *step)][:, rows]
    # Beyond the cells it is fitted to the curve goes on level: a black bag tells nothing of it.
    low, high = np.quantile(seen, (0.02, 0.98), axis=1).astype(np.float32)[:, :, None, None]
    colour = np.minimum(np.maximum(picture, low), high)
    colour[0] -= _LOG[96]
    terms = np.concatenate([ramp, colour, colour[:1] ** 2])  # (7, rows, columns)
    design = terms[(slice(None), *step)][:, rows].T.astype(np.float64)
    target = (picture - empty)[(slice(None), *step)][:, rows].astype(np.float64)
    # Cells must be many to bend the plane or the curve: a pull to flat as strong as a hundredth of them.
    pull = np.diag([0.0] + [0.01] * (len(terms) - 1)) * len(design)
    factors = np.stack([_robust_fit(design, row, pull) for row in target]).astype(np.float32)
    return np.asarray(np.tensordot(factors, terms, axes=1), np.float32)


def _robust_fit(design: Float64, target: Float64, pull: Float64) -> Float64:
    """(N, K), (N,), (K, K) -> (K,) factors of the iteratively reweighted least squares."""
    residual = target - np.median(target)
    factors = np.zeros(design.shape[1])
    for _ in range(5):
        scale = 4.685 * max(1.4826 * float(np.median(np.abs(residual))), 0.02)
        weighted = design * (np.maximum(1 - (residual / scale) ** 2, 0) ** 2)[:, None]
        factors = np.linalg.solve(weighted.T @ design + pull, weighted.T @ target)
        residual = target - design @ factors
    return factors


def _contrast(before: Float32, now: Float32, mask: UInt8) -> float:
    """-1 .. 1: does the region stand out from its surroundings now (1), or did it before (-1)?

    A thing ends where the region ends: across its border brightness, colour or texture change. So they do where a
    thing is no more, but then in the picture of before.
    """
    kernel = np.ones((3, 3), np.uint8)
    wide = cv2.dilate(mask, kernel)
    border = (wide - cv2.erode(mask, kernel)) > 0
    inside, outside = mask.astype(np.float32), (1 - wide).astype(np.float32)
    return _balance(_step_across(now, inside, outside, border), _step_across(before, inside, outside, border))


def _step_across(picture: Float32, inside: Float32, outside: Float32, border: Bool) -> float:
    """How different the two sides of the border are, each averaged over its neighbourhood."""
    luma = np.ascontiguousarray(picture[0])
    texture = 2 * np.abs(luma - cv2.blur(luma, (5, 5)))
    step = np.zeros_like(luma)
    for channel in (*picture, texture):  # four pictures of one small crop
        step += np.abs(_mean_within(channel, inside) - _mean_within(channel, outside))
    return float(step[border].mean())


def _mean_within(picture: Float32, weight: Float32) -> Float32:
    """The mean of each cell's neighbourhood, as far as it lies where `weight` is one."""
    around = (_SIDE_CELLS, _SIDE_CELLS)
    total = cv2.boxFilter(picture * weight, cv2.CV_32F, around, normalize=False)
    count = cv2.boxFilter(weight, cv2.CV_32F, around, normalize=False)
    return np.asarray(total / np.maximum(count, 1), np.float32)


def _balance(now: float, before: float) -> float:
    return (now - before) / max(now + before, 1e-6)


def _light_likeness(before: Float32, now: Float32, mask: UInt8) -> float:
    """0 or 1: is it the same place, only lighter or darker?

    The texture of the ground goes on under a shadow or a lamp's light, and its colour stays; where the ground has no
    texture, light is at least even or fades out. A sunlit place keeps a third of its light in the shade: what is
    darker is matter.
    """
    inside = cv2.erode(mask, np.ones((3, 3), np.uint8)) > 0
    body = inside if np.count_nonzero(inside) >= _TEXTURE_CELLS_MIN else mask > 0
    change = (now - before)[:, body]
    colour = float(np.median(np.abs(change[1:]).max(axis=0)))
    middle = float(np.median(change[0]))
    spread = float(np.median(np.abs(change[0] - middle)))
    if middle < _SHADE_MIN:
        return 0.0
    agreement = _texture_agreement(before[0], now[0], body)
    if agreement is not None:
        return 1.0 if agreement > _TEXTURE_AGREES and colour < _SHADE_COLOUR_MAX else 0.0
    if colour >= 0.5 * _SHADE_COLOUR_MAX:
        return 0.0
    even = spread < 0.1 * abs(middle) + 0.02 and abs(middle) < _EVEN_SHADE_MAX
    return 1.0 if even or (spread < 0.25 * abs(middle) and _soft_border(now[0] - before[0], mask, middle)) else 0.0


def _soft_border(change: Float32, mask: UInt8, middle: float) -> bool:
    """Does the change grow over several cells, as at the rim of a half-shadow, and not within one, as at a thing's?"""
    kernel = np.ones((3, 3), np.uint8)
    border = (cv2.dilate(mask, kernel) - cv2.erode(mask, kernel)) > 0
    slope = cv2.magnitude(
        cv2.Sobel(change, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(change, cv2.CV_32F, 0, 1, scale=0.125)
    )
    return bool(slope[border].mean() < abs(middle) / _PENUMBRA_CELLS)


def _texture_agreement(before: Float32, now: Float32, body: Bool) -> float | None:
    """Correlation of the small differences of luma inside `body`; None where there are too few to say."""
    if np.count_nonzero(body) < _TEXTURE_CELLS_MIN:
        return None
    old, new = ((luma - cv2.blur(luma, (5, 5)))[body] for luma in (np.ascontiguousarray(before), now))
    old, new = old - old.mean(), new - new.mean()
    if float(old.std()) < _TEXTURE_MIN:
        return None
    return float((old * new).mean() / max(float(old.std() * new.std()), 1e-6))
