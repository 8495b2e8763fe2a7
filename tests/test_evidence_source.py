"""Evidence from the main stream of a camera that is analysed on its sub stream, and what happens while that is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest

from edge.capture.live import LiveCapture
from edge.capture.reel import Reel
from edge.capture.reel import _decoded as reel_decoded
from edge.clock import SystemClock
from edge.core.types import NS_PER_S, Frame, UInt8
from edge.errors import CaptureError
from edge.evidence.filming import Filming, MainFirst
from edge.evidence.hiding import Hiding
from edge.evidence.recorder import CaseRecorder
from edge.evidence.store import EvidenceStore
from edge.evidence.verify import verify
from edge.ports import ANALYSED, MAIN, Footage, Shot
from edge.runtime.main_stream import SILENT_NS, MainStreamReading
from tests.bench.cameras import StreetCameras
from tests.bench.streams import Recipe, Stream, make_stream
from tests.clips import regular_times, write_clip
from tests.test_capture_reel import START_NS, a_reel, pictures_of, wind
from tests.test_evidence import ORIGIN, WINDOW, a_case, a_change, a_frame, manifest_of, picture_of, texture, times_s

pytestmark = pytest.mark.delivery

WAIT_S = 30.0
PERIOD_S = 3.25  # after which the square of `tests.clips.picture` is where it was


def large(seed: int = 5) -> UInt8:
    return np.asarray(cv2.resize(texture(seed), (1280, 960), interpolation=cv2.INTER_CUBIC), np.uint8)


class FakeMain:
    """A main stream of four times the size, whose pictures are `early_s` older than what is asked for."""

    def __init__(self, *, early_s: float = 0.0) -> None:
        self.here = True
        self.early_ns = round(early_s * NS_PER_S)
        self.asked = 0

    def shot(self, at_ns: int) -> Shot | None:
        self.asked += 1
        return Shot(large(), at_ns - self.early_ns, MAIN) if self.here else None

    def cut(self, from_ns: int, to_ns: int, *, at_ns: int) -> Footage:
        if not self.here:
            raise CaptureError("camera gate: its pictures of that time are not kept")
        return Footage(b"main", "video/mp4", from_ns, to_ns, MAIN)


class FakeSub:
    def cut(self, from_ns: int, to_ns: int, *, at_ns: int) -> Footage:
        return Footage(b"analysed", "video/mp4", from_ns, to_ns, ANALYSED)


def a_recorder(root: Path, main: FakeMain, **changes: Any) -> CaseRecorder:
    filming = Filming(MainFirst(main, FakeSub()), pre_roll_ns=10 * NS_PER_S, post_roll_ns=5 * NS_PER_S)
    return CaseRecorder(EvidenceStore(root), origin=ORIGIN, filming=filming, main=main, **changes)


def sources_of(root: Path, files: Any) -> dict[str, str]:
    return {entry["role"]: entry["source"] for entry in manifest_of(root, files)["files"]}


# The recorder


def test_pictures_and_clip_come_from_the_main_stream_and_the_manifest_says_so(tmp_path: Path) -> None:
    recorder = a_recorder(tmp_path, FakeMain())
    opened = recorder.record(a_change("opened", 60, alerts=1), a_frame(60))
    assert sources_of(tmp_path, opened) == dict.fromkeys(("overview", "original", "crop", "still"), MAIN)
    assert np.abs(picture_of(tmp_path, opened, "original").astype(int) - large()).mean() < 2
    crop = picture_of(tmp_path, opened, "crop")
    assert crop.shape[:2] == (
        round(60 * 4 * 1.3),
        round(80 * 4 * 1.3),
    )  # the footprint and its margin, four times as large
    document = manifest_of(tmp_path, opened)
    assert document["object"] == {"label": "car", "box_px": [100, 80, 180, 140], "frame_px": [320, 240]}
    assert len(recorder.filmed(66 * NS_PER_S)) == 1
    filmed = recorder.record(a_change("updated", 66, alerts=2, reason="clip"), a_frame(66))
    assert sources_of(tmp_path, filmed) == {"clip": MAIN}
    assert verify(tmp_path).problems == []


def test_while_the_main_stream_is_away_the_analysed_one_serves(tmp_path: Path) -> None:
    main = FakeMain()
    recorder = a_recorder(tmp_path, main)
    main.here = False
    opened = recorder.record(a_change("opened", 60, alerts=1), a_frame(60))
    assert set(sources_of(tmp_path, opened).values()) == {ANALYSED}
    assert np.abs(picture_of(tmp_path, opened, "original").astype(int) - texture()).mean() < 2
    assert len(recorder.filmed(66 * NS_PER_S)) == 1
    filmed = recorder.record(a_change("updated", 66, alerts=2, reason="clip"), a_frame(66))
    assert sources_of(tmp_path, filmed) == {"clip": ANALYSED}
    main.here = True
    assert set(sources_of(tmp_path, recorder.record(a_change("cleared", 90, alerts=3), a_frame(90))).values()) == {MAIN}


def test_masks_hide_in_the_main_stream_what_they_hide_in_the_other(tmp_path: Path) -> None:
    opened = a_recorder(tmp_path, FakeMain(), hiding=Hiding([WINDOW])).record(
        a_change("opened", 60, alerts=1), a_frame(60)
    )
    hidden = picture_of(tmp_path, opened, "still")[:240, :320]
    shown = picture_of(tmp_path, opened, "original")[:240, :320]
    assert np.abs(shown.astype(int) - large()[:240, :320]).mean() < 2
    assert len(np.unique(hidden.reshape(-1, 3) // 16, axis=0)) < len(np.unique(shown.reshape(-1, 3) // 16, axis=0)) / 4


class WideMain(FakeMain):
    """Its pictures are 16:9, those that are analysed 4:3."""

    def shot(self, at_ns: int) -> Shot | None:
        return Shot(np.ascontiguousarray(large()[120:840]), at_ns, MAIN)


@pytest.mark.parametrize("masks", [[], [WINDOW]])
def test_nothing_is_drawn_or_hidden_in_a_main_stream_of_another_shape(
    masks: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = a_recorder(tmp_path, WideMain(), hiding=Hiding(masks))
    recorder.watch([a_case(45)], a_frame(45))
    opened = recorder.record(a_change("opened", 60, alerts=1), a_frame(60))
    published = dict.fromkeys(("overview", "crop", "still"), ANALYSED)
    assert sources_of(tmp_path, opened) == {**published, "original": MAIN}
    assert picture_of(tmp_path, opened, "original").shape == (720, 1280, 3)
    assert {picture_of(tmp_path, opened, role).shape for role in ("overview", "still")} == {(240, 320, 3)}
    assert caplog.text.count("its main stream has another shape") == 1
    assert recorder.counts.main_of_other_shape == 2


@pytest.mark.parametrize("early_s", [0.0, 0.04, 0.9])
def test_stills_are_ten_seconds_apart_by_their_own_pictures(early_s: float, tmp_path: Path) -> None:
    main = FakeMain()
    recorder = a_recorder(tmp_path, main)
    for tick in range(300):
        main.early_ns = round(early_s * NS_PER_S) if tick % 7 else 0  # now and then it is on time
        recorder.watch([a_case(tick / 5)], a_frame(tick / 5))
    asked = main.asked
    files = recorder.record(a_change("opened", 60, alerts=1), a_frame(60))
    taken_s = times_s(files)
    print(f"stills at {taken_s} s; {asked} pictures of 300 were decoded")
    assert len(taken_s) >= 3
    assert all(later - earlier >= 10 for earlier, later in pairwise(taken_s))
    assert asked <= 60


# A picture of the reel


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("b.ts", "libx264"), ("c.mp4", "libx265")])
def test_a_shot_is_the_picture_nearest_to_a_moment(name: str, codec: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / name, regular_times(frames=100, fps=25), codec=codec)
    reel = a_reel()
    wind(reel, path)
    with av.open(str(path), "r") as container:
        pictures = [picture.to_ndarray(format="bgr24") for picture in container.decode(video=0)]
    for number in (0, 24, 25, 49, 73):
        shot = reel.shot(START_NS + round((number + 0.3) / 25 * NS_PER_S))
        assert shot is not None
        assert np.array_equal(shot.bgr, pictures[number])
        assert shot.mono_ns - START_NS == pytest.approx(number / 25 * NS_PER_S, abs=1e5)
    assert reel.shot(START_NS + 6 * NS_PER_S) is None
    assert reel.shot(START_NS - 1) is None


@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_shot_decodes_no_more_than_its_cost_allows(
    b_frames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One group of 100 pictures, four seconds; thirty of them may be decoded. Then the keyframe of the next."""
    path = write_clip(tmp_path / "a.mp4", regular_times(frames=102, fps=25), keyframe_every=100, b_frames=b_frames)
    reel = a_reel()
    wind(reel, path, fps=25)
    decoded_pictures: list[int] = []
    monkeypatch.setattr("edge.capture.reel.SHOT_PX_MAX", 30 * 320 * 240)
    monkeypatch.setattr("edge.capture.reel._decoded", counting(decoded_pictures))
    for at_s, shown_s in ((0.0, 0.0), (0.8, 0.8), (1.4, 1.16), (2.1, 1.16), (3.2, 4.0), (4.0, 4.0)):
        shot = reel.shot(START_NS + round(at_s * NS_PER_S))
        assert shot is not None
        shown = (shot.mono_ns - START_NS) / NS_PER_S
        print(f"asked for {at_s} s: {shown:.2f} s, {decoded_pictures[-1]} pictures decoded")
        assert shown == pytest.approx(shown_s, abs=0.09)
        assert moment_of(shot.bgr) == pytest.approx(shown % PERIOD_S, abs=0.06)
    assert reel.shot(START_NS + round(2.6 * NS_PER_S)) is None
    assert reel.shot(START_NS + round(2.7 * NS_PER_S)) is None
    assert max(decoded_pictures) <= 30
    assert (caplog.text.count("too far from a keyframe"), reel.too_far) == (1, 2)


