"""Cases of cameras that were taken out of the configuration: withdrawn once, in an alert that holds to its schema."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from edge.clock import SystemClock
from edge.config.loader import Site, load_site
from edge.core.types import PENDING, WITHDRAWN, CaseChange
from edge.state.database import Database
from edge.state.judgements import DISMISSED, Judgements
from edge.wiring.judging import Word, judge
from edge.wiring.withdrawal import withdraw_cases
from tests.alerts import START_WALL_NS, a_case, alert_of, closed_schema, topic_of


class Clock(SystemClock):
    def mono_ns(self) -> int:
        return 900_000_000_000

    def wall_ns(self) -> int:
        return START_WALL_NS + 600_000_000_000


@pytest.fixture
def site(tmp_path: Path) -> Site:
    path = tmp_path / "site.yaml"
    document = {
        "version": 1,
        "site": {"id": "xiaohe", "timezone": "Asia/Shanghai"},
        "gateway": {"id": "gw-01"},
        "cameras": [{"id": "stays", "source": "rtsp://camera/1"}],
    }
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return load_site(path, environ={})


@pytest.fixture
def database(tmp_path: Path) -> Any:
    with Database.open(tmp_path / "edge.db") as database:
        for number, camera in ((1, "removed"), (2, "removed"), (3, "stays"), (4, "former-2")):
            change = CaseChange(a_case(number, camera=camera), "opened", "")
            database.commit(change, alert_of(change), topic_of(change))
        pending = a_case(5, camera="removed", state=PENDING, opened_ns=0, opened_wall_ns=0, alerts=0)
        opened = [case for case in database.running_cases("removed")]
        database.save_running("removed", [*opened, pending])
        yield database


def alerts(folder: Path) -> list[dict[str, Any]]:
    with sqlite3.connect(folder / "edge.db") as connection:
        rows = connection.execute("SELECT body FROM outbox ORDER BY sequence").fetchall()
    return [json.loads(body) for (body,) in rows]


def test_cases_of_removed_cameras_are_withdrawn_once(site: Site, database: Database, tmp_path: Path) -> None:
    assert withdraw_cases(site, database, clock=Clock()) == 3
    told = alerts(tmp_path)[4:]
    assert [alert["type"] for alert in told] == ["cityeye.case.withdrawn.v1"] * 3
    assert sorted(alert["data"]["camera"]["id"] for alert in told) == ["former-2", "removed", "removed"]
    assert {alert["data"]["case_id"] for alert in told} == {a_case(number).case_id for number in (1, 2, 4)}
    assert database.running_cameras() == ["stays"]
    for _ in range(2):
        assert withdraw_cases(site, database, clock=Clock()) == 0
    assert len(alerts(tmp_path)) == 7


def test_its_alert_holds_to_the_schema(site: Site, database: Database, tmp_path: Path) -> None:
    withdraw_cases(site, database, clock=Clock())
    validator = jsonschema.Draft202012Validator(closed_schema())
    for alert in alerts(tmp_path)[4:]:
        validator.validate(alert)
        print(json.dumps(alert, ensure_ascii=False))
        assert alert["data"]["reason"] == "camera-removed"
        assert alert["data"]["evidence"] == []


def test_withdrawals_that_broke_off_go_on(site: Site, database: Database, tmp_path: Path) -> None:
    """Killed after the first alert: the next start tells the others, and the first not again."""
    told = 0
    commit = database.commit

    def commit_one(change: CaseChange, alert: dict[str, object], topic: str) -> int:
        nonlocal told
        if told:
            raise KeyboardInterrupt
        told += 1
        return commit(change, alert, topic)

    database.commit = commit_one  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        withdraw_cases(site, database, clock=Clock())
    database.commit = commit  # type: ignore[method-assign]
    assert withdraw_cases(site, database, clock=Clock()) == 2
    ids = [alert["id"] for alert in alerts(tmp_path)]
    assert len(set(ids)) == len(ids) == 7


def test_a_case_at_the_very_edge_has_a_place_that_holds_to_the_schema(
    site: Site, database: Database, tmp_path: Path
) -> None:
    validator = jsonschema.Draft202012Validator(closed_schema())
    for number, footprint in enumerate(((0.0, 0.0, 0.3, 0.2), (-5.0, -3.0, 8.0, 9.0), (0.0, 0.0, 4096.0, 2160.0)), 10):
        case = replace(a_case(number, camera="removed"), footprint=footprint)
        change = CaseChange(case, "opened", "")
        database.commit(change, alert_of(change), topic_of(change))
    withdraw_cases(site, database, clock=Clock())
    for alert in alerts(tmp_path)[7:]:
        validator.validate(alert)


def test_what_was_withdrawn_stays_in_the_database(site: Site, database: Database, tmp_path: Path) -> None:
    withdraw_cases(site, database, clock=Clock())
    with sqlite3.connect(tmp_path / "edge.db") as connection:
        states = dict(connection.execute("SELECT case_id, state FROM cases").fetchall())
    assert [states[a_case(number).case_id] for number in (1, 2, 4)] == [WITHDRAWN] * 3
    assert a_case(5).case_id not in states


def test_the_dismissed_things_of_a_removed_camera_are_left_alone_no_longer(site: Site, database: Database) -> None:
    for number in (1, 3):
        judge(database, Word(a_case(number).case_id, DISMISSED, "allowed"), running=False)
    kept = Judgements(database)
    assert (len(kept.standing("removed")), len(kept.standing("stays"))) == (1, 1)
    withdraw_cases(site, database, clock=Clock())
    assert (len(kept.standing("removed")), len(kept.standing("stays"))) == (0, 1)
    assert len(kept.judged()) == 2
