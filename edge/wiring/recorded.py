"""Recorded footage: replay, demo, evaluation and snapshot, with file captures and a detector in the same process.

Nothing of the gateway's state is read or written, but for its key where evidence is to be signed with it.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import cv2
import numpy as np
import yaml

from edge import __version__
from edge.capture.gate import Pace
from edge.capture.packets import PacketCapture, inspect
from edge.capture.reel import Reel
from edge.capture.timeline import FrameOrigin
from edge.clock import Stopwatch, cpu_s, elapsed_s
from edge.config.loader import Site, load_site
from edge.config.models import CameraConfig
from edge.core.types import NS_PER_S, Frame, Int16, seconds_to_ns
from edge.delivery.broker import EmbeddedBroker
from edge.delivery.courier import Courier
from edge.delivery.mqtt import MqttPublisher
from edge.delivery.subscriber import Subscriber
from edge.detect.classifier import OnnxClassifier
from edge.detect.manifest import ModelManifest
from edge.detect.session import OnnxDetector
from edge.errors import CaptureError, DeliveryError, EvidenceError, OutputError, UsageError, redact
from edge.evidence.chain import Chain, signing_key
from edge.evidence.drawing import draw_grid
from edge.evidence.picture import picture_writer
from edge.evidence.report import write_report
from edge.resources import configs_dir
from edge.runtime.annotate import Annotator
from edge.runtime.evaluation import ClipReplay, Evaluation, TruthClip, as_document, read_truth
from edge.runtime.evaluation import evaluate as evaluate_clips
from edge.runtime.output import OutputFolder
from edge.runtime.replay import Clip, Journal, Replay
from edge.runtime.snapshot import LOOK_FPS, first_with_something, second
from edge.state.database import IN_MEMORY, Database
from edge.wiring.camera_models import CameraModel, CameraModels, eyes_of, models_of
from edge.wiring.frame_path import (
    EXPLAINING_LABELS,
    evidence_limits,
    filming_for,
    hiding_for,
    measuring_for,
    places_of,
    recorder_for,
    reel_for,
    sight_for,
    telling_for,
    worker_for,
)
from edge.wiring.motion import pace_of

EVALUATED_BY = "edge evaluate"
EVALUATION_CAMERA = "clip"
EVALUATION_START = "2026-01-05T08:00:00+00:00"  # a Monday morning; a scored answer must not hang on a file's date
LATEST_NS = seconds_to_ns(230 * 365.2425 * 86400)  # the year 2200; a 64-bit count of nanoseconds ends in 2262
DRAIN_S = 60.0  # how long a replay waits for the broker to confirm its last alerts


@dataclass(frozen=True, slots=True)
class ReplayOrder:
    """What `edge replay` was asked for."""

    clips: Sequence[Path]
    out: Path
    camera: str | None = None
    start: str | None = None
    annotate: bool = False
    mqtt_url: str | None = None
    threads: int = 2  # of the detector
    state: Path | None = None  # whose key signs the evidence; nothing else of it is read or written
    tell_live: bool = False  # alerts go out as they are made, not when the replay has succeeded


@dataclass(frozen=True, slots=True)
class ReplayResult:
    folder: Path
    summary: dict[str, object]
    alerts: list[dict[str, object]]
    incomplete: bool


def replay(
    site: Site, order: ReplayOrder, *, on_frame: Callable[[Frame, float], None] = lambda frame, total_s: None
) -> ReplayResult:
    """Recorded footage to a folder of alerts, evidence and a report.

    `on_frame` gets each frame, and how many seconds there are in all.

    Raises EdgeError; the folder then holds what it held before.
    """
    cv2.setNumThreads(1)  # as in a camera's process: its pictures are small, and threads that wait for work cost some
    camera = _chosen_camera(site, order.camera)
    timezone = ZoneInfo(site.config.site.timezone)
    clips = _placed(order.clips, order.start, timezone)
    total_s = sum(clip.info.duration_s for clip in clips)
    key = signing_key(order.state) if order.state is not None else None
    chain = Chain(key=key)
    with ExitStack() as stack:
        output = stack.enter_context(OutputFolder(order.out))
        database = stack.enter_context(Database.open(IN_MEMORY))
        courier = _courier(stack, database, site, order)
        stopwatch = Stopwatch()
        begun_s, begun_cpu_s = elapsed_s(), cpu_s()
        with (
            _written(order.out, work=output.work),
            (output.work / "alerts.jsonl").open("w", encoding="utf-8") as lines,
            (output.work / "measures.jsonl").open("w", encoding="utf-8") as measure_lines,
        ):
            journal = Journal(database, lines, measure_lines, on_alert=courier.wake if courier else lambda: None)
            models = models_of(site, [camera])[camera.id]
            loaded: list[OnnxDetector] = []
            eyes = eyes_of(
                camera,
                models,
                detector=lambda model: _loaded(model, loaded, order),
                classifier=lambda model: OnnxClassifier(model.manifest, threads=order.threads),
            )
            sketch = _annotator(output.work, site, camera, models) if order.annotate else None
            reel = reel_for(site, camera)
            filming = filming_for(site, reel)
            recorder = recorder_for(site, camera, models, root=output.work, chain=chain, filming=filming)
            telling = telling_for(site, camera, eyes, recorder=recorder, outbox=journal)
            run = Replay(
                worker=worker_for(
                    site,
                    camera,
                    eyes,
                    sight=sight_for(camera),
                    telling=telling,
                    measuring=measuring_for(site, camera, models, box=journal),
                    stopwatch=stopwatch,
                ),
                telling=telling,
                clips=clips,
                open_clip=lambda clip, origin: _recorded(clip, origin, camera, reel, pace_of(site, camera, models)),
                journal=journal,
                stopwatch=stopwatch,
                on_frame=lambda frame: on_frame(frame, total_s),
                sketch=sketch,
            )
            run.run()
            lines.close()
            measure_lines.close()
            summary = run.summary(
                wall_s=elapsed_s() - begun_s,
                cpu_s=cpu_s() - begun_cpu_s,
                timezone=timezone,
                identity={
                    "software": __version__,
                    "config_sha256": site.config_sha256,
                    "camera": camera.id,
                    "model": _named(models.detectors[0].manifest),
                    "models": [_named(model.manifest) for model in models],
                    "evidence": {
                        "manifests": chain.head.count,
                        "head": chain.head.sha256,
                        "key_id": key.key_id if key is not None else None,
                    },
                },
                limits={
                    "detections_dropped": sum(model.candidates_dropped for model in loaded),
                    **evidence_limits(recorder, filming),
                },
            )
            chain.conclude(output.work)
            _write_pages(output.work, journal, summary, site)
            output.publish()
        _deliver(courier, order)
    return ReplayResult(order.out, summary, journal.alerts, run.incomplete)


def demo(
    out: Path,
    *,
    annotate: bool,
    on_alert: Callable[[str, dict[str, object]], None],
    on_frame: Callable[[Frame, float], None],
) -> ReplayResult:
    """Replay the committed clip through a broker of our own; `on_alert` gets what a subscriber receives."""
    folder = configs_dir() / "demo"
    site = load_site(folder / "site.yaml", environ={})
    received = threading.Semaphore(0)

    def receive(topic: str, body: dict[str, object]) -> None:
        on_alert(topic, body)
        received.release()

    with EmbeddedBroker() as broker, Subscriber(broker.url, receive, client_id="edge-demo-subscriber"):
        order = ReplayOrder(
            clips=[folder / "plaza.mp4"], out=out, annotate=annotate, mqtt_url=broker.url, tell_live=True
        )
        result = replay(site, order, on_frame=on_frame)
        for told in result.alerts:
            if not received.acquire(timeout=DRAIN_S):
                raise DeliveryError(f"{broker.url}: the subscriber did not receive alert {told['sequence']}")
    return result


def evaluate(
    truth: Path,
    *,
    media: Path,
    out: Path,
    only: Sequence[str],
    jobs: int = 1,
    evidence: bool = True,
    decode: str | None = None,
) -> Evaluation:
    """Replay every scored clip of a truth file into `out` and write `evaluation.json` there.

    `jobs`: processes. Without `evidence` the pictures and the report of each replay are deleted as soon as it is
    scored, so that a thousand clips need the disk of some. `decode`: other than the default of a camera.
    """
    clips = read_truth(truth, media, only)
    for clip in clips:
        inspect(str(clip.path))
    earlier = [out / "evaluation.json", *(_config_of(clip, out) for clip in clips)]
    _refuse_foreign(earlier)
    with _written(out):
        out.mkdir(parents=True, exist_ok=True)
        for path in earlier:  # an old one would not be that of the replays beside it
            path.unlink(missing_ok=True)
        for clip in clips:  # one that cannot be used is told before an hour of others is replayed
            _evaluated_site(clip, out, decode)
    threads = 2 if jobs == 1 else 1
    orders = [
        _EvaluatedClip(clip.path, _config_of(clip, out), out / clip.path.stem, threads, evidence) for clip in clips
    ]
    with ExitStack() as stack:
        evaluation = evaluate_clips(clips, _replayed(stack, orders, jobs))
    with _written(out):
        document = {"produced_by": EVALUATED_BY, **as_document(evaluation)}
        text = json.dumps(document, ensure_ascii=False, indent=2)
        (out / "evaluation.json").write_text(text + "\n", encoding="utf-8")
    return evaluation


@dataclass(frozen=True, slots=True)
class _EvaluatedClip:
    """What a process needs to replay one clip."""

    clip: Path
    config: Path
    out: Path
    threads: int
    evidence: bool


def _replayed(stack: ExitStack, orders: Sequence[_EvaluatedClip], jobs: int) -> Iterator[ClipReplay]:
    """In order, as they are done. After one that fails no other is begun."""
    if jobs == 1:
        return map(_evaluated, orders)
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    stack.callback(pool.shutdown, wait=True, cancel_futures=True)
    return pool.map(_evaluated, orders)


def _evaluated(order: _EvaluatedClip) -> ClipReplay:
    site = load_site(order.config, environ={})
    result = replay(site, ReplayOrder([order.clip], order.out, start=EVALUATION_START, threads=order.threads))
    if result.incomplete:
        raise CaptureError(f"{order.clip}: cut short, so it cannot be scored; copy it again, or leave it out")
    if not order.evidence:
        with _written(order.out):
            shutil.rmtree(order.out / "evidence", ignore_errors=True)  # a clip without a case has none
            (order.out / "chain.json").unlink()
            (order.out / "report.html").unlink()
    dwells = {
        (use.use, place): (use.after_s, use.parameters.clear_after_s)
        for use in site.scenarios[EVALUATION_CAMERA]
        for place in use.places
    }
    return ClipReplay(result.alerts, float(str(result.summary["media_s"])), dwells)


def _config_of(clip: TruthClip, folder: Path) -> Path:
    return folder / f"{clip.path.stem}.yaml"


def _refuse_foreign(files: Sequence[Path]) -> None:
    for path in files:
        try:
            ours = not path.exists() or EVALUATED_BY in path.read_text(encoding="utf-8", errors="replace")
        except OSError:  # a folder, or a file that may not be read
            ours = False
        if not ours:
            raise OutputError(f"{path}: was not written by {EVALUATED_BY}; name another folder")


def _evaluated_site(clip: TruthClip, folder: Path, decode: str | None) -> Site:
    config = _config_of(clip, folder)
    text = yaml.safe_dump(_site_for(clip, decode), allow_unicode=True, sort_keys=False)
    config.write_text(f"# Written by {EVALUATED_BY}.\n{text}", encoding="utf-8")
    return load_site(config, environ={})


def _site_for(clip: TruthClip, decode: str | None) -> dict[str, object]:
    """The configuration that a clip of a truth file asks for; all else by default."""
    return {
        "version": 1,
        "site": {"id": "evaluation", "timezone": "UTC"},
        "gateway": {"id": "gw-01"},
        "evidence": {"pre_roll_s": 0, "post_roll_s": 0},  # nobody looks at clips there
        "cameras": [
            {
                "id": EVALUATION_CAMERA,
                "source": clip.path.name,  # the alerts must not hang on where the footage lies
                "zones": [{"id": name, "polygon": polygon} for name, polygon in clip.zones.items()],
                "scenarios": list(clip.scenarios),
                **({"sampling": {"decode": decode}} if decode is not None else {}),
            }
        ],
    }


def snapshot(name: str, output: Path, *, site: Site | None, grid: bool, at_s: float) -> None:
    """Write the picture at `at_s` seconds, whole or not at all; at 0 the first that shows something.

    `name`: a camera of the site; without a site a file or a URL.
    """
    source = name if site is None else _chosen_camera(site, name).source
    write = picture_writer(output)
    fps = 1 / at_s if at_s > 0 else LOOK_FPS
    capture = PacketCapture(source, camera="snapshot", fps=fps, origin=FrameOrigin(mono_ns=0, wall_ns=0, index=0))
    with closing(capture):
        frame = second(capture) if at_s > 0 else first_with_something(capture)
    if frame is None:
        raise UsageError(f"{redact(source)}: ends before {at_s:g} s; choose a smaller --at")
    write(draw_grid(frame.bgr) if grid else frame.bgr)


# The parts of a replay


def _chosen_camera(site: Site, wanted: str | None) -> CameraConfig:
    cameras = {camera.id: camera for camera in site.config.cameras}
    names = ", ".join(cameras)
    if wanted is None and len(cameras) > 1:
        raise UsageError(f"{site.path}: has {len(cameras)} cameras ({names}): name one with --camera")
    if wanted is not None and wanted not in cameras:
        raise UsageError(f"{site.path}: has no camera {wanted!r}; it has {names}")
    return cameras[wanted] if wanted is not None else site.config.cameras[0]


def _placed(paths: Sequence[Path], start: str | None, timezone: ZoneInfo) -> list[Clip]:
    """The clips on the replay's clock: one after the other, never at once, never at the present time."""
    clips: list[Clip] = []
    free_ns = _moment(start, timezone) if start is not None else 0
    for path in paths:
        info = inspect(str(path))
        own_ns = 0 if start is not None else info.created_wall_ns or _recorded_ns(path, info.duration_s)
        if own_ns >= LATEST_NS:
            raise UsageError(f"{path}: claims to be of the year 2200 or later; say with --start when it was recorded")
        begin_ns = max(own_ns, free_ns)
        clips.append(Clip(path, info, begin_ns))
        free_ns = begin_ns + seconds_to_ns(info.duration_s)
    return clips


