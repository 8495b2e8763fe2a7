"""On which days people gathered at a place: counts and times, kept for the rules that ask how often it came.

A camera's worker writes all of its rows anew; it drops those that no rule asks for any more.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge.core.types import Occurrence
from edge.state.database import Database


class Occurrences:
    """The table of occurrences in a gateway's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_camera(self, camera: str) -> list[Occurrence]:
        query = (
            "SELECT scenario, zone, day, started_wall_ns, count, told FROM occurrences "
            "WHERE camera = ? ORDER BY scenario, zone, day"
        )
        return [
            Occurrence(str(scenario), str(zone), int(day), int(started_ns), int(count), bool(told))
            for scenario, zone, day, started_ns, count, told in self._database.read(query, camera)
        ]

    def keep(self, camera: str, occurrences: Iterable[Occurrence]) -> None:
        with self._database.writing() as connection:
            connection.execute("DELETE FROM occurrences WHERE camera = ?", (camera,))
            connection.executemany(
                "INSERT INTO occurrences (camera, scenario, zone, day, started_wall_ns, count, told) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (camera, one.scenario, one.zone, one.day, one.started_wall_ns, one.count, int(one.told))
                    for one in occurrences
                ],
            )

    def forget_other_cameras(self, configured: Iterable[str]) -> None:
        """Nobody will ask for those of cameras that are gone."""
        names = list(configured)
        marks = ", ".join("?" * len(names))
        with self._database.writing() as connection:
            connection.execute(f"DELETE FROM occurrences WHERE camera NOT IN ({marks})", names)
