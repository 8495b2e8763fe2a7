"""What the street brain may ask of a gateway, read from a message that anybody may have sent.

    bytes --Gate.read--> Command --Gate.admit--> Command that may be done
                |                     '--> CommandRefusedError: stale, from the future, not permitted
                '--> CommandRefusedError: oversized, malformed, wrongly signed, for another gateway, unknown

The only place that parses and judges a command. Pure: no clock, no file, no broker. What comes out has been checked to
the last letter, so an id or a name in it may stand in a path, a topic or a log line.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Annotated, Any, Literal, NoReturn

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge.clock import iso
from edge.core.types import NS_PER_S, seconds_to_ns
from edge.delivery.message import dumps, uuid5_of
from edge.errors import DeliveryError

VERIFY = "verify"
DISMISS = "dismiss"
SNAPSHOT = "snapshot"
RELOAD = "reload"
MODE = "mode"
RETRIEVE = "retrieve"
RESEND = "resend"

BYTES_MAX = 64 * 1024
RESEND_MAX = 10_000  # alerts by one command
FUTURE_S = 60.0  # how far the sender's clock may go before ours
REPLY_TYPE = "cityeye.reply.v1"
DONE, REFUSED, FAILED = "done", "refused", "failed"

# Why a command is refused before anything is done. An action has reasons of its own beside these.
OVERSIZED = "oversized"
RETAINED = "retained"
MALFORMED = "malformed"
BAD_SIGNATURE = "bad-signature"
OTHER_GATEWAY = "other-gateway"
UNKNOWN_COMMAND = "unknown-command"
STALE = "stale"
FROM_THE_FUTURE = "from-the-future"
NOT_PERMITTED = "not-permitted"
ID_TAKEN = "id-taken"
BUSY = "busy"

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_TYPE = re.compile(r"cityeye\.command\.([a-z]{1,32})\.v1", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)
_KEYS_MAX = 8
_WORDS_MAX = 400
_JSON = "application/json"
_NEEDED = frozenset({"specversion", "id", "source", "type", "subject", "time", "data"})
_MEMBERS = _NEEDED | {"datacontenttype"}


class CommandRefusedError(DeliveryError):
    """`command_id` is "" where none could be read, and then there is nobody to answer."""

    def __init__(self, reason: str, words: str, *, command_id: str = "", name: str = "") -> None:
        super().__init__(words)
        self.reason = reason
        self.words = words
        self.command_id = command_id
        self.name = name


class _Data(BaseModel):
    """No unknown keys, no guessed types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line without control characters")
    return text


# \z: pydantic's regular expressions are Rust's.
_CaseId = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\z")]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}\z")]
_CameraId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}\z")]
_Code = Annotated[str, Field(pattern=r"^[a-z][a-z-]{0,31}\z")]
_Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
_Note = Annotated[str, Field(max_length=1000), AfterValidator(_printable)]
_Sequence = Annotated[int, Field(ge=1, le=(1 << 63) - 1)]


class Verify(_Data):
    """Is the thing of this case still there?"""

    case_id: _CaseId


class Dismiss(_Data):
    """This case is none: what `edge dismiss` does."""

    case_id: _CaseId
    reason: _Code
    by: _Name
    note: _Note = ""


class Snapshot(_Data):
    """A camera's picture of now."""

    camera: _CameraId


class Reload(_Data):
    """Take the configuration file anew."""


class Mode(_Data):
    """平时 or 战时."""

    mode: Literal["normal", "emergency"]


class Retrieve(_Data):
    """The evidence of a case, or the one file with this hash."""

    case_id: _CaseId = ""
    sha256: _Sha256 = ""

    @model_validator(mode="after")
    def _one_of_them(self) -> Retrieve:
        if bool(self.case_id) == bool(self.sha256):
            raise ValueError("needs either case_id or sha256")
        return self


class Resend(_Data):
    """The alerts with these sequences, both ends included."""

    first: _Sequence = Field(alias="from")
    last: _Sequence = Field(alias="to")

    @model_validator(mode="after")
    def _in_order(self) -> Resend:
        if not self.first <= self.last < self.first + RESEND_MAX:
            raise ValueError(f"needs from <= to, and at most {RESEND_MAX} alerts")
        return self


Asked = Verify | Dismiss | Snapshot | Reload | Mode | Retrieve | Resend
COMMANDS: Mapping[str, type[Asked]] = {
    VERIFY: Verify,
    DISMISS: Dismiss,
    SNAPSHOT: Snapshot,
    RELOAD: Reload,
    MODE: Mode,
    RETRIEVE: Retrieve,
    RESEND: Resend,
}


@dataclass(frozen=True, slots=True)
class Command:
    """One well-formed command for this gateway, by somebody who may speak to it."""

    id: str
    name: str  # of COMMANDS
    asked: Asked
    time_wall_ns: int  # the sender's
    fingerprint: str  # of what is asked, not of when: a repeat has the same


