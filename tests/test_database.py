"""The database keeps cases and alerts together, and leaves alone what is not its own."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from edge.core.types import CLEARED, NS_PER_S, PENDING, WITHDRAWN, Case, Grounds
from edge.errors import StateError
from edge.state import database as state
from edge.state.database import _MIGRATIONS, Database
from tests.alerts import MONO_TO_WALL, a_case, a_change, alert_of, topic_of


def same(first: Case, second: Case) -> bool:
    return all(
        np.array_equal(getattr(first, field.name), getattr(second, field.name))
        if field.name == "appearance"
        else getattr(first, field.name) == getattr(second, field.name)
        for field in fields(Case)
    )


def store(database: Database, number: int = 1, kind: str = "opened", **changes: object) -> int:
    change = a_change(number, kind, **changes)
    return database.commit(change, alert_of(change), topic_of(change))


def test_a_case_comes_back_from_the_disk_as_it_was(tmp_path: Path) -> None:
    with Database.open(tmp_path / "edge.db") as database:
        store(database)
    with Database.open(tmp_path / "edge.db") as database:
        (case,) = database.running_cases("qiaonong-03")
    assert same(case, a_case())
    assert case.appearance.dtype == np.float32


def test_what_a_case_is_judged_by_comes_back_with_it() -> None:
    grounds = Grounds(
        found_ns=9 * NS_PER_S,
        found_looks=40,
        score_sum=14.4,
        arrived=True,
        begun_at=(1.5, 2.0, 3.0, 4.0),
        changed_looks=3,
        empty_ns=NS_PER_S,
        departed=True,
        told_ns=64 * NS_PER_S,
    )
    assert {field.name for field in fields(Grounds) if getattr(grounds, field.name) == field.default} == set()
    with Database.open(":memory:") as database:
        store(database, frame_px=(640, 360), grounds=grounds)
        (case,) = database.running_cases("qiaonong-03")
        (after,) = database.running_cases("qiaonong-03", mono_to_wall=MONO_TO_WALL - 1_000 * NS_PER_S)
    assert (case.grounds, case.frame_px) == (grounds, (640, 360))
    assert after.grounds.told_ns - after.opened_ns == grounds.told_ns - case.opened_ns


def test_a_case_with_numbers_straight_from_arrays_comes_back_as_it_was() -> None:
    footprint = tuple(np.array([1.5, 2.5, 30, 40], np.float32))
    with Database.open(":memory:") as database:
        store(database, score=np.float32(0.5), count=np.int16(2), footprint=footprint, last_seen_ns=np.int64(99))
        (case,) = database.running_cases("qiaonong-03")
    assert same(case, a_case(score=0.5, count=2, footprint=(1.5, 2.5, 30.0, 40.0), last_seen_ns=99))


def test_a_cleared_case_is_no_longer_running_and_another_cameras_never_was() -> None:
    with Database.open(":memory:") as database:
        store(database)
        store(database, 2, camera="elsewhere")
        store(database, kind="cleared", reason="left", state=CLEARED, cleared_ns=200 * NS_PER_S, alerts=2)
        assert database.running_cases("qiaonong-03") == []
        assert len(database.running_cases("elsewhere")) == 1


def test_what_is_over_is_small_and_the_oldest_is_forgotten_unless_its_thing_still_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(state, "CASES_OVER_MAX", 3)
    looks = np.zeros((64, 64), np.float32)
    with Database.open(":memory:") as database:
        store(database, 1, appearance=looks)
        store(database, 2, kind="withdrawn", state=WITHDRAWN, appearance=looks)
        with database.writing() as connection:
            connection.execute("INSERT INTO dismissals VALUES (?, 'qiaonong-03')", (a_case(2).case_id,))
        for number in range(3, 9):
            store(database, number, kind="cleared", state=CLEARED, appearance=looks, started_wall_ns=number)
        rows = dict(database.read("SELECT case_id, LENGTH(appearance) FROM cases"))
        assert database.read("SELECT over FROM cases_totals") == [(4,)]
    over = {a_case(number).case_id: 0 for number in (6, 7, 8)}
    assert rows == over | {a_case(number).case_id: looks.nbytes for number in (1, 2)}


def test_pending_cases_are_those_of_the_last_save() -> None:
    kept, dropped, opened = a_case(1, state=PENDING), a_case(2, state=PENDING), a_case(3)
    with Database.open(":memory:") as database:
        database.save_running("qiaonong-03", [kept, dropped, opened])
        database.save_running("qiaonong-03", [kept, opened])
        found = {case.case_id for case in database.running_cases("qiaonong-03")}
        assert found == {kept.case_id, opened.case_id}
        database.save_running("qiaonong-03", [])
        assert [case.case_id for case in database.running_cases("qiaonong-03")] == [opened.case_id]


def test_after_a_reboot_a_case_keeps_its_dwell_on_the_new_monotonic_clock() -> None:
    before = a_case()
    shift_ns = 1_000 * NS_PER_S
    with Database.open(":memory:") as database:
        store(database)
        (after,) = database.running_cases("qiaonong-03", mono_to_wall=MONO_TO_WALL - shift_ns)
    assert after.started_ns == before.started_ns + shift_ns
    assert after.last_seen_ns - after.started_ns == before.last_seen_ns - before.started_ns
    assert after.opened_ns - after.started_ns == before.opened_ns - before.started_ns
    assert after.started_wall_ns == before.started_wall_ns


def test_a_pending_case_is_still_unopened_after_a_reboot() -> None:
    with Database.open(":memory:") as database:
        database.save_running("qiaonong-03", [a_case(state=PENDING, opened_ns=0, opened_wall_ns=0)])
        (case,) = database.running_cases("qiaonong-03", mono_to_wall=0)
    assert case.opened_ns == 0


def test_a_commit_reaches_the_disk_before_it_returns(tmp_path: Path) -> None:
    with Database.open(tmp_path / "edge.db") as database:
        pragmas = {
            name: database._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}


def test_two_threads_share_one_numbering() -> None:
    with Database.open(":memory:") as database:
        numbers: list[int] = []

        def work(first: int) -> None:
            numbers.extend(store(database, number) for number in range(first, first + 50))

        threads = [threading.Thread(target=work, args=(first,)) for first in (0, 50, 100, 150)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(numbers) == list(range(1, 201))


def test_a_new_database_may_be_opened_by_many_at_the_same_moment(tmp_path: Path) -> None:
    begin = threading.Barrier(6)
    errors: list[StateError] = []

    def open_all() -> None:
        for number in range(60):
            begin.wait(30)
            try:
                Database.open(tmp_path / f"{number}.db").close()
            except StateError as error:
                errors.append(error)

    threads = [threading.Thread(target=open_all) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def _work_in_process(path: Path, first: int, begin: threading.Barrier) -> None:
    begin.wait(30)
    with Database.open(path, busy_s=30) as database:
        for number in range(first, first + 20):
            store(database, number)


def test_processes_that_make_one_database_together_share_one_numbering(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    begin = context.Barrier(3)
    workers = [
        context.Process(target=_work_in_process, args=(tmp_path / "edge.db", first, begin)) for first in (0, 20, 40)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    with Database.open(tmp_path / "edge.db") as database:
        assert [row.sequence for row in database.next_unsent(0, 100)] == list(range(1, 61))


@pytest.mark.parametrize(
    "content", [b"site: {id: xiaohe}\n" * 100, b"SQLite format 3\0" + b"\xff" * 4096], ids=["text", "damaged header"]
)
def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "edge.db"
    path.write_bytes(content)
    with pytest.raises(StateError, match=r"edge\.db: this is not a database; move the file away"):
        Database.open(path)
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["edge.db"]


def test_a_damaged_database_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    with Database.open(path) as database:
        for number in range(50):
            store(database, number)
    content = path.read_bytes()
    page = 4096
    path.write_bytes(content[:page] + b"\xa5" * (len(content) - page))
    damaged = path.read_bytes()
    with pytest.raises(StateError, match=r"edge\.db: the database is damaged; move it away"):
        Database.open(path)
    assert path.read_bytes() == damaged


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE recipe (name TEXT)")
    other.close()
    content = path.read_bytes()
    with pytest.raises(StateError, match="another program's database"):
        Database.open(path)
    assert path.read_bytes() == content


def test_a_newer_databases_version_is_named_and_the_file_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    Database.open(path).close()
    newer = sqlite3.connect(path)
    newer.execute("UPDATE meta SET value = '7' WHERE key = 'schema_version'")
    newer.commit()
    newer.close()
    content = path.read_bytes()
    with pytest.raises(StateError, match="has schema version 7, this program knows 4; install the version"):
        Database.open(path)
    assert path.read_bytes() == content


def a_database_of_version_1(path: Path) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """What the first version left behind, and its rows: an open and a pending case, one alert sent and one waiting."""
    first = sqlite3.connect(path, isolation_level=None)
    first.executescript((Path(__file__).parent / "data" / "edge-version-1.sql").read_text(encoding="utf-8"))
    first.execute("PRAGMA journal_mode = WAL")
    rows = [first.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in ("cases", "outbox")]
    first.close()
    return rows[0], rows[1]


def test_a_database_of_version_1_goes_on_with_its_cases_and_its_outbox(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    cases, outbox = a_database_of_version_1(path)
    with Database.open(path) as database:
        opened, pending = database.running_cases("cam")
        assert [row.sequence for row in database.next_unsent(0, 9)] == [2]
        kept = database._read("SELECT * FROM cases ORDER BY 1")
        assert [row[: len(before)] for row, before in zip(kept, cases, strict=True)] == cases
        assert database._read("SELECT sequence, id, topic, body, created, sent FROM outbox ORDER BY 1") == outbox
        backlog = database.backlog()
        assert (backlog.unsent, backlog.unreceipted, backlog.given_up) == (1, 1, 0)
        assert backlog.bytes == sum(400 + len(topic.encode()) + len(body.encode()) for _, _, topic, body, *_ in outbox)
        assert store(database) == 3
        assert sorted(name for _, name, *_ in database._read("PRAGMA table_info(cases)")) == sorted(database_columns())
    assert (opened.grounds.told_ns, opened.frame_px) == (opened.last_seen_ns, (0, 0))
    assert (pending.state, pending.grounds) == (PENDING, Grounds(begun_at=pending.footprint))
    with Database.open(path) as database:
        assert database.backlog().last_sequence == 3


def test_a_database_of_version_3_goes_on_with_its_cases_and_its_outbox(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    third = sqlite3.connect(path, isolation_level=None)
    third.executescript((Path(__file__).parent / "data" / "edge-version-3.sql").read_text(encoding="utf-8"))
    third.close()
    with Database.open(path) as database:
        assert [case.case_id for case in database.running_cases("cam")] == ["c1"]
        assert [row.sequence for row in database.hand_over_between(1, 9, 9)] == [1, 2]
        assert (database.backlog().unsent, database.backlog().unreceipted) == (1, 1)
        assert database.read("SELECT over FROM cases_totals") == [(1,)]
        assert store(database) == 3
        assert database.put_request("cam", "place", {}, now_wall_ns=0, until_wall_ns=1) == 1
        for table in ("cases", "outbox", "requests", "followers", "relays"):
            assert columns_of(database, table) == database_columns(table)


def columns_of(database: Database, table: str) -> list[str]:
    return sorted(name for _, name, *_ in database.read(f"PRAGMA table_info({table})"))


def database_columns(table: str = "cases") -> list[str]:
    with Database.open(":memory:") as database:
        return columns_of(database, table)


def _open_in_process(path: Path, begin: threading.Barrier) -> None:
    begin.wait(30)
    Database.open(path, busy_s=30).close()


def test_processes_that_find_version_1_together_migrate_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    a_database_of_version_1(tmp_path / "edge.db")
    begin = context.Barrier(3)
    workers = [context.Process(target=_open_in_process, args=(tmp_path / "edge.db", begin)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    with Database.open(tmp_path / "edge.db") as database:
        assert len(database.running_cases("cam")) == 2


def test_a_migration_that_is_cut_off_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "edge.db"
    cases, outbox = a_database_of_version_1(path)
    steps = dict(_MIGRATIONS)
    monkeypatch.setitem(_MIGRATIONS, 1, [*steps[1], "a fault"])  # type: ignore[index]
    with pytest.raises(StateError):
        Database.open(path)
    monkeypatch.undo()
    left = sqlite3.connect(path)
    assert left.execute("SELECT * FROM cases ORDER BY 1").fetchall() == cases
    assert left.execute("SELECT * FROM outbox ORDER BY 1").fetchall() == outbox
    left.close()
    with Database.open(path) as database:
        assert len(database.running_cases("cam")) == 2


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"nowhere/edge\.db: cannot be opened; check that the folder exists"):
        Database.open(tmp_path / "nowhere" / "edge.db")


def test_a_full_disk_is_named_and_takes_nothing_half(tmp_path: Path) -> None:
    with Database.open(tmp_path / "edge.db") as database:
        store(database)
        (pages,) = database._connection.execute("PRAGMA page_count").fetchone()
        database._connection.execute(f"PRAGMA max_page_count = {pages}")
        change = a_change(2, appearance=np.zeros((200, 200), np.float32))
        alert = alert_of(change)
        with pytest.raises(StateError, match="the disk is full; free some space"):
            database.commit(change, alert, topic_of(change))
        assert alert["sequence"] == 0
        assert [row.sequence for row in database.next_unsent(0, 9)] == [1]
        database._connection.execute("PRAGMA max_page_count = 100000")
        assert database.commit(change, alert, topic_of(change)) == 2


def test_a_database_that_may_not_be_written_is_named() -> None:
    with Database.open(":memory:") as database:
        database._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StateError, match="may not be written; check the rights"):
            store(database)


def test_a_database_held_by_another_program_is_named_and_works_afterwards(tmp_path: Path) -> None:
    with Database.open(tmp_path / "edge.db", busy_s=0.05) as database:
        other = sqlite3.connect(tmp_path / "edge.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match=r"another program has held the database for 0\.05 s"):
            store(database)
        other.execute("ROLLBACK")
        other.close()
        assert store(database) == 1
