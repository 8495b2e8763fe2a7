"""Commands of the street brain: done once, answered once, and nothing else ever does anything."""

from __future__ import annotations

import base64
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.cli.status_view import Sample as StatusSample
from edge.cli.status_view import _courier
from edge.core.types import NS_PER_S
from edge.delivery.commands import (
    BYTES_MAX,
    COMMANDS,
    Command,
    CommandRefusedError,
    Gate,
    Reply,
    read_keys,
)
from edge.delivery.schema import command_schema, reply_schema
from edge.errors import StateError, UsageError
from edge.runtime import command_desk
from edge.runtime.command_desk import MESSAGES_MAX, QUEUE_MAX, REFUSALS_MAX
from edge.runtime.health import COURIER, CourierReport
from edge.state import commands as table
from edge.state.commands import Commands
from edge.state.database import IN_MEMORY, Database
from tests.alerts import closed_schema
from tests.boards import Gateway as BoardGateway
from tests.commanding import ASKED, CASE, KEY, NOW_NS, Desk, command, event, mutated, signed

pytestmark = pytest.mark.delivery

OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
GATE = Gate(site="xiaohe", gateway="gw-01")
SIGNED_GATE = Gate(site="xiaohe", gateway="gw-01", keys=[KEY.public_key()])
REPLY = jsonschema.Draft7Validator(closed_schema(reply_schema()))
COMMAND = jsonschema.Draft7Validator(command_schema())


@pytest.fixture
def database() -> Iterator[Database]:
    with Database.open(IN_MEMORY) as database:
        yield database


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


def refusal(gate: Gate, payload: bytes, *, now_ns: int = NOW_NS) -> tuple[str, str, str]:
    with pytest.raises(CommandRefusedError) as caught:
        gate.admit(gate.read(payload), now_ns)
    assert caught.value.words.isprintable()
    return caught.value.reason, caught.value.command_id, caught.value.words


# The gate


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_let_in_as_it_is_documented(name: str) -> None:
    COMMAND.validate(event(name))
    read = GATE.read(command(name))
    GATE.admit(read, NOW_NS)
    assert (read.id, read.name, type(read.asked)) == (f"{name}-1", name, COMMANDS[name])
    assert SIGNED_GATE.read(signed(command(name), KEY)) == read


@pytest.mark.parametrize(
    ("payload", "reason", "words"),
    [
        (b" " * (BYTES_MAX + 1), "oversized", "65537 bytes"),
        (b"", "malformed", "no JSON"),
        (b"\xff\xfe{\x00}\x00", "malformed", "no JSON in UTF-8"),
        (b"[" * BYTES_MAX, "malformed", "no JSON"),
        (b"9" * BYTES_MAX, "malformed", "no JSON"),
        (b"[]", "malformed", "no JSON object"),
        (b'{"id": "a", "id": "b"}', "malformed", "stands twice"),
        (b'{"id": "a", "data": {"mode": "normal", "mode": "emergency"}}', "malformed", "stands twice"),
        (b'{"id": NaN}', "malformed", "no JSON"),
        (command(id=...), "malformed", "id must be"),
        (command(id="../../etc/passwd"), "malformed", "id must be"),
        (command(id="x" * 129), "malformed", "id must be"),
        (command(id=7), "malformed", "id must be"),
    ],
)
def test_what_is_no_command_is_refused_and_there_is_nobody_to_answer(payload: bytes, reason: str, words: str) -> None:
    found = refusal(GATE, payload)
    assert (found[0], found[1]) == (reason, "")
    assert words in found[2]


