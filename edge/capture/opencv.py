"""The second reader: cv2.VideoCapture, for recordings and for cameras on a USB socket.

It keeps the first reader honest: one contract suite, the same answers. It shows neither packets nor keyframes and ends
without a word at a broken packet or a cut file; what it leaves unsaid is worked out here. HTTP is not read with it: it
hands out cut JPEGs with an invented rest, and the picture before a second time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from edge.capture import sources
from edge.capture.connection import BrokenOffError, Picture
from edge.capture.reading import Reading
from edge.capture.timeline import FrameOrigin
from edge.core.pixels import Pixels, Plain
from edge.core.types import NS_PER_S
from edge.errors import CaptureError, redact
from edge.ports import CaptureCounts, Decoding, SourceInfo

_NS_PER_MS = 1_000_000
_REFUSED_LIMIT = 250  # grabs in a row without a picture: then it is the end of the file
_AV_LOG_QUIET = "-8"
_NETWORK_TIMEOUT_MS = 10_000


class OpenCvCapture(Reading[None]):
    """One clip's frames, thinned to `fps`; the same answers as `PacketCapture`. It cannot decode keyframes only."""

    def __init__(self, source: str, *, camera: str, fps: float, decode: str = "all", origin: FrameOrigin) -> None:
        if decode == "keyframes":
            raise CaptureError(
                f"{redact(source)}: OpenCV decodes every frame; set decode: all, or use the default capture"
            )
        if decode not in ("all", "auto"):
            raise ValueError(f"decode must be all, keyframes or auto, got {decode!r}")
        self._video = _open(source)
        super().__init__(source, camera=camera, fps=fps, origin=origin, info=_info(self._video))

    def _release(self) -> None:
        self._video.release()

    def _pictures(self) -> Iterator[None]:
        """Nothing is handed on: the picture that was grabbed last waits in the reader itself."""
        while self._grab():
            self.counts.read += 1
            yield None

    def _grab(self) -> bool:
        """Whether there is a next picture. After a broken packet OpenCV says no once, and goes on when asked again."""
        for refused in range(_REFUSED_LIMIT):
            if self._video.grab():
                self.counts.corrupt += refused
                return True
        return False

    def _stamp_ns(self, picture: None) -> int | None:
        stamp_ms = self._video.get(cv2.CAP_PROP_POS_MSEC)
        unknown = stamp_ms == 0 and self.counts.decoded > 1  # OpenCV says 0 where a frame has no time
        return None if unknown else round(stamp_ms * _NS_PER_MS)

    def _pixels(self, picture: None) -> Pixels:
        taken, bgr = self._video.retrieve()
        if not taken:
            raise sources.broke_off(self._source, "OpenCV could not convert a frame")
        return Plain(np.ascontiguousarray(bgr, dtype=np.uint8))

    def _was_cut(self) -> bool:
        return sources.ended_early(
            seen_s=self._timeline.end_ns / NS_PER_S,
            declared_s=self.info.duration_s if sources.declares_length(self._source) else 0.0,
        )


class DeviceConnection:
    """A camera on a USB socket, through V4L2. Raises CaptureError when it cannot be opened."""

    def __init__(self, source: str, *, counts: CaptureCounts) -> None:
        self._source = source
        self._counts = counts
        with _silence():
            self._video = cv2.VideoCapture(source, cv2.CAP_V4L2)
        if not self._video.isOpened():
            raise CaptureError(f"{source}: cannot be opened as a camera; check that it is plugged in and free")
        self._video.set(cv2.CAP_PROP_BUFFERSIZE, 2)  # V4L2's default of four holds pictures back on slow boxes
        self.info = _info(self._video)
        self.camera_ns: int | None = None
        self.behind_ns = 0
        self.looks_back = False
        self.decoding = Decoding("all", "a USB camera gives no packets")

    def steps(self) -> Iterator[Picture | None]:
        while self._video.grab():
            self._counts.read += 1
            size_px = (self.info.width_px, self.info.height_px)
            yield Picture(stamp_ns=None, keyframe=False, size_px=size_px, pixels=self._pixels)
        raise BrokenOffError(f"{self._source}: gives no more pictures; check its plug", reason="no-data")

    def close(self) -> None:
        self._video.release()

    def _pixels(self) -> Pixels:
        taken, bgr = self._video.retrieve()
        if not taken:
            raise BrokenOffError(f"{self._source}: gave a picture that cannot be converted", reason="broke-off")
        return Plain(np.ascontiguousarray(bgr, dtype=np.uint8))


def _open(source: str) -> cv2.VideoCapture:
    address = sources.check_source(source)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _AV_LOG_QUIET)  # read once, when the first capture is made
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _NETWORK_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _NETWORK_TIMEOUT_MS]
    with _silence():
        video = cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)
    if not video.isOpened():
        raise sources.unreadable(source, "OpenCV found no picture in it")
    return video


@contextmanager
def _silence() -> Iterator[None]:
    """OpenCV's own messages name its source files, not what is wrong with the clip."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _info(video: cv2.VideoCapture) -> SourceInfo:
    fps = max(video.get(cv2.CAP_PROP_FPS), 0.0)
    frames = max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
    fourcc = int(video.get(cv2.CAP_PROP_FOURCC))
    return SourceInfo(
        width_px=int(video.get(cv2.CAP_PROP_FRAME_WIDTH)),
        height_px=int(video.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        fps=fps,
        codec=fourcc.to_bytes(4, "little", signed=fourcc < 0).decode("ascii", "replace").strip("\0 "),
        duration_s=frames / fps if fps else 0.0,
        frames_declared=frames,
        created_wall_ns=0,
    )
