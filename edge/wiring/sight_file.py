"""What a camera normally looks at, kept over restarts: a camera that was turned while the gateway was off is noticed.

The view belongs to the camera's zones and source: whoever draws them anew says that it looks where it should.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import re
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np

from edge.clock import SystemClock
from edge.config.models import CameraConfig
from edge.core.sight import VIEW_SHAPE, Sight
from edge.core.types import NS_PER_S, Float32
from edge.errors import redact
from edge.evidence.store import write_atomically

log = logging.getLogger(__name__)

_CHANNEL_LETTERS = 3
_SAVE_NS = 300 * NS_PER_S


class SightFile:
    """`sight/<camera>-<fingerprint>.npy` in the state folder. Losing it costs a minute of learning, so no error ends
    the worker."""

    def __init__(self, folder: Path, camera: CameraConfig, sight: Sight, *, clock: SystemClock) -> None:
        self._camera_id = camera.id
        self._sight = sight
        self._clock = clock
        self._saved_ns = clock.mono_ns()
        seen = [*_place(camera.source), [zone.model_dump() for zone in camera.zones]]
        fingerprint = hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:12]
        self._path = folder / "sight" / f"{camera.id}-{fingerprint}.npy"
        self._load()

    def save(self, now: bool) -> None:
        """When five minutes have passed, or `now`."""
        view = self._sight.view
        mono_ns = self._clock.mono_ns()
        if view is None or (not now and mono_ns - self._saved_ns < _SAVE_NS):
            return
        self._saved_ns = mono_ns
        try:
            self._path.parent.mkdir(exist_ok=True)
            write_atomically(self._path, _written(view))
            self._forget_former()
        except OSError as error:
            log.warning("%s: not saved: %s", self._path, error)

    def _forget_former(self) -> None:
        """Views of this camera from before it was given other zones or another source."""
        former = re.compile(re.escape(self._camera_id) + r"-[0-9a-f]{12}\.npy")  # no glob: `gate` is no `gate-2`
        for path in self._path.parent.iterdir():
            if former.fullmatch(path.name) and path != self._path:
                path.unlink(missing_ok=True)

    def _load(self) -> None:
        try:
            view = _read(self._path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            log.warning("%s: not read, the view is learned anew: %s", self._path, error)
            return
        self._sight.restore(view)


def _place(source: str) -> list[object]:
    """What tells views apart, without a secret: a recorder's channels differ only in what they ask for. What is so
    short is no password."""
    query = source.partition("?")[2]
    return [redact(source), sorted(pair for pair in parse_qsl(query) if len(pair[1]) <= _CHANNEL_LETTERS)]


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
