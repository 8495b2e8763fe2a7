"""What an alert looks like: CloudEvents 1.0, structured JSON, and the topics that carry it.

Pure: a case's change and what is known about its gateway go in, a dictionary comes out. Nothing here reads a clock,
a file or a socket. `edge.delivery.schema` says the same as a JSON Schema.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, tzinfo
from typing import Protocol

import numpy as np

from edge.clock import iso, told_offset
from edge.core import boxes
from edge.core.types import CLEARED, NS_PER_S, Case, CaseChange, Measure
from edge.errors import DeliveryError
from edge.ports import EvidenceFile

CONTENT_TYPE = "application/cloudevents+json"
ALL_ALERTS = "cityeye/v1/+/+/alert/#"
ALL_MEASURES = "cityeye/v1/+/+/measure/#"
STATIC_OBJECT = "static-object"  # the label of a thing that no model has a name for

# Fixed for ever: the ids of everything hang on it.
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:cityeye:v1")

_THUMBNAIL_FRAME = 160  # bytes: its keys and sizes, and the digits of the alert's number

Polygon = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """Where an alert comes from: one camera of one gateway, with the versions that judged its frames."""

    site: str
    gateway: str
    camera_id: str
    camera_name: str
    road: str
    grid: str
    zones: Mapping[str, Polygon]  # zone id -> corners in fractions 0..1 of the frame
    timezone: tzinfo
    model_name: str
    model_sha256: str
    config_sha256: str
    software: str

    @property
    def source(self) -> str:
        return f"cityeye/{self.site}/{self.gateway}"


@dataclass(frozen=True, slots=True)
class Tag:
    """How a scenario's cases are filed: the row of the code table, and how urgent they are."""

    category_code: str
    category_name: str
    category_standard: str
    category_extension: bool  # True: the code is ours, not the standard's
    severity: str


class Check(Protocol):
    """What a second model thinks of the thing."""

    @property
    def model(self) -> str: ...

    @property
    def label(self) -> str: ...

    @property
    def score(self) -> float: ...


class Picture(Protocol):
    """A picture in letters."""

    @property
    def media_type(self) -> str: ...

    @property
    def width_px(self) -> int: ...

    @property
    def height_px(self) -> int: ...

    @property
    def base64(self) -> str: ...


class Topics:
    """The topics of one gateway."""

    def __init__(self, site: str, gateway: str) -> None:
        self._root = f"cityeye/v1/{_level(site)}/{_level(gateway)}"
        self.status = f"{self._root}/status"
        self.receipt = f"{self._root}/receipt"
        self.command = f"{self._root}/command"
        self.reply = f"{self._root}/reply"
        self.all_health = f"{self._root}/health/+"
        self.all_cases = f"{self._root}/cases/+"

    def alert(self, camera: str, scenario: str) -> str:
        return f"{self._root}/alert/{_level(camera)}/{_level(scenario)}"

    def measure(self, camera: str, name: str) -> str:
        return f"{self._root}/measure/{_level(camera)}/{_level(name)}"

    def health(self, camera: str) -> str:
        return f"{self._root}/health/{_level(camera)}"

    def cases(self, camera: str) -> str:
        return f"{self._root}/cases/{_level(camera)}"


def _level(name: str) -> str:
    if not name or set(name) & set("/+#\0"):
        raise DeliveryError(f"{name!r} cannot be a level of an MQTT topic: use an id without / + #")
    return name


def uuid5_of(*parts: str) -> str:
    """The UUIDv5 of some words in order: the same words give the same id on every machine."""
    return str(uuid.uuid5(_NAMESPACE, "\n".join(parts)))


def alert(
    change: CaseChange,
    *,
    origin: Origin,
    tag: Tag,
    frame_px: tuple[int, int],
    now_wall_ns: int,
    mono_to_wall: int,
    media_time_s: float | None,
    evidence: Sequence[EvidenceFile],
    evidence_error: str = "",
    check: Check | None = None,
    clock_offset_s: float | None = None,
) -> dict[str, object]:
    """One alert, complete but for its number: `sequence` is 0 until the outbox has stored it.

    `frame_px` is (width, height); `mono_to_wall` is this frame's `wall_ns - mono_ns`; `clock_offset_s` is the camera's
    clock minus ours, None where it does not tell.
    """
    case = change.case
    return {
        "specversion": "1.0",
        "id": uuid5_of(origin.source, case.case_id, change.kind, str(case.alerts)),
        "source": origin.source,
        "type": f"cityeye.case.{change.kind}.v1",
        "subject": f"{case.camera}/{case.scenario}",
        "time": iso(now_wall_ns, origin.timezone),
        "sequence": 0,
        "data": {
            "case_id": case.case_id,
            "state": case.state,
            **({"reason": change.reason} if change.reason else {}),
            "scenario": case.scenario,
            **({"reasons": list(case.reasons)} if case.reasons else {}),
            **({"occurrences": _occurrences(case, origin.timezone)} if case.occurrences else {}),
            "category": category_entry(tag),
            "severity": tag.severity,
            "site": origin.site,
            "gateway": origin.gateway,
            "camera": _camera(origin),
            "zone": {"id": case.zone, "polygon": [list(corner) for corner in origin.zones[case.zone]]},
            "object": _object(case, frame_px),
            **({} if check is None else {"check": _check(check)}),
            **_times(case, origin.timezone, mono_to_wall),
            **({} if media_time_s is None else {"media_time_s": round(media_time_s, 3)}),
            **({} if clock_offset_s is None else told_offset(clock_offset_s)),
            "evidence": [_evidence(file, origin.timezone) for file in evidence],
            **({"evidence_error": evidence_error} if evidence_error else {}),
            "model": {"name": origin.model_name, "sha256": origin.model_sha256},
            "config_sha256": origin.config_sha256,
            "software": origin.software,
        },
    }


