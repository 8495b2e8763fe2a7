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
from edge.core.pixels import Part, Pixels, Plain, kept
from edge.core.types import UInt8

_SHAPES_MAX = 16  # conversions that are kept set up; a source asks for a handful, and for crops
_PROBE_PX = 16
_HALVED = {"yuv420p", "yuvj420p"}  # three planes of bytes, chroma halved both ways
_FULL_RANGE = {"yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p", "yuvj411p"}
_DARKEST, _SPAN = 16.0, 219.0  # luma of limited range


class Converter:
    """Makes pixels of one source's pictures. Whoever asks them later may be another thread."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._quarter_turns: int | None = None  # by the file's header; only its first decoder knows
        self._format: tuple[str, int, int] | None = None
        self._set_up: dict[tuple[str, int, int, int, int], VideoReformatter] = {}
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
        shape = (pixel_format, picture.width, picture.height, width, height)
        with self._lock:
            # Each is set up once; what was asked for longest ago goes first.
            reformatter = self._set_up.pop(shape, None) or VideoReformatter()
            if len(self._set_up) >= _SHAPES_MAX:
                del self._set_up[next(iter(self._set_up))]
            self._set_up[shape] = reformatter
            shrinks = width < picture.width and height < picture.height
            how = Interpolation.AREA if shrinks else Interpolation.BILINEAR
            converted = reformatter.reformat(picture, width, height, format=pixel_format, interpolation=how, threads=1)
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

    def luma(self, size_px: tuple[int, int] | None = None) -> UInt8:
        if size_px is not None:
            return self.luma_of(None, size_px)
        if self._luma is None:
            self._luma = self.luma_of(None, None)
        return self._luma

    def cut(self, xyxy: Part) -> Pixels:
        return _Cut(self, xyxy)

    def forget(self) -> None:
        self._bgr, self._luma, self._scaled = None, None, {}

    def luma_of(self, xyxy: Part | None, size_px: tuple[int, int] | None) -> UInt8:
        """Of a part, None the whole picture, in its own size or another."""
        rows = self._luma_rows
        if rows is None:
            return _sampled(self.luma() if xyxy else self._converted("gray", self.size_px), xyxy, size_px)
        if not self._quarter_turns:
            return self._stretched(_sampled(rows, xyxy, size_px))
        return _sampled(self.luma() if xyxy else self._upright(self._stretched(rows)), xyxy, size_px)

    def colours_of(self, xyxy: Part) -> Pixels:
        """A part: of copied planes where they are as most cameras' are, else of the whole picture in BGR."""
        x1, y1, x2, y2 = xyxy
        picture, width, height = self._picture, x2 - x1, y2 - y1
        if self._quarter_turns or picture.format.name not in _HALVED:
            return Plain(self.bgr()[y1:y2, x1:x2])
        part = VideoFrame(width, height, picture.format.name)
        _rows(part, 0)[:] = _rows(picture, 0)[y1:y2, x1:x2]
        for number in (1, 2):  # blue, red: from an odd edge on between two of the picture's
            own = _rows(part, number)
            middle = x1 / 2 + (own.shape[1] - 1) / 2, y1 / 2 + (own.shape[0] - 1) / 2
            cv2.getRectSubPix(_rows(picture, number), (own.shape[1], own.shape[0]), middle, own)
        part.colorspace, part.color_range = picture.colorspace, picture.color_range
        return DecodedPixels(part, self._converter, 0)

    @property
    def _luma_rows(self) -> UInt8 | None:
        """The first plane where it is luma of eight bits, as it is: neither turned nor stretched."""
        layout = self._picture.format
        if layout.is_rgb or not layout.is_planar or layout.components[0].bits != 8:
            return None
        return _rows(self._picture, 0)

    def _stretched(self, luma: UInt8) -> UInt8:
        """From the range of the stream to 0 .. 255; not a view of the decoder's memory."""
        picture = self._picture
        if picture.format.name in _FULL_RANGE or picture.color_range == ColorRange.JPEG:
            return luma.copy()
        # Blacker than black is black; convertScaleAbs alone would mirror it.
        return np.asarray(cv2.convertScaleAbs(cv2.subtract(luma, _DARKEST), alpha=255 / _SPAN), np.uint8)  # type: ignore[call-overload]

    def _converted(self, pixel_format: str, size_px: tuple[int, int]) -> UInt8:
        return self._upright(self._converter.convert(self._picture, pixel_format, self._turned(size_px)))

    def _upright(self, lying: UInt8) -> UInt8:
        return np.ascontiguousarray(np.rot90(lying, self._quarter_turns), dtype=np.uint8)

    def _turned(self, size_px: tuple[int, int]) -> tuple[int, int]:
        """(width, height) before or after the picture was turned upright."""
        return (size_px[1], size_px[0]) if self._quarter_turns % 2 else size_px


class _Cut:
    """A part of a decoded picture; satisfies `edge.core.pixels.Pixels`."""

    def __init__(self, whole: DecodedPixels, xyxy: Part) -> None:
        self._whole = whole
        self._xyxy = xyxy
        self._colours: Pixels | None = None

    @property
    def size_px(self) -> tuple[int, int]:
        x1, y1, x2, y2 = self._xyxy
        return x2 - x1, y2 - y1

    def bgr(self) -> UInt8:
        return self._own_colours.bgr()

    def scaled(self, size_px: tuple[int, int]) -> UInt8:
        return self._own_colours.scaled(size_px)

    def luma(self, size_px: tuple[int, int] | None = None) -> UInt8:
        return self._whole.luma_of(self._xyxy, size_px)

    def cut(self, xyxy: Part) -> Pixels:
        left, top, _, _ = self._xyxy
        x1, y1, x2, y2 = xyxy
        return _Cut(self._whole, (left + x1, top + y1, left + x2, top + y2))

    def forget(self) -> None:
        self._colours = None

    @property
    def _own_colours(self) -> Pixels:
        if self._colours is None:
            self._colours = self._whole.colours_of(self._xyxy)
        return self._colours


def _rows(picture: VideoFrame, number: int) -> UInt8:
    """(H, W) one plane of bytes, as it lies in the decoder's memory."""
    plane = picture.planes[number]
    rows: UInt8 = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]


def _sampled(luma: UInt8, xyxy: Part | None, size_px: tuple[int, int] | None) -> UInt8:
    """A part in its own size or another; may be a view."""
    x1, y1, x2, y2 = xyxy or (0, 0, luma.shape[1], luma.shape[0])
    part = luma[y1:y2, x1:x2]
    return np.asarray(cv2.resize(part, size_px, interpolation=cv2.INTER_LINEAR), np.uint8) if size_px else part
