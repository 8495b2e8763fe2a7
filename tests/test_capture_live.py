"""A live camera: reconnecting without an end, honest times, and nothing invented.

Real streams; the retry loop is tested with a clock that the test moves.
"""

from __future__ import annotations

import contextlib
import gc
import http.server
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from edge.capture.arrival import Arrivals
from edge.capture.clean import CleanDecoder
from edge.capture.connection import BrokenOffError, Picture
from edge.capture.gating import VideoPacket
from edge.capture.live import LiveCapture
from edge.capture.sampling import Sampler
from edge.core.pixels import Plain
from edge.core.types import NS_PER_S, Frame, UInt8
from edge.errors import CaptureError
from edge.ports import CameraCapture, CaptureCounts, CaptureState, Decoding, SourceInfo
from tests.bench.cameras import StreetCameras
from tests.bench.streams import Recipe, Stream, make_stream
from tests.clips import picture, regular_times, write_clip

INFO = SourceInfo(width_px=8, height_px=6, fps=0.0, codec="h264", duration_s=0.0, frames_declared=0, created_wall_ns=0)
LIMIT_S = 30.0
RECONNECTS = int(os.environ.get("EDGE_RECONNECTS", "40"))  # hundreds by hand


class HandClock:
    """Moves when it is told to, and by every pause."""

    def __init__(self) -> None:
        self.now_ns = 100 * NS_PER_S
        self.wall_minus_mono_ns = 1_700_000_000 * NS_PER_S
        self.pauses_s: list[float] = []

    def mono_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return self.now_ns + self.wall_minus_mono_ns

    def pause(self, seconds: float) -> bool:
        self.pauses_s.append(seconds)
        self.now_ns += round(seconds * NS_PER_S)
        return False


class Script:
    """A connection that plays a list: seconds to wait before a picture, or an error to end with."""

    def __init__(self, clock: HandClock, steps: list[float | CaptureError]) -> None:
        self.info = INFO
        self.camera_ns: int | None = None
        self.behind_ns = 0
        self.looks_back = False
        self.decoding = Decoding("all", "")
        self.closed = False
        self._clock = clock
        self._steps = steps

    def steps(self) -> Iterator[Picture | None]:
        for step in self._steps:
            if isinstance(step, CaptureError):
                raise step
            self._clock.now_ns += round(step * NS_PER_S)
            yield Picture(
                stamp_ns=None, keyframe=False, size_px=(8, 6), pixels=lambda: Plain(np.zeros((6, 8, 3), np.uint8))
            )

    def close(self) -> None:
        self.closed = True


def scripted(
    clock: HandClock, turns: list[list[float | CaptureError] | CaptureError], source: str = "rtsp://gate/1"
) -> tuple[LiveCapture, list[CaptureState]]:
    """A capture whose openings go as listed, and the states that it told."""
    states: list[CaptureState] = []
    waiting = iter(turns)
    stop = threading.Event()

    def open_with(counts: CaptureCounts) -> Script:
        turn = next(waiting, None)
        if turn is None:
            stop.set()
            raise CaptureError("the script is over")
        if isinstance(turn, CaptureError):
            raise turn
        return Script(clock, turn)

    capture = LiveCapture(
        source,
        camera="gate",
        fps=1000,
        stop=stop,
        changed=states.append,
        clock=clock,
        pause=clock.pause,
        open_with=open_with,
        find_reason=lambda source, error: ("refused", str(error)),
    )
    return capture, states


def gone(reason: str = "no-data") -> BrokenOffError:
    return BrokenOffError("gone", reason=reason)


