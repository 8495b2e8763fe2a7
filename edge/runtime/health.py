"""What each process reports of itself, and the one picture of the gateway that is made of it.

    Row.write <- CameraReport | DetectorReport | CourierReport | ConsoleReport | SupervisorReport
    gateway_status(board) -> GatewayStatus -> MQTT health, /metrics, /healthz, `edge status`

A camera is judged from outside: whatever its worker says, a picture that is too old makes it blind.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from edge.core.types import NS_PER_S
from edge.runtime.board import SUPERVISOR_ROW, Board, Row

STREAMING = "streaming"
BLIND = "blind"
OFF = "off"

RUNNING = "running"
WAITING = "waiting"  # to be started again
STOPPED = "stopped"

CAMERA = "camera"
DETECTOR = "detector"
COURIER = "courier"
CONSOLE = "console"
BROKER = "broker"

BEAT_MAX_S = 5.0  # a supervisor's turn takes a quarter of a second
RECEIPT_WAITS_S = 600.0  # for the brain's, which may be busy
ALERT_WAITS_S = 120.0  # for the broker's word; an outage of a minute is nobody's fault
UPLOAD_STALLS_S = 900.0  # a store that fails for longer does not come back by itself
SILENT_S = 5.0  # without a picture for longer, a camera is blind, unless its pictures are meant to be rare
COMMAND_OUTCOMES = ("received", "done", "failed", "repeated", "unanswered")  # and refused, by reason
STAGES = ("decode", "wait", "sight", "still", "detect", "track", "static", "zones", "rules", "evidence")
OUTCOMES = (
    "read",
    "undecoded",
    "decoded",
    "taken",
    "analysed",
    "dropped",
    "withheld",
    "skipped",
    "unseen",
    "corrupt",
)
_WORDS_MAX = 300
_STARTING = "starting"


@dataclass(frozen=True, slots=True)
class CameraReport:
    """A worker on its camera. Counts run on over restarts of the worker, from the start of the gateway."""

    state: str = BLIND  # streaming | blind
    reason: str = _STARTING  # a short code, "" while streaming
    words: str = ""  # the reason as an installer understands it
    since_wall_ns: int = 0
    fps: float = 0.0  # analysed a second, over the last ten
    width_px: int = 0
    height_px: int = 0
    codec: str = ""
    decoder: str = ""  # software, or a device; where the device that was asked for cannot, "software: " and why
    decoding: str = ""  # what is decoded just now: all, keyframes, or activity (all, while something moves)
    decoding_words: str = ""  # why
    keyframes: int = 0  # decoded alone, as nothing moved
    groups: int = 0  # of pictures decoded after all, as something moved in them
    clock_offset_s: float | None = None  # the camera's clock minus ours; None: it does not tell
    main_stream: str = ""  # that evidence comes from: streaming, or why not; "" where none is configured
    read: int = 0  # packets or pictures that came
    decoded: int = 0
    taken: int = 0  # decoded and due at the analysis rate: analysed + dropped + unseen + queue
    analysed: int = 0
    dropped: int = 0  # decoded and due, but the one before was still being worked on
    withheld: int = 0  # decoded after damage, before the next whole picture
    skipped: int = 0  # never decoded, as the gateway was behind the camera
    undecoded: int = 0  # never decoded, as nothing moved or nobody asked for motion
    unseen: int = 0  # not shown to any rule, as the camera was blind
    corrupt: int = 0
    reconnects: int = 0
    repaired: int = 0  # times that were put right
    cases_open: int = 0
    cases_pending: int = 0
    silent_s: float = SILENT_S  # without a picture for longer, the camera is blind
    queue: int = 0  # pictures that wait for the rules
    evidence_failures: int = 0
    evidence_failure: str = ""  # why the last alert's evidence is missing, "" where it is not
    alerts: int = 0
    stage_s: dict[str, float] = field(default_factory=dict)  # wall seconds by stage; of decode, CPU seconds
    stage_count: dict[str, int] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)  # how often a bound was hit, by what was given up


@dataclass(frozen=True, slots=True)
class DetectorReport:
    model: str = ""
    sha256: str = ""
    provider: str = ""
    ready: bool = False
    cameras: int = 0
    queue: int = 0
    batches: int = 0
    pictures: int = 0
    batch_biggest: int = 0
    torn: int = 0
    candidates_dropped: int = 0
    wait_s: float = 0.0  # pictures' time between ready and taken, summed
    run_s: float = 0.0  # of the network, summed over batches


@dataclass(frozen=True, slots=True)
class FollowerReport:
    """Another system that is told of every alert. Counts are those since the courier's start."""

    name: str
    waiting: int = 0
    sent: int = 0
    refused: int = 0  # given up: it would never take them
    merged: int = 0  # of those sent, told in one message with others
    reason: str = ""  # what holds it up


