"""How the gateway tells other systems, and what it says of them on the board, in MQTT, metrics and the table."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console

from edge.cli.status_view import Sample, view
from edge.config.catalogue import stock_catalogue
from edge.console.metrics import exposition
from edge.core.types import CLEARED
from edge.delivery.bridges.follower import Follower, FollowerState
from edge.delivery.bridges.gat1400 import Gat1400Settings, Notifier
from edge.delivery.bridges.onvif import OnvifLetters, Standing, events_of
from edge.delivery.bridges.rules import Rule, Rules
from edge.delivery.bridges.webhook import Robot, RobotSettings, text_message
from edge.delivery.message import Topics, dumps
from edge.delivery.schema import status_schema
from edge.runtime.announcing import courier_report
from edge.runtime.health import FollowerReport, as_document, from_document
from edge.state.database import Database
from edge.state.relays import Relay
from edge.wiring.bridges import Bridges, Pictures
from tests.alerts import a_change, alert_of, closed_schema, topic_of
from tests.boards import BROKER, COURIER_REPORT, Gateway
from tests.brokers import free_port
from tests.platforms import Platform, json_reply, site_with
from tests.test_health_messages import CONNECTED, announcer_of

pytestmark = pytest.mark.delivery

HELD_UP = FollowerState("webhook-1", waiting=7, sent=12, refused=2, merged=5, reason="https://robot: answered 503")
FOLLOWERS = [FollowerState("webhook-0", sent=3), HELD_UP]


@pytest.fixture
def gateway() -> Gateway:
    made = Gateway()
    made.tell("courier", "courier", courier_report(CONNECTED, BROKER, FOLLOWERS))
    return made


def test_every_robot_of_the_configuration_is_told_with_the_picture_of_its_case(tmp_path: Path) -> None:
    (tmp_path / "evidence" / "one").mkdir(parents=True)
    (tmp_path / "evidence" / "one" / "overview.jpg").write_bytes(b"a picture")
    with (
        Platform(lambda _request: json_reply({"errcode": 0})) as platform,
        Database.open(tmp_path / "edge.db") as database,
    ):
        robots = [
            {"kind": "wecom", "url": f"{platform.url}/wecom"},
            {"kind": "dingtalk", "url": f"{platform.url}/dingtalk?access_token=x", "secret": "SEC1"},
        ]
        made = Bridges(site_with({"webhooks": robots}, tmp_path), database, folder=tmp_path)
        database.commit(a_change(), alert_of(a_change()), topic_of(a_change()))
        with made as bridges:
            assert platform.wait_for(lambda requests: len(requests) == 3)
        told = sorted((one.path.partition("&")[0], one.document["msgtype"]) for one in platform.requests)
        assert told == [("/dingtalk?access_token=x", "markdown"), ("/wecom", "image"), ("/wecom", "markdown")]
        states = bridges.states()
        assert [(one.sent, one.waiting) for one in states] == [(1, 0), (1, 0)]
        assert all(re.fullmatch(r"webhook-[0-9a-f]{8}", one.name) for one in states)


def test_a_robot_keeps_its_queue_when_the_list_changes(tmp_path: Path) -> None:
    first, second = ({"kind": "wecom", "url": f"https://q.example/{name}"} for name in "ab")
    with Database.open(tmp_path / "edge.db") as database:

        def waiting(*robots: dict[str, str]) -> list[int]:
            bridges = Bridges(site_with({"webhooks": list(robots)}, tmp_path), database, folder=tmp_path)
            return [state.waiting for state in bridges.states()]

        assert waiting(first) == [0]
        database.commit(a_change(), alert_of(a_change()), topic_of(a_change()))
        assert waiting(second, first) == [0, 1]
        assert waiting(second) == [0]
        assert waiting(first) == [0], "who was taken out is forgotten with what waited for it"


def test_a_picture_is_read_from_the_state_folder_and_from_nowhere_else(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"not ours to show")
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "huge.jpg").write_bytes(bytes(2 * 1024 * 1024 + 1))
    (folder / "fine.jpg").write_bytes(b"fine")
    read = Pictures(folder)
    assert read("fine.jpg") == b"fine"
    for path in ("../secret.jpg", str(tmp_path / "secret.jpg"), "link.jpg", "huge.jpg", "none.jpg"):
        assert read(path) is None


def test_bridges_end_within_a_second_whoever_hangs(tmp_path: Path) -> None:
    with Database.open(tmp_path / "edge.db") as database:
        url = f"http://127.0.0.1:{free_port()}/x"
        robots = [{"kind": "wecom", "url": f"{url}{number}"} for number in range(8)]
        made = Bridges(site_with({"webhooks": robots}, tmp_path), database, folder=tmp_path)
        database.commit(a_change(), alert_of(a_change()), topic_of(a_change()))
        with made as bridges:
            while not all(state.reason for state in bridges.states()):
                pass
        assert {state.waiting for state in bridges.states()} == {1}
        assert "nothing listens on that port" in bridges.states()[0].reason


def test_who_is_held_up_is_a_problem_and_who_merely_waits_is_none(gateway: Gateway) -> None:
    assert gateway.status().problems == ["follower webhook-1: https://robot: answered 503"]
    done = [replace(HELD_UP, waiting=0)]
    gateway.tell("courier", "courier", courier_report(CONNECTED, BROKER, done))
    assert gateway.status().problems == []


def test_the_status_notice_counts_what_each_was_told_and_fits_its_schema(gateway: Gateway) -> None:
    announcer = announcer_of(gateway, followers=lambda: FOLLOWERS)
    event = json.loads(announcer.current(CONNECTED)[Topics("xiaohe", "gw-01").status])
    jsonschema.validate(event, closed_schema(status_schema()))
    assert event["data"]["followers"] == [
        {"name": "webhook-0", "waiting": 0, "sent": 3, "refused": 0, "merged": 0},
        {"name": "webhook-1", "waiting": 7, "sent": 12, "refused": 2, "merged": 5},
    ]
    assert event["data"]["problems"] == ["follower webhook-1: https://robot: answered 503"]
    alone = json.loads(announcer_of(gateway).current(CONNECTED)[Topics("xiaohe", "gw-01").status])
    assert "followers" not in alone["data"]


def test_metrics_and_the_table_tell_of_each(gateway: Gateway) -> None:
    text = exposition(gateway.status(), "")[0].decode()
    told = {line.partition("{")[0]: line for line in text.splitlines() if 'follower="webhook-1"' in line}
    values = {name: float(line.rpartition(" ")[2]) for name, line in told.items()}
    assert values == {
        "edge_follower_waiting": 7,
        "edge_follower_held_up": 1,
        "edge_follower_sent_total": 12,
        "edge_follower_refused_total": 2,
        "edge_follower_merged_total": 5,
    }
    console = Console(file=io.StringIO(), width=120)
    console.print(view(Sample(gateway.status()), 120))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "follower webhook-0: 0 waiting, 3 sent" in shown
    assert "follower webhook-1: 7 waiting, 12 sent, 5 of them together, 2 refused; https://robot: answered 503" in shown


def test_a_status_with_followers_survives_the_way_to_edge_status(gateway: Gateway) -> None:
    status = gateway.status()
    assert from_document(json.loads(json.dumps(as_document(status)))) == status
    assert status.courier is not None
    assert status.courier.followers[0] == FollowerReport("webhook-0", sent=3)
    assert COURIER_REPORT.followers == ()


LABELS = ("person", "car", "bicycle", "dog", "")
SCENARIOS = {scenario.id: scenario for scenario in stock_catalogue().scenarios.values() if not scenario.is_measure}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_of_the_catalogue_can_be_told_to_everybody(scenario: str) -> None:
    rule = Rule(SCENARIOS[scenario].kind, moment=SCENARIOS[scenario].defaults.get("after_s", 0) == 0)
    rules = Rules(catalogue={scenario: rule})
    library = Gat1400Settings("http://x", "gw", "pw", "3" * 20, {"qiaonong-03": "4" * 20}, "5" * 33)
    for label in LABELS:
        case = {"scenario": scenario, "label": label, "count": 3}
        for kind, end in (
            ("opened", {}),
            ("cleared", {"state": CLEARED, "reason": "seen-empty", "cleared_ns": 10**11}),
        ):
            alert = json.loads(dumps({**alert_of(a_change(kind=kind, **case, **end)), "sequence": 7}))
            for robot in ("wecom", "dingtalk"):
                text = json.dumps(text_message(robot, [alert]), ensure_ascii=False)  # type: ignore[arg-type]
                assert "桥弄街" in text
            (told,) = Notifier(library, rules).notification(alert, lambda _path: None)[
                "SubscribeNotificationListObject"
            ]["SubscribeNotificationObject"]  # type: ignore[index]
            assert len(told["InfoIDs"]) == 48
            standing = [Standing(alert["data"]["case_id"], label or "static-object", alert["data"]["started_at"])]
            for event in events_of("street", rule, alert, standing if kind == "opened" else []):
                assert event.topic.endswith(f"/&qiaonong-03/{scenario}.kerb")
                assert not event.body or json.loads(event.body)["Source"]["VideoSource"] == "qiaonong-03"


class Unfit:
    """Relays of another version among ours."""

    def __init__(self) -> None:
        self.rows = {1: '{"sequence": 1, "type": "cityeye.case.opened.v9", "data": {}}', 2: alert_text(2)}

    def waiting(self, follower: str, *, after: int = 0, limit: int = 100) -> list[Relay]:
        return [Relay(sequence, "", body) for sequence, body in self.rows.items() if sequence > after][:limit]

    def waiting_count(self, follower: str) -> int:
        return len(self.rows)

    def done(self, follower: str, sequences: Iterable[int]) -> None:
        for sequence in sequences:
            del self.rows[sequence]


def alert_text(number: int) -> str:
    return dumps({**alert_of(a_change(number)), "sequence": number})


def test_an_alert_that_cannot_be_worded_is_given_up_and_holds_nobody_up() -> None:
    relays = Unfit()
    with Platform(lambda _request: json_reply({"errcode": 0})) as platform:
        robot = Robot(RobotSettings(kind="wecom", url=f"{platform.url}/x", pictures=False))
        with Follower("webhook-0", relays, robot, poll_s=0.01, retry_s=0.01) as follower:
            assert platform.wait_for(lambda requests: len(requests) == 1)
            while relays.rows:
                assert follower.alive
            assert (follower.state().refused, follower.state().reason) == (1, "")
    relays = Unfit()
    rules = Rules(catalogue={"illegal-parking": Rule("stationary")})
    letters = OnvifLetters("onvif", relays, prefix="street", rules=rules, standing=[])
    letters.mark_posted([one.key for one in letters.unposted(16)])
    assert relays.rows == {}
    assert (letters.state().sent, letters.state().refused) == (1, 1)
