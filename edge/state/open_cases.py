"""The cases that are open now, as other systems are told of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.state.database import Database

_RUNNING = "state IN ('pending', 'opened')"  # the words of an index, so that what is over costs nothing


@dataclass(frozen=True, slots=True)
class OpenCase:
    case_id: str
    camera: str
    scenario: str
    zone: str
    label: str  # "" for a thing of no known class
    started_wall_ns: int


def open_cases(database: Database) -> Sequence[OpenCase]:
    """Oldest first."""
    query = (
        f"SELECT case_id, camera, scenario, zone, label, started_wall_ns FROM cases WHERE {_RUNNING} "
        "AND state = 'opened' ORDER BY started_wall_ns, case_id"
    )
    return [OpenCase(*row) for row in database.read(query)]


def open_counts(database: Database) -> dict[tuple[str, str], int]:
    """How many, by camera and scenario."""
    query = (
        f"SELECT camera, scenario, COUNT(*) FROM cases WHERE {_RUNNING} AND state = 'opened' GROUP BY camera, scenario"
    )
    return {(camera, scenario): int(count) for camera, scenario, count in database.read(query)}
