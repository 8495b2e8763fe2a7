"""Cases and alerts to test with, and the alert's JSON Schema closed against keys that it does not name."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any

import numpy as np

from edge.core.types import NS_PER_S, OPENED, Case, CaseChange
from edge.delivery import message
from edge.delivery.schema import alert_schema
from edge.ports import EvidenceFile, Outbox

START_WALL_NS = 1_777_858_200 * NS_PER_S + 123_456_789  # 2026-05-04T09:30:00.123 in Shanghai
MONO_TO_WALL = START_WALL_NS - 4 * NS_PER_S
SHANGHAI = timezone(timedelta(hours=8))

ORIGIN = message.Origin(
    site="xiaohe",
    gateway="gw-01",
    camera_id="qiaonong-03",
    camera_name="桥弄街 3 号",
    road="桥弄街",
    grid="G-17",
    zones={"kerb": ((0.41, 0.22), (0.52, 0.22), (0.58, 0.66), (0.38, 0.66))},
    timezone=SHANGHAI,
    model_name="yolox-nano",
    model_sha256="a" * 64,
    config_sha256="b" * 64,
    software="0.1.0",
)
TAG = message.Tag(
    category_code="0505",
    category_name="机动车乱停放",
    category_standard="GB/T 30428.2",
    category_extension=False,
    severity="normal",
)
EVIDENCE = EvidenceFile(
    role="overview",
    media_type="image/jpeg",
    sha256="c" * 64,
    bytes=81_234,
    path="evidence/one/overview.jpg",
    taken_wall_ns=START_WALL_NS + 60 * NS_PER_S,
)


def a_case(number: int = 1, **changes: Any) -> Case:
    """An open case; `number` tells it from the others."""
    case = Case(
        case_id=message.uuid5_of("case", str(number)),
        camera="qiaonong-03",
        scenario="illegal-parking",
        zone="kerb",
        state=OPENED,
        label="car",
        score=0.83,
        count=1,
        footprint=(272.0, 155.25, 340.0, 207.0),
        appearance=np.arange(16, dtype=np.float32).reshape(4, 4) + np.float32(0.1),
        started_ns=4 * NS_PER_S,
        opened_ns=64 * NS_PER_S,
        last_seen_ns=64 * NS_PER_S + 160_000_000,
        visible_ns=50 * NS_PER_S,
        cleared_ns=0,
        started_wall_ns=START_WALL_NS,
        opened_wall_ns=START_WALL_NS + 60 * NS_PER_S,
        alerts=1,
    )
    return replace(case, **changes)


def a_change(number: int = 1, kind: str = "opened", reason: str = "", **changes: Any) -> CaseChange:
    return CaseChange(a_case(number, **changes), kind, reason)


def alert_of(change: CaseChange, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "origin": ORIGIN,
        "tag": TAG,
        "frame_px": (640, 360),
        "now_wall_ns": START_WALL_NS + 60 * NS_PER_S,
        "mono_to_wall": MONO_TO_WALL,
        "media_time_s": None,
        "evidence": [EVIDENCE],
        **changes,
    }
    return message.alert(change, **arguments)


def topic_of(change: CaseChange) -> str:
    return message.Topics("xiaohe", "gw-01").alert(change.case.camera, change.case.scenario)


def fill(outbox: Outbox, count: int, *, first: int = 1) -> None:
    """So many alerts, each of a case of its own."""
    for number in range(first, first + count):
        change = a_change(number)
        outbox.commit(change, alert_of(change), topic_of(change))


def closed_schema(schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """An alert's schema, or the given one, that bears no key which it does not name."""
    return _closed(alert_schema() if schema is None else schema, within_condition=False)


def _closed(node: Any, *, within_condition: bool) -> Any:
    """Forbid unnamed keys in every object, but for the fragments that conditions add to one."""
    if isinstance(node, list):
        return [_closed(item, within_condition=within_condition) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {
        key: _closed(value, within_condition=within_condition or key in ("if", "then", "else"))
        for key, value in node.items()
    }
    if node.get("type") == "object" and not within_condition:
        closed.setdefault("additionalProperties", False)
    return closed