@pytest.mark.parametrize(
    ("payload", "reason", "words"),
    [
        (command(specversion="0.3"), "malformed", "expected a CloudEvent 1.0"),
        (command(source=...), "malformed", "expected a CloudEvent 1.0"),
        (command(**{f"x{n}": 1 for n in range(20)}), "malformed", "expected a CloudEvent 1.0"),
        (command(subject="xiaohe/gw-02"), "other-gateway", "expected xiaohe/gw-01"),
        (command(subject=...), "malformed", "expected a CloudEvent 1.0"),
        (command(data=...), "malformed", "expected a CloudEvent 1.0"),
        (command(datacontenttype="text/xml"), "malformed", "expected a CloudEvent 1.0"),
        (command(subject=["xiaohe/gw-01"]), "other-gateway", "expected xiaohe/gw-01"),
        (command("fly"), "unknown-command", "NAME one of verify"),
        (command(type="cityeye.command.mode.v2"), "unknown-command", "NAME one of verify"),
        (command(type="cityeye.case.opened.v1"), "unknown-command", "NAME one of verify"),
        (command(time="yesterday"), "malformed", "time must be"),
        (command(time="2026-02-31T00:00:00Z"), "malformed", "time must be"),
        (command(time="2026-05-04 09:31:07+08:00"), "malformed", "time must be"),
        (command(data=[]), "malformed", "data: input should be"),
        (command(data={"mode": "war"}), "malformed", "data.mode: input should be 'normal' or 'emergency'"),
        (json.dumps(event(data={"mode": "normal", "\ud800\x1b[31m": 1})).encode(), "malformed", "data: "),
        (command("verify", {"case_id": CASE[:8]}), "malformed", "data.case_id"),
        (command("verify", {"case_id": CASE + "\n"}), "malformed", "data.case_id"),
        (command("verify", {"case_id": "../" * 12}), "malformed", "data.case_id"),
        (command("snapshot", {"camera": "a/b"}), "malformed", "data.camera"),
        (command("dismiss", {**ASKED["dismiss"], "by": "\x1b[31mred"}), "malformed", "without control characters"),
        (command("dismiss", {**ASKED["dismiss"], "note": "x" * 1001}), "malformed", "data.note"),
        (command("retrieve", {}), "malformed", "either case_id or sha256"),
        (command("retrieve", {"case_id": CASE, "sha256": "c" * 64}), "malformed", "either case_id or sha256"),
        (command("retrieve", {"case_id": None, "sha256": "c" * 64}), "malformed", "data.case_id"),
        (command("resend", {"from": 2, "to": 1}), "malformed", "from <= to"),
        (command("resend", {"from": 1, "to": 10_001}), "malformed", "at most 10000"),
        (command("resend", {"from": 1.0, "to": 2}), "malformed", "data.from"),
        (command("resend", {"from": True, "to": 2}), "malformed", "data.from"),
        (signed(command(), KEY), "bad-signature", "no key to check"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_reason_and_its_id(payload: bytes, reason: str, words: str) -> None:
    found = refusal(GATE, payload)
    assert found[0] == reason
    assert found[1].endswith("-1")
    assert words in found[2]


def test_a_stale_command_and_one_from_the_future_are_refused_and_one_in_between_is_not() -> None:
    gate = Gate(site="xiaohe", gateway="gw-01", stale_s=120)
    assert refusal(gate, command(), now_ns=NOW_NS + 121 * NS_PER_S)[0] == "stale"
    assert refusal(gate, command(), now_ns=NOW_NS - 61 * NS_PER_S)[0] == "from-the-future"
    for after_s in (-60, 0, 120):
        gate.admit(gate.read(command()), NOW_NS + after_s * NS_PER_S)
    assert refusal(gate, command(time="0001-01-01T00:00:00+14:00"))[0] == "stale"
    assert refusal(gate, command(time="9999-12-31T23:59:59-23:59"))[0] == "from-the-future"


def test_what_the_configuration_does_not_allow_is_not_permitted() -> None:
    gate = Gate(site="xiaohe", gateway="gw-01", allow=["verify"])
    gate.admit(gate.read(command("verify")), NOW_NS)
    assert refusal(gate, command("dismiss"))[0] == "not-permitted"


@pytest.mark.parametrize(
    "payload",
    [
        command(),
        signed(command(), OTHER_KEY),
        signed(command(), KEY).replace(b'"signature": "', b'"signature": "AAAA'),
        json.dumps({**json.loads(signed(command(), KEY)), "signature": ""}).encode(),
    ],
    ids=["unsigned", "another key", "too long", "empty"],
)
def test_a_command_that_is_not_signed_by_the_key_is_refused(payload: bytes) -> None:
    reason, command_id, _ = refusal(SIGNED_GATE, payload)
    assert (reason, command_id) == ("bad-signature", "mode-1")


def test_a_signature_of_one_command_is_none_of_another() -> None:
    parts = json.loads(signed(command(), KEY))
    parts["payload"] = json.loads(signed(command("reload"), KEY))["payload"]
    assert refusal(SIGNED_GATE, json.dumps(parts).encode())[0] == "bad-signature"


def test_a_signed_command_for_another_gateway_is_refused_here() -> None:
    there = Gate(site="xiaohe", gateway="gw-02", keys=[KEY.public_key()])
    SIGNED_GATE.read(signed(command(), KEY))
    assert refusal(there, signed(command(), KEY))[0] == "other-gateway"


def test_a_key_file_may_hold_the_next_key_too_and_no_other_kind() -> None:
    def pem(key: Any) -> bytes:
        return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    both = read_keys(b"the brain's:\n" + pem(KEY) + pem(OTHER_KEY))
    gate = Gate(site="xiaohe", gateway="gw-01", keys=both)
    assert gate.read(signed(command(), OTHER_KEY)) == gate.read(signed(command(), KEY))
    for content, words in (
        (b"", "holds 0 PEM public keys"),
        (pem(generate_private_key(SECP256R1())), "another kind"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "cannot be read"),
    ):
        with pytest.raises(ValueError, match=words):
            read_keys(content)


# The desk


def test_a_command_is_done_once_and_answered_with_what_came_of_it(desk: Desk) -> None:
    (reply,) = desk.send(command())
    REPLY.validate(reply)
    assert reply["data"] == {
        "command_id": "mode-1",
        "command": "mode",
        "site": "xiaohe",
        "gateway": "gw-01",
        "outcome": "done",
        "words": "as you say",
        "result": {"name": "mode"},
    }
    assert [one.name for one in desk.acted] == ["mode"]
    assert desk.posted() == []


def test_a_repeat_gets_the_same_reply_and_nothing_is_done_again(desk: Desk) -> None:
    (first,) = desk.send(command())
    desk.clock.now_ns += 200 * NS_PER_S
    later = command(time="2026-05-04T09:33:00+08:00")  # asked anew, with a new time
    assert desk.send(command(), later) == [first]
    desk.clock.now_ns += 10_000 * NS_PER_S
    assert desk.send(command()) == [first], "stale by now, but known"
    assert len(desk.acted) == 1
    assert (desk.desk.counts.received, desk.desk.counts.done, desk.desk.counts.repeated) == (4, 1, 3)


def test_another_command_under_a_known_id_is_refused(desk: Desk) -> None:
    desk.send(command())
    (reply,) = desk.send(command("reload", id="mode-1"))
    assert (reply["data"]["outcome"], reply["data"]["reason"]) == ("refused", "id-taken")
    assert len(desk.acted) == 1


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (CommandRefusedError("unknown-case", "no such case"), "refused", "unknown-case"),
        (UsageError("no such thing"), "refused", "cannot-be"),
        (StateError("the disk is full"), "failed", "failed"),
        (FileNotFoundError("it has just gone"), "failed", "failed"),
    ],
)
def test_what_an_action_cannot_do_is_told(desk: Desk, error: Exception, outcome: str, reason: str) -> None:
    def act(command: Command) -> Reply:
        raise error

    desk.act = act
    (reply,) = desk.send(command())
    REPLY.validate(reply)
    assert (reply["data"]["outcome"], reply["data"]["reason"]) == (outcome, reason)
    assert desk.send(command()) == [reply]
    assert len(desk.acted) == 1


def test_a_refusal_is_answered_and_counted_and_the_command_may_come_again(desk: Desk) -> None:
    desk.clock.now_ns -= 100 * NS_PER_S
    (early,) = desk.send(command())
    REPLY.validate(early)
    assert early["data"]["reason"] == "from-the-future"
    desk.clock.now_ns += 100 * NS_PER_S
    (done,) = desk.send(command())
    assert done["data"]["outcome"] == "done"
    assert early["id"] != done["id"]
    assert desk.desk.counts.refused == {"from-the-future": 1}


def test_a_command_in_whose_middle_the_process_ended_is_answered_at_the_next_start_and_not_done_again(
    database: Database,
) -> None:
    class KilledError(BaseException):
        pass

    def killed(command: Command) -> Reply:
        raise KilledError

    before = Desk(database)
    before.act = killed
    with pytest.raises(KilledError):
        before.send(command())
    after = Desk(database)
    after.desk._answer_interrupted()
    (reply,) = after.posted()
    REPLY.validate(reply)
    assert (reply["data"]["outcome"], reply["data"]["reason"]) == ("failed", "interrupted")
    assert after.send(command()) == [reply]
    assert after.acted == []


def test_a_reply_that_no_broker_had_confirmed_is_still_there_after_a_restart(database: Database) -> None:
    before = Desk(database)
    before.desk.receive(command())
    before.pump()
    (reply,) = Desk(database).posted()
    assert reply["data"]["outcome"] == "done"
    assert Desk(database).posted() == []


def test_a_full_desk_is_busy_and_says_so(desk: Desk) -> None:
    for number in range(QUEUE_MAX + 3):
        desk.desk.receive(command(id=f"mode-{number}"))
    while desk.desk.read(0.0):
        pass
    assert desk.desk.counts.refused == {"busy": 3}
    refused = desk.posted()
    assert [reply["data"]["command_id"] for reply in refused] == ["mode-16", "mode-17", "mode-18"]
    desk.pump()
    assert len(desk.acted) == QUEUE_MAX


def test_a_flood_costs_no_memory_and_is_counted(desk: Desk) -> None:
    for _ in range(1000):
        desk.desk.receive(b"x" * BYTES_MAX)
    assert desk.desk.counts.received == 1000
    assert desk.desk.counts.unanswered == desk.desk.counts.refused["busy"] == 1000 - MESSAGES_MAX
    desk.pump()
    for number in range(REFUSALS_MAX + 50):
        desk.desk.receive(command(id=f"far-{number}", subject="xiaohe/gw-02"))
        desk.pump()
    assert len(desk.desk.unposted(1000)) == REFUSALS_MAX
    assert desk.desk.counts.refused["other-gateway"] == REFUSALS_MAX + 50


def test_refusals_are_logged_once_a_minute_with_counts(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(1000):
        desk.desk.receive(b"x" * (BYTES_MAX + 1))
    desk.desk.receive(command(), retained=True)
    assert [record.message.partition(":")[0] for record in caplog.records] == ["a command without an id is refused"]
    desk.clock.now_ns += 61 * NS_PER_S
    desk.desk.receive(command(), retained=True)
    assert len(caplog.records) == 2
    assert caplog.records[1].message.endswith("(refused since the last line: oversized 999, retained 1)")
    assert desk.desk.counts.refused == {"oversized": 1000, "retained": 2}  # each is counted at once


def test_a_retained_command_is_refused_for_it_would_come_with_every_connection(desk: Desk) -> None:
    desk.desk.receive(command(), retained=True)
    desk.pump()
    assert (desk.acted, desk.posted()) == ([], [])
    assert desk.desk.tally() == (
        {"received": 1, "done": 0, "failed": 0, "repeated": 0, "unanswered": 1},
        {"retained": 1},
    )


def test_what_came_of_commands_stands_in_edge_status() -> None:
    report = CourierReport(
        broker="mqtt://b:1883",
        mode="emergency",
        commands={"received": 5, "done": 2, "failed": 0, "repeated": 1, "unanswered": 0},
        commands_refused={"stale": 1, "busy": 1},
    )
    gateway = BoardGateway()
    gateway.tell(COURIER, "courier", report)
    lines = [line.plain for line in _courier(report, StatusSample(gateway.status()))]
    assert lines[1:] == ["mode emergency", "commands 5 received, 2 done, 1 repeated; refused: busy 1, stale 1"]


def test_the_table_is_bounded_and_forgets_no_command_that_a_repeat_could_bring_to_life(
    desk: Desk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "COMMANDS_MAX", 3)
    for number in range(3):
        desk.send(command(id=f"mode-{number}"))
    (reply,) = desk.send(command(id="mode-3"))
    assert reply["data"]["reason"] == "busy"
    assert Commands(database).known("mode-0") is not None
    desk.clock.now_ns += 301 * NS_PER_S
    (reply,) = desk.send(command(id="mode-3", time="2026-05-04T09:36:07+08:00"))
    assert reply["data"]["outcome"] == "done"
    assert Commands(database).known("mode-0") is None
    (again,) = desk.send(command(id="mode-0"))
    assert again["data"]["reason"] == "stale"
    assert len(desk.acted) == 4


def test_a_database_that_cannot_be_written_does_nothing_and_says_so(
    desk: Desk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Commands, command_id: str, **_: Any) -> bool:
        raise StateError("edge.db: the disk is full; free some space")

    with monkeypatch.context() as broken:
        broken.setattr(Commands, "begin", full)
        (reply,) = desk.send(command())
    assert (reply["data"]["outcome"], reply["data"]["reason"]) == ("failed", "state")
    assert desk.acted == []
    (reply,) = desk.send(command())
    assert reply["data"]["outcome"] == "done"


def test_a_reply_waits_for_a_database_that_is_full_and_is_the_one_that_a_repeat_gets(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = Commands.finish, []

    def full_twice(self: Commands, command_id: str, reply: str) -> None:
        tries.append(reply)
        if len(tries) < 3:
            raise StateError("edge.db: the disk is full; free some space")
        real(self, command_id, reply)

    monkeypatch.setattr(Commands, "finish", full_twice)
    monkeypatch.setattr(command_desk, "RETRY_S", 0.0)
    (reply,) = desk.send(command())
    assert len(tries) == 3
    assert desk.send(command()) == [reply]


# Whatever comes


def verdict(gate: Gate, payload: bytes) -> str:
    try:
        gate.read(payload)
    except CommandRefusedError as error:
        return error.reason
    return "let in"


def means_something(payload: bytes) -> bool:
    """Whether a mutation has left a command that is right by the documentation: judged without the gate."""
    try:
        made = json.loads(payload.decode("utf-8"))
        COMMAND.validate(made)
    except (ValueError, RecursionError, jsonschema.ValidationError):
        return False
    data = made["data"]
    ordered = "from" not in data or data["from"] <= data["to"]
    return bool(made["subject"] == "xiaohe/gw-01" and ordered)


ORIGINALS = [command(name) for name in COMMANDS]


def is_still_signed(payload: bytes) -> bool:
    """Only what stands round the signed bytes was changed, such as a blank between two keys."""
    try:
        return base64.b64decode(json.loads(payload)["payload"]) in ORIGINALS
    except (ValueError, RecursionError, TypeError, KeyError):
        return False


@pytest.mark.parametrize("sign", [True, False], ids=["signed", "confined by ACL"])
def test_ten_thousand_mutated_commands_end_nothing_do_nothing_and_are_all_counted(
    database: Database, sign: bool
) -> None:
    """Of unsigned ones some are still commands, with another id or note: they are told apart by their schema."""
    rng, tries = random.Random(20261126), 10_000
    desk = Desk(database, SIGNED_GATE if sign else GATE)
    originals = [signed(one, KEY) for one in ORIGINALS] if sign else ORIGINALS
    lawful, answers = 0, Counter[str]()
    for number in range(tries):
        payload = mutated(rng.choice(originals), rng)
        before = len(desk.acted)
        replies = desk.send(payload)
        for reply in replies:
            REPLY.validate(reply)
            answers[reply["data"].get("reason", reply["data"]["outcome"])] += 1
        acted = len(desk.acted) - before
        if acted:
            lawful += 1
            assert (is_still_signed if sign else means_something)(payload), f"{number}: {payload!r}"
    counts = desk.desk.counts
    print(f"{tries} mutated, {lawful} still right and done; refused {dict(counts.refused)}; answered {dict(answers)}")
    assert counts.received == tries
    assert counts.received == counts.done + counts.failed + counts.repeated + counts.refused.total()
    assert counts.done == len(desk.acted) == lawful
    assert answers.total() + counts.unanswered == tries
    assert counts.refused.total() > 0.8 * tries


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    name=st.sampled_from([*COMMANDS, "fly"]),
    key=st.sampled_from(["specversion", "id", "source", "type", "subject", "time", "data"]),
    value=_JSON,
    inside=st.dictionaries(st.sampled_from(["case_id", "mode", "from", "to", "sha256", "camera", "by", "é"]), _JSON),
)
@settings(max_examples=200)
def test_any_value_in_any_place_is_refused_in_words_or_is_a_command(
    name: str, key: str, value: Any, inside: dict[str, Any]
) -> None:
    for made in (event(name, **{key: value}), event(name, {**ASKED.get(name, {}), **inside})):
        payload = json.dumps(made).encode()
        found = verdict(GATE, payload)
        assert found.isprintable()
        assert found in {"let in", "malformed", "other-gateway", "unknown-command", "oversized"}
        assert found != "let in" or means_something(payload)


@given(st.binary(max_size=400))
@settings(max_examples=300)
def test_any_bytes_are_refused_in_words(payload: bytes) -> None:
    for gate in (GATE, SIGNED_GATE):
        assert refusal(gate, payload)[0] in {"malformed", "bad-signature"}
