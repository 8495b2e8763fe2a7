"""The report of one replay: a single HTML file that says what was seen, where, since when, and what it cost.

    alerts, summary -> cases, timelines -> report.html.j2 -> report.html

Pictures travel inside the page as small copies; the full files are linked by relative path. The same input gives the
same bytes: nothing here reads a clock. It refuses to embed a picture whose bytes are not those that the alert names.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import cv2
import jinja2
import numpy as np

from edge.errors import EvidenceError

PICTURE_WIDTH_PX = 640
THUMBNAIL_WIDTH_PX = 240
JPEG_QUALITY = 80
CASES_WITH_PICTURES = 100
MEASURES_SHOWN = 200  # rows of the table; measures.jsonl holds them all
THUMBNAILS_A_CASE = 6
LANES_A_ROW = 12
TICKS_AT_MOST = 9
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)

# Shown small beside the English words. A word that is not here is shown as it came.
CHINESE = {
    "open": "未清除",
    "cases_refused": "未受理案件",
    "tracks_dropped": "放弃跟踪",
    "checks_put_off": "推迟复核",
    "checks_forgotten": "遗忘复核",
    "detections_dropped": "舍弃检测",
    "stills_thinned": "抽稀留证",
    "stills_refused": "未留证",
    "timestamps_repaired": "修正时间戳",
    "cleared": "已清除",
    "withdrawn": "已撤销",
    "opened": "立案",
    "updated": "更新",
    "seen-empty": "现场已清空",
    "left": "已离开",
    "replaced": "已由他物占据",
    "merged": "已并入相邻案件",
    "hours": "非监管时段",
    "dismissed": "人工排除",
    "normal": "一般",
    "high": "较急",
    "urgent": "紧急",
    "low": "轻微",
    "overview": "全景",
    "original": "原图",
    "crop": "特写",
    "still": "留证",
    "clip": "录像",
    "after": "清除后",
    "signature": "签名",
    "manifest": "清单",
    "static-object": "静止物",
    "person": "人",
    "bicycle": "自行车",
    "car": "小汽车",
    "motorcycle": "摩托车",
    "bus": "公交车",
    "truck": "货车",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """One embedded copy, or the reason why there is none."""

    caption: str
    caption_zh: str
    alt: str
    taken_at: str
    link: str = ""  # relative; "" where the path may not be followed
    data_uri: str = ""
    width_px: int = 0
    height_px: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    role: str
    path: str
    link: str
    sha256: str
    size: str
    taken_at: str


@dataclass(frozen=True, slots=True)
class Step:
    """One alert in the life of a case."""

    kind: str  # opened | updated | cleared | withdrawn
    at: datetime
    sequence: str
    media_time: str


@dataclass(frozen=True, slots=True)
class CaseView:
    """One case as its card and its bar show it."""

    number: int
    case_id: str
    state: str  # open | cleared | withdrawn
    reason: str
    scenario: str
    category: Mapping[str, Any]
    severity: str
    zone: str
    camera: Mapping[str, str]
    thing: str
    count: int  # how many things it is made of
    score: str
    started: datetime
    opened: datetime
    ended: datetime | None
    dwell: str
    steps: tuple[Step, ...]
    pictures: tuple[Picture, ...]  # before, after
    thumbnails: tuple[Picture, ...]  # crop, stills
    pictures_left_out: bool
    clips: tuple[EvidenceRow, ...]  # played from beside the page
    evidence: tuple[EvidenceRow, ...]
    evidence_error: str
    model: Mapping[str, Any]
    check: Mapping[str, Any] | None  # what the classifier said of it, where one was asked
    config_sha256: str
    software: str

    @property
    def anchor(self) -> str:
        return f"case-{self.number}"


@dataclass(frozen=True, slots=True)
class Span:
    """The stretch of time that a timeline covers."""

    start: datetime
    end: datetime

    def percent(self, moment: datetime) -> float:
        share = (moment - self.start) / (self.end - self.start)
        return round(100 * min(max(share, 0.0), 1.0), 3)


@dataclass(frozen=True, slots=True)
class Tick:
    percent: float
    label: str
    wall: str
    minor: bool


@dataclass(frozen=True, slots=True)
class Bar:
    case: CaseView
    lane: int
    start: float
    opened: float
    end: float
    marks: tuple[tuple[str, float, str], ...]  # kind, percent, hover title
    title: str


@dataclass(frozen=True, slots=True)
class Row:
    zone: str
    scenario: str
    name: str  # the category's, in the language of the code table
    bars: tuple[Bar, ...]
    lanes: int


@dataclass(frozen=True, slots=True)
class Timeline:
    camera: Mapping[str, str]
    rows: tuple[Row, ...]


def write_report(
    folder: Path,
    *,
    alerts: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    site_name: str,
    timezone: str,
    measures: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write `folder/report.html` and return its path.

    `alerts` and `measures` are CloudEvents in the order in which they were told, `summary` is what `summary.json`
    holds; evidence paths are relative to `folder`. A picture that is missing or altered is named on the page. Raises
    EvidenceError when the page cannot be written.
    """
    zone = ZoneInfo(timezone)
    cases = _cases(folder, alerts, zone)
    span = _span(summary, cases, zone)
    clips = [_clip(clip, zone) for clip in summary["clips"]]
    html = (
        _environment()
        .get_template("report.html.j2")
        .render(
            site_name=site_name,
            timezone=timezone,
            summary=summary,
            clips=clips,
            cases=cases,
            tally=_tally(cases),
            measures=[_measure(told["data"], zone) for told in measures[:MEASURES_SHOWN]],
            measures_left=max(len(measures) - MEASURES_SHOWN, 0),
            span=span,
            ticks=_ticks(span, one_clip=len(clips) == 1),
            timelines=_timelines(cases, span, str(summary["camera"])),
            limits={name: count for name, count in summary["limits"].items() if count},
            stages=_stages(summary),
            cases_with_pictures=CASES_WITH_PICTURES,
        )
    )
    return _replace(folder / "report.html", html)