def room_for_thumbnail(body: Mapping[str, object], *, bytes_max: int) -> int:
    """How many letters of base64 may be added to an alert, so that with its number it is at most so long."""
    return bytes_max - len(dumps(body).encode()) - _THUMBNAIL_FRAME


def with_thumbnail(body: Mapping[str, object], thumbnail: Picture) -> dict[str, object]:
    """The alert with a small picture in it."""
    picture = {
        "media_type": thumbnail.media_type,
        "width": thumbnail.width_px,
        "height": thumbnail.height_px,
        "data": thumbnail.base64,
    }
    data = body["data"]
    assert isinstance(data, dict)
    return {**body, "data": {**data, "thumbnail": picture}}


def measure(
    measured: Measure,
    *,
    use: str,
    line: Polygon | None,
    origin: Origin,
    now_wall_ns: int,
) -> dict[str, object]:
    """One measure. `line`: the ends of the line that it is of, None where it is of a zone."""
    place = {"id": measured.place}
    at = {"zone": place} if line is None else {"line": {**place, "ends": [list(end) for end in line]}}
    parts = (measured.name, measured.place, str(measured.from_wall_ns), str(measured.first_wall_ns))
    return {
        "specversion": "1.0",
        "id": uuid5_of(origin.source, "measure", origin.camera_id, *parts),
        "source": origin.source,
        "type": "cityeye.measure.v1",
        "subject": f"{origin.camera_id}/{measured.name}",
        "time": iso(now_wall_ns, origin.timezone),
        "data": {
            "name": measured.name,
            "use": use,
            "site": origin.site,
            "gateway": origin.gateway,
            "camera": _camera(origin),
            **at,
            "from": iso(measured.from_wall_ns, origin.timezone),
            "to": iso(measured.to_wall_ns, origin.timezone),
            "seen_s": round(measured.seen_ns / NS_PER_S, 3),
            "values": dict(measured.values),
            "config_sha256": origin.config_sha256,
            "software": origin.software,
        },
    }


def dumps(message: Mapping[str, object]) -> str:
    """The canonical form: one line, no spaces, keys in their order, Chinese left readable."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def category_entry(tag: Tag) -> dict[str, object]:
    return {
        "code": tag.category_code,
        "name": tag.category_name,
        "standard": tag.category_standard,
        "extension": tag.category_extension,
    }


def _occurrences(case: Case, timezone: tzinfo) -> list[dict[str, object]]:
    """The days on which it came, this one the last."""
    return [
        {
            "day": date.fromordinal(one.day).isoformat(),
            "started_at": iso(one.started_wall_ns, timezone),
            "count": one.count,
        }
        for one in case.occurrences
    ]


def _camera(origin: Origin) -> dict[str, object]:
    return {"id": origin.camera_id, "name": origin.camera_name, "road": origin.road, "grid": origin.grid}


def _object(case: Case, frame_px: tuple[int, int]) -> dict[str, object]:
    return {
        "label": case.label or STATIC_OBJECT,
        "score": round(float(case.score), 3),
        **({"count": int(case.count)} if case.count > 1 else {}),
        "box_px": _box(case, frame_px),
        "frame_px": [int(length) for length in frame_px],
    }


def _check(check: Check) -> dict[str, object]:
    return {"model": check.model, "label": check.label, "score": round(float(check.score), 3)}


def _box(case: Case, frame_px: tuple[int, int]) -> list[int]:
    """Inside the frame: a track at its edge runs on beyond it."""
    footprint = np.array([case.footprint], np.float32)
    return [round(float(edge)) for edge in boxes.clip(footprint, width=frame_px[0], height=frame_px[1])[0]]


def _times(case: Case, timezone: tzinfo, mono_to_wall: int) -> dict[str, object]:
    seen_clear = case.state == CLEARED  # a withdrawn case ended too, but nobody saw the place empty
    cleared = {"cleared_at": iso(int(case.cleared_ns) + mono_to_wall, timezone)} if seen_clear else {}
    return {
        "started_at": iso(int(case.started_wall_ns), timezone),
        "opened_at": iso(int(case.opened_wall_ns), timezone),
        **cleared,
        "dwell_s": round(int(case.last_seen_ns - case.started_ns) / NS_PER_S, 1),
    }


def _evidence(file: EvidenceFile, timezone: tzinfo) -> dict[str, object]:
    return {
        "role": file.role,
        "media_type": file.media_type,
        "sha256": file.sha256,
        "bytes": file.bytes,
        "path": file.path,
        "taken_at": iso(file.taken_wall_ns, timezone),
    }
