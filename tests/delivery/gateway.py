"""A small but real gateway: the service's way out without its cameras.

    script of cases -> Telling -> evidence on the disk -> PatientOutbox -> Database      (producer, one per camera)
    Database -> Courier -> broker                                                        (the service's own process)

Cases come by a script that begins again from the database after a SIGKILL, as a worker does from its cases; what it
tells next hangs on nothing else. A script's street may have changed meanwhile: then it tells something else.
"""

from __future__ import annotations

import bisect
import mmap
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from edge.clock import SystemClock
from edge.config.loader import Site, load_site
from edge.core.types import (
    CLEARED,
    NS_PER_S,
    OPENED,
    PENDING,
    WITHDRAWN,
    Case,
    CaseChange,
    Frame,
    Grounds,
)
from edge.delivery.message import uuid5_of
from edge.evidence.chain import SharedChain
from edge.runtime.board import SUPERVISOR_ROW, Board
from edge.runtime.health import SupervisorReport, write_report
from edge.runtime.live import PatientOutbox
from edge.runtime.telling import Telling
from edge.state.database import Database
from edge.wiring import courier_process, live
from edge.wiring.camera_models import CameraModels, eyes_of, models_of
from edge.wiring.frame_path import recorder_for, telling_for
from edge.wiring.process_order import LogSettings, ProcessOrder
from edge.wiring.upkeep import tidy_evidence

SITE, GATEWAY = "xiaohe", "gw-01"
BOOT_ID = "b0071d"
SCENARIO, ZONE = "illegal-parking", "kerb"
LANES = 3  # places at the kerb; each holds one case at a time
LIFE = 4  # alerts of a case: opened, updated, updated, over
GENERATIONS_MAX = 1 << 20
WITHDRAWN_EVERY = 3  # cases; the others are seen to end
BLIND_EVERY = 13  # alerts; the camera cannot be trusted then
PAUSE_S = 0.005
FRAME_NS = 11 * NS_PER_S  # stills are due after 10 s
SIZE_PX = (96, 64)

_SITE = """\
version: 1
site: {{id: {site}, name: 小河街道, timezone: Asia/Shanghai}}
gateway: {{id: {gateway}}}
model: yolox-nano
mqtt: {{url: {url}, redrive_s: 1, redrive_max_s: 4}}
upload: {{url: {store}}}
cameras:
"""
_CAMERA = """\
  - id: {camera}
    name: 桥弄街 3 号
    source: rtsp://127.0.0.1/{camera}
    masks: {{privacy: [[[0.0, 0.0], [0.2, 0.0], [0.2, 0.2], [0.0, 0.2]]]}}
    zones: [{{id: kerb, polygon: [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]}}]
    scenarios: [{{use: illegal-parking, zones: [kerb]}}]
"""


@dataclass(frozen=True)
class Place:
    """A gateway's configuration, read and checked, and its state folder."""

    site: Site
    models: dict[str, CameraModels]
    folder: Path
    start_wall_ns: int

    @classmethod
    def make(cls, folder: Path, *, url: str, cameras: int = 1, start_wall_ns: int) -> Place:
        folder.mkdir(parents=True, exist_ok=True)
        store = folder.parent / f"{folder.name}-store"
        store.mkdir()
        names = [f"camera-{number}" for number in range(cameras)]
        head = _SITE.format(site=SITE, gateway=GATEWAY, url=url, store=store.as_uri())
        text = head + "".join(_CAMERA.format(camera=one) for one in names)
        path = folder / "site.yaml"
        path.write_text(text, encoding="utf-8")
        site = load_site(path, environ={})
        return cls(site, models_of(site, site.config.cameras), folder, start_wall_ns)

    def at(self, folder: Path) -> Place:
        """The same gateway with another state folder."""
        return replace(self, folder=folder)

    @property
    def database(self) -> Path:
        return self.folder / "edge.db"

    @property
    def store(self) -> Path:
        """Where the courier's process brings evidence to."""
        return self.folder.parent / f"{self.folder.name}-store"