def test_a_camera_is_never_given_up() -> None:
    clock = HandClock()
    closed = CaptureError("closed")
    capture, states = scripted(clock, [*[closed] * 200, [0.1, 0.1, gone()], [0.1]])
    frames = list(capture)
    assert len(frames) == 3
    assert len(clock.pauses_s) == 202
    assert all(3.0 <= pause_s <= 5.0 for pause_s in clock.pauses_s)
    assert [(state.connected, state.reason) for state in states] == [
        (False, "refused"),
        (True, ""),
        (False, "no-data"),
        (True, ""),
        (False, "ended"),
        (False, "refused"),
    ]
    assert capture.counts.reconnects == 1


def test_a_wrong_password_is_tried_rarely_and_the_wait_beats() -> None:
    """Cameras lock after a few wrong passwords, and stay locked while they are asked."""
    clock = HandClock()
    capture, _ = scripted(clock, [CaptureError("401")] * 8 + [[0.1, gone()], CaptureError("401")])
    tries_ns: list[int] = []
    silent_ns: list[int] = []

    def find_reason(*_: object) -> tuple[str, str]:
        tries_ns.append(clock.now_ns)
        return "wrong-password", "x"

    def pause(seconds: float) -> bool:
        silent_ns.append(clock.now_ns + round(seconds * NS_PER_S) - capture.beat_ns)
        return clock.pause(seconds)

    capture._find_reason, capture._pause = find_reason, pause
    list(capture)
    waits_s = np.diff(tries_ns)[:8] / NS_PER_S
    print(f"tried again after {np.round(waits_s)} s")
    assert (waits_s[:7] >= [60, 120, 240, 480, 600, 600, 600]).all()
    assert (waits_s[:7] <= 605).all()
    assert np.diff(tries_ns)[-1] < 66 * NS_PER_S, "after a connection it begins anew"
    assert max(silent_ns) <= 5 * NS_PER_S


def test_every_true_picture_is_seen_also_those_that_are_not_due() -> None:
    clock = HandClock()
    capture, _ = scripted(clock, [[0.1] * 50])
    capture._sampler = Sampler(0.5)
    assert capture.seen_ns == 0
    frames = list(capture)
    assert len(frames) == 3
    assert capture.seen_ns == 105 * NS_PER_S


def test_a_file_that_loses_its_pictures_is_tried_again_after_a_while() -> None:
    clock = HandClock()
    capture, states = scripted(clock, [[0.1, 0.1], [0.1], [], []], "/clips/gate.mp4")
    assert len(list(capture)) == 3
    assert len(clock.pauses_s) == 2, "none between two good turns, one after each turn that showed nothing"
    assert [state.reason for state in states] == ["", "nothing-decodes", "refused"]


def test_two_cameras_do_not_come_back_in_step() -> None:
    pauses = []
    for camera in ("gate", "yard", "gate"):
        clock = HandClock()
        capture, _ = scripted(clock, [CaptureError("x")] * 5)
        capture._retries.seed(camera)
        list(capture)
        pauses.append(clock.pauses_s)
    assert pauses[0] == pauses[2] != pauses[1]


def test_a_frame_after_a_break_or_a_long_gap_says_so() -> None:
    capture, _ = scripted(HandClock(), [[0.1, 0.1, 4.9, 5.1, 0.1, gone()], [0.1, 0.1]])
    assert [frame.resumed for frame in capture] == [True, False, False, True, False, True, False]


def test_since_tells_when_the_camera_went_and_not_when_it_was_last_tried() -> None:
    clock = HandClock()
    capture, states = scripted(clock, [[0.1, gone("no-data")], CaptureError("x"), CaptureError("x"), [0.1]])
    list(capture)
    lost = [state for state in states if not state.connected][:2]
    assert [state.reason for state in lost] == ["no-data", "refused"]
    assert lost[0].since_wall_ns == lost[1].since_wall_ns


def test_a_step_of_the_wall_clock_is_followed_with_the_next_frame() -> None:
    clock = HandClock()
    capture, _ = scripted(clock, [[0.1, 0.1]])
    frames = iter(capture)
    first = next(frames)
    clock.wall_minus_mono_ns += 3600 * NS_PER_S
    second = next(frames)
    assert second.mono_ns - first.mono_ns == NS_PER_S // 10
    assert second.wall_ns - first.wall_ns == pytest.approx(3600.1 * NS_PER_S, abs=1000)


