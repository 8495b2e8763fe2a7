"""What the street brain asked of this gateway and what became of it: each command is done at most once, and its repeat
gets the same reply.

    begin -> the command is done -> finish -> unsent -> sent
         '-> the process ends in the middle: `interrupted` names it at the next start, and it is not done again

Bounded by rows: the oldest go first, but none that a repeat could still bring to life.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge.state.database import Database

COMMANDS_MAX = 1000  # a reply has up to some 100 kB where it brings a picture


@dataclass(frozen=True, slots=True)
class KnownCommand:
    """A command that was begun once."""

    command_id: str
    name: str
    fingerprint: str
    reply: str  # "" while it is being done


class Commands:
    """The table of commands in a gateway's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, command_id: str) -> KnownCommand | None:
        query = "SELECT command_id, name, fingerprint, reply FROM commands WHERE command_id = ?"
        rows = self._database.read(query, command_id)
        return KnownCommand(*rows[0]) if rows else None

    def begin(
        self, command_id: str, *, name: str, fingerprint: str, forgettable_wall_ns: int, now_wall_ns: int
    ) -> bool:
        """Note it before it is done; False where the table is full of commands that must still be remembered."""
        with self._database.writing() as connection:
            if not _make_room(connection, now_wall_ns):
                return False
            connection.execute(
                "INSERT INTO commands (command_id, name, fingerprint, forgettable_wall_ns) VALUES (?, ?, ?, ?)",
                (command_id, name, fingerprint, forgettable_wall_ns),
            )
        return True

    def finish(self, command_id: str, reply: str) -> None:
        """The reply that every repeat gets, too; it waits to be sent."""
        with self._database.writing() as connection:
            connection.execute("UPDATE commands SET reply = ?, sent = 0 WHERE command_id = ?", (reply, command_id))

    def send_again(self, command_id: str) -> None:
        with self._database.writing() as connection:
            connection.execute("UPDATE commands SET sent = 0 WHERE command_id = ? AND reply != ''", (command_id,))

    def interrupted(self) -> Sequence[KnownCommand]:
        """Begun by an earlier process, which ended before it could reply."""
        query = "SELECT command_id, name, fingerprint, reply FROM commands WHERE reply = '' ORDER BY id"
        return [KnownCommand(*row) for row in self._database.read(query)]

    def unsent(self, limit: int) -> Sequence[tuple[str, str]]:
        """At most `limit` ids and replies that no broker has confirmed, oldest first."""
        query = "SELECT command_id, reply FROM commands WHERE sent = 0 AND reply != '' ORDER BY id LIMIT ?"
        return [(command_id, reply) for command_id, reply in self._database.read(query, limit)]

    def mark_sent(self, command_ids: Iterable[str]) -> None:
        with self._database.writing() as connection:
            connection.executemany("UPDATE commands SET sent = 1 WHERE command_id = ?", [(one,) for one in command_ids])


def _make_room(connection: sqlite3.Connection, now_wall_ns: int) -> bool:
    (count,) = connection.execute("SELECT COUNT(*) FROM commands").fetchone()
    if count < COMMANDS_MAX:
        return True
    oldest = "SELECT id FROM commands WHERE forgettable_wall_ns < ? AND reply != '' ORDER BY id LIMIT ?"
    gone = connection.execute(
        f"DELETE FROM commands WHERE id IN ({oldest})", (now_wall_ns, count - COMMANDS_MAX + 1)
    ).rowcount
    return bool(count - gone < COMMANDS_MAX)
