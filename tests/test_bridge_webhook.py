"""WeCom and DingTalk robots: Chinese facts, signed, bounded in number, and an errcode of 200 is an error."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from edge.core.types import NS_PER_S
from edge.delivery.bridges.follower import REFUSED_MAX, Follower, PauseError
from edge.delivery.bridges.http import Answer, BusyError, RefusedError
from edge.delivery.bridges.webhook import (
    WECOM_MAX_BYTES,
    Kind,
    Robot,
    RobotSettings,
    check_answer,
    picture_message,
    signed,
    text_message,
)
from edge.errors import DeliveryError
from edge.state.database import Database
from edge.state.relays import Relays
from tests.brokers import WAIT_S, free_port
from tests.golden import check_golden
from tests.platforms import FOLLOWER, Platform, Request, json_reply, store, told

pytestmark = pytest.mark.delivery

FINE = json_reply({"errcode": 0, "errmsg": "ok"})
SECRET = "SECab12cd34"
KEY = "693a91f6-7aoc-4bc4-97a0-0ec2sifa5aaa"
PICTURE = b"\xff\xd8 a picture \xff\xd9"


class Clock:
    def __init__(self) -> None:
        self.mono = 1000 * NS_PER_S

    def mono_ns(self) -> int:
        return self.mono

    def wall_ns(self) -> int:
        return 1_777_858_200_123_456_789


def robot_of(platform: Platform, kind: Kind = "wecom", *, clock: Clock | None = None, **settings: Any) -> Robot:
    url = f"{platform.url}/cgi-bin/webhook/send?key={KEY}"
    return Robot(
        RobotSettings(kind=kind, url=url, **settings),
        picture=lambda path: PICTURE if path.endswith(".jpg") else None,
        clock=clock or Clock(),  # type: ignore[arg-type]
        timeout_s=WAIT_S,
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "edge.db") as opened:
        yield opened


@pytest.fixture
def follow(database: Database) -> Iterator[Callable[[Robot], Follower]]:
    made: list[Follower] = []

    def start(robot: Robot) -> Follower:
        made.append(Follower(FOLLOWER, Relays(database), robot, poll_s=0.01, retry_s=0.01, retry_max_s=0.05))
        made[-1].start()
        return made[-1]

    yield start
    for follower in made:
        follower.close()


def numbers(requests: list[Request]) -> list[str]:
    return [number for text in texts(requests) for number in re.findall(r"第 (\d+) 号", text)]


def texts(requests: list[Request]) -> list[str]:
    return [one.document["markdown"]["content"] for one in requests if one.document["msgtype"] == "markdown"]


# --- what is said ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wecom", "dingtalk"])
def test_every_kind_of_alert_is_told_in_chinese(kind: Kind) -> None:
    alerts = told()
    made = {name: text_message(kind, [alert]) for name, alert in alerts.items()}
    made["several"] = text_message(kind, list(alerts.values()), keyword="城市眼")
    check_golden(f"{kind}-texts", made)


def test_no_name_becomes_a_mention_a_link_or_a_heading() -> None:
    alert = told()["parking-opened"]
    alert["data"]["camera"]["name"] = "<@all> [click](http://evil) # `x` **y**"
    for kind in ("wecom", "dingtalk"):
        text = json.dumps(text_message(kind, [alert]), ensure_ascii=False)
        assert not set("<>[]`") & set(text.replace("> ", ""))  # quotes of WeCom's markdown are ours


def test_a_text_is_cut_at_whole_lines_and_never_over_the_robots_limit() -> None:
    alert = told()["parking-opened"]
    alert["data"]["camera"]["name"] = "桥" * 200
    message: Any = text_message("wecom", [alert] * 50)
    content = message["markdown"]["content"]
    assert 3000 < len(content.encode()) <= WECOM_MAX_BYTES
    assert content.startswith("**【汇总】50 条告警**")


def test_a_picture_goes_with_its_sum() -> None:
    image: Any = picture_message(PICTURE)["image"]
    assert base64.b64decode(image["base64"]) == PICTURE
    assert image["md5"] == hashlib.md5(PICTURE).hexdigest()


def test_dingtalks_signature_is_that_of_its_documentation() -> None:
    """HMAC-SHA256 over `timestamp + \\n + secret`, keyed by the secret, base64, then escaped for an address."""
    query = parse_qs(
        urlsplit(signed("https://oapi.dingtalk.com/robot/send?access_token=x", SECRET, wall_ms=1777)).query
    )
    digest = hmac.new(SECRET.encode(), b"1777\n" + SECRET.encode(), hashlib.sha256).digest()
    assert query == {"access_token": ["x"], "timestamp": ["1777"], "sign": [base64.b64encode(digest).decode()]}


@pytest.mark.parametrize(
    ("kind", "code", "error"),
    [
        ("wecom", 45009, BusyError),
        ("wecom", 93000, DeliveryError),
        ("wecom", 40058, RefusedError),
        ("dingtalk", 130101, BusyError),
        ("dingtalk", 310000, DeliveryError),
        ("dingtalk", 460101, RefusedError),
    ],
)
def test_an_errcode_in_an_answer_of_200_is_an_error(kind: Kind, code: int, error: type[DeliveryError]) -> None:
    body = json.dumps({"errcode": code, "errmsg": "no"}).encode()
    with pytest.raises(DeliveryError, match=str(code)) as caught:
        check_answer(kind, "https://robot", Answer(200, {}, body))
    assert type(caught.value) is error
    for nonsense in (b"<html>", b"{}", b"[]", b"3", b'{"errcode": 1e999}', b"[" * 60_000):
        with pytest.raises(DeliveryError, match="no robot's") as caught:
            check_answer(kind, "https://robot", Answer(200, {}, nonsense))
        assert type(caught.value) is DeliveryError, "it is no word on the message"


# --- how often -------------------------------------------------------------------------------------------------


def test_what_is_over_twenty_a_minute_is_told_in_one_message() -> None:
    clock, alerts = Clock(), list(told().values())
    with Platform(lambda _request: FINE) as platform:
        robot = robot_of(platform, clock=clock, pictures=False, per_minute=3)
        assert robot.send(alerts[:2]) == 1
        assert robot.send(alerts[1:2]) == 1
        assert robot.send(alerts) == len(alerts), "one message is left, and more alerts wait"
        with pytest.raises(PauseError) as pause:
            robot.send(alerts)
        assert pause.value.pause_s == pytest.approx(60)
        clock.mono += 60 * NS_PER_S
        assert robot.send(alerts[:1]) == 1
        assert [text.partition("\n")[0] for text in texts(platform.requests)] == [
            "**【立案】机动车乱停放**",
            "**【更新】机动车乱停放**",
            "**【汇总】7 条告警**",
            "**【立案】机动车乱停放**",
        ]


def test_a_picture_counts_as_a_message_and_comes_after_its_text() -> None:
    alerts = told()
    with Platform(lambda _request: FINE) as platform:
        robot = robot_of(platform, per_minute=3)
        assert robot.send([alerts["parking-opened"]]) == 1
        assert robot.send([alerts["parking-cleared"]]) == 1
        kinds = [one.document["msgtype"] for one in platform.requests]
        assert kinds == ["markdown", "image", "markdown"], "no room is left for the second picture"
        with pytest.raises(PauseError):
            robot.send([alerts["parking-opened"]])


# --- through its follower --------------------------------------------------------------------------------------


def test_every_alert_is_told_once_in_order_and_struck_out(
    database: Database, follow: Callable[[Robot], Follower]
) -> None:
    with Platform(lambda _request: FINE) as platform:
        store(database, 5)
        follower = follow(robot_of(platform, pictures=False))
        assert platform.wait_for(lambda requests: len(requests) == 5)
        store(database, 1, first=6)
        assert platform.wait_for(lambda requests: len(requests) == 6)
        follower.close()
        assert numbers(platform.requests) == ["1", "2", "3", "4", "5", "6"]
    state = follower.state()
    assert (state.waiting, state.sent, state.refused, state.merged, state.reason) == (0, 6, 0, 0, "")


def test_only_the_states_that_were_asked_for_are_told(database: Database, follow: Callable[[Robot], Follower]) -> None:
    with Platform(lambda _request: FINE) as platform:
        robot = robot_of(platform, states=("cleared",), pictures=False)
        assert [name for name, alert in told().items() if robot.wants(alert)] == ["parking-cleared"]
        store(database, 3)
        follower = follow(robot)
        while Relays(database).waiting_count(FOLLOWER):
            assert follower.alive
        assert platform.requests == []


def test_an_outage_loses_nothing_and_doubles_nothing(database: Database, follow: Callable[[Robot], Follower]) -> None:
    answers = iter([(503, {}, b""), (500, {}, b""), json_reply({"errcode": 45009, "errmsg": "freq"})])
    store(database, 3)
    with Platform(lambda _request: next(answers, FINE)) as platform:
        follower = follow(robot_of(platform, pictures=False, per_minute=20))
        assert platform.wait_for(lambda requests: len(requests) == 6)
        follower.close()
        assert numbers(platform.requests) == ["1", "1", "1", "1", "2", "3"]
    assert follower.state().sent == 3


def test_a_message_that_is_never_taken_is_given_up_and_told(
    database: Database, follow: Callable[[Robot], Follower], caplog: pytest.LogCaptureFixture
) -> None:
    def answer(request: Request) -> Any:
        return json_reply({"errcode": 40058, "errmsg": "bad"}) if "第 2 号" in request.body.decode() else FINE

    store(database, 4)
    with Platform(answer) as platform:
        follower = follow(robot_of(platform, pictures=False))
        assert platform.wait_for(lambda requests: len(requests) == 3 + REFUSED_MAX)
        follower.close()
    state = follower.state()
    assert (state.waiting, state.sent, state.refused) == (0, 3, 1)
    assert any("alert 2 is given up after 3 tries" in words for words in caplog.messages)


def test_a_robots_address_is_never_logged(
    database: Database, follow: Callable[[Robot], Follower], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    store(database, 1)
    answers = iter([(404, {}, b""), (400, {}, b""), (302, {"Location": "/elsewhere"}, b""), (200, {}, b"no json")])
    with Platform(lambda _request: next(answers, FINE)) as platform:
        follower = follow(robot_of(platform, "dingtalk", secret=SECRET, pictures=False))
        assert platform.wait_for(lambda requests: len(requests) == 5)
        follower.close()
        assert all(KEY in request.path for request in platform.requests), "each was ours, the redirect was not followed"
    nobody = Robot(RobotSettings(kind="wecom", url=f"http://127.0.0.1:{free_port()}/send?key={KEY}"))
    with pytest.raises(DeliveryError, match="nothing listens") as caught:
        nobody.send(list(told().values())[:1])
    words = "\n".join([*caplog.messages, str(caught.value)])
    assert "answered 404" in words
    assert KEY not in words
    assert SECRET not in words