class Gate:
    """What one gateway lets in. Safe to use from any thread."""

    def __init__(
        self,
        *,
        site: str,
        gateway: str,
        allow: Collection[str] = tuple(COMMANDS),
        keys: Sequence[Ed25519PublicKey] = (),
        stale_s: float = 300.0,
    ) -> None:
        """With `keys` a command must be signed by one of them; without, the broker's ACL is all that stands guard."""
        self._addressee = f"{site}/{gateway}"
        self._allow = frozenset(allow)
        self._keys = tuple(keys)
        self._stale_ns = seconds_to_ns(stale_s)

    def read(self, payload: bytes) -> Command:
        """Raises CommandRefusedError."""
        if len(payload) > BYTES_MAX:
            raise CommandRefusedError(OVERSIZED, f"{len(payload)} bytes, {BYTES_MAX} at most")
        event = self._opened(_object_of(payload))
        return self._command(event)

    def admit(self, command: Command, now_wall_ns: int) -> None:
        """Whether it may be done now. Raises CommandRefusedError."""
        age_ns = now_wall_ns - command.time_wall_ns
        if age_ns > self._stale_ns:
            self._refuse(command, STALE, f"sent {age_ns / NS_PER_S:.0f} s ago, {self._stale_ns / NS_PER_S:g} s at most")
        if age_ns < -seconds_to_ns(FUTURE_S):
            ahead = f"its time lies {-age_ns / NS_PER_S:.0f} s ahead of the gateway's clock"
            self._refuse(command, FROM_THE_FUTURE, f"{ahead}: set the clocks right")
        if command.name not in self._allow:
            self._refuse(command, NOT_PERMITTED, f"commands.allow in the gateway's site.yaml has no {command.name}")

    def forgettable_ns(self, command: Command) -> int:
        """Wall time from which a repeat of it would be refused as stale."""
        return command.time_wall_ns + self._stale_ns

    @staticmethod
    def _refuse(command: Command, reason: str, words: str) -> NoReturn:
        raise CommandRefusedError(reason, words, command_id=command.id, name=command.name)

    def _opened(self, event: dict[str, Any]) -> dict[str, Any]:
        """The command itself, out of its signed envelope where there is one."""
        is_envelope = "payload" in event or "signature" in event
        if not is_envelope:
            if self._keys:
                words = 'this gateway takes signed commands only: {"payload": base64, "signature": base64}'
                raise CommandRefusedError(BAD_SIGNATURE, words, command_id=_id_of(event))
            return event
        payload, signature = _base64(event.get("payload")), _base64(event.get("signature"))
        if set(event) != {"payload", "signature"} or payload is None or signature is None:
            raise CommandRefusedError(MALFORMED, "a signed command is payload and signature, both base64, and no more")
        if not self._keys:
            words = "the command is signed, and this gateway has no key to check that with: see commands.key"
            raise CommandRefusedError(BAD_SIGNATURE, words, command_id=_id_in(payload))
        if not any(_is_signed(key, signature, payload) for key in self._keys):
            words = "the signature is of none of the keys in commands.key, or the payload was changed"
            raise CommandRefusedError(BAD_SIGNATURE, words, command_id=_id_in(payload))
        return _object_of(payload)

    def _command(self, event: dict[str, Any]) -> Command:
        command_id = _id_of(event)
        if not command_id:
            raise CommandRefusedError(MALFORMED, "id must be 1 to 128 of A-Z a-z 0-9 . _ : -")
        kind = _text(event, "type")
        match = _TYPE.fullmatch(kind)
        name = match[1] if match else ""
        is_event = event.get("specversion") == "1.0" and bool(_text(event, "source"))
        if not is_event or event.get("datacontenttype", _JSON) != _JSON or not _NEEDED <= set(event) <= _MEMBERS:
            words = f"expected a CloudEvent 1.0 of {', '.join(sorted(_NEEDED))} and no more"
            raise CommandRefusedError(MALFORMED, words, command_id=command_id, name=name)
        if _text(event, "subject") != self._addressee:
            words = f"its subject is not this gateway: expected {self._addressee}"
            raise CommandRefusedError(OTHER_GATEWAY, words, command_id=command_id, name=name)
        if name not in COMMANDS:
            words = f"expected the type cityeye.command.NAME.v1, NAME one of {', '.join(COMMANDS)}"
            raise CommandRefusedError(UNKNOWN_COMMAND, words, command_id=command_id)
        sent_ns = _wall_ns(_text(event, "time"))
        if sent_ns is None:
            words = "time must be like 2026-05-04T09:31:07.120+08:00"
            raise CommandRefusedError(MALFORMED, words, command_id=command_id, name=name)
        try:
            asked = COMMANDS[name].model_validate(event["data"])
        except ValidationError as error:
            raise CommandRefusedError(MALFORMED, _fault(error), command_id=command_id, name=name) from None
        text = json.dumps([name, asked.model_dump()], sort_keys=True)
        return Command(command_id, name, asked, sent_ns, hashlib.sha256(text.encode()).hexdigest())


