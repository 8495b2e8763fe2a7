"""What a worker process does around the frame path: a capture that tests feed, a real database, real evidence."""

from __future__ import annotations

import json
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
import yaml

from edge.clock import Stopwatch, SystemClock
from edge.config.loader import Site, load_site
from edge.core.types import NS_PER_S, OPENED, PENDING, Case, CaseChange, Detections, Frame, Occurrence, UInt8
from edge.delivery.schema import measure_schema
from edge.errors import StateError
from edge.evidence.chain import SharedChain
from edge.evidence.verify import verify
from edge.ports import CaptureCounts, CaptureState, Decoding, Film, SourceInfo
from edge.runtime.board import Board
from edge.runtime.dismissing import Dismissing
from edge.runtime.health import BLIND, STREAMING, CameraReport, read_report, write_report
from edge.runtime.live import SAVE_NS, STUCK_NS, LiveCamera, Mailbox, PatientOutbox
from edge.runtime.requests import RequestDesk, Take
from edge.state.database import Answer, Database
from edge.state.judgements import Judgements
from edge.state.occurrences import Occurrences
from edge.wiring.camera_models import Eyes
from edge.wiring.frame_path import (
    check_models,
    filming_for,
    measuring_for,
    recorder_for,
    sight_for,
    telling_for,
    worker_for,
)
from edge.wiring.keeping import recording_for
from tests.alerts import a_change, alert_of, closed_schema

START_WALL_NS = 1_777_858_200 * NS_PER_S
STEP_S = 0.5
CAR = (60.0, 60.0, 160.0, 140.0)


class HandClock(SystemClock):
    def __init__(self) -> None:
        self.now_ns = 1000 * NS_PER_S

    def mono_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return START_WALL_NS + self.now_ns

    def pass_s(self, seconds: float) -> None:
        self.now_ns += round(seconds * NS_PER_S)


class FakeCapture:
    """Frames come when the test puts them there."""

    def __init__(self, clock: HandClock, stop: threading.Event) -> None:
        self.info = SourceInfo(320, 240, 15.0, "h264", 0.0, 0, 0)
        self.counts = CaptureCounts()
        self.state = CaptureState(True, "", "", 0)
        self.beat_ns = clock.mono_ns()
        self.clock_offset_s: float | None = None
        self.looks_back = False
        self.decoding = Decoding("all", "")
        self.frames: queue.Queue[Frame] = queue.Queue()
        self._stop = stop

    def __iter__(self) -> Iterator[Frame]:
        while not self._stop.is_set():
            try:
                frame = self.frames.get(timeout=0.02)
            except queue.Empty:
                continue
            self.counts.yielded += 1
            yield frame

    def close(self) -> None:
        self._stop.set()


class FakeDetector:
    """Sees one car that stands, or none. `wait` is called in the middle of its work."""

    def __init__(self, site: Site) -> None:
        manifest = check_models(site)[site.config.cameras[0].id].detectors[0].manifest
        self.name, self.sha256, self.labels = manifest.name, manifest.sha256, manifest.labels
        self.groups = manifest.label_groups()
        self.sees = True
        self.wait: Callable[[], None] = lambda: None

    def detect(self, pictures: Sequence[UInt8]) -> list[Detections]:
        self.wait()
        rows = int(self.sees)
        boxes = np.array([CAR][:rows], np.float32).reshape(-1, 4)
        labels = np.full(rows, self.labels.index("car"), np.int16)
        return [Detections(boxes, np.full(rows, 0.9, np.float32), labels) for _ in pictures]


class KilledError(BaseException):
    """Ends everything at this place, as SIGKILL does: nobody tidies up."""


