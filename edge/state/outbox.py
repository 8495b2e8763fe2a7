"""The outbox: alerts that wait for their delivery, a table of the gateway's database.

    append -> waits -> hand_over -> mark_sent (the broker has it) -> delete (the brain has it)
                |         '-> delete_sent (the broker has it, and no receipts come)
                '-> merged into a later alert, or given up, where the outbox is over its bound

What has been handed over once is never changed again: its id may be known outside, and who dedupes by id would keep the
old body. So an alert takes the numbers of others over (`data.replaces`) only while it is beyond `handed_over`.
"""

from __future__ import annotations

import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from edge.core.types import CLEARED, WITHDRAWN

REPLACES_MAX = 1000  # numbers that one alert may carry: 8 kB of its body
HAND_OVER_MAX_BYTES = 2_000_000  # of bodies at once
_UPDATED = "updated"
_OPENED = "opened"
_ENDS = (CLEARED, WITHDRAWN)
_ROW_BYTES = 400  # of a row and its index entries, beside topic and body
_STEPS_MAX = 32  # alerts merged or given up by one commit, so that each takes about the same time
_TRIES_MAX = 20  # beyond, the pause is not doubled any more

# What a later alert of its case says all over again: the first to go when room is needed, in this order.
_SUPERSEDED = 1  # an update
_OVER = 2  # the opening of a case that has ended since


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One alert that waits for its delivery."""

    sequence: int
    id: str
    topic: str
    body: str


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far the delivery is behind."""

    unsent: int
    oldest: str  # the time of the oldest unsent alert as it stands in it, "" where all are sent
    last_sequence: int  # the highest ever given, 0 before the first alert
    unreceipted: int  # sent, and the brain has not confirmed them
    oldest_unreceipted: str
    merged: int  # ever, as the three that follow: covered by the `replaces` of a later one
    given_up: int  # for room, with those that they stood for
    bytes: int  # what all that is here takes


