"""From a configuration to real objects: the only place where the parts of the frame path meet.

Replay puts in recorded captures, a detector in the same process and an outbox in memory; nothing of the gateway's
state is read or written.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import yaml

from edge import __version__
from edge.capture.packets import PacketCapture, inspect
from edge.capture.timeline import FrameOrigin
from edge.clock import Stopwatch, cpu_s, elapsed_s, minute_of_week
from edge.config.catalogue import ScenarioUse
from edge.config.document import Loc
from edge.config.loader import Site, load_site
from edge.config.models import CameraConfig
from edge.core.background import BackgroundModel
from edge.core.cases import CaseBook
from edge.core.scenarios import LEFT_OBJECT, Rule, scenario_for
from edge.core.tracker import Tracker
from edge.core.types import NS_PER_S, CaseChange, Float32, Frame, Int16, seconds_to_ns
from edge.core.zones import ZoneMap
from edge.delivery.broker import EmbeddedBroker
from edge.delivery.courier import Courier
from edge.delivery.message import Origin, Tag, Topics, alert
from edge.delivery.mqtt import MqttPublisher
from edge.delivery.subscriber import Subscriber
from edge.detect.manifest import find_model, load_manifest
from edge.detect.session import OnnxDetector
from edge.errors import CaptureError, DeliveryError, EvidenceError, ModelError, OutputError, UsageError, redact
from edge.evidence.drawing import draw_grid
from edge.evidence.picture import picture_writer
from edge.evidence.recorder import CaseRecorder, EvidenceOrigin
from edge.evidence.report import write_report
from edge.evidence.store import EvidenceStore
from edge.ports import EvidenceFile, Outbox
from edge.resources import configs_dir, models_dir
from edge.runtime.annotate import Annotator
from edge.runtime.evaluation import ClipReplay, Evaluation, TruthClip, as_document, read_truth
from edge.runtime.evaluation import evaluate as evaluate_clips
from edge.runtime.output import OutputFolder
from edge.runtime.replay import Clip, Journal, Replay
from edge.runtime.snapshot import LOOK_FPS, first_with_something, second
from edge.runtime.worker import Told, Watch, Worker
from edge.state.database import IN_MEMORY, Database

# Things that stand or walk about by themselves: what they cover is explained, not left behind.
EXPLAINING_LABELS = ("person", "bicycle", "car", "motorcycle", "bus", "truck", "train", "dog", "horse")
EVALUATED_BY = "edge evaluate"
EVALUATION_CAMERA = "clip"
EVALUATION_START = "2026-01-05T08:00:00+00:00"  # a Monday morning; a scored answer must not hang on a file's date
LATEST_NS = seconds_to_ns(230 * 365.2425 * 86400)  # the year 2200; a 64-bit count of nanoseconds ends in 2262
_NAMES_SHOWN = 8
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
    camera = _chosen_camera(site, order.camera)
    timezone = ZoneInfo(site.config.site.timezone)
    clips = _placed(order.clips, order.start, timezone)
    total_s = sum(clip.info.duration_s for clip in clips)
    with ExitStack() as stack:
        output = stack.enter_context(OutputFolder(order.out))
        database = stack.enter_context(Database.open(IN_MEMORY))
        courier = _courier(stack, database, site, order)
        stopwatch = Stopwatch()
        begun_s, begun_cpu_s = elapsed_s(), cpu_s()
        with (
            _written(order.out, work=output.work),
            (output.work / "alerts.jsonl").open("w", encoding="utf-8") as lines,
        ):
            journal = Journal(database, lines, on_alert=courier.wake if courier else lambda: None)
            detector = detector_for(site, camera)
            sketch = _annotator(output.work, camera, detector.labels) if order.annotate else None
            recorder = recorder_for(site, camera, detector, root=output.work)
            run = Replay(
                worker=worker_for(site, camera, detector, recorder=recorder, outbox=journal, stopwatch=stopwatch),
                clips=clips,
                open_clip=lambda clip, origin: _recorded(clip, origin, camera),
                journal=journal,
                stopwatch=stopwatch,
                on_frame=lambda frame: on_frame(frame, total_s),
                sketch=sketch,
            )
            run.run()
            lines.close()
            summary = run.summary(
                wall_s=elapsed_s() - begun_s,
                cpu_s=cpu_s() - begun_cpu_s,
                timezone=timezone,
                identity={
                    "software": __version__,
                    "config_sha256": site.config_sha256,
                    "camera": camera.id,
                    "model": {"name": detector.name, "sha256": detector.sha256},
                },
                limits={
                    "detections_dropped": detector.candidates_dropped,
                    "stills_thinned": recorder.counts.stills_thinned,
                    "stills_refused": recorder.counts.stills_refused,
                },
            )
            _write_pages(output.work, journal.alerts, summary, site)
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


def evaluate(truth: Path, *, media: Path, out: Path, only: Sequence[str]) -> Evaluation:
    """Replay every scored clip of a truth file into `out` and write `evaluation.json` there."""
    clips = read_truth(truth, media, only)
    for clip in clips:
        inspect(str(clip.path))
    earlier = [out / "evaluation.json", *(_config_of(clip, out) for clip in clips)]
    _refuse_foreign(earlier)
    with _written(out):
        out.mkdir(parents=True, exist_ok=True)
        for path in earlier:  # an old one would not be that of the replays beside it
            path.unlink(missing_ok=True)
        sites = {clip.path: _evaluated_site(clip, out) for clip in clips}

    def run(clip: TruthClip) -> ClipReplay:
        site = sites[clip.path]
        result = replay(site, ReplayOrder(clips=[clip.path], out=out / clip.path.stem, start=EVALUATION_START))
        if result.incomplete:
            raise CaptureError(f"{clip.path}: cut short, so it cannot be scored; copy it again, or leave it out")
        dwells = {
            (use.use, zone): (use.after_s, use.clear_after_s)
            for use in site.scenarios[EVALUATION_CAMERA]
            for zone in use.zones
        }
        return ClipReplay(result.alerts, float(str(result.summary["media_s"])), dwells)

    evaluation = evaluate_clips(clips, run)
    with _written(out):
        document = {"produced_by": EVALUATED_BY, **as_document(evaluation)}
        text = json.dumps(document, ensure_ascii=False, indent=2)
        (out / "evaluation.json").write_text(text + "\n", encoding="utf-8")
    return evaluation


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


def _evaluated_site(clip: TruthClip, folder: Path) -> Site:
    config = _config_of(clip, folder)
    text = yaml.safe_dump(_site_for(clip), allow_unicode=True, sort_keys=False)
    config.write_text(f"# Written by {EVALUATED_BY}.\n{text}", encoding="utf-8")
    return load_site(config, environ={})


def _site_for(clip: TruthClip) -> dict[str, object]:
    """The configuration that a clip of a truth file asks for; all else by default."""
    return {
        "version": 1,
        "site": {"id": "evaluation", "timezone": "UTC"},
        "gateway": {"id": "gw-01"},
        "cameras": [
            {
                "id": EVALUATION_CAMERA,
                "source": clip.path.name,  # the alerts must not hang on where the footage lies
                "zones": [{"id": name, "polygon": polygon} for name, polygon in clip.zones.items()],
                "scenarios": list(clip.scenarios),
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


def worker_for(
    site: Site,
    camera: CameraConfig,
    detector: OnnxDetector,
    *,
    recorder: CaseRecorder,
    outbox: Outbox,
    stopwatch: Stopwatch,
) -> Worker:
    """One camera's frame path."""
    zones = _polygons(camera)
    uses = site.scenarios[camera.id]
    rules = [_rule(site, camera, use, detector.labels) for use in uses]
    timezone = ZoneInfo(site.config.site.timezone)
    return Worker(
        detector=detector,
        tracker=Tracker(groups=detector.groups),
        zones={anchor: ZoneMap(zones, anchor=anchor) for anchor in sorted({rule.anchor for rule in rules})},
        background=_background(rules, zones, detector.labels, ignored=_arrays(camera.masks.ignore)),
        watches=[
            Watch(
                scenario=scenario_for(rule, zones),
                cases=CaseBook(rule, camera=camera.id, gateway=f"{site.config.site.id}/{site.config.gateway.id}"),
                active=_hours(use, timezone),
            )
            for rule, use in zip(rules, uses, strict=True)
        ],
        ignored=_arrays(camera.masks.ignore),
        recorder=recorder,
        tell=_teller(site, camera, detector, timezone),
        outbox=outbox,
        stopwatch=stopwatch,
    )