class Script:
    """What one camera sees, one alert after the other."""

    def __init__(
        self, place: Place, camera: int, *, changed: bool = False, stop: threading.Event | None = None
    ) -> None:
        """`changed`: while nobody looked, what stood at the kerb has gone: an update that was due is none."""
        self._camera = place.site.config.cameras[camera]
        self._changed = changed
        self._start_wall_ns = place.start_wall_ns
        self.database = Database.open(place.database)
        models = place.models[self._camera.id]
        nothing_sees: Callable[..., object] = lambda _model: None  # noqa: E731
        self._telling: Telling = telling_for(
            place.site,
            self._camera,
            eyes_of(self._camera, models, detector=nothing_sees, classifier=nothing_sees),  # type: ignore[arg-type]
            recorder=recorder_for(place.site, self._camera, models, root=place.folder, chain=SharedChain(place.folder)),
            outbox=PatientOutbox(self.database, stop=stop or threading.Event(), still_here=lambda _reason: None),
        )
        known = self.database.running_cases(self._camera.id)
        self._telling.resume(known)
        running = {case.case_id: case for case in known}
        self._lanes = [self._restored(lane, running) for lane in range(LANES)]

    def step(self) -> None:
        """One alert, as the worker tells it: stills of all that is there, the alert, and what a restart must know."""
        lane, frame = self._turn()
        generation = self._lanes[lane][0]
        cases = [
            one if one is not None else self._pending(row, number) for row, (number, one) in enumerate(self._lanes)
        ]
        seen = [replace(one, last_seen_ns=frame.mono_ns) for one in cases]
        self._telling.watch(seen, self._frame(frame.index, before_ns=FRAME_NS))
        self._telling.watch(seen, frame)
        change = self._change(lane, seen[lane], frame)
        blind = "covered" if frame.index % BLIND_EVERY == BLIND_EVERY - 1 else ""
        self._telling.publish([change], frame, blind=blind)
        over = change.kind in (CLEARED, WITHDRAWN)
        self._lanes[lane] = (generation + 1, None) if over else (generation, change.case)
        running = [one for row, one in enumerate(seen) if row != lane] + ([] if over else [change.case])
        self.database.save_running(self._camera.id, running)

    def close(self) -> None:
        self.database.close()

    def _restored(self, lane: int, running: dict[str, Case]) -> tuple[int, Case | None]:
        """Generation and open case of a lane; None before it is opened."""

        def is_over(generation: int) -> bool:
            known = self.database.known_case(self._case_id(lane, generation))
            return known is not None and known.state in (CLEARED, WITHDRAWN)

        generation = bisect.bisect_left(range(GENERATIONS_MAX), True, key=lambda one: not is_over(one))
        case = running.get(self._case_id(lane, generation))
        return generation, case if case is not None and case.state == OPENED else None

    def _turn(self) -> tuple[int, Frame]:
        """Whose turn it is, and the frame in which it comes: both by what was told before."""
        told = sum(number * LIFE + (0 if case is None else case.alerts) for number, case in self._lanes)
        behind = [number * LIFE + (0 if case is None else case.alerts) for number, case in self._lanes]
        return behind.index(min(behind)), self._frame(told)

    def _frame(self, index: int, *, before_ns: int = 0) -> Frame:
        bgr = np.full((SIZE_PX[1], SIZE_PX[0], 3), 90, np.uint8)
        cv2.rectangle(bgr, (20 + index % 40, 20), (60, 50), (index % 256, 40, 200), -1)
        moment_ns = (2 * index + 2) * FRAME_NS - before_ns
        return Frame(self._camera.id, index, moment_ns, self._start_wall_ns + moment_ns, bgr)

    def _case_id(self, lane: int, generation: int) -> str:
        return uuid5_of("case", self._camera.id, str(lane), str(generation))

    def _pending(self, lane: int, generation: int) -> Case:
        started_ns = self._turn_ns()
        return Case(
            case_id=self._case_id(lane, generation),
            camera=self._camera.id,
            scenario=SCENARIO,
            zone=ZONE,
            state=PENDING,
            label="car",
            score=0.8,
            count=1,
            footprint=(20.0 + lane, 20.0, 60.0, 50.0),
            appearance=np.full((8, 8), 90, np.float32),
            started_ns=started_ns,
            opened_ns=0,
            last_seen_ns=started_ns,
            visible_ns=0,
            cleared_ns=0,
            started_wall_ns=self._start_wall_ns + started_ns,
            opened_wall_ns=0,
            alerts=0,
            frame_px=SIZE_PX,
            grounds=Grounds(begun_at=(20.0, 20.0, 60.0, 50.0)),
        )

    def _turn_ns(self) -> int:
        return self._turn()[1].mono_ns - 2 * FRAME_NS

    def _change(self, lane: int, case: Case, frame: Frame) -> CaseChange:
        told = replace(case, alerts=case.alerts + 1, grounds=replace(case.grounds, told_ns=frame.mono_ns))
        if case.state == PENDING:
            opened = replace(told, state=OPENED, opened_ns=frame.mono_ns, opened_wall_ns=frame.wall_ns)
            return CaseChange(opened, OPENED, "")
        if told.alerts < LIFE and not self._changed:
            return CaseChange(told, "updated", "")
        self._changed = False
        if self._lanes[lane][0] % WITHDRAWN_EVERY == WITHDRAWN_EVERY - 1:
            return CaseChange(replace(told, state=WITHDRAWN), WITHDRAWN, "dismissed")
        return CaseChange(replace(told, state=CLEARED, cleared_ns=frame.mono_ns), CLEARED, "seen-empty")


