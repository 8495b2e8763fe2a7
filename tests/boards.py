"""Status boards as a running gateway fills them, to test those that read them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

from edge.core.types import NS_PER_S
from edge.runtime.board import SUPERVISOR_ROW, Board
from edge.runtime.health import (
    BLIND,
    CAMERA,
    COURIER,
    DETECTOR,
    STAGES,
    STREAMING,
    CameraReport,
    CourierReport,
    DetectorReport,
    GatewayStatus,
    ProcessEntry,
    SupervisorReport,
    UploadReport,
    gateway_status,
    write_report,
)

START_WALL_NS = 1_777_858_200 * NS_PER_S + 123_456_789  # 2026-05-04T09:30:00.123 in Shanghai
START_MONO_NS = 1000 * NS_PER_S
BROKER = "mqtts://brain.example:8883"


def a_camera_report(number: int = 1, **changes: Any) -> CameraReport:
    """A camera that has been streaming for an hour, its numbers as long as they are in life."""
    dice = random.Random(number)
    read = dice.randrange(50_000, 60_000)
    analysed, dropped, unseen = dice.randrange(7_000, 7_200), dice.randrange(40), dice.randrange(20)
    report = CameraReport(
        state=STREAMING,
        reason="",
        since_wall_ns=START_WALL_NS,
        fps=1.9 + dice.random() / 5,
        width_px=640,
        height_px=360,
        codec="h264",
        clock_offset_s=dice.uniform(-2, 2),
        read=read,
        decoded=read - dice.randrange(10),
        taken=analysed + dropped + unseen,
        analysed=analysed,
        dropped=dropped,
        withheld=dice.randrange(90),
        skipped=dice.randrange(9),
        unseen=unseen,
        corrupt=dice.randrange(5),
        reconnects=dice.randrange(4),
        repaired=dice.randrange(3),
        cases_open=dice.randrange(3),
        cases_pending=dice.randrange(9),
        alerts=dice.randrange(50),
        stage_s={stage: analysed * dice.uniform(0.0005, 0.02) for stage in STAGES},
        stage_count=dict.fromkeys(STAGES, analysed),
        limits={"cases_refused": 0, "tracks_dropped": dice.randrange(3)},
    )
    return replace(report, **changes)


@dataclass
class Gateway:
    """A board and the time; what is changed here is what readers see. Close it."""

    cameras: int = 2
    board: Board = field(default_factory=Board.create)
    mono_ns: int = START_MONO_NS
    supervisor: SupervisorReport = field(default_factory=lambda: SUPERVISOR)

    def __post_init__(self) -> None:
        names = [f"cam-{number:02d}" for number in range(1, self.cameras + 1)]
        kinds = [(DETECTOR, "yolox-nano"), (COURIER, "courier"), *((CAMERA, name) for name in names)]
        self.processes = [
            ProcessEntry(kind, name, row, pid=1000 + row) for row, (kind, name) in enumerate(kinds, SUPERVISOR_ROW + 1)
        ]
        self.tell_supervisor()
        for number, name in enumerate(names, 1):
            self.tell(CAMERA, name, a_camera_report(number))
        self.tell(DETECTOR, "yolox-nano", DETECTOR_REPORT)
        self.tell(COURIER, "courier", COURIER_REPORT)
        self.pass_time(0)

    @property
    def wall_ns(self) -> int:
        return START_WALL_NS + self.mono_ns - START_MONO_NS

    def pass_time(self, seconds: float) -> None:
        """Time passes and all is well: every process beats, every camera gives pictures."""
        self.mono_ns += round(seconds * NS_PER_S)
        for number in [SUPERVISOR_ROW, *(entry.row for entry in self.processes)]:
            self.board.row(number).beat(self.mono_ns)
            self.board.row(number).frame(self.mono_ns - NS_PER_S // 10)

    def tell_supervisor(self, **changes: Any) -> None:
        self.supervisor = replace(self.supervisor, **changes, processes=tuple(self.processes))
        write_report(self.board.row(SUPERVISOR_ROW), self.supervisor)

    def tell(self, kind: str, name: str, report: Any) -> None:
        entry = next(entry for entry in self.processes if (entry.kind, entry.name) == (kind, name))
        write_report(self.board.row(entry.row), report)

    def blind(self, name: str, reason: str = "wrong-password", words: str = "the camera refuses the password") -> None:
        self.tell(CAMERA, name, a_camera_report(state=BLIND, reason=reason, words=words, since_wall_ns=self.wall_ns))

    def remove(self, name: str) -> None:
        self.processes = [entry for entry in self.processes if entry.name != name]
        self.tell_supervisor()

    def change_process(self, name: str, **changes: Any) -> None:
        self.processes = [replace(entry, **changes) if entry.name == name else entry for entry in self.processes]
        self.tell_supervisor()

    def status(self) -> GatewayStatus:
        return gateway_status(self.board, mono_ns=self.mono_ns, wall_ns=self.wall_ns)


SUPERVISOR = SupervisorReport(
    site="xiaohe",
    gateway="gw-01",
    software="0.1.0",
    boot_id="0b5a2a06-9bfb-4b0e-8e0b-7d8d4c1f5a11",
    started_wall_ns=START_WALL_NS,
    config_path="site.yaml",
    config_sha256="b" * 64,
)
DETECTOR_REPORT = DetectorReport(
    model="yolox-nano",
    sha256="a" * 64,
    provider="CPUExecutionProvider",
    ready=True,
    cameras=2,
    queue=1,
    batches=3600,
    pictures=14_400,
    batch_biggest=8,
    torn=1,
    candidates_dropped=2,
    wait_s=36.5,
    run_s=1234.5,
)
UPLOAD_REPORT = UploadReport(store="s3://evidence at store", waiting=2, files=7, bytes=700_000, there=1, failures=3)
COURIER_REPORT = CourierReport(
    broker=BROKER,
    connected=True,
    unsent=3,
    sent=39,
    last_sequence=42,
    oldest_unsent_s=1.25,
    commands={"received": 3, "done": 2},
    commands_refused={"stale": 1},
    unreceipted=2,
    oldest_unreceipted_s=4.0,
    merged=7,
    given_up=1,
    receipts_malformed=5,
)