def recorder_for(site: Site, camera: CameraConfig, detector: OnnxDetector, *, root: Path) -> CaseRecorder:
    """One camera's recorder; evidence goes below `root`."""
    return CaseRecorder(
        EvidenceStore(root),
        origin=EvidenceOrigin(
            camera=camera.id,
            zones=dict(zip((zone.id for zone in camera.zones), _polygons(camera), strict=True)),
            timezone=ZoneInfo(site.config.site.timezone),
            model_name=detector.name,
            model_sha256=detector.sha256,
            config_sha256=site.config_sha256,
            software=__version__,
        ),
        privacy=_arrays(camera.masks.privacy),
    )


def detector_for(site: Site, camera: CameraConfig) -> OnnxDetector:
    """The camera's model, or the site's, checked against its manifest."""
    return OnnxDetector(load_manifest(_model_folder(site, camera)))


def check_models(site: Site) -> None:
    """Whether every camera's model is there, is the file that was checked, and knows the labels that are asked for."""
    folders = {_model_folder(site, camera) for camera in site.config.cameras}
    manifests = {folder: load_manifest(folder) for folder in folders}
    for camera in site.config.cameras:
        for use in camera.scenarios:
            _rule(site, camera, use, manifests[_model_folder(site, camera)].labels)


def _model_folder(site: Site, camera: CameraConfig) -> Path:
    name = camera.model or site.config.model
    try:
        return find_model(name, [models_dir(), site.path.parent])
    except ModelError as error:
        loc: Loc = ("cameras", site.config.cameras.index(camera), "model") if camera.model else ("model",)
        raise site.fault(loc, f"{name} is not installed; {str(error).rpartition(': ')[2]}") from error


