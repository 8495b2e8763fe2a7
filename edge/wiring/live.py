"""The service: from a configuration to the processes that the supervisor keeps running.

Kept light: the supervisor loads neither decoders nor models. What a process does is in `<kind>_process.py` beside this.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import resource
import signal
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from edge import __version__, logs
from edge.clock import SystemClock
from edge.config.cautions import cautions_of
from edge.config.delivery import BridgesConfig
from edge.config.loader import Site, load_site
from edge.config.models import CameraConfig
from edge.core.types import NS_PER_S
from edge.detect.manifest import ModelManifest
from edge.errors import EvidenceError, OutputError, StateError
from edge.evidence.chain import SharedChain, read_head
from edge.evidence.keys import gateway_key
from edge.runtime.board import Board
from edge.runtime.detector import DetectorLink
from edge.runtime.headroom import check_memory
from edge.runtime.health import (
    BROKER,
    CAMERA,
    CONSOLE,
    COURIER,
    DETECTOR,
    SupervisorReport,
    as_document,
    gateway_status,
)
from edge.runtime.process import Child, end_own_children, limited, sole_holder
from edge.runtime.status_socket import StatusSocket
from edge.runtime.supervisor import Gateway, Plan, Supervisor
from edge.runtime.systemd import Notifier
from edge.state.database import DamagedError, Database
from edge.wiring.camera_models import CameraModels
from edge.wiring.credentials import check_credentials
from edge.wiring.frame_path import check_models
from edge.wiring.process_order import DATABASE, GATEWAY_LOCK, LogSettings, ProcessOrder
from edge.wiring.upkeep import Upkeep, tidy_evidence
from edge.wiring.withdrawal import withdraw_cases

log = logging.getLogger(__name__)

FORKSERVER = multiprocessing.get_context("forkserver")
SPAWN = multiprocessing.get_context("spawn")
# In this order. A new process runs the program's main module again, and all that this imports.
PRELOADED = ("edge.wiring.camera_process", "edge.wiring.live", "edge.cli.run", "edge.cli.main", "edge.wiring.shared")
# Every process is one of many: none may take a core for each of its libraries.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

_HANG_S = {CAMERA: 10.0, DETECTOR: 15.0, COURIER: 45.0, CONSOLE: 30.0, BROKER: 30.0}
_WORKER_BYTES = 38_000_000  # of a camera's process alone at 1080p, without its reel: scripts/many-cameras measures it
_ENGINE_S = 900.0  # TensorRT builds an engine for each new input size, inside one call
_STOP_ORDER = {CAMERA: 0, DETECTOR: 1, CONSOLE: 1, COURIER: 2, BROKER: 3}
DESCRIPTORS = 65_536  # as in the unit file
FORK_S = 20.0  # for the forkserver to answer, which loads its libraries first; systemd waits for 30
_BUSY_S = 1.0  # for a database that others write
_WATCH_NS = 2_000_000_000  # how often the file is looked at, and how long it must then stay as it is


def run_gateway(config: Path, *, folder: Path, environ: Mapping[str, str], log_settings: LogSettings) -> None:
    """Run the service until SIGTERM or SIGINT. Raises EdgeError when it cannot begin."""
    os.environ.update(ONE_THREAD)
    _allow_descriptors()
    site = load_site(config, environ=environ)
    logs.set_up(process="supervisor", level=log_settings.level, form=log_settings.form, secrets=site.secrets)
    with _state(folder), sole_holder(folder / GATEWAY_LOCK, what="this state folder"):
        _begin_chain(folder)
        tidy_evidence(folder, now_wall_ns=SystemClock().wall_ns())
        set_aside = _make_database(folder / DATABASE, wall_ns=SystemClock().wall_ns())
        board, clock = Board.create(), SystemClock()
        fleet = Fleet(config, folder=folder, environ=environ, board=board, clock=clock, log_settings=log_settings)
        fleet.set_aside = set_aside
        first = fleet.start_with(site)
        FORKSERVER.set_forkserver_preload(list(PRELOADED))

        def snapshot() -> dict[str, Any]:
            return as_document(gateway_status(board, mono_ns=clock.mono_ns(), wall_ns=clock.wall_ns()))

        window = StatusSocket(folder, snapshot)
        try:
            supervisor = Supervisor(
                board=board, configuration=fleet, first=first, notifier=Notifier(), window=window, clock=clock
            )
            _hear_signals(supervisor)
            supervisor.run()
        finally:
            window.close()
            fleet.close()
            end_own_children()


class Fleet:
    """What is to run by the configuration file, and the shared memory of what runs. One for a service."""

    def __init__(
        self,
        config: Path,
        *,
        folder: Path,
        environ: Mapping[str, str],
        board: Board,
        clock: SystemClock,
        log_settings: LogSettings,
    ) -> None:
        self._config = config
        self._folder = folder
        self._environ = environ
        self._board = board
        self._clock = clock
        self._log_settings = log_settings
        self._upkeep = Upkeep(folder, clock=clock)
        self._untold: Site | None = None  # whose removed cameras' cases are still to be withdrawn
        self._links: dict[ModelManifest, DetectorLink] = {}  # a manifest that was edited is another model
        self._running: frozenset[str] = frozenset()  # cameras that have their memory already
        self.set_aside = ""  # the name of a damaged database that was replaced at the start
        self._boot_id = str(uuid.uuid4())
        self._started_wall_ns = clock.wall_ns()
        self._loaded = self._seen = _signature(config)
        self._looked_ns = clock.mono_ns()

    def changed(self) -> bool:
        """Whether the file is another one, and has been left alone for two seconds."""
        now_ns = self._clock.mono_ns()
        if now_ns - self._looked_ns < _WATCH_NS:
            return False
        self._looked_ns = now_ns
        self._withdraw()
        before, self._seen = self._seen, _signature(self._config)
        return self._seen == before != self._loaded

    def load(self) -> Gateway:
        self._loaded = self._seen = _signature(self._config)
        return self.start_with(load_site(self._config, environ=self._environ))

    def start_with(self, site: Site) -> Gateway:
        """The plans of a configuration. Raises EdgeError where it cannot be run, and then nothing has changed."""
        watched = check_models(site)
        credentials = check_credentials(site)
        for caution in cautions_of(site):
            log.warning("%s", caution)
        self._check_memory(site, watched)
        manifests = list(dict.fromkeys(model.manifest for models in watched.values() for model in models))
        for manifest in manifests:
            if manifest not in self._links:
                self._links[manifest] = DetectorLink()
        plans = [
            *self._service_plans(site, credentials),
            *(self._detector_plan(site, manifest, name) for manifest, name in _names(manifests)),
            *(self._camera_plan(site, camera, watched[camera.id]) for camera in site.config.cameras),
        ]
        return Gateway(
            plans, self._identity(site), taken=lambda: self._tidy(site, watched), kept=lambda: self._upkeep.kept
        )

    def _tidy(self, site: Site, watched: Mapping[str, CameraModels]) -> None:
        """A configuration is in force: what only an earlier one needed is given back, and its cases are withdrawn."""
        needed = {(model.manifest, camera) for camera, models in watched.items() for model in models}
        for manifest, link in list(self._links.items()):
            for camera in link.cameras:
                if (manifest, camera) not in needed:
                    link.remove(camera)
            if all(manifest != other for other, _ in needed):
                link.close()
                del self._links[manifest]
        self._running = frozenset(watched)
        self._untold = site
        self._withdraw()
        self._upkeep.go_on_with(site)

    def _withdraw(self) -> None:
        """The outbox's bound, and the cases of cameras that are gone; where the database fails, again in a while."""
        if self._untold is None:
            return
        try:
            with Database.open(self._folder / DATABASE, busy_s=_BUSY_S) as database:
                bound = self._untold.config.outbox
                database.bound_outbox(alerts_max=bound.alerts_max, bytes_max=bound.mb_max * 1_000_000)
                told = withdraw_cases(self._untold, database, clock=self._clock)
        except StateError as error:
            log.error("cases of cameras that were removed are not withdrawn yet: %s", error)
        else:
            self._untold = None
            if told:
                log.info("%d open cases of cameras that are no longer configured were withdrawn", told)

    def close(self) -> None:
        self._upkeep.close()
        for link in self._links.values():
            link.close()

    def _identity(self, site: Site) -> SupervisorReport:
        return SupervisorReport(
            site=site.config.site.id,
            gateway=site.config.gateway.id,
            software=__version__,
            boot_id=self._boot_id,
            started_wall_ns=self._started_wall_ns,
            config_path=str(self._config),
            config_sha256=site.config_sha256,
            set_aside=self.set_aside,
        )

    def _check_memory(self, site: Site, watched: Mapping[str, CameraModels]) -> None:
        """Room for what is not there yet: a clear word now, not a killed process later."""
        wanted = 0
        for camera in site.config.cameras:
            if camera.id not in self._running:
                reels = 1 + (camera.evidence_source is not None)
                wanted += _WORKER_BYTES + round(reels * site.config.evidence.clip_mb * 1_000_000)
            for model in watched[camera.id]:
                link = self._links.get(model.manifest)
                if link is None or not link.knows(camera.id, model.size_class):
                    wanted += model.size_class.slot_bytes
        check_memory(wanted, purpose=f"{len(watched)} cameras")

    # One plan a process

    def _service_plans(self, site: Site, credentials: str) -> Iterator[Plan]:
        """`credentials`: a fingerprint of the files that the courier logs in with."""
        mqtt = site.config.mqtt
        if mqtt is not None and mqtt.embedded:
            yield self._plan(BROKER, "embedded", self._runs(SPAWN, "broker_process", site), of="")
        if mqtt is not None:
            config = site.config
            known = config.cameras if config.bridges != BridgesConfig() else ()  # what others are told of them
            parts = (mqtt, config.bridges, config.upload, config.commands, config.site, config.gateway, *known)
            of = [*(part.model_dump() if part else None for part in parts), credentials]
            yield self._plan(COURIER, "mqtt", self._runs(SPAWN, "courier_process", site), of=of)
        if site.config.console is not None:
            listen = site.config.console.listen
            yield self._plan(CONSOLE, "http", self._runs(SPAWN, "console_process", site), of=listen)

    def _detector_plan(self, site: Site, manifest: ModelManifest, name: str) -> Plan:
        link = self._links[manifest]

        def start(row: int) -> Child:
            control = link.connect()
            with control:
                return self._runs(SPAWN, "detector_process", site, manifest, control)(row)

        of = [repr(manifest), site.config.detector.model_dump()]
        builds = "tensorrt" in site.config.detector.providers
        return self._plan(DETECTOR, name, start, of=of, hang_s=_ENGINE_S if builds else None, deaf=lambda: link.stuck)

    def _camera_plan(self, site: Site, camera: CameraConfig, models: CameraModels) -> Plan:
        links = [self._links[model.manifest] for model in models]

        def start(row: int) -> Child:
            slots = [link.add(camera.id, model.size_class) for link, model in zip(links, models, strict=True)]
            with limited(FORK_S):
                return self._runs(FORKSERVER, "camera_process", site, camera.id, models, slots)(row)

        of = [
            site.config.site.model_dump(),
            site.config.gateway.model_dump(),
            site.config.review.model_dump(),
            site.config.evidence.model_dump(),
            repr(models),
            camera.model_dump(),
        ]
        return self._plan(CAMERA, camera.id, start, of=of)

    def _plan(
        self,
        kind: str,
        name: str,
        start: Callable[[int], Child],
        *,
        of: object,
        hang_s: float | None = None,
        deaf: Callable[[], bool] = lambda: False,
    ) -> Plan:
        text = json.dumps(of, sort_keys=True, default=str)
        return Plan(
            kind=kind,
            name=name,
            start=start,
            fingerprint=hashlib.sha256(text.encode()).hexdigest(),
            hang_s=hang_s or _HANG_S[kind],
            stop_order=_STOP_ORDER[kind],
            carries_on=kind == CAMERA,
            deaf=deaf,
        )

    def _runs(self, context: Any, module: str, site: Site, *parts: object) -> Callable[[int], Child]:
        """What starts `edge.wiring.<module>.main` in a new process."""

        def start(row: int) -> Child:
            order = ProcessOrder(site, self._folder, self._board, row, self._log_settings)
            process: BaseProcess = context.Process(target=_main, args=(module, order, *parts), name=f"edge-{module}")
            process.start()
            return Child(process)

        return start