@dataclass(frozen=True, slots=True)
class UploadReport:
    """On the way of evidence to its store. Counts are those since the courier's start."""

    store: str = ""  # address without secrets
    waiting: int = 0  # alerts and cases
    files: int = 0
    bytes: int = 0
    there: int = 0  # files that the store had already
    gone: int = 0
    changed: int = 0
    withheld: int = 0
    refused: int = 0
    failures: int = 0  # tries
    error: str = ""  # of the newest try, "" where it did not fail
    stalled: bool = False  # for longer than an outage may last


@dataclass(frozen=True, slots=True)
class CourierReport:
    broker: str = ""  # address without secrets, "" where none is configured
    connected: bool = False
    reason: str = ""
    unsent: int = 0
    sent: int = 0  # since its start
    last_sequence: int = 0
    oldest_unsent_s: float = 0.0
    unreceipted: int = 0  # confirmed by the broker, not by the brain
    oldest_unreceipted_s: float = 0.0
    merged: int = 0  # ever: a later alert carries their numbers
    given_up: int = 0  # ever, for room
    receipts_malformed: int = 0  # since its start
    refused: int = 0  # times that the broker would not take an alert
    refusal: str = ""  # in its words
    followers: tuple[FollowerReport, ...] = ()
    upload: UploadReport | None = None  # None where no store is configured
    mode: str = "normal"  # or "emergency"
    commands: dict[str, int] = field(default_factory=dict)  # by what became of them, since its start
    commands_refused: dict[str, int] = field(default_factory=dict)  # by reason
    evidence_count: int = 0  # manifests in the chain, 0 before the first
    evidence_head: str = ""  # SHA-256 of the newest


@dataclass(frozen=True, slots=True)
class ConsoleReport:
    listen: str = ""


@dataclass(frozen=True, slots=True)
class ProcessEntry:
    """A process as the supervisor knows it."""

    kind: str
    name: str
    row: int
    pid: int = 0
    state: str = RUNNING
    restarts: int = 0
    reason: str = ""  # why it ended last
    over_budget: bool = False  # it ends again and again
    silent: bool = False  # no heartbeat for some seconds; it is killed when that lasts


@dataclass(frozen=True, slots=True)
class KeptEvidence:
    """What there is of evidence on the disk, and what was given up since the start."""

    cases: int = 0  # that have pictures
    bytes: int = 0  # of pictures and clips
    removed_cases: int = 0
    removed_bytes: int = 0
    failures: int = 0  # cases whose pictures could not be given up