# The parts of a worker


def _rule(site: Site, camera: CameraConfig, use: ScenarioUse, labels: tuple[str, ...]) -> Rule:
    unknown = [label for label in use.labels if label not in labels]
    if unknown:
        raise site.fault(
            ("cameras", site.config.cameras.index(camera), "scenarios", camera.scenarios.index(use), "labels"),
            f"holds {unknown[0]!r}, which the camera's model does not know: its labels are {_listed(labels)}",
        )
    names = tuple(zone.id for zone in camera.zones)
    return Rule(
        scenario=use.use,
        kind=use.kind,
        zones=tuple(names.index(zone) for zone in use.zones),
        zone_names=names,
        labels=_rows(use.labels, labels),
        label_names=labels,
        score_min=use.score_min,
        after_ns=seconds_to_ns(use.after_s),
        clear_after_ns=seconds_to_ns(use.clear_after_s),
        repeat_ns=seconds_to_ns(use.repeat_s),
        anchor=use.anchor,
        size_min=use.size_min,
        people_min=use.people_min,
        spacing=use.spacing,
    )


def _background(
    rules: Sequence[Rule], zones: list[Float32], labels: tuple[str, ...], *, ignored: list[Float32]
) -> BackgroundModel | None:
    """The static-object model over the zones that need it, or none where no rule does."""
    rows = sorted({zone for rule in rules if rule.kind == LEFT_OBJECT for zone in rule.zones})
    if not rows:
        return None
    known = tuple(label for label in EXPLAINING_LABELS if label in labels)
    return BackgroundModel([zones[row] for row in rows], explaining_labels=_rows(known, labels), ignored=ignored)


