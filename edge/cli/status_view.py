"""The table of `edge status`: trouble first, then every camera. From two samples of one gateway it shows rates.

Columns come in groups: as many as fit stand side by side, each group beside the names that it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edge.core.types import NS_PER_S
from edge.runtime.health import (
    OFF,
    RUNNING,
    STAGES,
    STREAMING,
    CameraReport,
    CameraStatus,
    CourierReport,
    DetectorStatus,
    FollowerReport,
    GatewayStatus,
    ProcessEntry,
    UploadReport,
)
from edge.state.mode import NORMAL

UNKNOWN = "-"
_GAP = 2  # between columns
_NAMED_MAX = 4  # cameras in a line
_UNSHOWN_STAGE = "still"  # eighty columns hold no more; the metrics have it
_STYLES = {STREAMING: "green", OFF: "dim"}  # all else is red

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """A gateway's status now, and what it was a moment ago."""

    now: GatewayStatus
    before: GatewayStatus | None = None

    @property
    def since(self) -> GatewayStatus | None:
        """The one before, where it is of the same run."""
        before = self.before
        if before is None or before.supervisor.boot_id != self.now.supervisor.boot_id:
            return None
        return before if before.taken_wall_ns < self.now.taken_wall_ns else None

    @property
    def seconds(self) -> float:
        return (self.now.taken_wall_ns - self.since.taken_wall_ns) / NS_PER_S if self.since else 0.0


def view(sample: Sample, width: int) -> RenderableType:
    """All of it, in `width` columns where the names allow that."""
    status = sample.now
    cameras = sorted(_cameras(sample), key=lambda row: row.now.report.state == STREAMING)
    restarted = [entry for entry in status.processes if entry.restarts or entry.state != RUNNING]
    # The cameras stand last: they are many, and a screen that is watched shows only so much.
    return Group(
        *_header(status),
        *_why(status),
        *_tables(_DETECTOR, _detectors(sample), width),
        "",
        *_courier(status.courier, sample),
        *_decoding(status.cameras),
        _processes(status),
        *_tables(_PROCESS, restarted, width),
        *_tables(_CAMERA, cameras, width),
    )


def _header(status: GatewayStatus) -> Iterator[RenderableType]:
    supervisor = status.supervisor
    up = duration((status.taken_wall_ns - supervisor.started_wall_ns) / NS_PER_S)
    begun = f"{datetime.fromtimestamp(supervisor.started_wall_ns / NS_PER_S, UTC).astimezone():%Y-%m-%d %H:%M}"
    streaming = sum(camera.report.state == STREAMING for camera in status.cameras)
    yield Text.assemble(
        (f"{supervisor.site} / {supervisor.gateway}", "bold"), f"   City Eye Edge {supervisor.software}"
    )
    yield Text(f"up {up}, since {begun}; {streaming} of {len(status.cameras)} cameras streaming")
    yield Text(f"configuration {supervisor.config_sha256[:12]} {supervisor.config_path}", "dim")
    kept = supervisor.evidence
    if kept.cases or kept.removed_cases:
        gone = f"; given up since the start: {kept.removed_cases} cases" if kept.removed_cases else ""
        yield Text(f"evidence of {kept.cases} cases, {kept.bytes / 1e9:.2f} GB{gone}", "dim")
    found = status.problems
    yield from (Text(line, "bold red") for line in found or ())
    if not found:
        yield Text("healthy", "green")


def _why(status: GatewayStatus) -> Iterator[RenderableType]:
    """The reasons in words, which are too many for a column."""
    blind = [camera for camera in status.cameras if camera.report.state != STREAMING and camera.report.words]
    if blind:
        yield ""
    yield from (Text.assemble((camera.camera, "bold"), f": {camera.report.words}") for camera in blind)
    # In a word "software" is as it should be; more of them say why the device that was asked for does not decode.
    yield from (
        Text.assemble((camera.camera, "bold"), (f": decoded by {camera.report.decoder}", "yellow"))
        for camera in status.cameras
        if camera.report.decoder.startswith("software:")
    )


