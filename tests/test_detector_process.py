"""The detector as a process of its own, asked by real workers, and killed while it works."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from edge.core.types import Detections, UInt8
from edge.detect.letterbox import Letterbox
from edge.detect.manifest import find_model, load_manifest
from edge.detect.session import OnnxDetector
from edge.errors import EdgeError
from edge.resources import configs_dir, models_dir
from edge.runtime.detector import DetectorLink, serve
from edge.runtime.remote import DetectorLostError, RemoteDetector
from edge.runtime.slots import SizeClass
from tests.detector_bench import Bench, ask_at_a_rate, ask_forever, bench, worker_processes
from tests.tiny_models import brightness_model, constant_model, write_model

YOLOX = find_model("yolox-nano", [models_dir()])
PLAZA = configs_dir() / "demo" / "plaza.mp4"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A model whose answer is the mean brightness of the picture: a wrong picture gives a wrong answer."""
    return write_model(tmp_path / "tiny", brightness_model(), format="yolo-e2e")


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """The same with pictures of usual size: writing one takes as long as on a gateway."""
    return write_model(tmp_path / "wide", brightness_model(), format="yolo-e2e", longest_side=640)


@pytest.fixture(scope="module")
def plaza() -> list[UInt8]:
    with av.open(str(PLAZA)) as container:
        frames = [frame for frame, _ in zip(container.decode(video=0), range(40), strict=False)]
    return [frame.to_ndarray(format="bgr24") for frame in frames[::5]]


def _square(level: int, side: int = 64) -> UInt8:
    return np.full((side, side, 3), level, np.uint8)


def _level(answer: Detections) -> int:
    """The brightness that the model saw; below 26 it is no box."""
    return round(float(answer.score[0]) * 255)


def _same(first: Detections, second: Detections) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ("xyxy", "score", "label"))


def _at_once(jobs: list[Callable[[], None]], limit_s: float = 60) -> None:
    """Each job in a thread of its own; all must end."""
    failures: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except (AssertionError, EdgeError) as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(limit_s)
    assert not any(thread.is_alive() for thread in threads), "a worker was never answered"
    assert not failures, failures


def _fds(pid: int | str = "self") -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _until(condition: Callable[[], bool], limit_s: float = 20) -> bool:
    end_s = time.perf_counter() + limit_s
    while not condition() and time.perf_counter() < end_s:
        time.sleep(0.01)
    return condition()


def test_the_answers_are_those_of_the_detector_in_the_same_process(plaza: list[UInt8]) -> None:
    own = OnnxDetector(load_manifest(YOLOX), threads=1)
    tall = [np.ascontiguousarray(picture[:, 100:300]) for picture in plaza]
    with bench(YOLOX) as running:
        detectors = [running.detector(f"camera-{row}") for row in range(4)]

        def ask(row: int) -> None:
            for picture in plaza[row::2] + tall[row::2]:
                assert _same(detectors[row].detect([picture])[0], own.detect([picture])[0])

        _at_once([lambda row=row: ask(row) for row in range(4)])  # type: ignore[misc]
        together = detectors[0].detect(plaza[:3] + tall[:2])
        assert all(map(_same, together, own.detect(plaza[:3] + tall[:2])))
        found = sum(map(len, together))
        counts = running.counts(lambda counts: counts.pictures == 33)
    print(f"{found} boxes in 5 pictures, all equal; {counts}")
    assert found > 10
    assert detectors[0].name == own.name
    assert detectors[0].labels == own.labels
    assert np.array_equal(detectors[0].groups, own.groups)


def test_a_model_of_a_fixed_size_tells_its_workers(tmp_path: Path) -> None:
    rows = np.array([[16, 8, 48, 40, 0.8, 1]], np.float32)
    folder = write_model(
        tmp_path / "fixed", constant_model([rows], height=64, width=64), format="yolo-e2e", fixed_px=[64, 64]
    )
    picture = np.zeros((32, 64, 3), np.uint8)  # of free size it would be fed 64x32
    with bench(folder) as running:
        answer = running.detector("camera").detect([picture])[0]
    assert answer.xyxy.tolist() == [[16, 8, 48, 32]]


