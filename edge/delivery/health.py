"""What the street brain is told of the gateway itself: one retained notice of it, and one of each of its cameras.

    GatewayHealth + CameraHealth... --HealthNotices.update--> {topic: body} --Courier--> broker, retained

CloudEvents like the alerts, but never numbered and never stored: only the newest counts. Pure: the times are given in,
and an event's id is made of its content. A change of state is told at once, numbers alone every `health_s`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from edge.clock import iso, told_offset
from edge.core.types import seconds_to_ns
from edge.delivery.message import Topics, dumps, uuid5_of

GATEWAY_TYPE = "cityeye.gateway.status.v1"
CAMERA_TYPE = "cityeye.camera.health.v1"
ONLINE = "online"
OFFLINE = "offline"
CONNECTION_LOST = "connection lost"  # the last will's reason
STOPPED = "stopped"  # an orderly end's
_EMERGENCY_NS = seconds_to_ns(5)  # how often numbers are told in an emergency, at least


@dataclass(frozen=True, slots=True)
class GatewayHealth:
    boot_id: str
    software: str
    started_wall_ns: int
    config_sha256: str
    config_refused: str  # the error of a newer configuration that was not taken, "" where there is none
    last_sequence: int  # of the newest alert in the outbox, 0 before the first
    unsent: int
    oldest_unsent_s: float
    mode: str  # normal | emergency
    commands: Mapping[str, int]  # by what became of them, since the courier's start
    commands_refused: Mapping[str, int]  # by reason
    unreceipted: int
    oldest_unreceipted_s: float
    merged: int
    given_up: int
    receipts_malformed: int
    cameras: Mapping[str, int]  # how many are streaming, blind, off
    problems: tuple[str, ...]
    followers: Sequence[Mapping[str, object]] = ()  # other systems that are told: name, and counts
    evidence: Mapping[str, object] | None = None  # the chain's head: how many manifests, which is the newest
    uploads: Mapping[str, object] | None = None  # what became of evidence files, None where none is uploaded


@dataclass(frozen=True, slots=True)
class CameraHealth:
    """One camera. Counts are those since the gateway's start."""

    camera: str
    state: str  # streaming | blind | off
    reason: str
    words: str
    since_wall_ns: int  # 0: not known
    fps: float
    frame_age_s: float | None  # None: no picture yet
    frame_px: tuple[int, int] | None  # width, height
    codec: str
    decoder: str  # "software" is not told
    frames: Mapping[str, int]  # by what became of them
    reconnects: int
    repaired: int
    restarts: int
    clock_offset_s: float | None
    main_stream: str
    decoding: Mapping[str, object] | None  # what is decoded of its pictures, and why; None before the first
    cases_open: int
    cases_pending: int
    queue: int
    stage_s: Mapping[str, float]  # wall seconds by stage
    stage_count: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Posted:
    state: Hashable  # what is told at once when it changes
    data: Mapping[str, object]
    body: str
    mono_ns: int


