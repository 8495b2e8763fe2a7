"""The pixels of what FFmpeg decodes: the only place where the decoder's planes are converted.

    VideoFrame --swscale--> BGR, whole or smaller, in one step
               --its first plane--> luma

A decoder writes into no picture that somebody still holds; each that is held costs its planes (3 MB at 1080p).
"""

from __future__ import annotations

import threading

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from edge.capture import sources
from edge.core.pixels import kept
from edge.core.types import UInt8

_SHAPES_MAX = 8  # conversions that are kept set up; a source asks for three or four
_PROBE_PX = 16
_FULL_RANGE = {"yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p", "yuvj411p"}
_DARKEST, _SPAN = 16.0, 219.0  # luma of limited range


class Converter:
    """Makes pixels of one source's pictures. Whoever asks them later may be another thread."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._quarter_turns: int | None = None  # by the file's header; only its first decoder knows
        self._format: tuple[str, int, int] | None = None
        self._set_up: dict[tuple[str, int, int], VideoReformatter] = {}
        self._lock = threading.Lock()

    def pixels(self, picture: VideoFrame) -> DecodedPixels:
        """Raises CaptureError where a picture cannot be converted, now and not when somebody needs it."""
        if self._quarter_turns is None:
            self._quarter_turns = round(picture.rotation / 90) % 4
        known, self._format = self._format, (picture.format.name, picture.width, picture.height)
        if known != self._format:
            try:
                self.convert(picture, "bgr24", (_PROBE_PX, _PROBE_PX))
            except (av.FFmpegError, ValueError) as error:
                self._format = None
                raise sources.broke_off(self._source, f"a picture cannot be converted: {error}") from error
        return DecodedPixels(picture, self, self._quarter_turns)

    def convert(self, picture: VideoFrame, pixel_format: str, size_px: tuple[int, int]) -> UInt8:
        """`pixel_format` is FFmpeg's name for it; the picture is not turned. Raises FFmpegError."""
        width, height = size_px
        shape = (pixel_format, width, height)
        with self._lock:
            if shape not in self._set_up:
                if len(self._set_up) >= _SHAPES_MAX:
                    del self._set_up[next(iter(self._set_up))]
                self._set_up[shape] = VideoReformatter()  # each is set up once; for another size it would be anew
            shrinks = width < picture.width and height < picture.height
            how = Interpolation.AREA if shrinks else Interpolation.BILINEAR
            converted = self._set_up[shape].reformat(
                picture, width, height, format=pixel_format, interpolation=how, threads=1
            )
        return np.asarray(converted.to_ndarray(), np.uint8)


class DecodedPixels:
    """One decoded picture; satisfies `edge.core.pixels.Pixels`."""

    def __init__(self, picture: VideoFrame, converter: Converter, quarter_turns: int) -> None:
        self._picture = picture
        self._converter = converter
        self._quarter_turns = quarter_turns
        self._bgr: UInt8 | None = None
        self._luma: UInt8 | None = None
        self._scaled: dict[tuple[int, int], UInt8] = {}

    @property
    def size_px(self) -> tuple[int, int]:
        return self._turned((self._picture.width, self._picture.height))

    def bgr(self) -> UInt8:
        if self._bgr is None:
            self._bgr = self._converted("bgr24", self.size_px)
        return self._bgr

    def scaled(self, size_px: tuple[int, int]) -> UInt8:
        if size_px == self.size_px:
            return self.bgr()
        return kept(self._scaled, size_px, lambda: self._converted("bgr24", size_px))

    def luma(self) -> UInt8:
        if self._luma is None:
            plane = self._plane()
            self._luma = self._converted("gray", self.size_px) if plane is None else self._upright(plane)
        return self._luma

    def _plane(self) -> UInt8 | None:
        """The first plane where it is luma of eight bits, stretched to 0 .. 255; not turned."""
        picture, layout = self._picture, self._picture.format
        if layout.is_rgb or not layout.is_planar or layout.components[0].bits != 8:
            return None
        plane = picture.planes[0]
        rows: UInt8 = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[
            : plane.height, : plane.width
        ]
        if layout.name in _FULL_RANGE or picture.color_range == ColorRange.JPEG:
            return rows.copy()
        # Blacker than black is black; convertScaleAbs alone would mirror it.
        return np.asarray(cv2.convertScaleAbs(cv2.subtract(rows, _DARKEST), alpha=255 / _SPAN), np.uint8)  # type: ignore[call-overload]

    def _converted(self, pixel_format: str, size_px: tuple[int, int]) -> UInt8:
        return self._upright(self._converter.convert(self._picture, pixel_format, self._turned(size_px)))

    def _upright(self, lying: UInt8) -> UInt8:
        return np.ascontiguousarray(np.rot90(lying, self._quarter_turns), dtype=np.uint8)

    def _turned(self, size_px: tuple[int, int]) -> tuple[int, int]:
        """(width, height) before or after the picture was turned upright."""
        return (size_px[1], size_px[0]) if self._quarter_turns % 2 else size_px