@dataclass
class FlakyDatabase:
    """The real one, but for what the test takes from it."""

    database: Database
    fails: int = 0  # so many commits still fail
    killed: bool = False  # at the next commit
    saves: list[list[Case]] = field(default_factory=list)

    def commit(self, change: CaseChange, alert: dict[str, object], topic: str) -> int:
        if self.killed:
            raise KilledError
        if self.fails:
            self.fails -= 1
            raise StateError("edge.db: the disk is full; free some space")
        return self.database.commit(change, alert, topic)

    def save_running(self, camera: str, cases: Any) -> None:
        self.saves.append(list(cases))
        self.database.save_running(camera, self.saves[-1])

    def running_cases(self, camera: str, *, mono_to_wall: int | None = None) -> list[Case]:
        return self.database.running_cases(camera, mono_to_wall=mono_to_wall)

    def dismissed_cases(self, camera: str, *, mono_to_wall: int | None = None) -> list[Case]:
        return self.database.dismissed_cases(camera, mono_to_wall=mono_to_wall)


def texture() -> UInt8:
    coarse = np.random.default_rng(0).integers(30, 220, (24, 32, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC), np.uint8)


def street(*, with_car: bool = True) -> UInt8:
    picture = texture().copy()
    if with_car:
        x1, y1, x2, y2 = (round(edge) for edge in CAR)
        picture[y1:y2, x1:x2] = np.random.default_rng(7).integers(0, 255, (y2 - y1, x2 - x1, 3), np.uint8)
    return picture


def site_in(folder: Path, **camera: Any) -> Site:
    use = {"use": "illegal-parking", "zones": ["kerb"], "after_s": 5, "clear_after_s": 5, "repeat_s": 3600}
    document = {
        "version": 1,
        "site": {"id": "xiaohe", "timezone": "Asia/Shanghai"},
        "gateway": {"id": "gw-01"},
        "cameras": [
            {
                "id": "cam",
                "source": "rtsp://camera/1",
                "frozen_after_s": 3600,
                "sampling": {"still_s": 0},  # one picture again and again, and each is to reach the detector
                "zones": [{"id": "kerb", "polygon": [[0.05, 0.05], [0.95, 0.05], [0.95, 0.95], [0.05, 0.95]]}],
                "scenarios": [use],
                **camera,
            }
        ],
    }
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return load_site(path, environ={})


class Rig:
    """A gateway's state with one camera; `start` makes a worker on it, as often as one is needed."""

    def __init__(self, folder: Path, *, film: Film | None = None) -> None:
        self.folder = folder
        self.film = film
        self.site = site_in(folder)
        self.clock = HandClock()
        self.board = Board.create()
        self.row = self.board.row(1)
        self.database = FlakyDatabase(Database.open(folder / "edge.db"))
        self.detector = FakeDetector(self.site)
        self.kept: list[bool] = []
        self.takes: dict[str, Take] = {}  # what operators may ask for
        self.index = 0
        self.start()

    def start(self, **changes: Any) -> None:
        self.stop = threading.Event()
        self.capture = FakeCapture(self.clock, self.stop)
        camera = self.site.config.cameras[0]
        models = check_models(self.site)[camera.id]
        eyes = Eyes(models, self.detector, (None,) * len(camera.scenarios))
        filming = filming_for(self.site, self.film)
        recorder = recorder_for(
            self.site, camera, models, root=self.folder, chain=SharedChain(self.folder), filming=filming
        )
        self.outbox = PatientOutbox(self.database, stop=self.stop, still_here=self.still_here)
        telling = telling_for(self.site, camera, eyes, recorder=recorder, outbox=self.outbox)
        stopwatch = Stopwatch()
        self.worker = worker_for(
            self.site,
            camera,
            eyes,
            sight=sight_for(camera),
            telling=telling,
            measuring=measuring_for(self.site, camera, models, box=self.database.database),
            stopwatch=stopwatch,
        )
        self.dismissing = Dismissing("cam", self.worker, telling, Judgements(self.database.database))
        self.recording = recording_for(
            self.site, camera, self.worker, folder=self.folder, database=self.database.database
        )
        self.live = LiveCamera(
            camera="cam",
            capture=self.capture,
            worker=self.worker,
            telling=telling,
            outbox=self.outbox,
            cases=self.database,
            occurrences=Occurrences(self.database.database),
            desk=RequestDesk("cam", self.database.database, self.takes, clock=self.clock),
            dismissing=self.dismissing,
            recording=self.recording,
            row=self.row,
            clock=self.clock,
            stopwatch=stopwatch,
            stop=self.stop,
            limits=lambda: {},
            same_street=lambda frame: True,
            keep=self.kept.append,
            **changes,
        )

    def still_here(self, reason: str) -> None:
        self.live.still_here(reason)

    def frame(self, bgr: UInt8 | None = None, **changes: Any) -> Frame:
        self.index += 1
        bgr = street(with_car=self.detector.sees) if bgr is None else bgr
        return Frame("cam", self.index, self.clock.mono_ns(), self.clock.wall_ns(), bgr, **changes)

    def arrive(self, frame: Frame) -> None:
        """As the capture thread does."""
        self.capture.counts.yielded += 1
        self.capture.beat_ns = self.clock.mono_ns()
        self.row.frame(self.clock.mono_ns())
        self.live._mailbox.put(frame, self.clock.mono_ns())

    def look(self, seconds: float = STEP_S, *, bgr: UInt8 | None = None) -> None:
        """So long of pictures, each of them looked at."""
        for _ in range(round(seconds / STEP_S)):
            self.clock.pass_s(STEP_S)
            self.arrive(self.frame(bgr))
            self.live._turn()

    def idle(self, seconds: float) -> None:
        """Time without a picture; packets still come."""
        self.clock.pass_s(seconds)
        self.capture.beat_ns = self.clock.mono_ns()
        self.live._mailbox.take = lambda limit_s: None  # type: ignore[method-assign]
        self.live._turn()
        del self.live._mailbox.take

    def report(self) -> CameraReport:
        return read_report(self.row, CameraReport)

    def alerts(self) -> list[dict[str, Any]]:
        with sqlite3.connect(self.folder / "edge.db") as connection:
            rows = connection.execute("SELECT body FROM outbox ORDER BY sequence").fetchall()
        return [json.loads(body) for (body,) in rows]

    def kinds(self) -> list[str]:
        return [alert["type"].split(".")[2] for alert in self.alerts()]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.stop.set()
    rig.database.database.close()


