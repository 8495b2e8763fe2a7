"""What the PyAV capture can do beyond the contract: keyframes alone, and what a clip says of itself."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from av.video.frame import VideoFrame

from edge.capture.opencv import OpenCvCapture
from edge.capture.packets import PacketCapture, inspect
from edge.capture.pixels import Converter
from edge.capture.timeline import FrameOrigin
from edge.core.types import NS_PER_S, Frame, UInt8
from edge.errors import CaptureError
from tests.clips import cut_end, picture, regular_times, spoil, turn, write_clip, write_sound

ORIGIN = FrameOrigin(mono_ns=0, wall_ns=0, index=0)


def open_keyframes(path: Path, fps: float = 100) -> PacketCapture:
    return PacketCapture(str(path), camera="gate", fps=fps, decode="keyframes", origin=ORIGIN)


def four_seconds(path: Path, *, metadata: dict[str, str] | None = None) -> Path:
    return write_clip(path, regular_times(frames=100, fps=25), metadata=metadata)


@pytest.mark.parametrize("name", ["a.mp4", "a.ts", "a.mkv"])
def test_keyframes_alone_come_at_their_own_times(name: str, tmp_path: Path) -> None:
    capture = open_keyframes(four_seconds(tmp_path / name))
    frames = list(capture)
    capture.close()
    assert [frame.media_ns / NS_PER_S for frame in frames] == pytest.approx([0, 1, 2, 3])
    for frame in frames:
        assert frame.keyframe
        assert np.abs(frame.bgr.astype(int) - picture(frame.media_ns / NS_PER_S)).mean() < 4
    assert capture.counts.read == 100
    assert capture.counts.decoded == 4


def test_skipping_frames_does_not_make_a_whole_clip_look_cut(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", regular_times(frames=100, fps=25), keyframe_every=250)
    capture = open_keyframes(path)
    assert len(list(capture)) == 1
    assert not capture.counts.incomplete
    assert capture.following.mono_ns == pytest.approx(4 * NS_PER_S, rel=1e-6)


def test_a_cut_clip_is_marked_when_only_keyframes_are_read(tmp_path: Path) -> None:
    capture = open_keyframes(cut_end(four_seconds(tmp_path / "a.mp4"), tmp_path / "cut.mp4", keep=0.6))
    list(capture)
    assert capture.counts.incomplete


def test_a_cut_in_the_last_second_shows_by_its_torn_packet(tmp_path: Path) -> None:
    capture = PacketCapture(
        str(cut_end(four_seconds(tmp_path / "a.mp4"), tmp_path / "cut.mp4", keep=0.95)),
        camera="gate",
        fps=5,
        origin=ORIGIN,
    )
    assert len(list(capture)) > 17
    assert capture.counts.incomplete


def test_only_the_keyframes_of_a_fully_decoded_clip_are_called_so(tmp_path: Path) -> None:
    capture = PacketCapture(str(four_seconds(tmp_path / "a.mp4")), camera="gate", fps=100, decode="all", origin=ORIGIN)
    assert [frame.index for frame in capture if frame.keyframe] == [0, 25, 50, 75]


def test_opencv_cannot_read_keyframes_alone_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="decode: all"):
        OpenCvCapture(str(four_seconds(tmp_path / "a.mp4")), camera="gate", fps=5, decode="keyframes", origin=ORIGIN)


def test_a_clip_says_what_it_is(tmp_path: Path) -> None:
    path = four_seconds(tmp_path / "a.mp4", metadata={"creation_time": "2026-05-04T09:31:07Z"})
    info = inspect(str(path))
    assert (info.width_px, info.height_px, info.codec, info.frames_declared) == (320, 240, "h264", 100)
    assert info.fps == pytest.approx(25)
    assert info.duration_s == pytest.approx(4)
    assert info.created_wall_ns == int(datetime(2026, 5, 4, 9, 31, 7, tzinfo=UTC).timestamp()) * NS_PER_S


@pytest.mark.parametrize("created", ["", "1970-01-01T00:00:00Z", "1904-01-01T00:00:00Z"])
def test_a_recorder_whose_clock_was_never_set_gives_no_creation_time(created: str, tmp_path: Path) -> None:
    path = four_seconds(tmp_path / "a.mkv", metadata={"creation_time": created} if created else None)
    assert inspect(str(path)).created_wall_ns == 0


def test_a_turned_clip_says_its_size_as_it_is_shown(tmp_path: Path) -> None:
    info = inspect(str(turn(four_seconds(tmp_path / "a.mp4"), tmp_path / "turned.mp4")))
    assert (info.width_px, info.height_px) == (240, 320)


def test_a_file_that_is_only_sound_is_no_clip(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="no picture, only sound"):
        inspect(str(write_sound(tmp_path / "a.mp4")))


def test_a_wrong_way_of_decoding_is_a_programming_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="decode must be"):
        PacketCapture(str(four_seconds(tmp_path / "a.mp4")), camera="gate", fps=5, decode="some", origin=ORIGIN)


def test_frames_are_converted_only_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted: list[tuple[str, tuple[int, int]]] = []
    convert = Converter.convert

    def counting(self: Converter, picture: VideoFrame, pixel_format: str, size_px: tuple[int, int]) -> UInt8:
        converted.append((pixel_format, size_px))
        return convert(self, picture, pixel_format, size_px)

    monkeypatch.setattr(Converter, "convert", counting)
    capture = PacketCapture(str(four_seconds(tmp_path / "a.mp4")), camera="gate", fps=5, origin=ORIGIN)
    frames: list[Frame] = list(capture)
    assert len(frames) == 20
    assert capture.counts.decoded == 100
    assert len(converted) == 1  # whether it can be done at all is tried with the first
    assert frames[7].size_px == (320, 240)
    assert frames[7].scaled((64, 48)).shape == (48, 64, 3)
    assert frames[7].bgr.shape == (240, 320, 3)
    assert converted[1:] == [("bgr24", (64, 48)), ("bgr24", (320, 240))]


CLOSE_EARLY = """
import logging, sys
import av.logging
from edge.capture.packets import PacketCapture
from edge.capture.timeline import FrameOrigin

av.logging.set_level(av.logging.DEBUG)
libav = logging.getLogger("libav")
libav.addHandler(logging.NullHandler())
libav.propagate = False
for number in range(40):
    origin = FrameOrigin(mono_ns=0, wall_ns=0, index=0)
    capture = PacketCapture(sys.argv[1], camera="gate", fps=25, origin=origin)
    frames = iter(capture)
    for _ in range(1 + number % 8):
        next(frames, None)
    capture.close()
    del frames, capture
print("closed")
"""


def test_a_damaged_clip_is_closed_in_the_middle_while_its_decoder_has_something_to_say(tmp_path: Path) -> None:
    """A thread of the decoder that logs waits for Python's lock; who frees the decoder waits for the thread."""
    whole = write_clip(tmp_path / "whole.mp4", regular_times(frames=60, fps=25), width=1280, height=720)
    clip = spoil(whole, tmp_path / "clip.mp4", begin=0.4, end=0.5)
    done = subprocess.run(
        [sys.executable, "-c", CLOSE_EARLY, clip], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "closed\n"), done.stderr