class HealthNotices:
    """The newest notice of each topic. Not thread-safe."""

    def __init__(
        self, *, site: str, gateway: str, timezone: tzinfo, health_s: float = 10.0, change_s: float = 1.0
    ) -> None:
        """Numbers are told every `health_s`; a state that flutters is told at most every `change_s`."""
        self._topics = Topics(site, gateway)
        self._source = f"cityeye/{site}/{gateway}"
        self._gateway = gateway
        self._timezone = timezone
        self._calm_ns = self._health_ns = seconds_to_ns(health_s)
        self._change_ns = seconds_to_ns(change_s)
        self._posted: dict[str, _Posted] = {}  # as many as there are cameras, and one

    def update(
        self, gateway: GatewayHealth, cameras: Iterable[CameraHealth], *, mono_ns: int, wall_ns: int
    ) -> dict[str, str]:
        """Topic -> body of all that is to be retained now; a topic that is no longer named is to be cleared."""
        told = [self._of_gateway(gateway), *(self._of_camera(gateway.boot_id, camera) for camera in cameras)]
        self._health_ns = self._calm_ns if gateway.mode == "normal" else min(self._calm_ns, _EMERGENCY_NS)
        self._posted = {
            topic: self._newest(topic, kind, state, data, mono_ns=mono_ns, wall_ns=wall_ns)
            for topic, kind, state, data in told
        }
        return {topic: posted.body for topic, posted in self._posted.items()}

    def offline(self, gateway: GatewayHealth, reason: str, *, wall_ns: int) -> tuple[str, str]:
        """Topic and body for the end: the last will, made when connecting, or an orderly goodbye."""
        data = {"state": OFFLINE, "reason": reason, **self._lasting(gateway)}
        return self._topics.status, self._event(GATEWAY_TYPE, self._gateway, data, wall_ns)

    def _newest(
        self, topic: str, kind: str, state: Hashable, data: Mapping[str, object], *, mono_ns: int, wall_ns: int
    ) -> _Posted:
        before = self._posted.get(topic)
        if before is not None:
            age_ns = mono_ns - before.mono_ns
            due = age_ns >= (self._health_ns if state == before.state else self._change_ns)
            if not due or data == before.data:
                return before
        body = self._event(kind, topic.rpartition("/")[2] if kind == CAMERA_TYPE else self._gateway, data, wall_ns)
        return _Posted(state, data, body, mono_ns)

    def _event(self, kind: str, subject: str, data: Mapping[str, object], wall_ns: int) -> str:
        event = {
            "specversion": "1.0",
            "id": "",
            "source": self._source,
            "type": kind,
            "subject": subject,
            "time": iso(wall_ns, self._timezone),
            "data": data,
        }
        return dumps({**event, "id": uuid5_of(dumps(event))})

    def _of_gateway(self, health: GatewayHealth) -> tuple[str, str, Hashable, dict[str, object]]:
        data: dict[str, object] = {
            "state": ONLINE,
            **self._lasting(health),
            "commands": {**health.commands, "refused": dict(health.commands_refused)},
            "cameras": dict(health.cameras),
            **({"followers": list(health.followers)} if health.followers else {}),
            "problems": list(health.problems),
            **({} if health.uploads is None else {"uploads": dict(health.uploads)}),
        }
        cameras = tuple(health.cameras.items())
        state = (health.boot_id, health.config_sha256, health.config_refused, health.mode, health.problems, cameras)
        return self._topics.status, GATEWAY_TYPE, state, data

    def _lasting(self, health: GatewayHealth) -> dict[str, object]:
        """What holds for a gateway that is gone, too."""
        return {
            "boot_id": health.boot_id,
            "software": health.software,
            "started_at": iso(health.started_wall_ns, self._timezone),
            "config_sha256": health.config_sha256,
            **({"config_refused": health.config_refused} if health.config_refused else {}),
            "mode": health.mode,
            "last_sequence": health.last_sequence,
            "alerts": {
                "unsent": health.unsent,
                "oldest_unsent_s": round(health.oldest_unsent_s, 1),
                "unreceipted": health.unreceipted,
                "oldest_unreceipted_s": round(health.oldest_unreceipted_s, 1),
                "merged": health.merged,
                "given_up": health.given_up,
                "receipts_malformed": health.receipts_malformed,
            },
            **({} if health.evidence is None else {"evidence": dict(health.evidence)}),
        }

    def _of_camera(self, boot_id: str, health: CameraHealth) -> tuple[str, str, Hashable, dict[str, object]]:
        data: dict[str, object] = {
            "camera": health.camera,
            "state": health.state,
            "reason": health.reason,
            "words": health.words,
            "since": iso(health.since_wall_ns, self._timezone) if health.since_wall_ns else None,
            "boot_id": boot_id,
            "fps": round(health.fps, 1),
            "frame_age_s": None if health.frame_age_s is None else round(health.frame_age_s, 1),
            "frame_px": None if health.frame_px is None else list(health.frame_px),
            "codec": health.codec,
            **({"decoder": health.decoder} if health.decoder not in ("", "software") else {}),
            "frames": dict(health.frames),
            "reconnects": health.reconnects,
            "repaired": health.repaired,
            "restarts": health.restarts,
            **told_offset(health.clock_offset_s),
            **({"decoding": dict(health.decoding)} if health.decoding else {}),
            **({"main_stream": health.main_stream} if health.main_stream else {}),
            "cases": {"open": health.cases_open, "pending": health.cases_pending},
            "queue": health.queue,
            "stages_ms": {
                stage: round(1000 * spent_s / health.stage_count[stage], 2)
                for stage, spent_s in health.stage_s.items()
                if health.stage_count.get(stage)
            },
        }
        return self._topics.health(health.camera), CAMERA_TYPE, (boot_id, health.state, health.reason), data
