"""What every capture promises, held against both readers: PyAV and OpenCV."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.capture.opencv import OpenCvCapture
from edge.capture.packets import PacketCapture
from edge.capture.timeline import FrameOrigin
from edge.core.pixels import Plain
from edge.core.types import NS_PER_S, Frame
from edge.errors import CaptureError
from tests.clips import (
    cut_end,
    cut_front,
    join,
    picture,
    regular_times,
    rename_codec,
    spoil,
    turn,
    write_clip,
    write_sound,
)

Reader = type[PacketCapture] | type[OpenCvCapture]
READERS: tuple[Reader, ...] = (PacketCapture, OpenCvCapture)
ORIGIN = FrameOrigin(mono_ns=7 * NS_PER_S, wall_ns=1_700_000_000 * NS_PER_S, index=40)

each_reader = pytest.mark.parametrize("reader", READERS)


def read(
    reader: Reader, path: Path, *, fps: float = 100.0, origin: FrameOrigin = ORIGIN
) -> tuple[PacketCapture | OpenCvCapture, list[Frame]]:
    capture = reader(str(path), camera="gate", fps=fps, origin=origin)
    try:
        return capture, list(capture)
    finally:
        capture.close()


def two_seconds(path: Path) -> Path:
    return write_clip(path, regular_times(frames=50, fps=25))


def four_seconds(path: Path) -> Path:
    return write_clip(path, regular_times(frames=100, fps=25))


def uneven(path: Path) -> Path:
    rng = np.random.default_rng(3)
    return write_clip(path, [0.0, *np.cumsum(rng.choice([0.04, 0.08, 0.2], 60))])


WHOLE: dict[str, Callable[[Path], Path]] = {
    "h264-b-frames.mp4": two_seconds,
    "h264.ts": two_seconds,
    "h264.mkv": two_seconds,
    "h264-b-frames.avi": two_seconds,  # no timestamps of its own
    "mjpeg.avi": lambda path: write_clip(
        path, regular_times(frames=50, fps=25), codec="mjpeg", pixel_format="yuvj420p"
    ),
    "mpeg4-b-frames.avi": lambda path: write_clip(path, regular_times(frames=50, fps=25), codec="mpeg4"),
    "uneven.mp4": uneven,
    "uneven.mkv": uneven,
    "odd-size.mp4": lambda path: write_clip(
        path, regular_times(frames=30, fps=25), width=175, height=131, pixel_format="yuv444p"
    ),
    "late-start.mp4": lambda path: write_clip(path, [3 + time_s for time_s in regular_times(frames=30, fps=25)]),
    "29.97.mp4": lambda path: write_clip(path, regular_times(frames=90, fps=30000 / 1001)),
    "one-frame.mp4": lambda path: write_clip(path, [0.0]),
}


@pytest.mark.parametrize("name", WHOLE)
def test_both_readers_tell_the_same_story(name: str, tmp_path: Path) -> None:
    path = WHOLE[name](tmp_path / name)
    for fps in (100.0, 5.0):
        first, pyav = read(PacketCapture, path, fps=fps)
        second, opencv = read(OpenCvCapture, path, fps=fps)
        assert len(pyav) == len(opencv) > 0
        assert first.counts.decoded == second.counts.decoded
        assert first.counts.yielded == second.counts.yielded == len(pyav)
        assert first.counts.incomplete is second.counts.incomplete is False
        assert first.counts.corrupt == second.counts.corrupt == 0
        assert abs(first.following.mono_ns - second.following.mono_ns) < 1_000_000
        for one, other in zip(pyav, opencv, strict=True):
            assert one.index == other.index
            assert abs(one.media_ns - other.media_ns) < 1_000_000
            assert one.bgr.shape == other.bgr.shape
            assert np.abs(one.bgr.astype(int) - other.bgr).mean() < 2


@each_reader
@pytest.mark.parametrize("name", WHOLE)
def test_times_start_at_the_origin_and_only_go_forward(reader: Reader, name: str, tmp_path: Path) -> None:
    _, frames = read(reader, WHOLE[name](tmp_path / name))
    assert frames[0].media_ns == 0
    assert [frame.index for frame in frames] == list(range(40, 40 + len(frames)))
    media_ns = np.array([frame.media_ns for frame in frames])
    assert (np.diff(media_ns) > 0).all()
    assert ([frame.mono_ns for frame in frames] == ORIGIN.mono_ns + media_ns).all()
    assert ([frame.wall_ns for frame in frames] == ORIGIN.wall_ns + media_ns).all()
    assert {frame.camera for frame in frames} == {"gate"}


@each_reader
def test_a_picture_belongs_to_its_time(reader: Reader, tmp_path: Path) -> None:
    _, frames = read(reader, uneven(tmp_path / "uneven.mp4"), fps=8)
    for frame in frames:
        difference = np.abs(frame.bgr.astype(int) - picture(frame.media_ns / NS_PER_S)).mean()
        assert difference < 4, f"{frame.media_ns / NS_PER_S:.3f} s is off by {difference:.1f}"


@each_reader
def test_a_frame_stays_as_it_was_when_the_next_ones_are_read(reader: Reader, tmp_path: Path) -> None:
    capture = reader(str(two_seconds(tmp_path / "a.mp4")), camera="gate", fps=25, origin=ORIGIN)
    frames = iter(capture)
    first, second = next(frames), next(frames)
    kept = first.bgr.copy()
    rest = list(frames)
    capture.close()
    assert len(rest) == 48
    assert (first.bgr == kept).all()
    assert first.bgr.flags.c_contiguous
    # Its pixels are asked for only now that the decoder has gone on and is closed.
    assert np.abs(second.bgr.astype(int) - picture(second.media_ns / NS_PER_S)).mean() < 4
    assert np.abs(second.scaled((80, 60)).astype(int) - Plain(second.bgr).scaled((80, 60))).mean() < 4


@each_reader
def test_an_avi_without_timestamps_is_timed_by_its_frame_rate(reader: Reader, tmp_path: Path) -> None:
    _, frames = read(reader, two_seconds(tmp_path / "a.avi"))
    np.testing.assert_allclose([frame.media_ns / NS_PER_S for frame in frames], np.arange(50) / 25, atol=1e-6)


@each_reader
def test_a_clip_turned_by_its_header_comes_upright(reader: Reader, tmp_path: Path) -> None:
    path = turn(two_seconds(tmp_path / "a.mp4"), tmp_path / "turned.mp4")
    capture, frames = read(reader, path)
    assert frames[0].size_px == (240, 320) == (capture.info.width_px, capture.info.height_px)
    upright = np.rot90(picture(0.0), -1)
    assert np.abs(frames[0].bgr.astype(int) - upright).mean() < 4


@each_reader
def test_frames_after_a_change_of_resolution_come_in_order(reader: Reader, tmp_path: Path) -> None:
    large = two_seconds(tmp_path / "large.ts")
    small = write_clip(tmp_path / "small.ts", regular_times(frames=50, fps=25), width=160, height=120)
    _, frames = read(reader, join(tmp_path / "both.ts", large, small))
    assert len(frames) == 100
    np.testing.assert_allclose([frame.media_ns / NS_PER_S for frame in frames], np.arange(100) / 25, atol=1e-6)
    assert frames[0].size_px == (320, 240)


@each_reader
def test_the_next_clip_begins_where_this_one_ends(reader: Reader, tmp_path: Path) -> None:
    path = two_seconds(tmp_path / "a.mp4")
    capture, frames = read(reader, path)
    _, more = read(reader, path, origin=capture.following)
    assert more[0].mono_ns - frames[-1].mono_ns == pytest.approx(NS_PER_S / 25, abs=1000)
    assert more[0].index == frames[-1].index + 1


@each_reader
def test_a_cut_mp4_gives_what_it_has_and_is_marked(reader: Reader, tmp_path: Path) -> None:
    path = cut_end(four_seconds(tmp_path / "a.mp4"), tmp_path / "cut.mp4", keep=0.6)
    capture, frames = read(reader, path)
    assert capture.counts.incomplete
    assert 40 < len(frames) < 55
    assert np.abs(frames[30].bgr.astype(int) - picture(frames[30].media_ns / NS_PER_S)).mean() < 4


@each_reader
@pytest.mark.parametrize("name", ["cut.avi", "cut.mkv"])
def test_other_cut_files_are_marked_too(reader: Reader, name: str, tmp_path: Path) -> None:
    capture, frames = read(reader, cut_end(four_seconds(tmp_path / name), tmp_path / f"half-{name}", keep=0.6))
    assert capture.counts.incomplete
    assert len(frames) > 40


@each_reader
def test_spoilt_packets_are_counted_and_passed_over(reader: Reader, tmp_path: Path) -> None:
    path = spoil(four_seconds(tmp_path / "a.mp4"), tmp_path / "spoilt.mp4", begin=0.5, end=0.7)
    capture, frames = read(reader, path)
    assert capture.counts.corrupt > 10
    assert frames[-1].media_ns > 3.9 * NS_PER_S, "reading went on behind the spoilt part"
    assert not capture.counts.incomplete


@each_reader
def test_a_capture_is_read_once(reader: Reader, tmp_path: Path) -> None:
    capture = reader(str(two_seconds(tmp_path / "a.mp4")), camera="gate", fps=5, origin=ORIGIN)
    assert len(list(capture)) == 10
    with pytest.raises(CaptureError, match="read once"):
        iter(capture)
    capture.close()


@each_reader
def test_closing_twice_does_no_harm_and_ends_the_frames(reader: Reader, tmp_path: Path) -> None:
    capture = reader(str(two_seconds(tmp_path / "a.mp4")), camera="gate", fps=25, origin=ORIGIN)
    frames = iter(capture)
    next(frames)
    capture.close()
    capture.close()
    assert list(frames) == []


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _text(path: Path) -> Path:
    path.write_text("门口摄像头\n" * 200, encoding="utf-8")
    return path


def _empty(path: Path) -> Path:
    path.touch()
    return path


def _no_index(path: Path) -> Path:
    whole = write_clip(path.with_name("whole.mp4"), regular_times(frames=50, fps=25), front_index=False)
    return cut_end(whole, path, keep=0.5)


def _noise_in_mp4(path: Path) -> Path:
    whole = write_clip(path.with_name("whole.mp4"), regular_times(frames=300, fps=25), front_index=False)
    return spoil(whole, path, begin=48 / whole.stat().st_size, end=0.85)


BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing.mp4": (lambda path: path, "no such file"),
    "folder.mp4": (_folder, "is a folder"),
    "empty.mp4": (_empty, "is empty"),
    "text.mp4": (_text, "is a text file"),
    "no-index.mp4": (_no_index, "index"),
    "no-beginning.mp4": (
        lambda path: cut_front(two_seconds(path.with_name("a.mp4")), path, drop=0.3),
        "beginning is missing",
    ),
    "sound.mp4": (write_sound, "picture"),
    "codec.mp4": (lambda path: rename_codec(two_seconds(path.with_name("a.mp4")), path), "decoded here"),
    "noise.mp4": (_noise_in_mp4, "could be decoded"),
}


@each_reader
@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_used_gets_one_clear_line(reader: Reader, name: str, tmp_path: Path) -> None:
    make, words = BROKEN[name]
    path = make(tmp_path / name)
    with pytest.raises(CaptureError) as raised:
        read(reader, path)
    message = str(raised.value)
    print(message)
    assert message.startswith(f"{path}: ")
    assert words in message
    assert "\n" not in message


@each_reader
def test_a_file_without_read_rights_says_so(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = two_seconds(tmp_path / "a.mp4")
    monkeypatch.setattr("os.access", lambda *_: False)  # root may read everything
    with pytest.raises(CaptureError, match="may not read it"):
        read(reader, path)


@each_reader
def test_a_password_in_an_address_stays_out_of_the_error(reader: Reader) -> None:
    with pytest.raises(CaptureError) as raised:
        reader("rtsp://admin:geheim@127.0.0.1:9/stream", camera="gate", fps=5, origin=ORIGIN)
    assert "geheim" not in str(raised.value)
    assert "127.0.0.1:9" in str(raised.value)


@each_reader
def test_a_name_with_a_colon_and_chinese_signs_is_a_file(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_seconds(tmp_path / "a.mp4").rename(tmp_path / "门口:%03d 2.mp4")
    monkeypatch.chdir(tmp_path)
    _, frames = read(reader, Path("门口:%03d 2.mp4"), fps=5)
    assert len(frames) == 10


@each_reader
def test_the_whole_shared_clips_are_not_taken_for_cut_ones(reader: Reader, media: Path) -> None:
    for path in sorted([*media.glob("*.mp4"), *media.glob("*.avi")]):
        capture, frames = read(reader, path, fps=1)
        counts = capture.counts
        print(f"{path.name}: {counts.decoded} of {capture.info.frames_declared} decoded, {capture.repaired} repaired")
        assert not counts.incomplete
        assert counts.corrupt == 0
        assert len(frames) == pytest.approx(capture.info.duration_s, abs=1.5)