def _decoding(cameras: Sequence[CameraStatus]) -> Iterator[Text]:
    """What is decoded, and why: a line for each reason, with whom it holds for."""
    reasons: dict[tuple[str, str], list[CameraReport]] = {}
    named: dict[tuple[str, str], list[str]] = {}
    for camera in cameras:
        report = camera.report
        if report.decoding:
            reason = (report.decoding, report.decoding_words)
            reasons.setdefault(reason, []).append(report)
            named.setdefault(reason, []).append(camera.camera)
    for (mode, words), reports in sorted(reasons.items()):
        names = named[mode, words]
        who = ", ".join(names) if len(names) <= _NAMED_MAX else f"{len(names)} cameras"
        counts = (
            f"{_count(sum(report.keyframes for report in reports))} keyframes and "
            f"{_count(sum(report.groups for report in reports))} groups decoded, "
            f"{_count(sum(report.undecoded for report in reports))} packets not"
        )
        yield Text.assemble(("decoding", "bold"), f" {mode} ({words}): {who}; {counts}")


def _courier(report: CourierReport | None, sample: Sample) -> Iterator[Text]:
    if report is None:
        return
    line = Text.assemble(("courier", "bold"), " ")
    if not report.broker:
        line.append("no broker is configured, alerts wait in the outbox", "yellow")
    elif report.connected:
        line.append(f"connected to {report.broker}", "green")
    else:
        line.append(f"not connected to {report.broker}: {report.reason or UNKNOWN}", "red")
    before = sample.since.courier if sample.since else None
    rate = _rate(report.sent, before.sent if before else None, sample.seconds)
    oldest = f", the oldest for {duration(report.oldest_unsent_s)}" if report.unsent else ""
    line.append(f"; {report.unsent} unsent{oldest}; {report.sent}{rate} sent; last sequence {report.last_sequence}")
    yield line
    if words := "; ".join(_outbox(report)):
        yield Text.assemble(("outbox", "bold"), f" {words}")
    yield from (_follower(follower) for follower in report.followers)
    if report.upload is not None:
        yield _upload(report.upload)
    if report.mode != NORMAL:
        yield Text.assemble(("mode", "bold"), " ", (report.mode, "bold yellow"))
    if report.commands.get("received"):
        yield Text.assemble(("commands", "bold"), f" {_commands(report)}")


def _outbox(report: CourierReport) -> Iterator[str]:
    if report.unreceipted:
        yield f"{report.unreceipted} without a receipt, the oldest for {duration(report.oldest_unreceipted_s)}"
    if report.merged or report.given_up:
        yield f"for room, {report.merged} merged and {report.given_up} given up"
    if report.receipts_malformed:
        yield f"{report.receipts_malformed} malformed receipts"


def _follower(report: FollowerReport) -> Text:
    line = Text.assemble("  follower ", (report.name, "bold"), f": {report.waiting} waiting, {report.sent} sent")
    line.append(f", {report.merged} of them together" if report.merged else "")
    line.append(f", {report.refused} refused" if report.refused else "", "red")
    line.append(f"; {report.reason}" if report.reason else "", "red")
    return line


def _upload(report: UploadReport) -> Text:
    line = Text.assemble(("upload", "bold"), " ")
    if report.error:
        line.append(f"fails: {report.error}", "red")
    else:
        line.append(f"to {report.store}", "green")
    line.append(f"; {report.waiting} alerts wait; {report.files} files sent ({report.bytes / 1e6:.1f} MB)")
    rest = {
        "there already": report.there,
        "gone": report.gone,
        "changed": report.changed,
        "withheld": report.withheld,
        "refused": report.refused,
        "tries failed": report.failures,
    }
    line.append("".join(f", {count} {words}" for words, count in rest.items() if count))
    return line


def _commands(report: CourierReport) -> str:
    parts = [f"{count} {outcome}" for outcome, count in report.commands.items() if count]
    refused = ", ".join(f"{reason} {count}" for reason, count in sorted(report.commands_refused.items()))
    return "; ".join([", ".join(parts), *([f"refused: {refused}"] if refused else [])])


def _processes(status: GatewayStatus) -> Text:
    running = sum(entry.state == RUNNING for entry in status.processes)
    restarts = sum(entry.restarts for entry in status.processes)
    words = f"{running} of {len(status.processes)} running, {restarts} restarts"
    return Text.assemble(("processes", "bold"), " ", words)


