"""Measures: intervals of the wall clock, honest about what was not seen, sent once or lost, and nobody's name."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import jsonschema
import numpy as np
import pytest

from edge.clock import interval_of
from edge.core.measures import Gauge, Measure, Number, gauge_for
from edge.core.measures.flow import FlowRule
from edge.core.measures.occupancy import OccupancyRule
from edge.core.memory import StreetMemory
from edge.core.scene import Scene
from edge.core.types import NS_PER_S, Detections, Float32, Frame, StaticRegions, Tracks, seconds_to_ns
from edge.core.zones import ZoneMap
from edge.delivery import message
from edge.delivery.courier import Courier
from edge.delivery.message import ALL_MEASURES, Topics
from edge.delivery.mqtt import MqttPublisher
from edge.delivery.schema import measure_schema
from edge.errors import StateError
from edge.ports import WordedMeasure
from edge.runtime.measuring import Measuring
from edge.state import database
from edge.state.database import Database
from tests.alerts import ORIGIN, START_WALL_NS, closed_schema
from tests.brokers import WAIT_S, Mosquitto
from tests.conftest import need_program

SHANGHAI = ZoneInfo("Asia/Shanghai")
NINE_NS = round(datetime(2026, 5, 4, 9, 0, tzinfo=SHANGHAI).timestamp()) * NS_PER_S
WIDTH, HEIGHT = 320, 240
PICTURE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
PERSON = np.array([0], np.int16)
LEFT: Float32 = np.array([(0, 0), (0.5, 0), (0.5, 1), (0, 1)], np.float32)
RIGHT: Float32 = np.array([(0.5, 0), (1, 0), (1, 1), (0.5, 1)], np.float32)
Feet = Sequence[tuple[float, float]]


class Camera:
    """Looks at people and feeds a gauge; by itself its clocks go on by `step_s` a look."""

    def __init__(self, gauge: Gauge, *, step_s: float = 1.0, wall_ns: int = NINE_NS) -> None:
        self.gauge = gauge
        self.step_ns = seconds_to_ns(step_s)
        self.mono_ns = 10 * NS_PER_S
        self.wall_ns = wall_ns
        self.told: list[Measure] = []
        self._zones = ZoneMap([LEFT, RIGHT])

    def look(self, *people: tuple[float, float], times: int = 1, blind: bool = False, speed: float = 0.0) -> None:
        for _ in range(times):
            self.told += self.gauge.read(self._blind() if blind else self._scene(people, speed))
            self.wait(self.step_ns / NS_PER_S)

    def wait(self, seconds: float) -> None:
        self.mono_ns += seconds_to_ns(seconds)
        self.wall_ns += seconds_to_ns(seconds)

    @property
    def spans(self) -> list[tuple[str, str]]:
        return [(local(told.from_wall_ns), local(told.to_wall_ns)) for told in self.told]

    @property
    def values(self) -> list[dict[str, Number]]:
        return [dict(told.values) for told in self.told]

    @property
    def seen_s(self) -> list[float]:
        return [told.seen_ns / NS_PER_S for told in self.told]

    def _blind(self) -> Scene:
        return Scene.unseen(self._frame(), StreetMemory())

    def _frame(self) -> Frame:
        return Frame("c", 0, self.mono_ns, self.wall_ns, PICTURE)

    def _scene(self, people: Feet, speed: float) -> Scene:
        count = len(people)
        feet = np.array(people, np.float32).reshape(-1, 2)
        now = np.full(count, self.mono_ns, np.int64)
        tracks = Tracks(
            track_id=np.arange(1, count + 1),
            xyxy=np.concatenate([feet - np.array([10, 50]), feet + np.array([10, 0])], axis=1).astype(np.float32),
            label=np.zeros(count, np.int16),
            score=np.full(count, 0.8, np.float32),
            detection=np.arange(count),
            first_seen_ns=now,
            last_seen_ns=now,
            rest_since_ns=now,
            speed=np.full(count, speed, np.float32),
        )
        presence = self._zones.locate(tracks, width=WIDTH, height=HEIGHT, mono_ns=self.mono_ns)
        return Scene(
            self._frame(), Detections.empty(), tracks, {"bottom": presence}, StaticRegions.empty(), StreetMemory()
        )


def local(wall_ns: int) -> str:
    return datetime.fromtimestamp(wall_ns / NS_PER_S, SHANGHAI).strftime("%H:%M:%S")


def flow(every_s: int = 60) -> Gauge:
    rule = FlowRule(
        name="people-flow",
        places=("people-flow",),
        labels=PERSON,
        score_min=0.3,
        line=((0.5, 0.0), (0.5, 1.0)),
        direction="right",
    )
    return gauge_for(rule, [LEFT, RIGHT], lambda wall_ns: interval_of(wall_ns, every_s, SHANGHAI))


def occupancy(every_s: int = 60, *, zones: tuple[int, ...] = (0,), count_min: int = 1, **more: float | None) -> Gauge:
    names = ("left", "right")
    rule = OccupancyRule(
        name="occupancy",
        places=tuple(names[row] for row in zones),
        labels=PERSON,
        score_min=0.3,
        zones=zones,
        count_min=count_min,
        speed_max=more.get("speed_max"),
    )
    return gauge_for(rule, [LEFT, RIGHT], lambda wall_ns: interval_of(wall_ns, every_s, SHANGHAI))


HERE, THERE = (100.0, 120.0), (220.0, 120.0)  # on the left and on the right


# Intervals


@pytest.mark.parametrize(
    ("moment", "every_s", "zone", "begin", "length_s"),
    [
        ("2026-05-04T09:07:12+08:00", 300, "Asia/Shanghai", "2026-05-04T09:05:00+08:00", 300),
        ("2026-05-04T09:05:00+08:00", 300, "Asia/Shanghai", "2026-05-04T09:05:00+08:00", 300),
        ("2026-05-04T00:10:00+08:00", 86400, "Asia/Shanghai", "2026-05-04T00:00:00+08:00", 86400),
        ("2026-05-04T09:07:12+05:45", 3600, "Asia/Kathmandu", "2026-05-04T09:00:00+05:45", 3600),
        ("2026-03-29T12:00:00+02:00", 86400, "Europe/Berlin", "2026-03-29T00:00:00+01:00", 23 * 3600),
        ("2026-10-25T12:00:00+01:00", 86400, "Europe/Berlin", "2026-10-25T00:00:00+02:00", 86400),
        ("2026-10-25T23:30:00+01:00", 86400, "Europe/Berlin", "2026-10-25T23:00:00+01:00", 3600),
    ],
)
def test_intervals_are_counted_from_local_midnight(
    moment: str, every_s: int, zone: str, begin: str, length_s: int
) -> None:
    wall_ns = round(datetime.fromisoformat(moment).timestamp()) * NS_PER_S
    from_ns, to_ns = interval_of(wall_ns, every_s, ZoneInfo(zone))
    assert from_ns == round(datetime.fromisoformat(begin).timestamp()) * NS_PER_S
    assert (to_ns - from_ns) == length_s * NS_PER_S


def test_each_interval_is_told_once_when_it_has_ended() -> None:
    camera = Camera(flow(), wall_ns=NINE_NS + 20 * NS_PER_S)
    camera.look(HERE, times=20)
    camera.look(THERE, times=50)
    camera.look(HERE, times=60)
    assert camera.spans == [("09:00:00", "09:01:00"), ("09:01:00", "09:02:00")]
    assert camera.values == [{"in": 1, "out": 0}, {"in": 0, "out": 1}]
    assert camera.seen_s == [40, 60]  # the first began at 20 s


def test_a_blind_interval_is_not_an_empty_one() -> None:
    camera = Camera(occupancy())
    camera.look(HERE, times=30)
    camera.look(times=90, blind=True)
    camera.look(times=61)
    assert camera.seen_s == pytest.approx([29, 0, 60])
    assert camera.values == [
        {"mean": 1.0, "max": 1, "share": 1.0},
        {"mean": None, "max": None, "share": None},
        {"mean": 0.0, "max": 0, "share": 0.0},
    ]


def test_an_interval_in_which_nobody_looked_is_not_told() -> None:
    camera = Camera(occupancy())
    camera.look(HERE, times=10)
    camera.wait(600)
    camera.look(times=60)
    assert camera.spans == [("09:00:00", "09:01:00"), ("09:10:00", "09:11:00")]
    assert camera.seen_s == pytest.approx([9, 50])


def test_the_parts_of_an_interval_add_up() -> None:
    whole, parted = Camera(flow()), Camera(flow())
    for camera in (whole, parted):
        for step in range(30):
            camera.look(HERE if step % 4 < 2 else THERE)
    parted.told += parted.gauge.finish()
    for camera in (whole, parted):
        for step in range(30, 61):
            camera.look(HERE if step % 4 < 2 else THERE)
    (one,), parts = whole.told, parted.told
    assert len(parts) == 2
    assert sum(part.seen_ns for part in parts) == one.seen_ns
    for name in ("in", "out"):
        assert sum(int(dict(part.values)[name] or 0) for part in parts) == dict(one.values)[name]
    assert len({part.first_wall_ns for part in parts}) == 2


def test_a_step_over_the_end_of_an_interval_is_shared_out() -> None:
    camera = Camera(occupancy(), step_s=7)
    camera.look(HERE, times=20)
    told = camera.told + camera.gauge.finish()
    assert [part.seen_ns / NS_PER_S for part in told] == [60, 60, 13]


def test_a_wall_clock_that_is_put_back_costs_nothing_and_repeats_no_measure() -> None:
    camera = Camera(flow())
    camera.look(HERE, times=50)
    camera.wall_ns -= seconds_to_ns(300)
    camera.look(THERE, times=100)
    told = [*camera.told, *camera.gauge.finish()]
    assert sum(part.seen_ns for part in told) == 149 * NS_PER_S
    assert sum(int(dict(part.values)["in"] or 0) for part in told) == 1
    assert len({(part.from_wall_ns, part.first_wall_ns) for part in told}) == len(told)


# Numbers


def test_occupancy_is_the_mean_over_seen_time_and_the_most_at_once() -> None:
    camera = Camera(occupancy(zones=(0, 1), count_min=2))
    camera.look(HERE, times=31)
    camera.look(HERE, (120, 100), (60, 150), THERE, times=15)
    camera.look(times=15)
    assert [told.place for told in camera.told] == ["left", "right"]
    left, right = camera.values
    assert left == {
        "mean": pytest.approx((30 + 3 * 15) / 60, abs=0.03),
        "max": 3,
        "share": pytest.approx(0.25, abs=0.02),
    }
    assert right == {"mean": pytest.approx(0.25, abs=0.02), "max": 1, "share": 0}


def test_a_queue_is_of_those_that_stand_or_crawl() -> None:
    camera = Camera(occupancy(count_min=2, speed_max=0.5))
    camera.look(HERE, (120, 100), times=31, speed=2.0)
    camera.look(HERE, (120, 100), times=30, speed=0.1)
    assert camera.values == [{"mean": pytest.approx(1, abs=0.05), "max": 2, "share": pytest.approx(0.5, abs=0.02)}]


# On their way


def a_measure(number: int = 0, *, line: bool = False) -> WordedMeasure:
    place = "door" if line else "kerb"
    measured = Measure(
        "people-flow",
        place,
        NINE_NS,
        NINE_NS + 60 * NS_PER_S,
        NINE_NS + number,
        60 * NS_PER_S,
        (("in", 3), ("out", None)),
    )
    body = message.measure(
        measured,
        use="people-flow",
        line=((0.1, 0.5), (0.9, 0.5)) if line else None,
        origin=ORIGIN,
        now_wall_ns=START_WALL_NS,
    )
    return WordedMeasure(Topics("xiaohe", "gw-01").measure("qiaonong-03", "people-flow"), body)


@pytest.mark.parametrize("line", [False, True])
def test_a_measure_fits_its_schema_and_names_nobody(line: bool) -> None:
    body = a_measure(line=line).body
    jsonschema.validate(body, closed_schema(measure_schema()))
    assert body["id"] != a_measure(1, line=line).body["id"]
    assert "track" not in json.dumps(body)


def test_measures_wait_in_order_and_are_taken_once(tmp_path: Path) -> None:
    with Database.open(tmp_path / "edge.db") as box:
        bodies = [a_measure(number) for number in range(5)]
        assert box.put_measures(bodies) == 0
        assert [json.loads(body) for _, body in box.take_measures(3)] == [one.body for one in bodies[:3]]
        assert box.waiting_measures() == 2
        assert len(box.take_measures(3)) == 2
        assert list(box.take_measures(3)) == []


def test_the_oldest_measures_make_room_and_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "MEASURES_MAX", 10)
    with Database.open(tmp_path / "edge.db") as box:
        assert sum(box.put_measures([a_measure(number)]) for number in range(13)) == 3
        ids = [json.loads(body)["id"] for _, body in box.take_measures(100)]
    assert ids == [a_measure(number).body["id"] for number in range(3, 13)]


def test_a_database_that_cannot_be_written_costs_measures_and_no_more() -> None:
    class Full:
        def put_measures(self, measures: Sequence[WordedMeasure]) -> int:
            raise StateError("the disk is full")

    gauge = occupancy(zones=(0, 1))
    measuring = Measuring([gauge], word=lambda measure, wall_ns: a_measure(), box=Full())
    camera = Camera(gauge)
    for _ in range(61):
        measuring.look(camera._scene([HERE], 0.0))
        camera.wait(1)
    assert measuring.limits == {"measures_lost": 2, "measures_dropped": 0}


def test_plain_mosquitto_sub_sees_each_measure_once_and_none_is_retained(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    broker.start()
    try:
        with Database.open(tmp_path / "edge.db") as box:
            box.put_measures([a_measure(number, line=number % 2 > 0) for number in range(100)])
            command = f"{need_program('stdbuf')} -oL {need_program('mosquitto_sub')} -h 127.0.0.1 -p {broker.port} -q 1"
            listener = subprocess.Popen(
                [*command.split(), "-t", ALL_MEASURES, "-C", "100", "-W", "20", "-d"], stdout=subprocess.PIPE, text=True
            )
            assert listener.stdout is not None
            assert any("Subscribed" in line for line in listener.stdout)
            publisher = MqttPublisher(broker.url, client_id="gw-01", connect_s=5)
            with Courier(box, publisher, measures=box, poll_s=0.02) as courier:
                lines = [line for line in listener.stdout if not line.startswith("Client gw-01")]
                assert listener.wait(WAIT_S) == 0
                assert courier.last_error == ""
        bodies = [json.loads(line) for line in lines if line.startswith("{")]
        assert bodies == [a_measure(number, line=number % 2 > 0).body for number in range(100)]
        for body in bodies:
            jsonschema.validate(body, closed_schema(measure_schema()))
        received = [line for line in lines if "received PUBLISH" in line]
        assert len(received) == 100
        assert all("q0, r0" in line for line in received)
    finally:
        broker.kill()
