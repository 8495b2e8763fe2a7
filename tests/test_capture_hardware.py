"""A device that decodes, where there is none, or one that fails: the software shows the same pictures, and it is said.

The devices are stood for by decoders that do what a device may do. A real one is tried by scripts/measure_hwaccel.py.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import av
import numpy as np
import pytest

from edge.capture.clean import CleanDecoder
from edge.capture.hardware import AUTO, CUDA, HWACCELS, NONE, V4L2M2M, VAAPI, Decoders
from edge.capture.live import LiveCapture
from edge.capture.packets import PacketCapture
from edge.capture.timeline import FrameOrigin
from edge.core.types import Frame
from edge.ports import CaptureCounts
from tests.clips import regular_times, turn, write_clip

ORIGIN = FrameOrigin(mono_ns=0, wall_ns=0, index=0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds with six keyframes."""
    return write_clip(tmp_path_factory.mktemp("hardware") / "a.mp4", regular_times(frames=30, fps=10), keyframe_every=5)


def frames_of(path: Path, hwaccel: str) -> tuple[list[Frame], PacketCapture]:
    capture = PacketCapture(str(path), camera="gate", fps=10, origin=ORIGIN, hwaccel=hwaccel)
    frames = list(capture)
    capture.close()
    return frames, capture


def stand_in(monkeypatch: pytest.MonkeyPatch, codec: str, *, in_memory: bool = False) -> list[str]:
    """`cuda` is there, and decodes as FFmpeg's `codec` does; returns the devices of the decoders made since."""
    made: list[str] = []
    create = Decoders._create

    def create_or_stand_in(self: Decoders, device: str) -> av.VideoCodecContext:
        made.append(device)
        if device != CUDA:
            return create(self, device)
        context = av.CodecContext.create(codec, "r")
        assert isinstance(context, av.VideoCodecContext)
        if codec == self._stream_context.name:
            context.extradata = self._stream_context.extradata
        return context

    monkeypatch.setattr(Decoders, "_create", create_or_stand_in)
    monkeypatch.setattr("edge.capture.hardware._made_in_memory", lambda context: in_memory)
    return made


@pytest.mark.parametrize("hwaccel", [name for name in HWACCELS if name != NONE])
def test_where_the_device_is_absent_the_software_shows_the_same_pictures_and_it_is_said(
    hwaccel: str, clip: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # hides one that is here
    expected, plain = frames_of(clip, NONE)
    frames, capture = frames_of(clip, hwaccel)
    print(f"{hwaccel}: {capture.info.decoder}")
    assert plain.info.decoder == "software"
    assert [record.levelname for record in caplog.records if "decoded by software" in record.getMessage()] == [
        "WARNING"
    ]
    assert capture.info.decoder.startswith("software: ")
    asked = (CUDA, VAAPI, V4L2M2M) if hwaccel == AUTO else (hwaccel,)
    assert all(f"{device}: " in capture.info.decoder for device in asked)
    assert len(frames) == len(expected) == 30
    assert all(np.array_equal(a.bgr, b.bgr) for a, b in zip(frames, expected, strict=True))


def test_a_live_camera_without_its_device_is_seen_and_the_log_says_so_once(
    clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "edge.capture.hardware")
    capture = LiveCapture(
        str(clip), camera="gate", fps=10_000, stop=threading.Event(), pause=lambda seconds: False, hwaccel=VAAPI
    )
    frames = iter(capture)
    seen = [next(frames).index for _ in range(70)]  # the clip is opened three times
    capture.close()
    said = [record for record in caplog.records if "hwaccel" in record.getMessage()]
    assert seen == list(range(70))
    assert capture.counts.reconnects >= 2
    assert [record.levelname for record in said] == ["WARNING"]
    assert capture.info.decoder in said[0].getMessage()


def test_a_device_that_refuses_the_stream_is_given_up_after_two_keyframes(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, "hevc")
    frames, capture = frames_of(clip, CUDA)
    assert capture.info.decoder == "software: cuda: it refused 2 keyframes in a row"
    expected, _ = frames_of(clip, NONE)
    shown = expected[10:]  # FFmpeg tells of the first refusal a packet late
    assert len(frames) == len(shown) == 20
    assert all(np.array_equal(a.bgr, b.bgr) for a, b in zip(frames, shown, strict=True))


def test_a_live_cameras_device_that_refuses_the_stream_is_given_up_too(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stand_in(monkeypatch, "hevc")
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        decoders = Decoders(stream.codec_context, CUDA)
        assert decoders.on_device
        clean = CleanDecoder(
            stream.codec_context, CaptureCounts(), keyframes_only=False, strict=True, decoders=decoders
        )
        shown = [picture.pts for packet in container.demux(stream) if packet.size for picture in clean.decode(packet)]
        shown += [picture.pts for picture in clean.finish()]
    assert decoders.runs_on.startswith("software: cuda: it refused")
    assert len(shown) == 15  # from the next keyframe on
    assert made[-1] == ""


def test_a_device_that_leaves_the_work_to_the_software_is_not_called_the_decoder(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, "h264", in_memory=True)
    frames, capture = frames_of(clip, CUDA)
    assert len(frames) == 30
    assert capture.info.decoder == "software: cuda: the device does not decode this kind of stream"


def test_a_decoder_made_after_damage_is_on_the_device_again(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = stand_in(monkeypatch, "h264")
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        decoders = Decoders(stream.codec_context, CUDA)
        counts = CaptureCounts()
        clean = CleanDecoder(stream.codec_context, counts, keyframes_only=False, strict=True, decoders=decoders)
        shown = [
            len(clean.decode(packet, lost=number == 7))
            for number, packet in enumerate(container.demux(stream))
            if packet.size
        ]
    assert counts.corrupt == 1
    assert shown[7:10] == [0, 0, 0]
    assert sum(shown[:7]) > 0
    assert sum(shown[10:]) > 0
    assert decoders.runs_on == CUDA
    assert made == [CUDA, CUDA, CUDA]  # to see whether it is there, the first, and the one after the damage


def test_a_device_that_has_gone_is_done_without(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, "h264")
    with av.open(str(clip)) as container:
        decoders = Decoders(container.streams.video[0].codec_context, CUDA)
        monkeypatch.undo()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert decoders.fresh().name == "h264"
    assert decoders.runs_on.startswith("software: cuda: ")


def test_a_clip_that_is_stored_turned_is_for_the_software(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, "h264")
    turned = turn(clip, tmp_path / "turned.mp4")
    expected, _ = frames_of(turned, NONE)
    frames, capture = frames_of(turned, CUDA)
    assert capture.info.decoder == "software: cuda: the clip is stored turned"
    assert frames[0].bgr.shape[0] > frames[0].bgr.shape[1]
    assert np.array_equal(frames[0].bgr, expected[0].bgr)


def test_an_unknown_device_is_refused_by_name(clip: Path) -> None:
    with pytest.raises(ValueError, match=r"hwaccel must be one of none, auto, cuda, vaapi, v4l2m2m, got 'gpu'"):
        frames_of(clip, "gpu")
