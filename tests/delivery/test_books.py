"""The books that walks and campaigns are judged by find what they are to find."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from edge.core.types import NS_PER_S
from tests.delivery import brain, gateway, ledger
from tests.delivery.gateway import Place

pytestmark = pytest.mark.delivery

COUNT = 14
_HARM = {"alert": "DELETE FROM outbox WHERE sequence = 5", "case": "UPDATE cases SET alerts = alerts + 1"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A gateway that has told some alerts, of which copies are kept."""
    made = Place.make(tmp_path / "gateway", url="mqtt://127.0.0.1:1", start_wall_ns=1_777_858_200 * NS_PER_S)
    gateway.Database.open(made.database).close()
    ledger.keep_copies(made.folder)
    gateway.produce(made, 0, until=COUNT)
    return made


def _body(sequence: int, **data: object) -> str:
    return json.dumps({"id": f"id-{sequence}", "sequence": sequence, "data": data})


def problems_of_brain(path: Path, arrived: dict[str, tuple[int, str]], committed: dict[int, list[str]]) -> list[str]:
    brain.make_ledger(path)
    database = sqlite3.connect(path)
    rows = [(name, sequence, body) for name, (sequence, body) in arrived.items()]
    database.executemany("INSERT INTO alerts VALUES (?, ?, ?, 1, 1)", rows)
    database.commit()
    database.close()
    return brain.problems_of(path, committed, max(committed))


def test_a_brain_that_has_each_alert_has_no_problem_and_one_gap_is_found(tmp_path: Path) -> None:
    committed = {number: [_body(number)] for number in range(1, 6)}
    arrived = {f"id-{number}": (number, _body(number)) for number in range(1, 6)}
    assert problems_of_brain(tmp_path / "whole.db", arrived, committed) == []
    del arrived["id-3"]
    assert problems_of_brain(tmp_path / "gap.db", arrived, committed) == ["1 of 5 alerts never came: [3]"]


def test_a_gap_that_a_later_alert_stands_for_is_none(tmp_path: Path) -> None:
    committed = {number: [_body(number)] for number in range(1, 6)}
    committed[4].append(_body(4, replaces=[3]))
    arrived = {f"id-{number}": (number, committed[number][-1]) for number in (1, 2, 4, 5)}
    assert problems_of_brain(tmp_path / "replaced.db", arrived, committed) == []


def test_an_alert_that_is_changed_doubled_or_invented_is_found(tmp_path: Path) -> None:
    committed = {number: [_body(number)] for number in range(1, 4)}
    arrived = {f"id-{number}": (number, _body(number)) for number in range(1, 4)}
    changed = {**arrived, "id-2": (2, _body(2, state="other"))}
    assert problems_of_brain(tmp_path / "changed.db", changed, committed) == ["alert 2 is not what the gateway stored"]
    doubled = {**arrived, "id-9": (2, _body(2))}
    assert problems_of_brain(tmp_path / "doubled.db", doubled, committed) == ["numbers [2] name two alerts each"]
    invented = {**arrived, "id-4": (4, _body(4))}
    found = problems_of_brain(tmp_path / "invented.db", invented, committed)
    assert found == ["alert 4 is not what the gateway stored", "numbers [4] were never given"]


def test_a_state_folder_in_order_has_no_problem(place: Place) -> None:
    assert ledger.problems_of(place.folder) == ledger.problems_of(place.folder, delivered=True) == []
    with gateway.Database.open(place.database) as database:
        stored = {row.sequence: [row.body] for row in database.next_unsent(0, COUNT)}
    assert ledger.copies(place.folder) == stored


@pytest.mark.parametrize("harm", ["picture", "manifest", "part", "alert", "case"])
def test_harm_to_a_state_folder_is_found(place: Place, harm: str) -> None:
    evidence = sorted((place.folder / "evidence").glob("*/overview-*.jpg"))
    if harm == "picture":
        evidence[0].write_bytes(evidence[0].read_bytes()[:-1] + b"x")
    elif harm == "manifest":
        (evidence[0].parent / "manifest-1.json").unlink()
    elif harm == "part":
        (evidence[0].parent / ".still-1-1.jpg.part").write_bytes(b"")
    else:
        statement = (
            "DELETE FROM outbox WHERE sequence = 5" if harm == "alert" else "UPDATE cases SET alerts = alerts + 1"
        )
        database = sqlite3.connect(place.database)
        database.execute(statement)
        database.commit()
        database.close()
    found = ledger.problems_of(place.folder)
    print("\n".join(found))
    assert found
