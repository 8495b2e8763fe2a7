"""One picture, made into what is asked for: as a whole, smaller, or only how bright it is.

Most looks need a small picture and none needs it in colour and full size but the evidence of a case: so a frame carries
its pixels as they came, and this is how they are asked for. What was made is kept for whoever asks for the same again.
OpenCV is loaded by who resizes: the console and others that only count know frames too, and do without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import cv2

    from edge.core.types import UInt8

Part: TypeAlias = tuple[int, int, int, int]  # x1, y1, x2, y2 in px

_HALVED_FROM = 4  # times smaller; halving a picture first, which is cheap, makes the rest cheap
SIZES_MAX = 4  # sizes of one picture that are kept at once


class Pixels(Protocol):
    """A picture in whatever form. What it answers with is shared by all who ask: nobody writes into it."""

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height); nothing is converted for it."""
        ...

    def bgr(self) -> UInt8:
        """(H, W, 3), the whole picture as a player would show it."""
        ...

    def scaled(self, size_px: tuple[int, int]) -> UInt8:
        """(height, width, 3) BGR of that (width, height), each pixel the mean of what it covers."""
        ...

    def luma(self, size_px: tuple[int, int] | None = None) -> UInt8:
        """(H, W) how bright each pixel is, 0 black .. 255 white.

        Of another size: what is at the middle of each pixel, so that fine detail and noise are not averaged away.
        """
        ...

    def cut(self, xyxy: Part) -> Pixels:
        """The part from (x1, y1) to (x2, y2), whole px inside the picture, x2 and y2 not included."""
        ...

    def forget(self) -> None:
        """Lets go what was made of it, which is made again for who asks: of one that is kept for later."""
        ...


class Plain:
    """A picture that is BGR already: of a test, a snapshot, a reader that converts by itself."""

    def __init__(self, bgr: UInt8) -> None:
        """(H, W, 3), not copied."""
        self._bgr = bgr
        self._luma: UInt8 | None = None
        self._scaled: dict[tuple[int, int], UInt8] = {}

    @property
    def size_px(self) -> tuple[int, int]:
        return int(self._bgr.shape[1]), int(self._bgr.shape[0])

    def bgr(self) -> UInt8:
        return self._bgr

    def scaled(self, size_px: tuple[int, int]) -> UInt8:
        if size_px == self.size_px:
            return self._bgr
        return kept(self._scaled, size_px, lambda: resized(self._bgr, size_px))

    def luma(self, size_px: tuple[int, int] | None = None) -> UInt8:
        if size_px is not None:
            import cv2

            return _grey(cv2.resize(self._bgr, size_px, interpolation=cv2.INTER_LINEAR))
        if self._luma is None:
            self._luma = _grey(self._bgr)
        return self._luma

    def cut(self, xyxy: Part) -> Pixels:
        x1, y1, x2, y2 = xyxy
        return Plain(self._bgr[y1:y2, x1:x2])

    def forget(self) -> None:
        self._luma, self._scaled = None, {}


def _grey(bgr: cv2.typing.MatLike) -> UInt8:
    import cv2

    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.uint8)


def kept(known: dict[tuple[int, int], UInt8], size_px: tuple[int, int], make: Callable[[], UInt8]) -> UInt8:
    """What `known` has of that size; else it is made, and the oldest goes where there are too many."""
    if size_px not in known:
        if len(known) >= SIZES_MAX:
            del known[next(iter(known))]
        known[size_px] = make()
    return known[size_px]


def resized(picture: UInt8, size_px: tuple[int, int]) -> UInt8:
    """(H, W, 3) -> (height, width, 3): the mean of what each pixel covers, or where it grows, in between."""
    import cv2

    width, height = picture.shape[1], picture.shape[0]
    shrinks = size_px[0] <= width and size_px[1] <= height
    if _HALVED_FROM * size_px[0] <= width and _HALVED_FROM * size_px[1] <= height and not (width | height) % 2:
        picture = np.asarray(cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.uint8)
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size_px, interpolation=how), np.uint8)


Picture: TypeAlias = "Pixels | UInt8"  # an array is (H, W, 3) BGR


def pixels_of(picture: Picture) -> Pixels:
    return Plain(picture) if isinstance(picture, np.ndarray) else picture
