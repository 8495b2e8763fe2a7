"""The JSON Schemas of what is published, for whoever receives it. Written by hand beside `message.alert`,
`message.measure` and `health.HealthNotices`, which they describe.

Open on purpose: a receiver must bear keys that a later version adds. Our tests close it, so that no key goes out
that does not stand here. Draft 7, which every reader of AsyncAPI must understand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

_DRAFT = "http://json-schema.org/draft-07/schema#"
_TEXT = {"type": "string"}
_NAME = {"type": "string", "minLength": 1}
_UUID = {"type": "string", "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"}
_SHA256 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d$"}
_SENT = {
    "type": "string",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$",
}
_COMMAND_ID = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"}
_DAY = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"}
_SECONDS = {"type": "number", "minimum": 0}
_FRACTION = {"type": "number", "minimum": 0, "maximum": 1}
_POINT = {"type": "array", "items": _FRACTION, "minItems": 2, "maxItems": 2}
_COUNT = {"type": "integer", "minimum": 0}
_NUMBER = {"type": "number", "minimum": 0}
_PIXELS = {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2, "maxItems": 2}

_FOLLOWED = ("waiting", "sent", "refused", "merged")
_CLOCK = {"clock_offset_s": {"type": "number"}, "clock_off": {"type": "boolean"}}
_EVIDENCE_ROLES = ["overview", "original", "crop", "still", "clip", "after", "signature", "manifest"]
_UPLOADS = ("waiting", "files", "bytes", "there", "gone", "changed", "withheld", "refused", "failures")


def alert_schema() -> dict[str, object]:
    """Of one alert as it is published."""
    return {
        **_event(
            "City Eye alert",
            {
                "type": {"type": "string", "pattern": r"^cityeye\.case\.(opened|updated|cleared|withdrawn)\.v1$"},
                "subject": {"type": "string", "pattern": "^[^/]+/[^/]+$"},
                "time": _TIME,
                "sequence": {"type": "integer", "minimum": 1},
                "data": _data(),
            },
        ),
        "allOf": [
            _when_type_then_data("cleared", {"state": {"const": "cleared"}}, ["reason", "cleared_at"]),
            _when_type_then_data("withdrawn", {"state": {"const": "withdrawn"}}, ["reason"]),
            _when_type_then_data("(opened|updated)", {"state": {"const": "opened"}}, []),
        ],
    }


def status_schema() -> dict[str, object]:
    """Of the retained message on `status`, the last will included."""
    state: dict[str, object] = {"properties": {"state": {"const": "online"}}}
    return {
        **_event(
            "City Eye gateway status",
            {"type": {"const": "cityeye.gateway.status.v1"}, "subject": _NAME, "time": _TIME, "data": _status()},
        ),
        "if": {"properties": {"data": state}},
        "then": {"properties": {"data": {"required": ["cameras", "problems"]}}},
        "else": {"properties": {"data": {"required": ["reason"]}}},
    }


def health_schema() -> dict[str, object]:
    """Of the retained message on `health/{camera}`."""
    return _event(
        "City Eye camera health",
        {"type": {"const": "cityeye.camera.health.v1"}, "subject": _NAME, "time": _TIME, "data": _health()},
    )


def cases_schema() -> dict[str, object]:
    """Of the retained message on `cases/{camera}`: how many cases are open, by scenario, zeros included."""
    counts = {"type": "object", "additionalProperties": _COUNT}
    return _event(
        "City Eye open cases",
        {
            "type": {"const": "cityeye.camera.cases.v1"},
            "subject": _NAME,
            "time": _TIME,
            "data": _object({"camera": _NAME, "open": counts}),
        },
    )


def measure_schema() -> dict[str, object]:
    """Of a message on `measure/{camera}/{name}`. Numbers are null where nothing was seen; an interval's parts add."""
    place = {"id": _NAME}
    ends = {"type": "array", "items": _POINT, "minItems": 2, "maxItems": 2}
    data = _object(
        {
            "name": _NAME,
            "use": _NAME,
            "site": _NAME,
            "gateway": _NAME,
            "camera": _object({"id": _NAME, "name": _TEXT, "road": _TEXT, "grid": _TEXT}),
            "zone": _object(place),
            "line": _object({**place, "ends": ends}),
            "from": _TIME,
            "to": _TIME,
            "seen_s": _SECONDS,
            "values": {"type": "object", "additionalProperties": _or_null(_NUMBER), "minProperties": 1},
            "config_sha256": _SHA256,
            "software": _NAME,
        },
        optional={"zone", "line"},
    )
    return _event(
        "City Eye measure",
        {
            "type": {"const": "cityeye.measure.v1"},
            "subject": {"type": "string", "pattern": "^[^/]+/[^/]+$"},
            "time": _TIME,
            "data": {**data, "oneOf": [{"required": ["zone"]}, {"required": ["line"]}]},
        },
    )


