"""A gateway whose database is damaged goes on with a new one, and says so."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from edge.core.types import NS_PER_S
from edge.errors import StateError
from edge.evidence.chain import SharedChain
from edge.runtime.health import GatewayStatus, SupervisorReport
from edge.state.database import Database
from edge.wiring.live import _make_database
from tests.alerts import a_change, alert_of

WALL_NS = 1_790_000_000 * NS_PER_S


@pytest.mark.parametrize("damage", [b"not a database at all, but long enough to be taken for one" * 90, None])
def test_a_damaged_database_is_set_aside(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "edge.db"
    with Database.open(path) as database:
        assert database.commit(a_change(), alert_of(a_change()), "topic") == 1
    whole = path.read_bytes()
    path.write_bytes(damage or whole[:100] + b"\xff" * (len(whole) - 100))
    aside = _make_database(path, wall_ns=WALL_NS)
    assert (tmp_path / aside).read_bytes() == (damage or whole[:100] + b"\xff" * (len(whole) - 100))
    with Database.open(path) as database:
        assert database.unsent_count() == 0
        assert database.commit(a_change(), alert_of(a_change()), "topic") == WALL_NS // NS_PER_S + 1
    assert _make_database(path, wall_ns=WALL_NS) == ""


def test_numbers_go_on_from_the_clock_where_the_database_is_gone_and_its_evidence_is_there(tmp_path: Path) -> None:
    new, robbed = tmp_path / "new", tmp_path / "robbed"
    for folder in (new, robbed):
        folder.mkdir()
        SharedChain(folder).begin()  # as the gateway does before it makes its database
    note = robbed / "chain.json"
    note.write_text(note.read_text().replace('"count":0', '"count":3'))
    for folder, number in ((new, 1), (robbed, WALL_NS // NS_PER_S + 1)):
        assert _make_database(folder / "edge.db", wall_ns=WALL_NS) == ""
        with Database.open(folder / "edge.db") as database:
            assert database.commit(a_change(), alert_of(a_change()), "topic") == number


def test_another_programs_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "edge.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StateError, match="another program's"):
        _make_database(path, wall_ns=WALL_NS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["edge.db"]


def test_health_speaks_of_it() -> None:
    supervisor = SupervisorReport(boot_id="b", set_aside="edge.db.damaged-1")
    status = GatewayStatus(supervisor, 0, 0.0, (), (), None, ())
    assert any("edge.db.damaged-1" in line for line in status.problems)
