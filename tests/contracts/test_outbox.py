"""What the worker and the courier may rely on, whatever outbox stands behind the port."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge.delivery.message import dumps
from edge.errors import StateError
from edge.ports import Outbox
from edge.state.database import Database
from edge.state.outbox import OutboxRow
from tests.alerts import a_change, alert_of, closed_schema, topic_of

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


def tell(outbox: Outbox, number: int, kind: str, alerts: int) -> dict[str, Any]:
    """The `alerts`-th alert of case `number`."""
    states = {"opened": "opened", "updated": "opened", "cleared": "cleared", "withdrawn": "withdrawn"}
    change = a_change(number, kind, "gone", state=states[kind], alerts=alerts)
    alert = alert_of(change)
    outbox.commit(change, alert, topic_of(change))
    return alert


def waiting(outbox: Database) -> dict[int, list[int]]:
    """The numbers that are here, each with those that it stands for."""
    rows = outbox.alerts_between(1, 1_000_000, 1_000_000)
    bodies = [json.loads(row.body) for row in rows]
    assert [body["sequence"] for body in bodies] == [row.sequence for row in rows]
    return {body["sequence"]: body["data"].get("replaces", []) for body in bodies}


def test_an_alert_that_was_delivered_since_is_not_given_a_second_number(outbox: Database) -> None:
    first = tell(outbox, 1, "opened", 1)
    outbox.delete([first["id"]])
    assert tell(outbox, 1, "opened", 1)["sequence"] == 1
    assert tell(outbox, 1, "updated", 2)["sequence"] == 2
    outbox.hand_over(0, 10)
    outbox.delete_sent([2])
    assert tell(outbox, 1, "updated", 2)["sequence"] == 2
    assert tell(outbox, 1, "cleared", 3)["sequence"] == 3
    assert waiting(outbox) == {3: []}


def test_a_full_outbox_merges_the_oldest_updates_into_the_next_alert_of_their_case(outbox: Database) -> None:
    outbox.bound_outbox(alerts_max=5, bytes_max=1_000_000)
    tell(outbox, 1, "opened", 1)
    for alerts in (2, 3, 4):
        tell(outbox, 1, "updated", alerts)
    tell(outbox, 2, "opened", 1)
    tell(outbox, 2, "updated", 2)
    assert waiting(outbox) == {1: [], 3: [2], 4: [], 5: [], 6: []}
    tell(outbox, 3, "opened", 1)
    assert waiting(outbox) == {1: [], 4: [2, 3], 5: [], 6: [], 7: []}
    assert (outbox.backlog().merged, outbox.backlog().given_up) == (2, 0)
    for row in outbox.next_unsent(0, 10):
        jsonschema.validate(json.loads(row.body), closed_schema())


def test_then_the_opening_of_a_case_goes_into_its_end_and_only_then_the_oldest_is_given_up(outbox: Database) -> None:
    outbox.bound_outbox(alerts_max=3, bytes_max=1_000_000)
    tell(outbox, 1, "opened", 1)
    tell(outbox, 2, "opened", 1)
    tell(outbox, 2, "cleared", 2)
    tell(outbox, 3, "opened", 1)
    assert waiting(outbox) == {1: [], 3: [2], 4: []}
    tell(outbox, 4, "opened", 1)
    assert waiting(outbox) == {3: [2], 4: [], 5: []}
    tell(outbox, 5, "opened", 1)
    assert waiting(outbox) == {4: [], 5: [], 6: []}
    assert (outbox.backlog().merged, outbox.backlog().given_up) == (1, 3)


def test_what_was_handed_over_is_not_changed_and_the_newest_alert_answers_for_its_gap(outbox: Database) -> None:
    outbox.bound_outbox(alerts_max=3, bytes_max=1_000_000)
    tell(outbox, 1, "opened", 1)
    tell(outbox, 1, "updated", 2)
    tell(outbox, 1, "updated", 3)
    before = [row.body for row in outbox.hand_over(0, 10)]
    told = tell(outbox, 2, "opened", 1)
    assert told["data"]["replaces"] == [2]
    assert waiting(outbox) == {1: [], 3: [], 4: [2]}
    assert [row.body for row in outbox.hand_over(0, 2)] == [before[0], before[2]]
    assert outbox.next_unsent(3, 1)[0].body == dumps(told)


def test_the_bytes_are_bounded_too(outbox: Database) -> None:
    outbox.bound_outbox(alerts_max=1_000, bytes_max=20_000)
    for alerts in range(1, 101):
        tell(outbox, 1, "opened" if alerts == 1 else "updated", alerts)
    backlog = outbox.backlog()
    print(f"{len(waiting(outbox))} of 100 alerts in {backlog.bytes} bytes")
    assert 15_000 < backlog.bytes <= 20_000
    assert len(waiting(outbox)) + backlog.merged == 100
    assert backlog.given_up == 0


def test_no_alert_carries_more_numbers_than_it_may(outbox: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.state.outbox.REPLACES_MAX", 3)
    outbox.bound_outbox(alerts_max=4, bytes_max=1_000_000)
    for alerts in range(1, 11):
        tell(outbox, 1, "opened" if alerts == 1 else "updated", alerts)
    assert waiting(outbox) == {1: [], 5: [2, 3, 4], 9: [6, 7, 8], 10: []}


def test_what_a_receipt_is_due_for_is_sent_again_later_each_time(outbox: Database) -> None:
    for number in (1, 2):
        store(outbox, number)
    outbox.hand_over(0, 10)
    times = {"redrive_ns": 60, "redrive_max_ns": 200}
    found = []
    now = 1000
    for _ in range(5):
        outbox.mark_sent([1], now_wall_ns=now, **times)
        due = next(wait for wait in range(1000) if overdue(outbox, now + wait))
        found.append(due)
        now += due
    assert found == [60, 120, 200, 200, 200]
    outbox.mark_sent([1], now_wall_ns=now, **times)
    assert overdue(outbox, now) == []
    assert overdue(outbox, 0) == [1], "the clock went back"
    assert overdue(outbox, now + 200, sent_before_ns=now + 1) == [1]
    assert overdue(outbox, now + 200, sent_before_ns=now) == [], "what was sent before it has no receipt yet either"
    assert outbox.delete(["unknown"]) is None
    assert outbox.delete([alert_of(a_change(1))["id"], alert_of(a_change(1))["id"], "unknown"]) == now
    assert outbox.delete([alert_of(a_change(2))["id"]]) == 0, "it was not marked as sent yet"
    assert overdue(outbox, 10_000) == []


def overdue(outbox: Database, now_wall_ns: int, *, sent_before_ns: int = 1 << 62) -> list[int]:
    rows = outbox.overdue(9, now_wall_ns=now_wall_ns, redrive_max_ns=200, sent_before_ns=sent_before_ns)
    return [row.sequence for row in rows]


def test_a_round_leaves_out_what_was_sent_since_and_not_what_was_sent_before_the_clock_went_back(
    outbox: Database,
) -> None:
    for number in range(1, 6):
        store(outbox, number)
    for sequence, sent_ns in ((1, 100), (2, 200), (3, 300), (4, 10_000)):
        outbox.mark_sent([sequence], now_wall_ns=sent_ns)
    found = outbox.sent_before(0, 9, last=9, before_wall_ns=200, now_wall_ns=500)
    assert [row.sequence for row in found] == [1, 2, 4]
    assert [row.sequence for row in outbox.sent_before(1, 1, last=9, before_wall_ns=500, now_wall_ns=500)] == [2]
    assert [row.sequence for row in outbox.hand_over(0, 9)] == [5]
    assert [row.sequence for row in outbox.hand_over_between(2, 5, 3)] == [2, 3, 4]


def test_no_more_is_handed_over_at_once_than_so_many_bytes(outbox: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 7):
        store(outbox, number)
    size = len(outbox.next_unsent(0, 1)[0].body)
    monkeypatch.setattr("edge.state.outbox.HAND_OVER_MAX_BYTES", int(2.5 * size))
    assert [row.sequence for row in outbox.hand_over(0, 9)] == [1, 2]
    monkeypatch.setattr("edge.state.outbox.HAND_OVER_MAX_BYTES", size // 2)
    assert [row.sequence for row in outbox.hand_over(2, 9)] == [3]


def test_the_totals_of_two_processes_are_those_of_the_table(tmp_path: Path) -> None:
    with Database.open(tmp_path / "edge.db") as worker, Database.open(tmp_path / "edge.db") as courier:
        courier.bound_outbox(alerts_max=10, bytes_max=1_000_000)
        for number in range(30):
            store(worker, number)
            courier.hand_over(0, number % 3)
            courier.mark_sent([number // 2])
        assert worker.backlog() == courier.backlog()
        assert_totals(worker)


def assert_totals(outbox: Database) -> None:
    query = "SELECT COALESCE(SUM(sent = 0), 0), COALESCE(SUM(sent = 1), 0), COALESCE(SUM(bytes), 0) FROM outbox"
    backlog = outbox.backlog()
    assert (backlog.unsent, backlog.unreceipted, backlog.bytes) == outbox.read(query)[0]


@pytest.mark.parametrize("confirm", ["puback", "receipt"])
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_lost_merged_or_repeated_every_number_arrives_waits_is_covered_or_counted(
    kind: str, confirm: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    class Delivering(RuleBasedStateMachine):
        """A gateway under its bound, a courier whose messages get lost, and a brain that keeps the first of each id."""

        @initialize(alerts_max=st.integers(1, 12))
        def begin(self, alerts_max: int) -> None:
            self.folder = tmp_path_factory.mktemp("outbox")
            self.outbox = open_outbox(kind, self.folder)
            self.alerts_max = alerts_max
            self.outbox.bound_outbox(alerts_max=alerts_max, bytes_max=1_000_000)
            self.told = 0
            self.cases = itertools.count(10)
            self.running: dict[int, int] = {}  # case -> its alerts so far
            self.last: tuple[int, str, int] | None = None
            self.bodies: dict[str, str] = {}  # id -> as it was first published
            self.brain: dict[int, OutboxRow] = {}
            self.in_flight: list[OutboxRow] = []
            self.cursor = 0

        def _tell(self, number: int, kind: str) -> None:
            self.running[number] = self.running.get(number, 0) + 1
            self.told += 1
            self.last = (number, kind, self.running[number])
            assert tell(self.outbox, *self.last)["sequence"] == self.told
            if kind == "cleared":
                del self.running[number]

        @precondition(lambda self: len(self.running) < 3)
        @rule()
        def open_case(self) -> None:
            self._tell(next(self.cases), "opened")

        @precondition(lambda self: self.running)
        @rule(data=st.data(), count=st.integers(1, 4))
        def update(self, data: st.DataObject, count: int) -> None:
            number = data.draw(st.sampled_from(sorted(self.running)))
            for _ in range(count):
                self._tell(number, "updated")

        @precondition(lambda self: self.running)
        @rule(data=st.data())
        def clear(self, data: st.DataObject) -> None:
            self._tell(data.draw(st.sampled_from(sorted(self.running))), "cleared")

        @precondition(lambda self: self.last)
        @rule()
        def repeat_the_last(self) -> None:
            assert self.last is not None
            assert tell(self.outbox, *self.last)["sequence"] == self.told

        @rule(count=st.integers(1, 6), arrive=st.booleans())
        def publish(self, count: int, arrive: bool) -> None:
            rows = list(self.outbox.hand_over(self.cursor, count))
            self.cursor = rows[-1].sequence if rows else self.cursor
            self._published(rows, arrive)

        @rule(first=st.integers(1, 30), count=st.integers(1, 6), arrive=st.booleans())
        def send_again(self, first: int, count: int, arrive: bool) -> None:
            self._published(list(self.outbox.hand_over_between(first, 1000, count)), arrive)

        def _published(self, rows: list[OutboxRow], arrive: bool) -> None:
            for row in rows:
                assert self.bodies.setdefault(row.id, row.body) == row.body, "it was changed after it was published"
                if arrive:
                    self.brain.setdefault(row.sequence, row)
            self.in_flight += rows

        @precondition(lambda self: self.in_flight)
        @rule(count=st.integers(1, 6))
        def confirm(self, count: int) -> None:
            """A broker that may forget what it has confirmed, unless its word is all that comes."""
            confirmed, self.in_flight = self.in_flight[:count], self.in_flight[count:]
            if confirm == "receipt":
                self.outbox.mark_sent(row.sequence for row in confirmed)
            else:
                self.outbox.delete_sent(row.sequence for row in confirmed if row.sequence in self.brain)

        @precondition(lambda self: confirm == "receipt" and self.brain)
        @rule(data=st.data())
        def receive_receipts(self, data: st.DataObject) -> None:
            some = data.draw(st.lists(st.sampled_from(sorted(self.brain)), max_size=4))
            self.outbox.delete(self.brain[sequence].id for sequence in some)

        @rule()
        def reconnect(self) -> None:
            self.cursor, self.in_flight = 0, []

        @precondition(lambda self: kind == "file")
        @rule()
        def restart(self) -> None:
            self.outbox.close()
            self.outbox = open_outbox(kind, self.folder)
            self.reconnect()

        @invariant()
        def no_number_is_missing(self) -> None:
            here = waiting(self.outbox)
            theirs = {number: json.loads(row.body)["data"].get("replaces", []) for number, row in self.brain.items()}
            covered = {number for replaces in (*here.values(), *theirs.values()) for number in replaces}
            missing = set(range(1, self.told + 1)) - here.keys() - theirs.keys() - covered
            assert len(missing) <= self.outbox.backlog().given_up
            assert len(here) <= self.alerts_max
            assert_totals(self.outbox)

        def teardown(self) -> None:
            if hasattr(self, "outbox"):
                self.outbox.close()

    run = Delivering.TestCase
    run.settings = settings(max_examples=30 if kind == "memory" else 8, stateful_step_count=40, deadline=None)
    run().runTest()


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
