"""The picture of the empty place, what stands there instead, and what was seen last: three layers of one size.

empty    the place without things: a median of the first seconds, then slowly followed, frozen under things
thing    what stands there instead, with the time since when
newest   what has been seen last, until it is still for long enough to be a thing
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edge.core.place.grid import Grid, put
from edge.core.place.settings import BackgroundSettings
from edge.core.place.shift import moved
from edge.core.types import Bool, Float32, Int64

_FOLLOW_SPARED = 4  # looks, at their usual pace, between two steps of the empty place: it takes a minute anyway
_NEWEST_RATE, _THING_RATE = 0.3, 0.1  # of a look; what stands still is averaged, against the noise


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """What is worth keeping over a restart. `thing` and `thing_since_ns` mean something where `has_thing`."""

    frame_hw: tuple[int, int]
    window_px: tuple[int, int, int]  # left, top and the size of a cell
    empty: Float32  # (3, rows, columns) log luma and chroma
    noise: Float32  # (3, rows, columns)
    thing: Float32  # (3, rows, columns)
    known: Bool  # (rows, columns)
    has_thing: Bool  # (rows, columns)
    thing_since_ns: Int64  # (rows, columns)


class Layers:
    """All arrays are (rows, columns), pictures (3, rows, columns)."""

    def __init__(self, shape: tuple[int, int], settings: BackgroundSettings, mono_ns: int) -> None:
        self._settings = settings
        self._followed_ns = mono_ns
        self.empty: Float32 = np.zeros((3, *shape), np.float32)
        self.noise: Float32 = np.zeros((3, *shape), np.float32)
        self.thing: Float32 = np.zeros((3, *shape), np.float32)
        self.newest: Float32 = np.zeros((3, *shape), np.float32)
        self.known = np.zeros(shape, np.bool_)  # the empty place has been seen there
        self.has_thing = np.zeros(shape, np.bool_)
        self.same_thing = np.zeros(shape, np.bool_)  # and it is in view now
        self.thing_since_ns: Int64 = np.zeros(shape, np.int64)
        self.newest_since_ns: Int64 = np.full(shape, mono_ns, np.int64)
        self.empty_since_ns: Int64 = np.full(shape, mono_ns, np.int64)
        self.seen_empty_ns: Int64 = np.full(shape, mono_ns, np.int64)
        self.tolerance: Float32 = np.zeros((3, *shape), np.float32)
        self._tolerance_ns = mono_ns

    @classmethod
    def learned(
        cls, samples: Sequence[Float32], clear: Sequence[Bool], settings: BackgroundSettings, mono_ns: int
    ) -> Layers:
        """From pictures of some seconds, each with the cells that no track covers."""
        pictures, seen = np.stack(samples), np.stack(clear)
        layers = cls((pictures.shape[2], pictures.shape[3]), settings, mono_ns)
        layers.empty, layers.known = _empty_place(pictures, seen)
        layers.noise = 1.5 * np.median(np.abs(pictures - layers.empty), axis=0).astype(np.float32)
        layers.newest = pictures[-1].copy()
        layers.renew_tolerance(mono_ns)
        return layers

    @classmethod
    def restored(cls, place: Place, settings: BackgroundSettings, mono_ns: int) -> Layers:
        _, rows, columns = place.empty.shape
        layers = cls((rows, columns), settings, mono_ns)
        layers.empty, layers.noise, layers.thing = place.empty.copy(), place.noise.copy(), place.thing.copy()
        layers.known, layers.has_thing = place.known.copy(), place.has_thing.copy()
        layers.thing_since_ns = place.thing_since_ns.copy()
        layers.newest = np.where(layers.has_thing, layers.thing, layers.empty)
        layers.renew_tolerance(mono_ns)
        return layers

    def place(self, grid: Grid) -> Place:
        return Place(
            frame_hw=grid.frame_hw,
            window_px=grid.window_px,
            empty=self.empty.copy(),
            noise=self.noise.copy(),
            thing=self.thing.copy(),
            known=self.known.copy(),
            has_thing=self.has_thing.copy(),
            thing_since_ns=self.thing_since_ns.copy(),
        )

    @property
    def seen(self) -> Float32:
        """The place with what stands there now."""
        return np.where(self.has_thing, self.thing, self.empty)

    def interrupt(self, mono_ns: int) -> None:
        """Nobody looked until now: that time was neither still nor empty."""
        self.newest_since_ns[:] = mono_ns
        self.empty_since_ns[self.has_thing] = mono_ns
        self._followed_ns = mono_ns

    def renew_tolerance(self, mono_ns: int) -> None:
        """By how much a cell may differ from the empty place and be empty still."""
        if self._tolerance_ns != mono_ns and mono_ns - self._tolerance_ns < self._settings.noise_ns:
            return
        settings = self._settings
        least = np.array([settings.luma_min, settings.chroma_min, settings.chroma_min], np.float32)[:, None, None]
        # The noise of a neighbour counts too: the camera's mount lets edges wander by part of a cell.
        kernel = np.ones((3, 3), np.uint8)
        widest = [np.asarray(cv2.dilate(noise, kernel), np.float32) for noise in self.noise]
        noise: Float32 = np.stack(widest) * np.float32(settings.noise_sigmas)
        self.tolerance = np.minimum(np.maximum(noise, least), np.float32(settings.difference_max))
        self._tolerance_ns = mono_ns

    def follow(
        self, picture: Float32, *, tolerance: Float32, changed: Bool, covered: Bool, kept: Bool, mono_ns: int
    ) -> None:
        """One look. `changed` loses the cells whose empty place is not known; `kept` are things that were told of,
        which somebody who stands before them does not replace."""
        settings = self._settings
        tolerance = tolerance * np.float32(settings.still_tolerances)
        moved = differs(picture, self.newest, tolerance)
        np.copyto(self.newest_since_ns, mono_ns, where=moved)
        put(self.newest, picture, moved)
        cv2.accumulateWeighted(_flat(picture), _flat(self.newest), _NEWEST_RATE)
        still = self.newest_since_ns <= mono_ns - settings.still_ns

        # What was hidden by a person or vehicle from the start is learned when it is first seen.
        fresh = ~self.known & still & ~covered
        if np.any(fresh):
            put(self.empty, self.newest, fresh)
            self.known |= fresh
        changed &= self.known

        np.copyto(self.seen_empty_ns, mono_ns, where=~changed)
        np.copyto(self.empty_since_ns, mono_ns, where=changed)
        self._follow_things(picture, tolerance, changed & still, covered & kept, mono_ns)
        if mono_ns - self._followed_ns >= _FOLLOW_SPARED * settings.look_ns:
            self._follow_empty(picture, changed, covered, step_ns=mono_ns - self._followed_ns)
            self._followed_ns = mono_ns

    def _follow_things(self, picture: Float32, tolerance: Float32, begins: Bool, kept: Bool, mono_ns: int) -> None:
        settings = self._settings
        self.same_thing = np.zeros_like(self.has_thing)
        if np.any(self.has_thing):
            self.has_thing &= self.empty_since_ns > mono_ns - settings.empty_ns
            self.same_thing = self.has_thing & ~differs(picture, self.thing, tolerance)
            # A left thing is kept while somebody stands before it; what people looked like is not worth keeping.
            begins = begins & ~self.same_thing & ~(self.has_thing & kept)
        if np.any(begins):
            put(self.thing, self.newest, begins)
            self.thing_since_ns[begins] = np.maximum(self.newest_since_ns, self.seen_empty_ns)[begins]
            self.has_thing |= begins
        if np.any(self.same_thing):
            mask = self.same_thing.astype(np.uint8)
            for seen, thing in zip(picture, self.thing, strict=True):  # three planes; the mask is of one
                cv2.accumulateWeighted(seen, thing, _THING_RATE, mask=mask)
        self.absorb(self.has_thing & (self.thing_since_ns <= mono_ns - settings.absorb_ns))

    def _follow_empty(self, picture: Float32, changed: Bool, covered: Bool, *, step_ns: int) -> None:
        """The empty place and its noise, slowly, and not where something stands."""
        settings = self._settings
        open_cells = self.known & ~self.has_thing & ~covered
        rate = 1 - math.exp(-step_ns / settings.follow_ns)
        # Leaves and flags without a track make their cells noisy, whether or not they are told from the place.
        step = np.minimum(np.abs(picture - self.empty) * np.float32(1.25), np.float32(settings.difference_max))
        for_noise, for_empty = open_cells.astype(np.uint8), (open_cells & ~changed).astype(np.uint8)
        for row in range(3):  # three planes; a mask is of one
            cv2.accumulateWeighted(step[row], self.noise[row], rate, mask=for_noise)
            cv2.accumulateWeighted(picture[row], self.empty[row], rate, mask=for_empty)

    def absorb(self, cells: Bool) -> None:
        """What stands in these cells is the empty place from now on."""
        if np.any(cells):
            put(self.empty, self.thing, cells)
            self.has_thing &= ~cells
            self.empty_since_ns[cells] = 0

    def place_things(self, cells: Bool, empty: Float32, since_ns: Int64) -> None:
        """What was learned as the empty place of these cells is a thing; `empty` is what is believed behind it."""
        put(self.thing, self.empty, cells)
        put(self.empty, empty, cells)
        np.copyto(self.thing_since_ns, since_ns, where=cells)
        self.has_thing |= cells

    def move(self, x: float, y: float) -> None:
        """The camera looks a little elsewhere, for good: by so many cells to the right and down."""
        self.empty, self.noise, self.thing, self.newest = (
            moved(picture, x, y) for picture in (self.empty, self.noise, self.thing, self.newest)
        )
        self.tolerance = moved(self.tolerance, x, y)
        right, down = round(x), round(y)
        for cells in (self.known, self.has_thing, self.thing_since_ns, self.newest_since_ns, self.empty_since_ns):
            cells[:] = np.roll(cells, (down, right), (0, 1))
        # What has come into view is not known.
        if down:
            self.unlearn(_strip(self.known, down, axis=0))
        if right:
            self.unlearn(_strip(self.known, right, axis=1))

    def unlearn(self, cells: Bool) -> None:
        """What was held for the empty place of these cells is not: learn it when it is seen."""
        self.known &= ~cells
        self.has_thing &= ~cells


def _strip(like: Bool, width: int, *, axis: int) -> Bool:
    """So many rows (0) or columns (1) at the beginning, or with a minus at the end."""
    strip = np.zeros_like(like)
    edge = slice(0, width) if width > 0 else slice(width, None)
    strip[(edge, slice(None)) if axis == 0 else (slice(None), edge)] = True
    return strip


def differs(first: Float32, second: Float32, tolerance: Float32) -> Bool:
    """(rows, columns): where two pictures differ in any channel."""
    apart = cv2.compare(cv2.absdiff(_flat(first), _flat(second)), _flat(tolerance), cv2.CMP_GT).reshape(first.shape)
    return np.asarray((apart[0] | apart[1] | apart[2]) > 0, np.bool_)


def _flat(picture: Float32) -> Float32:
    """(3, rows, columns) -> (3 rows, columns), for cv2, which knows no stacks; no copy."""
    return picture.reshape(-1, picture.shape[2])


def _empty_place(samples: Float32, clear: Bool) -> tuple[Float32, Bool]:
    """(N, 3, rows, columns), (N, rows, columns) -> median of the clear samples, and where there were any."""
    count = clear.sum(axis=0)
    hidden = np.where(clear[:, None], samples, np.inf)
    hidden.sort(axis=0)
    middle = np.maximum(count - 1, 0) // 2
    median = np.take_along_axis(hidden, np.broadcast_to(middle, samples.shape[1:])[None], axis=0)[0]
    known = count > 0
    return np.where(known, median, samples[-1]).astype(np.float32), known