def _replace(path: Path, html: str) -> Path:
    """A reader sees the old page or the new one, never half of one."""
    draft = path.with_suffix(".html.part")
    try:
        draft.write_text(html, encoding="utf-8", newline="\n")
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise EvidenceError(
            f"{path}: the report cannot be written ({error.strerror}); free the place and replay"
        ) from error
    return path


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edge.evidence", package_path=""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "zh": lambda word: CHINESE.get(word, ""),
        "clock": lambda moment: f"{moment:%H:%M:%S}",
        "day": lambda moment: f"{moment:%Y-%m-%d}",
        "moment": lambda moment: f"{moment:%Y-%m-%d %H:%M:%S}",
        "seconds": _seconds,
        "grouped": lambda number: f"{number:,}",
        "csp_hash": lambda text: base64.b64encode(hashlib.sha256(str(text).encode()).digest()).decode(),
    }
    return environment


# Cases


def _cases(folder: Path, alerts: Sequence[Mapping[str, Any]], zone: tzinfo) -> list[CaseView]:
    """The alerts of each case together, in the order in which the cases were opened."""
    by_case: dict[str, list[Mapping[str, Any]]] = {}
    for alert in alerts:
        by_case.setdefault(str(alert["data"]["case_id"]), []).append(alert)
    return [_case(folder, told, number=number, zone=zone) for number, told in enumerate(by_case.values(), start=1)]


