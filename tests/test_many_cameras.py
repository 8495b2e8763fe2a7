"""How the drill of many cameras judges: which case is of which car, and what must hold (`scripts/many-cameras`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edge.core.types import NS_PER_S
from tests.bench.many_cameras import ManyCameras, Plan, Visit, match

PLAN = Plan(cameras=2, seconds=300)
CAME_NS = 100 * NS_PER_S
GOOD = ManyCameras(
    cameras=2,
    decode="keyframes",
    seconds=300.0,
    cores=2,
    start_s=10.0,
    visits=4,
    missed=0,
    false=0,
    cleared=4,
    delay_p50_s=1.0,
    delay_p99_s=2.0,
    delay_max_s=2.0,
    restarts=0,
    sent=15000,
    read=14990,
    analysed=300,
    dropped=0,
    skipped=0,
    unseen=0,
    withheld=0,
    reconnects=0,
    cpu_s_camera_minute={},
    gateway_cores=0.1,
    bench_cores=0.1,
    broker_cores=0.0,
    camera_uss_mib=(30.0, 31.0, 32.0),
    detector_uss_mib=100.0,
    uss_mib={},
)


def opened(case: str, *, camera: str = "cam-000") -> dict[str, Any]:
    return {"type": "cityeye.case.opened.v1", "data": {"case_id": case, "camera": {"id": camera}}}


def at(seconds: float) -> int:
    """So long after the first car came."""
    return CAME_NS + round(seconds * NS_PER_S)


def test_a_case_is_of_the_car_that_stood_long_enough_and_later_ones_are_of_none() -> None:
    visits = [Visit("cam-000", CAME_NS), Visit("cam-000", at(90)), Visit("cam-001", at(10))]
    told = [(at(21.5), opened("a")), (at(30), opened("b")), (at(22), opened("a")), (at(113), opened("c"))]
    assert match(visits, told, PLAN) == 1, "a second case of the first car"
    assert [visit.opened_ns for visit in visits] == [at(21.5), at(113), 0]
    assert [round(visit.delay_s(PLAN), 1) for visit in visits[:2]] == [1.5, 3.0]


def test_a_case_that_comes_long_before_it_is_due_or_from_another_camera_is_of_no_car() -> None:
    visits = [Visit("cam-000", CAME_NS)]
    assert match(visits, [(at(15), opened("early")), (at(22), opened("other", camera="cam-001"))], PLAN) == 2
    assert visits[0].opened_ns == 0


def test_whatever_must_hold_is_told_when_it_does_not() -> None:
    assert GOOD.failures() == []
    worse = {
        "missed": replace(GOOD, missed=1),
        "that no car made": replace(GOOD, false=1),
        "p99": replace(GOOD, delay_p99_s=5.0),
        "started again": replace(GOOD, restarts=1),
        "connected again": replace(GOOD, reconnects=1),
        "sent": replace(GOOD, read=14000),
        "camera's private memory": replace(GOOD, camera_uss_mib=(30.0, 40.0, 45.5)),
        "detector's": replace(GOOD, detector_uss_mib=301.0),
    }
    for word, measured in worse.items():
        assert len(measured.failures()) == 1
        assert word in measured.failures()[0]
