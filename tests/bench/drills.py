"""What a gateway must stand, as drills: the tests run them short, `scripts/soak` runs them long.

Each drill asserts what must hold and returns what it measured.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge.delivery.subscriber import Subscriber
from edge.errors import EdgeError
from edge.runtime.health import CameraStatus, GatewayStatus
from tests.bench.bays import LEFT, Bays, kind_of
from tests.bench.cameras import StreetCameras
from tests.bench.gateway import (
    EMPTY_ZONE,
    PARKED,
    RunningGateway,
    camera_config,
    opened,
    site_config,
    streaming,
    uss_bytes,
)
from tests.bench.streams import Recipe, Stream, make_stream
from tests.brokers import Inbox, Mosquitto
from tests.documentation import Documentation, DocumentedSubscriber

CASES_EACH = 2  # parked cars in `PARKED`
BACK_S = {"camera": 5.0, "detector": 10.0, "courier": 5.0, "forkserver": 5.0}
# There and back: a worker that ends for the third time without 30 s of life is made to wait before it is started.
KILLS = ("camera", "forkserver", "detector", "courier")
PAUSE_S = 2.0  # of the other cameras, when a worker or the courier is killed
MIB = 2**20
CAMERA_USS_MIB, DETECTOR_USS_MIB = 45.0, 300.0  # private memory of one process, at most


@dataclass
class Street:
    """Cameras, a gateway that watches them, a broker and who listens there."""

    cameras: StreetCameras
    gateway: RunningGateway
    inbox: Inbox
    documented: DocumentedSubscriber
    names: list[str]
    stream: Stream

    def check_cases(self) -> None:
        """Every camera's parked cars are found, each once."""
        found = opened(self.gateway.alerts())
        counts = {name: len(set(found.get(name, []))) for name in self.names}
        assert counts == dict.fromkeys(self.names, CASES_EACH), f"cases a camera: {counts}, alerts of each: {found}"

    def check_delivery(self, limit_s: float = 20.0) -> int:
        """What was ever stored has arrived: nothing lost, each case opened once, no gap. Returns how many alerts."""
        last = self.gateway.last_sequence()
        end_s = time.monotonic() + limit_s
        while len(self.inbox.sequences()) < last and time.monotonic() < end_s:
            time.sleep(0.1)
        arrived = {alert["id"]: alert["sequence"] for alert in self.inbox.alerts}
        assert sorted(arrived.values())[:last] == list(range(1, last + 1)), "alerts that did not arrive, or twice"
        opening = {one["id"]: one["data"]["case_id"] for one in self.inbox.alerts if kind_of(one) == "opened"}
        assert len(set(opening.values())) == len(opening), "a case that was opened twice"
        return last


@contextmanager
def street(
    folder: Path,
    media: Path,
    *,
    cameras: int,
    recipe: Recipe = PARKED,
    use: dict[str, Any] | None = None,
    own: dict[str, dict[str, Any]] | None = None,
    **site: Any,
) -> Iterator[Street]:
    """A street with so many cameras of the same view, streaming.

    `use` changes the scenario's parameters, `own` what is configured of single cameras.
    """
    stream = make_stream(folder.parent / "streams", replace(recipe, source=media / recipe.source))
    names = [f"cam-{number:02d}" for number in range(cameras)]
    inbox = Inbox()
    with ExitStack() as stack:
        street_cameras = stack.enter_context(StreetCameras())
        folder.mkdir(parents=True, exist_ok=True)
        broker = Mosquitto(folder)
        broker.start()
        stack.callback(broker.kill)
        stack.enter_context(Subscriber(broker.url, inbox, client_id="drill"))
        documented = stack.enter_context(DocumentedSubscriber(broker.port))
        configured = [camera_config(name, street_cameras.add(f"/{name}", stream)) for name in names]
        for camera in configured:
            camera["scenarios"][0].update(use or {})
            camera.update((own or {}).get(camera["id"], {}))
        gateway = RunningGateway(folder, site_config(configured, mqtt={"url": broker.url, "confirm": "puback"}, **site))
        gateway.delivered = lambda: list(inbox.alerts)
        stack.enter_context(gateway)
        gateway.wait_streaming(30 + 2 * cameras)
        yield Street(street_cameras, gateway, inbox, documented, names, stream)


# A quiet run


@dataclass(frozen=True)
class Run:
    cameras: int
    seconds: float
    analysed: int
    dropped: int
    fps_lowest: float
    alerts: int
    gateway_cpu_cores: float
    memory_mib: float
    camera_uss_mib: float  # private memory of a worker, the most of all
    detector_uss_mib: float
    stop_s: float
    stage_ms: dict[str, float]


