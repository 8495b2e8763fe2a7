"""A camera's main stream beside the analysed one: read by a thread of its own, for its packets alone.

Evidence comes from there as long as it is there. Nobody waits for it: it reconnects for itself, and how it
does is told.
"""

from __future__ import annotations

import logging
import threading
from typing import Generic, TypeVar

from edge.core.types import NS_PER_S
from edge.ports import CameraCapture

log = logging.getLogger(__name__)

STREAMING = "streaming"
SILENT_NS = 20 * NS_PER_S  # without a packet it is no stream, whatever the connection says

Reel = TypeVar("Reel")


class MainStreamReading(Generic[Reel]):
    """`reel` is what `capture` feeds; whoever makes evidence asks it."""

    def __init__(self, capture: CameraCapture, reel: Reel) -> None:
        self.reel = reel
        self._capture = capture
        self._thread = threading.Thread(target=self._read, name="main-stream", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def state(self, now_ns: int) -> str:
        """`streaming`, or the reason why not."""
        told = self._capture.state
        if not told.connected:
            return told.reason
        return STREAMING if now_ns - self._capture.seen_ns <= SILENT_NS else "no-frames"

    def _read(self) -> None:
        """Until the capture is told to stop: no frame ever comes of it."""
        for _ in self._capture:
            log.warning("a main stream that is not to be decoded gave a frame")
