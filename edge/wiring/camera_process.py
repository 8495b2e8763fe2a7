"""A camera's worker process: its capture, its frame path and its way to the detector. Loaded by the forkserver.

Everything heavy that a worker needs is imported here, once, so that all workers share its pages.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import cv2

from edge.capture.live import LiveCapture
from edge.capture.reel import Reel
from edge.clock import Stopwatch, SystemClock
from edge.config.models import CameraConfig
from edge.evidence.chain import SharedChain
from edge.ports import MAIN
from edge.runtime.dismissing import Dismissing
from edge.runtime.health import SILENT_S
from edge.runtime.live import LiveCamera, PatientOutbox
from edge.runtime.main_stream import MainStreamReading
from edge.runtime.process import give_memory_back, give_small_memory_back, run_child, sole_holder
from edge.runtime.remote import RemoteClassifier, RemoteDetector
from edge.runtime.requests import RequestDesk
from edge.runtime.slots import Slot
from edge.state.database import Database
from edge.state.judgements import Judgements
from edge.state.mode import EMERGENCY, mode_of
from edge.state.occurrences import Occurrences
from edge.wiring.camera_models import CameraModels, eyes_of
from edge.wiring.frame_path import (
    evidence_limits,
    filming_for,
    hiding_for,
    measuring_for,
    recorder_for,
    reel_for,
    sight_for,
    telling_for,
    worker_for,
)
from edge.wiring.judging import DISMISS, applied_by
from edge.wiring.keeping import recording_for
from edge.wiring.looking import looking_takes
from edge.wiring.motion import pace_of
from edge.wiring.place import place_takes
from edge.wiring.place_file import PlaceFile
from edge.wiring.process_order import ProcessOrder
from edge.wiring.sight_file import SightFile

_FORKSERVER = os.getpid()
_TWIN_WAIT_S = 0.1
_TWIN_TRIES = 50
_KEYFRAMES_S = 30.0  # recorders write a keyframe as rarely as every 25 s
_GATED_S = 10.0  # keyframes are 4 s apart at most, and one may be damaged


def main(order: ProcessOrder, camera_id: str, models: CameraModels, slots: Sequence[Slot]) -> None:
    """Run one camera until SIGTERM; `slots` are those of its models, in their order."""
    assert os.getpid() != _FORKSERVER, "this module must be loaded by the forkserver"
    camera = next(camera for camera in order.site.config.cameras if camera.id == camera_id)
    order.set_up_log("camera", camera=camera.id)
    cv2.setNumThreads(1)
    give_memory_back()
    run_child(lambda stop: _run(order, camera, models, slots, stop), name=f"edge:{camera.id}")


def _run(
    order: ProcessOrder, camera: CameraConfig, models: CameraModels, slots: Sequence[Slot], stop: threading.Event
) -> None:
    tries = iter(range(_TWIN_TRIES))

    def twin_may_end() -> bool:
        return next(tries, None) is not None and not stop.wait(_TWIN_WAIT_S)

    lock = order.folder / "run" / f"camera-{camera.id}.lock"
    with sole_holder(lock, what=f"camera {camera.id}", wait=twin_may_end), Database.open(order.database) as database:
        _live_camera(order, camera, (models, slots), stop, database).run()


def _silent_s(camera: CameraConfig) -> float:
    """How old the last picture may be: of few a second, or of keyframes alone, some may come late."""
    rare_s = {"keyframes": _KEYFRAMES_S, "auto": _GATED_S}.get(camera.sampling.decode, 0.0)
    return max(SILENT_S, 2.5 / camera.sampling.fps, rare_s)


def _main_stream_for(
    order: ProcessOrder, camera: CameraConfig, *, stop: threading.Event, clock: SystemClock
) -> MainStreamReading[Reel] | None:
    reel = reel_for(order.site, camera, source=MAIN)
    if camera.evidence_source is None or reel is None:
        return None
    capture = LiveCapture(
        camera.evidence_source,
        camera=camera.id,
        fps=camera.sampling.fps,
        transport=camera.transport,
        clock=clock,
        stop=stop,
        reel=reel,
        undecoded=True,
    )
    return MainStreamReading(capture, reel)


def _live_camera(
    order: ProcessOrder,
    camera: CameraConfig,
    seen_by: tuple[CameraModels, Sequence[Slot]],
    stop: threading.Event,
    database: Database,
) -> LiveCamera:
    models, slots = seen_by
    clock, stopwatch, site = SystemClock(), Stopwatch(), order.site
    live: LiveCamera

    def still_here(reason: str = "") -> None:
        live.still_here(reason)

    def keep_waiting() -> bool:
        still_here()
        return not stop.is_set()

    def clock_offset_s() -> float | None:
        return capture.clock_offset_s

    slot_of = dict(zip(models, slots, strict=True))
    eyes = eyes_of(
        camera,
        models,
        detector=lambda model: RemoteDetector(
            model.manifest, slot_of[model], longest_side=model.longest_side, keep_waiting=keep_waiting
        ),
        classifier=lambda model: RemoteClassifier(model.manifest, slot_of[model], keep_waiting=keep_waiting),
    )
    reel, main = reel_for(site, camera), _main_stream_for(order, camera, stop=stop, clock=clock)
    filming = filming_for(site, reel, main=main.reel if main else None)
    recorder = recorder_for(
        site,
        camera,
        models,
        root=order.folder,
        chain=SharedChain(order.folder),
        config_sha256=order.config_sha256,
        filming=filming,
        main=main.reel if main else None,
        clock_offset_s=clock_offset_s,
    )
    sight = sight_for(camera)
    sight_file = SightFile(order.folder, camera, sight, clock=clock)
    outbox = PatientOutbox(database, stop=stop, still_here=still_here)
    telling = telling_for(
        site,
        camera,
        eyes,
        recorder=recorder,
        outbox=outbox,
        config_sha256=order.config_sha256,
        clock_offset_s=clock_offset_s,
    )
    measuring = measuring_for(site, camera, eyes.models, box=database, config_sha256=order.config_sha256)
    worker = worker_for(site, camera, eyes, sight=sight, telling=telling, measuring=measuring, stopwatch=stopwatch)
    capture = LiveCapture(
        camera.source,
        camera=camera.id,
        fps=camera.sampling.fps,
        decode=camera.sampling.decode,
        hwaccel=camera.sampling.hwaccel,
        pace=pace_of(site, camera, models),
        transport=camera.transport,
        clock=clock,
        stop=stop,
        reel=reel,
    )
    dismissing = Dismissing(camera.id, worker, telling, Judgements(database))
    background = worker.background
    place_file = PlaceFile(order.folder, camera, background, clock=clock) if background is not None else None
    takes = {
        **place_takes(background, place_file),
        **looking_takes(
            camera.id,
            worker,
            telling,
            scene=lambda: live.scene,
            hiding=hiding_for(site, camera, models.labels),
            folder=order.folder,
            timezone=ZoneInfo(site.config.site.timezone),
        ),
        DISMISS: applied_by(dismissing),
    }

    def keep(now: bool) -> None:
        sight_file.save(now)
        if place_file is not None:
            place_file.save(now)
        give_small_memory_back()  # packets come and go in all sizes: 2 MB lie free between them

    recording = recording_for(site, camera, worker, folder=order.folder, database=database)
    live = LiveCamera(
        camera=camera.id,
        capture=capture,
        main_stream=main,
        worker=worker,
        telling=telling,
        outbox=outbox,
        cases=database,
        occurrences=Occurrences(database),
        desk=RequestDesk(camera.id, database, takes, clock=clock),
        dismissing=dismissing,
        recording=recording,
        row=order.row,
        clock=clock,
        stopwatch=stopwatch,
        stop=stop,
        limits=lambda: {
            **evidence_limits(recorder, filming),
            "cases_not_kept": recording.refused,
        },
        keep=keep,
        same_street=sight_file.same_street,
        emergency=lambda: mode_of(database) == EMERGENCY,
        silent_s=_silent_s(camera),
    )
    return live
