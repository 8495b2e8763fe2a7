"""What is still to be told to whoever follows the alerts beside the broker: uploads, and bridges to other platforms.

A trigger of the database copies each alert for every follower in the transaction that stores it, so that none misses
one and none holds the outbox up. Each takes its copies in order and strikes out what it has dealt with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge.state.database import Database


@dataclass(frozen=True, slots=True)
class Relay:
    """One alert that a follower is still to be told of."""

    sequence: int
    topic: str
    body: str


class Relays:
    """The tables of followers and relays in a gateway's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set_followers(self, names: Iterable[str]) -> None:
        """Exactly these follow from the next alert on; what waits for others is forgotten."""
        wanted = set(names)
        known = {str(name) for (name,) in self._database.read("SELECT name FROM followers")}
        if wanted == known:
            return
        with self._database.writing() as connection:
            for gone in known - wanted:
                connection.execute("DELETE FROM followers WHERE name = ?", (gone,))
                connection.execute("DELETE FROM relays WHERE follower = ?", (gone,))
            connection.executemany("INSERT OR IGNORE INTO followers (name) VALUES (?)", [(name,) for name in wanted])

    def waiting(self, follower: str, *, after: int = 0, limit: int = 100) -> Sequence[Relay]:
        """At most `limit`, in order, with a sequence above `after`."""
        query = "SELECT sequence, topic, body FROM relays WHERE follower = ? AND sequence > ? ORDER BY sequence LIMIT ?"
        return [Relay(*row) for row in self._database.read(query, follower, after, limit)]

    def waiting_count(self, follower: str) -> int:
        """Costs the same however many wait."""
        rows = self._database.read("SELECT waiting FROM followers WHERE name = ?", follower)
        return int(rows[0][0]) if rows else 0

    def done(self, follower: str, sequences: Iterable[int]) -> None:
        with self._database.writing() as connection:
            connection.executemany(
                "DELETE FROM relays WHERE follower = ? AND sequence = ?", [(follower, one) for one in sequences]
            )
