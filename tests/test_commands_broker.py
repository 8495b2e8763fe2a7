"""Commands over a real Mosquitto that runs the example of configs/mosquitto: TLS, a certificate each, topics by acl."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.clock import SystemClock
from edge.delivery.asyncapi import CHANNELS
from edge.delivery.commands import COMMANDS, DONE, Command, Gate, Reply
from edge.delivery.courier import Courier
from edge.delivery.message import Topics
from edge.delivery.mqtt import MqttPublisher
from edge.resources import configs_dir
from edge.runtime.command_desk import CommandDesk
from edge.state.commands import Commands
from edge.state.database import Database
from tests.alerts import a_change, alert_of, topic_of
from tests.brokers import WAIT_S, Mosquitto
from tests.certificates import Authority, Files
from tests.commanding import KEY, command, mutated, now_iso, signed, word

pytestmark = pytest.mark.delivery

OURS, THEIRS = Topics("xiaohe", "gw-01"), Topics("xiaohe", "gw-02")
NOT_AUTHORIZED = 135
TRIES = 300


def example_broker(folder: Path, authority: Authority) -> Mosquitto:
    """The files as they are, but for the places of what they name, and the port."""
    broker = authority.certify("broker", "localhost")
    source = configs_dir() / "mosquitto"
    text = (source / "mosquitto.conf").read_text(encoding="utf-8")
    for name, path in (
        ("/etc/mosquitto/cityeye/ca.crt", authority.files.certificate),
        ("/etc/mosquitto/cityeye/broker.crt", broker.certificate),
        ("/etc/mosquitto/cityeye/broker.key", broker.key),
        ("/etc/mosquitto/cityeye/acl", source / "acl"),
        ("/var/lib/mosquitto/", f"{folder}/"),
    ):
        assert f" {name}\n" in text
        text = text.replace(f" {name}\n", f" {path}\n")
    lines = [line for line in text.splitlines() if re.match(r"[a-z]", line)]
    assert lines.pop(0) == "listener 8883"
    return Mosquitto(folder, *[line for line in lines if line != "persistence true"], scheme="mqtts", host="localhost")


class Peer:
    """Somebody with a certificate: hears what it subscribed to, and learns whether what it says is allowed."""

    def __init__(self, broker: Mosquitto, authority: Authority, files: Files, *topics: str) -> None:
        self.heard: list[tuple[str, str]] = []
        self._answers: dict[int, ReasonCode] = {}
        self._ready = False
        self._changed = threading.Condition()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.tls_set(str(authority.files.certificate), str(files.certificate), str(files.key))
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._client.connect("localhost", broker.port)
        self._client.loop_start()
        self._client.subscribe([(topic, paho.SubscribeOptions(qos=1)) for topic in topics])
        assert self.wait_for(lambda: self._ready)

    def say(self, topic: str, body: str | bytes) -> bool:
        """Whether the broker took it."""
        mid = self._client.publish(topic, body, qos=1).mid
        assert self.wait_for(lambda: mid in self._answers)
        answer = self._answers[mid]
        assert not answer.is_failure or answer.value == NOT_AUTHORIZED
        return not answer.is_failure

    def wait_for(self, condition: Callable[[], bool]) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, timeout=WAIT_S)

    def replies(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(body) for told, body in self.heard if told == topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.heard.append((message.topic, message.payload.decode()))
            self._changed.notify_all()

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: ReasonCode, _properties: Properties) -> None:
        with self._changed:
            self._answers[mid] = reason
            self._changed.notify_all()

    def _on_subscribe(self, *_: Any) -> None:
        with self._changed:
            self._ready = True
            self._changed.notify_all()


class Station:
    """A gateway as the broker sees it: a courier with a desk, whose actions are only noted."""

    def __init__(self, folder: Path, broker: Mosquitto, authority: Authority, files: Files) -> None:
        self.acted: list[Command] = []
        self.database = Database.open(folder / "edge.db")
        self.desk = CommandDesk(
            Gate(site="xiaohe", gateway="gw-01", keys=[KEY.public_key()]),
            Commands(self.database),
            dict.fromkeys(COMMANDS, self._act),
            topic=OURS.reply,
            word=word,
            clock=SystemClock(),
        )
        publisher = MqttPublisher(
            broker.url,
            client_id="xiaohe:gw-01",
            ca_file=authority.files.certificate,
            cert_file=files.certificate,
            key_file=files.key,
            version5=True,
            recall=OURS.all_health,
        )
        publisher.subscribe(OURS.command, lambda message: self.desk.receive(message.body))
        self.courier = Courier(self.database, publisher, letters=self.desk, poll_s=0.05)
        self.desk.wake = self.courier.wake
        self.desk.start()
        self.courier.start()

    def _act(self, command: Command) -> Reply:
        self.acted.append(command)
        return Reply(DONE, "", "as you say", {"name": command.name})

    def close(self) -> None:
        self.desk.close()
        self.courier.close()
        self.database.close()


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("street")
    authority = Authority(folder, "authority")
    broker = example_broker(folder, authority)
    broker.start()
    files = {name: authority.certify(name) for name in ("gw-01", "gw-02", "brain")}
    station = Station(folder, broker, authority, files["gw-01"])
    heard = [OURS.reply, "cityeye/v1/xiaohe/+/alert/#", OURS.command, "cityeye/v1/other/#"]
    brain = Peer(broker, authority, files["brain"], *heard)
    neighbour = Peer(broker, authority, files["gw-02"], "#", THEIRS.command, OURS.command, OURS.reply)
    # The courier subscribes when it is connected: a command that was heard says that it is.
    pause = threading.Event()
    for number in range(200):
        brain.say(OURS.command, signed(command("reload", id=f"begin-{number}", time=now_iso())))
        if station.desk.counts.received:
            break
        pause.wait(0.05)
    yield {"broker": broker, "station": station, "brain": brain, "neighbour": neighbour}
    for peer in (brain, neighbour):
        peer.close()
    station.close()
    broker.kill()


def answered(brain: Peer, command_id: str) -> dict[str, Any]:
    def found() -> list[dict[str, Any]]:
        return [reply for reply in brain.replies(OURS.reply) if reply["data"]["command_id"] == command_id]

    assert brain.wait_for(lambda: bool(found()))
    return found()[-1]


def test_a_signed_command_is_done_and_answered_and_its_repeat_gets_the_same_reply(street: dict[str, Any]) -> None:
    brain, station = street["brain"], street["station"]
    message = signed(command("mode", id="mode-a", time=now_iso()))
    for times in (1, 2):
        assert brain.say(OURS.command, message)
        assert brain.wait_for(lambda n=times: sum("mode-a" in body for _, body in brain.heard) >= n)
    replies = [body for _, body in brain.heard if "mode-a" in body]
    assert replies[0] == replies[1]
    assert json.loads(replies[0])["data"]["outcome"] == "done"
    assert [one.id for one in station.acted].count("mode-a") == 1


def test_the_example_lets_each_say_only_what_is_its_own(street: dict[str, Any]) -> None:
    brain, neighbour = street["brain"], street["neighbour"]
    ours = [OURS.command, OURS.receipt, OURS.reply, OURS.status, OURS.health("cam"), OURS.alert("cam", "x")]
    assert [topic for topic in ours if neighbour.say(topic, "{}")] == []
    own = [THEIRS.status, THEIRS.health("cam"), THEIRS.alert("cam", "x"), THEIRS.measure("cam", "x"), THEIRS.reply]
    assert [topic for topic in own if not neighbour.say(topic, "{}")] == []
    assert not neighbour.say(THEIRS.command, "{}"), "no gateway commands itself"
    assert not neighbour.say(THEIRS.receipt, "{}")
    assert [topic for topic in (OURS.alert("cam", "x"), OURS.status, OURS.reply) if brain.say(topic, "{}")] == []
    assert brain.say(OURS.receipt, '{"ids": []}')


def test_the_example_knows_every_topic_that_is_documented(street: dict[str, Any]) -> None:
    ids = {"site": "xiaohe", "gateway": "gw-02", "camera": "cam", "scenario": "x", "name": "x"}
    for channel in CHANNELS:
        topic = channel.address.format(**ids)
        assert street["neighbour"].say(topic, "{}") == channel.sent, topic
        assert street["brain"].say(topic, "{}") != channel.sent, topic


def test_the_example_lets_each_hear_only_what_is_its_own(street: dict[str, Any]) -> None:
    brain, neighbour, station = street["brain"], street["neighbour"], street["station"]
    change = a_change(1)
    station.database.commit(change, alert_of(change), topic_of(change))
    station.courier.wake()
    assert brain.wait_for(lambda: any("/alert/" in topic and "case_id" in body for topic, body in brain.heard))
    brain.say(OURS.command, signed(command("verify", id="for-gw-01", time=now_iso())))
    answered(brain, "for-gw-01")
    brain.say(THEIRS.command, "the last word")
    assert neighbour.wait_for(lambda: (THEIRS.command, "the last word") in neighbour.heard)
    own = {THEIRS.command, THEIRS.receipt, THEIRS.health("cam"), THEIRS.cases("cam")}
    assert {topic for topic, _ in neighbour.heard} <= own, "subscribed to #, and nothing of others came"
    assert OURS.command not in {topic for topic, _ in brain.heard}, "who commands does not listen in on others"


def test_mutated_commands_over_the_broker_do_nothing_and_are_all_counted(street: dict[str, Any]) -> None:
    brain, station = street["brain"], street["station"]
    acted, before = len(station.acted), station.desk.tally()
    rng = random.Random(7)
    originals = [signed(command(name, time=now_iso(), id=f"{name}-m")) for name in COMMANDS]
    sent = 0
    while sent < TRIES:
        payload = mutated(rng.choice(originals), rng)
        if payload in originals:
            continue
        sent += brain.say(OURS.command, payload)
    brain.say(OURS.command, signed(command("reload", id="after-all", time=now_iso())))
    assert answered(brain, "after-all")["data"]["outcome"] == "done"
    counts, refused = station.desk.tally()
    received = counts["received"] - before[0]["received"]
    new = {reason: count - before[1].get(reason, 0) for reason, count in refused.items()}
    print(f"{sent} mutated over Mosquitto: {received - 1} received, refused {new}")
    assert received == sent + 1
    assert sum(new.values()) == sent
    assert [one.id for one in station.acted[acted:]] == ["after-all"]
    assert station.courier.alive
