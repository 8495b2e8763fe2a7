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

from edge.core.place.grid import Grid, levels, make_grid
from edge.core.place.layers import Layers, differs
from edge.core.place.light import shared_light
from edge.core.place.regions import Regions
from edge.core.place.settings import BackgroundSettings
from edge.core.types import Bool, Float32, Int16, StaticRegions, Tracks, UInt8

_STOCK = BackgroundSettings()
_SAMPLES_MAX = 16  # of the first seconds; a median needs no more
_SAMPLES_MIN = 3
_SHIFT_CELLS_MIN = 8  # a side of the picture; in a smaller one a thing and a shift look the same


class BackgroundModel:
    """The static regions of one camera. `update` for every analysed frame, in time order."""

    def __init__(
        self,
        zones: Sequence[Float32],
        settings: BackgroundSettings = _STOCK,
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
        self._grid: Grid | None = None
        self._answer = StaticRegions.empty()
        self._looked_ns = 0

    def update(self, bgr: UInt8, tracks: Tracks, mono_ns: int) -> StaticRegions:
        """(H, W, 3) source picture and the tracks of the same frame -> what stands there now."""
        if not self._zones:
            return self._answer
        if self._grid is None or self._grid.frame_hw != bgr.shape[:2]:
            self._begin(bgr.shape[0], bgr.shape[1], mono_ns)
        assert self._grid is not None
        if self._layers is None:
            self._learn(bgr, tracks, mono_ns)
        elif mono_ns - self._looked_ns >= self.settings.look_ns:
            self._looked_ns = mono_ns
            self._look(self._layers, self._grid.features(bgr), self._that_explain(tracks), mono_ns)
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
        if self._grid is not None:
            self._forget(mono_ns)

    def empty_picture(self) -> UInt8:
        """(rows, columns, 3) BGR: the place without things, as it is remembered; nothing before it is learned."""
        if self._grid is None or self._layers is None:
            return np.zeros((0, 0, 3), np.uint8)
        return levels(self._layers.empty)

    # -- learning the empty place

    def _begin(self, height: int, width: int, mono_ns: int) -> None:
        self._grid = make_grid(self._zones, self._ignored, (height, width), self.settings)
        self._regions = Regions(self._grid, self.settings)
        self._window = None
        if min(self._grid.shape) >= _SHIFT_CELLS_MIN:
            self._window = cv2.createHanningWindow(self._grid.shape[::-1], cv2.CV_32F)
        self._forget(mono_ns)

    def _forget(self, mono_ns: int) -> None:
        """Everything seen so far is another place: learn anew."""
        self._layers: Layers | None = None
        self._learn_from_ns = self._looked_ns = self._steady_ns = mono_ns
        self._samples: list[Float32] = []
        self._samples_clear: list[Bool] = []
        self._regions.clear()
        self._answer = StaticRegions.empty()

    def _learn(self, bgr: UInt8, tracks: Tracks, mono_ns: int) -> None:
        assert self._grid is not None
        pause_ns = self.settings.learn_ns // _SAMPLES_MAX
        elapsed_ns = mono_ns - self._learn_from_ns
        if elapsed_ns >= len(self._samples) * pause_ns and len(self._samples) < _SAMPLES_MAX:
            self._samples.append(self._grid.features(bgr))
            self._samples_clear.append(~self._grid.covered(self._that_explain(tracks).xyxy))
        if elapsed_ns < self.settings.learn_ns or len(self._samples) < _SAMPLES_MIN:
            return
        self._layers = Layers.learned(self._samples, self._samples_clear, self.settings, mono_ns)
        self._samples, self._samples_clear = [], []
        self._looked_ns = self._steady_ns = mono_ns

    # -- one look

    def _look(self, layers: Layers, picture: Float32, tracks: Tracks, mono_ns: int) -> None:
        grid, settings = self._grid, self.settings
        assert grid is not None
        covered = grid.covered(tracks.xyxy)
        usable = layers.known & ~self._regions.left & ~covered
        tolerance = np.maximum(layers.tolerance, settings.noise_levels / cv2.exp(picture[0]))
        picture = picture - shared_light(picture, layers.empty, usable)
        changed = differs(picture, layers.empty, tolerance)
        if self._unsteady(layers, picture, changed & ~covered & ~layers.has_thing, covered):
            if mono_ns - self._steady_ns >= settings.relearn_ns:
                self._forget(mono_ns)
            elif mono_ns - self._steady_ns >= settings.still_ns:
                self._answer = StaticRegions.empty()
            return
        self._steady_ns = mono_ns
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

    def _unsteady(self, layers: Layers, picture: Float32, changed: Bool, covered: Bool) -> bool:
        """Has the camera moved, or has the light changed in a way that is beyond taking out?"""
        grid, settings = self._grid, self.settings
        assert grid is not None
        open_cells = int(np.count_nonzero(grid.zone & ~covered & ~layers.has_thing))
        n_changed = int(np.count_nonzero(changed & grid.zone))
        if n_changed > settings.changed_share_max * max(open_cells, 1):
            return True
        if self._window is None or n_changed <= settings.shifted_share_min * open_cells:
            return False
        # phaseCorrelate multiplies its window into what it is given, hence the copies.
        (x, y), _ = cv2.phaseCorrelate(layers.empty[0].copy(), picture[0].copy(), self._window)
        if float(np.hypot(x, y)) <= settings.shift_max_cells:
            return False
        move = np.array([[1, 0, x], [0, 1, y]], np.float32)
        moved = cv2.warpAffine(layers.empty[0], move, picture.shape[:0:-1], borderMode=cv2.BORDER_REPLICATE)
        # On a bare road a thing that came can look like a shift; only a true one explains the changes.
        fits = np.abs(picture[0] - moved)[changed].mean()
        return bool(fits < settings.shift_fit_max * np.abs(picture[0] - layers.empty[0])[changed].mean())

    def _that_explain(self, tracks: Tracks) -> Tracks:
        if self._explaining is None:
            return tracks
        return tracks.take(np.isin(tracks.label, self._explaining))