def test_what_waited_for_us_is_no_offset_of_the_cameras_clock() -> None:
    """The camera is 2 s ahead; its reports are read up to 1.4 s late, and that much is known."""
    clock = HandClock()
    script = Script(clock, [1.0] * 3)
    capture, _ = scripted(clock, [])
    capture._open = lambda counts: script
    frames, offsets_s = iter(capture), []
    for late_s in (0.0, 0.9, 1.4):
        script.camera_ns = clock.wall_ns() + round((3 - late_s) * NS_PER_S)
        script.behind_ns = round(late_s * NS_PER_S)
        next(frames)
        offsets_s.append(capture.clock_offset_s)
    capture.close()
    print(offsets_s)
    assert offsets_s == pytest.approx([2.0, 2.0, 2.0], abs=0.002)


def test_jitter_is_smoothed_and_jumps_are_followed() -> None:
    arrivals = Arrivals()
    rng = np.random.default_rng(5)
    taken, placed, now = [], [], 0
    for number in range(500):
        stamp = number * 40_000_000 + (7_000_000_000_000 if number >= 250 else 0)
        now = max(now, number * 40_000_000 + int(rng.exponential(15e6)))
        placed.append(arrivals.place(stamp, now))
        taken.append(number * 40_000_000)
    errors_ms = np.abs(np.array(placed) - taken)[20:250] / 1e6
    print(f"off by {errors_ms.mean():.1f} ms on average, {errors_ms.max():.1f} at worst")
    assert errors_ms.max() < 10
    assert arrivals.reanchored == 1
    assert (np.diff(placed) > 0).all()


@pytest.mark.parametrize("wrong", [1.0003, 0.9997])
def test_a_camera_whose_crystal_is_wrong_stays_in_step(wrong: float) -> None:
    arrivals = Arrivals()
    off = [abs(arrivals.place(round(n * 4e7 * wrong), n * 40_000_000) - n * 40_000_000) for n in range(90_000)]
    assert max(off) < 20_000_000
    assert arrivals.reanchored == 0


def test_times_go_forward_whatever_the_stamps_say() -> None:
    arrivals = Arrivals()
    rng = np.random.default_rng(1)
    placed = [arrivals.place(int(rng.integers(-(10**12), 10**12)), n * 1_000_000) for n in range(2000)]
    arrivals.break_off()
    placed += [arrivals.place(None, 2_000_000_000 + n) for n in range(10)]
    assert (np.diff(placed) > 0).all()


# --- real streams


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stream]:
    """Four seconds of a moving square in both codecs, and a small one."""
    folder = tmp_path_factory.mktemp("live")
    clip = write_clip(folder / "a.mp4", regular_times(frames=100, fps=25), rate=25, b_frames=0)
    made = {
        c: make_stream(folder, Recipe(clip, codec=c, width=320, height=240, fps=25, duration_s=4.0))
        for c in ("h264", "h265")
    }
    return {
        **made,
        "small": make_stream(folder, Recipe(clip, codec="h265", width=160, height=120, fps=25, duration_s=4.0)),
    }


@pytest.fixture
def cameras() -> Iterator[StreetCameras]:
    with StreetCameras() as running:
        yield running


def watch(url: str, *, transport: str = "tcp", fps: float = 25.0, retry_s: float | None = None) -> LiveCapture:
    stop = threading.Event()
    pause: Callable[[float], bool] | None = None if retry_s is None else lambda _: stop.wait(retry_s)
    return LiveCapture(url, camera="gate", fps=fps, stop=stop, transport=transport, pause=pause)


