"""The brain's word: what has it is forgotten, what has not is sent again, and nobody else's word does harm."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.clock import SystemClock
from edge.core.types import NS_PER_S, seconds_to_ns
from edge.delivery.courier import Courier
from edge.delivery.inbox import Received
from edge.delivery.message import Topics, uuid5_of
from edge.delivery.mqtt import MqttPublisher
from edge.delivery.receipts import BODY_MAX_BYTES, Receipts, ids_of
from edge.delivery.rounds import Rounds
from edge.delivery.subscriber import Subscriber
from edge.errors import DeliveryError
from edge.state.database import Database
from edge.state.outbox import append
from tests.alerts import a_change, alert_of, fill, topic_of
from tests.brokers import WAIT_S, Embedded, Mosquitto, StreetBroker

pytestmark = pytest.mark.delivery

TOPICS = Topics("xiaohe", "gw-01")
IDS = [uuid5_of("alert", str(number)) for number in range(3)]


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "edge.db") as opened:
        yield opened


def received(body: bytes | str) -> Received:
    return Received(TOPICS.receipt, body if isinstance(body, bytes) else body.encode(), retained=False)


class Clock(SystemClock):
    """It stands until it is moved."""

    def __init__(self) -> None:
        self.now_ns = 1_777_858_200 * NS_PER_S

    def mono_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return self.now_ns

    def move(self, seconds: float) -> None:
        self.now_ns += seconds_to_ns(seconds)


# --- reading them -----------------------------------------------------------------------------------------------


def test_a_receipt_names_ids_and_may_hold_more() -> None:
    assert ids_of(json.dumps({"ids": IDS, "brain": "street"}).encode()) == IDS
    assert ids_of(b'{"ids": []}') == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"ids": ' + b"9" * 60_000 + b"}",
        b'{"ids": "' + IDS[0].encode() + b'"}',
        b'{"ids": [1]}',
        b'{"ids": [null]}',
        b'{"ids": ["*"]}',
        b'{"ids": ["\\ud800"]}',
        json.dumps({"ids": [IDS[0].upper()]}).encode(),
        json.dumps({"ids": [IDS[0] + "\n"]}).encode(),
        json.dumps({"ids": [IDS[0], IDS[1][:-1]]}).encode(),
        json.dumps({"ids": [IDS[0]] * 2_000}).encode(),
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_no_receipt_is_counted_told_once_and_deletes_nothing(
    body: bytes, outbox: Database, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    receipts = Receipts(clock=clock)
    for _ in range(3):
        receipts(received(body))
        assert receipts.take() == []
    assert receipts.malformed == 3
    assert len([one for one in caplog.messages if "not a receipt" in one]) == (1 if len(body) <= BODY_MAX_BYTES else 0)
    receipts(received(json.dumps({"ids": IDS})))
    assert receipts.take() == IDS


@given(body=st.binary(max_size=200) | st.from_regex(r'\{"ids": ?\[.{0,80}\]\}').map(str.encode))
@settings(max_examples=200, deadline=None)
def test_no_bytes_at_all_harm_it(body: bytes) -> None:
    receipts = Receipts()
    receipts(received(body))
    assert all(len(one) == 36 for one in receipts.take())


def test_a_flood_of_receipts_is_bounded() -> None:
    receipts = Receipts()
    for _ in range(300):
        receipts(received(json.dumps({"ids": IDS})))
    assert receipts.dropped == 44
    assert len(receipts.take()) == 8 * len(IDS), "a few at once, between which alerts go out"
    while len(receipts):
        assert receipts.take() == 8 * IDS


# --- rounds -----------------------------------------------------------------------------------------------------


def taken(rounds: Rounds, limit: int = 100, in_flight: frozenset[int] = frozenset()) -> list[int]:
    return [row.sequence for row in rounds.take(limit, in_flight)]


def rounds_of(outbox: Database, clock: Clock, *, receipts: bool = True) -> Rounds:
    redrive_ns = seconds_to_ns(60) if receipts else None
    return Rounds(outbox, redrive_ns=redrive_ns, redrive_max_ns=seconds_to_ns(3600), clock=clock)


def mark(outbox: Database, sequences: list[int], clock: Clock) -> None:
    times = {"redrive_ns": seconds_to_ns(60), "redrive_max_ns": seconds_to_ns(3600)}
    outbox.mark_sent(sequences, now_wall_ns=clock.wall_ns(), **times)


def test_a_connection_begins_with_what_is_new_and_then_sends_again_what_has_no_receipt(outbox: Database) -> None:
    clock = Clock()
    rounds = rounds_of(outbox, clock)
    fill(outbox, 5)
    mark(outbox, [1, 3], clock)
    rounds.begin()
    assert taken(rounds, 2) == [2, 4]
    assert taken(rounds) == [5, 1, 3]
    assert taken(rounds) == []
    fill(outbox, 2, first=6)
    assert taken(rounds) == [6, 7]
    rounds.begin()
    assert taken(rounds, in_flight=frozenset({2, 6})) == [4, 5, 7, 1, 3]


def test_what_is_new_never_waits_behind_what_goes_again_and_a_round_ends_on_a_link_that_breaks(
    outbox: Database,
) -> None:
    clock = Clock()
    rounds = rounds_of(outbox, clock)
    fill(outbox, 20)
    mark(outbox, list(range(1, 21)), clock)
    again: list[int] = []
    for turn in range(4):
        clock.move(5)
        rounds.begin()
        fill(outbox, 1, first=21 + turn)
        sequences = taken(rounds, 8)  # and the link breaks
        assert sequences[0] == 21 + turn
        mark(outbox, sequences, clock)
        again += sequences[1:]
    assert set(range(1, 21)) <= set(again)


def test_a_brain_that_is_slow_is_sent_each_alert_once(outbox: Database) -> None:
    """Twenty times slower than the link, so that the last receipt comes ten minutes after the alert."""
    count = 600
    clock = Clock()
    rounds = rounds_of(outbox, clock)
    fill(outbox, count)
    ids = {row.sequence: row.id for row in outbox.next_unsent(0, count)}
    rounds.begin()
    queue: list[int] = []
    times: Counter[int] = Counter()
    for _ in range(count + 60):
        sequences = taken(rounds, 20)
        queue += sequences
        times.update(sequences)
        if sequences:
            mark(outbox, sequences, clock)
        if queue:
            sent_ns = outbox.delete([ids[queue.pop(0)]])
            if sent_ns is not None:
                rounds.heard(sent_ns)
        clock.move(1)
    assert outbox.alerts_between(1, count, count) == []
    assert set(times.values()) == {1}


def test_what_the_brain_has_passed_over_goes_again_while_receipts_come(outbox: Database) -> None:
    clock = Clock()
    rounds = rounds_of(outbox, clock)
    rounds.begin()
    ids: dict[int, str] = {}
    again = []
    for sequence in range(1, 121):  # one a second; the third is lost on the way
        fill(outbox, 1, first=sequence)
        ids[sequence] = outbox.alerts_between(sequence, sequence, 1)[0].id
        sequences = taken(rounds)
        again += [(sequence, one) for one in sequences if one != sequence]
        mark(outbox, sequences, clock)
        if sequence != 3:
            sent_ns = outbox.delete([ids[sequence]])
            assert sent_ns is not None
            rounds.heard(sent_ns)
        clock.move(1)
    assert again == [(63, 3)]


def test_what_the_broker_refuses_is_tried_again_in_a_while_and_holds_up_nothing(outbox: Database) -> None:
    clock = Clock()
    rounds = rounds_of(outbox, clock)
    fill(outbox, 3)
    rounds.begin()
    assert taken(rounds) == [1, 2, 3]
    mark(outbox, [1, 3], clock)
    rounds.refused(2)
    assert rounds.set_aside == 1
    fill(outbox, 1, first=4)
    assert taken(rounds) == [4]
    mark(outbox, [4], clock)
    clock.move(301)
    assert taken(rounds, 1) == [2]


def test_without_a_receipt_an_alert_goes_again_after_60_s_then_120_and_at_last_every_hour(outbox: Database) -> None:
    clock = Clock()
    rounds = rounds_of(outbox, clock)
    fill(outbox, 1)
    rounds.begin()
    pauses_s: list[int] = []
    last_s = 0
    for now_s in range(6 * 3600):
        if taken(rounds) == [1]:
            pauses_s.append(now_s - last_s)
            last_s = now_s
            mark(outbox, [1], clock)
        clock.move(1)
    print(f"sent again after {pauses_s} s")
    assert pauses_s == [0, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]


def test_a_brain_that_is_away_is_not_sent_a_months_alerts_every_hour() -> None:
    count, hours = 4_000, 3
    clock = Clock()
    change = a_change(1)
    again = 0
    with Database.open(":memory:") as outbox:
        rounds = rounds_of(outbox, clock)
        with outbox.writing() as connection:
            for number in range(count):
                append(connection, {**alert_of(change), "id": str(number)}, topic_of(change), case_id="", kind="opened")
        rounds.begin()
        clock.move(1)
        mark(outbox, taken(rounds, count), clock)
        for _ in range(hours * 60):
            clock.move(60)
            sequences = taken(rounds, count)
            again += len(sequences)
            mark(outbox, sequences, clock)
        print(f"{count} alerts without a receipt: {again} sent again in {hours} h")
        assert count < again <= 512 + 64 * hours * 60
        clock.move(60)
        rounds.heard(clock.wall_ns())
        assert taken(rounds, count) == list(range(1, count + 1))


def test_what_waited_for_receipts_is_sent_once_more_where_the_brokers_word_is_enough_since(
    tmp_path: Path, outbox: Database
) -> None:
    fill(outbox, 5)
    outbox.mark_sent([1, 2, 3], now_wall_ns=1)
    broker = Mosquitto(tmp_path)
    broker.start()
    try:
        with Courier(outbox, MqttPublisher(broker.url, client_id="gw-01", connect_s=5), poll_s=0.01):
            until(lambda: outbox.alerts_between(1, 100, 100) == [])
    finally:
        broker.kill()
    assert outbox.backlog().unreceipted == 0


def test_with_the_brokers_word_alone_nothing_is_overdue(outbox: Database) -> None:
    clock = Clock()
    rounds = rounds_of(outbox, clock, receipts=False)
    fill(outbox, 1)
    rounds.begin()
    assert taken(rounds) == [1]
    mark(outbox, [1], clock)
    clock.move(100_000)
    assert taken(rounds) == []


def test_when_the_brain_speaks_after_a_silence_it_is_told_all_that_it_has_not_confirmed(outbox: Database) -> None:
    clock = Clock()
    rounds = rounds_of(outbox, clock)
    fill(outbox, 4)
    rounds.begin()
    mark(outbox, taken(rounds), clock)
    for _ in range(6):  # by now they wait for many minutes between two tries
        clock.move(1000)
        mark(outbox, taken(rounds), clock)
    clock.move(100)
    assert taken(rounds) == []
    sent_ns = outbox.delete([alert_of(a_change(4))["id"]])
    assert sent_ns is not None
    rounds.heard(sent_ns)
    assert taken(rounds) == [1, 2, 3]
    mark(outbox, [1, 2, 3], clock)
    rounds.heard(sent_ns)
    assert taken(rounds) == [], "it was not silent since"


def test_a_range_that_somebody_asks_for_goes_again_as_far_as_it_is_here(outbox: Database) -> None:
    clock = Clock()
    rounds = rounds_of(outbox, clock)
    fill(outbox, 9)
    rounds.begin()
    assert taken(rounds) == list(range(1, 10))
    outbox.delete([alert_of(a_change(4))["id"]])
    rounds.ask_for(3, 6)
    rounds.ask_for(9, 100)
    rounds.ask_for(50, 40)
    assert taken(rounds) == [3, 5, 6, 9]
    assert taken(rounds) == []


# --- over a broker ----------------------------------------------------------------------------------------------


class Brain:
    """Stores alerts by id, and sends receipts while it is `willing`."""

    def __init__(self, url: str) -> None:
        self.willing = True
        self.times: Counter[int] = Counter()
        self._told = threading.Condition()
        self._subscriber = Subscriber(url, self._hear, client_id="brain")
        self._publisher = MqttPublisher(url, client_id="brain-speaks", connect_s=5)

    def __enter__(self) -> Brain:
        self._subscriber.start()
        self._publisher.connect(on_confirmed=lambda _ticket: None, on_lost=lambda _reason: None)
        return self

    def __exit__(self, *_: object) -> None:
        self._subscriber.close()
        self._publisher.close()

    def say(self, body: str) -> None:
        self._publisher.publish(TOPICS.receipt, body)

    def wait_for(self, heard: Callable[[Counter[int]], bool]) -> bool:
        with self._told:
            return self._told.wait_for(lambda: heard(self.times), timeout=WAIT_S)

    def _hear(self, _topic: str, alert: dict[str, object]) -> None:
        with self._told:
            self.times[int(str(alert["sequence"]))] += 1
            self._told.notify_all()
        if self.willing:
            self.say(json.dumps({"ids": [alert["id"]]}))


@pytest.fixture(params=["embedded", "mosquitto"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StreetBroker]:
    made: StreetBroker = Embedded() if request.param == "embedded" else Mosquitto(tmp_path)
    made.start()
    yield made
    made.kill()


def courier_of(outbox: Database, broker: StreetBroker, **options: float) -> Courier:
    publisher = MqttPublisher(broker.url, client_id="gw-01", connect_s=5, version5=True)
    receipts = Receipts()
    publisher.subscribe(TOPICS.receipt, receipts)
    return Courier(outbox, publisher, receipts=receipts, poll_s=0.01, retry_s=0.01, **options)


def until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(WAIT_S / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come to pass")


def test_the_brokers_word_marks_and_the_brains_word_deletes(broker: StreetBroker, outbox: Database) -> None:
    fill(outbox, 20)
    with Brain(broker.url) as brain:
        brain.willing = False
        with courier_of(outbox, broker) as courier:
            assert courier.drain(WAIT_S) == 0
            assert courier.state().unreceipted == 20
            assert courier.state().oldest_unreceipted_s > 0
            brain.say("nonsense")
            brain.say(json.dumps({"ids": [uuid5_of("of", "another gateway")]}))
            brain.say(json.dumps({"ids": [row.id for row in outbox.alerts_between(1, 15, 20)]}))
            until(lambda: courier.state().unreceipted == 5)
            assert courier.state().receipts_malformed == 1
            assert [row.sequence for row in outbox.alerts_between(1, 100, 100)] == [16, 17, 18, 19, 20]


def test_after_a_reconnect_all_without_a_receipt_goes_again_until_the_brain_has_said_so(
    broker: StreetBroker, outbox: Database
) -> None:
    fill(outbox, 10)
    with Brain(broker.url) as brain:
        brain.willing = False
        with courier_of(outbox, broker) as courier:
            assert courier.drain(WAIT_S) == 0
        brain.willing = True
        with courier_of(outbox, broker) as courier:
            until(lambda: courier.state().unreceipted == 0 and not outbox.unsent_count())
            fill(outbox, 5, first=11)
            courier.wake()
            assert brain.wait_for(lambda times: len(times) == 15)
            until(lambda: outbox.alerts_between(1, 100, 100) == [])
    assert brain.times == {**dict.fromkeys(range(1, 11), 2), **dict.fromkeys(range(11, 16), 1)}


def test_a_silent_brain_is_told_again_in_time(broker: StreetBroker, outbox: Database) -> None:
    fill(outbox, 3)
    with Brain(broker.url) as brain:
        brain.willing = False
        with courier_of(outbox, broker, redrive_s=0.05, redrive_max_s=0.1):
            assert brain.wait_for(lambda times: min(times[one] for one in (1, 2, 3)) >= 2)
            brain.willing = True
            until(lambda: outbox.alerts_between(1, 100, 100) == [])


def test_resend_sends_what_is_still_here(broker: StreetBroker, outbox: Database) -> None:
    fill(outbox, 6)
    with Brain(broker.url) as brain:
        brain.willing = False
        with courier_of(outbox, broker) as courier:
            assert courier.drain(WAIT_S) == 0
            outbox.delete([alert_of(a_change(3))["id"]])
            courier.resend(2, 4)
            assert brain.wait_for(lambda times: times[4] == 2)
    assert brain.times == {1: 1, 2: 2, 3: 1, 4: 2, 5: 1, 6: 1}


# --- pauses and windows -----------------------------------------------------------------------------------------


class Refusing:
    """A broker that is never there."""

    receive_max = 65_535

    def connect(self, **_: object) -> None:
        raise DeliveryError("mqtt://fake:1883: refused")

    def close(self) -> None:
        pass


def test_two_gateways_pause_differently_and_none_less_than_half_or_more_than_all(
    outbox: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pauses_of(seed: int) -> list[float]:
        courier = Courier(outbox, Refusing(), retry_s=1.0, retry_max_s=60.0, seed=seed)  # type: ignore[arg-type]
        found: list[float] = []

        def wait_for(_condition: object, timeout: float) -> bool:
            found.append(timeout)
            courier._stopping = len(found) == 12
            return False

        monkeypatch.setattr(courier._changed, "wait_for", wait_for)
        courier._run()
        return found

    one, other = pauses_of(1), pauses_of(2)
    whole = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]
    print("pauses of", ", ".join(f"{pause:.1f}" for pause in one), "s")
    assert pauses_of(1) == one
    assert one != other
    for pauses in (one, other):
        assert all(full / 2 <= pause <= full for pause, full in zip(pauses, whole, strict=True))


class Narrow:
    """Takes `receive_max` messages before it has confirmed any, hangs up on more, and confirms one at a time."""

    def __init__(self, receive_max: int) -> None:
        self.receive_max = receive_max
        self.open: list[int] = []
        self.most = 0
        self.bodies: list[str] = []

    def connect(self, *, on_confirmed: Callable[[int], None], **_: object) -> None:
        self._on_confirmed = on_confirmed

    def publish(self, _topic: str, body: str) -> int:
        self.bodies.append(body)
        self.open.append(len(self.bodies))
        self.most = max(self.most, len(self.open))
        if len(self.open) == self.receive_max or len(self.open) == max(self.receive_max * 3 // 4, 1):
            threading.Thread(target=self._on_confirmed, args=(self.open.pop(0),)).start()
        return len(self.bodies)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("receive_max", [1, 2, 20])
def test_no_more_is_in_flight_than_the_broker_takes(receive_max: int, outbox: Database) -> None:
    fill(outbox, 40)
    publisher = Narrow(receive_max)
    with Courier(outbox, publisher, poll_s=0.005, confirm_s=60):  # type: ignore[arg-type]
        until(lambda: len(publisher.bodies) == 40)
    assert publisher.most == max(receive_max * 3 // 4, 1)


def test_an_alert_that_the_broker_refuses_is_told_of_and_holds_up_no_other(tmp_path: Path, outbox: Database) -> None:
    rights = tmp_path / "rights"
    rights.write_text("topic write cityeye/v1/+/+/alert/allowed/#\n")
    broker = Mosquitto(tmp_path, "allow_anonymous true", f"acl_file {rights}")
    broker.start()
    try:
        for number in range(1, 41):
            change = a_change(number, camera="allowed" if number % 10 else "barred")
            outbox.commit(change, alert_of(change), topic_of(change))
        publisher = MqttPublisher(broker.url, client_id="gw-01", connect_s=5, version5=True)
        with Courier(outbox, publisher, poll_s=0.01) as courier:
            until(lambda: len(outbox.alerts_between(1, 100, 100)) == 4)
            assert courier.drain(0.05) == 4
            state = courier.state()
            assert not courier.is_busy, "evidence may go, though some alerts stay"
        assert [row.sequence for row in outbox.next_unsent(0, 100)] == [10, 20, 30, 40]
    finally:
        broker.kill()
    assert state.connected
    assert state.refused == 4
    assert "the broker refused a message (Not authorized); check the rights" in state.refusal


@pytest.mark.parametrize(
    ("limit", "version5"),
    [("max_packet_size 5000", False), ("max_packet_size 5000", True), ("message_size_limit 5000", True)],
)
def test_an_alert_that_is_too_long_for_the_broker_holds_up_no_other(
    tmp_path: Path, outbox: Database, limit: str, version5: bool
) -> None:
    """Mosquitto hangs up on it or refuses it; where it has told its limit before, it is not even tried.

    (Without MQTT 5 it confirms and forgets what is beyond `message_size_limit`: only a receipt would tell.)
    """
    broker = Mosquitto(tmp_path, "allow_anonymous true", limit)
    broker.start()
    try:
        for number in range(1, 302):
            change = a_change(number)
            alert = alert_of(change)
            alert["data"]["software"] = "x" * (9000 if number == 5 else 5)
            outbox.commit(change, alert, topic_of(change))
        publisher = MqttPublisher(broker.url, client_id="gw-01", connect_s=5, version5=version5)
        quick = {"poll_s": 0.01, "retry_s": 0.01, "retry_max_s": 0.02}
        with Courier(outbox, publisher, **quick) as courier:  # type: ignore[arg-type]
            until(lambda: outbox.unsent_count() == 1)
            until(lambda: courier.state().connected)
            state = courier.state()
        assert [row.sequence for row in outbox.next_unsent(0, 100)] == [5]
    finally:
        broker.kill()
    print(state.refusal)
    assert state.refused >= 1
    assert any(
        words in state.refusal for words in ("too long", "beyond the broker's limit of 5000", "refused a message")
    )


def test_an_alert_beyond_the_brokers_limit_goes_without_its_thumbnail(tmp_path: Path, outbox: Database) -> None:
    broker = Mosquitto(tmp_path, "allow_anonymous true", "max_packet_size 5000")
    broker.start()
    heard: list[dict[str, object]] = []
    try:
        change = a_change(1)
        alert = alert_of(change)
        outbox.commit(change, {**alert, "data": {**alert["data"], "thumbnail": "x" * 9000}}, topic_of(change))
        publisher = MqttPublisher(broker.url, client_id="gw-01", connect_s=5, version5=True)
        with Subscriber(broker.url, lambda _topic, told: heard.append(told), client_id="brain"):
            with Courier(outbox, publisher, poll_s=0.01) as courier:
                assert courier.drain(WAIT_S) == 0
            until(lambda: bool(heard))
    finally:
        broker.kill()
    assert heard == [{**alert, "sequence": 1}]


def test_what_connections_break_on_goes_last_alone_and_less_and_less_often(outbox: Database) -> None:
    clock = Clock()
    rounds = rounds_of(outbox, clock)
    fill(outbox, 3)
    rounds.hold(2)
    rounds.begin()
    assert taken(rounds) == [1, 3]
    clock.move(11)
    assert taken(rounds, in_flight=frozenset({1, 3})) == []
    outbox.delete_sent([1, 3])
    assert taken(rounds) == [2]
    assert taken(rounds) == []
    clock.move(19)
    assert taken(rounds) == []
    clock.move(1)
    assert taken(rounds) == [2]
    for _ in range(10):
        clock.move(300)
        assert taken(rounds) == [2], "every five minutes at the least"
    rounds.confirmed([2])
    assert list(rounds.held) == []


def test_a_letter_that_is_too_long_for_the_broker_is_given_up(tmp_path: Path, outbox: Database) -> None:
    waiting = {"long": "x" * 9000, "short": "x"}

    class LetterBox:
        def unposted(self, limit: int) -> list[tuple[str, str, str]]:
            return [(key, "reply", body) for key, body in waiting.items()][:limit]

        def mark_posted(self, keys: list[str]) -> None:
            for key in keys:
                waiting.pop(key)

    broker = Mosquitto(tmp_path, "allow_anonymous true", "max_packet_size 5000")
    broker.start()
    try:
        publisher = MqttPublisher(broker.url, client_id="gw-01", connect_s=5)
        quick = {"poll_s": 0.01, "retry_s": 0.01, "retry_max_s": 0.02}
        with Courier(outbox, publisher, letters=LetterBox(), **quick):  # type: ignore[arg-type]
            until(lambda: not waiting)
    finally:
        broker.kill()
