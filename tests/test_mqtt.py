"""A broker's address, what is said when it cannot be used, and a courier that no broken connection confuses."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.delivery.broker import EmbeddedBroker
from edge.delivery.courier import Courier
from edge.delivery.mqtt import BrokerAddress, MqttPublisher
from edge.delivery.subscriber import Subscriber
from edge.errors import DeliveryError, StateError
from edge.state.database import Database
from tests.alerts import a_change, fill, topic_of
from tests.brokers import WAIT_S, Embedded, Inbox, Mosquitto, free_port
from tests.conftest import need_program

SECRET = "geheim"


def a_publisher(url: str, **options: object) -> MqttPublisher:
    return MqttPublisher(url, client_id="gw-01", **{"connect_s": 5, **options})  # type: ignore[arg-type]


# --- addresses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown", "login"),
    [
        ("mqtt://brain.example", "mqtt://brain.example:1883", (None, None)),
        ("mqtts://brain.example", "mqtts://brain.example:8883", (None, None)),
        ("MQTT://10.0.0.1:2883/", "mqtt://10.0.0.1:2883", (None, None)),
        ("mqtt://gw:p%40ss@brain.example:1", "mqtt://brain.example:1", ("gw", "p@ss")),
        ("mqtt://[::1]:1883", "mqtt://[::1]:1883", (None, None)),
    ],
)
def test_an_address_is_read_and_shown_without_its_password(url: str, shown: str, login: tuple[object, object]) -> None:
    address = BrokerAddress.parse(url)
    assert str(address) == shown
    assert repr(address) == f"BrokerAddress({shown})"
    assert (address.username, address.password) == login


def test_a_password_given_apart_wins_over_the_one_in_the_address() -> None:
    address = BrokerAddress.parse("mqtt://a:b@host", username="c", password="d")
    assert (address.username, address.password) == ("c", "d")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"http://gw:{SECRET}@host", "begins with mqtt:// or mqtts://"),
        (f"gw:{SECRET}@host:1883", "begins with mqtt:// or mqtts://"),
        ("", "begins with mqtt:// or mqtts://"),
        (f"mqtt://gw:{SECRET}@:1883", "names no host"),
        (f"mqtt://gw:{SECRET}@host:http", "not a broker's address"),
        (f"mqtt://gw:{SECRET}@host:99999", "not a broker's address"),
        (f"mqtt://gw:{SECRET}@host:0", "port 0"),
        (f"mqtt://gw:{SECRET}@host/topic", "nothing may follow the port"),
    ],
)
def test_a_wrong_address_is_refused_without_showing_its_password(url: str, says: str) -> None:
    with pytest.raises(DeliveryError, match=says) as refused:
        a_publisher(url)
    assert SECRET not in str(refused.value)


# --- brokers that cannot be used -------------------------------------------------------------------------------


def refusal(url: str, **options: object) -> str:
    with pytest.raises(DeliveryError) as refused:
        a_publisher(url, **options).check()
    print(refused.value)
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.fixture
def tcp_server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_port_where_nobody_listens_is_named() -> None:
    assert "nothing listens on that port" in refusal(f"mqtt://gw:{SECRET}@127.0.0.1:{free_port()}")


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b"])
def test_an_unknown_host_is_named(host: str) -> None:
    said = refusal(f"mqtt://gw:{SECRET}@{host}:1883")
    assert "host name" in said
    assert host in said


def test_a_port_that_does_not_answer_is_given_up(tcp_server: socket.socket) -> None:
    url = f"mqtt://gw:{SECRET}@127.0.0.1:{tcp_server.getsockname()[1]}"
    assert "no MQTT answer within 0.2 s" in refusal(url, connect_s=0.2)


def test_a_port_that_hangs_up_is_named(tcp_server: socket.socket) -> None:
    def hang_up() -> None:
        tcp_server.accept()[0].close()

    threading.Thread(target=hang_up, daemon=True).start()
    assert "hung up without an answer" in refusal(f"mqtt://127.0.0.1:{tcp_server.getsockname()[1]}")


def test_a_topic_that_we_may_not_hear_is_named(tcp_server: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    """Mosquitto grants all and delivers nothing; others say so."""
    answered = threading.Event()

    def refuse_the_first_topic() -> None:
        with tcp_server.accept()[0] as connection:
            connection.recv(1000)
            connection.sendall(bytes([0x20, 2, 0, 0]))  # CONNACK
            asked = connection.recv(1000)
            connection.sendall(bytes([0x90, 4, *asked[2:4], 0x80, 1]))  # SUBACK: refused, granted
            answered.wait(WAIT_S)

    threading.Thread(target=refuse_the_first_topic, daemon=True).start()
    publisher = a_publisher(f"mqtt://127.0.0.1:{tcp_server.getsockname()[1]}")
    for topic in ("receipt", "command"):
        publisher.subscribe(topic, lambda _message: None)
    publisher.connect(on_confirmed=lambda _ticket: None, on_lost=lambda _reason: None)
    pause = threading.Event()
    while not publisher.refused_topics:
        assert not pause.wait(0.005)
    answered.set()
    publisher.close()
    assert publisher.refused_topics == {"receipt"}
    assert any("we may not listen to receipt" in one for one in caplog.messages)


def test_a_wrong_password_is_named_and_the_right_one_is_let_in(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run([need_program("mosquitto_passwd"), "-b", "-c", str(passwords), "gw", "right"], check=True)
    broker = Mosquitto(tmp_path, "allow_anonymous false", f"password_file {passwords}")
    broker.start()
    try:
        assert "refused the user name or password" in refusal(broker.url, username="gw", password=SECRET)
        assert "refused the user name or password" in refusal(broker.url, version5=True)
        a_publisher(broker.url, username="gw", password="right").check()
    finally:
        broker.kill()


def _certificate(folder: Path) -> tuple[Path, Path]:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = f"{need_program('openssl')} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    return key, certificate


def test_tls_is_spoken_with_a_known_authority_only(tmp_path: Path) -> None:
    key, certificate = _certificate(tmp_path)
    lines = ["allow_anonymous true", f"keyfile {key}", f"certfile {certificate}"]
    broker = Mosquitto(tmp_path, *lines, scheme="mqtts", host="localhost")
    broker.start()
    try:
        a_publisher(broker.url, ca_file=certificate).check()
        assert "certificate does not verify" in refusal(broker.url)
        by_address = broker.url.replace("localhost", "127.0.0.1")
        assert "certificate does not verify" in refusal(by_address, ca_file=certificate)
        assert "authority's file is missing" in refusal(broker.url, ca_file=tmp_path / "none.pem")
        refusal(broker.url.replace("mqtts", "mqtt"))
    finally:
        broker.kill()


def test_tls_to_a_plain_port_is_named(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    broker.start()
    try:
        assert "TLS" in refusal(broker.url.replace("mqtt:", "mqtts:"))
    finally:
        broker.kill()


def test_mqtt_5_is_spoken_where_the_broker_can(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    broker.start()
    try:
        publisher = a_publisher(broker.url, version5=True)
        heard = _publish_one(broker.url, publisher)
    finally:
        broker.kill()
    assert publisher.version5
    assert heard == [{"sequence": 1}]


def test_mqtt_5_falls_back_to_3_where_the_broker_cannot() -> None:
    broker = Embedded()
    broker.start()
    try:
        publisher = a_publisher(broker.url, version5=True, connect_s=2)
        heard = _publish_one(broker.url, publisher)
    finally:
        broker.kill()
    assert not publisher.version5
    assert heard == [{"sequence": 1}]


def _publish_one(url: str, publisher: MqttPublisher) -> list[dict[str, object]]:
    inbox = Inbox()
    with Subscriber(url, inbox, client_id="brain"):
        publisher.connect(on_confirmed=lambda _ticket: None, on_lost=lambda _reason: None)
        publisher.publish(topic_of(a_change()), '{"sequence": 1}')
        assert inbox.wait_for(1)
        publisher.close()
    return inbox.alerts


def test_the_embedded_broker_names_a_taken_port_and_ends_twice_without_harm(tcp_server: socket.socket) -> None:
    with pytest.raises(DeliveryError, match="embedded broker does not start"):
        EmbeddedBroker(tcp_server.getsockname()[1])
    with EmbeddedBroker() as broker:
        a_publisher(broker.url).check()
    broker.close()
    assert "nothing listens" in refusal(broker.url)


# --- the courier -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Connection:
    """How one connection of the fake goes: how many publishes it takes and how many of them it confirms."""

    takes: int
    confirms: int
    refuses: bool = False


class FakePublisher:
    """A broker in memory that follows a plan of bad connections, then works; or is silent where `silent` says so."""

    receive_max = 65_535

    def __init__(self, plan: list[Connection], *, silent: bool = False) -> None:
        self._plan = list(plan)
        self._silent = silent
        self._now = Connection(0, 0)
        self.arrived: list[list[str]] = []  # bodies, by connection
        self.refusals = 0
        self.refused = threading.Event()
        self.connections = threading.Semaphore(0)
        self.publishes = threading.Semaphore(0)

    def connect(self, *, on_confirmed: Callable[[int], None], on_lost: Callable[[str], None], **_more: object) -> None:
        endless = 0 if self._silent else 1_000_000
        self._now = self._plan.pop(0) if self._plan else Connection(1_000_000, endless)
        if self._now.refuses:
            self.refusals += 1
            self.refused.set()
            raise DeliveryError("mqtt://fake:1883: refused")
        self._on_confirmed, self._on_lost = on_confirmed, on_lost
        self.arrived.append([])
        self.connections.release()

    def publish(self, topic: str, body: str, *, retain: bool = False) -> int:
        here = self.arrived[-1]
        if len(here) == self._now.takes:
            self._on_lost("mqtt://fake:1883: broke off")
            raise DeliveryError("mqtt://fake:1883: not connected")
        here.append(body)
        self.publishes.release()
        if len(here) <= self._now.confirms:
            self._on_confirmed(len(here))
        if len(here) == self._now.takes:
            self._on_lost("mqtt://fake:1883: broke off")
        return len(here)

    def close(self) -> None:
        pass


@pytest.fixture
def outbox() -> Iterator[Database]:
    with Database.open(":memory:") as opened:
        yield opened


connections = st.builds(
    lambda takes, confirms, refuses: Connection(takes, min(takes, confirms), refuses),
    st.integers(0, 12),
    st.integers(0, 12),
    st.booleans(),
)


@given(count=st.integers(0, 25), plan=st.lists(connections, max_size=5), window=st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_whatever_breaks_every_alert_arrives_in_order_and_only_unconfirmed_ones_again(
    count: int, plan: list[Connection], window: int
) -> None:
    publisher = FakePublisher(plan)
    with Database.open(":memory:") as outbox:
        fill(outbox, count)
        bodies = [row.body for row in outbox.next_unsent(0, count)]
        quick = {"poll_s": 0.005, "retry_s": 0.001, "retry_max_s": 0.002, "confirm_s": 0.01}
        with Courier(outbox, publisher, window=window, **quick) as courier:
            assert courier.drain(WAIT_S) == 0
    confirmed = 0
    good = [step for step in plan if not step.refuses]
    for arrived, step in zip(publisher.arrived, [*good, Connection(1_000_000, 1_000_000)], strict=False):
        assert arrived == bodies[confirmed : confirmed + len(arrived)]
        confirmed += min(step.confirms, len(arrived))
    assert confirmed == count


def test_the_window_bounds_what_is_unconfirmed(outbox: Database) -> None:
    publisher = FakePublisher([Connection(100, 10)])
    fill(outbox, 50)
    with Courier(outbox, publisher, window=7) as courier:
        assert courier.drain(0.2) == 40
    assert len(publisher.arrived[0]) == 17


def test_a_new_alert_is_seen_without_a_call_when_another_process_made_it(outbox: Database) -> None:
    publisher = FakePublisher([])
    with Courier(outbox, publisher, poll_s=0.005):
        assert publisher.connections.acquire(timeout=WAIT_S)
        fill(outbox, 3)
        for _ in range(3):
            assert publisher.publishes.acquire(timeout=WAIT_S)


def test_drain_without_a_broker_ends_in_time_and_says_what_is_left_and_why(outbox: Database) -> None:
    fill(outbox, 3)
    with Courier(outbox, a_publisher(f"mqtt://127.0.0.1:{free_port()}"), retry_s=0.01) as courier:
        assert courier.drain(0.1) == 3
    assert "nothing listens on that port" in courier.last_error
    assert outbox.unsent_count() == 3


def test_drain_does_not_wait_for_the_end_of_a_long_pause(outbox: Database) -> None:
    fill(outbox, 3)
    publisher = FakePublisher([Connection(0, 0, refuses=True)])
    with Courier(outbox, publisher, retry_s=3600, retry_max_s=3600) as courier:
        assert publisher.refused.wait(WAIT_S)
        assert courier.drain(WAIT_S) == 0
    assert courier.last_error == ""


def test_a_broker_that_confirms_nothing_is_connected_to_anew(outbox: Database) -> None:
    fill(outbox, 3)
    publisher = FakePublisher([], silent=True)
    with Courier(outbox, publisher, poll_s=0.005, retry_s=0.001, confirm_s=0.01) as courier:
        for _ in range(3):
            assert publisher.connections.acquire(timeout=WAIT_S)
    assert "has not confirmed 3 messages" in courier.last_error
    assert outbox.unsent_count() == 3


def test_a_broker_that_takes_us_and_throws_us_out_is_asked_less_and_less_often(outbox: Database) -> None:
    """So does one that refuses our alerts, with all notices published anew each time."""
    fill(outbox, 1)
    publisher = FakePublisher([Connection(0, 0)] * 1000)
    with Courier(outbox, publisher, retry_s=0.01, retry_max_s=3600) as courier:
        for _ in range(4):
            assert publisher.connections.acquire(timeout=WAIT_S)
        threading.Event().wait(0.2)
        assert courier.alive
        assert len(publisher.arrived) <= 7  # 10 + 20 + 40 + 80 + 160 + 320 ms between them
    assert not courier.alive


class FailsOnce:
    """An outbox whose disk is full at the first mark."""

    def __init__(self, outbox: Database) -> None:
        self._outbox = outbox
        self._failed = False
        self.hand_over = outbox.hand_over
        self.sent_before = outbox.sent_before
        self.unsent_count = outbox.unsent_count

    def delete_sent(self, sequences: list[int]) -> None:
        if not self._failed:
            self._failed = True
            raise StateError("edge.db: the disk is full; free some space")
        self._outbox.delete_sent(sequences)


def test_a_disk_that_is_full_for_a_while_costs_a_repeat_and_no_alert(outbox: Database) -> None:
    fill(outbox, 3)
    publisher = FakePublisher([])
    with Courier(FailsOnce(outbox), publisher, retry_s=0.001) as courier:
        assert courier.drain(WAIT_S) == 0
    assert len(publisher.arrived) == 2


def test_a_closed_courier_has_left_the_rest_in_the_outbox(outbox: Database) -> None:
    courier = Courier(outbox, FakePublisher([]))
    courier.start()
    courier.close()
    fill(outbox, 2)
    courier.close()
    assert courier.drain(0) == 2


class LetterBox:
    """Forty letters in memory."""

    def __init__(self) -> None:
        self.waiting = {str(number): f"letter {number}" for number in range(1, 41)}

    def unposted(self, limit: int) -> list[tuple[str, str, str]]:
        return [(key, "reply", body) for key, body in self.waiting.items()][:limit]

    def mark_posted(self, keys: Iterable[str]) -> None:
        for key in keys:
            del self.waiting[key]


@given(plan=st.lists(connections, max_size=5))
@settings(max_examples=30, deadline=None)
def test_letters_are_published_in_order_until_the_broker_has_confirmed_each(plan: list[Connection]) -> None:
    publisher, letters = FakePublisher(plan), LetterBox()
    bodies = list(letters.waiting.values())
    with Database.open(":memory:") as outbox:
        quick = {"poll_s": 0.005, "retry_s": 0.001, "retry_max_s": 0.002, "confirm_s": 0.01}
        with Courier(outbox, publisher, letters=letters, **quick):
            pause = threading.Event()
            while letters.waiting:
                assert not pause.wait(0.001)
    confirmed = 0
    good = [step for step in plan if not step.refuses]
    for arrived, step in zip(publisher.arrived, [*good, Connection(1_000_000, 1_000_000)], strict=False):
        assert arrived == bodies[confirmed : confirmed + len(arrived)]
        confirmed += min(step.confirms, len(arrived))
    assert confirmed == len(bodies)