def _main(module: str, order: ProcessOrder, *parts: object) -> None:
    """In the new process: each kind loads what it needs, and no more."""
    from importlib import import_module

    import_module(f"edge.wiring.{module}").main(order, *parts)


def _names(manifests: Sequence[ModelManifest]) -> Iterator[tuple[ModelManifest, str]]:
    """What each model's process is called: two folders may hold models of one name."""
    names = [manifest.name for manifest in manifests]
    for manifest in manifests:
        yield manifest, manifest.name if names.count(manifest.name) == 1 else str(manifest.folder)


def _signature(path: Path) -> tuple[int, int, int]:
    """What changes when a file is written or replaced; zeros where it cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _make_database(path: Path, *, wall_ns: int) -> str:
    """Make it once, not in many processes at a time. A damaged one is set aside, for nobody is there to do it.

    Returns its new name, "" where nothing was wrong. The new one's alerts are numbered from the present second on: a
    number is never given twice, and the brain sees the gap. So are those of one that is gone, but not its evidence.
    """
    head = read_head(path.parent)
    lost = not path.exists() and head is not None and head.count > 0
    try:
        with Database.open(path) as database:
            if lost:
                log.error("%s: is gone, and its cases and alerts with it; a new one is made", path)
                database.number_from(wall_ns // NS_PER_S)
    except DamagedError as error:
        aside = path.with_name(f"{path.name}.damaged-{wall_ns // NS_PER_S}")
        log.error("%s; it is set aside as %s, and its cases and alerts with it", error, aside)
        try:
            path.rename(aside)
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        except OSError as failure:
            raise StateError(f"{path}: is damaged and cannot be set aside: {failure}") from failure
        with Database.open(path) as database:
            database.number_from(wall_ns // NS_PER_S)
        return aside.name
    return ""


def _begin_chain(folder: Path) -> None:
    """A key that proves nothing is told now, not at the first alert; a disk that takes nothing stops no alert."""
    gateway_key(folder)
    try:
        SharedChain(folder).begin()
    except EvidenceError as error:
        log.error("%s", error)


@contextmanager
def _state(folder: Path) -> Iterator[None]:
    try:
        (folder / "run").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}: name another --state") from error
    if not os.access(folder, os.W_OK):
        raise StateError(f"{folder}: may not be written by this user: change its rights, or name another --state")
    yield


def _allow_descriptors() -> None:
    """For us and all that we start: 256 cameras need some 1,800 here, and outside systemd 1,024 are usual."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _hear_signals(supervisor: Supervisor) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        supervisor.stop()

    def reload(number: int, frame: FrameType | None) -> None:
        supervisor.reload()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, reload)