class OutboxTable(ABC):
    """The outbox of a database. Every method may be called from any thread, and is all or nothing."""

    @abstractmethod
    def read(self, query: str, *values: object) -> list[tuple[Any, ...]]: ...

    @abstractmethod
    def writing(self) -> AbstractContextManager[sqlite3.Connection]: ...

    def bound_outbox(self, *, alerts_max: int, bytes_max: int) -> None:
        """For all processes from now on; what is over it goes with the next alerts, some with each."""
        if self.read("SELECT alerts_max, bytes_max FROM outbox_totals") == [(alerts_max, bytes_max)]:
            return
        with self.writing() as connection:
            connection.execute("UPDATE outbox_totals SET alerts_max = ?, bytes_max = ?", (alerts_max, bytes_max))

    def number_from(self, sequence: int) -> None:
        """The next alert gets a number above this one: who waits for the numbers between sees that they are missing."""
        with self.writing() as connection:
            connection.execute("DELETE FROM sqlite_sequence WHERE name = 'outbox'")
            connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', ?)", (sequence,))

    def next_unsent(self, after: int, limit: int) -> Sequence[OutboxRow]:
        """At most `limit` alerts that no broker has confirmed, in order, with a sequence above `after`."""
        query = "SELECT sequence, id, topic, body FROM outbox WHERE sent = 0 AND sequence > ? ORDER BY sequence LIMIT ?"
        return [OutboxRow(*row) for row in self.read(query, after, limit)]

    def unsent_numbers(self, after: int, limit: int) -> Sequence[int]:
        """The same, their sequences alone: what is read often."""
        query = "SELECT sequence FROM outbox WHERE sent = 0 AND sequence > ? ORDER BY sequence LIMIT ?"
        return [int(number) for (number,) in self.read(query, after, limit)]

    def alerts_between(self, first: int, last: int, limit: int) -> Sequence[OutboxRow]:
        """At most `limit` of those with these numbers that are still here, in order; the others are gone."""
        query = "SELECT sequence, id, topic, body FROM outbox WHERE sequence BETWEEN ? AND ? ORDER BY sequence LIMIT ?"
        return [OutboxRow(*row) for row in self.read(query, first, last, limit)]

    def numbers_between(self, first: int, last: int) -> Sequence[int]:
        """Those of them that are still here, in order."""
        query = "SELECT sequence FROM outbox WHERE sequence BETWEEN ? AND ? ORDER BY sequence"
        return [int(number) for (number,) in self.read(query, first, last)]

    def hand_over(self, after: int, limit: int) -> Sequence[OutboxRow]:
        """At most `limit` alerts above `after` that no broker has confirmed, in order, to be published now.

        None of them is changed from now on, which is written down before they are given out. No more than
        HAND_OVER_MAX_BYTES, but for a single one that is longer.
        """
        if not self.read("SELECT 1 FROM outbox WHERE sent = 0 AND sequence > ? LIMIT 1", after):
            return []
        return self._handed_over("sent = 0 AND sequence > ? ORDER BY sequence LIMIT ?", after, limit)

    def hand_over_between(self, first: int, last: int, limit: int) -> Sequence[OutboxRow]:
        """Likewise, those with these numbers, sent or not."""
        return self._handed_over("sequence BETWEEN ? AND ? ORDER BY sequence LIMIT ?", first, last, limit)

    def sent_before(
        self, after: int, limit: int, *, last: int, before_wall_ns: int, now_wall_ns: int
    ) -> Sequence[OutboxRow]:
        """Likewise, of those up to `last` what has no receipt, but for what was sent between the two moments.

        So what was sent in a time that the clock has not reached again is among them.
        """
        where = "sent = 1 AND sequence > ? AND sequence <= ? AND sent_wall_ns NOT BETWEEN ? AND ?"
        values = (after, last, before_wall_ns + 1, now_wall_ns)
        return self._sent(f"INDEXED BY outbox_sent WHERE {where} ORDER BY sequence LIMIT ?", *values, limit)

    def overdue(self, limit: int, *, now_wall_ns: int, redrive_max_ns: int, sent_before_ns: int) -> Sequence[OutboxRow]:
        """Alerts that the broker has had for so long that their receipts should be here, if sent before that moment.

        What is due only later than `redrive_max_ns` from now was sent before the clock was set back, and is due too.
        """
        where = (
            "INDEXED BY outbox_due WHERE sent = 1 AND sent_wall_ns < ? AND (due_wall_ns <= ? OR due_wall_ns > ?) "
            "ORDER BY sent_wall_ns, due_wall_ns, sequence LIMIT ?"
        )
        return self._sent(where, sent_before_ns, now_wall_ns, now_wall_ns + redrive_max_ns, limit)

    def _sent(self, where: str, *values: object) -> Sequence[OutboxRow]:
        """Of what was sent: it was handed over before, so there is nothing to be written down."""
        numbers: list[int] = []
        size = 0
        for sequence, weight in self.read(f"SELECT sequence, bytes FROM outbox {where}", *values):
            size += weight
            if numbers and size > HAND_OVER_MAX_BYTES:
                break
            numbers.append(sequence)
        query = f"SELECT sequence, id, topic, body FROM outbox WHERE sequence IN ({', '.join('?' * len(numbers))})"
        rows = {row[0]: OutboxRow(*row) for row in self.read(query, *numbers)} if numbers else {}
        return [rows[number] for number in numbers if number in rows]

    def _handed_over(self, where: str, *values: object) -> Sequence[OutboxRow]:
        rows: list[OutboxRow] = []
        size = 0
        with self.writing() as connection:
            for row in connection.execute(f"SELECT sequence, id, topic, body FROM outbox WHERE {where}", values):
                size += len(row[3])
                if rows and size > HAND_OVER_MAX_BYTES:
                    break
                rows.append(OutboxRow(*row))
            if rows:
                highest = max(row.sequence for row in rows)
                connection.execute("UPDATE outbox_totals SET handed_over = ? WHERE handed_over < ?", (highest, highest))
        return rows

    def unsent_count(self) -> int:
        return int(self.read("SELECT unsent FROM outbox_totals")[0][0])

    def backlog(self) -> Backlog:
        """Costs the same however many wait."""
        query = (
            "SELECT unsent, (SELECT created FROM outbox WHERE sent = 0 ORDER BY sequence LIMIT 1), "
            "(SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), "
            "unreceipted, (SELECT created FROM outbox ORDER BY sequence LIMIT 1), merged, given_up, bytes "
            "FROM outbox_totals"
        )
        unsent, oldest_unsent, last_sequence, unreceipted, oldest, merged, given_up, size = self.read(query)[0]
        return Backlog(
            unsent=unsent,
            oldest=oldest_unsent or "",
            last_sequence=last_sequence or 0,
            unreceipted=unreceipted,
            oldest_unreceipted=oldest if unreceipted else "",
            merged=merged,
            given_up=given_up,
            bytes=size,
        )

    def mark_sent(
        self, sequences: Iterable[int], *, now_wall_ns: int = 0, redrive_ns: int = 0, redrive_max_ns: int = 0
    ) -> None:
        """The broker has these alerts; their rows stay until `delete`.

        Each is `overdue` after `redrive_ns`, which doubles every time that it is sent, to `redrive_max_ns` at most.
        """
        rows = [(now_wall_ns, now_wall_ns, redrive_ns, _TRIES_MAX, redrive_max_ns, one) for one in sequences]
        with self.writing() as connection:
            connection.executemany(
                "UPDATE outbox SET sent = 1, tries = tries + 1, sent_wall_ns = ?, "
                "due_wall_ns = ? + MIN(? << MIN(tries, ?), ?) WHERE sequence = ?",
                rows,
            )

    def delete(self, ids: Iterable[str]) -> int | None:
        """The street brain has stored these alerts; an unknown id is nothing new to it and to us.

        Returns when the one that was sent last of them was sent, None where none of them was here.
        """
        last_ns: int | None = None
        with self.writing() as connection:
            for one in ids:
                query = "SELECT sequence, sent_wall_ns FROM outbox WHERE id = ?"
                for sequence, sent_ns in connection.execute(query, (one,)).fetchall():
                    connection.execute("DELETE FROM outbox WHERE sequence = ?", (sequence,))
                    last_ns = max(sent_ns, last_ns or 0)
        return last_ns

    def delete_sent(self, sequences: Iterable[int]) -> None:
        """The broker has these alerts, and its word is all that will come."""
        with self.writing() as connection:
            connection.executemany("DELETE FROM outbox WHERE sequence = ?", [(one,) for one in sequences])


