"""ONVIF's event broker: alerts are the standard's events, properties are retained while they hold, and none is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from edge.core.types import CLEARED, NS_PER_S
from edge.delivery.bridges.onvif import Counters, OnvifLetters, Standing, counters_of
from edge.delivery.bridges.rules import Rule, Rules
from edge.delivery.courier import Courier
from edge.delivery.letters import Letter, LetterBoxes
from edge.delivery.mqtt import MqttPublisher
from edge.state.database import Database
from edge.state.relays import Relays
from edge.wiring.bridges import Bridges
from tests.alerts import a_change, alert_of, topic_of
from tests.brokers import Mosquitto
from tests.documentation import DocumentedSubscriber
from tests.golden import check_golden
from tests.platforms import site_with, told

pytestmark = pytest.mark.delivery

PREFIX = "street/gw-01"
RULES = Rules(
    catalogue={
        "illegal-parking": Rule("stationary"),
        "non-motor-parking": Rule("stationary"),
        "out-of-store-trading": Rule("occupation"),
        "crowd-gathering": Rule("gathering"),
        "intrusion": Rule("loitering", moment=True),
        "loitering": Rule("loitering"),
        "wrong-way": Rule("crossing", moment=True),
        "no-activity": Rule("absence"),
    }
)
PARKING = "street/gw-01/onvif-ej/RuleEngine/LoiteringDetector/ObjectIsLoitering/&qiaonong-03/illegal-parking.kerb"


class Queue:
    """Relays in memory."""

    def __init__(self, alerts: Iterable[dict[str, Any]]) -> None:
        self.rows = {alert["sequence"]: json.dumps(alert) for alert in alerts}

    def waiting(self, follower: str, *, after: int = 0, limit: int = 100) -> Sequence[Any]:
        row = type("Row", (), {"__slots__": ("sequence", "body")})
        found = []
        for sequence in sorted(one for one in self.rows if one > after)[:limit]:
            found.append(row())
            found[-1].sequence, found[-1].body = sequence, self.rows[sequence]
        return found

    def waiting_count(self, follower: str) -> int:
        return len(self.rows)

    def done(self, follower: str, sequences: Iterable[int]) -> None:
        for sequence in sequences:
            self.rows.pop(sequence, None)


def box_of(queue: Queue, standing: Iterable[tuple[tuple[str, ...], Standing]] = ()) -> OnvifLetters:
    return OnvifLetters("onvif", queue, prefix=PREFIX, rules=RULES, standing=standing)


def posted(box: OnvifLetters) -> list[Letter]:
    """All that it has to say, each confirmed at once."""
    found: list[Letter] = []
    while letters := box.unposted(16):
        found += letters
        box.mark_posted([letter.key for letter in letters])
    return found


def shown(letters: Iterable[Letter]) -> list[dict[str, Any]]:
    return [
        {"topic": one.topic, "retain": one.retain, "payload": json.loads(one.body) if one.body else ""}
        for one in letters
    ]


def numbered(*alerts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**alert, "sequence": number} for number, alert in enumerate(alerts, 1)]


def opened(number: int, **case: Any) -> dict[str, Any]:
    return alert_of(a_change(number, **case))


def cleared(number: int, reason: str = "seen-empty", **case: Any) -> dict[str, Any]:
    end = {"state": CLEARED, "cleared_ns": 200 * NS_PER_S}
    return alert_of(a_change(number, kind="cleared", reason=reason, alerts=2, **{**case, **end}))


# --- the mapping -----------------------------------------------------------------------------------------------


def test_every_kind_of_alert_is_the_event_that_the_standard_has_for_it() -> None:
    more = numbered(
        *told().values(),
        opened(5, scenario="wrong-way", label="truck"),
        opened(6, scenario="intrusion", label="person"),
        cleared(6, scenario="intrusion", label="person"),
        opened(7, scenario="loitering", label="person"),
        opened(8, scenario="no-activity", label="person"),
    )
    check_golden("onvif", shown(posted(box_of(Queue(more)))))


def test_topics_follow_the_standards_grammar() -> None:
    """TopicPrefix "/" PayloadPrefix "/" LocalTopic [ "/&" Source ]; Source = SVALUE *("/" SVALUE)."""
    for letter in posted(box_of(Queue(told().values()))):
        assert re.fullmatch(r"street/gw-01/onvif-ej/RuleEngine/[A-Za-z]+/[A-Za-z]+/&[^/+#]+/[^/+#]+", letter.topic)
        if letter.body:
            event = json.loads(letter.body)
            assert list(event) == ["UtcTime", "Source", "Data"]
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["UtcTime"])
            assert letter.topic.endswith("&" + "/".join(event["Source"].values()))


def test_a_property_lists_all_open_cases_of_its_rule_and_is_deleted_with_the_last() -> None:
    letters = posted(box_of(Queue(numbered(opened(1), opened(2, label="truck"), cleared(1), cleared(2)))))
    assert {letter.topic for letter in letters} == {PARKING}
    assert all(letter.retain for letter in letters)
    ids = [opened(number)["data"]["case_id"] for number in (1, 2)]
    listed = [json.loads(one.body)["Data"]["ObjectId"].split() if one.body else [] for one in letters]
    assert listed == [ids[:1], ids, ids[1:], []]
    assert json.loads(letters[1].body)["Data"]["ClassTypes"] == "Vehicle Vehicle"
    assert letters[-1].body == ""


def test_a_crossing_is_told_once_and_not_retained() -> None:
    alerts = numbered(opened(1, scenario="wrong-way"), cleared(1, scenario="wrong-way"))
    (letter,) = posted(box_of(Queue(alerts)))
    assert (letter.retain, letter.topic.split("/")[-4:-2]) == (False, ["LineDetector", "Crossed"])


def test_a_rule_that_is_gone_takes_its_property_with_it() -> None:
    scenario = {"scenario": "crowd-gathering", "label": "person"}
    kept, gone = (
        posted(box_of(Queue(numbered(opened(1, **scenario), cleared(1, reason=reason, **scenario)))))
        for reason in ("seen-empty", "camera-removed")
    )
    assert json.loads(kept[-1].body)["Data"] == {"IsInside": False}
    assert gone[-1].body == ""


def test_what_has_no_word_in_the_standard_is_struck_out_and_holds_nobody_up() -> None:
    queue = Queue(numbered(opened(1, scenario="no-activity"), alert_of(a_change(2, kind="updated")), opened(3)))
    box = box_of(queue)
    assert len(posted(box)) == 1
    assert queue.rows == {}
    assert box.state().sent == 1


def test_after_a_restart_the_open_cases_are_known() -> None:
    place = ("qiaonong-03", "illegal-parking", "kerb")
    standing = [(place, Standing(opened(1)["data"]["case_id"], "car", "2026-05-04T09:30:00.123+08:00"))]
    (letter,) = posted(box_of(Queue(numbered(opened(2))), standing))
    assert json.loads(letter.body)["Data"] == {
        "ObjectId": f"{opened(1)['data']['case_id']} {opened(2)['data']['case_id']}",
        "ClassTypes": "Vehicle Vehicle",
        "Since": "2026-05-04T01:30:00.123Z",
    }


def test_the_oldest_letters_are_offered_until_they_are_confirmed_and_never_more_than_asked_for() -> None:
    box = box_of(Queue(numbered(*(opened(number) for number in range(1, 201)))))
    first = box.unposted(16)
    assert len(first) == 16
    assert box.unposted(16) == first
    box.mark_posted([first[0].key, first[5].key])
    assert box.unposted(15)[0].key == first[1].key
    assert first[5].key not in {one.key for one in box.unposted(64)}
    assert len(posted(box)) == 198


def measured(values: dict[str, object], **place: object) -> dict[str, Any]:
    data = {"camera": {"id": "qiaonong-03"}, **(place or {"line": {"id": "door"}}), "values": values}
    return {"data": {**data, "to": "2026-05-04T09:35:00.000+08:00"}}


def test_a_flow_is_a_counter_for_each_direction() -> None:
    check_golden("onvif-counters", [vars_of(one) for one in counters_of(PREFIX, measured({"in": 17, "out": 12}))])
    assert counters_of(PREFIX, measured({"in": None, "out": None})) == [], "a blind interval has no count"
    assert counters_of(PREFIX, measured({"mean": 1.5, "max": 3, "share": 0.2}, zone={"id": "kerb"})) == []


def vars_of(event: Any) -> dict[str, Any]:
    return {"topic": event.topic, "retain": event.retain, "payload": json.loads(event.body)}


def test_the_newest_count_of_each_direction_is_kept_as_a_notice() -> None:
    class Measures:
        def take_measures(self, limit: int) -> list[tuple[str, str]]:
            return [("topic", json.dumps(measured({"in": count, "out": 0}))) for count in (17, 18)]

        def waiting_measures(self) -> int:
            return 7

    counters = Counters(Measures(), PREFIX)
    assert len(counters.take_measures(2)) == 2, "they are passed on"
    assert counters.waiting_measures() == 7
    counts = {topic.rpartition("/")[2]: json.loads(body)["Data"]["Count"] for topic, body in counters.notices().items()}
    assert counts == {"door.in": 18, "door.out": 0}


# --- boxes -----------------------------------------------------------------------------------------------------


class Replies:
    def __init__(self) -> None:
        self.waiting = {"a:1": ("reply", "one"), "b": ("reply", "two")}

    def unposted(self, limit: int) -> list[tuple[str, str, str]]:
        return [(key, *rest) for key, rest in self.waiting.items()][:limit]

    def mark_posted(self, keys: Iterable[str]) -> None:
        for key in keys:
            del self.waiting[key]


def test_boxes_are_emptied_as_one_the_first_one_first() -> None:
    replies, box = Replies(), box_of(Queue(numbered(opened(1))))
    boxes = LetterBoxes({"reply": replies, "onvif": box})
    letters = boxes.unposted(16)
    assert [(one.key, one.retain) for one in letters] == [("reply:a:1", False), ("reply:b", False), ("onvif:1.0", True)]
    assert len(boxes.unposted(2)) == 2
    boxes.mark_posted([one.key for one in letters])
    assert boxes.unposted(16) == []
    assert replies.waiting == {}


# --- over a real broker ----------------------------------------------------------------------------------------


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path)
    made.start()
    yield made
    made.kill()


def test_a_flood_of_alerts_goes_out_beside_its_events_and_a_restarted_broker_gets_the_rest(
    broker: Mosquitto, tmp_path: Path
) -> None:
    count = 300
    with Database.open(tmp_path / "edge.db") as database:
        bridges = Bridges(site_with({"onvif": {"prefix": PREFIX}}, tmp_path), database, folder=tmp_path)
        for number in range(1, count + 1):
            database.commit(a_change(number), alert_of(a_change(number)), topic_of(a_change(number)))
        publisher = MqttPublisher(broker.url, client_id="gw-01", connect_s=5)
        boxes = LetterBoxes(bridges.letters)
        events = DocumentedSubscriber(broker.port, "street/#")
        alerts = DocumentedSubscriber(broker.port, "cityeye/#")
        with Courier(database, publisher, letters=boxes, retry_s=0.05, retry_max_s=0.1):
            assert alerts.wait_for(lambda heard: len(heard) >= count)
            assert events.wait_for(lambda heard: len(heard) >= count)
            broker.kill()
            broker.start()
            again = DocumentedSubscriber(broker.port, "street/#")
            change = a_change(
                1, kind="cleared", reason="seen-empty", alerts=2, state=CLEARED, cleared_ns=200 * NS_PER_S
            )
            database.commit(change, alert_of(change), topic_of(change))
            assert again.wait_for(lambda heard: len(heard) >= 1)
            while Relays(database).waiting_count("onvif"):
                assert bridges.states()[0].name == "onvif"
        for listener in (events, alerts, again):
            listener.close()
    lists = [len(json.loads(body)["Data"]["ObjectId"].split()) for _, body in events.heard]
    assert lists == sorted(lists), "in order, a repeat beside its first"
    assert lists[-1] == count
    topic, body = again.heard[-1]
    assert topic == PARKING
    assert len(json.loads(body)["Data"]["ObjectId"].split()) == count - 1
    print(f"{count} alerts and {len(lists)} events; after the restart {len(again.heard)} more")