def receipt_schema() -> dict[str, object]:
    """Of a message to `receipt`: no CloudEvent, and for the gateway alone."""
    any_uuid = {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}
    return {
        "$schema": _DRAFT,
        "title": "City Eye receipt",
        **_object({"ids": {"type": "array", "items": any_uuid}}),
    }


def reply_schema() -> dict[str, object]:
    """Of a message on `reply`: what became of one command. `result` depends on the command, see docs/messages.md."""
    data = _object(
        {
            "command_id": _COMMAND_ID,
            "command": _TEXT,
            "site": _NAME,
            "gateway": _NAME,
            "outcome": {"enum": ["done", "refused", "failed"]},
            "reason": _NAME,
            "words": _TEXT,
            "result": {"type": "object", "additionalProperties": True},
        },
        optional={"reason", "result"},
    )
    return _event(
        "City Eye reply",
        {"type": {"const": "cityeye.reply.v1"}, "subject": _NAME, "time": _TIME, "data": _reasoned(data)},
    )


def _reasoned(data: dict[str, object]) -> dict[str, object]:
    """Who refuses or fails says why."""
    done = {"properties": {"outcome": {"const": "done"}}}
    return {**data, "if": done, "else": {"required": ["reason"]}}


def command_schema() -> dict[str, object]:
    """Of a message on `command`, unsigned, or as it is inside of a signed one."""
    return {
        "$schema": _DRAFT,
        "title": "City Eye command",
        **_object(
            {
                "specversion": {"const": "1.0"},
                "id": _COMMAND_ID,
                "source": _NAME,
                "subject": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}/[A-Za-z0-9_-]{1,64}$"},
                "time": _SENT,
                "type": {"enum": [f"cityeye.command.{name}.v1" for name in _ASKED]},
                "data": {"type": "object", "additionalProperties": True},
                "datacontenttype": {"const": "application/json"},
            },
            optional={"datacontenttype"},
        ),
        "additionalProperties": False,
        "allOf": [
            {
                "if": {"properties": {"type": {"const": f"cityeye.command.{name}.v1"}}},
                "then": {"properties": {"data": {**asked, "additionalProperties": False}}},
            }
            for name, asked in _ASKED.items()
        ],
    }


def signed_command_schema() -> dict[str, object]:
    """Of a message on `command` for a gateway that has the key: the command's bytes, and their Ed25519 signature."""
    base64 = {"type": "string", "contentEncoding": "base64", "pattern": "^[A-Za-z0-9+/]+={0,2}$"}
    return {
        "$schema": _DRAFT,
        "title": "City Eye command, signed",
        **_object({"payload": {**base64, "contentMediaType": "application/cloudevents+json"}, "signature": base64}),
        "additionalProperties": False,
    }


def _event(title: str, properties: Mapping[str, object]) -> dict[str, object]:
    """A CloudEvent of ours, with what tells it from the others."""
    envelope = {
        "specversion": {"const": "1.0"},
        "id": _UUID,
        "source": {"type": "string", "pattern": "^cityeye/[^/]+/[^/]+$"},
    }
    return {
        "$schema": _DRAFT,
        "title": title,
        **_object({**envelope, **properties}),
    }


