"""Clips cut from the packets of the last seconds: the source's own pictures, and the same bytes again."""

from __future__ import annotations

import io
import tracemalloc
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from edge.capture.packets import PacketCapture
from edge.capture.reel import Reel, parameter_sets
from edge.capture.timeline import FrameOrigin
from edge.core.types import NS_PER_S
from edge.errors import CaptureError
from edge.ports import Footage
from tests.clips import regular_times, write_clip

pytestmark = pytest.mark.delivery

START_NS = 1000 * NS_PER_S
MB = 1_000_000


@dataclass(frozen=True)
class Shown:
    """One picture of a file: when it is shown, its packet, and what it decodes to."""

    time_s: float
    data: bytes
    pixels: bytes


def pictures_of(source: Path | bytes) -> list[Shown]:
    """In the order of showing, with times from the first picture on."""
    with av.open(str(source) if isinstance(source, Path) else io.BytesIO(source), "r") as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        datas = {packet.pts: bytes(packet) for packet in packets}
        shown: list[tuple[int, bytes]] = []
        for packet in [*packets, None]:
            for frame in stream.codec_context.decode(packet):
                assert frame.pts is not None
                shown.append((frame.pts, frame.to_ndarray().tobytes()))
        assert stream.time_base is not None
        first = shown[0][0]
        return [Shown(float((pts - first) * stream.time_base), datas[pts], pixels) for pts, pixels in shown]


def wind(reel: Reel, path: Path, *, fps: float = 5, start_ns: int = START_NS) -> list[int]:
    """Read a whole clip past the reel; the mono times of its frames."""
    origin = FrameOrigin(mono_ns=start_ns, wall_ns=0, index=0)
    capture = PacketCapture(str(path), camera="gate", fps=fps, origin=origin, reel=reel)
    times_ns = [frame.mono_ns for frame in capture]
    capture.close()
    return times_ns


def cut_s(reel: Reel, begin_s: float, end_s: float, at_s: float | None = None) -> Footage:
    begin_ns, end_ns = (START_NS + round(second * NS_PER_S) for second in (begin_s, end_s))
    at_ns = START_NS + round((begin_s if at_s is None else at_s) * NS_PER_S)
    return reel.cut(begin_ns, end_ns, at_ns=at_ns)


def a_reel(*, keep_s: float = 60, bytes_max: int = 64 * MB) -> Reel:
    return Reel("gate", keep_ns=round(keep_s * NS_PER_S), bytes_max=bytes_max)


@pytest.mark.parametrize(
    ("name", "codec", "b_frames", "every"),
    [
        ("plain.mp4", "libx264", 0, 25),
        ("reordered.mp4", "libx264", 3, 25),
        ("long.mp4", "libx264", 2, 125),
        ("stream.ts", "libx264", 2, 25),
        ("h265.mp4", "libx265", 2, 25),
        ("h265.ts", "libx265", 2, 25),
        ("motion.mkv", "mjpeg", 0, 1),
    ],
)
def test_a_clip_holds_exactly_the_pictures_of_its_source(
    name: str, codec: str, b_frames: int, every: int, tmp_path: Path
) -> None:
    form = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_clip(
        tmp_path / name,
        regular_times(frames=250, fps=25),
        codec=codec,
        pixel_format=form,
        keyframe_every=every,
        b_frames=b_frames,
    )
    reel = a_reel()
    wind(reel, path)
    footage = cut_s(reel, 3.1, 6.1)
    source, clip = pictures_of(path), pictures_of(footage.content)
    begin_s = every / 25 * int(3.1 / (every / 25))
    first = round(begin_s * 25)
    assert footage.media_type == "video/mp4"
    assert footage.from_ns - START_NS == pytest.approx(begin_s * NS_PER_S, abs=1e6)
    beyond = len(clip) - (round(6.1 * 25) - first)
    print(f"{name}: {len(clip)} pictures from {begin_s:g} s on, {beyond} of them after the end for those before it")
    assert 0 <= beyond <= b_frames + 1
    same = source[first : first + len(clip)]
    assert [one.pixels for one in clip] == [one.pixels for one in same]
    assert [one.time_s for one in clip] == pytest.approx([one.time_s - begin_s for one in same], abs=1e-4)
    if name.endswith((".mp4", ".mkv")):
        assert [one.data for one in clip] == [one.data for one in same]