def take(frames: Iterator[Frame], count: int) -> list[Frame]:
    return [next(frames) for _ in range(count)]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_frames_come_quickly_over_every_transport(
    codec: str, transport: str, cameras: StreetCameras, streams: dict[str, Stream]
) -> None:
    capture: CameraCapture = watch(cameras.add("/gate", streams[codec]), transport=transport, fps=5)
    begin_ns = time.monotonic_ns()
    frames = iter(capture)
    first = next(frames)
    print(f"{codec} over {transport}: first frame after {(time.monotonic_ns() - begin_ns) / 1e6:.0f} ms")
    rest = take(frames, 10)
    late_ms = (time.monotonic_ns() - rest[-1].mono_ns) / 1e6
    assert first.resumed
    assert first.keyframe
    assert first.media_ns == -1
    assert first.size_px == (320, 240)
    steps_ms = np.diff([frame.mono_ns for frame in rest]) / 1e6
    assert steps_ms.mean() == pytest.approx(200, abs=15)
    assert late_ms < 500
    assert abs(time.time_ns() - rest[-1].wall_ns) < NS_PER_S
    assert capture.counts.decoded > 3 * capture.counts.yielded, "only those taken are converted and given out"
    assert capture.state.connected
    while capture.clock_offset_s is None:  # the camera's first report of its clock comes within five seconds
        next(frames)
        assert time.monotonic_ns() - begin_ns < LIMIT_S * NS_PER_S
    print(f"camera's clock: {capture.clock_offset_s * 1000:+.1f} ms, {capture.counts}")
    assert abs(capture.clock_offset_s) < 1.0
    frames.close()  # type: ignore[attr-defined]


def test_a_camera_may_come_back_with_another_size_and_codec(cameras: StreetCameras, streams: dict[str, Stream]) -> None:
    capture = watch(cameras.add("/gate", streams["h264"]), retry_s=0.1)
    frames = iter(capture)
    take(frames, 5)
    cameras.switch("/gate", streams["small"])
    begin_ns = time.monotonic_ns()
    changed = next(frame for frame in frames if frame.size_px == (160, 120))
    print(f"the new picture came after {(time.monotonic_ns() - begin_ns) / 1e6:.0f} ms")
    assert changed.resumed
    assert (capture.info.width_px, capture.info.codec) == (160, "hevc")
    assert capture.counts.reconnects >= 1


def test_a_camera_may_change_its_size_in_mid_stream(cameras: StreetCameras, streams: dict[str, Stream]) -> None:
    capture = watch(cameras.add("/gate", streams["h265"]))
    frames = iter(capture)
    take(frames, 5)
    cameras.switch("/gate", streams["small"], drop=False)
    before = capture.counts.reconnects
    begin_ns = time.monotonic_ns()
    for frame in frames:
        if frame.size_px == (160, 120):
            break
        assert time.monotonic_ns() - begin_ns < LIMIT_S * NS_PER_S
    assert capture.info.width_px == 160
    assert capture.counts.reconnects == before


def test_damaged_units_are_withheld_and_counted(cameras: StreetCameras, streams: dict[str, Stream]) -> None:
    capture = watch(cameras.add("/gate", streams["h264"]))
    frames = iter(capture)
    take(frames, 5)
    cameras.corrupt("/gate", seed=3, kinds=["truncate", "drop"], probability=0.05)
    wrong = 0
    for frame in take(frames, 60):
        nearest = min(float(np.abs(frame.bgr.astype(int) - picture(n / 25)).mean()) for n in range(100))
        wrong += nearest > 4
    print(f"{wrong} of 60 frames show what was not there; {capture.counts}")
    assert wrong == 0
    assert capture.counts.corrupt > 0
    assert capture.counts.withheld > 0