def _status() -> dict[str, object]:
    return _object(
        {
            "state": {"enum": ["online", "offline"]},
            "reason": {"enum": ["connection lost", "stopped"]},
            "boot_id": _NAME,
            "software": _NAME,
            "started_at": _TIME,
            "config_sha256": _SHA256,
            "config_refused": _NAME,
            "mode": {"enum": ["normal", "emergency"]},
            "last_sequence": _COUNT,
            "alerts": _object(
                {
                    "unsent": _COUNT,
                    "oldest_unsent_s": _SECONDS,
                    "unreceipted": _COUNT,
                    "oldest_unreceipted_s": _SECONDS,
                    "merged": _COUNT,
                    "given_up": _COUNT,
                    "receipts_malformed": _COUNT,
                }
            ),
            "evidence": _object({"count": _COUNT, "head": _SHA256}),
            "commands": _object(
                {
                    **dict.fromkeys(("received", "done", "failed", "repeated", "unanswered"), _COUNT),
                    "refused": {"type": "object", "additionalProperties": _COUNT},
                }
            ),
            "cameras": _object({"streaming": _COUNT, "blind": _COUNT, "off": _COUNT}),
            "followers": {"type": "array", "items": _object({"name": _NAME, **dict.fromkeys(_FOLLOWED, _COUNT)})},
            "problems": {"type": "array", "items": _NAME},
            "uploads": _object({**dict.fromkeys(_UPLOADS, _COUNT), "error": _TEXT}),
        },
        optional={"reason", "config_refused", "evidence", "commands", "cameras", "followers", "problems", "uploads"},
    )


def _health() -> dict[str, object]:
    outcomes = ("read", "decoded", "taken", "analysed", "dropped", "withheld", "skipped", "unseen", "corrupt")
    return _object(
        {
            "camera": _NAME,
            "state": {"enum": ["streaming", "blind", "off"]},
            "reason": _TEXT,
            "words": _TEXT,
            "since": _or_null(_TIME),
            "boot_id": _NAME,
            "fps": _NUMBER,
            "frame_age_s": _or_null(_SECONDS),
            "frame_px": _or_null(_PIXELS),
            "codec": _TEXT,
            "decoder": _TEXT,
            "decoding": _object(
                {
                    "mode": {"enum": ["all", "keyframes", "activity"]},
                    "words": _TEXT,
                    "keyframes": _COUNT,
                    "groups": _COUNT,
                }
            ),
            "frames": _object(dict.fromkeys((*outcomes, "undecoded"), _COUNT), optional={"undecoded"}),
            "reconnects": _COUNT,
            "repaired": _COUNT,
            "restarts": _COUNT,
            "clock_offset_s": _or_null({"type": "number"}),
            "clock_off": {"type": "boolean"},
            "cases": _object({"open": _COUNT, "pending": _COUNT}),
            "queue": _COUNT,
            "stages_ms": {"type": "object", "additionalProperties": _NUMBER},
            "main_stream": _NAME,
        },
        optional={"decoder", "decoding", "main_stream"},
    )


def _or_null(schema: Mapping[str, object]) -> dict[str, object]:
    return {"anyOf": [schema, {"type": "null"}]}


