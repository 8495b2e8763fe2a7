"""The gateway's status as Prometheus metrics: made anew for each scrape, nothing is counted here.

`docs/health.md` tells operators what each means; a test holds that page to this file. Every series carries the site
and the gateway, so that many gateways can be looked at together without relabelling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from edge.core.types import NS_PER_S
from edge.runtime.health import (
    BLIND,
    OFF,
    RUNNING,
    STOPPED,
    STREAMING,
    WAITING,
    CameraStatus,
    CourierReport,
    DetectorStatus,
    GatewayStatus,
    ProcessEntry,
    UploadReport,
    frames_by_outcome,
)
from edge.state.judgements import CONFIRMED, DISMISSED, Tally
from edge.state.mode import MODES


def exposition(status: GatewayStatus, accept: str, tallies: Sequence[Tally] = ()) -> tuple[bytes, str]:
    """The page of metrics and its content type, in the format that `accept` asks for: OpenMetrics or plain text.

    `tallies`: what was said of the gateway's cases.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(status, tallies))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


@dataclass(frozen=True, slots=True, eq=False)
class _Collected:
    """prometheus_client asks a collector for its families."""

    status: GatewayStatus
    tallies: Sequence[Tally]

    def collect(self) -> Iterator[Metric]:
        return metrics_of(self.status, self.tallies)


def metrics_of(status: GatewayStatus, tallies: Sequence[Tally]) -> Iterator[Metric]:
    families = _Families((status.supervisor.site, status.supervisor.gateway))
    _tell_gateway(families, status)
    for entry in status.processes:
        _tell_process(families, entry)
    for camera in status.cameras:
        _tell_camera(families, camera)
    for detector in status.detectors:
        _tell_detector(families, detector)
    if status.courier is not None:
        _tell_courier(families, status.courier)
    for tally in tallies:
        _tell_cases(families, tally)
    yield from families.made.values()


@dataclass(slots=True)
class _Families:
    """Metric families by name, each made when its first value comes."""

    place: tuple[str, str]  # site, gateway
    made: dict[str, Metric] = field(default_factory=dict)

    def gauge(self, name: str, words: str, value: float, /, **labels: str) -> None:
        self._add(GaugeMetricFamily, name, words, value, labels)

    def counter(self, name: str, words: str, value: float, /, **labels: str) -> None:
        """`name` without `_total`, which the format adds."""
        self._add(CounterMetricFamily, name, words, value, labels)

    def info(self, name: str, words: str, named: dict[str, str], /, **labels: str) -> None:
        """`name` without `_info`, which the format adds."""
        if name not in self.made:
            self.made[name] = InfoMetricFamily(name, words, labels=("site", "gateway", *labels))
        self.made[name].add_metric((*self.place, *labels.values()), named)  # type: ignore[attr-defined]

    def one_of(self, name: str, words: str, key: str, states: tuple[str, ...], now: str, /, **labels: str) -> None:
        """1 for the state that is, 0 for the others, so that a query can add them up."""
        for state in states:
            self.gauge(name, words, float(state == now), **labels, **{key: state})

    def _add(
        self,
        kind: Callable[..., GaugeMetricFamily | CounterMetricFamily],
        name: str,
        words: str,
        value: float,
        labels: dict[str, str],
    ) -> None:
        if name not in self.made:
            self.made[name] = kind(name, words, labels=("site", "gateway", *labels))
        self.made[name].add_metric((*self.place, *labels.values()), value)  # type: ignore[attr-defined]


def _tell_gateway(families: _Families, status: GatewayStatus) -> None:
    supervisor, problems = status.supervisor, status.problems
    named = {
        "software": supervisor.software,
        "boot_id": supervisor.boot_id,
        "config_sha256": supervisor.config_sha256,
    }
    families.info("edge_build", "What runs here.", named)
    families.gauge("edge_healthy", "1 where /healthz answers 200.", float(not problems))
    families.gauge("edge_problems", "What keeps the gateway from its work, counted.", len(problems))
    families.gauge(
        "edge_start_time_seconds", "When the gateway was started, Unix time.", supervisor.started_wall_ns / NS_PER_S
    )
    families.gauge("edge_supervisor_beat_age_seconds", "Since the supervisor's last sign of life.", status.beat_age_s)
    families.gauge(
        "edge_config_refused", "1 while a newer configuration is refused.", float(bool(supervisor.config_refused))
    )
    kept = supervisor.evidence
    families.gauge("edge_evidence_cases", "Cases that have pictures on the disk, at the last look.", kept.cases)
    families.gauge("edge_evidence_bytes", "Of their pictures and clips.", kept.bytes)
    families.counter("edge_evidence_removed_cases", "Cases whose pictures were given up.", kept.removed_cases)
    families.counter("edge_evidence_removed_bytes", "Of pictures and clips given up.", kept.removed_bytes)
    families.counter("edge_evidence_removal_failures", "Cases whose pictures could not be given up.", kept.failures)