# The mailbox


def test_the_mailbox_drops_the_oldest_and_counts() -> None:
    mailbox = Mailbox()
    frames = [Frame("cam", number, number, number, texture()) for number in range(3)]
    assert mailbox.take(0) is None
    for frame in frames:
        mailbox.put(frame, frame.mono_ns)
    assert len(mailbox) == 1
    assert mailbox.take(0) == (frames[2], 2)
    assert (mailbox.dropped, len(mailbox)) == (2, 0)


def test_what_a_dropped_frame_knew_of_the_gap_before_it_is_not_lost() -> None:
    mailbox = Mailbox()
    for number, resumed in enumerate((True, False, False)):
        mailbox.put(Frame("cam", number, number, number, texture(), resumed=resumed), number)
    taken = mailbox.take(0)
    assert taken is not None
    assert (taken[0].index, taken[0].resumed) == (2, True)


def test_a_waiting_taker_is_woken() -> None:
    mailbox = Mailbox()
    threading.Timer(0.05, lambda: mailbox.put(Frame("cam", 1, 1, 1, texture()), 1)).start()
    assert mailbox.take(5.0) is not None


# Counts


def accounts_hold(report: CameraReport) -> bool:
    return 0 <= report.taken - (report.analysed + report.dropped + report.unseen + report.queue) <= 1


def test_every_picture_is_accounted_for(rig: Rig) -> None:
    rig.look(5)
    black = np.zeros((240, 320, 3), np.uint8)
    rig.look(3, bgr=black)
    for _ in range(4):
        rig.arrive(rig.frame())
    rig.look()
    rig.idle(1)
    report = rig.report()
    print(report)
    assert (report.analysed, report.unseen, report.dropped, report.queue) == (11, 6, 4, 0)
    assert report.taken == 21
    assert accounts_hold(report)
    assert report.stage_count["still"] == 11, "each look; the detector rests where nothing changes"


