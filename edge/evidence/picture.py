"""One picture as a file of its own, for people: not evidence, in no manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2

from edge.core.types import UInt8
from edge.errors import OutputError, UsageError
from edge.evidence.store import write_atomically

_JPEG_QUALITY = 92


def picture_writer(path: Path) -> Callable[[UInt8], None]:
    """Writes one picture to `path`, whole or not at all. Raises UsageError at once where its name is no picture's."""
    suffix = path.suffix.lower()
    if suffix not in (".jpg", ".jpeg", ".png"):
        raise UsageError(f"{path}: a picture is written as .jpg or .png; give the output such a name")

    def write(bgr: UInt8) -> None:
        options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if suffix != ".png" else []
        done, content = cv2.imencode(suffix, bgr, options)
        if not done:
            raise OutputError(f"{path}: {bgr.shape[1]}x{bgr.shape[0]} px cannot be written so; choose .png")
        try:
            write_atomically(path, content.tobytes())
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror}); name another place") from error

    return write
