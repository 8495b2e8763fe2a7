"""What the street brain is told of the gateway: notices that are true, few, and at the broker whatever happens."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge.clock import SystemClock
from edge.core.types import NS_PER_S
from edge.delivery.courier import Courier, CourierState
from edge.delivery.message import Topics
from edge.delivery.mqtt import MqttPublisher
from edge.delivery.retained import WINDOW, RetainedNotices
from edge.delivery.schema import health_schema, status_schema
from edge.evidence.chain import Head
from edge.runtime.announcing import Announcer, Commanded, courier_report
from edge.runtime.board import SUPERVISOR_ROW
from edge.runtime.health import CAMERA, OFF, STOPPED
from edge.state.database import Database
from edge.state.mode import EMERGENCY
from tests.alerts import SHANGHAI, START_WALL_NS, closed_schema, fill
from tests.boards import BROKER, Gateway, a_camera_report
from tests.brokers import WAIT_S, Embedded, Mosquitto, StreetBroker, free_port
from tests.conftest import need_program

TOPICS = Topics("xiaohe", "gw-01")
CONNECTED = CourierState(
    connected=True,
    reason="",
    sent=39,
    unsent=3,
    oldest_unsent_s=1.25,
    last_sequence=42,
    unreceipted=2,
    oldest_unreceipted_s=4.0,
)
DAY_S = 86_400


def announcer_of(gateway: Gateway, **options: Any) -> Announcer:
    fixed = {"broker": BROKER, "site": "xiaohe", "gateway": "gw-01", "timezone": SHANGHAI}
    return Announcer(gateway.status, **{**fixed, **options})


def read(body: str) -> dict[str, Any]:
    event = json.loads(body)
    schema = health_schema() if event["type"] == "cityeye.camera.health.v1" else status_schema()
    jsonschema.validate(event, closed_schema(schema))
    return event


# --- what is told, and when ------------------------------------------------------------------------------------


class Timed:
    """An announcer in the gateway's own time, asked as often as the courier asks."""

    def __init__(self, cameras: int = 2, **options: Any) -> None:
        self.gateway = Gateway(cameras)
        self._announcer = announcer_of(self.gateway, clock=self, **options)
        self.held: dict[str, str] = {}
        self.published: list[tuple[str, str]] = []

    def mono_ns(self) -> int:
        return self.gateway.mono_ns

    def wall_ns(self) -> int:
        return self.gateway.wall_ns

    def ask(self, courier: CourierState = CONNECTED) -> list[str]:
        """The topics that would be published now."""
        wanted = self._announcer.current(courier)
        news = [topic for topic, body in wanted.items() if self.held.get(topic) != body]
        self.published += [(topic, wanted[topic]) for topic in news]
        self.held = dict(wanted)
        return news

    def told(self, topic: str) -> dict[str, Any]:
        return read(self.held[topic])["data"]


def test_everything_is_told_first_and_then_numbers_every_ten_seconds_only() -> None:
    timed = Timed()
    first, second = TOPICS.health("cam-01"), TOPICS.health("cam-02")
    assert timed.ask() == [TOPICS.status, first, second]
    count = 0
    for half in range(1, 200):  # 99.5 s
        timed.gateway.pass_time(0.5)
        timed.gateway.tell(CAMERA, "cam-01", a_camera_report(read=100_000 + half))
        count += len(timed.ask())
    assert count == 9, "cam-01 alone has news, every 10 s"


def test_a_camera_whose_device_does_not_decode_says_why_and_one_as_usual_says_nothing() -> None:
    timed = Timed()
    why = "software: vaapi: no such device can be opened here"
    timed.gateway.tell(CAMERA, "cam-01", a_camera_report(decoder=why))
    timed.gateway.tell(CAMERA, "cam-02", a_camera_report(decoder="software"))
    timed.ask()
    assert timed.told(TOPICS.health("cam-01"))["decoder"] == why
    assert "decoder" not in timed.told(TOPICS.health("cam-02"))


def test_a_change_of_state_is_told_at_once_and_words_that_count_seconds_are_not() -> None:
    timed = Timed()
    timed.ask()
    timed.gateway.pass_time(1)
    timed.gateway.blind("cam-01")
    assert timed.ask() == [TOPICS.status, TOPICS.health("cam-01")]
    told = timed.told(TOPICS.health("cam-01"))
    assert (told["state"], told["reason"], told["words"]) == (
        "blind",
        "wrong-password",
        "the camera refuses the password",
    )
    assert timed.told(TOPICS.status)["cameras"] == {"streaming": 1, "blind": 1, "off": 0}
    for second in range(9):
        timed.gateway.pass_time(1)
        timed.gateway.blind("cam-01", words=f"no answer for {second} s")
        assert timed.ask() == []


