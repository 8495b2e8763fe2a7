"""All topics of a gateway as an AsyncAPI 3.0.0 document, made from `Topics` and `schema.SCHEMAS`.

What it says is from the gateway's side: it sends alerts and receives receipts. `edge schema --messages` writes it, and
the schemas beside it, to where docs/asyncapi.yaml and docs/schemas have them; a test fails where those are old.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from edge.delivery.message import CONTENT_TYPE, Topics
from edge.delivery.schema import SCHEMAS

SCHEMA_FORMAT = "application/schema+json;version=draft-07"
VERSION = "1.0.0"  # of the messages, the v1 of their topics; not the program's
MQTT_BINDING = "0.2.0"


@dataclass(frozen=True, slots=True)
class Channel:
    """One kind of topic."""

    name: str
    address: str
    summary: str
    messages: Sequence[str]  # names in `SCHEMAS`
    sent: bool = True  # by the gateway
    qos: int = 1
    retain: bool = False
    reply: str = ""  # the channel that answers


_TOPICS = Topics("{site}", "{gateway}")
CHANNELS = (
    Channel(
        "alert",
        _TOPICS.alert("{camera}", "{scenario}"),
        "A case was opened, updated, cleared or withdrawn. At least once: dedupe by id, order by sequence.",
        ["alert"],
    ),
    Channel(
        "measure",
        _TOPICS.measure("{camera}", "{name}"),
        "Numbers of one interval: flow over a line, occupancy of a zone. At most once.",
        ["measure"],
        qos=0,
    ),
    Channel(
        "status",
        _TOPICS.status,
        "Whether the gateway is online, and its problems. The last will says offline.",
        ["status"],
        retain=True,
    ),
    Channel(
        "health",
        _TOPICS.health("{camera}"),
        "How one camera does. An empty message: the camera was taken out of the configuration.",
        ["health"],
        retain=True,
    ),
    Channel(
        "cases",
        _TOPICS.cases("{camera}"),
        "How many cases of a camera are open, by scenario. Only where `bridges.homeassistant` is configured.",
        ["cases"],
        retain=True,
    ),
    Channel(
        "receipt",
        _TOPICS.receipt,
        "The street brain has stored these alerts: they are not sent again.",
        ["receipt"],
        sent=False,
    ),
    Channel(
        "command",
        _TOPICS.command,
        "What the street brain asks. Done at most once; a repeat of its id gets the same reply.",
        ["command", "signed-command"],
        sent=False,
        reply="reply",
    ),
    Channel(
        "reply",
        _TOPICS.reply,
        "What became of a command: done, refused or failed, and why.",
        ["reply"],
    ),
)
_PARAMETERS = {
    "site": "The id of the site, `site.id` of the configuration.",
    "gateway": "The id of the gateway, `gateway.id` of the configuration.",
    "camera": "The id of the camera.",
    "scenario": "The id of the scenario, such as illegal-parking.",
    "name": "The name of the measure, such as people-flow.",
}
_DESCRIPTION = (
    "Video analytics of a street's cameras: what a City Eye gateway publishes and what it listens to. Bodies are "
    "CloudEvents 1.0 in structured JSON, and work on MQTT 3.1.1; on MQTT 5 the content type is set. Receivers must "
    "bear keys that they do not know. How to subscribe, and what the numbers promise: docs/messages.md."
)


def asyncapi_document() -> dict[str, object]:
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "City Eye Edge",
            "version": VERSION,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {
            "broker": {
                "host": "broker.example:8883",
                "protocol": "secure-mqtt",
                "protocolVersion": "3.1.1",
                "description": "The broker of `mqtt.url`; MQTT 5 is used where it speaks it.",
            }
        },
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "operations": {_operation_name(channel): _operation(channel) for channel in CHANNELS},
        "components": {"messages": {name: _message(name) for name in SCHEMAS}},
    }


def documents() -> dict[str, str]:
    """Relative path -> text of all files."""
    text = yaml.safe_dump(asyncapi_document(), sort_keys=False, allow_unicode=True, width=120)
    schemas = {
        f"schemas/{name}.json": json.dumps(schema(), ensure_ascii=False, indent=1) + "\n"
        for name, schema in SCHEMAS.items()
    }
    return {"asyncapi.yaml": text, **schemas}


def _channel(channel: Channel) -> Mapping[str, object]:
    named = [level[1:-1] for level in channel.address.split("/") if level.startswith("{")]
    return {
        "address": channel.address,
        "summary": channel.summary,
        "parameters": {name: {"description": _PARAMETERS[name]} for name in named},
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in channel.messages},
    }


def _operation_name(channel: Channel) -> str:
    return f"{'send' if channel.sent else 'receive'}{channel.name.capitalize()}"


def _operation(channel: Channel) -> Mapping[str, object]:
    bindings = {"mqtt": {"qos": channel.qos, "retain": channel.retain, "bindingVersion": MQTT_BINDING}}
    return {
        "action": "send" if channel.sent else "receive",
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "summary": channel.summary,
        "bindings": bindings,
        **({"reply": {"channel": {"$ref": f"#/channels/{channel.reply}"}}} if channel.reply else {}),
    }


def _message(name: str) -> Mapping[str, object]:
    title = SCHEMAS[name]()["title"]
    return {
        "name": name,
        "title": title,
        "contentType": "application/json" if name == "receipt" else CONTENT_TYPE,
        "payload": {"schemaFormat": SCHEMA_FORMAT, "schema": {"$ref": f"./schemas/{name}.json"}},
    }
