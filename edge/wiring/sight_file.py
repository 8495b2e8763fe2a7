"""What a camera normally looks at, kept over restarts: a camera that was turned while the gateway was off is noticed.

The view belongs to the camera's zones and source: whoever draws them anew says that it looks where it should.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from pathlib import Path

import numpy as np

from edge.clock import SystemClock
from edge.config.models import CameraConfig
from edge.core.sight import VIEW_SHAPE, Sight
from edge.core.types import NS_PER_S
from edge.errors import redact
from edge.evidence.store import write_atomically

log = logging.getLogger(__name__)

_SAVE_NS = 300 * NS_PER_S


class SightFile:
    """`sight/<camera>-<fingerprint>.npy` in the state folder. Losing it costs a minute of learning, so no error ends
    the worker."""

    def __init__(self, folder: Path, camera: CameraConfig, sight: Sight, *, clock: SystemClock) -> None:
        self._sight = sight
        self._clock = clock
        self._saved_ns = clock.mono_ns()
        seen = [redact(camera.source), [zone.model_dump() for zone in camera.zones]]
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
        content = io.BytesIO()
        np.save(content, view)
        try:
            self._path.parent.mkdir(exist_ok=True)
            write_atomically(self._path, content.getvalue())
        except OSError as error:
            log.warning("%s: not saved: %s", self._path, error)

    def _load(self) -> None:
        try:
            view = np.load(self._path, allow_pickle=False)
        except FileNotFoundError:
            return
        except (OSError, ValueError, EOFError) as error:
            log.warning("%s: not read, the view is learned anew: %s", self._path, error)
            return
        if view.shape == VIEW_SHAPE and view.dtype == np.float32:
            self._sight.restore(view)