def _tell_process(families: _Families, entry: ProcessEntry) -> None:
    labels = {"kind": entry.kind, "name": entry.name}
    states = (RUNNING, WAITING, STOPPED)
    families.one_of("edge_process_state", "1 for the state of this process.", "state", states, entry.state, **labels)
    families.counter("edge_process_restarts", "Starts of this process after its first.", entry.restarts, **labels)
    families.gauge("edge_process_failing", "1 where it ends again and again.", float(entry.over_budget), **labels)


def _tell_camera(families: _Families, status: CameraStatus) -> None:
    report, camera = status.report, status.camera
    states = (STREAMING, BLIND, OFF)
    families.one_of("edge_camera_state", "1 for the camera's state.", "state", states, report.state, camera=camera)
    if report.state == BLIND:
        families.gauge("edge_camera_blind", "1, with the reason.", 1.0, camera=camera, reason=report.reason)
    if status.frame_age_s is not None:
        families.gauge("edge_camera_frame_age_seconds", "Since the last picture.", status.frame_age_s, camera=camera)
    if report.clock_offset_s is not None:
        families.gauge(
            "edge_camera_clock_offset_seconds", "The camera's clock minus ours.", report.clock_offset_s, camera=camera
        )
    families.gauge("edge_camera_frames_per_second", "Analysed, over the last 10 s.", report.fps, camera=camera)
    for axis, length in (("width", report.width_px), ("height", report.height_px)):
        families.gauge("edge_camera_size_pixels", "Of its pictures.", length, camera=camera, axis=axis)
    families.gauge("edge_camera_queue", "Pictures that wait for the rules.", report.queue, camera=camera)
    for state, count in (("open", report.cases_open), ("pending", report.cases_pending)):
        families.gauge("edge_cases", "Cases that live now.", count, camera=camera, state=state)
    for outcome, count in frames_by_outcome(status).items():
        families.counter("edge_frames", "Pictures by what became of them.", count, camera=camera, outcome=outcome)
    _tell_camera_events(families, status)
    for stage, spent_s in report.stage_s.items():
        labels = {"camera": camera, "stage": stage}
        families.counter("edge_stage_seconds", "Wall time spent in a stage of the frame path.", spent_s, **labels)
        families.counter("edge_stage_frames", "Times that it was entered.", report.stage_count.get(stage, 0), **labels)


def _tell_camera_events(families: _Families, status: CameraStatus) -> None:
    report, camera = status.report, status.camera
    families.counter("edge_camera_reconnects", "Connections after the first.", report.reconnects, camera=camera)
    families.counter("edge_camera_times_repaired", "Timestamps put right.", report.repaired, camera=camera)
    families.counter("edge_camera_alerts", "Alerts made.", report.alerts, camera=camera)
    families.counter(
        "edge_camera_evidence_failures", "Alerts without their evidence.", report.evidence_failures, camera=camera
    )
    for limit, count in report.limits.items():
        families.counter("edge_limits_hit", "Times that a bound was hit.", count, camera=camera, limit=limit)


def _tell_detector(families: _Families, status: DetectorStatus) -> None:
    report, name = status.report, status.process.name
    named = {"model": report.model, "sha256": report.sha256, "provider": report.provider}
    families.info("edge_detector", "What finds things.", named, detector=name)
    gauges = (
        ("ready", "1 where it takes pictures.", float(report.ready)),
        ("cameras", "Cameras that it serves.", report.cameras),
        ("queue", "Pictures that wait for it.", report.queue),
        ("batch_biggest", "The most pictures in one call so far.", report.batch_biggest),
    )
    counters = (
        ("batches", "Calls of the network.", report.batches),
        ("pictures", "Pictures that went through it.", report.pictures),
        ("wait_seconds", "Pictures' time between ready and taken, summed.", report.wait_s),
        ("run_seconds", "Time in the network, summed over calls.", report.run_s),
        ("torn", "Pictures passed over, as their writer was killed.", report.torn),
        ("candidates_dropped", "Boxes beyond the bound of one picture.", report.candidates_dropped),
    )
    for end, words, value in gauges:
        families.gauge(f"edge_detector_{end}", words, value, detector=name)
    for end, words, value in counters:
        families.counter(f"edge_detector_{end}", words, value, detector=name)
    if status.beat_age_s is not None:
        families.gauge(
            "edge_detector_beat_age_seconds", "Since its last sign of life.", status.beat_age_s, detector=name
        )


