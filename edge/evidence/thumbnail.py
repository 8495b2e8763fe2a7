"""The small picture inside of an alert: made of the published one, so what is hidden there is hidden here.

It belongs to the message and to no manifest: whoever wants to prove something takes the file.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np

from edge.core.types import UInt8

MEDIA_TYPE = "image/jpeg"
WIDTHS_PX = (640, 480, 384, 320, 256, 192, 160, 128, 96)
QUALITIES = (80, 65, 50)


@dataclass(frozen=True, slots=True)
class Thumbnail:
    media_type: str
    width_px: int
    height_px: int
    base64: str


def thumbnail_of(picture: bytes, *, letters_max: int) -> Thumbnail | None:
    """The largest of a JPEG that takes at most so many letters of base64; None where not even the smallest does.

    A wider one of poorer quality goes before a narrower one of better: what a thing is, its shape says.
    """
    encoded = np.frombuffer(picture, np.uint8)
    bgr = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if letters_max > 0 and len(encoded) else None
    if bgr is None:
        return None
    height, width = bgr.shape[:2]
    for wide in sorted({min(width, one) for one in WIDTHS_PX}, reverse=True):
        size_px = (wide, max(1, round(height * wide / width)))
        small = np.asarray(cv2.resize(bgr, size_px, interpolation=cv2.INTER_AREA), np.uint8)
        for quality in QUALITIES:
            text = _encoded(small, quality)
            if len(text) <= letters_max:
                return Thumbnail(MEDIA_TYPE, *size_px, text)
    return None


def _encoded(bgr: UInt8, quality: int) -> str:
    done, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1])
    return base64.b64encode(content.tobytes()).decode() if done else ""
