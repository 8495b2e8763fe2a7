"""Cases and the outbox of alerts in one SQLite database: a case and its alert are stored together or not at all.

Write-ahead log, every commit on disk before it returns. Several processes may open one database; a connection must
not cross a fork. Bodies are stored as they will be published: nobody builds an alert twice.
It refuses to touch a file that it does not know: a damaged one, another program's, or one of a newer version.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from edge.core.types import CLEARED, PENDING, WITHDRAWN, Case, CaseChange, Grounds, Occurrence
from edge.errors import StateError
from edge.ports import WordedMeasure
from edge.state.outbox import OutboxTable, append, line, with_replaces

SCHEMA_VERSION = 4
IN_MEMORY = ":memory:"
MEASURES_MAX = 10_000  # of all cameras: an hour of 64 cameras with three measures each a minute
CASES_OVER_MAX = 100_000  # cleared and withdrawn ones that a word can still be said of; some 500 bytes each
REQUESTS_MAX = 1000  # of all cameras; operators are people
_JOURNAL_TRIES = 100  # as many gateways' processes as may open a new database at the same moment

_CORNERS = ("x1", "y1", "x2", "y2")
_FRAME = ("frame_width_px", "frame_height_px")
_BEGUN = ("begun_x1", "begun_y1", "begun_x2", "begun_y2")
_APART = (
    "footprint",
    "appearance",
    "frame_px",
    "reasons",
    "occurrences",
    "grounds",
    "begun_at",
)  # fields that are not one column
_PLAIN = tuple(field.name for field in fields(Case) if field.name not in _APART)
_GROUNDS = tuple(field.name for field in fields(Grounds) if field.name not in _APART)
_COLUMNS = (*_PLAIN, *_CORNERS, "appearance", *_FRAME, "reasons", "occurrences", *_GROUNDS, *_BEGUN)


def _saving(columns: Sequence[str]) -> str:
    return (
        f"INSERT INTO cases ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "
        f"ON CONFLICT (case_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in columns[1:])}"
    )


_SAVE_CASE = _saving(_COLUMNS)
_SAVE_TOLD_CASE = _saving((*_COLUMNS, "told_id", "told_sequence"))
_OVER = (CLEARED, WITHDRAWN)
# The oldest of those that are over, but for dismissed ones whose things still stay.
_FORGET_CASES = (
    "DELETE FROM cases WHERE case_id IN (SELECT case_id FROM cases WHERE state IN ('cleared', 'withdrawn') "
    "AND case_id NOT IN (SELECT case_id FROM dismissals) ORDER BY started_wall_ns LIMIT ?)"
)
_COUNT_CASES_OVER = "SELECT over - (SELECT COUNT(*) FROM dismissals) FROM cases_totals"

# From each earlier version to the next, as `schema.sql` would have made it. Version 1 did not keep what a case is
# judged by: a pending one must prove itself anew.
_MIGRATIONS: Mapping[int, Sequence[str]] = {
    1: (
        "ALTER TABLE cases ADD COLUMN frame_width_px INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE cases ADD COLUMN frame_height_px INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE cases ADD COLUMN found_ns INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE cases ADD COLUMN found_looks INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE cases ADD COLUMN score_sum REAL NOT NULL DEFAULT 0",
        "ALTER TABLE cases ADD COLUMN arrived INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE cases ADD COLUMN changed_looks INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE cases ADD COLUMN empty_ns INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE cases ADD COLUMN departed INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE cases ADD COLUMN told_ns INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE cases ADD COLUMN begun_x1 REAL NOT NULL DEFAULT 0",
        "ALTER TABLE cases ADD COLUMN begun_y1 REAL NOT NULL DEFAULT 0",
        "ALTER TABLE cases ADD COLUMN begun_x2 REAL NOT NULL DEFAULT 0",
        "ALTER TABLE cases ADD COLUMN begun_y2 REAL NOT NULL DEFAULT 0",
        "UPDATE cases SET begun_x1 = x1, begun_y1 = y1, begun_x2 = x2, begun_y2 = y2",
        "UPDATE cases SET told_ns = last_seen_ns WHERE state = 'opened'",
    ),
    2: (
        "ALTER TABLE cases ADD COLUMN reasons TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE cases ADD COLUMN occurrences TEXT NOT NULL DEFAULT '[]'",
    ),
    # Alerts of before have no kind here: they are never merged. Nobody waits for a request, and nobody follows.
    3: (
        "ALTER TABLE cases ADD COLUMN told_id TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE cases ADD COLUMN told_sequence INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE outbox ADD COLUMN case_id TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE outbox ADD COLUMN kind TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE outbox ADD COLUMN spare INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE outbox ADD COLUMN replaces TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE outbox ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE outbox ADD COLUMN tries INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE outbox ADD COLUMN sent_wall_ns INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE outbox ADD COLUMN due_wall_ns INTEGER NOT NULL DEFAULT 0",
        "UPDATE outbox SET bytes = 400 + LENGTH(CAST(topic AS BLOB)) + LENGTH(CAST(body AS BLOB))",
        # Their evidence is kept until they are delivered.
        "UPDATE outbox SET case_id = COALESCE(json_extract(body, '$.data.case_id'), '') WHERE json_valid(body)",
        "DROP TABLE IF EXISTS requests",
        "DROP TABLE IF EXISTS followers",
        "DROP TABLE IF EXISTS relays",
    ),
}

_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_NOTADB: "this is not a database; move the file away or name another state folder",
    sqlite3.SQLITE_CORRUPT: "the database is damaged; move it away (a new one is made) or restore a copy",
    sqlite3.SQLITE_READONLY: "the database may not be written; check the rights of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that the folder exists and may be written",
    sqlite3.SQLITE_IOERR: "the disk failed; check it and the space left on it",
}


class DamagedError(StateError):
    """The file is no database, or no longer one."""


@dataclass(frozen=True, slots=True)
class Request:
    """What an operator asks of one camera's worker."""

    id: int
    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request: done or refused, what the operator is told, and for programs what came of it."""

    done: bool
    words: str
    result: Mapping[str, Any] = field(default_factory=dict)  # plain JSON


class Database(OutboxTable):
    """Open it with `Database.open`. Every method may be called from any thread."""

    def __init__(self, connection: sqlite3.Connection, path: str, busy_s: float) -> None:
        self._connection = connection
        self._path = path
        self._busy_s = busy_s
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path | str, *, busy_s: float = 5.0) -> Database:
        """The database at `path`, made if there is none; `busy_s` is how long to wait for another writer.

        Raises StateError where the file is not ours to use, and leaves it as it is.
        """
        with _explained(str(path), busy_s):
            connection = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
        database = cls(connection, str(path), busy_s)
        try:
            database._prepare()
        except BaseException:
            connection.close()
            raise
        return database

    def commit(self, change: CaseChange, alert: dict[str, object], topic: str) -> int:
        """Store the case and its alert in one transaction; sets and returns the alert's `sequence`.

        An alert whose id is stored already changes nothing and gets the number that it has. So does the last one of its
        case, even if it was delivered since: a writer that does not know whether its commit has succeeded asks again.
        Where the outbox is full, `alert` may come to stand for others: it is then given their numbers.
        """
        case, kind = change.case, change.kind
        with self._transaction() as connection:
            sequence, replaces = _known(connection, str(alert["id"]), case.case_id), list[int]()
            if not sequence:
                sequence, replaces = append(connection, alert, topic, case_id=case.case_id, kind=kind)
                connection.execute(_SAVE_TOLD_CASE, (*_row_of(case), alert["id"], sequence))
                if case.state in _OVER:
                    _forget_cases(connection)
        alert["sequence"] = sequence
        if replaces:
            alert["data"] = with_replaces(alert, replaces)["data"]
        return sequence

    def save_running(self, camera: str, cases: Iterable[Case]) -> None:
        """Keep this camera's pending and open cases for a restart; a pending case that is not named is forgotten."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM cases WHERE camera = ? AND state = ?", (camera, PENDING))
            connection.executemany(_SAVE_CASE, [_row_of(case) for case in cases])

    def running_cases(self, camera: str, *, mono_to_wall: int | None = None) -> list[Case]:
        """This camera's pending and open cases, oldest first.

        The monotonic clock starts anew when the machine does. Given today's `wall_ns - mono_ns`, the times of each
        case are moved so that its start lies where the wall clock says.
        """
        query = (
            f"SELECT {', '.join(_COLUMNS)} FROM cases WHERE camera = ? AND state IN ('pending', 'opened') "
            "ORDER BY started_wall_ns, case_id"
        )
        cases = [_case_of(row) for row in self._read(query, camera)]
        return cases if mono_to_wall is None else [_rebased(case, mono_to_wall) for case in cases]

    def dismissed_cases(self, camera: str, *, mono_to_wall: int | None = None) -> list[Case]:
        """This camera's withdrawn cases whose things are to be left alone while they stay, oldest first."""
        query = (
            f"SELECT {', '.join(_COLUMNS)} FROM cases WHERE state = 'withdrawn' "
            "AND case_id IN (SELECT case_id FROM dismissals WHERE camera = ?) ORDER BY started_wall_ns, case_id"
        )
        cases = [_case_of(row) for row in self._read(query, camera)]
        return cases if mono_to_wall is None else [_rebased(case, mono_to_wall) for case in cases]

    def known_case(self, case_id: str) -> Case | None:
        """A case that was opened once, whatever became of it."""
        query = f"SELECT {', '.join(_COLUMNS)} FROM cases WHERE case_id = ? AND state != 'pending'"
        rows = self._read(query, case_id)
        return _case_of(rows[0]) if rows else None

    def running_cameras(self) -> list[str]:
        """The cameras that have pending or open cases."""
        query = "SELECT DISTINCT camera FROM cases WHERE state IN ('pending', 'opened') ORDER BY camera"
        return [str(camera) for (camera,) in self._read(query)]

    def put_measures(self, measures: Sequence[WordedMeasure]) -> int:
        """Keep measures for the courier; the oldest are given up for those beyond MEASURES_MAX. Returns how many."""
        rows = [(measure.topic, line(measure.body)) for measure in measures]
        with self._transaction() as connection:
            connection.executemany("INSERT INTO measures (topic, body) VALUES (?, ?)", rows)
            (count,) = connection.execute("SELECT COUNT(*) FROM measures").fetchone()
            dropped = max(int(count) - MEASURES_MAX, 0)
            if dropped:
                oldest = "SELECT id FROM measures ORDER BY id LIMIT ?"
                connection.execute(f"DELETE FROM measures WHERE id IN ({oldest})", (dropped,))
        return dropped

    def take_measures(self, limit: int) -> Sequence[tuple[str, str]]:
        """At most `limit` of the oldest measures, topic and body. They are gone then: none is ever sent twice."""
        if not self._read("SELECT 1 FROM measures LIMIT 1"):
            return []
        with self._transaction() as connection:
            rows = connection.execute("SELECT id, topic, body FROM measures ORDER BY id LIMIT ?", (limit,)).fetchall()
            connection.executemany("DELETE FROM measures WHERE id = ?", [(row[0],) for row in rows])
        return [(topic, body) for _, topic, body in rows]

    def waiting_measures(self) -> int:
        return int(self._read("SELECT COUNT(*) FROM measures")[0][0])

    def put_request(
        self, camera: str, kind: str, body: Mapping[str, object], *, now_wall_ns: int, until_wall_ns: int
    ) -> int:
        """Ask something of a camera's worker; returns the request's id. What nobody waits for any more is deleted."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM requests WHERE until_wall_ns < ?", (now_wall_ns,))
            (waiting,) = connection.execute("SELECT COUNT(*) FROM requests").fetchone()
            if waiting >= REQUESTS_MAX:
                raise StateError(
                    f"{self._path}: {waiting} requests wait already; see with `edge status` who is to answer"
                )
            cursor = connection.execute(
                "INSERT INTO requests (camera, kind, body, created_wall_ns, until_wall_ns) VALUES (?, ?, ?, ?, ?)",
                (camera, kind, json.dumps(body, ensure_ascii=False, allow_nan=False), now_wall_ns, until_wall_ns),
            )
            return int(cursor.lastrowid or 0)

    def open_requests(self, camera: str, *, now_wall_ns: int) -> list[Request]:
        """What this camera's worker has not answered yet and somebody still waits for, oldest first. Cheap."""
        query = (
            "SELECT id, kind, body FROM requests "
            "WHERE camera = ? AND done IS NULL AND until_wall_ns >= ? ORDER BY id LIMIT ?"
        )
        rows = self._read(query, camera, now_wall_ns, REQUESTS_MAX)
        return [Request(number, kind, json.loads(body)) for number, kind, body in rows]

    def answer_request(self, number: int, answer: Answer) -> None:
        with self._transaction() as connection:
            connection.execute(
                "UPDATE requests SET done = ?, answer = ?, result = ? WHERE id = ?",
                (int(answer.done), answer.words, line(answer.result), number),
            )

    def answer_to(self, number: int) -> Answer | None:
        """None while it waits."""
        rows = self._read("SELECT done, answer, result FROM requests WHERE id = ? AND done IS NOT NULL", number)
        return Answer(bool(rows[0][0]), str(rows[0][1]), json.loads(rows[0][2])) if rows else None

    def delete_request(self, number: int) -> None:
        with self._transaction() as connection:
            connection.execute("DELETE FROM requests WHERE id = ?", (number,))

    def read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """For the tables that have a module of their own beside this one."""
        return self._read(query, *values)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, likewise: all of it or nothing."""
        with self._transaction() as connection:
            yield connection

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _prepare(self) -> None:
        """Look before writing: not even the switch to the write-ahead log may touch a file that is not ours."""
        tables = {name for (name,) in self._read("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and "meta" not in tables:
            raise StateError(f"{self._path}: this is another program's database; name another state folder")
        if tables:
            self._migrate()
            self._check_version()
        with self._lock, _explained(self._path, self._busy_s):
            self._switch_to_write_ahead_log()
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript((files("edge.state") / "schema.sql").read_text(encoding="utf-8"))
        self._check_version()

    def _switch_to_write_ahead_log(self) -> None:
        """SQLite does not wait for another process here, so a transaction, which does, waits in its stead."""
        for tries_left in reversed(range(_JOURNAL_TRIES)):
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if not tries_left or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("COMMIT")

    def _migrate(self) -> None:
        """From an earlier version to ours, in one transaction: another process may be about to do the same."""
        if self._version() not in map(str, _MIGRATIONS):
            return
        with self._transaction() as connection:
            while self._version() in map(str, _MIGRATIONS):
                version = int(self._version())
                for step in _MIGRATIONS[version]:
                    connection.execute(step)
                connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(version + 1),))

    def _version(self) -> str:
        rows = self._read("SELECT value FROM meta WHERE key = 'schema_version'")
        return str(rows[0][0]) if rows else "none"

    def _check_version(self) -> None:
        version = self._version()
        if version != str(SCHEMA_VERSION):
            raise StateError(
                f"{self._path}: the database has schema version {version}, this program knows {SCHEMA_VERSION}; "
                "install the version of edge that made it, or name another state folder"
            )

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock, _explained(self._path, self._busy_s):
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _explained(self._path, self._busy_s):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk has rolled back by itself
                    self._connection.execute("ROLLBACK")
                raise


@contextmanager
def _explained(path: str, busy_s: float) -> Iterator[None]:
    """SQLite's errors in the words of whoever must mend them."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the kind, the rest its variety
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            advice = f"another program has held the database for {busy_s:g} s; stop the other one"
        else:
            advice = _ADVICE.get(code, "the database failed")
        kind = DamagedError if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT) else StateError
        raise kind(f"{path}: {advice} ({error})") from error


