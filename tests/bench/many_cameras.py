"""Many live cameras on one gateway, each with cases whose true times are known: how far a machine goes.

Every camera shows the same street: a bay that is empty, and a car that comes, stays and leaves, each camera at its own
times. All cameras send from the same encoded buffers; the server stands on the same machine and is measured apart.
"""

from __future__ import annotations

import heapq
import itertools
import os
import statistics
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.types import NS_PER_S
from edge.delivery.subscriber import Subscriber
from edge.runtime.health import GatewayStatus
from tests.bench.bays import kind_of
from tests.bench.cameras import StreetCameras
from tests.bench.drills import CAMERA_USS_MIB, DETECTOR_USS_MIB, MIB, check_accounts, cpu_s
from tests.bench.gateway import PARKED, PARKED_ZONES, RunningGateway, camera_config, site_config, uss_bytes
from tests.bench.streams import Recipe, Stream, make_stream
from tests.brokers import Inbox, Mosquitto

# The clip scaled up to what cameras send: 1920x1080 at 25 pictures a second, a keyframe every two, 4 Mbit/s.
FULL_HD = replace(PARKED, width=1920, height=1080, fps=25, group_s=2.0, kbit_s=4000)
# Bricks in the place of the car, as bays.LEFT, three times as large.
_EMPTY = "split[here][there];[there]crop=222:240:1116:300[bricks];[here][bricks]overlay=1374:135"
COMES_AFTER_S = (0.3, 0.8, 1.3, 1.8)  # a keyframe: a car does not wait for one
_ZONE = "corner"
_BETWEEN_S = 4.0  # from when a car has come to the endless view of it: less than the ten seconds of its coming


@dataclass(frozen=True)
class Plan:
    """When cars come and go. Cameras are spread evenly over a period."""

    cameras: int
    seconds: float
    after_s: float = 20.0  # dwell until a case
    stays_s: float = 45.0
    period_s: float = 90.0  # from one car of a camera to its next
    decode: str = "keyframes"
    fps: float = 5.0


@dataclass
class Visit:
    """A car that stood in a camera's bay; monotonic nanoseconds."""

    camera: str
    came_ns: int
    opened_ns: int = 0  # when a subscriber had the alert; 0 for never

    def delay_s(self, plan: Plan) -> float:
        return self.due_s(self.opened_ns, plan)

    def due_s(self, moment_ns: int, plan: Plan) -> float:
        """How long its case has been due at a moment."""
        return (moment_ns - self.came_ns) / NS_PER_S - plan.after_s

    def explains(self, camera: str, moment_ns: int, plan: Plan) -> bool:
        """Whether a case that was told then can be of this car: a second early at most, and before the next one."""
        return self.camera == camera and -1.0 <= self.due_s(moment_ns, plan) < plan.period_s - plan.after_s


@dataclass(frozen=True)
class ManyCameras:
    """What was measured. CPU seconds are of user and system together; sizes are of private memory (USS)."""

    cameras: int
    decode: str
    seconds: float
    cores: int
    start_s: float  # until every camera was streaming
    visits: int
    missed: int
    false: int  # cases that no car made, or told twice
    cleared: int
    delay_p50_s: float  # from when a car has stood for `after_s` until a subscriber has the alert
    delay_p99_s: float
    delay_max_s: float
    restarts: int
    sent: int  # pictures, by all cameras
    read: int
    analysed: int
    dropped: int
    skipped: int
    unseen: int
    withheld: int
    reconnects: int
    cpu_s_camera_minute: dict[str, float]  # by kind of process, and of all of the gateway
    gateway_cores: float
    bench_cores: float  # of the RTSP server
    broker_cores: float
    camera_uss_mib: tuple[float, float, float]  # of one: least, median, most
    detector_uss_mib: float
    uss_mib: dict[str, float]  # sums by kind

    def failures(self, *, delay_s: float = 5.0) -> list[str]:
        """What must hold and does not."""
        wrong = []
        if self.missed or self.false:
            wrong.append(f"{self.missed} of {self.visits} cases missed, {self.false} that no car made")
        if self.delay_p99_s >= delay_s:
            wrong.append(f"p99 of the alert delay is {self.delay_p99_s} s")
        if self.restarts:
            wrong.append(f"{self.restarts} processes were started again")
        if self.reconnects:
            wrong.append(f"{self.reconnects} cameras were connected again")
        if self.read < 0.99 * self.sent:
            wrong.append(f"{self.sent} pictures sent, {self.read} read")
        if self.camera_uss_mib[-1] >= CAMERA_USS_MIB:
            wrong.append(f"a camera's private memory is {self.camera_uss_mib[-1]} MiB")
        if self.detector_uss_mib >= DETECTOR_USS_MIB:
            wrong.append(f"the detector's private memory is {self.detector_uss_mib} MiB")
        return wrong