def test_a_camera_that_flutters_is_told_at_most_once_a_second_and_its_last_state_is() -> None:
    timed = Timed()
    timed.ask()
    for turn in range(100):
        timed.gateway.pass_time(0.1)
        if turn % 2:
            timed.gateway.blind("cam-01")
        else:
            timed.gateway.tell(CAMERA, "cam-01", a_camera_report())
        timed.ask()
    for topic in (TOPICS.status, TOPICS.health("cam-01")):
        assert sum(one == topic for one, _ in timed.published) <= 11
    timed.gateway.pass_time(1)
    timed.ask()
    assert timed.told(TOPICS.health("cam-01"))["state"] == "blind"


def test_a_silent_camera_is_blind_whatever_its_worker_said_last() -> None:
    timed = Timed()
    timed.gateway.mono_ns += 8 * NS_PER_S
    timed.ask()
    told = timed.told(TOPICS.health("cam-02"))
    assert (told["state"], told["reason"], told["words"], told["fps"]) == (
        "blind",
        "no-frames",
        "no picture for 8 s",
        0,
    )
    assert told["frame_age_s"] == 8.1
    silent = "supervisor: no sign of life for over 5 s"
    assert timed.told(TOPICS.status)["problems"] == [silent, "no camera is streaming"]


def test_a_camera_that_is_switched_off_or_has_never_reported_fits_the_schema() -> None:
    timed = Timed()
    timed.gateway.change_process("cam-01", state=STOPPED)
    timed.gateway.board.row(timed.gateway.processes[3].row).clear()
    timed.ask()
    assert timed.told(TOPICS.health("cam-01"))["state"] == OFF
    told = timed.told(TOPICS.health("cam-02"))
    assert (told["state"], told["reason"]) == ("blind", "starting")
    assert (told["since"], told["frame_px"], told["frame_age_s"], told["stages_ms"]) == (None, None, None, {})


def test_a_refused_configuration_and_a_failing_process_are_told_at_once() -> None:
    timed = Timed()
    timed.ask()
    timed.gateway.pass_time(2)
    timed.gateway.tell_supervisor(config_refused="site.yaml:23: cameras[1].zones: polygon needs 3 points, has 2")
    assert timed.ask() == [TOPICS.status]
    assert timed.told(TOPICS.status)["config_refused"].startswith("site.yaml:23")
    timed.gateway.pass_time(2)
    timed.gateway.change_process("yolox-nano", over_budget=True, reason="killed by SIGSEGV")
    assert timed.ask() == [TOPICS.status]
    refused, failing = timed.told(TOPICS.status)["problems"]
    assert refused.startswith("configuration refused, the old one runs on: site.yaml:23")
    assert failing == "detector yolox-nano: running (killed by SIGSEGV)"


def test_the_status_tells_the_head_of_the_chain_of_evidence_and_so_does_the_last_will() -> None:
    gateway = Gateway()
    heads: Iterator[Head | None] = iter([None, Head(), Head(412, "c" * 64), Head(413, "d" * 64)])
    announcer = announcer_of(gateway, head=lambda: next(heads))
    for _ in range(2):  # no manifest yet
        assert "evidence" not in read(announcer.current(CONNECTED)[TOPICS.status])["data"]
    will, farewell = announcer.will(CONNECTED), announcer.farewell(CONNECTED)
    assert will is not None
    assert farewell is not None
    assert read(will[1])["data"]["evidence"] == {"count": 412, "head": "c" * 64}
    assert read(farewell[1])["data"]["evidence"] == {"count": 413, "head": "d" * 64}


def test_the_first_message_of_a_connection_does_not_say_that_there_is_none() -> None:
    """The courier's row on the board still does."""
    timed = Timed()
    timed.gateway.tell("courier", "courier", courier_report(CourierState(reason="connecting"), BROKER))
    timed.ask(replace(CONNECTED, last_sequence=7))
    assert timed.told(TOPICS.status)["problems"] == []
    assert timed.told(TOPICS.status)["last_sequence"] == 7
    assert timed.told(TOPICS.status)["alerts"] == {
        "unsent": 3,
        "oldest_unsent_s": 1.2,
        "unreceipted": 2,
        "oldest_unreceipted_s": 4.0,
        "merged": 0,
        "given_up": 0,
        "receipts_malformed": 0,
    }


