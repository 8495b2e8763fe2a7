"""What the worker and the courier may rely on, whatever outbox stands behind the port."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge.delivery.message import dumps
from edge.errors import StateError
from edge.ports import Outbox
from edge.state.database import Database
from tests.alerts import a_change, alert_of, topic_of

KINDS = ["file", "memory"]


def open_outbox(kind: str, folder: Path) -> Database:
    return Database.open(folder / "edge.db" if kind == "file" else ":memory:")


@pytest.fixture(params=KINDS)
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with open_outbox(request.param, tmp_path) as opened:
        yield opened


def store(outbox: Outbox, number: int = 1) -> int:
    change = a_change(number)
    return outbox.commit(change, alert_of(change), topic_of(change))


def test_sequences_count_from_one(outbox: Database) -> None:
    assert [store(outbox, number) for number in range(5)] == [1, 2, 3, 4, 5]


def test_a_commit_puts_the_sequence_into_the_alert_and_into_the_stored_body(outbox: Database) -> None:
    store(outbox, 1)
    change = a_change(2)
    alert = alert_of(change)
    keys = list(alert)
    assert outbox.commit(change, alert, topic_of(change)) == alert["sequence"] == 2
    assert list(alert) == keys
    row = outbox.next_unsent(1, 1)[0]
    assert (row.sequence, row.id, row.topic) == (2, alert["id"], topic_of(change))
    assert row.body == dumps(alert)


def test_a_repeated_alert_changes_nothing_and_keeps_its_number(outbox: Database) -> None:
    assert [store(outbox, number) for number in (1, 2, 1)] == [1, 2, 1]
    assert outbox.unsent_count() == 2
    assert store(outbox, 3) == 3


def test_unsent_alerts_come_in_order_and_in_pieces(outbox: Database) -> None:
    for number in range(10):
        store(outbox, number)
    outbox.mark_sent([2, 5])
    assert [row.sequence for row in outbox.next_unsent(0, 4)] == [1, 3, 4, 6]
    assert [row.sequence for row in outbox.next_unsent(6, 100)] == [7, 8, 9, 10]
    assert outbox.next_unsent(10, 100) == []
    assert outbox.next_unsent(0, 0) == []
    assert outbox.unsent_count() == 8


def test_a_number_is_not_given_again_after_its_row_was_deleted(outbox: Database) -> None:
    store(outbox, 1)
    store(outbox, 2)
    outbox.delete([alert_of(a_change(2))["id"], "unknown"])
    assert outbox.unsent_count() == 1
    assert store(outbox, 3) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_any_interleaving_of_commits_and_failures_numbers_without_a_gap(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    class Interleaving(RuleBasedStateMachine):
        """Commits that succeed, fail at different steps, or repeat; deliveries, deletions and restarts between."""

        @initialize()
        def begin(self) -> None:
            self.folder = tmp_path_factory.mktemp("outbox")
            self.outbox = open_outbox(kind, self.folder)
            self.numbers = itertools.count()
            self.stored: list[int] = []  # the number in `a_change` of each alert, by sequence
            self.deleted: set[int] = set()

        @rule()
        def commit(self) -> None:
            number = next(self.numbers)
            self.stored.append(number)
            assert store(self.outbox, number) == len(self.stored)

        @rule(breakage=st.sampled_from(BREAKAGES))
        def fail(self, breakage: Breakage) -> None:
            change = a_change(next(self.numbers), **breakage.case)
            alert = alert_of(a_change()) | {"id": "broken", **breakage.alert}
            with pytest.raises(breakage.error):
                self.outbox.commit(change, alert, topic_of(change))
            assert alert["sequence"] == 0

        @precondition(lambda self: len(self.stored) > len(self.deleted))
        @rule(data=st.data())
        def repeat(self, data: st.DataObject) -> None:
            kept = [row for row in range(1, len(self.stored) + 1) if row not in self.deleted]
            sequence = data.draw(st.sampled_from(kept))
            assert store(self.outbox, self.stored[sequence - 1]) == sequence

        @precondition(lambda self: self.stored)
        @rule(data=st.data())
        def delete(self, data: st.DataObject) -> None:
            sequence = data.draw(st.integers(1, len(self.stored)))
            self.outbox.delete([alert_of(a_change(self.stored[sequence - 1]))["id"]])
            self.deleted.add(sequence)

        @precondition(lambda self: kind == "file")
        @rule()
        def restart(self) -> None:
            self.outbox.close()
            self.outbox = open_outbox(kind, self.folder)

        @invariant()
        def every_stored_alert_and_no_other_is_there(self) -> None:
            rows = self.outbox.next_unsent(0, 1000)
            kept = [row for row in range(1, len(self.stored) + 1) if row not in self.deleted]
            assert [row.sequence for row in rows] == kept
            assert [json.loads(row.body)["sequence"] for row in rows] == kept
            cases = {case.case_id for case in self.outbox.running_cases("qiaonong-03")}
            assert cases == {a_change(number).case.case_id for number in self.stored}

        def teardown(self) -> None:
            if hasattr(self, "outbox"):
                self.outbox.close()

    run = Interleaving.TestCase
    run.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
    run().runTest()


@dataclass(frozen=True)
class Breakage:
    """A commit that fails inside its transaction: when the body is written, or after it, at the case's row."""

    error: type[Exception]
    case: dict[str, object]
    alert: dict[str, object]


class _Unreadable:
    """An appearance that cannot be written down."""

    def __getattr__(self, name: str) -> object:
        raise MemoryError(name)


BREAKAGES = [
    Breakage(ValueError, {}, {"data": {"score": float("nan")}}),
    Breakage(TypeError, {}, {"data": {"camera": object()}}),
    Breakage(MemoryError, {"appearance": _Unreadable()}, {}),
    Breakage(StateError, {"state": "no such state"}, {}),
]