class _Timed(Inbox):
    """Knows when each alert arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: list[tuple[int, dict[str, Any]]] = []

    def __call__(self, topic: str, alert: dict[str, Any]) -> None:
        self.arrived.append((time.monotonic_ns(), alert))
        super().__call__(topic, alert)


def many_cameras(folder: Path, media: Path, plan: Plan, *, streams: Path | None = None) -> ManyCameras:
    """Run them and measure. `streams` keeps what was encoded for the next time."""
    views = _Views.make(streams or folder / "streams", media)
    names = [f"cam-{number:03d}" for number in range(plan.cameras)]
    inbox = _Timed()
    with ExitStack() as stack:
        cameras = stack.enter_context(StreetCameras())
        folder.mkdir(parents=True, exist_ok=True)
        broker = Mosquitto(folder)
        broker.start()
        stack.callback(broker.kill)
        stack.enter_context(Subscriber(broker.url, inbox, client_id="drill"))
        configured = [
            camera_config(
                name,
                cameras.add(f"/{name}", views.empty),
                fps=plan.fps,
                after_s=plan.after_s,
                zones={_ZONE: PARKED_ZONES[_ZONE]},
                frozen_after_s=3600,  # ten keyframes that come again and again are a recorded loop
            )
            for name in names
        ]
        for camera in configured:
            camera["sampling"]["decode"] = plan.decode
        site = site_config(configured, mqtt={"url": broker.url, "confirm": "puback"})
        gateway = RunningGateway(folder, site)
        gateway.delivered = lambda: list(inbox.alerts)
        stack.enter_context(gateway)
        start_s = gateway.wait_streaming(60 + 3 * plan.cameras)
        street = _Street(cameras, gateway, broker.pid, views, names)
        return _run(street, plan, inbox, start_s)


@dataclass(frozen=True)
class _Views:
    empty: Stream
    comes: tuple[Stream, ...]  # the car is there from COMES_AFTER_S on
    taken: Stream

    @classmethod
    def make(cls, folder: Path, media: Path) -> _Views:
        recipe: Recipe = replace(FULL_HD, source=media / FULL_HD.source)
        comes = [
            replace(recipe, there_and_back=False, view=f"{_EMPTY}:enable='lt(t,{after_s - 0.02:.2f})'")
            for after_s in COMES_AFTER_S
        ]
        return cls(
            make_stream(folder, replace(recipe, view=_EMPTY)),
            tuple(make_stream(folder, coming) for coming in comes),
            make_stream(folder, recipe),
        )


@dataclass(frozen=True)
class _Street:
    cameras: StreetCameras
    gateway: RunningGateway
    broker_pid: int
    views: _Views
    names: Sequence[str]


def _run(street: _Street, plan: Plan, inbox: _Timed, start_s: float) -> ManyCameras:
    gateway = street.gateway
    traffic = _Traffic(street, plan)
    begin_s, before = time.monotonic(), _Meter.read(street)
    traffic.start()
    time.sleep(plan.seconds)
    elapsed_s, after = time.monotonic() - begin_s, _Meter.read(street)
    visits = traffic.finish()
    status = gateway.status()
    for camera in status.cameras:
        check_accounts(camera)
    false = match(visits, inbox.arrived, plan)
    delays_s = [visit.delay_s(plan) for visit in visits if visit.opened_ns] or [float("inf")]
    uss = _uss_mib(gateway)
    per_camera = [size for kind, size in uss if kind == "camera"]
    reports = [camera.report for camera in after.status.cameras]
    earlier = [camera.report for camera in before.status.cameras]
    minutes = plan.cameras * elapsed_s / 60
    used_s = {kind: after.cpu_s[kind] - before.cpu_s.get(kind, 0.0) for kind in after.cpu_s}
    served = {kind: used_s.pop(kind) for kind in ("bench", "broker")}
    total_s = sum(used_s.values())

    def counted(name: str) -> int:
        return int(sum(getattr(report, name) for report in reports) - sum(getattr(report, name) for report in earlier))

    return ManyCameras(
        cameras=plan.cameras,
        decode=plan.decode,
        seconds=round(elapsed_s, 1),
        cores=os.cpu_count() or 0,
        start_s=round(start_s, 1),
        visits=len(visits),
        missed=sum(not visit.opened_ns for visit in visits),
        false=false,
        cleared=sum(kind_of(alert) == "cleared" for _, alert in inbox.arrived),
        delay_p50_s=round(float(np.percentile(delays_s, 50)), 2),
        delay_p99_s=round(float(np.percentile(delays_s, 99)), 2),
        delay_max_s=round(max(delays_s), 2),
        restarts=sum(entry.restarts for entry in status.processes),
        sent=after.sent - before.sent,
        read=counted("read"),
        analysed=counted("analysed"),
        dropped=counted("dropped"),
        skipped=counted("skipped"),
        unseen=counted("unseen"),
        withheld=counted("withheld"),
        reconnects=counted("reconnects"),
        cpu_s_camera_minute={kind: round(s / minutes, 3) for kind, s in used_s.items()}
        | {"all": round(total_s / minutes, 3)},
        gateway_cores=round(total_s / elapsed_s, 3),
        bench_cores=round(served["bench"] / elapsed_s, 3),
        broker_cores=round(served["broker"] / elapsed_s, 3),
        camera_uss_mib=(min(per_camera), statistics.median(per_camera), max(per_camera)),
        detector_uss_mib=max(size for kind, size in uss if kind == "detector"),
        uss_mib=_sums(uss),
    )


def match(visits: Sequence[Visit], arrived: Sequence[tuple[int, dict[str, Any]]], plan: Plan) -> int:
    """Give each visit the first alert of its case; returns how many cases no visit made."""
    known: set[str] = set()
    false = 0
    for arrived_ns, alert in arrived:
        case = alert["data"]["case_id"]
        if kind_of(alert) != "opened" or case in known:
            continue
        known.add(case)
        its = [visit for visit in visits if visit.explains(alert["data"]["camera"]["id"], arrived_ns, plan)]
        if its and not its[-1].opened_ns:
            its[-1].opened_ns = arrived_ns
        else:
            false += 1
    return false


class _Traffic:
    """Lets cars come and go in a thread of its own. A car comes only where its case can still be told."""

    def __init__(self, street: _Street, plan: Plan) -> None:
        self._street = street
        self._plan = plan
        self._visits: list[Visit] = []
        self._ends = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._drive, name="traffic", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> list[Visit]:
        self._ends.set()
        self._thread.join(30)
        assert self._failure is None, self._failure
        assert not self._thread.is_alive(), "the traffic does not end"
        return self._visits

    def _drive(self) -> None:
        try:
            for due_s, what, name in self._timetable():
                if self._ends.wait(max(due_s - time.monotonic(), 0)):
                    return
                self._switch(what, name)
        except (AssertionError, ValueError, OSError) as error:
            self._failure = error

    def _timetable(self) -> list[tuple[float, str, str]]:
        plan, begin_s = self._plan, time.monotonic()
        turns: list[tuple[float, str, str]] = []
        for row, name in enumerate(self._street.names):
            for turn in itertools.count():
                comes_s = (turn + row / plan.cameras) * plan.period_s
                if comes_s + plan.stays_s > plan.seconds:
                    break
                heapq.heappush(turns, (begin_s + comes_s, "comes", name))
                heapq.heappush(turns, (begin_s + comes_s + _BETWEEN_S, "taken", name))
                heapq.heappush(turns, (begin_s + comes_s + plan.stays_s, "leaves", name))
        return [heapq.heappop(turns) for _ in range(len(turns))]

    def _switch(self, what: str, name: str) -> None:
        cameras, views, path = self._street.cameras, self._street.views, f"/{name}"
        which = len(self._visits) % len(views.comes)
        if what == "comes":
            cameras.switch(path, views.comes[which], drop=False)
            self._visits.append(Visit(name, round(COMES_AFTER_S[which] * NS_PER_S)))  # its keyframe is not known yet
        elif what == "taken":
            visit = next(visit for visit in reversed(self._visits) if visit.camera == name)
            visit.came_ns += cameras.stats(path)["switched_ns"]
            cameras.switch(path, views.taken, drop=False)
        else:
            cameras.switch(path, views.empty, drop=False)


@dataclass(frozen=True)
class _Meter:
    """What counts up, read at one moment."""

    status: GatewayStatus
    cpu_s: dict[str, float]  # by kind of process
    sent: int

    @classmethod
    def read(cls, street: _Street) -> _Meter:
        status = street.gateway.status()
        used: dict[str, float] = defaultdict(float)
        for kind, pid in _kinds(street.gateway, status):
            used[kind] += cpu_s([pid])
        used |= {"bench": cpu_s([street.cameras.pid]), "broker": cpu_s([street.broker_pid])}
        return cls(status, used, sum(street.cameras.stats(f"/{name}")["pushed"] for name in street.names))


def _kinds(gateway: RunningGateway, status: GatewayStatus) -> list[tuple[str, int]]:
    """Every process of the gateway with what it is."""
    known = {entry.pid: entry.kind for entry in status.processes} | {gateway.pid: "supervisor"}
    return [(known.get(pid, "forkserver"), pid) for pid in gateway.session()]


def _uss_mib(gateway: RunningGateway) -> list[tuple[str, float]]:
    return [(kind, round(uss_bytes(pid) / MIB, 1)) for kind, pid in _kinds(gateway, gateway.status())]


def _sums(sizes: Sequence[tuple[str, float]]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for kind, size in sizes:
        total[kind] += round(size)
    return dict(total)
