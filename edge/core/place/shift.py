"""By how much the camera has moved, and the picture put back where it was: a mast sways by some cells."""

from __future__ import annotations

import cv2
import numpy as np

from edge.core.types import Float32

_SHIFT_CELLS_MIN = 8  # a side of the picture; in a smaller one a thing and a shift look the same


class ShiftMeter:
    def __init__(self, shape: tuple[int, int]) -> None:
        self._window: Float32 | None = None
        if min(shape) >= _SHIFT_CELLS_MIN:
            self._window = np.asarray(cv2.createHanningWindow(shape[::-1], cv2.CV_32F), np.float32)

    def measure(self, before: Float32, now: Float32) -> tuple[float, float]:
        """Two pictures -> cells to the right and down; nothing where the picture is too small to tell."""
        if self._window is None:
            return 0.0, 0.0
        # phaseCorrelate multiplies its window into what it is given, hence the copies.
        (x, y), _ = cv2.phaseCorrelate(before[0].copy(), now[0].copy(), self._window)
        return float(x), float(y)


def moved(picture: Float32, x: float, y: float, *, nearest: bool = False) -> Float32:
    """(..., rows, columns) by so many cells to the right and down; its own rim goes on where nothing was seen."""
    move = np.array([[1, 0, x], [0, 1, y]], np.float32)
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    rows, columns = picture.shape[-2:]
    planes = picture.reshape(-1, rows, columns)
    shifted = [cv2.warpAffine(p, move, (columns, rows), flags=how, borderMode=cv2.BORDER_REPLICATE) for p in planes]
    return np.asarray(np.stack(shifted).reshape(picture.shape), np.float32)