def _tell_cases(families: _Families, tally: Tally) -> None:
    """Gauges: a word may be taken back."""
    labels = {"camera": tally.camera, "scenario": tally.scenario}
    families.gauge(
        "edge_cases_opened",
        "Cases that were opened, but for the oldest of many.",
        tally.opened,
        **labels,
    )
    for verdict, count in ((CONFIRMED, tally.confirmed), (DISMISSED, tally.dismissed)):
        families.gauge("edge_cases_judged", "Cases by what people said of them.", count, **labels, verdict=verdict)


def _tell_courier(families: _Families, report: CourierReport) -> None:
    families.gauge("edge_broker_configured", "1 where alerts are to be sent.", float(bool(report.broker)))
    families.gauge("edge_broker_connected", "1 while the connection stands.", float(report.connected))
    families.gauge("edge_alerts_unsent", "Alerts that no broker has confirmed.", report.unsent)
    families.gauge("edge_alerts_oldest_unsent_seconds", "The age of the oldest of them.", report.oldest_unsent_s)
    families.gauge(
        "edge_alerts_unreceipted", "Alerts that the broker has, and the brain has not confirmed.", report.unreceipted
    )
    families.gauge(
        "edge_alerts_oldest_unreceipted_seconds", "The age of the oldest of them.", report.oldest_unreceipted_s
    )
    families.counter("edge_alerts_merged", "Merged into later alerts, as the outbox was full.", report.merged)
    families.counter("edge_alerts_given_up", "Given up, as the outbox was full.", report.given_up)
    families.counter("edge_alerts_refused", "Times that the broker would not take an alert.", report.refused)
    families.counter("edge_receipts_malformed", "Messages that were no receipt.", report.receipts_malformed)
    families.gauge("edge_alerts_last_sequence", "The number of the newest alert.", report.last_sequence)
    families.counter("edge_alerts_sent", "Confirmed by the broker since the courier's start.", report.sent)
    families.one_of("edge_mode", "1 for the gateway's mode.", "mode", MODES, report.mode)
    for outcome, count in report.commands.items():
        families.counter("edge_commands", "Messages on the topic of commands.", count, outcome=outcome)
    for reason, count in report.commands_refused.items():
        families.counter("edge_commands_refused", "Those that were refused, by reason.", count, reason=reason)
    for follower in report.followers:
        labels = {"follower": follower.name}
        families.gauge(
            "edge_follower_waiting", "Alerts that this system is still to be told of.", follower.waiting, **labels
        )
        families.gauge(
            "edge_follower_held_up", "1 while something holds it up.", float(bool(follower.reason)), **labels
        )
        families.counter(
            "edge_follower_sent", "Alerts that it was told of, since the courier's start.", follower.sent, **labels
        )
        families.counter("edge_follower_refused", "Alerts that it would never take.", follower.refused, **labels)
        families.counter("edge_follower_merged", "Of those sent, told together with others.", follower.merged, **labels)
    if report.upload is not None:
        _tell_upload(families, report.upload)


def _tell_upload(families: _Families, report: UploadReport) -> None:
    families.gauge("edge_upload_waiting", "Alerts and cases whose evidence is to be uploaded.", report.waiting)
    families.gauge("edge_upload_failing", "1 where the newest try failed.", float(bool(report.error)))
    families.counter("edge_upload_bytes", "Sent to the store.", report.bytes)
    families.counter("edge_upload_failures", "Tries that failed.", report.failures)
    outcomes = ("files", "there", "gone", "changed", "withheld", "refused")
    for outcome in outcomes:
        named = "sent" if outcome == "files" else outcome
        count = getattr(report, outcome)
        families.counter("edge_upload_files", "Files by what became of them.", count, outcome=named)