def _recorded_ns(path: Path, duration_s: float) -> int:
    """A file's modification time marks the end of its recording."""
    return path.stat().st_mtime_ns - seconds_to_ns(duration_s)


def _moment(text: str, timezone: ZoneInfo) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--start {text}: not a time; write it like 2026-05-04T09:30:00+08:00") from None
    if not 1970 < moment.year < 2200:
        raise UsageError(f"--start {text}: no year of a recording; it must lie after 1970 and before 2200")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone)
    return round(moment.timestamp() * 1000) * (NS_PER_S // 1000)


def _recorded(clip: Clip, origin: FrameOrigin, camera: CameraConfig, reel: Reel | None, pace: Pace) -> PacketCapture:
    sampling = camera.sampling
    return PacketCapture(
        str(clip.path),
        camera=camera.id,
        fps=sampling.fps,
        decode=sampling.decode,
        origin=origin,
        reel=reel,
        hwaccel=sampling.hwaccel,
        pace=pace,
    )


def _loaded(model: CameraModel, others: list[OnnxDetector], order: ReplayOrder) -> OnnxDetector:
    others.append(OnnxDetector(model.manifest, longest_side=model.longest_side, threads=order.threads))
    return others[-1]


def _named(manifest: ModelManifest) -> dict[str, str]:
    return {"name": manifest.name, "sha256": manifest.sha256}


def _drawn_labels(camera: CameraConfig, models: CameraModels) -> Int16:
    """What a scenario asks its own model for, and what explains a static thing, that once."""
    explaining = {label: row for row, label in reversed(list(enumerate(models.labels))) if label in EXPLAINING_LABELS}
    rows = set(explaining.values())
    for use, judge in zip(camera.scenarios, models.judges, strict=True):
        own = models.rows_of(judge)
        rows |= {own.start + models.labels[own].index(label) for label in use.labels}
    return np.array(sorted(rows), np.int16)


def _annotator(folder: Path, site: Site, camera: CameraConfig, models: CameraModels) -> Annotator:
    return Annotator(
        folder,
        fps=camera.sampling.fps,
        labels=models.labels,
        drawn_labels=_drawn_labels(camera, models),
        zones=places_of(camera),
        hiding=hiding_for(site, camera, models.labels),
    )


def _courier(stack: ExitStack, database: Database, site: Site, order: ReplayOrder) -> Courier | None:
    if order.mqtt_url is None:
        return None
    identity = f"{site.config.site.id}-{site.config.gateway.id}-replay"
    try:
        publisher = MqttPublisher(order.mqtt_url, client_id=identity, version5=True)
    except DeliveryError as error:
        raise UsageError(f"--mqtt {error}") from error
    publisher.check()  # a wrong address is told before an hour of footage is decoded
    courier = Courier(database, publisher, measures=database)
    if order.tell_live:
        courier.start()
    stack.callback(courier.close)
    return courier


def _deliver(courier: Courier | None, order: ReplayOrder) -> None:
    """Hand the alerts over and wait for the broker to confirm. The files are complete, whatever it does."""
    if courier is None:
        return
    if not order.tell_live:
        courier.start()
    left = courier.drain(DRAIN_S)
    if left:
        reason = courier.last_error or "the broker does not confirm"
        raise DeliveryError(
            f"{left} alerts were not delivered within {DRAIN_S:.0f} s ({reason}); {order.out} is complete: replay again"
        )


@contextmanager
def _written(folder: Path, *, work: Path | None = None) -> Iterator[None]:
    """A disk that fills up, or fails, in the words of the folder that was asked for, not of the one inside it."""
    try:
        yield
    except OSError as error:
        kind = OutputError if work is None else EvidenceError  # a folder that was no good, or is no more
        raise kind(
            f"{folder}: cannot be written ({error.strerror or error}); nothing of this replay is kept"
        ) from error
    except (EvidenceError, OutputError) as error:
        words = str(error).replace(f"{work}/", "")
        raise type(error)(f"{folder}: {words}; nothing of this replay is kept") from error


def _write_pages(folder: Path, journal: Journal, summary: dict[str, object], site: Site) -> None:
    write_report(
        folder,
        alerts=journal.alerts,
        measures=journal.measures,
        summary=summary,
        site_name=site.config.site.name,
        timezone=site.config.site.timezone,
    )
    text = json.dumps(summary, ensure_ascii=False, indent=2)
    (folder / "summary.json").write_text(text + "\n", encoding="utf-8")
