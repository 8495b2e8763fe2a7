"""The status board in the words of `delivery`: what the courier publishes of the gateway and its cameras.

    Board -> GatewayStatus -> GatewayHealth + CameraHealth... -> HealthNotices -> {topic: body}

The courier's own row is a moment old; here its state is taken from itself, or the first message over a fresh
connection would say that there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import tzinfo

from edge.clock import SystemClock
from edge.delivery.bridges.follower import FollowerState
from edge.delivery.courier import CourierState
from edge.delivery.health import CONNECTION_LOST, STOPPED, CameraHealth, GatewayHealth, HealthNotices
from edge.delivery.upload import UploadState
from edge.evidence.chain import Head
from edge.runtime.health import (
    BLIND,
    COMMAND_OUTCOMES,
    OFF,
    STREAMING,
    UPLOAD_STALLS_S,
    CameraStatus,
    CourierReport,
    FollowerReport,
    GatewayStatus,
    UploadReport,
    decoding_of,
    frames_by_outcome,
    short,
)
from edge.state.mode import NORMAL


@dataclass(frozen=True, slots=True)
class Commanded:
    """What the street brain has asked of this gateway, for whoever tells how it does."""

    mode: str = NORMAL
    commands: Mapping[str, int] = field(default_factory=dict)  # by what became of them
    refused: Mapping[str, int] = field(default_factory=dict)  # by reason


class Announcer:
    """A courier's `Notices`, for one gateway. Used from the courier's thread alone."""

    def __init__(
        self,
        status: Callable[[], GatewayStatus],
        *,
        broker: str,
        site: str,
        gateway: str,
        timezone: tzinfo,
        health_s: float = 10.0,
        followers: Callable[[], Sequence[FollowerState]] = tuple,
        clock: SystemClock | None = None,
        commanded: Callable[[], Commanded] = Commanded,
        head: Callable[[], Head | None] = lambda: None,
    ) -> None:
        """`broker` is its address without secrets; `health_s` is how often numbers are told; `commanded`: what the
        street brain has asked so far; `head`: the end of the chain of evidence."""
        self._status = status
        self._broker = broker
        self._followers = followers
        self._notices = HealthNotices(site=site, gateway=gateway, timezone=timezone, health_s=health_s)
        self._clock = clock or SystemClock()
        self._commanded = commanded
        self._head = head

    def current(self, courier: CourierState) -> Mapping[str, str]:
        status = self._seen(courier)
        if not status.supervisor.boot_id:
            return {}  # the supervisor has not reported yet: nothing is known, so nothing is taken back either
        cameras = [camera_health(camera) for camera in status.cameras]
        gateway = gateway_health(status)
        return self._notices.update(gateway, cameras, mono_ns=self._clock.mono_ns(), wall_ns=status.taken_wall_ns)

    def will(self, courier: CourierState) -> tuple[str, str] | None:
        return self._offline(courier, CONNECTION_LOST)

    def farewell(self, courier: CourierState) -> tuple[str, str] | None:
        return self._offline(courier, STOPPED)

    def _offline(self, courier: CourierState, reason: str) -> tuple[str, str] | None:
        status = self._seen(courier)
        if not status.supervisor.boot_id:
            return None
        return self._notices.offline(gateway_health(status), reason, wall_ns=status.taken_wall_ns)

    def _seen(self, courier: CourierState) -> GatewayStatus:
        status = self._status()
        upload = status.courier.upload if status.courier else None
        followers, commanded, head = self._followers(), self._commanded(), self._head()
        return replace(status, courier=courier_report(courier, self._broker, followers, upload, commanded, head=head))


def upload_report(state: UploadState) -> UploadReport:
    """For the courier's row of the board."""
    return UploadReport(
        store=short(state.address),
        waiting=state.waiting,
        error=short(state.error),
        stalled=state.failing_s > UPLOAD_STALLS_S,
        **asdict(state.counts),
    )