def append(
    connection: sqlite3.Connection, alert: Mapping[str, object], topic: str, *, case_id: str, kind: str
) -> tuple[int, list[int]]:
    """Store an alert of a case; returns its number and those that it replaces.

    Two steps in one transaction, for the body holds the number that the row gets; and between them room is made, for
    the newest alert can take any number over: nobody has seen it yet.
    """
    cursor = connection.execute(
        "INSERT INTO outbox (id, topic, created, case_id, kind, body) VALUES (?, ?, ?, ?, ?, '')",
        (alert["id"], topic, alert["time"], case_id, kind),
    )
    sequence = int(cursor.lastrowid or 0)
    _supersede(connection, case_id, kind, sequence)
    numbered = {**alert, "sequence": sequence}
    body = line(numbered)
    if replaces := _make_room(connection, sequence, coming_bytes=_size(topic, body)):
        body = line(with_replaces(numbered, replaces))
    _store_body(connection, sequence, topic, body, replaces)
    return sequence, replaces


def with_replaces(alert: Mapping[str, Any], replaces: Sequence[int]) -> dict[str, Any]:
    """The alert that stands for these numbers, too; without its thumbnail, which was cut to what a broker takes."""
    if not replaces:
        return dict(alert)
    data = {name: value for name, value in alert["data"].items() if name != "thumbnail"}
    return {**alert, "data": {**data, "replaces": sorted(replaces)}}


