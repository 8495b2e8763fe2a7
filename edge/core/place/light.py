"""Light: what the whole picture shares is taken out, and what remains in one spot is told from matter.

Whether a spot is lit or covered shows in the ground itself. In logarithms light adds the same to a stain and to the
slab around it: the small differences of the empty place go on under a shadow or a lamp, whatever rim it has. Where
something stands they are gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.core.place.grid import LOG, at
from edge.core.place.ranks import median, quantiles
from edge.core.types import Bool, Float32, Int64, UInt8

Float64 = npt.NDArray[np.float64]

SIDE_CELLS = 9  # neighbourhood on either side of a region's border
_SQUARE = np.ones((3, 3), np.uint8)
_LIGHT_CELLS_MIN = 32  # of the coarse grid; fewer cannot tell light from things
_SHADE_MIN = -1.1  # log luma; deeper is no shadow
_SHADE_COLOUR_MAX = 0.06  # log chroma; on ground without texture, nothing but colour speaks against shade
_LAMP_COLOUR_MAX = 0.25  # log chroma; what a lamp of its own colour does to a whole part of the street
_SMOOTH_MAX = 0.08  # of the change, in logs, away from its neighbourhood's
_SMOOTH_SHARE = 0.9  # of the cells
_EVEN_SHADE_MAX = 0.7  # log luma; half of the light gone, evenly and with a sharp rim, is about as much as shade takes
_PENUMBRA_CELLS = 6  # over which a half-shadow fades; a thing's edge takes two or three
_TEXTURE_HW = (5, 5)  # cells; what is smaller is texture
_TEXTURE_CLIP = 0.15  # log luma; beyond it one kerb would speak for all the ground around it
_WINDOW_HW = (9, 9)  # cells; that agree or do not
_WINDOW_CELLS_MIN = 36  # of a window; a correlation over fewer is chance
_TEXTURE_MIN = 0.008  # log luma, root mean square in a window; fainter is what the codec left of the noise
_EDGE_POWER = 16.0  # texture of before against that of now
_GOES_ON = 0.5  # correlation of the ground's texture with itself in other light; that of a thing with it is near 0
_GONE = 0.3
_GROUND_PER_GONE = (
    2.0  # a thing's own surface resembles the ground here and there by chance, lit ground nearly all over
)
_REACH_CELLS = 20  # how far the light of cells that are sure is believed to go
_FAR_CELLS = 60  # where nothing nearer tells
_NEAR_SHARE = 0.02  # of what lies within reach must be sure
_OWN_TEXTURE = 3.0  # times the ground's; light adds none, and a rim of shadow is not looked at
_OWN_TEXTURE_LEVELS = 1.5  # and more than so many grey levels: in the dark the codec makes some
_DEEP = np.ones((7, 7), np.uint8)
_COLOURS = 3  # luma and two of chroma
_WAYS = ((1, 0), (0, 1))  # to the right, down
_EDGE_CLIP = 0.1  # logs a cell; a black kerb that the border crosses must not speak for all of it
_DECIDED_SHARE = 0.2  # of a region's cells whose ground can be told; fewer do not speak for the rest


def shared_light(picture: Float32, empty: Float32, usable: Bool) -> Float32:
    """(3, rows, columns) by how much the whole picture is lighter than the empty place: smooth, seen by most cells.

    A tilted plane in x and y, a curve in brightness (exposure, gamma, haze) and a mixing of colours (white balance,
    and dark colours that the offset of the logarithm bends). Fitted to every eighth cell, again and again with what
    fits badly left out (Tukey's biweight), so that things and shadows do not pull at it.
    """
    _, rows, columns = picture.shape
    step = np.s_[4::8, 4::8]
    chosen = usable[step]
    if np.count_nonzero(chosen) < _LIGHT_CELLS_MIN:
        return np.zeros_like(picture)
    y, x = (np.linspace(-1, 1, count, dtype=np.float32) for count in (rows, columns))
    samples = picture[:, 4::8, 4::8][:, chosen]  # (3, N)
    # Beyond the cells it is fitted to the curve goes on level: a black bag tells nothing of it.
    low, high = quantiles(samples, 0.02, 0.98).astype(np.float32)
    place = np.broadcast_arrays(np.float32(1), x[None, 4::8], y[4::8, None])
    ramp = np.stack([np.broadcast_to(part, chosen.shape)[chosen] for part in place])
    design = np.concatenate([ramp, _colour_terms(samples, low, high)]).astype(np.float64)
    target = (samples - empty[:, 4::8, 4::8][:, chosen]).astype(np.float64)
    factors = _robust_fit(design, target).astype(np.float32)
    light = factors[:, 3:] @ _colour_terms(picture.reshape(3, -1), low, high)
    light = light.reshape(picture.shape)
    light += factors[:, 0, None, None] + factors[:, 1, None, None] * x
    light += factors[:, 2, None, None] * y[:, None]
    return light


def _colour_terms(picture: Float32, low: Float32, high: Float32) -> Float32:
    """(3, N) -> (4, N): luma, chroma, and luma squared, held between `low` and `high`."""
    terms = np.empty((4, picture.shape[1]), np.float32)
    np.clip(picture, low[:, None], high[:, None], out=terms[:3])
    terms[0] -= LOG[96]
    np.multiply(terms[0], terms[0], out=terms[3])
    return terms


def _robust_fit(design: Float64, target: Float64) -> Float64:
    """(7, N), (3, N) -> (3, 7) factors of the iteratively reweighted least squares; a cell is left out as a whole."""
    # Cells must be many to bend the plane or the curve: a pull to flat as strong as a hundredth of them.
    terms, n_cells = design.shape
    pull = np.diag([0.0] + [0.01] * (terms - 1)) * n_cells
    residual = target - quantiles(target, 0.5)[0][:, None]
    factors = np.zeros((len(target), terms))
    for _ in range(5):
        apart = np.abs(residual)
        scale = 4.685 * np.maximum(1.4826 * quantiles(apart, 0.5)[0], 0.02)
        weighted = design * np.maximum(1 - (apart / scale[:, None]).max(axis=0) ** 2, 0) ** 2
        factors = np.linalg.solve(weighted @ design.T + pull, weighted @ target.T).T
        residual = target - factors @ design
    return factors


def ground_goes_on(before: Float32, now: Float32, mask: Bool, *, negative: bool = False) -> tuple[Bool, Bool]:
    """Two lumas (rows, columns) -> the cells of `mask` where the ground of before is still seen, and where it is gone.

    Told by the small differences of the ground, window by window; where it has none, neither is true. `negative`:
    the picture may have been made by another light, infra-red, which turns some of bright into dark.
    """
    weight = mask.astype(np.float32)
    old, new = _textures((before, now), weight)
    count = cv2.boxFilter(weight, cv2.CV_32F, _WINDOW_HW, normalize=False)
    old_power, new_power, both = (
        cv2.boxFilter(product, cv2.CV_32F, _WINDOW_HW, normalize=False) for product in (old * old, new * new, old * new)
    )
    # The same ground has about the same texture; in half of it, or in fog, it would still be recognised.
    least = count * np.float32(_TEXTURE_MIN**2)
    # Beside a strong new edge, a thing's or a shadow's, faint ground says nothing.
    told = mask & (count >= _WINDOW_CELLS_MIN) & (old_power > least) & (old_power * _EDGE_POWER > new_power)
    agreement = both / np.sqrt(old_power * np.maximum(new_power, old_power / _EDGE_POWER) + 1e-9)
    if negative:
        agreement = np.abs(agreement)
    return told & (agreement > _GOES_ON), told & (agreement < _GONE)


def _textures(lumas: Sequence[Float32], weight: Float32) -> list[Float32]:
    """(rows, columns) each: what differs from its neighbourhood, as far as that has weight."""
    count = np.maximum(cv2.boxFilter(weight, cv2.CV_32F, _TEXTURE_HW, normalize=False), 1)
    means = [cv2.boxFilter(luma * weight, cv2.CV_32F, _TEXTURE_HW, normalize=False) / count for luma in lumas]
    return [
        np.asarray(np.clip(luma - mean, -_TEXTURE_CLIP, _TEXTURE_CLIP) * weight, np.float32)
        for luma, mean in zip(lumas, means, strict=True)
    ]


def light_around(change: Float32, goes_on: Bool, gone: Bool, *, asked: Bool) -> tuple[Float32, Bool]:
    """(3, rows, columns) change, where the ground goes on, and where not -> the light of around, and where it is known.

    Under a thing that stands in it, and on ground without texture, the light is that of its neighbourhood. Told of the
    n cells that are `asked` for: (3, n), (n,).
    """
    cells = np.flatnonzero(asked)
    light, known = _light_within(change, goes_on, gone, _REACH_CELLS, cells)
    if known.all():
        return light, known
    far, far_known = _light_within(change, goes_on, gone, _FAR_CELLS, cells[~known])
    light[:, ~known] = far
    known[~known] = far_known
    return light, known


def _light_within(change: Float32, goes_on: Bool, gone: Bool, reach_cells: int, cells: Int64) -> tuple[Float32, Bool]:
    """At the flat indices `cells`: (3, n) the mean change of the ground that goes on in reach, (n,) enough of it."""
    side = (2 * reach_cells + 1, 2 * reach_cells + 1)

    def around(picture: Float32) -> Float32:
        return np.asarray(cv2.blur(picture, side).reshape(-1).take(cells), np.float32)

    weight = goes_on.astype(np.float32)
    sure = around(weight)
    known = (sure > _NEAR_SHARE) & (sure > _GROUND_PER_GONE * around(gone.astype(np.float32)))
    per_cell = known / np.maximum(sure, np.float32(_NEAR_SHARE))
    light = np.stack([around(plane * weight) * per_cell for plane in change])  # cv2 knows no stacks
    return light.astype(np.float32, copy=False), known


def light_likeness(before: Float32, now: Float32, mask: UInt8, *, smooth_cells: int) -> float:
    """0 or 1: is it the same place, only lighter or darker?

    `smooth_cells`: a region so large that has neither edges nor texture is light.

    The texture of the ground goes on under a shadow or a lamp's light; where the ground has no texture, the colour
    stays, and light is at least even or fades out. A sunlit place keeps a third of its light in the shade: what is
    darker is matter.
    """
    inside = cv2.erode(mask, _SQUARE) > 0
    body = inside if np.count_nonzero(inside) >= _WINDOW_CELLS_MIN else mask > 0
    change = at(now - before, body)
    middle, n_body = median(change[0]), change.shape[1]
    if middle < _SHADE_MIN:
        return 0.0
    goes_on, gone = ground_goes_on(np.ascontiguousarray(before[0]), np.ascontiguousarray(now[0]), mask > 0)
    n_on, n_gone = int(np.count_nonzero(goes_on)), int(np.count_nonzero(gone))
    if n_on + n_gone > _DECIDED_SHARE * np.count_nonzero(mask):
        return 1.0 if n_on > n_gone else 0.0
    colour = median(np.abs(change[1:]).max(axis=0))
    if n_body >= smooth_cells and colour < _LAMP_COLOUR_MAX and _smooth(now - before, mask > 0):
        return 1.0
    if colour >= _SHADE_COLOUR_MAX:
        return 0.0
    spread = median(np.abs(change[0] - middle))
    even = spread < 0.1 * abs(middle) + 0.02 and abs(middle) < _EVEN_SHADE_MAX
    if even and _has_texture_of_its_own(before[0], now[0], mask):
        return 0.0
    return 1.0 if even or (spread < 0.25 * abs(middle) and _soft_border(now[0] - before[0], mask, middle)) else 0.0


def _has_texture_of_its_own(before: Float32, now: Float32, mask: UInt8) -> bool:
    """Are there stripes, weave or print where the ground is bare? Light only dims what texture there is."""
    deep = cv2.erode(mask, _DEEP) > 0
    if np.count_nonzero(deep) < _WINDOW_CELLS_MIN:
        return False
    weight = (mask > 0).astype(np.float32)
    old, new = (float(np.sqrt(np.mean(texture[deep] ** 2))) for texture in _textures((before, now), weight))
    least = max(2 * _TEXTURE_MIN, _OWN_TEXTURE_LEVELS / float(np.exp(median(now[deep]))))
    return new > max(_OWN_TEXTURE * old, least)


def _smooth(change: Float32, body: Bool) -> bool:
    """Does the change vary only over many cells, as the light of a lamp on even ground, whatever its rim?"""
    deep = cv2.erode(body.astype(np.uint8), _SQUARE) > 0
    local, _ = _light_within(change, body, np.zeros_like(body), SIDE_CELLS, np.flatnonzero(deep))
    rough = np.abs(at(change, deep) - local)
    return bool(rough.size) and bool(np.all(quantiles(rough, _SMOOTH_SHARE) < _SMOOTH_MAX))


def _soft_border(change: Float32, mask: UInt8, middle: float) -> bool:
    """Does the change grow over several cells, as at the rim of a half-shadow, and not within one, as at a thing's?"""
    border = (cv2.dilate(mask, _SQUARE) - cv2.erode(mask, _SQUARE)) > 0
    slope = cv2.magnitude(
        cv2.Sobel(change, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(change, cv2.CV_32F, 0, 1, scale=0.125)
    )
    return bool(slope[border].mean() < abs(middle) / _PENUMBRA_CELLS)


def stands_out(before: Float32, now: Float32, mask: UInt8) -> float:
    """-1 .. 1: does the region stand out from its surroundings now (1), or did it before (-1)?

    A thing ends where the region ends: across its border brightness, colour or texture change, and an edge runs along
    it. So they do where a thing is no more, but then in the picture of before. On a floor of large tiles both sides
    of a border may differ by chance, but the edges of the tiles run across it.
    """
    wide = cv2.dilate(mask, _SQUARE)
    border = np.flatnonzero(wide - cv2.erode(mask, _SQUARE))
    sides = [_Side.of(side, border) for side in (mask, np.asarray(1 - wide, np.uint8))]
    stacks = [_channels_last(picture) for picture in (now, before)]
    step_now, step_before = (_step_across(stack, sides, border) for stack in stacks)
    edge_now, edge_before = _edges_along(stacks, mask, border)
    by_sides = (step_now - step_before) / max(step_now + step_before, 1e-6)
    by_edges = (edge_now - edge_before) / max(edge_now + edge_before, 1e-6)
    return (by_sides + by_edges) / 2


def _edges_along(stacks: Sequence[Float32], mask: UInt8, border: Int64) -> list[float]:
    """How much changes in each (rows, columns, channels) within a cell across the border, square to it."""
    form = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 2)
    across = np.stack([_along(cv2.Sobel(form, cv2.CV_32F, *way), border)[:, 0] for way in _WAYS])
    x, y = across / (np.hypot(*across) + np.float32(1e-6))
    edges = []
    for stack in stacks:
        by_x, by_y = (_along(cv2.Scharr(stack, cv2.CV_32F, *way, scale=1 / 32), border) for way in _WAYS)
        edge = np.abs(by_x * x[:, None] + by_y * y[:, None])[:, :_COLOURS].sum(axis=1)
        edges.append(float(np.minimum(edge, _EDGE_CLIP).mean()))
    return edges


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One side of a region's border."""

    weight: Float32  # (rows, columns, channels) 0 or 1
    count: Float32  # (border, 1) of its cells round each of the border's

    @classmethod
    def of(cls, side: UInt8, border: Int64) -> _Side:
        weight = side.astype(np.float32)
        count = np.maximum(_along(_sum_around(weight), border), 1)
        return cls(np.asarray(cv2.merge([weight] * (_COLOURS + 1)), np.float32), count)

    def mean(self, stack: Float32, border: Int64) -> Float32:
        """(border, channels) of a picture, over each cell's neighbourhood on this side."""
        return _along(_sum_around(stack * self.weight), border) / self.count


def _step_across(stack: Float32, sides: Sequence[_Side], border: Int64) -> float:
    """How different the two sides of the border are, each averaged over its neighbourhood."""
    within, beyond = (side.mean(stack, border) for side in sides)
    return float(np.abs(within - beyond).sum(axis=1).mean())


def _channels_last(picture: Float32) -> Float32:
    """(3, rows, columns) -> (rows, columns, 4): colours, and how much texture there is. cv2 takes them all at once."""
    luma = np.ascontiguousarray(picture[0])
    texture = 2 * np.abs(luma - cv2.blur(luma, _TEXTURE_HW))
    return np.asarray(cv2.merge([luma, *(np.ascontiguousarray(plane) for plane in picture[1:]), texture]), np.float32)


def _along(picture: cv2.typing.MatLike, border: Int64) -> Float32:
    """(rows, columns[, channels]) -> (border, channels) at those flat indices."""
    rows, columns = picture.shape[:2]
    return np.asarray(picture.reshape(rows * columns, -1).take(border, axis=0), np.float32)


def _sum_around(picture: Float32) -> Float32:
    """Over each cell's neighbourhood."""
    return np.asarray(cv2.boxFilter(picture, cv2.CV_32F, (SIDE_CELLS, SIDE_CELLS), normalize=False), np.float32)