# Rows and columns. `T` is what a row is about.


@dataclass(frozen=True, slots=True)
class Row(Generic[T]):
    """A camera or a detector now, and a moment ago."""

    now: T
    before: T | None
    seconds: float  # between the two
    taken_wall_ns: int

    def count(self, value: Callable[[T], int]) -> str:
        """The total, and how fast it grows."""
        before = None if self.before is None else value(self.before)
        return f"{_count(value(self.now))}{_rate(value(self.now), before, self.seconds)}"

    def mean(self, total: Callable[[T], float], count: Callable[[T], int], *, factor: float = 1.0) -> str:
        """Over what was counted since a moment ago, else over all."""
        summed, counted = total(self.now), count(self.now)
        if self.before is not None and 0 < count(self.before) < counted:
            summed, counted = summed - total(self.before), counted - count(self.before)
        return f"{summed / counted * factor:.1f}" if counted else UNKNOWN

    def rate(self, value: Callable[[T], int]) -> str:
        before = None if self.before is None else value(self.before)
        return _rate(value(self.now), before, self.seconds).strip(" +").removesuffix("/s") or UNKNOWN


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    title: str
    cell: Callable[[T], str]
    right: bool = True
    style: Callable[[T], str] = lambda row: ""


def _cameras(sample: Sample) -> list[Row[CameraStatus]]:
    before = {camera.camera: camera for camera in sample.since.cameras} if sample.since else {}
    taken_ns = sample.now.taken_wall_ns
    return [Row(camera, before.get(camera.camera), sample.seconds, taken_ns) for camera in sample.now.cameras]


def _detectors(sample: Sample) -> list[Row[DetectorStatus]]:
    before = {detector.process.name: detector for detector in sample.since.detectors} if sample.since else {}
    taken_ns = sample.now.taken_wall_ns
    return [Row(at, before.get(at.process.name), sample.seconds, taken_ns) for at in sample.now.detectors]


_Camera = Column[Row[CameraStatus]]
_Detector = Column[Row[DetectorStatus]]
_Process = Column[ProcessEntry]


def _stage(name: str) -> _Camera:
    def cell(row: Row[CameraStatus]) -> str:
        return row.mean(
            lambda at: at.report.stage_s.get(name, 0.0), lambda at: at.report.stage_count.get(name, 0), factor=1e3
        )

    return Column(f"{name} ms" if name == STAGES[0] else name, cell)


def duration(seconds: float) -> str:
    """The two biggest units: `4 d 3 h`, `12 min`, `7 s`."""
    whole_s = max(round(seconds), 0)
    minutes, hours, days = whole_s // 60, whole_s // 3600, whole_s // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{whole_s} s"


def _for(row: Row[CameraStatus]) -> str:
    since_ns = row.now.report.since_wall_ns
    return duration((row.taken_wall_ns - since_ns) / NS_PER_S) if since_ns else UNKNOWN


def _picture(camera: CameraStatus) -> str:
    report = camera.report
    return f"{report.width_px}x{report.height_px} {report.codec}".strip() if report.width_px else UNKNOWN


def _provider(detector: DetectorStatus) -> str:
    return detector.report.provider.removesuffix("ExecutionProvider") or UNKNOWN


def _count(number: int) -> str:
    if number < 100_000:
        return str(number)
    return f"{number / 1000:.0f}k" if number < 10_000_000 else f"{number / 1_000_000:.0f}M"


def _rate(now: int, before: int | None, seconds: float) -> str:
    """` +2.5/s`, or nothing where it stands still or has begun anew."""
    if before is None or now <= before or seconds <= 0:
        return ""
    return f" +{(now - before) / seconds:.1f}/s"


