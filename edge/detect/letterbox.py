"""A picture into the model's input, and its boxes back: the only place where pixels are converted.

    source (W, H)  --scale-->  content  --pad with 114-->  input (multiple of 32)

Positions are edges of pixels, as in a box: x = 0 is the left edge of the first pixel in both pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge.core.boxes import clip
from edge.core.pixels import Picture
from edge.core.types import Float32, UInt8

PAD = 114  # the grey that YOLO models were trained with round the picture


def fit_size(
    *, width: int, height: int, longest_side: int, multiple: int, pixel_aspect: float = 1.0
) -> tuple[int, int]:
    """(width, height) of the smallest input that holds the picture scaled to `longest_side`, in whole multiples.

    `pixel_aspect` is a pixel's width by its height as the scene has it: 0.5 for a field of 704x288.
    """
    true_width = width * pixel_aspect
    scale = _ceil(longest_side, multiple) / max(true_width, height)
    return _ceil(round(true_width * scale), multiple), _ceil(round(height * scale), multiple)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How one source picture lies in one input. All in pixels."""

    source_px: tuple[int, int]  # (width, height)
    input_px: tuple[int, int]
    content_px: tuple[int, int]  # the scaled picture inside the input
    offset_px: tuple[int, int]  # its top left corner
    swap_colours: bool

    @classmethod
    def fit(
        cls,
        *,
        source_px: tuple[int, int],
        input_px: tuple[int, int],
        pixel_aspect: float = 1.0,
        centred: bool = False,
        swap_colours: bool = False,
    ) -> Letterbox:
        """The largest picture of true shape that the input holds, against the top left corner or in the middle."""
        true_width = source_px[0] * pixel_aspect
        scale = min(input_px[0] / true_width, input_px[1] / source_px[1])
        content = (_scaled(true_width, scale, input_px[0]), _scaled(source_px[1], scale, input_px[1]))
        free = (input_px[0] - content[0], input_px[1] - content[1])
        return cls(
            source_px=source_px,
            input_px=input_px,
            content_px=content,
            offset_px=(free[0] // 2, free[1] // 2) if centred else (0, 0),
            swap_colours=swap_colours,
        )

    def apply(self, picture: Picture, out: UInt8) -> None:
        """Write the picture and its grey border into `out`, the (H, W, 3) slot of the input.

        Pixels are asked for the content's own size: a decoder's planes are scaled and converted in one step.
        """
        width, height = self.content_px
        left, top = self.offset_px
        right, bottom = left + width, top + height
        content = out[top:bottom, left:right]
        if isinstance(picture, np.ndarray):
            cv2.resize(picture, self.content_px, dst=content, interpolation=cv2.INTER_LINEAR)
        else:
            content[:] = picture.scaled(self.content_px)
        if self.swap_colours:
            content[:] = content[..., ::-1].copy()
        out[:top] = out[bottom:] = PAD
        out[top:bottom, :left] = out[top:bottom, right:] = PAD

    def to_input(self, xyxy: Float32) -> Float32:
        """(N, 4) px of the source -> (N, 4) px of the input."""
        return (xyxy * self._scale() + self._offset()).astype(np.float32, copy=False)

    def to_source(self, xyxy: Float32) -> Float32:
        """(N, 4) px of the input -> (N, 4) px of the source, cut at its border."""
        back = (xyxy - self._offset()) / self._scale()
        return clip(back, width=self.source_px[0], height=self.source_px[1])

    def _scale(self) -> Float32:
        # Each side has its own: by the pixel's shape, and in the third digit by whole pixels of content.
        content: Float32 = np.array((*self.content_px, *self.content_px), np.float32)
        source: Float32 = np.array((*self.source_px, *self.source_px), np.float32)
        scale: Float32 = content / source
        return scale

    def _offset(self) -> Float32:
        return np.array((*self.offset_px, *self.offset_px), np.float32)


def _scaled(length: float, scale: float, limit: int) -> int:
    return min(max(round(length * scale), 1), limit)


def _ceil(length: int, multiple: int) -> int:
    return max(-(-length // multiple), 1) * multiple