def test_the_same_packets_are_the_same_bytes_and_play_from_the_front(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", regular_times(frames=100, fps=25))
    clips = []
    for _ in range(2):
        reel = a_reel()
        wind(reel, path)
        clips.append(cut_s(reel, 1.5, 3).content)
    assert clips[0] == clips[1]
    assert clips[0].index(b"moov") < clips[0].index(b"mdat")
    assert b"Lavf6" not in clips[0]
    with av.open(io.BytesIO(clips[0]), "r") as container:
        assert "creation_time" not in container.metadata | container.streams.video[0].metadata


def test_a_codec_that_mp4_cannot_hold_goes_into_matroska(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "a.mkv", regular_times(frames=30, fps=10), width=160, height=120, codec="libvpx", keyframe_every=10
    )
    reel = a_reel()
    wind(reel, path)
    footage = cut_s(reel, 1.2, 2.2)
    assert footage.media_type == "video/x-matroska"
    assert [one.pixels for one in pictures_of(footage.content)] == [one.pixels for one in pictures_of(path)][10:23]


def test_only_whole_groups_of_the_last_seconds_are_kept(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", regular_times(frames=750, fps=25))
    reel = a_reel(keep_s=6)
    wind(reel, path)
    whole = path.stat().st_size
    print(f"of {whole} bytes in 30 s, {reel.held_bytes} are kept for 6 s and their slack")
    assert 11 / 30 * 0.8 < reel.held_bytes / whole < 13 / 30
    assert cut_s(reel, 19.5, 25, 24).from_ns == START_NS + 19 * NS_PER_S
    late = cut_s(reel, 10, 25, 24)
    assert 17 * NS_PER_S <= late.from_ns - START_NS <= 19 * NS_PER_S
    with pytest.raises(CaptureError, match="not kept"):
        cut_s(reel, 1, 6, 5)


def test_what_comes_between_keyframes_is_bounded_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    noise = np.random.default_rng(1)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "x264-params": "keyint=1000"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for index in range(100):
            bgr = noise.integers(0, 255, (240, 320, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(bgr, format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    reel = a_reel(bytes_max=MB)
    wind(reel, path)
    assert path.stat().st_size > 3 * MB
    assert reel.overruns == 1
    assert reel.held_bytes <= MB
    assert "evidence.clip_mb" in caplog.text
    with pytest.raises(CaptureError, match="clip_mb"):
        cut_s(reel, 1, 3)


def test_a_clip_never_spans_a_reconnect(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "a.mp4", regular_times(frames=100, fps=25))
    second = write_clip(tmp_path / "b.ts", regular_times(frames=100, fps=25), width=640, height=480)
    reel = a_reel()
    wind(reel, first)
    wind(reel, second, start_ns=START_NS + 4 * NS_PER_S)
    for begin_s, end_s, at_s, width in ((2, 6, 3.5, 320), (2, 6, 4.5, 640)):
        footage = cut_s(reel, begin_s, end_s, at_s)
        with av.open(io.BytesIO(footage.content), "r") as container:
            assert {frame.width for frame in container.decode(video=0)} == {width}
            assert container.streams.video[0].width == width
    assert cut_s(reel, 2, 6, 3.5).to_ns < START_NS + 4 * NS_PER_S
    assert cut_s(reel, 2, 6, 4.5).from_ns == START_NS + 4 * NS_PER_S


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_clip_never_spans_a_change_of_resolution_within_one_stream(codec: str, tmp_path: Path) -> None:
    """As a camera sends it whose resolution is set while it streams: nothing but the stream itself tells."""
    parts = [
        write_clip(tmp_path / f"{width}.ts", regular_times(frames=75, fps=25), codec=codec, width=width, b_frames=0)
        for width in (320, 480)
    ]
    reel = a_reel()
    for number, (part, width) in enumerate(zip(parts, (320, 480), strict=True)):
        with av.open(str(part), "r") as container:
            stream = container.streams.video[0]
            if number == 0:
                reel.begin(stream)
            packets = [packet for packet in container.demux(stream) if packet.size]
            shift = number * 75 * 3600 - min(packet.pts or 0 for packet in packets)
            for packet in packets:
                packet.pts, packet.dts = (packet.pts or 0) + shift, (packet.dts or 0) + shift
                reel.add(packet)
                stamp_ns = packet.pts * NS_PER_S // 90_000
                reel.place(stamp_ns, START_NS + stamp_ns, (width, 240))
    for at_s, width, begin_s in ((2.5, 320, 1), (3.5, 480, 3)):
        footage = cut_s(reel, 1, 5, at_s)
        with av.open(io.BytesIO(footage.content), "r") as container:
            sizes = [frame.width for frame in container.decode(video=0)]
            assert container.streams.video[0].width == width
        print(f"{codec}: {len(sizes)} pictures of {width} px from {begin_s} s on")
        assert sizes == [width] * 50 if width == 320 else [width] * 51
        assert footage.from_ns == START_NS + begin_s * NS_PER_S


def test_who_gives_no_packets_is_told_so() -> None:
    with pytest.raises(CaptureError, match="camera gate: gives no coded pictures"):
        cut_s(a_reel(), 1, 2)


def test_parameter_sets_are_those_before_the_first_slice() -> None:
    unit = b"\0\0\0\1\x67abc\0\0\1\x68de\0\0\1\x65slice\0\0\1\x68later"
    assert parameter_sets(unit, "h264") == b"\0\0\0\1\x67abc\0\0\0\1\x68de"
    assert parameter_sets(b"\0\0\1\x41", "h264") == parameter_sets(b"\0\0\1", "h264") == b""
    assert parameter_sets(unit, "mjpeg") == b""


def test_a_reel_holds_little_more_than_its_packets(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", regular_times(frames=375, fps=25))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    reel = a_reel()
    wind(reel, path)
    overhead = tracemalloc.get_traced_memory()[0] - before - reel.held_bytes
    tracemalloc.stop()
    print(f"15 s: {reel.held_bytes} bytes of packets, {overhead / 375:.0f} bytes more for each")
    assert overhead / 375 < 400


@pytest.mark.parametrize(("name", "codec", "form"), [("old.asf", "wmv2", "yuv420p"), ("raw.avi", "huffyuv", "yuv422p")])
def test_footage_of_a_codec_that_no_clip_can_hold_is_analysed_all_the_same(
    name: str, codec: str, form: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reel = a_reel()
    wind(reel, write_clip(tmp_path / "held.mp4", regular_times(frames=25, fps=25)))
    assert cut_s(reel, 0, 0.5).content
    path = write_clip(tmp_path / name, regular_times(frames=10, fps=5), codec=codec, pixel_format=form, rate=5)
    assert len(wind(reel, path)) == 10
    assert len(wind(reel, path)) == 10
    with pytest.raises(CaptureError, match="gate: sends a codec that no clip can hold"):
        cut_s(reel, 0, 0.5)
    told = [record.message for record in caplog.records if "no clips of its codec" in record.message]
    assert (len(told), reel.refused, reel.held_bytes) == (1, 2, 0)
