"""Home Assistant's MQTT discovery, by device: each camera, each of its scenarios and each of its measures as entities.

    <prefix>/device/<node>/<object>/config, retained   ->  entities that read our own topics by templates

A scenario has a discovery message of its own, on the camera's device, so that one that is gone is taken back by an
empty message. Nothing is published for Home Assistant alone but these and the number of open cases, `cases/{camera}`.
A camera that is blind makes its scenarios unavailable: what it cannot see is unknown, not absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from edge.clock import SystemClock, iso
from edge.delivery.message import Topics, dumps, uuid5_of
from edge.errors import StateError

CASES_TYPE = "cityeye.camera.cases.v1"
_STATUS = "{{ value_json.data.state }}"
_SEES = "{{ 'online' if value_json.data.state == 'streaming' else 'offline' }}"
_CONNECTED = "{{ 'ON' if value_json.data.state == 'streaming' else 'OFF' }}"
_WHY = (
    "{{ {'reason': value_json.data.reason, 'words': value_json.data.words, 'since': value_json.data.since} | tojson }}"
)
_LAST = (
    "{{ {'case_id': value_json.data.case_id, 'state': value_json.data.state, 'zone': value_json.data.zone.id, "
    "'since': value_json.data.started_at, 'dwell_s': value_json.data.dwell_s} | tojson }}"
)
_VALUES = {"flow": ("in", "out"), "occupancy": ("mean", "max", "share")}


@dataclass(frozen=True, slots=True)
class Measured:
    """One measure of a camera."""

    name: str
    kind: str  # flow | occupancy
    places: tuple[str, ...]  # zones, or one line


@dataclass(frozen=True, slots=True)
class Watched:
    """A camera and what it looks for."""

    camera: str
    name: str
    road: str
    scenarios: Mapping[str, str]  # id -> title for people
    measures: Sequence[Measured]


@dataclass(frozen=True, slots=True)
class House:
    """What all messages of one gateway share."""

    prefix: str
    site: str
    gateway: str
    software: str

    @property
    def base(self) -> str:
        return f"cityeye/v1/{self.site}/{self.gateway}"

    @property
    def node(self) -> str:
        """Of this gateway alone, whatever its ids and those of others are joined to."""
        return f"cityeye_{self.site}_{self.gateway}_{uuid5_of(self.base)[:8]}"

    @property
    def all_configs(self) -> str:
        """The filter of what this gateway has announced before."""
        return f"{self.prefix}/device/{self.node}/+/config"


def discovery(house: House, watched: Iterable[Watched]) -> dict[str, str]:
    """Topic -> body of all configurations. Pure."""
    made: dict[str, str] = {}
    for camera in watched:
        made |= dict([_of_camera(house, camera)])
        made |= dict(_of_scenario(house, camera, scenario, title) for scenario, title in camera.scenarios.items())
        made |= dict(_of_measure(house, camera, measure) for measure in camera.measures)
    return made


class HomeNotices:
    """The retained messages for Home Assistant. Used from the courier's thread alone."""

    def __init__(
        self,
        house: House,
        watched: Sequence[Watched],
        counts: Callable[[], Mapping[tuple[str, str], int]],
        *,
        timezone: tzinfo,
        clock: SystemClock | None = None,
    ) -> None:
        """`counts` gives the open cases by camera and scenario; it may raise StateError."""
        self._house = house
        self._watched = watched
        self._counts = counts
        self._timezone = timezone
        self._clock = clock or SystemClock()
        self._configs = discovery(house, watched)
        self._cases: dict[str, tuple[Mapping[str, object], str]] = {}  # topic -> data and body, one a camera

    def __call__(self) -> Mapping[str, str]:
        """Topic -> body. While the database fails, the last that was known."""
        try:
            counts = self._counts()
        except StateError:
            counts = None
        if counts is not None:
            for camera in self._watched:
                self._count(camera, counts)
        return {**self._configs, **{topic: body for topic, (_, body) in self._cases.items()}}

    def _count(self, camera: Watched, counts: Mapping[tuple[str, str], int]) -> None:
        topic = Topics(self._house.site, self._house.gateway).cases(camera.camera)
        still_open = {scenario: counts.get((camera.camera, scenario), 0) for scenario in camera.scenarios}
        data = {"camera": camera.camera, "open": still_open}
        if topic not in self._cases or self._cases[topic][0] != data:
            event = {
                "specversion": "1.0",
                "id": "",
                "source": f"cityeye/{self._house.site}/{self._house.gateway}",
                "type": CASES_TYPE,
                "subject": camera.camera,
                "time": iso(self._clock.wall_ns(), self._timezone),
                "data": data,
            }
            self._cases[topic] = (data, dumps({**event, "id": uuid5_of(dumps(event))}))


