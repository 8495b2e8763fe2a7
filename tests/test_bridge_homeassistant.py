"""Home Assistant's discovery: what it would make of our messages, template by template, and that what is gone goes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pytest

from edge.clock import SystemClock
from edge.core.types import CLEARED, NS_PER_S
from edge.delivery.bridges.homeassistant import HomeNotices
from edge.delivery.courier import Courier
from edge.delivery.message import Topics, dumps, measure
from edge.delivery.mqtt import MqttPublisher
from edge.errors import StateError
from edge.state.database import Database
from edge.wiring.bridges import Bridges, house_of, recalled, watched_of
from tests.alerts import ORIGIN, SHANGHAI, a_change, alert_of, topic_of
from tests.boards import Gateway
from tests.brokers import Mosquitto
from tests.conftest import need_program
from tests.documentation import Documentation, DocumentedSubscriber
from tests.golden import check_golden
from tests.platforms import site_with
from tests.test_health_messages import CONNECTED, announcer_of

pytestmark = pytest.mark.delivery

HOME: dict[str, object] = {"homeassistant": {}}
CAMERA = "qiaonong-03"
TOPICS = Topics("xiaohe", "gw-01")
# What Home Assistant's discovery.py takes as a topic of ours.
DISCOVERY_TOPIC = re.compile(r"homeassistant/device/([a-zA-Z0-9_-]+)/([a-zA-Z0-9_-]+)/config")
DEVICE_KEYS = {"device", "origin", "availability", "availability_mode", "qos", "components"}


class Clock(SystemClock):
    def wall_ns(self) -> int:
        return 1_777_858_200 * NS_PER_S


def notices_of(folder: Path, counts: Any = None, bridges: dict[str, object] = HOME, **changes: str) -> HomeNotices:
    site = site_with(bridges, folder, **changes)
    house = house_of(site)
    assert house is not None
    return HomeNotices(
        replace(house, software="0.1.0"), watched_of(site), counts or (dict), timezone=SHANGHAI, clock=Clock()
    )


def is_config(topic: str) -> bool:
    return topic.endswith("/config")


class Home:
    """Home Assistant as far as it matters: entities from discovery messages, and their states from templates.

    By its discovery.py (2025): `~` is replaced in each component, after the device's availability was given to it.
    """

    def __init__(self, told: dict[str, str]) -> None:
        self.entities: dict[str, dict[str, Any]] = {}
        self.states: dict[str, str] = {}
        self._jinja = jinja2.Environment(undefined=jinja2.StrictUndefined)
        for topic, body in told.items():
            if is_config(topic):
                assert DISCOVERY_TOPIC.fullmatch(topic)
                self._discover(json.loads(body))

    def _discover(self, config: dict[str, Any]) -> None:
        assert config.keys() == DEVICE_KEYS, "its schema for devices bears no other key"
        assert config["device"]["identifiers"]
        assert config["origin"]["name"]
        for component in config["components"].values():
            entity = {"availability": config["availability"], **component}
            base = entity.pop("~")
            entity = {
                key: f"{base}{value[1:]}" if key.endswith("topic") and value[0] == "~" else value
                for key, value in entity.items()
            }
            assert entity["unique_id"] not in self.entities
            self.entities[entity["unique_id"]] = entity

    def hear(self, topic: str, body: str) -> None:
        """A message on one of our topics: every entity that reads it renders its templates."""
        for entity in self.entities.values():
            name = entity["name"]
            if entity["state_topic"] == topic:
                self.states[name] = self._render(entity["value_template"], body, state=self.states.get(name, "unknown"))
            if entity.get("json_attributes_topic") == topic:
                attributes = json.loads(self._render(entity["json_attributes_template"], body))
                self.states |= {f"{name}.{key}": value for key, value in attributes.items()}

    def available(self, name: str, told: dict[str, str]) -> bool:
        (entity,) = (one for one in self.entities.values() if one["name"] == name)
        return all(
            self._render(one["value_template"], told[one["topic"]]) == "online" for one in entity["availability"]
        )

    def _render(self, template: str, body: str, state: str = "") -> str:
        return self._jinja.from_string(template).render(value_json=json.loads(body), this={"state": state})


def health(**camera: Any) -> dict[str, str]:
    """Status and health as the gateway publishes them."""
    gateway = Gateway(1)
    gateway.processes = [replace(one, name=CAMERA) if one.name == "cam-01" else one for one in gateway.processes]
    gateway.tell_supervisor()
    if camera.get("blind"):
        gateway.blind(CAMERA)
    return dict(announcer_of(gateway).current(CONNECTED))


# --- what is announced -----------------------------------------------------------------------------------------


def test_every_camera_scenario_and_measure_is_announced(tmp_path: Path) -> None:
    told = notices_of(tmp_path)()
    check_golden("homeassistant", {topic: json.loads(body) for topic, body in told.items()})


def test_every_entity_has_an_id_of_its_own_over_all_cameras_and_gateways(tmp_path: Path) -> None:
    one = notices_of(tmp_path)()
    other = notices_of(tmp_path, old="gateway: {id: gw-01}", new="gateway: {id: gw-02}")()
    assert not {*filter(is_config, one)} & {*filter(is_config, other)}
    ids = [*Home(one).entities, *Home(other).entities]
    assert len(set(ids)) == len(ids) == 2 * (2 + 4 * 2 + 2 + 2 * 3)


def test_home_assistant_reads_our_messages_through_the_templates(tmp_path: Path) -> None:
    counts = {(CAMERA, "illegal-parking"): 2, (CAMERA, "gone"): 1}
    told = {**notices_of(tmp_path, lambda: counts)(), **health()}
    home = Home(told)
    for topic, body in told.items():
        home.hear(topic, body)
    alert = alert_of(a_change())
    home.hear(topic_of(a_change()), dumps({**alert, "sequence": 1}))
    parking = "Illegal parking 机动车乱停放"
    assert (home.states["Picture"], home.states["Picture.reason"]) == ("ON", "")
    assert float(home.states["Analysed pictures"]) == pytest.approx(1.9, abs=0.3)
    assert (home.states[parking], home.states[f"{parking}: open cases"]) == ("ON", "2")
    assert home.states[f"{parking}.case_id"] == alert["data"]["case_id"]
    assert home.states[f"{parking}.dwell_s"] == 60.2
    crowd = next(name for name in home.states if name.endswith("人群聚集"))
    assert (home.states[crowd], home.states[f"{crowd}: open cases"]) == ("OFF", "0")


def a_measure(name: str, place: str, values: dict[str, Any], *, line: bool) -> str:
    from edge.core.types import Measure

    measured = Measure(
        name=name, place=place, from_wall_ns=0, to_wall_ns=300 * NS_PER_S, first_wall_ns=0, seen_ns=1, values=values
    )
    ends = ((0.2, 0.7), (0.8, 0.7)) if line else None
    return dumps(measure(measured, use=name, line=ends, origin=ORIGIN, now_wall_ns=0))


def test_a_measure_is_read_by_the_entities_of_its_own_place(tmp_path: Path) -> None:
    home = Home(dict(notices_of(tmp_path)()))
    home.hear(TOPICS.measure(CAMERA, "door"), a_measure("door", "door", {"in": 17, "out": 12}, line=True))
    occupancy = TOPICS.measure(CAMERA, "occupancy")
    home.hear(occupancy, a_measure("occupancy", "kerb", {"mean": 1.5, "max": 3, "share": 0.2}, line=False))
    home.hear(occupancy, a_measure("occupancy", "pavement", {"mean": None, "max": None, "share": None}, line=False))
    assert (home.states["door door: in"], home.states["door door: out"]) == ("17", "12")
    assert (home.states["occupancy kerb: mean"], home.states["occupancy kerb: max"]) == ("1.5", "3")
    assert home.states["occupancy pavement: mean"] == "None", "which Home Assistant shows as unknown"


def test_what_a_blind_camera_cannot_see_is_unavailable_and_its_blindness_is_told(tmp_path: Path) -> None:
    fine, blind = health(), health(blind=True)
    home = Home(dict(notices_of(tmp_path)()))
    parking = "Illegal parking 机动车乱停放"
    assert home.available(parking, fine)
    assert not home.available(parking, blind)
    assert home.available("Picture", blind)
    home.hear(TOPICS.health(CAMERA), blind[TOPICS.health(CAMERA)])
    assert (home.states["Picture"], home.states["Picture.reason"]) == ("OFF", "wrong-password")
    offline = announcer_of(Gateway(1)).farewell(CONNECTED)
    assert offline is not None
    assert not home.available("Picture", dict([offline]))


def test_the_number_of_open_cases_is_documented_and_told_when_it_changes(tmp_path: Path) -> None:
    counts: dict[tuple[str, str], int] = {}
    notices = notices_of(tmp_path, lambda: counts)
    topic = TOPICS.cases(CAMERA)
    first = notices()[topic]
    assert Documentation().check(topic, first) == "cases"
    assert notices()[topic] is first
    counts[CAMERA, "illegal-parking"] = 1
    assert json.loads(notices()[topic])["data"]["open"]["illegal-parking"] == 1


def test_while_the_database_fails_the_last_number_stays(tmp_path: Path) -> None:
    answers = iter([{(CAMERA, "illegal-parking"): 3}])

    def counts() -> dict[tuple[str, str], int]:
        for answer in answers:
            return answer
        raise StateError("the disk is full")

    notices = notices_of(tmp_path, counts)
    assert notices()[TOPICS.cases(CAMERA)] == notices()[TOPICS.cases(CAMERA)]
    unknown = notices_of(tmp_path, counts)()
    assert TOPICS.cases(CAMERA) not in unknown


# --- over a real broker ----------------------------------------------------------------------------------------


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path)
    made.start()
    yield made
    made.kill()


def test_a_scenario_that_was_taken_out_while_stopped_is_taken_back_and_the_rest_stays(
    broker: Mosquitto, tmp_path: Path
) -> None:
    def retained() -> dict[str, str]:
        """What was retained comes first."""
        end = "homeassistant/end"
        with DocumentedSubscriber(broker.port, "homeassistant/#") as home:
            command = [need_program("mosquitto_pub"), "-h", "127.0.0.1", "-p", str(broker.port), "-t", end, "-m", "x"]
            subprocess.run(command, check=True)
            assert home.wait_for(lambda heard: end in dict(heard))
            return {topic: body for topic, body in home.heard if topic != end}

    def announce(**changes: str) -> None:
        site = site_with(HOME, tmp_path, **changes)
        publisher = MqttPublisher(
            broker.url, client_id="gw-01", connect_s=5, recall=[TOPICS.all_health, *recalled(site)]
        )
        with Database.open(tmp_path / "edge.db") as database:
            bridges = Bridges(site, database, folder=tmp_path)
            notices = bridges.beside(announcer_of(Gateway(1)))
            with (
                DocumentedSubscriber(broker.port, "homeassistant/#") as home,
                DocumentedSubscriber(broker.port, "cityeye/#") as ours,
                Courier(database, publisher, notices=notices, notice_s=0.02),
            ):
                assert ours.wait_for(lambda heard: any(topic == TOPICS.cases(CAMERA) for topic, _ in heard))
                wanted = set(filter(is_config, notices.current(CONNECTED)))
                assert home.wait_for(lambda heard: {topic for topic, body in dict(heard).items() if body} == wanted)
            counted = ours.check(Documentation())
            assert counted["cases"] >= 1

    announce()
    before = retained()
    announce(old="      - {use: crowd-gathering, zones: [pavement]}\n", new="")
    after = retained()
    (gone,) = before.keys() - after.keys()
    assert "crowd-gathering" in gone
    assert all(after[topic] == before[topic] for topic in after)
    print(f"{len(before)} announced, {gone} taken back")


def test_a_case_that_opens_and_is_cleared_is_counted(broker: Mosquitto, tmp_path: Path) -> None:
    site = site_with(HOME, tmp_path)
    with Database.open(tmp_path / "edge.db") as database:
        notices = Bridges(site, database, folder=tmp_path).beside(announcer_of(Gateway(1)))

        def still_open() -> int:
            event = json.loads(notices.current(CONNECTED)[TOPICS.cases(CAMERA)])
            return int(event["data"]["open"]["illegal-parking"])

        counts = [still_open()]
        for change in (a_change(1), a_change(2), a_change(1, kind="cleared", reason="left", state=CLEARED, alerts=2)):
            database.commit(change, alert_of(change), topic_of(change))
            counts.append(still_open())
    assert counts == [0, 1, 2, 1]
