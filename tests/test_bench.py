"""The test bench itself: what its cameras claim to send is what a real client (FFmpeg in PyAV) receives."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.bench import impostors
from tests.bench.cameras import StreetCameras
from tests.bench.mutations import KINDS, Corruption, spoil
from tests.bench.scenes import PLAZA_CLIP, car_park, plaza
from tests.bench.streams import BLACK, COVERED, FROZEN, MOVED, Recipe, Stream, make_stream

SHORT = Recipe(PLAZA_CLIP, crop="768:432:0:0", duration_s=2.0, group_s=1.0)
TICK_NS = 1e9 / 90_000  # of RTP's clock for video
QUICK = {"analyzeduration": "100000", "probesize": "100000"}  # open after the first pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("streams")


@pytest.fixture(scope="module")
def short(folder: Path) -> Stream:
    return make_stream(folder, SHORT)


@pytest.fixture(scope="module")
def cameras() -> Iterator[StreetCameras]:
    with StreetCameras() as cameras:
        yield cameras


def watch(url: str, *, transport: str = "tcp", read_s: float = 3.0) -> av.container.InputContainer:
    return av.open(url, options={"rtsp_transport": transport, **QUICK}, timeout=(5.0, read_s))


def packets(container: av.container.InputContainer, count: int) -> list[av.Packet]:
    found = []
    for packet in container.demux(video=0):
        found.append(packet)
        if len(found) == count:
            return found
    raise AssertionError(f"the stream ended after {len(found)} of {count} packets")


def times_s(frames: list[av.VideoFrame]) -> np.ndarray:
    # FFmpeg gives the very first unit of an RTSP stream no time; the second shows that it is 0.
    return np.array([float((frame.pts or 0) * frame.time_base) for frame in frames])


def pictures(url: str, count: int, *, transport: str = "tcp") -> list[av.VideoFrame]:
    with watch(url, transport=transport) as container:
        found = []
        for frame in container.decode(video=0):
            found.append(frame)
            if len(found) == count:
                return found
    raise AssertionError(f"the stream ended after {len(found)} of {count} pictures")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize(("codec", "b_frames"), [("h264", 0), ("h264", 2), ("h265", 0), ("h265", 2)])
def test_times_are_those_of_the_media_through_every_loop(
    cameras: StreetCameras, folder: Path, transport: str, codec: str, b_frames: int
) -> None:
    stream = make_stream(folder, replace(SHORT, codec=codec, b_frames=b_frames))
    path = f"/times-{transport}-{codec}-{b_frames}"
    pace = 8.0
    found = pictures(cameras.add(path, stream, pace=pace), 75, transport=transport)
    steps_s = np.diff(times_s(found))
    print(f"{transport} {codec} with {b_frames} B-frames: steps of {steps_s.min():.5f} to {steps_s.max():.5f} s")
    assert len(found) > 2 * len(stream.pts_ns)
    assert steps_s == pytest.approx(1 / stream.fps / pace, abs=2.1 * TICK_NS / 1e9)
    assert {(frame.width, frame.height) for frame in found} == {(640, 360)}
    assert cameras.stats(path)["overflowed"] == 0


def test_pictures_come_at_the_pace_of_the_clock(cameras: StreetCameras, short: Stream) -> None:
    with watch(cameras.add("/pace", short)) as container:
        packets(container, 15)
        begin_s = time.monotonic()
        packets(container, 30)
        took_s = time.monotonic() - begin_s
    print(f"30 pictures at 15 a second took {took_s:.2f} s")
    assert took_s == pytest.approx(2.0, abs=0.4)


def test_every_connection_begins_with_a_keyframe_and_sends_what_the_encoder_made(
    cameras: StreetCameras, short: Stream
) -> None:
    url = cameras.add("/keys", short, pace=8.0)
    made = set(short.units())
    for _ in range(5):
        with watch(url) as container:
            found = packets(container, 30)
            assert found[0].is_keyframe
            assert all(found[0].decode())
    sent = sum(any(bytes(packet).endswith(unit[-64:]) for unit in made) for packet in found)
    assert sent == len(found)


def test_two_clients_of_a_camera_do_not_disturb_each_other(cameras: StreetCameras, short: Stream) -> None:
    url = cameras.add("/two", short, pace=4.0)
    with watch(url) as first:
        packets(first, 10)
        with watch(url) as second:
            packets(second, 10)
            assert cameras.stats("/two")["clients"] == 2
        cameras.wait_for("disconnected", "/two")
        packets(first, 40)


def test_a_paused_camera_keeps_its_connection_and_goes_on_with_the_time_of_now(
    cameras: StreetCameras, short: Stream
) -> None:
    with watch(cameras.add("/pause", short)) as container:
        packets(container, 10)
        cameras.pause("/pause")
        pushed = cameras.stats("/pause")["pushed"]
        time.sleep(1.5)
        assert cameras.stats("/pause")["pushed"] == pushed
        assert cameras.stats("/pause")["clients"] == 1
        assert cameras.seen("disconnected", "/pause") == 0
        cameras.resume("/pause")
        after = packets(container, 30)
    steps_s = np.diff([float(packet.pts * packet.time_base) for packet in after if packet.pts is not None])
    print(f"the pause is a step of {steps_s.max():.2f} s")
    assert 1.4 < steps_s.max() < 2.2
    assert np.sort(steps_s)[:-1] == pytest.approx(1 / 15, abs=1e-4)


def test_a_client_of_a_paused_camera_times_out(cameras: StreetCameras, short: Stream) -> None:
    with watch(cameras.add("/silent", short), read_s=1.0) as container:
        cameras.pause("/silent")
        with pytest.raises(av.error.FFmpegError):
            packets(container, 100)


@pytest.mark.parametrize("all_of_them", [False, True])
def test_a_hung_camera_answers_nothing_and_wakes_up(short: Stream, all_of_them: bool) -> None:
    with StreetCameras() as cameras:
        url, other = cameras.add("/hung", short, pace=4.0), cameras.add("/other", short, pace=4.0)
        cameras.hang(None if all_of_them else "/hung")
        with pytest.raises(av.error.FFmpegError):
            av.open(url, options={"rtsp_transport": "tcp"}, timeout=(1.0, 1.0))
        if not all_of_them:
            assert len(pictures(other, 10)) == 10
        cameras.wake(None if all_of_them else "/hung")
        assert len(pictures(url, 10)) == 10


def test_dropped_clients_see_the_end_at_once_and_may_come_back(cameras: StreetCameras, short: Stream) -> None:
    url = cameras.add("/drop", short, pace=4.0)
    with watch(url) as container:
        packets(container, 5)
        assert cameras.drop("/drop") == 1
        begin_s = time.monotonic()
        with pytest.raises((AssertionError, av.error.FFmpegError)):
            packets(container, 1000)
        assert time.monotonic() - begin_s < 2.0
    cameras.wait_for("disconnected", "/drop")
    assert len(pictures(url, 5)) == 5


def test_a_camera_comes_back_with_another_resolution_and_codec(
    cameras: StreetCameras, folder: Path, short: Stream
) -> None:
    url = cameras.add("/switch", short, pace=4.0)
    assert pictures(url, 3)[0].width == 640
    cameras.switch("/switch", make_stream(folder, replace(SHORT, codec="h265", width=320, height=176)))
    with watch(url) as container:
        assert container.streams.video[0].codec_context.name == "hevc"
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height) == (320, 176)


def test_a_view_changes_without_a_new_connection(cameras: StreetCameras, folder: Path, short: Stream) -> None:
    black = make_stream(folder, replace(SHORT, view=BLACK))
    with watch(cameras.add("/view", short, pace=4.0)) as container:
        seen = container.decode(video=0)
        assert next(seen).to_ndarray(format="gray").std() > 30
        cameras.switch("/view", black, drop=False)
        darkest = min(next(seen).to_ndarray(format="gray").mean() for _ in range(60))
    assert darkest < 20
    assert cameras.seen("disconnected", "/view") == 0


def test_a_frozen_camera_repeats_one_picture_with_new_times(cameras: StreetCameras, short: Stream) -> None:
    url = cameras.add("/frozen", short, pace=4.0)
    cameras.freeze("/frozen")
    with watch(url) as container:
        found = packets(container, 20)
        assert len({bytes(packet) for packet in found[1:]}) == 1
        times = [packet.pts for packet in found[1:]]
        assert all(np.diff(times) > 0)
        stills = [packet.decode()[0].to_ndarray(format="bgr24") for packet in found[1:]]
        assert all(np.array_equal(still, stills[0]) for still in stills)
        cameras.thaw("/frozen")
        assert len({bytes(packet) for packet in packets(container, 40)}) > 10


@pytest.mark.parametrize("schemes", [["basic"], ["digest"], ["basic", "digest"]])
def test_a_password_is_asked_for_by_both_schemes(cameras: StreetCameras, short: Stream, schemes: list[str]) -> None:
    path = f"/guarded-{'-'.join(schemes)}"
    url = cameras.add(path, short, pace=4.0, user="viewer", password="s3cret/@ 一", schemes=schemes)
    assert len(pictures(url, 3)) == 3
    for user, password in [("", ""), ("viewer", "wrong"), ("nobody", "s3cret/@ 一")]:
        with pytest.raises(av.error.HTTPUnauthorizedError):
            watch(cameras.url(path, user=user, password=password))
    assert f"WWW-Authenticate: {schemes[-1].title()}" in describe(cameras, path)


def describe(cameras: StreetCameras, path: str) -> str:
    """The server's raw answer to DESCRIBE."""
    with socket.create_connection(("127.0.0.1", cameras.port), timeout=5.0) as connection:
        connection.sendall(f"DESCRIBE {cameras.url(path)} RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
        return connection.recv(4096).decode()


def test_a_wrong_path_is_not_found(cameras: StreetCameras) -> None:
    with pytest.raises(av.error.HTTPNotFoundError):
        watch(cameras.url("/nowhere"))


def test_corruption_follows_from_the_seed_alone(short: Stream) -> None:
    units = short.units() * 10
    corruption = Corruption(seed=7, probability=0.3)
    once, touched = spoil(units, corruption)
    again, _ = spoil(units, corruption)
    other, _ = spoil(units, Corruption(seed=8, probability=0.3))
    print(f"{touched} of {len(units)} units were touched")
    assert once == again != other
    assert {corruption.fate(number) for number in range(len(units))} == {None, *KINDS}
    assert touched == sum(corruption.fate(number) is not None for number in range(len(units)))
    assert spoil(units, Corruption(seed=7, probability=0.0)) == (units, 0)


def test_corrupted_units_are_counted_and_cleaning_ends_them(cameras: StreetCameras, short: Stream) -> None:
    url = cameras.add("/corrupt", short, pace=20.0)
    cameras.corrupt("/corrupt", seed=3, kinds=["bitflip"], probability=1.0)
    made = set(short.units())
    with watch(url) as container:
        packets(container, 100)
        stats = cameras.stats("/corrupt")
        assert stats["mutated"] >= stats["pushed"] - 2 > 50
        assert stats["mutated_by_kind"] == {"bitflip": stats["mutated"]}
        cameras.clean("/corrupt")
        packets(container, 300)
        whole = sum(any(bytes(packet).endswith(unit[-64:]) for unit in made) for packet in packets(container, 20))
    assert whole == 20


def test_a_rebooted_camera_has_its_old_address(short: Stream) -> None:
    with StreetCameras() as cameras:
        url, pid = cameras.add("/reboot", short, pace=4.0), cameras.pid
        with watch(url) as container:
            packets(container, 5)
            cameras.kill()
            with pytest.raises((AssertionError, av.error.FFmpegError)):
                packets(container, 1000)
        with pytest.raises(av.error.ConnectionRefusedError):
            watch(url)
        cameras.restart()
        assert cameras.pid != pid
        assert len(pictures(url, 5)) == 5


def test_the_death_of_the_server_fails_its_test(short: Stream) -> None:
    cameras = StreetCameras()
    cameras.start()
    with pytest.raises(ValueError, match="/gone"):
        cameras.drop("/gone")
    os.kill(cameras.pid, 9)
    with pytest.raises(AssertionError, match=r"no answer|ended by itself"):
        cameras.add("/late", short)
    with pytest.raises(AssertionError, match="ended by itself"):
        cameras.__exit__(None, None, None)


@pytest.mark.slow
def test_hundreds_of_reconnects_do_not_make_the_server_grow(short: Stream) -> None:
    with StreetCameras() as cameras:
        url = cameras.add("/again", short, pace=20.0)
        sizes = []
        for round_of_50 in range(4):
            for number in range(50):
                with watch(url, transport="udp" if number % 5 == 0 else "tcp") as container:
                    packets(container, 1)
            cameras.wait_for("disconnected", "/again", count=50 * (round_of_50 + 1))
            sizes.append((proportional_kib(cameras.pid), len(os.listdir(f"/proc/{cameras.pid}/fd"))))
        print(f"PSS in KiB and descriptors after every 50 connections: {sizes}")
        assert cameras.stats("/again")["connections"] == 200
        assert cameras.stats("/again")["clients"] == cameras.client_count() == 0
    assert sizes[-1][0] < 1.1 * sizes[0][0]
    assert sizes[-1][1] <= sizes[0][1] + 2


def proportional_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


@pytest.mark.slow
@pytest.mark.alone
def test_sixteen_cameras_cost_little_of_a_core(folder: Path) -> None:
    """640x360 at 15 fps each: the bench stands beside the gateway on two cores."""
    stream = make_stream(folder, replace(plaza().recipe, duration_s=10.0))
    with StreetCameras() as cameras:
        watched = [watch(cameras.add(f"/street-{number}", stream)) for number in range(16)]
        try:
            seconds = 8.0
            begin_s, busy_s = time.monotonic(), processor_s(cameras.pid)
            for _ in range(int(seconds * stream.fps)):
                for container in watched:
                    next(container.demux(video=0))
            share = (processor_s(cameras.pid) - busy_s) / (time.monotonic() - begin_s)
            pushed = [cameras.stats(f"/street-{number}") for number in range(16)]
        finally:
            for container in watched:
                container.close()
    units = sum(stats["pushed"] for stats in pushed)
    print(f"16 cameras of 640x360 at 15 fps: {share:.3f} of a core for {units} units")
    assert all(stats["overflowed"] == 0 for stats in pushed)
    assert share < 0.25


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def luma(stream: Stream, count: int) -> list[np.ndarray]:
    with av.open(str(stream.index.with_suffix(f".{stream.codec}"))) as container:
        return [
            frame.to_ndarray(format="gray") for _, frame in zip(range(count), container.decode(video=0), strict=False)
        ]


def test_views_are_black_covered_moved_and_frozen(folder: Path, short: Stream) -> None:
    normal = luma(short, 30)
    black = luma(make_stream(folder, replace(SHORT, view=BLACK)), 30)
    covered = luma(make_stream(folder, replace(SHORT, view=COVERED)), 30)
    moved = luma(make_stream(folder, replace(SHORT, view=MOVED)), 30)
    frozen = luma(make_stream(folder, replace(SHORT, view=FROZEN)), 30)
    print(f"standard deviations: {normal[0].std():.0f}, covered {covered[0].std():.1f}, black {black[0].std():.1f}")
    assert black[-1].max() <= 20
    assert covered[-1].std() < 12
    assert covered[-1].mean() > 5
    assert normal[0].std() > 30
    assert moved[0].std() > 30
    assert np.abs(moved[0].astype(int) - normal[0]).mean() > 20
    assert max(np.abs(picture.astype(int) - frozen[0]).mean() for picture in frozen) < 2.0  # what encoding again makes
    assert np.abs(normal[-1].astype(int) - normal[0]).mean() > 1.0


def test_a_stream_is_made_once(folder: Path, short: Stream) -> None:
    stamp = short.index.stat().st_mtime_ns
    again = make_stream(folder, SHORT)
    assert again == short
    assert again.index.stat().st_mtime_ns == stamp
    assert short.keys == tuple(number % 15 == 0 for number in range(30))


def test_a_car_stands_in_the_parked_scene_from_end_to_end(folder: Path, media: Path) -> None:
    scene = car_park(media)
    stream = make_stream(folder, scene.recipe)
    x1, y1, x2, y2 = scene.box_px
    crops = [picture[y1:y2, x1:x2].astype(int) for picture in luma(stream, 360)[::30]]
    changes = [float(np.abs(crop - crops[0]).mean()) for crop in crops]
    print(f"the car's pixels change by {max(changes):.1f} of 255 at most")
    assert stream.duration_s == 24.0
    assert max(changes) < 12


def test_impostors_are_what_they_say(short: Stream) -> None:
    with impostors.ssh_port() as port, socket.create_connection(("127.0.0.1", port), timeout=2.0) as peer:
        assert peer.recv(100).startswith(b"SSH-2.0-")
    with impostors.http_port() as port, socket.create_connection(("127.0.0.1", port), timeout=2.0) as peer:
        peer.sendall(b"OPTIONS rtsp://x RTSP/1.0\r\nCSeq: 1\r\n\r\n")
        assert peer.recv(1000).startswith(b"HTTP/1.1 400 ")
    with impostors.silent_port() as port, socket.create_connection(("127.0.0.1", port), timeout=0.5) as peer:
        peer.sendall(b"OPTIONS rtsp://x RTSP/1.0\r\nCSeq: 1\r\n\r\n")
        with pytest.raises(TimeoutError):
            peer.recv(100)
    with impostors.closed_port() as port, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=2.0)


def test_an_mjpeg_camera_sends_real_pictures_for_ever(short: Stream) -> None:
    with av.open(str(short.index.with_suffix(".h264"))) as container:
        jpegs = [
            cv2.imencode(".jpg", frame.to_ndarray(format="bgr24"))[1].tobytes()
            for _, frame in zip(range(5), container.decode(video=0), strict=False)
        ]
    with impostors.mjpeg_camera(jpegs, fps=50.0) as url:
        capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
        try:
            seen = [capture.read() for _ in range(12)]
        finally:
            capture.release()
    assert all(ok for ok, _ in seen)
    assert seen[0][1].shape == (360, 640, 3)
