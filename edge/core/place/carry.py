"""What is known of a place, carried over into a picture that has changed as a whole: infra-red, floodlights, a new day.

The ground is recognised by its texture. Where it goes on, the new picture is the empty place of now; what stood there
still stands, since when it did; and where the ground is gone and something stands out, that came meanwhile.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge.core.place.layers import Layers
from edge.core.place.light import ground_goes_on, light_around, stands_out
from edge.core.place.settings import BackgroundSettings
from edge.core.types import Bool, Float32

_TOLD_SHARE = 0.03  # of the cells; a place with less texture is not recognised
_CONTRAST_MIN = 0.3  # a line on the road that looks different in infra-red had its border before
_RIM_CELLS = 6
_SQUARE = np.ones((3, 3), np.uint8)


def same_place(empty: Float32, picture: Float32, open_cells: Bool) -> bool | None:
    """Whether a picture shows that place, whatever its light; None where its ground has no texture to tell by."""
    goes_on, gone = ground_goes_on(empty[0], picture[0], open_cells, negative=True)
    n_on, n_gone = int(np.count_nonzero(goes_on)), int(np.count_nonzero(gone))
    if n_on + n_gone < _TOLD_SHARE * np.count_nonzero(open_cells):
        return None
    return n_on > n_gone


def carry_over(former: Layers, now: Layers, *, zone: Bool, since_ns: int, settings: BackgroundSettings) -> None:
    """Put the things of `former` into `now`, which was learned from `since_ns` on and holds them for empty ground."""
    both = former.known & now.known & zone
    if not same_place(former.empty, now.empty, both & ~former.has_thing):
        return
    goes_on, gone = ground_goes_on(former.empty[0], now.empty[0], both, negative=True)
    everywhere = np.ones_like(both)  # beyond what is known of both, too: a border is judged by both of its sides
    light, near = light_around(now.empty - former.empty, goes_on, gone, asked=everywhere)
    lit = former.empty + light.reshape(former.empty.shape)
    excess = (np.abs(now.empty - lit) / now.tolerance).max(axis=0)
    differ = near.reshape(both.shape) & both & (excess >= settings.plain_tolerances)
    stood = differ & former.has_thing
    came = _standing_out(
        lit, now.empty, differ & gone & ~former.has_thing & (excess >= settings.strength_min), settings
    )
    since = np.where(stood, former.thing_since_ns, since_ns)
    now.place_things(stood | came, lit, since)


def _standing_out(before: Float32, now: Float32, cells: Bool, settings: BackgroundSettings) -> Bool:
    """Those of the cells that make up something that has a border now and had none before."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * settings.join_cells + 1,) * 2)
    joined = cv2.morphologyEx(cells.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    found = np.zeros_like(cells)
    largest = np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[: settings.regions_max] + 1
    for label in largest:  # a handful, each judged on its own crop
        x, y, width, height, area = (int(v) for v in stats[label])
        if area < settings.thing_min_cells or area > settings.changed_share_max * cells.size:
            continue
        rows = slice(max(y - _RIM_CELLS, 0), y + height + _RIM_CELLS)
        columns = slice(max(x - _RIM_CELLS, 0), x + width + _RIM_CELLS)
        body = (labels[rows, columns] == label).astype(np.uint8)
        if not np.any(cv2.erode(body, _SQUARE)):
            continue
        if stands_out(before[:, rows, columns], now[:, rows, columns], body) >= _CONTRAST_MIN:
            found[rows, columns] |= body > 0
    return found