def _data() -> dict[str, object]:
    return _object(
        {
            "case_id": _UUID,
            "state": {"enum": ["opened", "cleared", "withdrawn"]},
            "reason": _NAME,
            "scenario": _NAME,
            "reasons": {"type": "array", "items": _NAME, "minItems": 1},
            "replaces": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 1000},
            "occurrences": {
                "type": "array",
                "items": _object({"day": _DAY, "started_at": _TIME, "count": {"type": "integer", "minimum": 1}}),
                "minItems": 1,
            },
            "category": _object({"code": _TEXT, "name": _NAME, "standard": _TEXT, "extension": {"type": "boolean"}}),
            "severity": _NAME,
            "site": _NAME,
            "gateway": _NAME,
            "camera": _object({"id": _NAME, "name": _TEXT, "road": _TEXT, "grid": _TEXT}),
            # Two points are a line.
            "zone": _object({"id": _NAME, "polygon": {"type": "array", "items": _POINT, "minItems": 2}}),
            "object": _object(
                {
                    "label": _NAME,
                    "score": _FRACTION,
                    "count": {"type": "integer", "minimum": 2},
                    "box_px": {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4},
                    "frame_px": _PIXELS,
                },
                optional={"count"},
            ),
            "check": _object({"model": _NAME, "label": _NAME, "score": _FRACTION}),
            "started_at": _TIME,
            "opened_at": _TIME,
            "cleared_at": _TIME,
            "dwell_s": _SECONDS,
            "media_time_s": _SECONDS,
            **_CLOCK,
            "evidence": {"type": "array", "items": _evidence()},
            "evidence_error": _NAME,
            "thumbnail": _object(
                {
                    "media_type": {"const": "image/jpeg"},
                    "width": {"type": "integer", "minimum": 1},
                    "height": {"type": "integer", "minimum": 1},
                    "data": {"type": "string", "pattern": "^[A-Za-z0-9+/]+={0,2}$", "contentEncoding": "base64"},
                }
            ),
            "model": _object({"name": _NAME, "sha256": _SHA256}),
            "config_sha256": _SHA256,
            "software": _NAME,
        },
        optional={
            "reason",
            "reasons",
            "replaces",
            "occurrences",
            "check",
            "cleared_at",
            "media_time_s",
            "clock_offset_s",
            "clock_off",
            "evidence_error",
            "thumbnail",
        },
    )


def _evidence() -> dict[str, object]:
    return _object(
        {
            "role": {"enum": _EVIDENCE_ROLES},
            "media_type": {"type": "string", "pattern": "^[a-z]+/[a-z0-9.+-]+$"},
            "sha256": _SHA256,
            "bytes": {"type": "integer", "minimum": 1},
            "path": {"type": "string", "pattern": "^[^/]"},  # relative
            "taken_at": _TIME,
        }
    )


def _object(
    properties: Mapping[str, object], *, optional: frozenset[str] | set[str] = frozenset()
) -> dict[str, object]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required}


def _when_type_then_data(kind: str, properties: Mapping[str, object], required: list[str]) -> dict[str, object]:
    data: dict[str, object] = {"properties": dict(properties), "required": required}
    return {
        "if": {"properties": {"type": {"pattern": rf"^cityeye\.case\.{kind}\.v1$"}}},
        "then": {"properties": {"data": data}},
    }


_CASE_ID = {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}
_ONE_LINE = {"type": "string", "minLength": 1, "maxLength": 200}
_ALERT_NUMBER = {"type": "integer", "minimum": 1}
# By the name of the command: what stands in its data.
_ASKED: Mapping[str, dict[str, object]] = {
    "verify": _object({"case_id": _CASE_ID}),
    "dismiss": _object(
        {"case_id": _CASE_ID, "reason": {"type": "string"}, "by": _ONE_LINE, "note": {"type": "string"}},
        optional={"note"},
    ),
    "snapshot": _object({"camera": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}}),
    "reload": _object({}),
    "mode": _object({"mode": {"enum": ["normal", "emergency"]}}),
    "retrieve": {
        **_object({"case_id": _CASE_ID, "sha256": _SHA256}, optional={"case_id", "sha256"}),
        "oneOf": [{"required": ["case_id"]}, {"required": ["sha256"]}],
    },
    "resend": _object({"from": _ALERT_NUMBER, "to": _ALERT_NUMBER}),
}

# By the name of the file that holds it in docs/schemas; `asyncapi.py` says on which topics they go.
SCHEMAS: Mapping[str, Callable[[], dict[str, object]]] = {
    "alert": alert_schema,
    "measure": measure_schema,
    "status": status_schema,
    "health": health_schema,
    "cases": cases_schema,
    "receipt": receipt_schema,
    "command": command_schema,
    "signed-command": signed_command_schema,
    "reply": reply_schema,
}