@pytest.mark.slow
def test_many_reconnects_leak_nothing(cameras: StreetCameras, streams: dict[str, Stream]) -> None:
    capture = watch(cameras.add("/gate", streams["h264"]), retry_s=0.0)
    frames = iter(capture)
    waits_ms = []
    held = {}
    for turn in range(10 + RECONNECTS):
        take(frames, 2)
        cameras.drop("/gate")
        begin_ns = time.monotonic_ns()
        assert next(frame for frame in frames if frame.resumed).keyframe
        waits_ms.append((time.monotonic_ns() - begin_ns) / 1e6)
        if turn in (9, 9 + RECONNECTS):
            gc.collect()
            held[turn] = (len(os.listdir("/proc/self/fd")), threading.active_count(), _private_mib())
    before, after = held[9], held[9 + RECONNECTS]
    print(f"{RECONNECTS} reconnects, {np.median(waits_ms):.0f} ms each: fd, threads, MiB {before} -> {after}")
    assert after[0] <= before[0] + 1
    assert after[1] <= before[1]
    assert after[2] < before[2] + 5
    assert capture.counts.reconnects >= 10 + RECONNECTS


def test_stopping_ends_the_frames_promptly_even_in_a_pause() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        capture = watch(f"rtsp://127.0.0.1:{reserved.getsockname()[1]}/gate")
        thread = threading.Thread(target=lambda: list(capture))
        thread.start()
        deadline_ns = time.monotonic_ns() + 10 * NS_PER_S
        while capture.state.reason != "refused":
            assert time.monotonic_ns() < deadline_ns
            time.sleep(0.01)
        begin_ns = time.monotonic_ns()
        capture.close()
        thread.join(10)
        assert not thread.is_alive()
        assert time.monotonic_ns() - begin_ns < NS_PER_S


@pytest.mark.slow
@pytest.mark.alone
def test_a_hung_camera_is_noticed_and_its_beat_stands_still(cameras: StreetCameras, streams: dict[str, Stream]) -> None:
    capture = watch(cameras.add("/gate", streams["h264"]), retry_s=0.1)
    frames = iter(capture)
    take(frames, 5)
    cameras.hang()
    begin_ns = time.monotonic_ns()
    told: list[tuple[str, float]] = []
    capture._changed = lambda state: told.append((state.reason, (time.monotonic_ns() - begin_ns) / 1e9))
    waking = threading.Timer(12.0, cameras.wake)
    waking.start()
    back = next(frame for frame in frames if frame.resumed)
    waking.join()
    print(f"told {told}, back after {(time.monotonic_ns() - begin_ns) / 1e9:.1f} s")
    assert told[0][0] in ("no-data", "broke-off", "ended")
    assert told[0][1] < 10
    assert back.resumed


