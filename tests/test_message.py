"""An alert is a CloudEvent as docs and schema say, and the same change always makes the same one."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.types import CLEARED, NS_PER_S, WITHDRAWN
from edge.delivery import message
from edge.errors import DeliveryError
from tests.alerts import MONO_TO_WALL, START_WALL_NS, a_change, alert_of, closed_schema

CLEARED_NS = 200 * NS_PER_S

CHANGES = {
    "opened": a_change(),
    "updated": a_change(kind="updated", alerts=2),
    "cleared": a_change(kind="cleared", reason="seen-empty", state=CLEARED, cleared_ns=CLEARED_NS, alerts=3),
    "withdrawn": a_change(kind="withdrawn", reason="dismissed", state=WITHDRAWN, cleared_ns=CLEARED_NS, alerts=3),
}


def validate(alert: dict[str, object]) -> None:
    jsonschema.validate(json.loads(message.dumps({**alert, "sequence": 1})), closed_schema())


@pytest.mark.parametrize("kind", CHANGES)
def test_every_kind_of_alert_fits_the_schema_and_holds_no_other_key(kind: str) -> None:
    validate(alert_of(CHANGES[kind]))
    validate(alert_of(CHANGES[kind], media_time_s=64.8, evidence=[], evidence_error="the disk is full"))


def test_an_alert_is_the_one_that_the_design_shows() -> None:
    alert = alert_of(a_change(), media_time_s=64.80049)
    assert list(alert) == ["specversion", "id", "source", "type", "subject", "time", "sequence", "data"]
    assert alert["source"] == "cityeye/xiaohe/gw-01"
    assert alert["type"] == "cityeye.case.opened.v1"
    assert alert["subject"] == "qiaonong-03/illegal-parking"
    assert alert["time"] == "2026-05-04T09:31:00.123+08:00"
    data = alert["data"]
    assert " ".join(data) == (
        "case_id state scenario category severity site gateway camera zone object started_at opened_at dwell_s "
        "media_time_s evidence model config_sha256 software"
    )
    assert data["category"] == {
        "code": "0505",
        "name": "机动车乱停放",
        "standard": "GB/T 30428.2",
        "extension": False,
    }
    assert data["object"] == {"label": "car", "score": 0.83, "box_px": [272, 155, 340, 207], "frame_px": [640, 360]}
    assert data["started_at"] == "2026-05-04T09:30:00.123+08:00"
    assert data["opened_at"] == "2026-05-04T09:31:00.123+08:00"
    assert data["dwell_s"] == 60.2
    assert data["media_time_s"] == 64.8


def test_an_alert_without_a_sequence_from_the_outbox_is_refused_by_the_schema() -> None:
    with pytest.raises(jsonschema.ValidationError, match="minimum"):
        jsonschema.validate(alert_of(a_change()), closed_schema())


@pytest.mark.parametrize("kind", ["cleared", "withdrawn"])
def test_an_end_without_its_reason_is_refused_by_the_schema(kind: str) -> None:
    alert = alert_of(CHANGES[kind])
    del alert["data"]["reason"]
    with pytest.raises(jsonschema.ValidationError, match="reason"):
        validate(alert)


def test_a_cleared_alert_says_when_and_why() -> None:
    data = alert_of(CHANGES["cleared"])["data"]
    assert data["state"] == "cleared"
    assert data["reason"] == "seen-empty"
    assert data["cleared_at"] == "2026-05-04T09:33:16.123+08:00"
    assert CLEARED_NS + MONO_TO_WALL == START_WALL_NS + 196 * NS_PER_S
    for kind in ("opened", "updated", "withdrawn"):
        assert "cleared_at" not in alert_of(CHANGES[kind])["data"]


def test_a_thing_of_no_known_class_is_a_static_object() -> None:
    assert alert_of(a_change(label=""))["data"]["object"]["label"] == "static-object"


def test_a_gathering_says_how_many_take_part() -> None:
    assert alert_of(a_change(label="person", count=7))["data"]["object"]["count"] == 7
    assert "count" not in alert_of(a_change())["data"]["object"]


def test_numbers_straight_from_arrays_become_plain_json() -> None:
    case_numbers = {
        "score": np.float32(0.83),
        "count": np.int16(3),
        "footprint": tuple(np.array([1.4, 2.6, 30, 40], np.float32)),
        "last_seen_ns": np.int64(70 * NS_PER_S),
    }
    alert = alert_of(a_change(**case_numbers))
    validate(alert)
    assert alert["data"]["object"]["score"] == 0.83
    assert alert["data"]["object"]["box_px"] == [1, 3, 30, 40]


def test_a_box_never_leaves_its_frame() -> None:
    """A track at the edge runs on beyond it."""
    for footprint, told in (
        ((-3.2, -0.6, 40.0, 30.0), [0, 0, 40, 30]),
        ((600.0, 300.0, 641.4, 361.7), [600, 300, 640, 360]),
        ((650.0, 380.0, 660.0, 390.0), [640, 360, 640, 360]),
    ):
        assert alert_of(a_change(footprint=footprint))["data"]["object"]["box_px"] == told


def test_the_same_change_has_the_same_id_and_another_has_another() -> None:
    assert alert_of(a_change())["id"] == alert_of(a_change())["id"]
    ids = {alert_of(change)["id"] for change in [*CHANGES.values(), a_change(2), a_change(alerts=2)]}
    assert len(ids) == 6


def test_the_canonical_form_is_one_readable_line() -> None:
    line = message.dumps(alert_of(a_change()))
    assert "\n" not in line
    assert "桥弄街 3 号" in line
    assert message.dumps(json.loads(line)) == line


def test_a_number_that_is_none_is_never_published() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        message.dumps(alert_of(a_change(score=float("nan"))))


def test_topics_are_those_of_the_design() -> None:
    topics = message.Topics("xiaohe", "gw-01")
    assert topics.alert("qiaonong-03", "illegal-parking") == (
        "cityeye/v1/xiaohe/gw-01/alert/qiaonong-03/illegal-parking"
    )
    assert topics.measure("qiaonong-03", "people-flow") == "cityeye/v1/xiaohe/gw-01/measure/qiaonong-03/people-flow"
    assert topics.health("qiaonong-03") == "cityeye/v1/xiaohe/gw-01/health/qiaonong-03"
    assert (topics.status, topics.receipt) == ("cityeye/v1/xiaohe/gw-01/status", "cityeye/v1/xiaohe/gw-01/receipt")
    assert (topics.command, topics.reply) == ("cityeye/v1/xiaohe/gw-01/command", "cityeye/v1/xiaohe/gw-01/reply")


@pytest.mark.parametrize("name", ["", "a/b", "a+", "#", "a\0"])
def test_a_name_that_would_break_a_topic_is_refused(name: str) -> None:
    with pytest.raises(DeliveryError, match="cannot be a level"):
        message.Topics("xiaohe", "gw-01").alert(name, "illegal-parking")


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n")), min_size=1, max_size=4), st.data())
def test_words_joined_another_way_give_another_id(parts: list[str], data: st.DataObject) -> None:
    other = data.draw(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n")), min_size=1, max_size=4))
    assert (message.uuid5_of(*parts) == message.uuid5_of(*other)) == (parts == other)
