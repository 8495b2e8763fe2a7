"""docs/asyncapi.yaml and docs/schemas say what is published, are what the code makes, and hold together."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge.cli.main import run
from edge.delivery.schema import SCHEMAS
from tests.alerts import a_change, alert_of, closed_schema
from tests.boards import Gateway
from tests.documentation import DOCS, Documentation
from tests.test_health_messages import CONNECTED, announcer_of

pytestmark = pytest.mark.delivery


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)


@pytest.fixture(scope="module")
def documentation() -> Documentation:
    return Documentation()


def test_the_documents_are_those_that_the_code_makes(tmp_path: Path) -> None:
    assert run(["schema", "--messages", str(tmp_path)]) == 0
    made = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    held = {name: (DOCS / name).read_text() for name in made}
    assert held == made, "run: edge schema --messages docs"
    assert {path.name for path in (DOCS / "schemas").iterdir()} == {f"{name}.json" for name in SCHEMAS}


def test_every_reference_of_the_document_leads_somewhere(documentation: Documentation) -> None:
    found = set(references(documentation.document))
    inside = {one for one in found if one.startswith("#/")}
    for reference in inside:
        documentation.resolve(reference)
    outside = found - inside
    assert outside == {f"./schemas/{name}.json" for name in SCHEMAS}
    assert all((DOCS / reference).is_file() for reference in outside)


def test_every_channel_has_its_operation_its_messages_and_its_parameters(documentation: Documentation) -> None:
    document = documentation.document
    used = [operation["channel"]["$ref"] for operation in document["operations"].values()]
    assert sorted(used) == sorted(f"#/channels/{name}" for name in document["channels"])
    for channel in document["channels"].values():
        assert channel["messages"]
        assert list(channel["parameters"]) == re.findall(r"\{([a-z]+)\}", channel["address"])


def test_the_document_is_of_the_standards_form(documentation: Documentation) -> None:
    """The standard's own schema has 400 kB that are not ours to carry; it is asked where it is at hand."""
    document = documentation.document
    assert document["asyncapi"] == "3.0.0"
    assert {operation["action"] for operation in document["operations"].values()} <= {"send", "receive"}
    path = os.environ.get("EDGE_ASYNCAPI_SCHEMA")
    if not path:
        print("not held to the standard's schema: set EDGE_ASYNCAPI_SCHEMA to schemas/3.0.0.json of @asyncapi/specs")
        return
    schema = json.loads(Path(path).read_text(encoding="utf-8"))
    jsonschema.validate(document, schema)
    spoiled = {**document, "channels": {"alert": {"adress": "misspelt"}}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoiled, schema)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_one(name: str) -> None:
    schema = SCHEMAS[name]()
    jsonschema.Draft7Validator.check_schema(schema)
    assert schema["$schema"] == jsonschema.Draft7Validator.META_SCHEMA["$schema"]


def test_a_topic_or_a_message_that_is_not_documented_is_found(documentation: Documentation) -> None:
    alert = json.dumps({**alert_of(a_change()), "sequence": 1})
    root = "cityeye/v1/xiaohe/gw-01"
    assert documentation.check(f"{root}/alert/qiaonong-03/illegal-parking", alert) == "alert"
    for topic in (f"{root}/alerts/a/b", f"{root}/alert/a", f"{root}/alert/a/b/c", "cityeye/v2/x/g/status"):
        with pytest.raises(AssertionError, match="no channel"):
            documentation.check(topic, alert)
    for topic, body in (
        (f"{root}/status", alert),
        (f"{root}/alert/a/b", json.dumps({**json.loads(alert), "sequence": "1"})),
    ):
        with pytest.raises(jsonschema.ValidationError):
            documentation.check(topic, body)
    with pytest.raises(json.JSONDecodeError):
        documentation.check(f"{root}/alert/a/b", "")
    assert documentation.check(f"{root}/health/cam-01", "") == "health", "taken back"


def test_status_and_health_are_documented(documentation: Documentation) -> None:
    told = announcer_of(Gateway()).current(CONNECTED)
    assert sorted(documentation.check(topic, body) for topic, body in told.items()) == ["health", "health", "status"]


def test_the_page_for_receivers_shows_messages_as_they_are(documentation: Documentation) -> None:
    page = (DOCS / "messages.md").read_text(encoding="utf-8")
    root = "cityeye/v1/xiaohe/gw-01"
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    kinds = []
    for event in shown:
        kind = {"case": "alert"}.get(event["type"].split(".")[1], event["type"].split(".")[1])
        place = "" if kind in ("command", "reply") else f"/{event['subject']}"
        kinds.append(documentation.check(f"{root}/{kind}{place}", json.dumps(event)))
        jsonschema.validate(event, closed_schema(SCHEMAS[kind]()))
    assert kinds == ["alert", "measure", "command", "reply"]
    topics = re.findall(r"^\| `([a-z/{}`\s]+)` \|", page.partition("\n## Alerts")[0], re.MULTILINE)
    addresses = [channel["address"] for channel in documentation.document["channels"].values()]
    assert [f"cityeye/v1/{{site}}/{{gateway}}/{topic}" for topic in topics] == addresses