def _hours(use: ScenarioUse, timezone: ZoneInfo) -> Callable[[int], bool]:
    schedule = use.active
    if schedule is None:
        return lambda wall_ns: True
    return lambda wall_ns: schedule.holds(minute_of_week(wall_ns, timezone))


def _teller(
    site: Site, camera: CameraConfig, detector: OnnxDetector, timezone: ZoneInfo
) -> Callable[[CaseChange, Frame, Sequence[EvidenceFile], str], Told]:
    """What makes an alert of a case's change."""
    origin = Origin(
        site=site.config.site.id,
        gateway=site.config.gateway.id,
        camera_id=camera.id,
        camera_name=camera.name,
        road=camera.road,
        grid=camera.grid,
        zones={zone.id: tuple((x, y) for x, y in zone.polygon) for zone in camera.zones},
        timezone=timezone,
        model_name=detector.name,
        model_sha256=detector.sha256,
        config_sha256=site.config_sha256,
        software=__version__,
    )
    tags = {(use.use, zone): _tag(use) for use in site.scenarios[camera.id] for zone in use.zones}
    topics = Topics(origin.site, origin.gateway)

    def tell(change: CaseChange, frame: Frame, evidence: Sequence[EvidenceFile], failure: str) -> Told:
        case = change.case
        body = alert(
            change,
            origin=origin,
            tag=tags[case.scenario, case.zone],
            frame_px=frame.size_px,
            now_wall_ns=frame.wall_ns,
            mono_to_wall=frame.wall_ns - frame.mono_ns,
            media_time_s=frame.media_ns / NS_PER_S if frame.media_ns >= 0 else None,
            evidence=evidence,
            evidence_error=failure,
        )
        return Told(body, topics.alert(camera.id, case.scenario))

    return tell


def _listed(names: Sequence[str]) -> str:
    """The first of them: enough to see how they are spelt."""
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {len(names) - _NAMES_SHOWN} more" if names[_NAMES_SHOWN:] else "")


def _tag(use: ScenarioUse) -> Tag:
    category = use.category
    return Tag(category.code, category.name, category.standard, category.extension, use.severity)


def _rows(names: Iterable[str], labels: tuple[str, ...]) -> Int16:
    return np.array([labels.index(name) for name in names], np.int16)


def _polygons(camera: CameraConfig) -> list[Float32]:
    return _arrays(zone.polygon for zone in camera.zones)


def _arrays(polygons: Iterable[Sequence[Sequence[float]]]) -> list[Float32]:
    return [np.array(polygon, np.float32) for polygon in polygons]


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


def _recorded(clip: Clip, origin: FrameOrigin, camera: CameraConfig) -> PacketCapture:
    sampling = camera.sampling
    return PacketCapture(str(clip.path), camera=camera.id, fps=sampling.fps, decode=sampling.decode, origin=origin)


def _annotator(folder: Path, camera: CameraConfig, labels: tuple[str, ...]) -> Annotator:
    zones = dict(zip((zone.id for zone in camera.zones), _polygons(camera), strict=True))
    asked = {label for use in camera.scenarios for label in use.labels}
    return Annotator(
        folder,
        fps=camera.sampling.fps,
        labels=labels,
        drawn_labels=_rows([label for label in labels if label in asked or label in EXPLAINING_LABELS], labels),
        zones=zones,
        privacy=_arrays(camera.masks.privacy),
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
    courier = Courier(database, publisher)
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


def _write_pages(folder: Path, alerts: Sequence[dict[str, object]], summary: dict[str, object], site: Site) -> None:
    (folder / "measures.jsonl").touch()  # no stock scenario measures anything yet
    write_report(
        folder,
        alerts=alerts,
        summary=summary,
        site_name=site.config.site.name,
        timezone=site.config.site.timezone,
    )
    text = json.dumps(summary, ensure_ascii=False, indent=2)
    (folder / "summary.json").write_text(text + "\n", encoding="utf-8")