def test_a_model_larger_than_its_slots_ends_with_a_reason(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_model(
        tmp_path / "large",
        constant_model([np.zeros((1, 6), np.float32)], height=128, width=96),
        format="yolo-e2e",
        fixed_px=[96, 128],
        longest_side=128,
    )
    running = Bench(folder)
    running.link.add("camera", SizeClass(side_px=64))
    running.start()
    assert running.process is not None
    running.process.join(30)
    assert running.process.exitcode == 1
    assert (
        "insists on 96x128, its slots hold 64 px a side: set longest_side in its manifest to 128"
        in capfd.readouterr().err
    )
    running.link.close()


def test_pictures_that_wait_together_are_one_batch(tiny: Path) -> None:
    with bench(tiny, batch_wait_ms=5000.0) as running:
        detectors = [running.detector(f"camera-{row}") for row in range(6)]
        running.counts(lambda counts: counts.cameras == 6)
        begin_s = time.perf_counter()

        def ask(row: int) -> None:
            assert _level(detectors[row].detect([_square(30 + 30 * row)])[0]) == 30 + 30 * row

        _at_once([lambda row=row: ask(row) for row in range(6)])  # type: ignore[misc]
        spent_s = time.perf_counter() - begin_s
        counts = running.counts(lambda counts: counts.pictures == 6)
    print(f"six cameras at once: {counts.batches} batch, {spent_s * 1e3:.1f} ms")
    # All that there are wait already, so nobody waits for the rest of the five seconds.
    assert (counts.batches, counts.pictures, counts.biggest_batch) == (1, 6, 6)
    assert spent_s < 4


def test_no_batch_is_larger_than_its_limit_nor_than_the_model(tmp_path: Path, tiny: Path) -> None:
    fixed = write_model(tmp_path / "pairs", brightness_model(batch=2), format="yolo-e2e")
    for folder, batch_max, largest in [(tiny, 3, 3), (fixed, 8, 2)]:
        with bench(folder, batch_max=batch_max, batch_wait_ms=100.0) as running:
            detectors = [running.detector(f"camera-{row}") for row in range(7)]
            running.counts(lambda counts: counts.cameras == 7)

            def ask(row: int, detectors: list[RemoteDetector] = detectors) -> None:
                for level in range(30, 230, 50):
                    assert _level(detectors[row].detect([_square(level + row)])[0]) == level + row

            _at_once([lambda row=row: ask(row) for row in range(7)])  # type: ignore[misc]
            counts = running.counts(lambda counts: counts.pictures == 28)
        assert counts.biggest_batch == largest


def test_a_lone_picture_waits_for_others_no_longer_than_told(tiny: Path) -> None:
    with bench(tiny, batch_wait_ms=60.0) as running:
        detector = running.detector("awake")
        detector.detect([_square(1 + 40)])
        alone_s = []
        for _ in range(9):
            detector.detect([_square(50)])
            alone_s.append(detector.waited_s)
        running.add("asleep")  # a camera that never sends a picture
        running.counts(lambda counts: counts.cameras == 2)
        beside_s = []
        for _ in range(9):
            detector.detect([_square(50)])
            beside_s.append(detector.waited_s)
    print(
        f"waited, alone: median {np.median(alone_s) * 1e3:.1f} ms; beside a sleeper: {np.median(beside_s) * 1e3:.1f} ms"
    )
    assert np.median(alone_s) < 0.06
    assert min(beside_s) >= 0.059
    assert np.median(beside_s) < 0.09


def test_requests_survive_the_detectors_death(tiny: Path) -> None:
    """Killed in the middle of its work: the next one finds what waits, and no picture is lost or mixed up."""
    with bench(tiny) as running:
        detectors = [running.detector(f"camera-{row}") for row in range(5)]
        answered = [0] * 5
        end = threading.Event()

        def ask(row: int) -> None:
            while not end.is_set():
                level = 30 + (row * 37 + answered[row] * 11) % 220
                assert _level(detectors[row].detect([_square(level)])[0]) == level
                answered[row] += 1

        def disturb() -> None:
            for _ in range(3):
                before = list(answered)
                assert _until(lambda before=before: all(map(int.__gt__, answered, before)))  # type: ignore[misc]
                running.kill()
                begin_s = time.perf_counter()
                before = list(answered)
                running.start()
                assert _until(lambda before=before: all(map(int.__gt__, answered, before)))  # type: ignore[misc]
                print(f"all five cameras answered {time.perf_counter() - begin_s:.2f} s after the detector's death")
            end.set()

        try:
            _at_once([*(lambda row=row: ask(row) for row in range(5)), disturb])  # type: ignore[misc]
        finally:
            end.set()
    print(f"answered: {answered}, signalled again: {[detector.signalled_again for detector in detectors]}")


def test_a_worker_gives_up_when_it_is_told_to(tiny: Path) -> None:
    running = Bench(tiny)  # never started
    asked = iter([True, True, False])
    detector = running.detector("camera", keep_waiting=lambda: next(asked), patience_s=0.02)
    with pytest.raises(
        DetectorLostError, match=r"^model tiny: its detector process does not answer: see its log for the reason$"
    ):
        detector.detect([_square(9)])
    running.link.close()


def test_a_worker_killed_at_any_moment_never_leaves_a_wrong_answer(wide: Path) -> None:
    moment = random.Random(5)
    workers = worker_processes()
    torn = 0
    with bench(wide, batch_wait_ms=1.0) as running:
        bystander = running.detector("bystander")
        end = threading.Event()
        looks = [0]

        def stand_by() -> None:
            while not end.is_set():
                level = 30 + looks[0] % 200
                picture = np.full((384, 640, 3), level, np.uint8)
                assert abs(float(bystander.detect([picture])[0].score[0]) * 255 - level) < 0.3
                looks[0] += 1

        def kill_workers() -> None:
            nonlocal torn
            slot = running.add("victim")
            for turn in range(50):
                heard, told = workers.Pipe(duplex=False)
                process = workers.Process(target=ask_forever, args=(slot, running.manifest, 30 + turn * 4, told))
                process.start()
                told.close()
                assert heard.poll(20), "a worker was not answered"
                heard.recv()
                time.sleep(moment.random() * 0.02)
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
                process.join(10)
                assert process.exitcode == -signal.SIGKILL
                heard.close()
                torn += slot.torn
            end.set()

        try:
            _at_once([stand_by, kill_workers])
        finally:
            end.set()
        counts = running.counts()
    print(f"50 workers killed, {torn} in the middle of a picture; the camera beside was answered {looks[0]} times")
    print(counts)
    assert torn > 0
    assert looks[0] > 50


def test_a_detector_that_is_told_to_stop_stops(tiny: Path) -> None:
    link = DetectorLink()
    stop, beats, reports = threading.Event(), [0], []
    session = OnnxDetector(load_manifest(tiny), threads=1)

    def beat() -> None:
        beats[0] += 1
        if beats[0] == 3:  # three turns without any work
            stop.set()

    begin_s = time.perf_counter()
    serve(session, link.connect(), beat=beat, report=reports.append, stop=stop)
    spent_s = time.perf_counter() - begin_s
    link.close()
    print(f"{beats[0]} idle turns in {spent_s:.2f} s, {len(reports)} reports")
    assert beats == [3]
    assert spent_s < 3
    assert reports


def test_a_senseless_request_is_left_alone_and_holds_up_nobody(tiny: Path) -> None:
    with bench(tiny) as running:
        slot = running.add("mad")
        detector = running.detector("sane")
        odd = Letterbox((40, 40), input_px=(40, 40), content_px=(40, 40), offset_px=(0, 0), swap_colours=False)
        sequence = slot.submit(_square(90, 40), odd, submitted_ns=lambda: 0)
        for level in range(60, 70):
            assert _level(detector.detect([_square(level)])[0]) == level
        assert running.counts(lambda counts: counts.pictures == 10).torn >= 1
        assert slot.answer(sequence) is None


def test_cameras_come_and_go_while_others_are_answered(tiny: Path) -> None:
    with bench(tiny, batch_wait_ms=1.0) as running:
        steady = running.detector("steady")
        steady.detect([_square(90)])
        assert running.process is not None
        assert running.process.pid is not None
        ours, theirs = _fds(), _fds(running.process.pid)
        slowest_s = 0.0
        for turn in range(100):
            begin_s = time.perf_counter()
            camera = running.detector(f"passer-{turn % 7}")
            assert _level(camera.detect([_square(30 + turn)])[0]) == 30 + turn
            assert _level(steady.detect([_square(200 - turn)])[0]) == 200 - turn
            running.link.remove(f"passer-{turn % 7}")
            slowest_s = max(slowest_s, time.perf_counter() - begin_s)
        steady.detect([_square(90)])
        del camera
        assert _until(lambda: _fds() == ours), f"{ours} descriptors became {_fds()}"
        pid = running.process.pid
        assert _until(lambda: _fds(pid) == theirs), f"{theirs} descriptors became {_fds(pid)}"
        assert Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").count("edge-slot") == 1
        assert not running.link.stuck
    print(
        f"100 cameras came and went; slowest turn {slowest_s * 1e3:.1f} ms; descriptors {ours} and {theirs} as before"
    )


@pytest.mark.slow
def test_twenty_restarts_leave_nothing_behind(tiny: Path) -> None:
    with bench(tiny) as running:
        detectors = [running.detector(f"camera-{row}") for row in range(3)]

        def look() -> None:
            for row, detector in enumerate(detectors):
                assert _level(detector.detect([_square(40 + row)])[0]) == 40 + row

        look()
        before = _fds()
        for _ in range(20):
            running.kill()
            running.start()
            look()
        assert _fds() == before
        assert running.process is not None
        pid = running.process.pid
        assert Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").count("edge-slot") == 3


def test_a_detector_that_reads_nothing_does_not_stop_its_supervisor(tiny: Path) -> None:
    running = Bench(tiny)
    control = running.link.connect()  # nobody reads from it
    unread = 0
    while not running.link.stuck and unread < 2000:
        running.add("camera")
        running.link.remove("camera")
        unread += 1
    print(f"stuck after {unread} cameras that came and went unread")
    assert running.link.stuck
    control.close()
    running.add("another")  # no error: the next process is told
    running.start()
    assert not running.link.stuck
    assert _level(running.detector("another").detect([_square(70)])[0]) == 70
    running.close()


def _fleet(running: Bench, periods_s: list[float], span_s: float) -> Iterator[list[float]]:
    """Workers as processes, one a period; the answers' seconds of each."""
    workers = worker_processes()
    pipes, processes = [], []
    for row, period_s in enumerate(periods_s):
        heard, told = workers.Pipe(duplex=False)
        slot = running.add(f"camera-{row}")
        process = workers.Process(target=ask_at_a_rate, args=(slot, running.manifest, period_s, span_s, told))
        process.start()
        told.close()
        pipes.append(heard)
        processes.append(process)
    for heard in pipes:
        assert heard.poll(60)
        heard.recv()
    for heard, process in zip(pipes, processes, strict=True):
        assert heard.poll(span_s + 60), "a worker was never answered"
        yield heard.recv()
        heard.close()
        process.join(10)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("hammering", [0, 1])
def test_sixteen_cameras_are_served_alike_whatever_one_of_them_does(hammering: int) -> None:
    """Fifteen cameras at two pictures a second, and one that asks as fast as it is answered, or does as the others."""
    with bench(YOLOX) as running:
        spent_s = list(_fleet(running, [0.5] * 15 + [0.0 if hammering else 0.5], span_s=6))
        counts = running.counts()
    steady = spent_s[:15] if hammering else spent_s
    served = [len(each) for each in steady]
    everything = np.concatenate(steady)
    print(
        f"served {min(served)} to {max(served)} in 6 s, the sixteenth {len(spent_s[15])}; "
        f"p50 {np.quantile(everything, 0.5) * 1e3:.0f} ms, p99 {np.quantile(everything, 0.99) * 1e3:.0f} ms, "
        f"mean batch {counts.pictures / counts.batches:.1f}, biggest {counts.biggest_batch}"
    )
    assert min(served) / max(served) >= 0.7
    assert max(served) <= 13


def test_the_way_through_shared_memory_costs_little(plaza: list[UInt8]) -> None:
    own = OnnxDetector(load_manifest(YOLOX), threads=1)
    with bench(YOLOX) as running:
        remote = running.detector("camera")
        direct_s, through_s = [], []
        for picture in plaza * 3:
            for detector, spent_s in ((own, direct_s), (remote, through_s)):
                begin_s = time.perf_counter()
                detector.detect([picture])
                spent_s.append(time.perf_counter() - begin_s)
    ratio = float(np.median(through_s[1:]) / np.median(direct_s[1:]))
    print(f"direct {np.median(direct_s) * 1e3:.1f} ms, through shared memory x {ratio:.2f}")
    assert ratio < 2
