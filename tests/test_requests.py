"""What operators ask of a camera's worker: asked once, answered once, and never hours later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.clock import SystemClock
from edge.core.types import NS_PER_S, Frame
from edge.errors import StateError
from edge.runtime.requests import RequestDesk, ask
from edge.state import database as state
from edge.state.database import Answer, Database, Request
from tests.street import texture

FRAME = Frame("cam", 1, 1, 1, texture(1, 32, 24))
DONE = Answer(done=True, words="as you say")


class HandClock(SystemClock):
    now_ns = 1000 * NS_PER_S

    def mono_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return self.now_ns

    def pass_s(self, seconds: float) -> None:
        self.now_ns += round(seconds * NS_PER_S)


def put(database: Database, *, camera: str = "cam", kind: str = "wave", now_s: int = 1000, lasts_s: int = 10) -> int:
    now_ns = now_s * NS_PER_S
    body = {"how": "两次"}
    return database.put_request(camera, kind, body, now_wall_ns=now_ns, until_wall_ns=now_ns + lasts_s * NS_PER_S)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.open(tmp_path / "edge.db")


def test_a_request_is_taken_once_with_what_was_asked_and_the_newest_picture(database: Database) -> None:
    clock, taken = HandClock(), []

    def take(body: object, frame: Frame) -> Answer:
        taken.append((body, frame))
        return DONE

    desk = RequestDesk("cam", database, {"wave": take}, clock=clock)
    number = put(database)
    assert database.answer_to(number) is None
    for _ in range(5):
        clock.pass_s(1)
        desk.serve(FRAME)
    assert taken == [({"how": "两次"}, FRAME)]
    assert database.answer_to(number) == DONE


def test_the_database_is_asked_once_a_second_at_most(database: Database) -> None:
    asked: list[str] = []

    class Counting:
        def open_requests(self, camera: str, *, now_wall_ns: int) -> list[Request]:
            asked.append(camera)
            return []

        def answer_request(self, number: int, answer: Answer) -> None:
            raise AssertionError

    clock = HandClock()
    desk = RequestDesk("cam", Counting(), {}, clock=clock)
    for _ in range(50):
        clock.pass_s(0.1)
        desk.serve(FRAME)
    assert 4 <= len(asked) <= 6


def test_another_cameras_request_and_one_that_nobody_waits_for_any_more_are_left_alone(database: Database) -> None:
    put(database, camera="elsewhere")
    put(database, lasts_s=5)
    clock = HandClock()
    clock.pass_s(6)
    RequestDesk("cam", database, {}, clock=clock).serve(FRAME)
    assert [request.kind for request in database.open_requests("elsewhere", now_wall_ns=clock.now_ns)] == ["wave"]
    assert database.open_requests("cam", now_wall_ns=clock.now_ns) == []
    put(database, now_s=1020)
    (left,) = database._read("SELECT COUNT(*) FROM requests")[0]
    assert left == 1  # what nobody waits for is gone


def test_what_a_worker_does_not_know_is_refused_in_words(database: Database) -> None:
    number = put(database, kind="fly")
    RequestDesk("cam", database, {}, clock=HandClock()).serve(FRAME)
    answer = database.answer_to(number)
    assert answer is not None
    assert not answer.done
    assert "does not know 'fly'" in answer.words


def test_a_request_whose_answer_met_a_busy_database_is_taken_again(database: Database) -> None:
    class Busy:
        failures = 2

        def open_requests(self, camera: str, *, now_wall_ns: int) -> list[Request]:
            return database.open_requests(camera, now_wall_ns=now_wall_ns)

        def answer_request(self, number: int, answer: Answer) -> None:
            if self.failures:
                self.failures -= 1
                raise StateError("edge.db: busy")
            database.answer_request(number, answer)

    clock, number = HandClock(), put(database)
    desk = RequestDesk("cam", Busy(), {"wave": lambda body, frame: DONE}, clock=clock)
    for _ in range(3):
        assert database.answer_to(number) is None
        desk.serve(FRAME)
        clock.pass_s(1)
    assert database.answer_to(number) == DONE


def test_so_many_requests_are_refused_with_a_reason(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "REQUESTS_MAX", 2)
    put(database)
    put(database)
    with pytest.raises(StateError, match="2 requests wait already"):
        put(database)


def served(database: Database, clock: SystemClock, take: Callable[[object, Frame], Answer]) -> threading.Event:
    """A worker's loop beside us."""
    end = threading.Event()
    desk = RequestDesk("cam", database, {"wave": take}, clock=clock)

    def loop() -> None:
        while not end.wait(0.02):
            desk.serve(FRAME)

    threading.Thread(target=loop, daemon=True).start()
    return end


def test_who_asks_gets_the_workers_answer_and_nothing_is_left(tmp_path: Path, database: Database) -> None:
    end = served(database, SystemClock(), lambda body, frame: DONE)
    try:
        with Database.open(tmp_path / "edge.db") as other:
            assert ask(other, "cam", "wave") == DONE
            assert other._read("SELECT COUNT(*) FROM requests") == [(0,)]
    finally:
        end.set()


def test_who_gets_no_answer_takes_the_request_back(database: Database) -> None:
    assert ask(database, "cam", "wave", limit_s=0.15) is None
    assert database.open_requests("cam", now_wall_ns=0) == []


def test_an_older_database_gets_the_table(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    with Database.open(path) as database:
        database._connection.execute("DROP TABLE requests")
    with Database.open(path) as database:
        assert put(database) == 1