def _known(connection: sqlite3.Connection, alert_id: str, case_id: str) -> int:
    """The number of an alert that is in the outbox, or was the last one of its case; 0 for a new one."""
    here = connection.execute("SELECT sequence FROM outbox WHERE id = ?", (alert_id,)).fetchone()
    query = "SELECT told_sequence FROM cases WHERE case_id = ? AND told_id = ?"
    told = here or connection.execute(query, (case_id, alert_id)).fetchone()
    return int(told[0]) if told else 0


def _forget_cases(connection: sqlite3.Connection) -> None:
    (count,) = connection.execute(_COUNT_CASES_OVER).fetchone()
    if count > CASES_OVER_MAX:
        connection.execute(_FORGET_CASES, (count - CASES_OVER_MAX,))


def _row_of(case: Case) -> tuple[object, ...]:
    return (
        *(_plain(getattr(case, name)) for name in _PLAIN),
        *map(float, case.footprint),
        # Nobody looks for the thing of a cleared case again, and its looks are most of the row.
        b"" if case.state == CLEARED else case.appearance.astype("<f4").tobytes(),
        *map(int, case.frame_px),
        json.dumps(case.reasons, ensure_ascii=False),
        json.dumps([(one.day, one.started_wall_ns, one.count, one.told) for one in case.occurrences]),
        *(_plain(getattr(case.grounds, name)) for name in _GROUNDS),
        *map(float, case.grounds.begun_at),
    )


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def _case_of(row: tuple[Any, ...]) -> Case:
    named = dict(zip(_COLUMNS, row, strict=True))
    patch = np.frombuffer(named.pop("appearance"), "<f4").astype(np.float32)
    side = math.isqrt(len(patch))
    footprint, frame_px, begun_at = (tuple(named.pop(name) for name in names) for names in (_CORNERS, _FRAME, _BEGUN))
    grounds = {name: named.pop(name) for name in _GROUNDS}
    reasons = tuple(json.loads(named.pop("reasons")))
    days = json.loads(named.pop("occurrences"))
    for name in ("arrived", "departed"):
        grounds[name] = bool(grounds[name])
    return Case(
        **named,
        footprint=footprint,
        appearance=patch.reshape(side, side),
        frame_px=frame_px,
        reasons=reasons,
        occurrences=tuple(Occurrence(named["scenario"], named["zone"], *day) for day in days),
        grounds=Grounds(**grounds, begun_at=begun_at),
    )


def _rebased(case: Case, mono_to_wall: int) -> Case:
    shift = case.started_wall_ns - mono_to_wall - case.started_ns
    told_ns = case.grounds.told_ns
    return replace(
        case,
        started_ns=case.started_ns + shift,
        opened_ns=case.opened_ns + shift if case.opened_ns else 0,
        last_seen_ns=case.last_seen_ns + shift,
        grounds=replace(case.grounds, told_ns=told_ns + shift if told_ns else 0),
    )