def test_nothing_is_told_before_the_supervisor_has_reported() -> None:
    gateway = Gateway()
    gateway.board.row(SUPERVISOR_ROW).write("")
    announcer = announcer_of(gateway)
    assert announcer.current(CONNECTED) == {}
    assert announcer.will(CONNECTED) is None
    assert announcer.farewell(CONNECTED) is None


def test_the_will_is_the_status_but_offline_and_says_why() -> None:
    gateway = Gateway()
    announcer = announcer_of(gateway)
    online = read(announcer.current(CONNECTED)[TOPICS.status])
    for (topic, body), reason in (
        (announcer.will(CONNECTED), "connection lost"),
        (announcer.farewell(CONNECTED), "stopped"),
    ):
        offline = read(body)
        assert topic == TOPICS.status
        assert (offline["data"].pop("state"), offline["data"].pop("reason")) == ("offline", reason)
        same = {key: value for key, value in online["data"].items() if key in offline["data"]}
        assert online["data"].keys() - same.keys() == {"state", "commands", "cameras", "problems"}
        assert offline["data"] == same


def test_the_same_content_has_the_same_id_and_every_other_one_another() -> None:
    first, second = Timed(), Timed()
    for timed in (first, second):
        timed.ask()
        timed.gateway.pass_time(10)
        timed.gateway.blind("cam-01")
        timed.ask()
    assert first.published == second.published
    ids = [read(body)["id"] for _, body in first.published]
    assert len(set(ids)) == len(ids) == 5


def test_the_operators_page_shows_the_messages_as_they_are() -> None:
    page = (Path(__file__).parent.parent / "docs" / "health.md").read_text(encoding="utf-8")
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    gateway = Gateway()
    gateway.blind("cam-02")
    announcer = announcer_of(gateway)
    told = announcer.current(CONNECTED)
    will = announcer.will(CONNECTED)
    assert will is not None
    assert shown == [read(told[TOPICS.status]), read(will[1]), read(told[TOPICS.health("cam-01")])]


def test_a_status_that_is_neither_online_nor_explained_is_refused_by_the_schema() -> None:
    event = read(announcer_of(Gateway()).current(CONNECTED)[TOPICS.status])
    del event["data"]["problems"]
    with pytest.raises(jsonschema.ValidationError, match="problems"):
        read(json.dumps(event))
    event["data"] |= {"state": "offline"}
    with pytest.raises(jsonschema.ValidationError, match="reason"):
        read(json.dumps(event))


def test_the_volume_of_64_cameras_is_bounded() -> None:
    """MQTT's own bytes are counted: fixed header, topic, ticket, and the broker's answer; TCP's and TLS's are not."""
    timed = Timed(cameras=64)
    timed.ask()
    timed.published.clear()
    minutes = 2
    for half in range(minutes * 120):
        timed.gateway.pass_time(0.5)
        for number in range(1, 65):
            timed.gateway.tell(CAMERA, f"cam-{number:02d}", a_camera_report(number, read=100_000 + half))
        timed.ask(replace(CONNECTED, last_sequence=half))
    each = [len(body.encode()) for _, body in timed.published]
    wire = sum(len(topic) + len(body.encode()) + 3 + 2 + 2 + 4 for topic, body in timed.published)
    a_day = wire * DAY_S / (minutes * 60)
    print(f"64 cameras: {len(each)} messages of {sum(each) / len(each):.0f} bytes in {minutes} min")
    print(f"a day: {a_day / 1e6:.0f} MB, of one camera {a_day / 64e6:.1f} MB")
    assert len(each) == 65 * minutes * 6
    assert a_day < 500e6


# --- bookkeeping -----------------------------------------------------------------------------------------------


def test_retained_notices_go_one_at_a_time_and_within_their_window() -> None:
    notices = RetainedNotices()
    wanted = {f"topic/{number}": "a" for number in range(40)}
    tickets = 0
    rounds = []
    while due := notices.due(wanted):
        for topic, body in due:
            tickets += 1
            notices.sent(tickets, topic, body)
        assert notices.in_flight <= WINDOW
        newer = dict.fromkeys(wanted, "b")
        assert not {topic for topic, _ in notices.due(newer)} & {topic for topic, _ in due}
        rounds.append(len(due))
        for ticket in range(tickets - len(due) + 1, tickets + 1):
            assert notices.answered(ticket) in wanted
    assert rounds == [16, 16, 8]
    assert notices.answered(1) is None


