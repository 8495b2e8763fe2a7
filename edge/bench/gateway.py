"""A gateway as it is in service, `edge run` with real processes, for to be measured from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from edge.capture.sources import check_source, is_device
from edge.clock import elapsed_s
from edge.errors import EdgeError, StateError, UsageError
from edge.runtime.health import CAMERA, DETECTOR, STREAMING, GatewayStatus
from edge.runtime.status_socket import fetch_status

CAMERAS_MAX = 256  # as many as a gateway may have
MIB = 2**20
_STOP_S = 15.0
_ASK_S = 0.2


def sources(pattern: str, cameras: int) -> list[str]:
    """`rtsp://host/cam{n}` -> the addresses of cameras 0, 1, 2 ..; a pattern without {n} is one source for all.

    Raises CaptureError for a file that cannot be used.
    """
    if not 0 < cameras <= CAMERAS_MAX:
        raise UsageError(f"{cameras} cameras: choose 1 to {CAMERAS_MAX}")
    addresses = [pattern.replace("{n}", str(number)) for number in range(cameras)]
    for address in dict.fromkeys(addresses):
        if not is_device(address):
            check_source(address)
    return addresses


class BenchGateway:
    """Runs from `__enter__` to `__exit__`; nothing of it is left behind."""

    def __init__(
        self, folder: Path, cameras: Sequence[dict[str, Any]], *, mqtt_url: str | None = None, clips: bool = False
    ) -> None:
        self.cameras = len(cameras)
        self._folder, self._state = folder, folder / "state"
        self._site: dict[str, Any] = {
            "version": 1,
            "site": {"id": "bench", "timezone": "UTC"},
            "gateway": {"id": "bench"},
            "console": "none",
            "cameras": list(cameras),
        }
        if not clips:  # what comes over and over would fill the disk
            self._site["evidence"] = {"pre_roll_s": 0, "post_roll_s": 0}
        if mqtt_url is not None:
            self._site["mqtt"] = {"url": mqtt_url, "confirm": "puback"}

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "site.yaml"
        config.write_text(yaml.safe_dump(self._site, allow_unicode=True), encoding="utf-8")
        command = [sys.executable, "-m", "edge", "run", "--config", str(config), "--state", str(self._state)]
        self._log = (self._folder / "edge.log").open("wb")
        self._process = subprocess.Popen(
            [*command, "--log-format", "text"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_STOP_S)
        for pid in self._session():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._log.close()

    def status(self) -> GatewayStatus:
        return fetch_status(self._state)

    def wait_until(self, holds: Callable[[GatewayStatus], bool], *, limit_s: float, what: str) -> None:
        """Raises StateError where the gateway ends, or it does not hold within `limit_s`."""
        begin_s = elapsed_s()
        said = "it has not answered yet"
        while elapsed_s() - begin_s < limit_s:
            if self._process.poll() is not None:
                raise StateError(f"edge run ended with {self._process.returncode}: {self._last_words()}")
            try:
                status = self.status()
            except EdgeError as error:
                said = str(error)
            else:
                if holds(status):
                    return
                said = "; ".join(status.problems) or self._blind(status)
            time.sleep(_ASK_S)
        raise StateError(f"not within {limit_s:.0f} s: {what}: {said}; see that the sources can be read")

    def wait_streaming(self) -> None:
        self.wait_until(
            lambda status: len(status.cameras) == self.cameras and streaming(status) == self.cameras,
            limit_s=30 + 3 * self.cameras,
            what=f"{self.cameras} cameras streaming",
        )

    def uss_mib(self) -> dict[str, list[float]]:
        """Private memory of each process, by kind."""
        found: dict[str, list[float]] = {}
        for entry in self.status().processes:
            found.setdefault(entry.kind, []).append(round(uss_bytes(entry.pid) / MIB, 2))
        return found

    def cpu_s(self) -> float:
        """CPU seconds so far of all its processes that live."""
        return sum(_cpu_ticks(pid) for pid in self._session()) / os.sysconf("SC_CLK_TCK")

    def _session(self) -> list[int]:
        """Every process of the gateway: they share a session."""
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in pids if (fields := _stat(pid)) and int(fields[3]) == self._process.pid]

    def _last_words(self) -> str:
        lines = (self._folder / "edge.log").read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"

    @staticmethod
    def _blind(status: GatewayStatus) -> str:
        blind = [camera for camera in status.cameras if camera.report.state != STREAMING]
        return f"{blind[0].camera}: {blind[0].report.words or blind[0].report.reason}" if blind else "it starts"


def streaming(status: GatewayStatus) -> int:
    return sum(camera.report.state == STREAMING for camera in status.cameras)


def of_cameras(uss_mib: dict[str, list[float]]) -> list[float]:
    return uss_mib.get(CAMERA, [])


def of_detectors(uss_mib: dict[str, list[float]]) -> list[float]:
    return uss_mib.get(DETECTOR, [])


def uss_bytes(pid: int) -> int:
    """What would come back if this process alone ended. 0 for one that has."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none for a process that has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _cpu_ticks(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[11]) + int(fields[12]) if fields else 0