def _case(folder: Path, told: Sequence[Mapping[str, Any]], *, number: int, zone: tzinfo) -> CaseView:
    first, last = told[0]["data"], told[-1]["data"]
    steps = tuple(_step(alert, zone) for alert in told)
    state = steps[-1].kind if steps[-1].kind in ("cleared", "withdrawn") else "open"
    entries = _entries(told)
    thing = str(first["object"].get("label") or "static-object")
    embed = number <= CASES_WITH_PICTURES
    about = f"{thing} in zone {first['zone']['id']}, {first['camera'].get('name') or first['camera']['id']}"
    return CaseView(
        number=number,
        case_id=str(first["case_id"]),
        state=state,
        reason=str(last.get("reason") or ""),
        scenario=str(first["scenario"]),
        category={"code": "", "name": "", "standard": "", "extension": False} | dict(first["category"]),
        severity=str(last["severity"]),
        zone=str(first["zone"]["id"]),
        camera=_camera(first["camera"]),
        thing=thing,
        count=int(first["object"].get("count") or 1),
        score=_score(first["object"].get("score")),
        started=_time(first["started_at"], zone),
        opened=_time(first.get("opened_at") or told[0]["time"], zone),
        ended=None if state == "open" else _time(last.get("cleared_at") or told[-1]["time"], zone),
        dwell=_seconds(last["dwell_s"]),
        steps=steps,
        pictures=tuple(_before_and_after(folder, entries, about, zone)) if embed else (),
        thumbnails=tuple(_thumbnails(folder, entries, about, zone)) if embed else (),
        pictures_left_out=not embed,
        clips=tuple(_evidence_row(entry, zone) for entry in entries if entry["role"] == "clip"),
        evidence=tuple(_evidence_row(entry, zone) for entry in entries),
        evidence_error=str(last.get("evidence_error") or ""),
        model=first["model"],
        check=first.get("check"),
        config_sha256=str(first["config_sha256"]),
        software=str(first["software"]),
    )


def _camera(told: Mapping[str, Any]) -> dict[str, str]:
    """The camera with every field there; what its configuration left out is empty."""
    return {field: str(told.get(field) or "") for field in ("id", "name", "road", "grid")}


def _step(alert: Mapping[str, Any], zone: tzinfo) -> Step:
    """The kind is in the event type: `cityeye.case.<kind>.v1`."""
    media_time_s = alert["data"].get("media_time_s")
    return Step(
        kind=str(alert["type"]).split(".")[-2],
        at=_time(alert["time"], zone),
        sequence=str(alert.get("sequence", "")),
        media_time="" if media_time_s is None else _clock_position(media_time_s),
    )