def test_what_is_wanted_no_more_is_cleared_once_and_again_after_a_break_before_the_confirmation() -> None:
    notices = RetainedNotices()
    notices.sent(1, "a", "body")
    notices.answered(1)
    assert notices.due({}) == [("a", "")]
    notices.sent(2, "a", "")
    notices.forget_connection()
    assert notices.due({}) == [("a", "")]
    notices.sent(3, "a", "")
    notices.answered(3)
    assert notices.due({}) == []


def test_topics_that_were_once_held_are_bounded() -> None:
    notices = RetainedNotices()
    notices.remember(f"topic/{number}" for number in range(5000))
    assert notices.forgotten == 5000 - 2048


# --- over real brokers -----------------------------------------------------------------------------------------


class Listener:
    """Plain mosquitto_sub; remembers for each topic what it heard last, and whether that was retained."""

    def __init__(self, port: int, topics: str = "cityeye/#") -> None:
        # By itself mosquitto_sub holds back what it writes to a pipe.
        command = [need_program("stdbuf"), "-oL", need_program("mosquitto_sub"), "-h", "127.0.0.1", "-p", str(port)]
        self._process = subprocess.Popen(
            [*command, "-q", "1", "-t", topics, "-F", "%r %t %p", "-d"], stdout=subprocess.PIPE, text=True
        )
        self._changed = threading.Condition()
        self.heard: list[tuple[str, str]] = []
        self.now: dict[str, str] = {}
        self.retained: set[str] = set()
        assert self._process.stdout is not None
        assert any("Subscribed" in line for line in self._process.stdout)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.startswith(("0 ", "1 ")):
                continue
            retained, topic, body = line.rstrip("\n").split(" ", 2)
            with self._changed:
                self.heard.append((topic, body))
                self.now[topic] = body
                if retained == "1":
                    self.retained.add(topic)
                self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool]) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, timeout=WAIT_S)

    def status(self) -> dict[str, Any]:
        body = self.now.get(TOPICS.status)
        return read(body)["data"] if body else {}

    def says(self, state: str, reason: str | None = None) -> bool:
        return self.wait_for(lambda: self.status().get("state") == state and self.status().get("reason") == reason)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(WAIT_S)


Listen = Callable[[int], Listener]


@pytest.fixture
def listen() -> Iterator[Listen]:
    made: list[Listener] = []

    def start(port: int) -> Listener:
        made.append(Listener(port))
        return made[-1]

    yield start
    for listener in made:
        listener.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "edge.db") as opened:
        yield opened


def courier_of(gateway: Gateway, outbox: Database, url: str, **options: Any) -> Courier:
    publisher = MqttPublisher(url, client_id="gw-01", connect_s=5, recall=TOPICS.all_health, **options)
    return Courier(outbox, publisher, notices=announcer_of(gateway), notice_s=0.02, retry_s=0.05, retry_max_s=0.1)


EMBEDDED_AND_MOSQUITTO = pytest.mark.parametrize("kind", ["embedded", "mosquitto"])


@EMBEDDED_AND_MOSQUITTO
def test_a_new_listener_finds_status_and_health_retained_and_fit_for_the_schema(
    kind: str, tmp_path: Path, outbox: Database, listen: Listen
) -> None:
    made: StreetBroker = Embedded() if kind == "embedded" else Mosquitto(tmp_path)
    made.start()
    try:
        early = listen(made.port)
        with courier_of(Gateway(3), outbox, made.url, version5=True):
            topics = {TOPICS.status, *(TOPICS.health(f"cam-0{number}") for number in (1, 2, 3))}
            assert early.wait_for(lambda: early.now.keys() == topics)
            late = listen(made.port)
            assert late.wait_for(lambda: late.now.keys() == topics)
            assert late.retained == topics
            for body in late.now.values():
                read(body)
        assert late.says("offline", "stopped")
    finally:
        made.kill()


def test_an_orderly_end_is_told_before_the_connection_ends(broker: Mosquitto, outbox: Database, listen: Listen) -> None:
    listener = listen(broker.port)
    with courier_of(Gateway(), outbox, broker.url) as courier:
        assert listener.says("online")
        assert courier.state().connected
    assert listener.says("offline", "stopped")
    assert not courier.state().connected
    late = listen(broker.port)
    assert late.says("offline", "stopped"), "and no last will came after it"


_GATEWAY = """
import signal, sys
from edge.state.database import Database
from edge.state.mode import EMERGENCY
from tests.boards import Gateway
from tests.test_health_messages import courier_of
courier = courier_of(Gateway(), Database.open(":memory:"), sys.argv[1])
courier.start()
signal.pause()
"""