def test_a_file_is_played_at_its_own_pace_over_and_over(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", regular_times(frames=25, fps=25))
    capture = watch(str(path), fps=25)
    frames = iter(capture)
    begin_ns = time.monotonic_ns()
    shown = take(frames, 60)
    wall_s = (time.monotonic_ns() - begin_ns) / 1e9
    print(f"60 frames of a clip of 1 s in {wall_s:.2f} s")
    assert 2.0 < wall_s < 3.5
    assert [row for row, frame in enumerate(shown) if frame.resumed] == [0, 25, 50]
    assert (np.diff([frame.mono_ns for frame in shown]) > 0).all()


def test_cut_jpegs_over_http_are_withheld() -> None:
    seen = cv2.resize(np.random.default_rng(1).integers(0, 255, (30, 40, 3), np.uint8), (640, 360))
    whole = cv2.imencode(".jpg", seen)[1].tobytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
            self.end_headers()
            for number in range(100):
                data = whole if number % 4 != 3 else whole[: len(whole) // 2]
                head = b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
                try:
                    self.wfile.write(head + data + b"\r\n")
                except OSError:
                    return
                time.sleep(0.02)

        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        capture = watch(f"http://127.0.0.1:{server.server_port}/video.mjpg", fps=100)
        frames = iter(capture)
        shown = take(frames, 20)
        frames.close()  # type: ignore[attr-defined]
        server.shutdown()
    assert max(float(np.abs(frame.bgr.astype(int) - seen).mean()) for frame in shown) < 5
    print(capture.counts)
    assert capture.counts.withheld >= 5


class LossyCamera(socketserver.BaseRequestHandler):
    """RTSP with H.264 or H.265, one RTP packet missing now and then: what a full socket does to a real camera."""

    units: list[bytes]
    codec: str
    lose: int
    step_s: float = 0.02
    sent_ns: list[int]  # of each unit, mono

    def handle(self) -> None:
        self._ports: tuple[int, int] | None = None
        while True:
            question = self.request.recv(4096).decode()
            if not question:
                return
            number = next(line for line in question.split("\r\n") if line.lower().startswith("cseq"))
            method = question.split(" ")[0]
            extra, body = "", ""
            if method == "DESCRIBE":
                name = {"h264": "H264", "h265": "H265"}[self.codec]
                body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
                body += f"m=video 0 RTP/AVP 96\r\na=rtpmap:96 {name}/90000\r\na=control:t\r\n"
                extra = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            elif method == "SETUP":
                extra = "Session: 1\r\n" + self._transport(question)
            elif method != "OPTIONS":
                extra = "Session: 1\r\n"
            self.request.sendall(f"RTSP/1.0 200 OK\r\n{number}\r\n{extra}\r\n{body}".encode())
            if method == "PLAY":
                break
        try:
            self._play()
        except OSError:
            return

    def _transport(self, question: str) -> str:
        asked = next(line for line in question.split("\r\n") if line.lower().startswith("transport"))
        if "client_port=" in asked:
            first, second = asked.split("client_port=")[1].split(";")[0].split("-")
            self._ports = int(first), int(second)
            return f"{asked};server_port=50000-50001\r\n"
        return asked + "\r\n"

    def _play(self) -> None:
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sequence = 0
        begin_ns = time.monotonic_ns()
        for number in range(2000):
            due_ns = begin_ns + round(number * self.step_s * NS_PER_S)
            time.sleep(max(due_ns - time.monotonic_ns(), 0) / NS_PER_S)
            self.sent_ns.append(time.monotonic_ns())
            unit = self.units[number % len(self.units)]
            packets = list(rtp_payloads(unit, self.codec))
            for row, payload in enumerate(packets):
                sequence += 1
                if number > 20 and sequence % self.lose == 0:
                    continue
                mark = 0x80 if row == len(packets) - 1 else 0
                head = bytes((0x80, 96 | mark)) + (sequence % 65536).to_bytes(2, "big")
                data = head + (number * 3600).to_bytes(4, "big") + b"\0\0\0\1" + payload
                if self._ports is None:
                    self.request.sendall(b"$\0" + len(data).to_bytes(2, "big") + data)
                else:
                    sender.sendto(data, ("127.0.0.1", self._ports[0]))


def rtp_payloads(unit: bytes, codec: str) -> Iterator[bytes]:
    """An access unit as RTP payloads: whole units and fragments (RFC 6184, RFC 7798)."""
    for nal in (part.rstrip(b"\0") for part in unit.split(b"\0\0\1") if part.strip(b"\0")):
        if len(nal) < 1000:
            yield nal
            continue
        header = 1 if codec == "h264" else 2
        kind = nal[0] & 31 if codec == "h264" else nal[0] >> 1 & 63
        lead = bytes((nal[0] & 0xE0 | 28,)) if codec == "h264" else bytes((nal[0] & 0x81 | 49 << 1, nal[1]))
        pieces = [nal[at : at + 900] for at in range(header, len(nal), 900)]
        for row, piece in enumerate(pieces):
            yield lead + bytes(((row == 0) << 7 | (row == len(pieces) - 1) << 6 | kind,)) + piece


@contextlib.contextmanager
def serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[str]:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"rtsp://127.0.0.1:{server.server_address[1]}/gate"
        server.shutdown()


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_decoder_that_is_too_slow_leaves_pictures_out_and_tells_true_times(
    transport: str, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """25 pictures a second through a decoder that takes 50 ms for each, and after a while no more."""
    whole = CleanDecoder.decode
    slow = threading.Event()
    slow.set()

    def decode(self: CleanDecoder, packet: VideoPacket, *, lost: bool = False) -> Sequence[av.VideoFrame]:
        if slow.is_set():
            time.sleep(0.05)
        return whole(self, packet, lost=lost)

    monkeypatch.setattr(CleanDecoder, "decode", decode)
    recipe = Recipe(media / "carpark_light.mp4", width=320, height=180, fps=25, duration_s=4.0)
    sent_ns: list[int] = []
    kind = {"units": make_stream(tmp_path, recipe).units(), "codec": "h264", "lose": 10**9, "sent_ns": sent_ns}
    with serving(type("Handler", (LossyCamera,), {**kind, "step_s": 0.04})) as url:
        capture = watch(url, transport=transport, fps=100)
        place, placed, old_s = capture._place, [], []

        def watched(shown: Picture, arrived_ns: int) -> int:
            mono_ns = place(shown, arrived_ns)
            taken_ns = sent_ns[round((shown.stamp_ns or 0) / 40_000_000)]  # the first one has no stamp
            placed.append((mono_ns - taken_ns) / NS_PER_S)
            old_s.append((time.monotonic_ns() - taken_ns) / NS_PER_S)
            return mono_ns

        capture._place = watched  # type: ignore[method-assign]
        begin_ns = time.monotonic_ns()
        for _ in capture:
            if time.monotonic_ns() - begin_ns > 16 * NS_PER_S:
                slow.clear()
            if time.monotonic_ns() - begin_ns > 20 * NS_PER_S:
                break
    counts = capture.counts
    print(
        f"{transport}: {counts}; pictures up to {max(old_s):.2f} s old, {old_s[-1]:.2f} at the end; "
        f"times off by {np.abs(placed).max():.3f} s at most, {placed[-1]:.3f} at the end"
    )
    assert counts.skipped > 20
    assert counts.read - 3 <= counts.decoded + counts.skipped + counts.withheld <= counts.read
    assert counts.reanchored == 0
    assert np.abs(placed).max() < 0.8, "what had gathered while the stream was opened is not known to be old"
    assert abs(placed[-1]) < 0.2
    assert max(old_s) < 3.0
    assert old_s[-1] < 0.5


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_a_lost_rtp_packet_shows_nothing_that_was_not_there(
    codec: str, transport: str, media: Path, tmp_path: Path
) -> None:
    recipe = Recipe(media / "carpark_light.mp4", codec=codec, width=320, height=180, duration_s=4.0, group_s=1.0)
    stream = make_stream(tmp_path, recipe)
    handler = type("Handler", (LossyCamera,), {"units": stream.units(), "codec": codec, "lose": 97, "sent_ns": []})
    truth = decoded(stream)
    with serving(handler) as url:
        capture = watch(url, transport=transport, fps=100)
        frames = iter(capture)
        shown = take(frames, 120)
        frames.close()  # type: ignore[attr-defined]
    worst = [min(float(np.abs(frame.bgr[::4, ::4].astype(int) - true).mean()) for true in truth) for frame in shown]
    print(f"{codec} over {transport}: {capture.counts}; worst frame is off by {max(worst):.2f}")
    assert capture.counts.corrupt > 0
    assert max(worst) < 0.1


def decoded(stream: Stream) -> list[UInt8]:
    """Every picture of a clean decode, thinned to a sixteenth of its points."""
    with av.open(str(stream.index.with_suffix(f".{stream.codec}"))) as container:
        return [shown.to_ndarray(format="bgr24")[::4, ::4] for shown in container.decode(video=0)]


def _private_mib() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1024
