"""A picture in the form that is asked for: the same picture, whatever the decoder's planes look like."""

from __future__ import annotations

import itertools

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from edge.capture.pixels import Converter
from edge.core.pixels import Pixels, Plain
from edge.core.types import Frame, UInt8
from edge.errors import CaptureError

# Chroma is halved and rounded on the way into most formats: that alone is one or two levels.
LEVELS = 3.0
# How bright blue, green and red are, by the two standards.
REC601 = np.array([0.114, 0.587, 0.299], np.float32)
REC709 = np.array([0.0722, 0.7152, 0.2126], np.float32)


def street(width: int, height: int) -> UInt8:
    """Slopes of all colours, and things with hard edges."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    bgr = np.stack([255 * x / width, 255 * y / height, 128 + 100 * np.sin((x + y) / 40)], axis=2)
    cv2.rectangle(bgr, (width // 4, height // 3), (width // 2, height // 2), (20, 30, 230), -1)
    cv2.rectangle(bgr, (width // 2, height // 2), (width * 3 // 4, height * 5 // 6), (240, 250, 245), -1)
    cv2.circle(bgr, (width // 3, height * 3 // 4), height // 8, (5, 8, 3), -1)
    return bgr.clip(0, 255).astype(np.uint8)


def decoded(bgr: UInt8, pixel_format: str, *, full_range: bool = False, rec709: bool = False) -> VideoFrame:
    """As a decoder would hand it out."""
    space = Colorspace.ITU709 if rec709 else Colorspace.ITU601
    levels = ColorRange.JPEG if full_range else ColorRange.MPEG
    frame = av.VideoFrame.from_ndarray(bgr, format="bgr24")
    return frame.reformat(format=pixel_format, dst_colorspace=space, dst_color_range=levels)


def apart(one: UInt8, other: UInt8) -> float:
    assert one.shape == other.shape
    assert one.dtype == other.dtype == np.uint8
    return float(np.abs(one.astype(int) - other).mean())


FORMATS = [
    ("yuv420p", False, False),
    ("yuv420p", True, False),
    ("yuv420p", False, True),
    ("yuvj420p", True, False),
    ("nv12", False, False),
    ("yuv420p10le", False, False),
    ("yuv422p", False, True),
    ("yuyv422", False, False),
    ("bgr24", True, False),
]


@pytest.mark.parametrize("size_px", [(1920, 1080), (641, 359)], ids=["hd", "odd"])
@pytest.mark.parametrize(("pixel_format", "full_range", "rec709"), FORMATS)
def test_a_scaled_picture_and_its_luma_are_those_of_the_whole_one(
    pixel_format: str, full_range: bool, rec709: bool, size_px: tuple[int, int]
) -> None:
    bgr = street(*size_px)
    pixels = Converter("gate").pixels(decoded(bgr, pixel_format, full_range=full_range, rec709=rec709))
    whole = pixels.bgr()
    figures = {
        "whole": apart(whole, bgr),
        "luma": apart(pixels.luma(), (whole @ (REC709 if rec709 else REC601)).astype(np.uint8)),
    }
    for small_px in ((640, 360), (256, 144), (161, 91)):
        small = np.asarray(cv2.resize(whole, small_px, interpolation=cv2.INTER_AREA), np.uint8)
        figures[f"{small_px[0]}x{small_px[1]}"] = apart(pixels.scaled(small_px), small)
    for xyxy in ((160, 80, 480, 260), (33, 71, 354, 340)):
        x1, y1, x2, y2 = xyxy
        cut, part = pixels.cut(xyxy), np.ascontiguousarray(whole[y1:y2, x1:x2])
        small = np.asarray(cv2.resize(part, (80, 45), interpolation=cv2.INTER_AREA), np.uint8)
        assert cut.size_px == (x2 - x1, y2 - y1)
        figures[f"cut {x1},{y1}"] = apart(cut.bgr(), part)
        figures[f"cut {x1},{y1} scaled"] = apart(cut.scaled((80, 45)), small)
        assert np.array_equal(cut.luma(), pixels.luma()[y1:y2, x1:x2])
        assert np.array_equal(cut.cut((8, 8, 40, 30)).luma(), pixels.luma()[y1 + 8 : y1 + 30, x1 + 8 : x1 + 40])
    print(pixel_format, {name: round(figure, 2) for name, figure in figures.items()})
    assert pixels.size_px == size_px
    assert all(figure < LEVELS for figure in figures.values()), figures


@pytest.mark.parametrize(("width", "height"), list(itertools.product(range(20, 24), range(20, 24))))
def test_a_part_of_any_size_shows_what_the_picture_shows_there(width: int, height: int) -> None:
    # Soft, for two pixels of the whole picture, and of a small one, share their chroma.
    soft = np.asarray(cv2.resize(street(40, 30), (1920, 1440), interpolation=cv2.INTER_CUBIC), np.uint8)
    pixels = Converter("gate").pixels(decoded(soft, "yuv420p"))
    whole, worst = pixels.bgr(), 0.0
    for left, top in itertools.product((0, 461, 944, 1920 - width), (0, 475, 720, 1440 - height)):
        cut = pixels.cut((left, top, left + width, top + height))
        part = np.ascontiguousarray(whole[top : top + height, left : left + width])
        small = np.asarray(cv2.resize(part, (10, 9), interpolation=cv2.INTER_AREA), np.uint8)
        figures = apart(cut.bgr(), part), apart(cut.scaled((10, 9)), small)
        worst = max(worst, *figures)
        assert max(figures) < LEVELS, (left, top, *figures)
    print(f"{width}x{height} px: at most {worst:.2f} levels apart")


def test_black_and_white_of_limited_range_are_black_and_white_in_luma() -> None:
    levels = np.repeat(np.array([0, 16, 126, 235, 255], np.uint8), 64)[None].repeat(48, axis=0)
    frame = av.VideoFrame.from_ndarray(np.concatenate([levels, np.full((24, 320), 128, np.uint8)]), format="yuv420p")
    assert Converter("gate").pixels(frame).luma()[0, ::64].tolist() == [0, 0, 128, 255, 255]


def test_a_picture_stays_upright_at_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    bgr = street(320, 240)
    converter = Converter("gate")
    converter._quarter_turns = 1  # as the header of a clip filmed upright says it
    pixels = converter.pixels(decoded(bgr, "yuv420p"))
    upright = np.ascontiguousarray(np.rot90(bgr))
    assert pixels.size_px == (240, 320)
    assert apart(pixels.bgr(), upright) < LEVELS
    assert apart(pixels.cut((10, 20, 110, 220)).bgr(), np.ascontiguousarray(upright[20:220, 10:110])) < LEVELS
    assert np.array_equal(pixels.cut((10, 20, 110, 220)).luma(), pixels.luma()[20:220, 10:110])
    small = np.asarray(cv2.resize(upright, (60, 80), interpolation=cv2.INTER_AREA), np.uint8)
    assert apart(pixels.scaled((60, 80)), small) < LEVELS
    assert apart(pixels.luma(), np.asarray(cv2.cvtColor(upright, cv2.COLOR_BGR2GRAY), np.uint8)) < LEVELS


@pytest.mark.parametrize("kind", ["decoded", "plain"])
def test_what_was_made_once_is_kept_and_not_without_bound(kind: str) -> None:
    bgr = street(320, 240)
    pixels: Pixels = Plain(bgr) if kind == "plain" else Converter("gate").pixels(decoded(bgr, "yuv420p"))
    frame = Frame("gate", 0, 0, 0, pixels)
    assert frame.bgr is frame.bgr
    assert frame.scaled((320, 240)) is frame.bgr
    assert pixels.luma() is pixels.luma()
    first = frame.scaled((64, 48))
    assert frame.scaled((64, 48)) is first
    for height in range(10, 20):
        frame.scaled((32, height))
    assert frame.scaled((64, 48)) is not first


def test_a_picture_that_cannot_be_converted_is_told_before_anybody_waits_for_it() -> None:
    frame = av.VideoFrame(64, 48, "yuv420p")
    converter = Converter("rtsp://user:secret@gate/1")
    assert converter.pixels(frame).size_px == (64, 48)
    odd = av.VideoFrame(64, 48, "rgb96le")
    with pytest.raises(CaptureError, match="cannot be converted") as told:
        converter.pixels(odd)
    assert "secret" not in str(told.value)
