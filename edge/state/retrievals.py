"""Cases whose evidence somebody asks for again: the uploader brings all of it that is still here, beside the alerts'.

For the command `retrieve`: `Retrievals(database).ask(case_id, wall_ns=...)`, from any process. What the store has
already is recognised there and not sent; what may not leave (originals) does not leave on request either. A case is
struck out when the store has everything, or nothing of it is left here. Without `upload:` nobody reads this.
"""

from __future__ import annotations

from edge.errors import StateError
from edge.state.database import Database

RETRIEVALS_MAX = 10_000  # cases, some 60 bytes each


class Retrievals:
    """The table of cases to be uploaded again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(self, case_id: str, *, wall_ns: int) -> bool:
        """Queue a case; False where it waits already. Raises StateError where too many wait."""
        with self._database.writing() as connection:
            (waiting,) = connection.execute("SELECT COUNT(*) FROM retrievals").fetchone()
            if waiting >= RETRIEVALS_MAX:
                raise StateError(
                    f"{waiting} cases wait to be uploaded already; see with `edge status` what holds them up"
                )
            added = connection.execute(
                "INSERT OR IGNORE INTO retrievals (case_id, asked_wall_ns) VALUES (?, ?)", (case_id, wall_ns)
            )
            return bool(added.rowcount)

    def next_case(self) -> str | None:
        """The one that has waited longest."""
        rows = self._database.read("SELECT case_id FROM retrievals ORDER BY asked_wall_ns, case_id LIMIT 1")
        return str(rows[0][0]) if rows else None

    def done(self, case_id: str) -> None:
        with self._database.writing() as connection:
            connection.execute("DELETE FROM retrievals WHERE case_id = ?", (case_id,))

    def waiting_count(self) -> int:
        return int(self._database.read("SELECT COUNT(*) FROM retrievals")[0][0])
