"""Commands as a street brain sends them, and a desk that only notes what it would do."""

from __future__ import annotations

import base64
import json
import queue
import random
import uuid
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import paho.mqtt.client as paho
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from paho.mqtt.enums import CallbackAPIVersion

from edge.clock import SystemClock, elapsed_s, iso
from edge.core.types import NS_PER_S
from edge.delivery.commands import COMMANDS, DONE, Command, Gate, Reply, reply_event
from edge.runtime.command_desk import CommandDesk
from edge.state.commands import Commands
from edge.state.database import Database
from tests.alerts import SHANGHAI

NOW_NS = 1_777_858_267 * NS_PER_S
CASE = "0d7d8dbe-27a5-5a3e-9d21-0f4f6ad5a0c4"
TOPIC = "cityeye/v1/xiaohe/gw-01/command"
ASKED: Mapping[str, dict[str, Any]] = {
    "verify": {"case_id": CASE},
    "dismiss": {"case_id": CASE, "reason": "allowed", "by": "李", "note": "有许可"},
    "snapshot": {"camera": "qiaonong-03"},
    "reload": {},
    "mode": {"mode": "emergency"},
    "retrieve": {"sha256": "c" * 64},
    "resend": {"from": 1, "to": 500},
}


KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))  # the brain's
KEY_PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class HandClock(SystemClock):
    now_ns = NOW_NS

    def wall_ns(self) -> int:
        return self.now_ns

    def mono_ns(self) -> int:
        return self.now_ns


def now_iso() -> str:
    return iso(SystemClock().wall_ns(), SHANGHAI)


def event(name: str = "mode", data: Any = None, **changes: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"{name}-1",
        "source": "brain/xiaohe",
        "type": f"cityeye.command.{name}.v1",
        "subject": "xiaohe/gw-01",
        "time": iso(NOW_NS, SHANGHAI),
        "data": ASKED.get(name, {}) if data is None else data,
        **changes,
    }


def command(name: str = "mode", data: Any = None, **changes: Any) -> bytes:
    made = {key: value for key, value in event(name, data, **changes).items() if value is not ...}
    return json.dumps(made, ensure_ascii=False).encode("utf-8", "surrogatepass")


def signed(payload: bytes, key: Ed25519PrivateKey = KEY) -> bytes:
    parts = {"payload": payload, "signature": key.sign(payload)}
    return json.dumps({name: base64.b64encode(part).decode() for name, part in parts.items()}).encode()


def word(reply: Reply, command_id: str, name: str) -> str:
    return reply_event(
        reply, command_id=command_id, name=name, site="xiaohe", gateway="gw-01", now_wall_ns=NOW_NS, timezone=SHANGHAI
    )


class Desk:
    """A desk whose actions are only noted. `pump` does what its threads do."""

    def __init__(self, database: Database, gate: Gate | None = None, **options: Any) -> None:
        self.acted: list[Command] = []
        self.clock = HandClock()
        self.act: Callable[[Command], Reply] = lambda command: Reply(DONE, "", "as you say", {"name": command.name})
        self.desk = CommandDesk(
            gate or Gate(site="xiaohe", gateway="gw-01"),
            Commands(database),
            dict.fromkeys(COMMANDS, self._note),
            topic="reply",
            word=word,
            clock=self.clock,
            **options,
        )

    def _note(self, command: Command) -> Reply:
        self.acted.append(command)
        return self.act(command)

    def pump(self) -> None:
        while self.desk.read(0.0):
            pass
        while self.desk.serve(0.0):
            pass

    def send(self, *payloads: bytes) -> list[dict[str, Any]]:
        """Returns the replies that the courier would have published by then."""
        for payload in payloads:
            self.desk.receive(payload)
            self.pump()
        return self.posted()

    def posted(self) -> list[dict[str, Any]]:
        letters = self.desk.unposted(1000)
        self.desk.mark_posted([key for key, _, _ in letters])
        return [json.loads(text) for _, _, text in letters]


# Mutations


def mutated(payload: bytes, rng: random.Random) -> bytes:
    """One to four things done to the bytes of a message, as a line, a disk, or somebody who means harm would."""
    content = bytearray(payload)
    for _ in range(rng.randint(1, 4)):
        rng.choice(_MUTATIONS)(content, rng)
    return bytes(content)


def _flip(content: bytearray, rng: random.Random) -> None:
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _set(content: bytearray, rng: random.Random) -> None:
    if content:
        content[rng.randrange(len(content))] = rng.choice(b'\x00\xff"{}[]:,\\0-9eE+/\n')


def _cut(content: bytearray, rng: random.Random) -> None:
    begin = rng.randrange(len(content) + 1)
    del content[begin : begin + rng.randint(1, 40)]


def _end(content: bytearray, rng: random.Random) -> None:
    del content[rng.randrange(len(content) + 1) :]


def _repeat(content: bytearray, rng: random.Random) -> None:
    begin = rng.randrange(len(content) + 1)
    part = content[begin : begin + rng.randint(1, 80)]
    content[begin:begin] = part * rng.choice((1, 1, 2, 50))


def _splice(content: bytearray, rng: random.Random) -> None:
    place = rng.randrange(len(content) + 1)
    content[place:place] = rng.choice(_PIECES)


_PIECES = (
    b"null",
    b"[" * 3000,
    b'{"a":' * 2000,
    b"9" * 5000,
    b"1e999",
    b"NaN",
    b'"id":"x",',
    b"\\ud800",
    b"\\u0000",
    b"../../etc/passwd",
    b"'; DROP TABLE cases; --",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"${HOME}",
    b"+/#",
    b" " * 70_000,
)
_MUTATIONS = (_flip, _flip, _set, _set, _cut, _end, _repeat, _splice)


class Brain:
    """Asks one gateway over a plain broker, one command after the other."""

    def __init__(self, port: int, *, site: str, gateway: str) -> None:
        self._addressee = f"{site}/{gateway}"
        self._root = f"cityeye/v1/{site}/{gateway}"
        self._replies: queue.Queue[dict[str, Any]] = queue.Queue()
        self._took: dict[str, float] = {}
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _client, _data, message: self._replies.put(json.loads(message.payload))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe(f"{self._root}/reply", qos=1)

    def ask(self, name: str, data: dict[str, Any]) -> dict[str, Any]:
        """The `data` of the reply."""
        begin_s = elapsed_s()
        asked = event(name, data, id=str(uuid.uuid4()), subject=self._addressee, time=now_iso())
        self._client.publish(f"{self._root}/command", json.dumps(asked), qos=1)
        while True:
            told = self._replies.get(timeout=30)["data"]
            if told["command_id"] == asked["id"]:
                self._took[name] = round(elapsed_s() - begin_s, 2)
                return dict(told)

    def took_s(self) -> dict[str, float]:
        return self._took

    def __enter__(self) -> Brain:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._client.disconnect()
        self._client.loop_stop()