def test_accounts_hold_while_threads_run(rig: Rig) -> None:
    runner = threading.Thread(target=rig.live.run)
    runner.start()
    try:
        seen = 0
        for number in range(60):
            rig.clock.pass_s(0.1)
            rig.capture.beat_ns = rig.clock.mono_ns()
            rig.capture.frames.put(rig.frame())
            time.sleep(0.002 if number % 3 else 0.01)
            seen += 1
        limit_s = time.monotonic() + 10
        while rig.capture.counts.yielded < seen and time.monotonic() < limit_s:
            time.sleep(0.005)
    finally:
        rig.stop.set()
        runner.join(10)
    report = rig.report()
    print(f"{report.taken} taken, {report.analysed} analysed, {report.dropped} dropped")
    assert report.taken == seen
    assert accounts_hold(report)


def test_a_burst_of_pictures_that_had_been_held_back_is_looked_at_whole(rig: Rig) -> None:
    """They come as fast as they are decoded, and none is newer than what they show."""
    rig.capture.looks_back = True
    runner = threading.Thread(target=rig.live.run)
    runner.start()
    try:
        for _ in range(20):
            rig.clock.pass_s(0.2)
            rig.capture.frames.put(rig.frame())
        rig.capture.beat_ns = rig.clock.mono_ns()
        limit_s = time.monotonic() + 20
        while rig.report().analysed < 20 and time.monotonic() < limit_s:
            rig.clock.pass_s(0.5)
            rig.capture.beat_ns = rig.clock.mono_ns()
            time.sleep(0.02)
    finally:
        rig.stop.set()
        runner.join(10)
    report = rig.report()
    assert (report.taken, report.analysed, report.dropped) == (20, 20, 0)


def test_measures_wait_for_the_courier_and_an_end_tells_what_was_measured_so_far(rig: Rig) -> None:
    measured = {"use": "occupancy", "zones": ["kerb"], "labels": ["car"], "every_s": 10}
    rig.site = site_in(rig.folder, scenarios=[measured])
    rig.start()
    rig.look(25)
    rig.stop.set()
    rig.live.run()
    bodies = [json.loads(body) for _, body in rig.database.database.take_measures(10)]
    for body in bodies:
        jsonschema.validate(body, closed_schema(measure_schema()))
    seen_s = [body["data"]["seen_s"] for body in bodies]
    print(f"{len(bodies)} measures of {sum(seen_s):.1f} s, {[body['data']['values'] for body in bodies]}")
    assert 3 <= len(bodies) <= 4
    assert sum(seen_s) == pytest.approx(25 - STEP_S, abs=0.01)
    assert all(body["data"]["values"]["max"] == 1 for body in bodies if body["data"]["seen_s"] > 1)
    assert rig.alerts() == []


def test_counts_go_on_from_the_process_before(rig: Rig) -> None:
    rig.look(5)
    before = rig.report()
    rig.start()
    rig.look(5)
    report = rig.report()
    assert (report.analysed, report.taken) == (2 * before.analysed, 2 * before.taken)
    assert report.stage_count["detect"] == report.analysed


def test_what_a_killed_process_had_in_hand_is_dropped_with_it(rig: Rig) -> None:
    rig.look(5)
    report = rig.report()
    write_report(rig.row, replace(report, taken=report.taken + 2, queue=1))  # one in the mailbox, one in work
    rig.start()
    rig.look(5)
    after = rig.report()
    assert after.dropped == report.dropped + 2
    assert after.taken == after.analysed + after.dropped + after.unseen + after.queue


# The heartbeat


def test_the_heartbeat_stops_with_the_captures(rig: Rig) -> None:
    rig.look(1)
    assert rig.row.beat_ns == rig.clock.mono_ns()
    stuck_ns = rig.clock.mono_ns()
    rig.capture.beat_ns = stuck_ns
    rig.live._mailbox.take = lambda limit_s: None  # type: ignore[method-assign]
    for _ in range(30):
        rig.clock.pass_s(1)
        rig.live._turn()
    assert STUCK_NS - 2 * NS_PER_S <= rig.row.beat_ns - stuck_ns < STUCK_NS


# States