def test_a_killed_gateway_is_offline_by_its_last_will(broker: Mosquitto, listen: Listen) -> None:
    listener = listen(broker.port)
    root = Path(__file__).parent.parent
    process = subprocess.Popen([sys.executable, "-c", _GATEWAY, broker.url], cwd=root)
    try:
        assert listener.says("online")
        process.send_signal(signal.SIGKILL)
        assert listener.says("offline", "connection lost")
    finally:
        process.kill()
        process.wait(WAIT_S)
    assert listen(broker.port).says("offline", "connection lost")


def test_a_broker_that_comes_back_without_its_memory_is_told_everything_again(
    broker: Mosquitto, outbox: Database, listen: Listen
) -> None:
    with courier_of(Gateway(3), outbox, broker.url) as courier:
        before = listen(broker.port)
        assert before.wait_for(lambda: len(before.now) == 4)
        broker.kill()
        broker.start()
        after = listen(broker.port)
        assert after.wait_for(lambda: len(after.now) == 4)
        assert after.says("online")
        assert courier.state().reason == ""


def test_a_removed_camera_is_cleared_while_running_and_after_a_restart(
    broker: Mosquitto, outbox: Database, listen: Listen
) -> None:
    gateway = Gateway(4)
    listener = listen(broker.port)
    topics = {number: TOPICS.health(f"cam-0{number}") for number in (1, 2, 3, 4)}
    with courier_of(gateway, outbox, broker.url):
        assert listener.wait_for(lambda: len(listener.now) == 5)
        gateway.remove("cam-02")
        assert listener.wait_for(lambda: listener.now[topics[2]] == "")
    gateway.remove("cam-03")  # by an installer, while the gateway is stopped
    with courier_of(gateway, outbox, broker.url):
        assert listener.wait_for(lambda: listener.now[topics[3]] == "")
        assert listener.says("online")
        late = listen(broker.port)
        assert late.wait_for(lambda: late.now.keys() == {TOPICS.status, topics[1], topics[4]})
    assert "" not in (listener.now[topics[1]], listener.now[topics[4]])


def test_a_courier_that_knows_nothing_yet_takes_nothing_back(
    broker: Mosquitto, outbox: Database, listen: Listen
) -> None:
    gateway = Gateway()
    listener = listen(broker.port)
    with courier_of(gateway, outbox, broker.url):
        assert listener.wait_for(lambda: len(listener.now) == 3)
    supervisor = gateway.supervisor
    gateway.board.row(SUPERVISOR_ROW).write("")
    fill(outbox, 1)
    with courier_of(gateway, outbox, broker.url) as courier:
        assert courier.drain(WAIT_S) == 0
        assert "" not in listener.now.values()
        gateway.tell_supervisor(boot_id="another")
        assert listener.wait_for(lambda: listener.status().get("boot_id") == "another")
    assert "" not in listener.now.values()
    assert supervisor.boot_id != "another"


def test_a_wrong_password_is_the_reason_in_words(tmp_path: Path, outbox: Database) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run([need_program("mosquitto_passwd"), "-b", "-c", str(passwords), "gw", "right"], check=True)
    broker = Mosquitto(tmp_path, "allow_anonymous false", f"password_file {passwords}")
    broker.start()
    fill(outbox, 2)
    heard = threading.Event()
    try:
        with courier_of(Gateway(), outbox, broker.url, username="gw", password="geheim") as courier:
            while not heard.wait(0.01) and courier.state().reason == "connecting":
                pass
            state = courier.state()
    finally:
        broker.kill()
    assert (state.connected, state.unsent, state.last_sequence, state.sent) == (False, 2, 2, 0)
    assert "refused the user name or password" in state.reason
    assert "geheim" not in state.reason


def test_a_flood_of_alerts_and_changing_notices_do_not_hold_each_other_up(
    broker: Mosquitto, outbox: Database, listen: Listen
) -> None:
    count = 5000
    gateway = Gateway(3)
    fill(outbox, count)
    listener = listen(broker.port)
    announcer = announcer_of(gateway)
    notices = HurriedNotices(announcer)
    publisher = MqttPublisher(broker.url, client_id="gw-01", connect_s=5)
    with Courier(outbox, publisher, notices=notices, notice_s=0.001) as courier:
        assert courier.drain(60) == 0
        state = courier.state()
    assert listener.says("offline", "stopped")
    alerts = [json.loads(body)["sequence"] for topic, body in listener.heard if "/alert/" in topic]
    assert alerts == list(range(1, count + 1))
    rows = [row for row, (topic, _) in enumerate(listener.heard) if topic == TOPICS.health("cam-01")]
    gaps = [after - before for before, after in pairwise(rows)]
    print(f"{count} alerts in order; among them {len(rows)} notices of one camera, at most {max(gaps)} messages apart")
    assert len(rows) > 20
    assert max(gaps) < 500
    assert (state.sent, state.unsent, state.last_sequence) == (count, 0, count)


