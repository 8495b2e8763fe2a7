"""The cases that are open now are found without a look at those that are over."""

from __future__ import annotations

import pytest

from edge.core.types import CLEARED, PENDING
from edge.state.database import Database
from edge.state.open_cases import OpenCase, open_cases, open_counts
from tests.alerts import START_WALL_NS, a_case, a_change, alert_of, topic_of

pytestmark = pytest.mark.delivery


def test_only_open_cases_are_told_oldest_first() -> None:
    with Database.open(":memory:") as database:
        for number, kind, changes in (
            (1, "opened", {}),
            (2, "opened", {"started_wall_ns": START_WALL_NS - 1, "scenario": "loitering", "label": ""}),
            (3, "cleared", {"state": CLEARED}),
            (4, "opened", {}),
        ):
            change = a_change(number, kind=kind, **changes)
            database.commit(change, alert_of(change), topic_of(change))
        database.save_running("qiaonong-03", [a_case(5, state=PENDING)])
        found = open_cases(database)
        assert [case.scenario for case in found] == ["loitering", "illegal-parking", "illegal-parking"]
        assert found[0] == OpenCase(a_case(2).case_id, "qiaonong-03", "loitering", "kerb", "", START_WALL_NS - 1)
        assert open_counts(database) == {("qiaonong-03", "loitering"): 1, ("qiaonong-03", "illegal-parking"): 2}


def test_the_index_of_running_cases_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked twice a second, over a table that keeps what is over for weeks."""
    with Database.open(":memory:") as database:
        asked: list[str] = []
        read = database.read
        monkeypatch.setattr(database, "read", lambda query, *values: asked.append(query) or read(query, *values))
        open_cases(database)
        open_counts(database)
        plans = [" ".join(str(row[3]) for row in read(f"EXPLAIN QUERY PLAN {query}")) for query in asked]
    assert len(plans) == 2
    assert all("USING INDEX cases_running" in plan for plan in plans), plans