def test_each_state_has_its_words(rig: Rig) -> None:
    told: dict[str, str] = {}

    def note() -> str:
        rig.live._tell()
        report = rig.report()
        told[report.reason] = report.words
        assert report.state == (BLIND if report.reason else STREAMING)
        return report.reason

    rig.capture.state = CaptureState(False, "wrong-password", "the camera refuses the password", 0)
    assert note() == "wrong-password"
    rig.capture.state = CaptureState(True, "", "", 0)
    assert note() == "starting"
    rig.idle(6)
    assert note() == "no-frames"
    rig.idle(6)
    rig.row.frame(rig.clock.mono_ns())
    assert note() == "not-analysed"
    rig.look(2)
    assert note() == ""
    rig.look(bgr=np.zeros((240, 320, 3), np.uint8))
    assert note() == "black"
    rig.look(1)
    rig.idle(6)
    assert note() == "no-frames"
    print(told)
    assert "check the light" in told["black"]
    assert "no picture for 5 s" in told["no-frames"]


def test_since_is_when_the_state_began(rig: Rig) -> None:
    rig.look(2)
    since_ns = rig.report().since_wall_ns
    rig.look(5)
    assert rig.report().since_wall_ns == since_ns
    rig.look(bgr=np.zeros((240, 320, 3), np.uint8))
    assert rig.report().since_wall_ns == rig.clock.wall_ns()


def test_a_camera_whose_pictures_are_meant_to_be_rare_is_not_blind_between_them(rig: Rig) -> None:
    rig.start(silent_s=25.0)
    rig.look(1)
    rig.idle(20)
    assert (rig.report().state, rig.report().silent_s) == (STREAMING, 25.0)
    rig.idle(6)
    assert rig.report().reason == "no-frames"


def test_a_camera_that_waits_for_its_detector_does_not_say_streaming(rig: Rig) -> None:
    """Its pictures come, so from outside it looks as it should."""
    rig.look(5)
    assert rig.report().state == STREAMING
    states: list[tuple[str, str]] = []

    def wait() -> None:
        for _ in range(15):
            rig.clock.pass_s(1)
            rig.row.frame(rig.clock.mono_ns())
            rig.capture.beat_ns = rig.clock.mono_ns()
            rig.live.still_here()
            assert rig.row.beat_ns == rig.clock.mono_ns()
            states.append((rig.report().state, rig.report().reason))

    rig.detector.wait = wait
    rig.look()
    print(states)
    assert states[5] == (STREAMING, "")
    assert states[-1] == (BLIND, "not-analysed")
    rig.detector.wait = lambda: None
    rig.look(1)
    assert rig.report().state == STREAMING


# The database


def test_the_outbox_waits_for_a_database_that_fails() -> None:
    database = FlakyDatabase(Database.open(":memory:"), fails=2)
    told: list[str] = []
    outbox = PatientOutbox(database, stop=threading.Event(), still_here=told.append)
    change = a_change()
    begin_s = time.monotonic()
    assert outbox.commit(change, alert_of(change), "topic") == 1
    assert 1.9 < time.monotonic() - begin_s < 5
    assert told == ["", *["edge.db: the disk is full; free some space"] * 2, ""]
    assert outbox.alerts == 1


def test_the_outbox_leaves_when_told_to_stop() -> None:
    database, stop = FlakyDatabase(Database.open(":memory:"), fails=1000), threading.Event()
    outbox = PatientOutbox(database, stop=stop, still_here=lambda reason: None)
    threading.Timer(0.1, stop.set).start()
    change, begin_s = a_change(), time.monotonic()
    with pytest.raises(StateError, match="the disk is full"):
        outbox.commit(change, alert_of(change), "topic")
    assert time.monotonic() - begin_s < 1


