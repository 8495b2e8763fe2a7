"""What a camera normally looks at, kept over restarts: a camera that was turned while the gateway was off is noticed.

The view belongs to the camera's zones and source: whoever changes them says that it looks where it should. Whether that
is the street of before is then asked of the first picture: if not, the cases of before are of another place.
"""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np

from edge.clock import SystemClock
from edge.config.models import CameraConfig
from edge.core.sight import VIEW_SHAPE, Sight, recognises, shows_nothing
from edge.core.types import Float32, Frame
from edge.wiring.kept_file import SAVE_NS, KeptFile

_BYTES_MAX = 1 << 20


class SightFile:
    """`sight/<camera>-<fingerprint>.npy` in the state folder. Losing it costs a minute of learning, so no error ends
    the worker."""

    def __init__(self, folder: Path, camera: CameraConfig, sight: Sight, *, clock: SystemClock) -> None:
        self._sight = sight
        self._clock = clock
        self._saved_ns = clock.mono_ns()
        self._file = KeptFile(folder, kind="sight", ending=".npy", camera=camera, bytes_max=_BYTES_MAX)
        self._former: Float32 | None = None  # of other zones or another source, to be compared with the first picture
        view = self._file.load(_read)
        former = self._file.former_paths()
        if view is not None:
            self._take(view)
        elif former:
            self._former = self._file.load(_read, max(former, key=lambda path: path.stat().st_mtime_ns))
        if self._former is None:
            self._write()

    def same_street(self, frame: Frame) -> bool | None:
        """Whether the camera looks at the street of before; None where the picture shows nothing at all.

        A view that had not been learned yet is no proof: another source may be another street.
        """
        if self._former is None:
            return True
        if shows_nothing(frame.pixels.luma()):
            return None
        same = bool(self._former.any()) and recognises(self._former, frame)
        if same:
            self._take(self._former)
        self._former = None
        self._write()
        return same

    def save(self, now: bool) -> None:
        """When five minutes have passed, or `now`."""
        mono_ns = self._clock.mono_ns()
        if self._former is None and (now or mono_ns - self._saved_ns >= SAVE_NS):
            self._saved_ns = mono_ns
            self._write()

    def _take(self, view: Float32) -> None:
        if view.any():
            self._sight.restore(view)

    def _write(self) -> None:
        """Zeros stand for a view that is not learned yet: that there is a file says which zones and source it was."""
        view = self._sight.view
        self._file.write(_written(np.zeros(VIEW_SHAPE, np.float32) if view is None else view))


def _written(view: Float32) -> bytes:
    content = io.BytesIO()
    np.save(content, view)
    return content.getvalue()


def _read(content: bytes) -> Float32:
    """Raises ValueError. numpy's own reader believes a damaged header, and asks for all the memory that it names."""
    empty = _written(np.zeros(VIEW_SHAPE, np.float32))
    header = len(empty) - 4 * math.prod(VIEW_SHAPE)
    if len(content) != len(empty) or content[:header] != empty[:header]:
        raise ValueError("not a view, or a damaged one")
    view = np.frombuffer(content, np.float32, offset=header).reshape(VIEW_SHAPE)
    if not np.isfinite(view).all():
        raise ValueError("a damaged view")
    return view