def courier_report(
    state: CourierState,
    broker: str,
    followers: Iterable[FollowerState] = (),
    upload: UploadReport | None = None,
    commanded: Commanded | None = None,
    *,
    head: Head | None = None,
) -> CourierReport:
    """For the courier's row of the board."""
    commanded, head = commanded or Commanded(), head or Head()
    return CourierReport(
        broker=broker,
        connected=state.connected,
        reason=short(state.reason),
        unsent=state.unsent,
        sent=state.sent,
        last_sequence=state.last_sequence,
        oldest_unsent_s=round(state.oldest_unsent_s, 1),
        mode=commanded.mode,
        commands=dict(commanded.commands),
        commands_refused=dict(commanded.refused),
        unreceipted=state.unreceipted,
        oldest_unreceipted_s=round(state.oldest_unreceipted_s, 1),
        merged=state.merged,
        given_up=state.given_up,
        receipts_malformed=state.receipts_malformed,
        refused=state.refused,
        refusal=short(state.refusal),
        evidence_count=max(head.count, 0),
        evidence_head=head.sha256 or "",
        followers=tuple(follower_report(one) for one in followers),
        upload=upload,
    )


def follower_report(state: FollowerState) -> FollowerReport:
    return FollowerReport(
        name=state.name,
        waiting=state.waiting,
        sent=state.sent,
        refused=state.refused,
        merged=state.merged,
        reason=short(state.reason),
    )


def gateway_health(status: GatewayStatus) -> GatewayHealth:
    supervisor, courier = status.supervisor, status.courier or CourierReport()
    states = [camera.report.state for camera in status.cameras]
    return GatewayHealth(
        boot_id=supervisor.boot_id,
        software=supervisor.software,
        started_wall_ns=supervisor.started_wall_ns,
        config_sha256=supervisor.config_sha256,
        config_refused=supervisor.config_refused,
        last_sequence=courier.last_sequence,
        unsent=courier.unsent,
        oldest_unsent_s=courier.oldest_unsent_s,
        mode=courier.mode,
        commands={outcome: courier.commands.get(outcome, 0) for outcome in COMMAND_OUTCOMES},
        commands_refused=courier.commands_refused,
        unreceipted=courier.unreceipted,
        oldest_unreceipted_s=courier.oldest_unreceipted_s,
        merged=courier.merged,
        given_up=courier.given_up,
        receipts_malformed=courier.receipts_malformed,
        cameras={state: states.count(state) for state in (STREAMING, BLIND, OFF)},
        problems=tuple(status.problems),
        followers=[
            {"name": one.name, "waiting": one.waiting, "sent": one.sent, "refused": one.refused, "merged": one.merged}
            for one in courier.followers
        ],
        uploads=None if courier.upload is None else upload_counts(courier.upload),
        evidence={"count": courier.evidence_count, "head": courier.evidence_head} if courier.evidence_head else None,
    )


def upload_counts(report: UploadReport) -> dict[str, object]:
    """What is told of the uploading outside; `docs/evidence.md` says what each counts."""
    counted = ("waiting", "files", "bytes", "there", "gone", "changed", "withheld", "refused", "failures", "error")
    return {name: getattr(report, name) for name in counted}


def camera_health(status: CameraStatus) -> CameraHealth:
    report = status.report
    return CameraHealth(
        camera=status.camera,
        state=report.state,
        reason=report.reason,
        words=report.words,
        since_wall_ns=report.since_wall_ns,
        fps=report.fps,
        frame_age_s=status.frame_age_s,
        frame_px=(report.width_px, report.height_px) if report.width_px and report.height_px else None,
        codec=report.codec,
        decoder=report.decoder,
        frames=frames_by_outcome(status),
        reconnects=report.reconnects,
        repaired=report.repaired,
        restarts=status.process.restarts,
        clock_offset_s=report.clock_offset_s,
        main_stream=report.main_stream,
        decoding=decoding_of(report),
        cases_open=report.cases_open,
        cases_pending=report.cases_pending,
        queue=report.queue,
        stage_s=report.stage_s,
        stage_count=report.stage_count,
    )
