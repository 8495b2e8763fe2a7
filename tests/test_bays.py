"""The truth of the kill drill: whatever a gateway leaves out, tells twice or makes up, it is noticed."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from edge.delivery.message import uuid5_of
from tests.bench.bays import STANDING_ZONE, TAKEN_ZONE, Alert, check_told

SOURCE = "cityeye/bench/gw-01"
APPEARANCES = {"cam-00": 2, "cam-01": 1}


def a_case(case_id: str, camera: str, zone: str, *kinds: str) -> list[Alert]:
    return [
        {
            "id": uuid5_of(SOURCE, case_id, kind, str(turn)),
            "source": SOURCE,
            "type": f"cityeye.case.{kind}.v1",
            "data": {"case_id": case_id, "camera": {"id": camera}, "zone": {"id": zone}},
        }
        for turn, kind in enumerate(kinds, 1)
    ]


def numbered(alerts: list[Alert]) -> list[Alert]:
    return [{**alert, "sequence": number} for number, alert in enumerate(alerts, 1)]


def all_told() -> list[Alert]:
    return [
        *a_case("standing-0", "cam-00", STANDING_ZONE, "opened", "updated", "updated"),
        *a_case("standing-1", "cam-01", STANDING_ZONE, "opened"),
        *a_case("first", "cam-00", TAKEN_ZONE, "opened", "updated", "updated", "cleared"),
        *a_case("second", "cam-00", TAKEN_ZONE, "opened", "cleared"),
        *a_case("other", "cam-01", TAKEN_ZONE, "opened", "updated", "cleared"),
    ]


def without(case_id: str, *turns: int) -> list[Alert]:
    own = [alert for alert in all_told() if alert["data"]["case_id"] == case_id]
    gone = [own[turn]["id"] for turn in turns] if turns else [alert["id"] for alert in own]
    return [alert for alert in all_told() if alert["id"] not in gone]


def test_what_is_told_once_holds_and_a_repeated_delivery_does_not_matter() -> None:
    alerts = numbered(all_told())
    check_told(alerts, APPEARANCES)
    check_told([*alerts[3:], *alerts[:5], *copy.deepcopy(alerts)], APPEARANCES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: without("second"), "true is"),
        (lambda: without("first", 0), "first: "),
        (lambda: without("first", 2), "is missing or twice"),
        (lambda: without("other", 2), "true is"),
        (lambda: [*all_told(), *a_case("twice", "cam-01", TAKEN_ZONE, "opened", "cleared")], "true is"),
        (lambda: [*all_told(), *a_case("standing-2", "cam-01", STANDING_ZONE, "opened")], "true is"),
        (lambda: [*all_told(), *a_case("standing-1", "cam-01", STANDING_ZONE, "opened", "opened")[1:]], "opened"),
        (lambda: [*all_told(), *a_case("second", "cam-00", TAKEN_ZONE, *["updated"] * 3)[2:]], "updated"),
    ],
)
def test_what_is_lost_told_twice_or_made_up_is_noticed(change: Callable[[], list[Alert]], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_told(numbered(change()), APPEARANCES)


def test_a_lost_number_and_one_id_with_two_contents_are_noticed() -> None:
    alerts = numbered(all_told())
    with pytest.raises(AssertionError, match="a gap"):
        check_told([*alerts[:-1], {**alerts[-1], "sequence": 99}], APPEARANCES)
    with pytest.raises(AssertionError, match="of one id"):
        check_told([*alerts, {**alerts[0], "sequence": 99}], APPEARANCES)
