"""From the outbox over a real broker to a subscriber, whichever broker a site runs."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge.delivery.courier import Courier
from edge.delivery.inbox import Inbox as Letters
from edge.delivery.inbox import Received
from edge.delivery.message import ALL_ALERTS, Topics
from edge.delivery.mqtt import MqttPublisher
from edge.delivery.subscriber import Subscriber
from edge.state.database import Database
from tests.alerts import a_change, closed_schema, fill, topic_of
from tests.brokers import WAIT_S, Embedded, Inbox, Mosquitto, StreetBroker
from tests.conftest import need_program


@pytest.fixture(params=["embedded", "mosquitto"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StreetBroker]:
    made: StreetBroker = Embedded() if request.param == "embedded" else Mosquitto(tmp_path)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "edge.db") as opened:
        yield opened


def a_publisher(broker: StreetBroker, client_id: str = "gw-01") -> MqttPublisher:
    return MqttPublisher(broker.url, client_id=client_id, connect_s=5)


def test_every_alert_arrives_once_and_in_order(broker: StreetBroker, outbox: Database) -> None:
    count = 300
    inbox = Inbox()
    fill(outbox, count)
    bodies = [json.loads(row.body) for row in outbox.next_unsent(0, count)]
    with Subscriber(broker.url, inbox, client_id="brain") as subscriber:
        begin = time.perf_counter()
        with Courier(outbox, a_publisher(broker)) as courier:
            assert courier.drain(WAIT_S) == 0
            took_s = time.perf_counter() - begin
            assert inbox.wait_for(count)
    print(f"{type(broker).__name__}: {count} alerts confirmed in {took_s:.2f} s, {count / took_s:.0f}/s")
    assert inbox.alerts == bodies
    assert set(inbox.topics) == {topic_of(a_change())}
    assert subscriber.unreadable == 0
    assert courier.last_error == ""


def test_alerts_made_while_the_courier_runs_arrive_too(broker: StreetBroker, outbox: Database) -> None:
    inbox = Inbox()
    with Subscriber(broker.url, inbox, client_id="brain"), Courier(outbox, a_publisher(broker)) as courier:
        for first in (1, 11, 21):
            fill(outbox, 10, first=first)
            assert courier.drain(WAIT_S) == 0
        assert inbox.wait_for(30)
    assert inbox.sequences() == list(range(1, 31))


class _KillsTheBroker(MqttPublisher):
    """Kills the broker under one publish, and lets the next connection wait until the test has looked."""

    def __init__(self, broker: StreetBroker, at_publish: int) -> None:
        super().__init__(broker.url, client_id="gw-01", connect_s=5)
        self._broker = broker
        self._publishes_left = at_publish
        self._connections = 0
        self.may_begin = threading.Event()
        self.is_lost = threading.Event()
        self.may_return = threading.Event()

    def connect(self, *, on_confirmed: Callable[[int], None], on_lost: Callable[[str], None], **more: Any) -> None:
        self.may_begin.wait(WAIT_S)
        self._connections += 1
        if self._connections == 2:
            self.is_lost.set()
            self.may_return.wait(WAIT_S)
        super().connect(on_confirmed=on_confirmed, on_lost=on_lost, **more)

    def publish(self, topic: str, body: str, *, retain: bool = False) -> int:
        self._publishes_left -= 1
        if self._publishes_left == 0:
            self._broker.kill()
        return super().publish(topic, body, retain=retain)


def test_a_broker_that_dies_midway_costs_no_alert_that_it_had_not_confirmed(
    broker: StreetBroker, outbox: Database
) -> None:
    count = 120
    before, after = Inbox(), Inbox()
    fill(outbox, count)
    publisher = _KillsTheBroker(broker, at_publish=60)
    with Courier(outbox, publisher, window=8, retry_s=0.01) as courier:
        with Subscriber(broker.url, before, client_id="brain") as subscriber:
            publisher.may_begin.set()
            assert publisher.is_lost.wait(WAIT_S)
            assert subscriber.lost.wait(WAIT_S)
        unconfirmed = [row.sequence for row in outbox.next_unsent(0, count)]
        fill(outbox, 10, first=count + 1)  # the street goes on while the broker is away
        broker.start()
        with Subscriber(broker.url, after, client_id="brain"):
            publisher.may_return.set()
            assert courier.drain(WAIT_S) == 0
            assert after.wait_for(len(unconfirmed) + 10)
    assert 60 < len(unconfirmed) < count
    assert after.sequences() == unconfirmed + list(range(count + 1, count + 11))
    assert before.sequences() == sorted(before.sequences())
    lost = count - len({*before.sequences(), *unconfirmed})
    print(f"{type(broker).__name__}: {len(unconfirmed)} of {count} sent after the restart, {lost} confirmed but lost")


def test_plain_mosquitto_sub_sees_json_that_fits_the_schema(broker: StreetBroker, outbox: Database) -> None:
    fill(outbox, 5)
    # By itself mosquitto_sub holds back what it writes to a pipe.
    command = f"{need_program('stdbuf')} -oL {need_program('mosquitto_sub')} -h 127.0.0.1 -p {broker.port} -q 1"
    listener = subprocess.Popen(
        [*command.split(), "-t", ALL_ALERTS, "-C", "5", "-W", "20", "-d"], stdout=subprocess.PIPE, text=True
    )
    assert listener.stdout is not None
    assert any("Subscribed" in line for line in listener.stdout)
    with Courier(outbox, a_publisher(broker)):
        alerts = [json.loads(line) for line in listener.stdout if line.startswith("{")]
        assert listener.wait(WAIT_S) == 0
    assert [alert["sequence"] for alert in alerts] == [1, 2, 3, 4, 5]
    for alert in alerts:
        jsonschema.validate(alert, closed_schema())
    assert alerts[0]["data"]["category"]["name"] == "机动车乱停放"


def test_an_alert_of_a_megabyte_passes(broker: StreetBroker) -> None:
    inbox = Inbox()
    publisher = a_publisher(broker)
    confirmed = threading.Event()
    with Subscriber(broker.url, inbox, client_id="brain"):
        publisher.connect(on_confirmed=lambda _ticket: confirmed.set(), on_lost=lambda _reason: None)
        publisher.publish(topic_of(a_change()), json.dumps({"sequence": 1, "filler": "x" * 1_000_000}))
        assert confirmed.wait(WAIT_S)
        assert inbox.wait_for(1)
        publisher.close()


def test_what_is_no_json_object_is_counted_and_passed_over(broker: StreetBroker) -> None:
    inbox = Inbox()
    publisher = a_publisher(broker)
    with Subscriber(broker.url, inbox, client_id="brain") as subscriber:
        publisher.connect(on_confirmed=lambda _ticket: None, on_lost=lambda _reason: None)
        for body in ("not json", "[1]", '{"sequence": 1}'):
            publisher.publish(topic_of(a_change()), body)
        assert inbox.wait_for(1)
        publisher.close()
        assert subscriber.unreadable == 2
    assert inbox.alerts == [{"sequence": 1}]


class _Listener:
    """A publisher that is connected and listens to `receipt` and `command`."""

    def __init__(self, url: str, **options: Any) -> None:
        self.came = threading.Semaphore(0)
        self.letters = Letters(messages_max=10, body_max_bytes=1000, on_arrival=self.came.release)
        self.commands: list[Received] = []
        self.lost = threading.Event()
        self.publisher = MqttPublisher(url, client_id="gw-01", connect_s=5, **options)
        self.publisher.subscribe(TOPICS.receipt, self.letters)
        self.publisher.subscribe(TOPICS.command, self._hear)

    def connect(self) -> None:
        self.publisher.connect(on_confirmed=lambda _ticket: None, on_lost=lambda _reason: self.lost.set())

    def _hear(self, message: Received) -> None:
        self.commands.append(message)
        self.came.release()


TOPICS = Topics("xiaohe", "gw-01")


@pytest.mark.parametrize("version5", [False, True])
def test_what_is_said_to_the_gateway_is_heard_on_its_own_topic_after_a_reconnect_too(
    broker: StreetBroker, version5: bool
) -> None:
    listener = _Listener(broker.url, version5=version5, recall=TOPICS.all_health)
    brain = a_publisher(broker, client_id="brain")
    for turn in range(2):
        if turn:
            broker.kill()
            assert listener.lost.wait(WAIT_S)
            listener.publisher.close()
            brain.close()
            broker.start()
        listener.connect()
        brain.connect(on_confirmed=lambda _ticket: None, on_lost=lambda _reason: None)
        brain.publish(TOPICS.receipt, '{"ids": []}')
        brain.publish(TOPICS.receipt, "x" * 1001)
        brain.publish(TOPICS.command, "{}")
        for _ in range(2):
            assert listener.came.acquire(timeout=WAIT_S)
        assert listener.letters.take() == [Received(TOPICS.receipt, b'{"ids": []}', retained=False)]
        assert listener.letters.oversized == turn + 1
        assert listener.commands[turn:] == [Received(TOPICS.command, b"{}", retained=False)]
        assert listener.publisher.refused_topics == frozenset()
    listener.publisher.close()
    brain.close()


def test_a_full_inbox_counts_what_it_loses() -> None:
    letters = Letters(messages_max=2, body_max_bytes=10)
    for number in range(5):
        letters(Received("receipt", str(number).encode(), retained=False))
    assert [letter.body for letter in letters.take()] == [b"0", b"1"]
    assert (letters.dropped, len(letters)) == (3, 0)
