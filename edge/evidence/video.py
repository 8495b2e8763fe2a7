"""The annotated video of `edge replay --annotate`: H.264 in mp4, as every browser plays it.

It is for looking at; evidence clips are the camera's own packets and never come from here.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import Colorspace

from edge.core.types import NS_PER_S, UInt8
from edge.errors import EvidenceError

_TICKS_PER_S = 90_000
_BT709 = 1  # in FFmpeg's numbering of primaries, transfer and matrix alike
_KEYFRAME_EVERY_S = 2
_DEFAULT_FPS = 25.0


class AnnotatedVideo:
    """Writes pictures with their own times; the first one is at 0.

    Every picture is shown until the next one, however unevenly they come. A time that does not go on (the next
    recording of the same camera) continues one picture later. The caller gives a temporary path, and renames it
    after `close`.
    """

    def __init__(self, path: Path, fps: float, size_px: tuple[int, int]) -> None:
        """`size_px` is (width, height) of the pictures; odd sizes are padded to even, which H.264 wants."""
        self._path = path
        self._size_px = size_px
        self._step = round(_TICKS_PER_S / (fps if fps > 0 else _DEFAULT_FPS))
        self._offset = 0
        self._last: int | None = None
        self._closed = False
        try:
            self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
            self._stream = self._open_stream(fps if fps > 0 else _DEFAULT_FPS)
            self._container.start_encoding()  # opens the file: a wrong path shows now
        except (FFmpegError, OSError, ValueError) as error:
            raise self._failed(error) from error

    def write(self, bgr: UInt8, media_ns: int) -> None:
        """Add one picture at `media_ns`, its position in the recording."""
        width, height = self._size_px
        if bgr.shape[:2] != (height, width):  # a camera may change its size in the middle; a video may not
            bgr = np.asarray(cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        even = cv2.copyMakeBorder(bgr, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even, np.uint8), format="bgr24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709
        )
        frame.pts = self._pts(media_ns)
        frame.duration = self._step
        frame.time_base = Fraction(1, _TICKS_PER_S)
        try:
            self._container.mux(self._stream.encode(frame))
        except (FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Finish the file; without a picture there is none to finish. Closing twice is nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._last is not None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
        except (FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def __enter__(self) -> AnnotatedVideo:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self.close()
        except EvidenceError:
            if error is None:  # the first error is the one to tell
                raise

    def _open_stream(self, fps: float) -> av.VideoStream:
        width, height = self._size_px
        rate = Fraction(fps).limit_denominator(1001)
        # With B-frames and uneven times the mp4 says that it is shorter than it is, and players cut its end.
        options = {"crf": "23", "preset": "veryfast", "bf": "0"}
        stream = self._container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, _TICKS_PER_S)
        context.gop_size = max(1, round(fps * _KEYFRAME_EVERY_S))
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        return stream

    def _pts(self, media_ns: int) -> int:
        ticks = media_ns * _TICKS_PER_S // NS_PER_S
        if self._last is None:
            self._offset = -ticks
        elif ticks + self._offset <= self._last:
            self._offset = self._last + self._step - ticks
        self._last = ticks + self._offset
        return self._last

    def _failed(self, error: Exception) -> EvidenceError:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return EvidenceError(f"{self._path}: the annotated video cannot be written: {words}")