def _of_camera(house: House, camera: Watched) -> tuple[str, str]:
    health = f"~/health/{camera.camera}"
    seen = {
        "platform": "binary_sensor",
        "name": "Picture",
        "device_class": "connectivity",
        "entity_category": "diagnostic",
        "state_topic": health,
        "value_template": _CONNECTED,
        "json_attributes_topic": health,
        "json_attributes_template": _WHY,
    }
    rate = {
        "platform": "sensor",
        "name": "Analysed pictures",
        "entity_category": "diagnostic",
        "state_class": "measurement",
        "unit_of_measurement": "fps",
        "state_topic": health,
        "value_template": "{{ value_json.data.fps }}",
    }
    return _config(house, camera, "", {"picture": seen, "rate": rate}, needs_picture=False)


def _of_scenario(house: House, camera: Watched, scenario: str, title: str) -> tuple[str, str]:
    cases, alert = f"~/cases/{camera.camera}", f"~/alert/{camera.camera}/{scenario}"
    count = f"value_json.data.open['{scenario}']"
    is_open = {
        "platform": "binary_sensor",
        "name": title,
        "device_class": "problem",
        "state_topic": cases,
        "value_template": f"{{{{ 'ON' if {count} > 0 else 'OFF' }}}}",
        "json_attributes_topic": alert,
        "json_attributes_template": _LAST,
    }
    how_many = {
        "platform": "sensor",
        "name": f"{title}: open cases",
        "state_class": "measurement",
        "state_topic": cases,
        "value_template": f"{{{{ {count} }}}}",
    }
    return _config(house, camera, scenario, {"open": is_open, "count": how_many})


def _of_measure(house: House, camera: Watched, measure: Measured) -> tuple[str, str]:
    """A topic carries all places of a measure: what is of another one leaves an entity as it was."""
    parts = {}
    where = "(value_json.data.get('zone') or value_json.data.line).id"
    for place in measure.places:
        for value in _VALUES[measure.kind]:
            told = f"value_json.data['values']['{value}']"  # `.values` is a dictionary's own
            parts[f"{place}_{value}"] = {
                "platform": "sensor",
                "name": f"{measure.name} {place}: {value}",
                "state_class": "measurement",
                "state_topic": f"~/measure/{camera.camera}/{measure.name}",
                "value_template": f"{{{{ {told} if {where} == '{place}' else this.state }}}}",
            }
    return _config(house, camera, measure.name, parts)


def _config(
    house: House, camera: Watched, what: str, parts: Mapping[str, Mapping[str, object]], *, needs_picture: bool = True
) -> tuple[str, str]:
    """Topic and body. `~` must stand in each component: Home Assistant knows none for the device."""
    own = uuid5_of(house.base, camera.camera, what)
    online = {"topic": f"{house.base}/status", "value_template": _STATUS}
    sees = {"topic": f"{house.base}/health/{camera.camera}", "value_template": _SEES}
    components = {
        key: {
            **part,
            "~": house.base,
            "unique_id": f"cityeye_{uuid5_of(own, key)}",
            "default_entity_id": f"{part['platform']}.cityeye_{_slug(camera.camera, what, key)}",
        }
        for key, part in parts.items()
    }
    body = {
        "device": {
            "identifiers": [f"cityeye_{uuid5_of(house.base, camera.camera)}"],
            "name": camera.name,
            "manufacturer": "City Eye",
            "model": "camera",
            "sw_version": house.software,
            **({"suggested_area": camera.road} if camera.road else {}),
        },
        "origin": {"name": "City Eye Edge", "sw_version": house.software},
        "availability": [online, sees] if needs_picture else [online],
        "availability_mode": "all",
        "qos": 1,
        "components": components,
    }
    parts_of_object = [part for part in (camera.camera, what, own[:8]) if part]
    return f"{house.prefix}/device/{house.node}/{'_'.join(parts_of_object)}/config", dumps(body)


def _slug(*words: str) -> str:
    return "_".join(word.lower().replace("-", "_") for word in words if word)