@dataclass(frozen=True, slots=True)
class SupervisorReport:
    site: str = ""
    gateway: str = ""
    software: str = ""
    boot_id: str = ""
    started_wall_ns: int = 0
    config_path: str = ""
    config_sha256: str = ""
    config_refused: str = ""  # the error of a newer configuration that was not taken
    reloads: int = 0  # configurations looked at since the start, refused ones too
    set_aside: str = ""  # a damaged database that was replaced by a new one at the start
    stopping: bool = False
    evidence: KeptEvidence = KeptEvidence()
    processes: tuple[ProcessEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class CameraStatus:
    camera: str
    report: CameraReport  # state and reason judged from outside
    process: ProcessEntry
    frame_age_s: float | None  # None: no picture yet


@dataclass(frozen=True, slots=True)
class DetectorStatus:
    report: DetectorReport
    process: ProcessEntry
    beat_age_s: float | None


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    supervisor: SupervisorReport
    taken_wall_ns: int
    beat_age_s: float  # of the supervisor itself
    cameras: tuple[CameraStatus, ...]
    detectors: tuple[DetectorStatus, ...]
    courier: CourierReport | None
    processes: tuple[ProcessEntry, ...]

    @property
    def problems(self) -> list[str]:
        """What keeps the gateway from its work, a line each: none means healthy. A blind camera alone is none.

        /healthz, MQTT and `edge status` say the same. The lines count no seconds: each change of one is published.
        """
        found = [*self._supervisor_problems()]
        found += [
            f"{entry.kind} {entry.name}: {entry.state} ({entry.reason})" for entry in self.processes if _bad(entry)
        ]
        found += [f"{entry.kind} {entry.name}: no sign of life" for entry in self.processes if entry.silent]
        found += [f"detector {status.process.name}: not ready" for status in self.detectors if not status.report.ready]
        if self.courier is not None and self.courier.broker:
            found += _courier_problems(self.courier)
        found += [problem for status in self.cameras for problem in _camera_problems(status)]
        if self.cameras and all(status.report.state != STREAMING for status in self.cameras):
            found.append("no camera is streaming")
        return found

    def _supervisor_problems(self) -> Iterator[str]:
        if not self.supervisor.boot_id:
            yield "supervisor: it has not reported yet"
        elif self.beat_age_s > BEAT_MAX_S:
            yield f"supervisor: no sign of life for over {BEAT_MAX_S:.0f} s"
        if self.supervisor.stopping:
            yield "supervisor: the gateway is stopping"
        if self.supervisor.set_aside:
            yield f"the database was damaged and is set aside as {self.supervisor.set_aside}; its cases are forgotten"
        if self.supervisor.config_refused:
            yield f"configuration refused, the old one runs on: {self.supervisor.config_refused}"


Report = TypeVar("Report", CameraReport, DetectorReport, CourierReport, ConsoleReport, SupervisorReport)


def write_report(row: Row, report: Report) -> None:
    row.write(json.dumps(dataclasses.asdict(report), ensure_ascii=False, separators=(",", ":")))


def read_report(row: Row, kind: type[Report]) -> Report:
    """The row's report, or an empty one where there is none yet."""
    text = row.read()
    return _made(kind, json.loads(text)) if text else kind()


def gateway_status(board: Board, *, mono_ns: int, wall_ns: int) -> GatewayStatus:
    """The whole board at one moment."""
    row = board.row(SUPERVISOR_ROW)
    supervisor = read_report(row, SupervisorReport)
    processes = supervisor.processes
    couriers = [read_report(board.row(entry.row), CourierReport) for entry in _of(processes, COURIER)]
    return GatewayStatus(
        supervisor=supervisor,
        taken_wall_ns=wall_ns,
        beat_age_s=_age_s(row.beat_ns, mono_ns) or 0.0,
        cameras=tuple(
            _camera_status(entry, board.row(entry.row), mono_ns, wall_ns) for entry in _of(processes, CAMERA)
        ),
        detectors=tuple(
            DetectorStatus(
                read_report(board.row(entry.row), DetectorReport),
                entry,
                _age_s(board.row(entry.row).beat_ns, mono_ns),
            )
            for entry in _of(processes, DETECTOR)
        ),
        courier=couriers[0] if couriers else None,
        processes=processes,
    )


def as_document(status: GatewayStatus) -> dict[str, Any]:
    return dataclasses.asdict(status)


def from_document(document: dict[str, Any]) -> GatewayStatus:
    """The other way round, for `edge status`. Raises TypeError or KeyError for what is not of this version."""
    return GatewayStatus(
        supervisor=_made(SupervisorReport, document["supervisor"]),
        taken_wall_ns=document["taken_wall_ns"],
        beat_age_s=document["beat_age_s"],
        cameras=tuple(
            CameraStatus(
                camera=row["camera"],
                report=CameraReport(**row["report"]),
                process=ProcessEntry(**row["process"]),
                frame_age_s=row["frame_age_s"],
            )
            for row in document["cameras"]
        ),
        detectors=tuple(
            DetectorStatus(DetectorReport(**row["report"]), ProcessEntry(**row["process"]), row["beat_age_s"])
            for row in document["detectors"]
        ),
        courier=_made(CourierReport, document["courier"]) if document["courier"] else None,
        processes=tuple(ProcessEntry(**row) for row in document["processes"]),
    )


def short(words: str) -> str:
    """Words that fit into a row."""
    return words if len(words) <= _WORDS_MAX else words[: _WORDS_MAX - 1] + "…"


def _camera_status(entry: ProcessEntry, row: Row, mono_ns: int, wall_ns: int) -> CameraStatus:
    report = read_report(row, CameraReport)
    age_s = _age_s(row.frame_ns, mono_ns)
    silent = age_s is None or age_s > report.silent_s
    seen_wall_ns = report.since_wall_ns if age_s is None else wall_ns - round(age_s * NS_PER_S)
    if entry.state == STOPPED:
        report = dataclasses.replace(report, state=OFF, reason="stopped", words="the gateway has stopped this camera")
    elif entry.state == WAITING:
        words = f"its process is being started again ({entry.reason})"
        report = dataclasses.replace(
            report, state=BLIND, reason="restarting", words=words, since_wall_ns=seen_wall_ns, fps=0.0
        )
    elif silent and report.state == STREAMING:
        words = f"no picture for {age_s or 0:.0f} s"
        report = dataclasses.replace(
            report, state=BLIND, reason="no-frames", words=words, since_wall_ns=seen_wall_ns, fps=0.0
        )
    return CameraStatus(entry.name, report, entry, age_s)


def _made(kind: type[Report], document: dict[str, Any]) -> Report:
    if kind is SupervisorReport:
        document = {
            **document,
            "evidence": KeptEvidence(**document["evidence"]),
            "processes": tuple(ProcessEntry(**entry) for entry in document["processes"]),
        }
    if kind is CourierReport:
        document = {**document, "followers": tuple(FollowerReport(**one) for one in document["followers"])}
    if kind is CourierReport and document.get("upload"):
        document = {**document, "upload": UploadReport(**document["upload"])}
    return kind(**document)


def _of(processes: Iterable[ProcessEntry], kind: str) -> list[ProcessEntry]:
    return [entry for entry in processes if entry.kind == kind]


def _bad(entry: ProcessEntry) -> bool:
    return entry.over_budget or (entry.state == WAITING and entry.kind != CAMERA)


def _camera_problems(status: CameraStatus) -> Iterator[str]:
    """What is wrong with the gateway, not with the camera."""
    report = status.report
    if report.reason == "not-analysed":
        yield f"camera {status.camera}: {report.words}"
    if report.evidence_failure:
        yield f"camera {status.camera}: alerts go out without evidence ({report.evidence_failure})"


def _courier_problems(courier: CourierReport) -> Iterator[str]:
    if not courier.connected:
        yield f"courier: not connected to {courier.broker} ({courier.reason})"
    for follower in courier.followers:
        if follower.reason and follower.waiting:
            yield f"follower {follower.name}: {follower.reason}"
    if courier.oldest_unsent_s > ALERT_WAITS_S:
        yield f"courier: {courier.broker} has confirmed no alert for over {ALERT_WAITS_S:.0f} s, and some wait"
    if courier.upload is not None and courier.upload.stalled:
        yield f"upload: no evidence has reached {courier.upload.store} for over {UPLOAD_STALLS_S / 60:.0f} min"
    if courier.refusal:
        yield f"courier: an alert is refused; {courier.refusal}"
    if courier.oldest_unreceipted_s > RECEIPT_WAITS_S:
        yield (
            f"courier: no receipt for over {RECEIPT_WAITS_S:.0f} s, and alerts wait for one; check the street brain, "
            "or set `confirm: puback` where none sends any"
        )


def _age_s(then_ns: int, now_ns: int) -> float | None:
    return None if then_ns == 0 else max(now_ns - then_ns, 0) / NS_PER_S


def decoding_of(report: CameraReport) -> dict[str, object] | None:
    """What is decoded of a camera's pictures, why, and what was decoded so since the gateway's start."""
    if not report.decoding:
        return None
    return {
        "mode": report.decoding,
        "words": report.decoding_words,
        "keyframes": report.keyframes,
        "groups": report.groups,
    }


def frames_by_outcome(status: CameraStatus) -> dict[str, int]:
    """What became of a camera's pictures; `docs/health.md` says how they add up."""
    return {outcome: getattr(status.report, outcome) for outcome in OUTCOMES}