def _signed(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else f"{seconds:+.1f}"


# The first group names the row, and stands before each of the others where they do not fit beside one another.
_CAMERA: list[list[_Camera]] = [
    [Column("camera", lambda row: row.now.camera, right=False, style=lambda row: "bold")],
    [
        Column(
            "state",
            lambda row: " ".join(filter(None, (row.now.report.state, row.now.report.reason))),
            right=False,
            style=lambda row: _STYLES.get(row.now.report.state, "red"),
        ),
        Column("for", _for),
        Column("fps", lambda row: f"{row.now.report.fps:.1f}"),
        Column("age s", lambda row: UNKNOWN if row.now.frame_age_s is None else f"{row.now.frame_age_s:.1f}"),
        Column("picture", lambda row: _picture(row.now), right=False),
        Column("cases", lambda row: str(row.now.report.cases_open)),
    ],
    [
        Column("dropped", lambda row: row.count(lambda at: at.report.dropped)),
        Column("withheld", lambda row: row.count(lambda at: at.report.withheld)),
        Column("skipped", lambda row: row.count(lambda at: at.report.skipped)),
        Column("unseen", lambda row: row.count(lambda at: at.report.unseen)),
        Column("reconnects", lambda row: _count(row.now.report.reconnects)),
        Column("restarts", lambda row: _count(row.now.process.restarts)),
        Column("clock s", lambda row: _signed(row.now.report.clock_offset_s)),
    ],
    [_stage(name) for name in STAGES if name != _UNSHOWN_STAGE],
]
_DETECTOR: list[list[_Detector]] = [
    [Column("detector", lambda row: row.now.process.name, right=False, style=lambda row: "bold")],
    [
        Column(
            "state",
            lambda row: "ready" if row.now.report.ready else "not ready",
            right=False,
            style=lambda row: "green" if row.now.report.ready else "red",
        ),
        Column("provider", lambda row: _provider(row.now), right=False),
        Column("cameras", lambda row: str(row.now.report.cameras)),
        Column("queue", lambda row: str(row.now.report.queue)),
        Column("batch", lambda row: row.mean(lambda at: at.report.pictures, lambda at: at.report.batches)),
        Column("max", lambda row: str(row.now.report.batch_biggest)),
        Column("wait ms", lambda row: row.mean(lambda at: at.report.wait_s, lambda at: at.report.pictures, factor=1e3)),
        Column("run ms", lambda row: row.mean(lambda at: at.report.run_s, lambda at: at.report.batches, factor=1e3)),
    ],
    [
        Column("pictures", lambda row: _count(row.now.report.pictures)),
        Column("batches", lambda row: _count(row.now.report.batches)),
        Column("pictures/s", lambda row: row.rate(lambda at: at.report.pictures)),
        Column("batches/s", lambda row: row.rate(lambda at: at.report.batches)),
        Column("torn", lambda row: row.count(lambda at: at.report.torn)),
        Column("boxes lost", lambda row: row.count(lambda at: at.report.candidates_dropped)),
    ],
]
_PROCESS: list[list[_Process]] = [
    [Column("process", lambda entry: f"{entry.kind} {entry.name}", right=False, style=lambda row: "bold")],
    [
        Column(
            "state",
            lambda entry: f"{entry.state}, ends again and again" if entry.over_budget else entry.state,
            right=False,
            style=lambda entry: "green" if entry.state == RUNNING and not entry.over_budget else "red",
        ),
        Column("pid", lambda entry: str(entry.pid or UNKNOWN)),
        Column("restarts", lambda entry: _count(entry.restarts)),
        Column("ended last by", lambda entry: entry.reason, right=False),
    ],
]


def _tables(groups: Sequence[Sequence[Column[T]]], rows: Sequence[T], width: int) -> Iterator[RenderableType]:
    names, *others = groups
    side_by_side: list[Column[T]] = [*names, *others[0]]
    for group in others[1:]:
        if _width([*side_by_side, *group], rows) > width:
            yield from ("", _table(side_by_side, rows))
            side_by_side = [*names]
        side_by_side += group
    if rows:
        yield from ("", _table(side_by_side, rows))


def _width(columns: Sequence[Column[T]], rows: Sequence[T]) -> int:
    return sum(max(cell_len(text) for text in (column.title, *map(column.cell, rows))) + _GAP for column in columns)


def _table(columns: Sequence[Column[T]], rows: Sequence[T]) -> Table:
    table = Table(box=None, padding=(0, _GAP, 0, 0), header_style="dim", show_edge=False)
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left", overflow="fold", no_wrap=False)
    for row in rows:
        table.add_row(*(Text(column.cell(row), column.style(row)) for column in columns))
    return table