def tidy_up(place: Place) -> None:
    """As the service does before its cameras start; a camera's process that is started alone does not."""
    live._begin_chain(place.folder)
    tidy_evidence(place.folder, now_wall_ns=SystemClock().wall_ns())


def produce(
    place: Place, camera: int, *, until: int, changed: bool = False, stop: threading.Event | None = None
) -> int:
    """Tell alerts until the gateway has `until` of them; returns the number of the last."""
    script = Script(place, camera, changed=changed, stop=stop)
    try:
        while (last := script.database.backlog().last_sequence) < until and not (stop and stop.is_set()):
            script.step()
        return last
    finally:
        script.close()


class Allowed:
    """How many alerts the gateway may tell for now; shared with the producers' processes."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)

    @property
    def alerts(self) -> int:
        return int.from_bytes(self._memory[:8], "little")

    @alerts.setter
    def alerts(self, count: int) -> None:
        self._memory[:8] = count.to_bytes(8, "little")


def produce_on(place: Place, camera: int, allowed: Allowed, *, changed: bool, stop: threading.Event) -> None:
    """Tell alerts as far as it is allowed, until `stop`."""
    script = Script(place, camera, changed=changed, stop=stop)
    while not stop.is_set():
        if script.database.backlog().last_sequence < allowed.alerts:
            script.step()
        else:
            stop.wait(PAUSE_S)
    script.close()


def board_of(place: Place) -> Board:
    """With the supervisor's word that the gateway runs, so that notices are published, too."""
    board = Board.create()
    entry = SupervisorReport(
        site=SITE,
        gateway=GATEWAY,
        software="0.1.0",
        boot_id=BOOT_ID,
        started_wall_ns=SystemClock().wall_ns(),
        config_sha256=place.site.config_sha256,
    )
    write_report(board.row(SUPERVISOR_ROW), entry)
    return board


def impatient(**courier: float) -> None:
    """The service waits for minutes where a campaign has seconds: the same parts with shorter pauses."""
    courier_process.Courier = partial(courier_process.Courier, **courier)  # type: ignore[misc,assignment]
    courier_process.MqttPublisher = partial(  # type: ignore[misc,assignment]
        courier_process.MqttPublisher, keepalive_s=2, connect_s=2
    )


def deliver(place: Place, board: Board, *, stop: threading.Event) -> None:
    """The courier's process, as the service runs it, until `stop`."""
    order = ProcessOrder(place.site, place.folder, board, 1, LogSettings())
    courier_process._run(order, stop)
