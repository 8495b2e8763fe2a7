"""The status board: whole reports or none, whoever is killed or held up, and room for the largest gateway."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NoReturn

import pytest

from edge.core.types import NS_PER_S
from edge.errors import StateError
from edge.runtime import health
from edge.runtime.board import ROWS, SUPERVISOR_ROW, Board, Row
from edge.runtime.health import (
    CameraReport,
    ProcessEntry,
    SupervisorReport,
    as_document,
    from_document,
    gateway_status,
    read_report,
    write_report,
)
from tests.boards import SUPERVISOR, Gateway, a_camera_report

KILLS = 150


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board.create()
    yield board
    os.close(board.fd)


def forked(work: Callable[[], NoReturn]) -> int:
    """A child process of its own that works until it is killed."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    return pid


def ended(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def write_for_ever(row: Row, *, apart_s: float = 0.0) -> NoReturn:
    """Reports of changing length, each all of one letter: half of one and half of another is seen at once."""
    letters = 0
    while True:
        letters += 1
        row.write(chr(97 + letters % 26) * (1 + letters * 37 % 6000))
        if apart_s:
            time.sleep(apart_s)


def test_readers_never_see_half_a_report(board: Board) -> None:
    """The writer writes as fast as it can, which no process of the gateway does."""
    board.row(3).write("a")
    writers = [forked(lambda: write_for_ever(board.row(3)))]
    seen: dict[str, int] = {}
    end_s = time.monotonic() + 2
    try:
        row = board.row(3)
        while time.monotonic() < end_s:
            text = row.read()
            assert len(set(text)) <= 1, f"letters of two reports: {sorted(set(text))}"
            seen[text[:1]] = seen.get(text[:1], 0) + 1
    finally:
        ended(writers[0])
    print(f"{sum(seen.values())} reads in 2 s, {seen.get('', 0)} found none whole, {len(seen)} letters")
    assert len(seen) > 10
    assert seen.get("", 0) == 0


def test_a_writer_killed_or_held_up_in_the_middle_leaves_its_last_report(board: Board) -> None:
    """The next process goes on counting from it; and a reader never takes a camera for one that just starts."""
    dice = random.Random(1)
    for number in range(KILLS):
        row = board.row(1 + number % 200)
        row.write("a")
        writer = forked(lambda row=row: write_for_ever(row))  # type: ignore[misc]
        try:
            while row.read() == "a":
                time.sleep(0.0002)
            time.sleep(dice.uniform(0, 0.003))
            os.kill(writer, signal.SIGSTOP)
            os.waitpid(writer, os.WUNTRACED)
            assert row.read() != ""
        finally:
            ended(writer)
        assert row.read() != ""
        row.write("whole again")
        assert row.read() == "whole again"
    print(f"{KILLS} writers stopped and killed in the middle of their work: no report lost")


def test_a_report_that_does_not_fit_is_refused_and_the_last_one_stays(board: Board) -> None:
    row = board.row(5)
    row.write("before")
    with pytest.raises(StateError, match=r"status row 5: a report of 9000 bytes, room for \d+"):
        row.write("x" * 9000)
    assert row.read() == "before"


def test_rows_do_not_touch_one_another(board: Board) -> None:
    board.row(ROWS - 1).write("last")
    board.row(SUPERVISOR_ROW).write("é" * 100_000)
    for number in range(1, ROWS - 1):
        board.row(number).write(str(number) * 2000)
    assert board.row(SUPERVISOR_ROW).read() == "é" * 100_000
    assert [board.row(number).read()[:1] for number in range(1, 10)] == list("123456789")
    assert board.row(ROWS - 1).read() == "last"


def test_words_that_are_no_text_are_written_all_the_same(board: Board) -> None:
    """A file's name may hold bytes that are no UTF-8; they reach the board within an error's words."""
    path = os.fsdecode(b"/srv/caf\xe9.yaml")
    write_report(board.row(0), SupervisorReport(config_path=path))
    assert read_report(board.row(0), SupervisorReport).config_path == "/srv/caf?.yaml"


def test_a_cleared_row_knows_nothing(board: Board) -> None:
    row = board.row(2)
    row.write("text")
    row.beat(5)
    row.frame(6)
    row.clear()
    assert (row.read(), row.beat_ns, row.frame_ns) == ("", 0, 0)
    assert read_report(row, CameraReport) == CameraReport()


def test_a_cameras_longest_report_fits_its_row(board: Board) -> None:
    counts = dict.fromkeys(health.STAGES, 10**15)
    report = a_camera_report(
        reason="wrong-password",
        words=health.short("摄" * 1000),
        codec="c" * 200,
        limits={f"{name}_{number}": 10**15 for number in range(20) for name in ("cases_refused",)},
        stage_s=dict.fromkeys(health.STAGES, 1.2345678901234567e15),
        stage_count=counts,
    )
    write_report(board.row(1), report)
    assert read_report(board.row(1), CameraReport) == report
    print(f"longest report of a camera: {len(board.row(1).read().encode())} bytes")


def test_256_cameras_with_long_names_and_chinese_reasons_fit_the_supervisors_row(board: Board) -> None:
    reason = health.short("无法启动：" * 200)
    names = [f"{number:03d}".ljust(64, "x") for number in range(256)]
    entries = [ProcessEntry("camera", name, 1, 4_194_304, "waiting", 10**6, reason, True) for name in names]
    report = replace(SUPERVISOR, config_refused=reason, processes=tuple(entries))
    write_report(board.row(SUPERVISOR_ROW), report)
    assert read_report(board.row(SUPERVISOR_ROW), SupervisorReport) == report
    print(f"256 cameras: {len(board.row(SUPERVISOR_ROW).read().encode())} bytes")


def test_a_status_is_the_same_after_its_way_through_json() -> None:
    with_reasons = Gateway(cameras=3)
    with_reasons.change_process("cam-02", state=health.WAITING, reason="killed by SIGKILL")
    status = with_reasons.status()
    assert from_document(json.loads(json.dumps(as_document(status), ensure_ascii=False))) == status
    empty = gateway_status(Board.create(), mono_ns=1, wall_ns=1)
    assert from_document(json.loads(json.dumps(as_document(empty)))) == empty


# Cameras judged from outside


def test_a_camera_that_says_streaming_is_blind_when_its_pictures_are_old() -> None:
    gateway = Gateway(cameras=1)
    assert gateway.status().cameras[0].report.state == health.STREAMING
    gateway.mono_ns += 6 * NS_PER_S
    camera = gateway.status().cameras[0]
    assert (camera.report.state, camera.report.reason, camera.report.fps) == (health.BLIND, "no-frames", 0.0)
    assert camera.report.since_wall_ns == pytest.approx(gateway.wall_ns - 6.1 * NS_PER_S, abs=1e6)


def test_what_a_blind_camera_says_of_itself_stands() -> None:
    gateway = Gateway(cameras=1)
    gateway.tell(health.CAMERA, "cam-01", a_camera_report(state=health.BLIND, reason="wrong-password", words="w"))
    gateway.mono_ns += 60 * NS_PER_S
    assert gateway.status().cameras[0].report.reason == "wrong-password"


def test_a_camera_whose_process_waits_is_blind_and_says_why() -> None:
    """Whether it had streamed, long ago, or never told of itself: it is its process that fails, not the camera."""
    gateway = Gateway(cameras=2)
    gateway.tell(health.CAMERA, "cam-02", CameraReport())
    for name in ("cam-01", "cam-02"):
        gateway.change_process(name, state=health.WAITING, reason="ended with status 1")
    for later_s in (0, 30):
        gateway.mono_ns += later_s * NS_PER_S
        for camera in gateway.status().cameras:
            assert (camera.report.state, camera.report.reason) == (health.BLIND, "restarting"), camera.camera
            assert "ended with status 1" in camera.report.words


def test_a_camera_whose_process_waits_for_long_is_blind_since_its_last_picture() -> None:
    """Not since just now, whenever somebody asks."""
    gateway = Gateway(cameras=1)
    gateway.change_process("cam-01", state=health.WAITING, reason="killed")
    since_ns = gateway.status().cameras[0].report.since_wall_ns
    gateway.mono_ns += 20 * NS_PER_S
    assert gateway.status().cameras[0].report.since_wall_ns == since_ns


def test_a_stopped_camera_is_off() -> None:
    gateway = Gateway(cameras=1)
    gateway.change_process("cam-01", state=health.STOPPED)
    gateway.mono_ns += 60 * NS_PER_S
    assert gateway.status().cameras[0].report.state == health.OFF