def quiet_run(place: Street, seconds: float) -> Run:
    """So long without any trouble: every case found, every picture accounted for, an orderly end."""
    gateway = place.gateway
    begin = gateway.status()
    begin_s, begin_cpu_s = time.monotonic(), cpu_s(gateway.session())
    time.sleep(seconds)
    status = gateway.status()
    elapsed_s, used_s = time.monotonic() - begin_s, cpu_s(gateway.session()) - begin_cpu_s
    memory, _ = gateway.memory_bytes()
    uss_mib = {
        kind: max(uss_bytes(one.pid) for one in status.processes if one.kind == kind) / MIB
        for kind in ("camera", "detector")
    }
    assert uss_mib["camera"] < CAMERA_USS_MIB, uss_mib
    assert uss_mib["detector"] < DETECTOR_USS_MIB, uss_mib
    assert streaming(status) == len(place.names), [camera.report for camera in status.cameras]
    assert [entry for entry in status.processes if entry.restarts] == []
    for camera in status.cameras:
        check_accounts(camera)
    pushed = {name: place.cameras.stats(f"/{name}")["pushed"] for name in place.names}
    read = {camera.camera: camera.report.read for camera in gateway.status().cameras}
    assert all(read[name] >= 0.97 * pushed[name] - 2 * place.stream.fps for name in place.names), (read, pushed)
    place.check_cases()
    alerts = place.check_delivery()
    analysed = {camera.camera: camera.report.analysed for camera in begin.cameras}
    rates = [(camera.report.analysed - analysed[camera.camera]) / elapsed_s for camera in status.cameras]
    stop_s = gateway.stop()
    assert stop_s < 10
    check_nothing_left(gateway)
    check_documented(place, alerts)
    return Run(
        cameras=len(place.names),
        seconds=round(elapsed_s, 1),
        analysed=sum(camera.report.analysed for camera in status.cameras),
        dropped=sum(camera.report.dropped for camera in status.cameras),
        fps_lowest=round(min(rates), 2),
        alerts=alerts,
        gateway_cpu_cores=round(used_s / elapsed_s, 2),
        memory_mib=round(memory / MIB, 1),
        camera_uss_mib=round(uss_mib["camera"], 1),
        detector_uss_mib=round(uss_mib["detector"], 1),
        stop_s=round(stop_s, 2),
        stage_ms=mean_stages_ms(status.cameras),
    )


def check_accounts(camera: CameraStatus) -> None:
    """Every picture that was due was looked at, dropped or unseen; one may be on its way between the threads."""
    report = camera.report
    told = report.analysed + report.dropped + report.unseen + report.queue
    assert 0 <= report.taken - told <= 1, f"{camera.camera}: {report.taken} due, {told} accounted for: {report}"


def check_documented(place: Street, alerts: int) -> None:
    """Who knows only the documentation could read all that the gateway has published."""
    gone = f"cityeye/v1/{place.gateway.site['site']['id']}/{place.gateway.site['gateway']['id']}/status"
    assert place.documented.wait_for(lambda heard: any(topic == gone and "stopped" in body for topic, body in heard))
    counts = place.documented.check(Documentation())
    print(f"documented: {dict(counts)}")
    assert counts["status"] >= 2
    assert counts["health"] >= len(place.names)
    assert counts["alert"] >= alerts


def check_nothing_left(gateway: RunningGateway, limit_s: float = 5.0) -> float:
    """No process of the gateway lives; returns how long that took."""
    begin_s = time.monotonic()
    while gateway.session():
        assert time.monotonic() - begin_s < limit_s, f"processes left after {limit_s} s: {gateway.session()}"
        time.sleep(0.02)
    return time.monotonic() - begin_s


def mean_stages_ms(cameras: Sequence[CameraStatus]) -> dict[str, float]:
    """Wall milliseconds a picture, over all cameras."""
    total_s: dict[str, float] = {}
    count: dict[str, int] = {}
    for camera in cameras:
        for stage, wall_s in camera.report.stage_s.items():
            total_s[stage] = total_s.get(stage, 0.0) + wall_s
            count[stage] = count.get(stage, 0) + camera.report.stage_count[stage]
    return {stage: round(1000 * total_s[stage] / max(count[stage], 1), 2) for stage in total_s}


def cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds of these processes so far."""
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


# Kills


@dataclass(frozen=True)
class Kill:
    kind: str
    back_s: float  # until its work was done again
    pause_s: float  # the longest that any other camera was not looked at


class Watcher:
    """Looks at the gateway ten times a second, and knows when each camera was last analysed."""

    def __init__(self, gateway: RunningGateway) -> None:
        self._gateway = gateway
        self._end = threading.Event()
        self._seen: dict[str, tuple[int, float]] = {}
        self._pauses: dict[str, float] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def reset(self) -> None:
        with self._lock:
            self._pauses = {}

    def longest_pause_s(self, *, but: str) -> float:
        with self._lock:
            return max((pause_s for name, pause_s in self._pauses.items() if name != but), default=0.0)

    def close(self) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.1):
            try:
                status = self._gateway.status()
            except EdgeError:
                continue
            now_s = time.monotonic()
            with self._lock:
                for camera in status.cameras:
                    analysed = camera.report.analysed
                    before, since_s = self._seen.get(camera.camera, (analysed, now_s))
                    self._pauses[camera.camera] = max(self._pauses.get(camera.camera, 0.0), now_s - since_s)
                    self._seen[camera.camera] = (analysed, now_s if analysed != before else since_s)


@dataclass(frozen=True)
class Kills:
    kills: list[Kill]
    appearances: int  # of a car, each told as one case, opened once and cleared once
    alerts: int  # that arrived, by id


def kill_drill(folder: Path, media: Path, *, rounds: int, apart_s: float) -> Kills:
    """SIGKILL in turn to a worker, the detector, the courier and the forkserver; each must be back in its time.

    Meanwhile cars come and go, and each kill falls about when a case is to be opened: none is lost, none told twice.
    """
    with street(folder, media, cameras=4, use={"repeat_s": 3}) as place:
        left = make_stream(folder.parent / "streams", replace(PARKED, source=media / PARKED.source, view=LEFT))
        bays = Bays(place.cameras, place.inbox, place.names, taken=place.stream, left=left)
        bays.start()
        kills = _kills(place, bays, rounds=rounds, apart_s=apart_s)
        place.gateway.wait_streaming(10)
        return Kills(kills, bays.finish(), place.check_delivery())


def _kills(place: Street, bays: Bays, *, rounds: int, apart_s: float) -> list[Kill]:
    watcher, chance, victim = Watcher(place.gateway), random.Random(3), ""
    kills = []
    try:
        for turn in range(rounds):
            for kind in KILLS if turn % 2 == 0 else reversed(KILLS):
                begin_s = time.monotonic()
                camera, due_s = bays.camera_to_open(but=victim)
                victim = camera if kind == "camera" else victim
                # Pictures come from the next keyframe on, half a second apart, and evidence takes its time, too.
                time.sleep(min(due_s + chance.uniform(0, 3), apart_s))
                kills.append(_kill(place, kind, camera, watcher))
                print(f"  {kills[-1]}", flush=True)
                time.sleep(max(apart_s - (time.monotonic() - begin_s), 0))
    finally:
        watcher.close()
    return kills


def _kill(place: Street, kind: str, camera: str, watcher: Watcher) -> Kill:
    gateway = place.gateway
    before = gateway.status()
    pid = (
        gateway.forkserver() if kind == "forkserver" else gateway.entry(kind, camera if kind == "camera" else None).pid
    )
    watcher.reset()
    os.kill(pid, signal.SIGKILL)
    back_s = gateway.wait_until(
        lambda status: _is_back(status, before, kind, camera), BACK_S[kind], f"{kind} is back after its kill"
    )
    time.sleep(1.5)  # a pause shows when it ends
    pause_s = watcher.longest_pause_s(but=camera)
    if kind in ("camera", "courier"):
        assert pause_s <= PAUSE_S, f"another camera paused for {pause_s:.1f} s when {kind} was killed"
    return Kill(kind, round(back_s, 2), round(pause_s, 2))


def _is_back(status: GatewayStatus, before: GatewayStatus, kind: str, camera: str) -> bool:
    pids = {(entry.kind, entry.name): entry.pid for entry in before.processes}
    fresh = {entry.name for entry in status.processes if entry.pid not in (0, pids[entry.kind, entry.name])}
    analysed = {one.camera: one.report.analysed for one in before.cameras}
    if kind == "camera":
        return any(one.camera == camera and one.camera in fresh and _works(one, analysed) for one in status.cameras)
    if kind == "forkserver":
        return all(one.camera in fresh and _works(one, analysed) for one in status.cameras)
    if kind == "detector":
        detector = status.detectors[0]
        return detector.process.name in fresh and detector.report.pictures >= len(status.cameras)
    return "mqtt" in fresh and status.courier is not None and status.courier.connected


def _works(camera: CameraStatus, analysed: dict[str, int]) -> bool:
    """The one that was killed may have looked at a picture or two since it was asked."""
    return camera.report.state == "streaming" and camera.report.analysed > analysed[camera.camera] + 2


# Memory


@dataclass
class Memory:
    minutes: float
    reconnects: int
    first_mib: float
    last_mib: float
    growth: float
    own_growth: float  # of what is no file's
    descriptors: tuple[int, int]
    samples_mib: list[float] = field(default_factory=list)


def memory_drill(place: Street, *, warm_up_s: float, seconds: float, every_s: float = 2.0) -> Memory:
    """A camera loses its connection every `every_s`; memory and descriptors must stay as they are after warm-up."""
    gateway, chance = place.gateway, random.Random(1)
    shared = sorted(os.listdir("/dev/shm"))
    samples: list[tuple[int, int]] = []
    begin_s = time.monotonic()
    descriptors = 0
    while (age_s := time.monotonic() - begin_s) < warm_up_s + seconds:
        place.cameras.drop(f"/{chance.choice(place.names)}")
        time.sleep(every_s)
        if age_s >= warm_up_s:
            descriptors = descriptors or _quiet_descriptors(place)
            samples.append(gateway.memory_bytes())
    third = max(len(samples) // 3, 1)
    (first, own_first), (last, own_last) = (
        [statistics.mean(sizes) for sizes in zip(*part, strict=True)] for part in (samples[:third], samples[-third:])
    )
    status = gateway.status()
    assert [entry for entry in status.processes if entry.restarts] == [], "a process was started again"
    result = Memory(
        minutes=round(seconds / 60, 1),
        reconnects=sum(camera.report.reconnects for camera in status.cameras),
        first_mib=round(first / MIB, 1),
        last_mib=round(last / MIB, 1),
        growth=round(last / first - 1, 4),
        own_growth=round(own_last / own_first - 1, 4),
        descriptors=(descriptors, _quiet_descriptors(place)),
        samples_mib=[round(size / MIB, 1) for size, _ in samples[:: max(len(samples) // 20, 1)]],
    )
    assert sorted(os.listdir("/dev/shm")) == shared, "a segment of shared memory was left"
    place.check_cases()
    return result


def _quiet_descriptors(place: Street) -> int:
    """With every camera connected, the middle of some readings: one that is not holds another number."""
    readings: list[int] = []
    end_s = time.monotonic() + 30
    while len(readings) < 9:
        assert time.monotonic() < end_s, f"the cameras do not stay connected: {readings}"
        place.gateway.wait_streaming(20)
        time.sleep(0.3)
        count = place.gateway.descriptors()
        if streaming(place.gateway.status()) == len(place.names):
            readings.append(count)
    return statistics.median_low(readings)


# Damage


@dataclass(frozen=True)
class Damage:
    units: int
    mutated: int
    withheld: int
    analysed: int
    restarts: int
    seconds: float


DAMAGE_ZONES = {"empty": EMPTY_ZONE}
DAMAGES = ("bitflip", "truncate", "reorder")


def damage_drill(folder: Path, media: Path, *, mutated: int, pace: float = 10.0, limit_s: float = 240.0) -> Damage:
    """Cameras whose access units are damaged on the way, and one sound camera beside them: no wrong case, no crash."""
    streams = [
        make_stream(folder.parent / "streams", replace(PARKED, source=media / PARKED.source, codec=codec))
        for codec in ("h264", "h265", "h264", "h265")
    ]
    with StreetCameras() as cameras:
        damaged = [f"bad-{number}" for number in range(len(streams))]
        urls = [cameras.add(f"/{name}", stream, pace=pace) for name, stream in zip(damaged, streams, strict=True)]
        configured = [
            camera_config(name, url, zones=DAMAGE_ZONES, fps=5) for name, url in zip(damaged, urls, strict=True)
        ]
        configured.append(camera_config("sound", cameras.add("/sound", streams[0])))
        with RunningGateway(folder, site_config(configured)) as gateway:
            gateway.wait_streaming(40)
            begin_s = time.monotonic()
            for number, name in enumerate(damaged):
                cameras.corrupt(f"/{name}", seed=number, kinds=list(DAMAGES), probability=0.3)
            while (done := sum(cameras.stats(f"/{name}")["mutated"] for name in damaged)) < mutated:
                assert time.monotonic() - begin_s < limit_s, f"only {done} of {mutated} units damaged in {limit_s} s"
                time.sleep(0.5)
            seconds = time.monotonic() - begin_s
            for name in damaged:
                cameras.clean(f"/{name}")
            gateway.wait_streaming(30)
            time.sleep(6)
            status = gateway.status()
            found = opened(gateway.alerts())
            assert set(found) == {"sound"}, f"cases in an empty zone: {found}"
            assert len(set(found["sound"])) == CASES_EACH
            sound = [entry for entry in status.processes if not entry.name.startswith("bad-")]
            assert [entry for entry in sound if entry.restarts] == []
            bad = [camera for camera in status.cameras if camera.camera in damaged]
            return Damage(
                units=sum(cameras.stats(f"/{name}")["pushed"] for name in damaged),
                mutated=done,
                withheld=sum(camera.report.withheld for camera in bad),
                analysed=sum(camera.report.analysed for camera in bad),
                restarts=sum(camera.process.restarts for camera in bad),
                seconds=round(seconds, 1),
            )