def read_keys(pem: bytes) -> list[Ed25519PublicKey]:
    """The Ed25519 public keys in a PEM file, so that a new one can be taken in before the old one goes.

    Raises ValueError with the reason.
    """
    found = _PEM.findall(pem)
    if not 0 < len(found) <= _KEYS_MAX:
        raise ValueError(f"holds {len(found)} PEM public keys, expected 1 to {_KEYS_MAX}")
    try:
        keys = [load_pem_public_key(one) for one in found]
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("holds a PEM public key that cannot be read") from None
    if not all(isinstance(key, Ed25519PublicKey) for key in keys):
        raise ValueError("holds a key of another kind; expected Ed25519")
    return [key for key in keys if isinstance(key, Ed25519PublicKey)]


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a command."""

    outcome: str  # DONE | REFUSED | FAILED
    reason: str = ""  # a short code, "" where it was done
    words: str = ""  # the same for people
    result: Mapping[str, object] | None = None


def reply_event(
    reply: Reply, *, command_id: str, name: str, site: str, gateway: str, now_wall_ns: int, timezone: tzinfo
) -> str:
    """The message on `reply`. Its id is made of the command's, so that a repeat is recognised as one."""
    source = f"cityeye/{site}/{gateway}"
    return dumps(
        {
            "specversion": "1.0",
            "id": uuid5_of(source, "reply", command_id, reply.outcome, reply.reason),
            "source": source,
            "type": REPLY_TYPE,
            "subject": name or "unknown",
            "time": iso(now_wall_ns, timezone),
            "data": {
                "command_id": command_id,
                "command": name,
                "site": site,
                "gateway": gateway,
                "outcome": reply.outcome,
                **({"reason": reply.reason} if reply.reason else {}),
                "words": shown(reply.words),
                **({"result": dict(reply.result)} if reply.result is not None else {}),
            },
        }
    )


def shown(words: str) -> str:
    """One printable line of bounded length, whatever a message had in it."""
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(words.split()))
    return line if len(line) <= _WORDS_MAX else line[: _WORDS_MAX - 1] + "…"


class _NotStrictError(ValueError):
    pass


def _object_of(payload: bytes) -> dict[str, Any]:
    try:
        event = json.loads(payload.decode("utf-8"), object_pairs_hook=_unrepeated, parse_constant=_no_number)
    except _NotStrictError as error:
        raise CommandRefusedError(MALFORMED, str(error)) from None
    except (ValueError, RecursionError):  # no UTF-8, no JSON, a number without end, a tower of brackets
        raise CommandRefusedError(MALFORMED, "no JSON in UTF-8") from None
    if not isinstance(event, dict):
        raise CommandRefusedError(MALFORMED, "no JSON object")
    return event


def _unrepeated(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Which of two values counts is decided differently by each parser: a door for whoever wants two readings."""
    made = dict(members)
    if len(made) < len(members):
        raise _NotStrictError("a key stands twice in one object")
    return made


def _no_number(_word: str) -> NoReturn:
    raise _NotStrictError("NaN and Infinity are no JSON")


def _text(event: Mapping[str, Any], key: str) -> str:
    value = event.get(key)
    return value if isinstance(value, str) else ""


def _id_of(event: Mapping[str, Any]) -> str:
    command_id = _text(event, "id")
    return command_id if _ID.fullmatch(command_id) else ""


def _id_in(payload: bytes) -> str:
    """Of a command that is not believed: enough to say so to whoever waits for an answer."""
    try:
        return _id_of(_object_of(payload))
    except CommandRefusedError:
        return ""


def _base64(text: object) -> bytes | None:
    if not isinstance(text, str):
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):  # ValueError: a letter that is not even ASCII
        return None


def _is_signed(key: Ed25519PublicKey, signature: bytes, payload: bytes) -> bool:
    try:
        key.verify(signature, payload)
    except InvalidSignature:
        return False
    return True


def _wall_ns(text: str) -> int | None:
    if not _TIME.fullmatch(text):
        return None
    try:
        return round(datetime.fromisoformat(text).timestamp()) * NS_PER_S
    except (ValueError, OverflowError):  # the 31st of February
        return None


def _fault(error: ValidationError) -> str:
    """The first fault, without the value. A key that nobody knows is the sender's own text, so it is not repeated."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = "data" if first["type"] == "extra_forbidden" else ".".join(("data", *map(str, first["loc"])))
    said = first["msg"].removeprefix("Value error, ")
    return shown(f"{where}: {said[:1].lower()}{said[1:]}")
