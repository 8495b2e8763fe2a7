"""A gateway as an installer would run it: `edge run` in a process of its own, asked and hurt from outside.

Everything is waited for with a limit; whatever the test does, the gateway and its children are gone at the end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from edge.errors import EdgeError
from edge.runtime.health import GatewayStatus, ProcessEntry
from edge.runtime.status_socket import fetch_status
from tests.bench.streams import Recipe

STOP_S = 12.0
# Two cars that stand from beginning to end, played there and back: what is parked stays parked over the loop's end.
PARKED = Recipe(
    source=Path("carpark_leaving_car6.mp4"),
    crop="640:360:0:60",
    start_s=5.0,
    duration_s=10.0,
    there_and_back=True,
)
PARKED_ZONES = {
    "bays": [[0.42, 0.033], [0.66, 0.033], [0.66, 0.273], [0.42, 0.273]],
    "corner": [[0.70, 0.10], [0.84, 0.10], [0.84, 0.367], [0.70, 0.367]],
}
EMPTY_ZONE = [[0.02, 0.75], [0.3, 0.75], [0.3, 0.97], [0.02, 0.97]]


def camera_config(
    name: str, url: str, *, fps: float = 2.0, after_s: float = 5.0, zones: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """A camera that watches for parked cars."""
    zones = PARKED_ZONES if zones is None else zones
    return {
        "id": name,
        "source": url,
        "sampling": {"decode": "all", "fps": fps},  # drills are about other things than what is decoded
        "zones": [{"id": zone, "polygon": polygon} for zone, polygon in zones.items()],
        "scenarios": [{"use": "illegal-parking", "zones": list(zones), "after_s": after_s, "clear_after_s": 5}],
        **more,
    }


def site_config(cameras: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "site": {"id": "bench", "timezone": "Asia/Shanghai"},
        "gateway": {"id": "gw-01"},
        "console": "none",
        **more,
        "cameras": list(cameras),
    }


@dataclass
class RunningGateway:
    """`edge run` on a configuration; the state lies in `folder/state`, the log in `folder/edge.log`."""

    folder: Path
    site: dict[str, Any]
    environ: dict[str, str] = field(default_factory=dict)
    delivered: Callable[[], Sequence[dict[str, Any]]] = tuple  # what a subscriber has
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.config = self.folder / "site.yaml"
        self.state = self.folder / "state"
        self.log_path = self.folder / "edge.log"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_config(self.site)
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.end()
        if error is not None:
            print(self.log_tail())

    def write_config(self, site: dict[str, Any]) -> None:
        text = yaml.safe_dump(site, allow_unicode=True, sort_keys=False)
        whole = self.config.with_suffix(".new")
        whole.write_text(text, encoding="utf-8")
        whole.replace(self.config)

    def start(self) -> None:
        command = [sys.executable, "-m", "edge", "run", "--config", str(self.config), "--state", str(self.state)]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--log-format", "text"],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.environ},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, limit_s: float = STOP_S) -> float:
        """SIGTERM; returns how long the end took. The exit status must be 0."""
        assert self._process is not None
        begin_s = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(limit_s)
        assert status == 0, f"edge run ended with {status}\n{self.log_tail()}"
        return time.monotonic() - begin_s

    def kill(self) -> None:
        """SIGKILL to the supervisor."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_S)

    def end(self) -> None:
        """However it stands: nothing of it is left."""
        if self._process is None:
            return
        if self.running:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(STOP_S)
        for pid in self.session():
            os.kill(pid, signal.SIGKILL)

    def session(self) -> list[int]:
        """Every process of the gateway that lives, also those that it has lost: they share a session of their own."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                fields = _stat(int(entry.name))
                if fields and fields[0] not in "ZX" and int(fields[3]) == self.pid:
                    found.append(int(entry.name))
        return found

    def status(self) -> GatewayStatus:
        return fetch_status(self.state)

    def edge_status(self) -> tuple[int, str]:
        """The exit status of `edge status`, and what it printed."""
        command = [sys.executable, "-m", "edge", "status", "--state", str(self.state)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, done.stdout + done.stderr

    def wait_until(self, holds: Callable[[GatewayStatus], bool], limit_s: float, what: str) -> float:
        """Ask until `holds`; returns how long that took."""
        begin_s = time.monotonic()
        last: GatewayStatus | EdgeError | None = None
        while time.monotonic() - begin_s < limit_s:
            try:
                last = self.status()
                if holds(last):
                    return time.monotonic() - begin_s
            except EdgeError as error:
                last = error
                if not self.running:
                    break
            time.sleep(0.05)
        raise AssertionError(f"not within {limit_s} s: {what}\nlast: {last}\n{self.log_tail()}")

    def wait_streaming(self, limit_s: float = 30.0, *, count: int | None = None) -> float:
        """Until so many cameras (else all) are streaming."""
        wanted = len(self.site["cameras"]) if count is None else count
        return self.wait_until(lambda status: streaming(status) >= wanted, limit_s, f"{wanted} cameras streaming")

    def entry(self, kind: str, name: str | None = None) -> ProcessEntry:
        return next(
            entry for entry in self.status().processes if entry.kind == kind and (name is None or entry.name == name)
        )

    def forkserver(self) -> int:
        """The pid of the process that the workers come from: the parent of any of them."""
        worker = self.entry("camera").pid
        fields = _stat(worker)
        assert fields is not None
        return int(fields[1])

    def memory_bytes(self) -> tuple[int, int]:
        """The sum of the proportional set sizes of all its processes, and what of it is no file's.

        The share of a library that another program uses, too, changes with that program's coming and going.
        """
        sizes = [_pss_bytes(pid) for pid in self.session()]
        return sum(whole for whole, _ in sizes), sum(own for _, own in sizes)

    def descriptors(self) -> int:
        """How many all its processes hold; one that ends meanwhile holds none."""
        return sum(_descriptors(pid) for pid in self.session())

    def alerts(self) -> list[dict[str, Any]]:
        """All that it has told so far, in order: what its outbox holds, and what was confirmed and so deleted there."""
        told = [*self.delivered(), *(json.loads(body) for (body,) in self._read("SELECT body FROM outbox"))]
        return [alert for _, alert in sorted({alert["sequence"]: alert for alert in told}.items())]

    def last_sequence(self) -> int:
        """Of the newest alert that was ever stored, 0 before the first."""
        rows = self._read("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")
        return int(rows[0][0]) if rows else 0

    def _read(self, query: str) -> list[Any]:
        import sqlite3

        with sqlite3.connect(f"file:{self.state / 'edge.db'}?mode=ro", uri=True) as connection:
            return connection.execute(query).fetchall()

    def log_tail(self, lines: int = 60) -> str:
        if not self.log_path.exists():
            return "no log"
        return "\n".join(self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def streaming(status: GatewayStatus) -> int:
    return sum(camera.report.state == "streaming" for camera in status.cameras)


def opened(alerts: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Camera -> the ids of its cases that were opened."""
    found: dict[str, list[str]] = {}
    for alert in alerts:
        if alert["type"] == "cityeye.case.opened.v1":
            found.setdefault(alert["data"]["camera"]["id"], []).append(alert["data"]["case_id"])
    return found


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the state on; None for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def uss_bytes(pid: int) -> int:
    """What would be free again if this process alone ended; 0 for one that is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(1024 * int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))


def _pss_bytes(pid: int) -> tuple[int, int]:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    kib = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss")}
    return kib["Pss"] * 1024, (kib["Pss_Anon"] + kib["Pss_Shmem"]) * 1024