def test_a_camera_that_waits_for_its_database_says_so_and_loses_no_alert(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.look(4)
    rig.database.fails = 15
    words: list[str] = []

    def wait(event: threading.Event, timeout: float | None = None) -> bool:
        rig.clock.pass_s(timeout or 0)
        for _ in range(2):
            rig.arrive(rig.frame())
        words.append(rig.report().words)
        return False

    monkeypatch.setattr(threading.Event, "wait", wait)
    rig.look(4)
    monkeypatch.undo()
    assert rig.kinds() == ["opened"]
    assert "the disk is full" in words[-1]
    assert rig.report().dropped >= 28
    rig.look(1)
    assert rig.report().state == STREAMING
    assert accounts_hold(rig.report())


# Cases over restarts


def test_running_cases_are_saved_when_they_changed(rig: Rig) -> None:
    rig.detector.sees = False
    rig.look(30)
    assert [saved for saved in rig.database.saves if saved] == []
    rig.detector.sees = True
    rig.look(32)
    before = len(rig.database.saves)
    times = [len(saved) for saved in rig.database.saves]
    print(f"saved {before} times in 62 s: {times} cases; at most every {SAVE_NS / NS_PER_S:g} s")
    assert 3 <= before <= 5
    for _ in range(50):
        rig.idle(1)
    assert len(rig.database.saves) <= before + 1


def test_a_case_goes_on_with_the_next_process(rig: Rig) -> None:
    rig.look(10)
    assert rig.kinds() == ["opened"]
    [case] = rig.worker.cases
    rig.live._save()
    rig.start()
    rig.clock.pass_s(3)
    rig.look(20)
    [again] = rig.worker.cases
    assert (again.case_id, again.state, again.started_ns) == (case.case_id, OPENED, case.started_ns)
    assert rig.kinds() == ["opened"]
    rig.detector.sees = False
    rig.look(20)
    assert rig.kinds() == ["opened", "cleared"]


def test_a_case_goes_on_after_the_machine_was_started_anew(rig: Rig) -> None:
    """The monotonic clock begins again; the wall clock does not."""
    rig.look(10)
    [case] = rig.worker.cases
    rig.live._save()
    ago_ns = rig.clock.mono_ns() - case.started_ns
    shift_ns = 990 * NS_PER_S
    rig.clock.now_ns -= shift_ns
    rig.clock.wall_ns = lambda: START_WALL_NS + shift_ns + rig.clock.now_ns  # type: ignore[method-assign]
    rig.start()
    rig.look()
    [again] = rig.worker.cases
    assert rig.clock.mono_ns() - again.started_ns == pytest.approx(ago_ns + STEP_S * NS_PER_S, abs=1e6)


@pytest.mark.parametrize("jump_s", [3600, -3600, 86400 * 365])
@pytest.mark.parametrize("opened", [True, False])
def test_a_case_goes_on_after_the_wall_clock_was_set(rig: Rig, jump_s: int, opened: bool) -> None:
    """A box without a battery for its clock learns the time from the network some minutes after its start."""
    rig.look(10 if opened else 4)
    [case] = rig.worker.cases
    rig.live._save()
    shift_ns = jump_s * NS_PER_S
    rig.clock.wall_ns = lambda: START_WALL_NS + shift_ns + rig.clock.now_ns  # type: ignore[method-assign]
    rig.start()
    rig.look(30)
    [again] = rig.worker.cases
    assert (again.case_id, again.state) == (case.case_id, OPENED)
    assert [kind for kind in rig.kinds() if kind != "updated"] == ["opened"]  # an update may be told an hour early


def test_an_alert_that_was_not_stored_before_the_stop_is_told_after_the_restart(rig: Rig) -> None:
    rig.look(4)
    rig.live._save()
    rig.database.fails = 10**6
    runner_error: list[BaseException] = []

    def run() -> None:
        try:
            rig.live.run()
        except StateError as error:
            runner_error.append(error)

    runner = threading.Thread(target=run)
    runner.start()
    limit_s = time.monotonic() + 20
    while rig.database.fails == 10**6 and time.monotonic() < limit_s:
        rig.clock.pass_s(STEP_S)
        rig.capture.beat_ns = rig.clock.mono_ns()
        rig.capture.frames.put(rig.frame())
        time.sleep(0.03)
    rig.database.fails = 0  # whoever comes after the end of the trouble finds all in order
    rig.stop.set()
    runner.join(10)
    if not runner_error:  # the database took the alert in its last try
        assert rig.kinds() == ["opened"]
    rig.start()
    rig.look(15)
    assert rig.kinds() == ["opened"]
    assert verify(rig.folder).problems == []


def test_an_alert_given_up_at_the_stop_is_told_after_the_restart(rig: Rig) -> None:
    """As above, and the stop surely comes first."""
    rig.look(4)
    rig.live._save()
    rig.database.fails = 10**6
    rig.stop.set()
    with pytest.raises(StateError):
        rig.look(5)
    rig.database.fails = 0
    [saved] = rig.database.running_cases("cam")
    assert saved.state == PENDING
    rig.start()
    rig.look(15)
    assert rig.kinds() == ["opened"]
    assert verify(rig.folder).problems == []


def test_a_worker_killed_between_evidence_and_commit_tells_once(rig: Rig) -> None:
    rig.look(4)
    rig.live._save()
    rig.database.killed = True
    with pytest.raises(KilledError):
        rig.look(5)
    [folder] = (rig.folder / "evidence").glob("*-*")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before
    rig.database.killed = False
    rig.start()
    rig.look(15)
    [alert] = rig.alerts()
    assert alert["data"]["case_id"] == folder.name
    assert {Path(file["path"]).name for file in alert["data"]["evidence"]} == set(before)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert verify(rig.folder).problems == []


# Gaps of our own making


def test_a_gap_that_we_made_by_dropping_is_time_that_nobody_has_looked_at(rig: Rig) -> None:
    rig.look(3)
    seen: list[bool] = []
    step = rig.worker.step

    def remembered(frame: Frame) -> Any:
        seen.append(frame.resumed)
        return step(frame)

    rig.worker.step = remembered  # type: ignore[method-assign]
    for pause_s, dropped in ((4, 3), (6, 0), (6, 3)):
        for _ in range(dropped):
            rig.arrive(rig.frame())
        rig.clock.pass_s(pause_s)
        rig.look()
    assert seen == [False, False, True]


def test_the_first_picture_of_a_process_continues_nothing(rig: Rig) -> None:
    seen: list[bool] = []
    step = rig.worker.step
    rig.worker.step = lambda frame: (seen.append(frame.resumed), step(frame))[1]  # type: ignore[method-assign]
    rig.look(1)
    assert seen == [True, False]


# The end


def test_the_end_saves_and_tells(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rig.look(4)
    saves = len(rig.database.saves)
    rig.stop.set()
    begin_s = time.monotonic()
    rig.live.run()
    assert time.monotonic() - begin_s < 1
    assert len(rig.database.saves) == saves + 1
    assert rig.kept[-2:] == [False, True]
    [case] = rig.database.running_cases("cam")
    assert replace(case, appearance=None).state == PENDING  # type: ignore[arg-type]
    assert "camera cam is streaming" in caplog.text


def test_what_an_operator_asks_is_taken_with_the_newest_picture_even_when_no_new_one_comes(rig: Rig) -> None:
    taken: list[Frame] = []

    def take(body: object, frame: Frame) -> Answer:
        taken.append(frame)
        return Answer(done=True, words="done")

    rig.takes["wave"] = take
    rig.look(2)
    now_ns = rig.clock.wall_ns()
    number = rig.database.database.put_request(
        "cam", "wave", {}, now_wall_ns=now_ns, until_wall_ns=now_ns + 60 * NS_PER_S
    )
    rig.idle(2)
    assert [frame.index for frame in taken] == [rig.index]
    assert rig.database.database.answer_to(number) == Answer(done=True, words="done")


def test_the_days_on_which_it_came_outlive_the_process(rig: Rig) -> None:
    use = {"use": "product-promotion-gathering", "zones": ["kerb"], "active": "Mon-Sun 00:00-24:00"}
    rig.site = site_in(rig.folder, scenarios=[use])
    came = Occurrence("product-promotion-gathering", "kerb", 739_000, 0, 7, told=True)
    rig.start()
    rig.look(1)
    rig.worker.watches[0].cases.remember([came])
    rig.look(SAVE_NS / NS_PER_S + 1)
    rig.start()
    book = rig.worker.watches[0].cases
    assert book.occurrences == []
    rig.look(1)
    assert book.occurrences == [came]
