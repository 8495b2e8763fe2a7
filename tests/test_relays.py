"""Every alert is copied for whoever follows, in the transaction that stores it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.state.database import Database
from edge.state.relays import Relays
from tests.alerts import a_change, alert_of, topic_of

pytestmark = pytest.mark.delivery


def store(database: Database, number: int) -> int:
    change = a_change(number)
    return database.commit(change, alert_of(change), topic_of(change))


def test_each_follower_has_every_alert_from_when_it_was_named(tmp_path: Path) -> None:
    with Database.open(tmp_path / "edge.db") as database, Database.open(tmp_path / "edge.db") as worker:
        relays = Relays(database)
        store(worker, 1)
        relays.set_followers(["upload", "webhook"])
        for number in (2, 3, 4):
            store(worker, number)
        bodies = {row.sequence: row.body for row in worker.next_unsent(0, 10)}
        assert [(one.sequence, one.body) for one in relays.waiting("upload")] == [(n, bodies[n]) for n in (2, 3, 4)]
        relays.done("upload", [2, 3])
        assert [one.sequence for one in relays.waiting("upload")] == [4]
        assert [one.sequence for one in relays.waiting("webhook", after=2, limit=1)] == [3]
        assert relays.waiting_count("webhook") == 3


def test_a_receipt_takes_nothing_from_a_follower(tmp_path: Path) -> None:
    with Database.open(tmp_path / "edge.db") as database:
        relays = Relays(database)
        relays.set_followers(["upload"])
        store(database, 1)
        database.delete([str(alert_of(a_change(1))["id"])])
        assert [one.sequence for one in relays.waiting("upload")] == [1]


def test_who_no_longer_follows_is_forgotten(tmp_path: Path) -> None:
    with Database.open(tmp_path / "edge.db") as database:
        relays = Relays(database)
        relays.set_followers(["upload", "webhook"])
        store(database, 1)
        relays.set_followers(["webhook"])
        store(database, 2)
        assert relays.waiting_count("upload") == 0
        assert [one.sequence for one in relays.waiting("webhook")] == [1, 2]


def test_a_follower_that_is_away_for_ever_keeps_so_many_and_no_more(tmp_path: Path) -> None:
    with Database.open(tmp_path / "edge.db") as database:
        relays = Relays(database)
        relays.set_followers(["upload"])
        store(database, 1)
        database.number_from(100_000)
        store(database, 2)
        assert [one.sequence for one in relays.waiting("upload")] == [100_001]


def test_how_many_wait_is_known_without_counting_them(tmp_path: Path) -> None:
    with Database.open(tmp_path / "edge.db") as database:
        relays = Relays(database)
        relays.set_followers(["upload", "webhook"])
        for number in range(5):
            store(database, number)
        relays.done("upload", [2, 3, 99])
        relays.set_followers(["upload"])
        relays.set_followers(["upload", "webhook"])
        store(database, 6)
        for follower in ("upload", "webhook"):
            (count,) = database.read("SELECT COUNT(*) FROM relays WHERE follower = ?", follower)[0]
            assert relays.waiting_count(follower) == count
        assert (relays.waiting_count("upload"), relays.waiting_count("webhook"), relays.waiting_count("x")) == (4, 1, 0)