def _entries(told: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Every evidence file of a case once, in the order in which the alerts named them."""
    entries = {str(entry["path"]): entry for alert in reversed(told) for entry in reversed(alert["data"]["evidence"])}
    return list(reversed(entries.values()))


def _evidence_row(entry: Mapping[str, Any], zone: tzinfo) -> EvidenceRow:
    return EvidenceRow(
        role=str(entry["role"]),
        path=str(entry["path"]),
        link=_link(str(entry["path"])),
        sha256=str(entry["sha256"]),
        size=_size(int(entry["bytes"])),
        taken_at=f"{_time(entry['taken_at'], zone):%H:%M:%S}",
    )


# Pictures


def _before_and_after(
    folder: Path, entries: Sequence[Mapping[str, Any]], about: str, zone: tzinfo
) -> Iterator[Picture]:
    overviews = [entry for entry in entries if entry["role"] == "overview"]
    afters = [entry for entry in entries if entry["role"] == "after"]
    if overviews:
        yield _picture(folder, overviews[0], about, zone, width_px=PICTURE_WIDTH_PX)
    if afters:
        yield _picture(folder, afters[-1], about, zone, width_px=PICTURE_WIDTH_PX)


def _thumbnails(folder: Path, entries: Sequence[Mapping[str, Any]], about: str, zone: tzinfo) -> Iterator[Picture]:
    crops = [entry for entry in entries if entry["role"] == "crop"][:1]
    stills = [entry for entry in entries if entry["role"] == "still"]
    for entry in (crops + stills)[:THUMBNAILS_A_CASE]:
        yield _picture(folder, entry, about, zone, width_px=THUMBNAIL_WIDTH_PX)


_CAPTIONS = {"overview": "Before", "after": "After", "crop": "Object", "still": "Still"}
_CAPTIONS_ZH = {"overview": "清除前", "after": "清除后", "crop": "特写", "still": "留证"}


def _picture(folder: Path, entry: Mapping[str, Any], about: str, zone: tzinfo, *, width_px: int) -> Picture:
    role = str(entry["role"])
    taken = _time(entry["taken_at"], zone)
    link = _link(str(entry["path"]))
    data, problem = _evidence_bytes(folder, entry) if link else (b"", "picture outside the folder")
    small = None if problem else _small_copy(data, width_px)
    if small is None:
        data_uri, height_px, shown_px = "", 0, 0
        problem = problem or "picture cannot be read"
    else:
        jpeg, shown_px, height_px = small
        data_uri = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
    return Picture(
        caption=_CAPTIONS[role],
        caption_zh=_CAPTIONS_ZH[role],
        alt=f"{_CAPTIONS[role]}: {about}, {taken:%Y-%m-%d %H:%M:%S}",
        taken_at=f"{taken:%H:%M:%S}",
        link=link,
        data_uri=data_uri,
        width_px=shown_px,
        height_px=height_px,
        problem=problem,
    )


def _evidence_bytes(folder: Path, entry: Mapping[str, Any]) -> tuple[bytes, str]:
    """The file's bytes, or the reason why they may not be shown."""
    try:
        data = (folder / str(entry["path"])).read_bytes()
    except OSError:
        return b"", "picture missing"
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        return b"", "picture altered: its SHA-256 is not the one in the alert"
    return data, ""


def _small_copy(data: bytes, width_px: int) -> tuple[bytes, int, int] | None:
    """A JPEG at most `width_px` wide with its width and height; None when the bytes are no picture."""
    if not data:
        return None
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    if bgr is None:
        return None
    height, width = bgr.shape[:2]
    if width > width_px:
        height = max(1, round(height * width_px / width))
        width = width_px
        bgr = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return jpeg.tobytes(), width, height


def _link(path: str) -> str:
    """A relative link that stays in the report's folder, or "" for a path that leaves it."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        return ""
    return quote(path, safe="/")


# Timelines


def _span(summary: Mapping[str, Any], cases: Sequence[CaseView], zone: tzinfo) -> Span:
    """From the first clip's start to the last one's end; wider where a case says so."""
    moments = [moment for case in cases for moment in (case.started, case.opened, case.ended) if moment]
    for clip in summary["clips"]:
        start = _time(clip["started_at"], zone)
        moments += [start, start + timedelta(seconds=clip["duration_s"])]
    if not moments:
        moments = [_time(summary["started_at"], zone), _time(summary["ended_at"], zone)]
    start, end = min(moments), max(moments)
    return Span(start, max(end, start + timedelta(seconds=1)))


def _ticks(span: Span, *, one_clip: bool) -> list[Tick]:
    """Round positions in the one clip, else round local times."""
    length_s = (span.end - span.start).total_seconds()
    step_s = next((step for step in _STEPS_S if length_s / step <= TICKS_AT_MOST), math.ceil(length_s / TICKS_AT_MOST))
    midnight = span.start.replace(hour=0, minute=0, second=0, microsecond=0)
    past_s = 0.0 if one_clip else (span.start - midnight).total_seconds()
    first_s = 0.0 if one_clip else math.ceil(past_s / step_s) * step_s - past_s
    return [
        _tick(span, offset_s=first_s + index * step_s, index=index, one_clip=one_clip)
        for index in range(math.floor((length_s - first_s) / step_s) + 1)
    ]


def _tick(span: Span, *, offset_s: float, index: int, one_clip: bool) -> Tick:
    moment = span.start + timedelta(seconds=offset_s)
    wall = f"{moment:%H:%M:%S}"
    label = _clock_position(offset_s) if one_clip else wall
    below = wall if one_clip else f"{moment:%m-%d}"
    return Tick(span.percent(moment), label, below, minor=index % 2 == 1)


def _timelines(cases: Sequence[CaseView], span: Span, camera_id: str) -> list[Timeline]:
    """One for each camera that has a case, or one empty one for the camera that was replayed."""
    by_camera: dict[str, list[CaseView]] = {}
    for case in cases:
        by_camera.setdefault(str(case.camera["id"]), []).append(case)
    if not by_camera:
        return [Timeline(_camera({"id": camera_id}), ())]
    return [Timeline(held[0].camera, tuple(_rows(held, span))) for held in by_camera.values()]


def _rows(cases: Sequence[CaseView], span: Span) -> Iterator[Row]:
    by_place: dict[tuple[str, str], list[CaseView]] = {}
    for case in cases:
        by_place.setdefault((case.zone, case.scenario), []).append(case)
    for (zone, scenario), held in sorted(by_place.items()):
        lanes = _lanes(held, span)
        bars = tuple(_bar(case, lane, span) for case, lane in zip(held, lanes, strict=True))
        yield Row(zone, scenario, held[0].category["name"], bars, max(lanes) + 1)


def _lanes(cases: Sequence[CaseView], span: Span) -> list[int]:
    """A lane for each case so that cases at one time lie one below the other; the last lane takes what is too much."""
    free_from: list[datetime] = []
    lanes = [0] * len(cases)
    for row in sorted(range(len(cases)), key=lambda row: cases[row].started):
        case = cases[row]
        lane = next((lane for lane, free in enumerate(free_from) if free <= case.started), len(free_from))
        lane = min(lane, LANES_A_ROW - 1)
        free_from[lane : lane + 1] = [case.ended or span.end]
        lanes[row] = lane
    return lanes


def _bar(case: CaseView, lane: int, span: Span) -> Bar:
    marks = tuple(
        (step.kind, span.percent(case.opened if step.kind == "opened" else step.at), f"{step.kind} {step.at:%H:%M:%S}")
        for step in case.steps
    )
    name = case.category.get("name") or case.scenario
    until = f"{case.state} {case.ended:%H:%M:%S}" if case.ended else "open at the end"
    return Bar(
        case=case,
        lane=lane,
        start=span.percent(case.started),
        opened=span.percent(case.opened),
        end=span.percent(case.ended or span.end),
        marks=marks,
        title=f"Case {case.number}: {name}, {case.thing}, since {case.started:%H:%M:%S}, {until}",
    )


# Numbers


def _tally(cases: Sequence[CaseView]) -> list[dict[str, Any]]:
    """Cases by scenario and state, scenarios in order of first appearance."""
    counts = Counter((case.scenario, case.state) for case in cases)
    names = {case.scenario: case.category["name"] for case in cases}
    return [
        {
            "scenario": scenario,
            "name": name,
            "open": counts[scenario, "open"],
            "cleared": counts[scenario, "cleared"],
            "withdrawn": counts[scenario, "withdrawn"],
        }
        for scenario, name in names.items()
    ]


def _measure(data: Mapping[str, Any], zone: tzinfo) -> dict[str, Any]:
    return {
        "name": data["name"],
        "place": (data.get("zone") or data["line"])["id"],
        "start": _time(data["from"], zone),
        "end": _time(data["to"], zone),
        "seen_s": data["seen_s"],
        "values": ", ".join(
            f"{name} {'unknown' if value is None else value}" for name, value in data["values"].items()
        ),
    }


def _clip(clip: Mapping[str, Any], zone: tzinfo) -> dict[str, Any]:
    start = _time(clip["started_at"], zone)
    return {**clip, "start": start, "end": start + timedelta(seconds=clip["duration_s"])}


def _stages(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The stages, most costly first, each with its share of the run's wall time."""
    wall_s = summary["wall_s"] or math.inf
    rows = [
        {
            "name": name,
            "wall_s": stage["wall_s"],
            "count": stage["count"],
            "each_ms": 1000 * stage["wall_s"] / stage["count"] if stage["count"] else 0.0,
            "percent": round(min(100 * stage["wall_s"] / wall_s, 100.0), 1),
        }
        for name, stage in summary["stages"].items()
    ]
    return sorted(rows, key=lambda row: (-row["wall_s"], row["name"]))


def _time(text: str, zone: tzinfo) -> datetime:
    return datetime.fromisoformat(text).astimezone(zone)


def _seconds(duration_s: float) -> str:
    """`4.2 s`, `2 min 04 s`, `2 h 05 min`."""
    if duration_s < 120:
        return f"{duration_s:.1f} s"
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def _clock_position(position_s: float) -> str:
    """Where in a clip, as a player shows it: `1:04` or `1:02:03`."""
    minutes, seconds = divmod(math.floor(position_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.2f}"


def _size(count: int) -> str:
    return f"{count} B" if count < 1000 else f"{count / 1000:.0f} kB" if count < 1_000_000 else f"{count / 1e6:.1f} MB"