def counting(counts: list[int]) -> Callable[..., UInt8 | None]:
    """The reel's own way to decode; how many packets it is given is noted."""

    def decoded_and_counted(run: Any, packets: Any, wanted: Any) -> UInt8 | None:
        counts.append(len(packets))
        return reel_decoded(run, packets, wanted)

    return decoded_and_counted


# Real streams


@pytest.fixture
def captures() -> Any:
    made: list[tuple[threading.Event, threading.Thread]] = []

    def read(
        url: str, reel: Reel, *, undecoded: bool, take: Callable[[Frame], None] = lambda frame: None
    ) -> LiveCapture:
        stop = threading.Event()
        capture = LiveCapture(
            url,
            camera="gate",
            fps=5,
            stop=stop,
            reel=reel,
            undecoded=undecoded,
            pause=lambda rest_s: stop.wait(min(rest_s, 0.2)),  # it is asked again sooner than in the street
        )

        def run() -> None:
            for frame in capture:
                take(frame)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        made.append((stop, thread))
        return capture

    yield read
    for stop, _ in made:
        stop.set()
    for _, thread in made:
        thread.join(WAIT_S)


def wait_for(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until_s, "it did not happen"
        time.sleep(0.05)


def test_both_streams_of_a_camera_show_the_same_moment_and_the_main_one_comes_back(
    tmp_path: Path, captures: Any
) -> None:
    """One clip as a sub and as a main stream; the bright square tells the time of each picture."""
    clip = write_clip(tmp_path / "a.mp4", regular_times(frames=98, fps=15), width=640, height=480, rate=15)
    recipe = {"source": clip, "fps": 15, "duration_s": 6.5}  # two rounds of the square, so that the loop has no jump
    small = make_stream(tmp_path, Recipe(width=320, height=240, **recipe))  # type: ignore[arg-type]
    wide = make_stream(tmp_path, Recipe(width=640, height=480, group_s=1.0, **recipe))  # type: ignore[arg-type]
    frames: list[Frame] = []
    with StreetCameras() as cameras:
        cameras.add("/sub", small)
        cameras.add("/main", wide)
        sub, main = (Reel("gate", keep_ns=15 * NS_PER_S, bytes_max=16_000_000, source=one) for one in (ANALYSED, MAIN))
        captures(cameras.url("/sub"), sub, undecoded=False, take=frames.append)
        reading = captures(cameras.url("/main"), main, undecoded=True)
        wait_for(lambda: len(frames) > 12)
        off_s = []
        for frame in frames[-8:-2]:
            shot = main.shot(frame.mono_ns)
            assert shot is not None
            assert shot.bgr.shape == (480, 640, 3)
            off_s.append((moment_of(shot.bgr) - moment_of(frame.bgr) + PERIOD_S / 2) % PERIOD_S - PERIOD_S / 2)
        print(f"the main stream's pictures are {min(off_s):+.3f} to {max(off_s):+.3f} s off those of the sub stream")
        at_ns = frames[-5].mono_ns
        footage = MainFirst(main, sub).cut(at_ns - NS_PER_S, at_ns, at_ns=at_ns)
        shown = pictures_of(footage.content)
        assert footage.source == MAIN
        assert 15 <= len(shown) <= 46
        assert {one.pixels for one in shown} <= decoded(wide)
        cameras.drop("/main")
        wait_for(lambda: not reading.state.connected)
        cameras_seen = len(frames)
        wait_for(lambda: reading.state.connected and main.shot(frames[-1].mono_ns) is not None)
        assert len(frames) > cameras_seen  # the analysed stream did not wait for it
    assert max(abs(each) for each in off_s) <= 1 / 15 + 0.01


def decoded(stream: Stream) -> set[bytes]:
    """Its pictures, as the camera coded them."""
    decoder = av.CodecContext.create("h264", "r")
    packets = [*(av.Packet(unit) for unit in stream.units()), None]
    return {picture.to_ndarray().tobytes() for packet in packets for picture in decoder.decode(packet)}


def moment_of(bgr: UInt8) -> float:
    """Seconds, by where the square of `tests.clips.picture` is: it moves a quarter of the width a second."""
    row = bgr[bgr.shape[0] * 3 // 8, :, 2].astype(int) - bgr[10, :, 2]
    bright = np.flatnonzero(row > 40)
    return float(bright[0]) * 4 / bgr.shape[1]


def test_the_state_of_the_main_stream_is_told_as_it_is() -> None:
    capture: Any = SimpleNamespace(state=SimpleNamespace(connected=False, reason="refused"), seen_ns=0)
    reading = MainStreamReading(capture, None)
    assert reading.state(NS_PER_S) == "refused"
    capture.state.connected, capture.seen_ns = True, NS_PER_S
    assert reading.state(2 * NS_PER_S) == "streaming"
    assert reading.state(2 * NS_PER_S + SILENT_NS) == "no-frames"


def test_a_file_may_stand_in_for_a_main_stream(tmp_path: Path, captures: Any) -> None:
    clip = write_clip(tmp_path / "a.mp4", regular_times(frames=50, fps=25))
    reel = a_reel()
    captures(str(clip), reel, undecoded=True)
    wait_for(lambda: reel.shot(SystemClock().mono_ns()) is not None)
    assert reel.held_bytes > 0