def line(message: Mapping[str, object]) -> str:
    """As it is published."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _supersede(connection: sqlite3.Connection, case_id: str, kind: str, sequence: int) -> None:
    """What this alert says all over again is marked, so that it is found at once when room is needed."""
    before = "SELECT sequence FROM outbox WHERE case_id = ? AND sequence < ? ORDER BY sequence DESC LIMIT 1"
    connection.execute(
        f"UPDATE outbox SET spare = ? WHERE sequence = ({before}) AND kind = ?",
        (_SUPERSEDED, case_id, sequence, _UPDATED),
    )
    if kind in _ENDS:
        first = "SELECT sequence FROM outbox WHERE case_id = ? ORDER BY sequence LIMIT 1"
        connection.execute(
            f"UPDATE outbox SET spare = ? WHERE sequence = ({first}) AND kind = ?", (_OVER, case_id, _OPENED)
        )


def _make_room(connection: sqlite3.Connection, newest: int, *, coming_bytes: int) -> list[int]:
    """Merge or give up, while the outbox is over its bound; returns the numbers that the newest alert takes over.

    `coming_bytes` is what the newest, whose row is still empty, is going to take.

    A superseded update goes into the next alert of its case, the opening of a case into its end, if those have not
    been handed over yet. Else the newest alert takes its number: what it said is said, and only the gap needs a word.
    When nothing is left that is said elsewhere, the oldest alert is given up.
    """
    carried: list[int] = []
    for _ in range(_STEPS_MAX):
        if not _is_over_its_bound(connection, coming_bytes):
            break
        spare = connection.execute(
            "SELECT sequence, case_id, spare, replaces FROM outbox WHERE spare > 0 ORDER BY spare, sequence LIMIT 1"
        ).fetchone()
        if spare is None:
            if not _give_up_oldest(connection, newest):
                break
            continue
        sequence, case_id, rank, inherited = spare
        numbers = [*_numbers(inherited), sequence]
        if len(numbers) > REPLACES_MAX:  # nobody can carry so many: it stays, as an alert of its own
            connection.execute("UPDATE outbox SET spare = 0 WHERE sequence = ?", (sequence,))
            continue
        if not _merge_into_its_case(connection, case_id, rank, numbers, newest):
            if len(carried) + len(numbers) > REPLACES_MAX:
                break
            carried += numbers
        connection.execute("DELETE FROM outbox WHERE sequence = ?", (sequence,))
        connection.execute("UPDATE outbox_totals SET merged = merged + 1")
    return carried


def _is_over_its_bound(connection: sqlite3.Connection, coming_bytes: int) -> bool:
    query = "SELECT unsent + unreceipted > alerts_max OR bytes + ? > bytes_max FROM outbox_totals"
    return bool(connection.execute(query, (coming_bytes,)).fetchone()[0])


def _merge_into_its_case(
    connection: sqlite3.Connection, case_id: str, rank: int, numbers: Sequence[int], newest: int
) -> bool:
    """Whether an alert of this case could take the numbers over."""
    ends = "AND kind IN (?, ?)" if rank == _OVER else ""
    survivor = connection.execute(
        "SELECT sequence, topic, replaces, body FROM outbox WHERE case_id = ? AND sequence < ? "
        f"AND sequence > MAX(?, (SELECT handed_over FROM outbox_totals)) {ends} ORDER BY sequence LIMIT 1",
        (case_id, newest, numbers[-1], *(_ENDS if ends else ())),
    ).fetchone()
    if survivor is None:
        return False
    sequence, topic, inherited, body = survivor
    replaces = [*_numbers(inherited), *numbers]
    if len(replaces) > REPLACES_MAX:
        return False
    _store_body(connection, sequence, topic, line(with_replaces(json.loads(body), replaces)), replaces)
    return True


def _give_up_oldest(connection: sqlite3.Connection, newest: int) -> bool:
    """False where the newest alert is the only one: it stays, whatever the bound."""
    oldest = connection.execute("SELECT sequence, replaces FROM outbox ORDER BY sequence LIMIT 1").fetchone()
    sequence, inherited = oldest
    if sequence == newest:
        return False
    connection.execute("DELETE FROM outbox WHERE sequence = ?", (sequence,))
    lost = 1 + len(_numbers(inherited))
    connection.execute("UPDATE outbox_totals SET given_up = given_up + ?", (lost,))
    return True


def _store_body(connection: sqlite3.Connection, sequence: int, topic: str, body: str, replaces: Sequence[int]) -> None:
    connection.execute(
        "UPDATE outbox SET body = ?, bytes = ?, replaces = ? WHERE sequence = ?",
        (body, _size(topic, body), ",".join(map(str, sorted(replaces))), sequence),
    )


def _size(topic: str, body: str) -> int:
    return _ROW_BYTES + len(topic.encode()) + len(body.encode())


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")] if text else []
