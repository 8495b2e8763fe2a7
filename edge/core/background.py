"""Things of no known class that were put down and stayed, seen as change of the empty place.

One small picture of the zones' surroundings, in logarithms, so that light is something added and can be taken out.

    frame -> cells (place/grid) -> the camera's shift and the shared light taken out (place/shift, place/light)
          -> compared with the empty place and what stands there (place/layers)
          -> cells of things -> regions: appeared or removed, light or matter, explained or not (place/regions)

No dwell and no cases here: a region is told as soon as it is credible. No classes: tracks only explain regions.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge.core.pixels import Picture, Pixels, pixels_of
from edge.core.place.carry import carry_over, same_place
from edge.core.place.grid import Grid, levels, make_grid
from edge.core.place.layers import Layers, Place, differs
from edge.core.place.light import shared_light
from edge.core.place.ranks import quantiles
from edge.core.place.regions import Regions
from edge.core.place.settings import BackgroundSettings
from edge.core.place.shift import ShiftMeter, moved
from edge.core.types import Bool, Float32, Int16, StaticRegions, Tracks, UInt8

_STOCK = BackgroundSettings()
_SAMPLES_MAX = 16  # of the first seconds; a median needs no more
_SAMPLES_MIN = 3
_DOUBTS_MAX = 3  # looks at a place that another process has left, before it is believed to be another one
_CONTRAST_SHARE = 0.25  # of that of the empty place; with less a picture tells nothing, neither things nor emptiness
_LIGHTLY_CHANGED = 0.3  # of the cells; a remembered place without texture to tell it by must fit as well as that


class BackgroundModel:
    """The static regions of one camera. `update` for every analysed frame, in time order."""

    def __init__(
        self,
        zones: Sequence[Float32],
        settings: BackgroundSettings = _STOCK,
        *,
        explaining_labels: Int16 | None = None,
        doubtful_labels: Int16 | None = None,
        ignored: Sequence[Float32] = (),
    ) -> None:
        """`zones`, and what to leave out of them: (V, 2) fractions 0..1.

        `explaining_labels`: labels whose tracks explain a region; None for all. `doubtful_labels`: those of them that
        do so only when the detector is sure.
        """
        self.settings = settings
        self._zones = list(zones)
        self._ignored = list(ignored)
        self._explaining = explaining_labels
        self._doubtful = np.zeros(0, np.int16) if doubtful_labels is None else doubtful_labels
        self._grid: Grid | None = None
        self._layers: Layers | None = None  # while the place is learned
        self.unfit = 0  # places given to `restore` that another window showed, and that were dropped
        self._restored: Place | None = None  # until the first picture says how large pictures are
        self._answer = StaticRegions.empty()
        self._looked_ns = 0

    def update(self, picture: Picture, tracks: Tracks, mono_ns: int) -> StaticRegions:
        """The source picture and the tracks of the same frame -> what stands there now."""
        if not self._zones:
            return self._answer
        pixels = pixels_of(picture)
        width, height = pixels.size_px
        if self._grid is None or self._grid.frame_hw != (height, width):
            self._begin(height, width, mono_ns)
        assert self._grid is not None
        if self._layers is None:
            self._learn(pixels, tracks, mono_ns)
        elif mono_ns - self._looked_ns >= self.settings.look_ns:
            self._looked_ns = mono_ns
            self._look(self._layers, self._grid.features(pixels), self._that_explain(tracks), mono_ns)
        return self._answer

    def interrupt(self, mono_ns: int) -> None:
        """Nobody looked until now: that time was neither still nor empty, and no picture settled in it."""
        if self._grid is None:
            return
        if self._layers is None:
            self._forget(mono_ns)
            return
        self._steady_ns = mono_ns
        self._layers.interrupt(mono_ns)
        self._regions.interrupt(mono_ns)

    def forget(self, mono_ns: int) -> None:
        """Somebody says that what stands there now is the empty place: learn it anew."""
        self._restored = None
        if self._grid is not None:
            self._forget(mono_ns)

    def restore(self, place: Place) -> None:
        """Go on with the place of an earlier run, from the next picture on; dropped where that shows another one."""
        self._restored = place
        self._grid = None

    def place(self) -> Place | None:
        """What is to be kept over a restart; None until the empty place is learned."""
        if self._grid is None or self._layers is None or self._doubts:
            return None
        place = self._layers.place(self._grid)
        self._regions.date(place.thing_since_ns, place.has_thing)
        return place

    def place_shown_by(self, picture: Picture) -> Place:
        """The place as a picture of it without things shows it, to be given to `restore`."""
        pixels = pixels_of(picture)
        width, height = pixels.size_px
        grid = make_grid(self._zones, self._ignored, (height, width), self.settings)
        layers = Layers.learned([grid.features(pixels)], [np.ones(grid.shape, np.bool_)], self.settings, 0)
        return layers.place(grid)

    def empty_picture(self) -> UInt8:
        """(rows, columns, 3) BGR: the place without things, as it is remembered; nothing before it is learned."""
        if self._grid is None or self._layers is None:
            return np.zeros((0, 0, 3), np.uint8)
        return levels(self._layers.empty)

    # -- learning the empty place

    def _begin(self, height: int, width: int, mono_ns: int) -> None:
        self._grid = make_grid(self._zones, self._ignored, (height, width), self.settings)
        self._regions = Regions(self._grid, self.settings)
        self._shift_meter = ShiftMeter(self._grid.shape)
        self._forget(mono_ns)
        place, self._restored = self._restored, None
        if place is not None and not _fits(place, self._grid):
            self.unfit += 1
        elif place is not None:
            self._layers = Layers.restored(place, self.settings, mono_ns)
            self._doubts = _DOUBTS_MAX
            self._looked_ns = mono_ns - self.settings.look_ns

    def _forget(self, mono_ns: int) -> None:
        """Learn the place anew."""
        self._layers = None
        self._former: Layers | None = None  # from before a change of the whole picture; its things may still stand
        self._doubts = 0  # looks that a place of another run has left to prove that it is this one
        self._learn_from_ns = self._learned_ns = self._looked_ns = self._steady_ns = self._shift_since_ns = mono_ns
        self._shift = (0.0, 0.0)
        self._samples: list[Float32] = []
        self._samples_clear: list[Bool] = []
        self._regions.clear()
        self._answer = StaticRegions.empty()

    def _learn(self, pixels: Pixels, tracks: Tracks, mono_ns: int) -> None:
        assert self._grid is not None
        pause_ns = self.settings.learn_ns // _SAMPLES_MAX
        elapsed_ns = mono_ns - self._learn_from_ns
        if elapsed_ns >= len(self._samples) * pause_ns and len(self._samples) < _SAMPLES_MAX:
            self._samples.append(self._grid.features(pixels))
            self._samples_clear.append(~self._grid.covered(self._that_explain(tracks).xyxy))
        if elapsed_ns < self.settings.learn_ns or len(self._samples) < _SAMPLES_MIN:
            return
        self._layers = Layers.learned(self._samples, self._samples_clear, self.settings, mono_ns)
        if self._former is not None:
            carry_over(
                self._former,
                self._layers,
                zone=self._grid.zone,
                since_ns=self._learn_from_ns,
                settings=self.settings,
            )
            self._former = None
        self._samples, self._samples_clear = [], []
        self._looked_ns = self._steady_ns = self._learned_ns = mono_ns

    # -- one look

    def _look(self, layers: Layers, picture: Float32, tracks: Tracks, mono_ns: int) -> None:
        grid, settings = self._grid, self.settings
        assert grid is not None
        if _contrast(picture) < _CONTRAST_SHARE * _contrast(layers.empty):
            return  # a picture that shows nothing: black while the camera changes to infra-red
        covered = grid.covered(tracks.xyxy)
        usable = layers.known & ~self._regions.left & ~covered
        tolerance = np.maximum(layers.tolerance, settings.noise_levels / cv2.exp(picture[0]))
        picture = picture - shared_light(picture, layers.empty, usable)
        changed = differs(picture, layers.empty, tolerance)
        open_cells = grid.zone & ~covered & ~layers.has_thing
        if self._doubts and not self._believed(layers, picture, changed, open_cells, mono_ns):
            return
        if np.count_nonzero(changed & open_cells) > settings.shifted_share_min * np.count_nonzero(open_cells):
            picture, changed = self._put_back(
                layers, picture, changed, tolerance=tolerance, open_cells=open_cells, mono_ns=mono_ns
            )
        else:
            self._shift_since_ns = mono_ns
        if self._unsteady(layers, picture, changed & open_cells, open_cells):
            if mono_ns - self._steady_ns >= settings.relearn_ns:
                self._forget(mono_ns)
                self._former = layers
            elif mono_ns - self._steady_ns >= settings.still_ns:
                self._answer = StaticRegions.empty()
            return
        self._steady_ns = mono_ns
        self._unlearn_held(layers, changed, tracks, mono_ns)
        layers.renew_tolerance(mono_ns)
        layers.follow(
            picture,
            tolerance=tolerance,
            changed=changed,
            covered=covered,
            kept=self._regions.left,
            mono_ns=mono_ns,
        )
        self._regions.find(layers, changed=changed, tracks=tracks, mono_ns=mono_ns)
        self._answer = self._regions.told()

    def _believed(self, layers: Layers, picture: Float32, changed: Bool, open_cells: Bool, mono_ns: int) -> bool:
        """Whether a place that another run has left is the one in the picture."""
        same = same_place(layers.empty, picture, open_cells & layers.known)
        if same is None:
            same = bool(np.count_nonzero(changed & open_cells) < _LIGHTLY_CHANGED * np.count_nonzero(open_cells))
        if same:
            self._doubts = 0
            return True
        self._doubts -= 1
        if not self._doubts:
            self._forget(mono_ns)
        return False

    def _put_back(
        self,
        layers: Layers,
        picture: Float32,
        changed: Bool,
        *,
        tolerance: Float32,
        open_cells: Bool,
        mono_ns: int,
    ) -> tuple[Float32, Bool]:
        """The picture and what is changed in it as if the camera had not moved; as they are where it has not."""
        settings = self.settings
        x, y = self._shift_meter.measure(layers.empty, picture)
        if not settings.shift_min_cells < np.hypot(x, y) <= settings.shift_max_cells:
            return picture, changed
        steady = moved(picture, -x, -y)
        left = differs(steady, layers.empty, tolerance)
        n_left, n_changed = (int(np.count_nonzero(cells & open_cells)) for cells in (left, changed))
        if n_left > settings.shift_gain_max * n_changed:
            return picture, changed
        if np.hypot(x - self._shift[0], y - self._shift[1]) > settings.shift_settles_cells:
            self._shift, self._shift_since_ns = (x, y), mono_ns
        elif mono_ns - self._shift_since_ns >= settings.relearn_ns:
            layers.move(x, y)
            self._shift, self._shift_since_ns = (0.0, 0.0), mono_ns
            return picture, differs(picture, layers.empty, tolerance)
        return steady, left

    def _unsteady(self, layers: Layers, picture: Float32, changed: Bool, open_cells: Bool) -> bool:
        """Has the camera turned, or has the light changed in a way that is beyond taking out?"""
        settings = self.settings
        n_open, n_changed = int(np.count_nonzero(open_cells)), int(np.count_nonzero(changed))
        if n_changed > settings.changed_share_max * max(n_open, 1):
            return True
        if n_changed <= settings.turned_share_min * n_open:
            return False
        x, y = self._shift_meter.measure(layers.empty, picture)
        if float(np.hypot(x, y)) <= settings.shift_max_cells:
            return False
        there = moved(layers.empty[:1], x, y)[0]
        # On a bare road a thing that came can look like a shift; only a true one explains the changes.
        fits = np.abs(picture[0] - there)[changed].mean()
        return bool(fits < settings.shift_fit_max * np.abs(picture[0] - layers.empty[0])[changed].mean())

    def _unlearn_held(self, layers: Layers, changed: Bool, tracks: Tracks, mono_ns: int) -> None:
        """A car that has stood since the start is in the picture of the empty place; what is behind it is not known."""
        grid, settings = self._grid, self.settings
        assert grid is not None
        # Seen now, and since the start: where somebody stopped later, or was lost, the empty place is as learned.
        resting = (mono_ns - tracks.rest_since_ns >= settings.held_ns) & (tracks.detection >= 0)
        resting &= tracks.rest_since_ns <= self._learned_ns
        for x1, y1, x2, y2 in grid.to_cells(tracks.xyxy[resting]):  # a handful, each asked about its own cells
            width, height = (x2 - x1) // 5, (y2 - y1) // 5
            middle = np.s_[y1 + height : y2 - height, x1 + width : x2 - width]
            as_before = layers.known[middle] & ~changed[middle] & ~layers.has_thing[middle]
            if as_before.size and as_before.mean() >= settings.held_share:
                held = np.zeros_like(layers.known)
                held[y1:y2, x1:x2] = True
                layers.unlearn(held & ~layers.has_thing)

    def _that_explain(self, tracks: Tracks) -> Tracks:
        doubted = tracks.labelled(self._doubtful) & (tracks.score < self.settings.sure_score_min)
        explaining = True if self._explaining is None else tracks.labelled(self._explaining)
        return tracks.take(explaining & ~doubted)


def _contrast(picture: Float32) -> float:
    """Between what is dark and what is bright in a picture, in logs."""
    dark, bright = quantiles(picture[0, ::8, ::8].reshape(-1), 0.02, 0.98)
    return float(bright - dark)


def _fits(place: Place, grid: Grid) -> bool:
    """Whether a place was seen through this window."""
    seen = (place.frame_hw, place.window_px, place.known.shape)
    return seen == (grid.frame_hw, grid.window_px, grid.shape)