class HurriedNotices:
    """Every look is news: what a gateway with fluttering cameras can do at worst, and far beyond."""

    def __init__(self, announcer: Announcer) -> None:
        self._announcer = announcer
        self._looks = 0
        self.will = announcer.will
        self.farewell = announcer.farewell

    def current(self, courier: CourierState) -> dict[str, str]:
        self._looks += 1
        return {
            topic: f"look {self._looks}" if "/health/" in topic else body
            for topic, body in self._announcer.current(courier).items()
        }


def test_a_notice_that_the_broker_refuses_holds_up_no_alert(
    tmp_path: Path, outbox: Database, caplog: pytest.LogCaptureFixture
) -> None:
    rights = tmp_path / "rights"
    rights.write_text("topic write cityeye/v1/+/+/alert/#\ntopic write cityeye/v1/+/+/status\n")
    broker = Mosquitto(tmp_path, "allow_anonymous true", f"acl_file {rights}")
    broker.start()
    fill(outbox, 20)
    try:
        with courier_of(Gateway(), outbox, broker.url, version5=True) as courier:
            assert courier.drain(WAIT_S) == 0
            refusals = threading.Event()
            while len([one for one in caplog.messages if "/health/" in one]) < 2:
                assert not refusals.wait(0.01)
            assert courier.state().connected
    finally:
        broker.kill()
    assert any("Not authorized" in one and "cam-01" in one for one in caplog.messages)


def test_a_broker_that_hangs_does_not_hold_up_the_end(tmp_path: Path, outbox: Database, listen: Listen) -> None:
    broker = Mosquitto(tmp_path)
    broker.start()
    listener = listen(broker.port)
    fill(outbox, 2_000)
    courier = courier_of(Gateway(), outbox, broker.url)
    courier.start()
    try:
        assert listener.says("online")
        broker.send(signal.SIGSTOP)
        left = courier.drain(0.2)
        ended = threading.Thread(target=courier.close)
        ended.start()
        ended.join(4)
        assert not ended.is_alive(), "a second for the goodbye, a second for the connection"
    finally:
        broker.send(signal.SIGCONT)
        broker.kill()
    print(f"{left} alerts left in the outbox")
    assert outbox.unsent_count() == left


def test_a_courier_without_a_broker_says_why_and_how_old_its_alerts_are(outbox: Database) -> None:
    fill(outbox, 2)
    courier = courier_of(Gateway(), outbox, f"mqtt://127.0.0.1:{free_port()}")
    state = courier.state()
    assert (state.connected, state.reason, state.unsent) == (False, "connecting", 2)
    told_wall_ns = START_WALL_NS + 60 * NS_PER_S
    age_s = max((SystemClock().wall_ns() - told_wall_ns) / NS_PER_S, 0)
    assert state.oldest_unsent_s == pytest.approx(age_s, abs=5)
    with courier:
        assert courier.drain(0.1) == 2
        assert "nothing listens on that port" in courier.state().reason
    assert courier_report(courier.state(), BROKER).unsent == 2


def test_in_an_emergency_numbers_are_told_every_five_seconds_and_the_mode_at_once() -> None:
    told = Commanded()
    timed = Timed(health_s=60, commanded=lambda: told)
    timed.ask()
    timed.gateway.pass_time(2)
    told = Commanded(EMERGENCY, {"received": 1, "done": 1}, {"stale": 2})
    assert TOPICS.status in timed.ask()
    status = timed.told(TOPICS.status)
    assert status["mode"] == "emergency"
    assert (status["commands"]["done"], status["commands"]["refused"]) == (1, {"stale": 2})
    count = 0
    for half in range(1, 121):  # 60 s
        timed.gateway.pass_time(0.5)
        timed.gateway.tell(CAMERA, "cam-01", a_camera_report(read=100_000 + half))
        count += timed.ask().count(TOPICS.health("cam-01"))
    print(f"{count} notices of a camera in 60 s of an emergency")
    assert count in (11, 12)
