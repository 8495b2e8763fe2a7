"""Private memory of a gateway's processes: what one more camera takes, and what the detector takes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from edge.bench.gateway import BenchGateway, of_cameras, of_detectors, sources
from edge.bench.streets import dwelling
from edge.errors import UsageError

CAMERA_MIB_MAX = 45.0
DETECTOR_MIB_MAX = 300.0


def measure(source: str, *, uses: Sequence[str], cameras: int, seconds: float, decode: str) -> dict[str, Any]:
    """Two gateways with `edge run`, of one camera and of so many, each left alone for so many seconds.

    The difference is what more cameras take, of all processes: worker, and what detector, courier and supervisor
    need for them. `uses`: scenarios of each. Raises EdgeError.
    """
    if cameras < 2:
        raise UsageError(f"--cameras {cameras}: two at least, for the difference to one")
    sources(source, cameras)
    one = _settled(source, 1, uses, seconds, decode)
    many = _settled(source, cameras, uses, seconds, decode)
    more = _sum(many) - _sum(one)
    return {
        "cameras": cameras,
        "decode": decode,
        "uses": list(uses),
        "extra_camera_mib": round(more / (cameras - 1), 2),
        "camera_worker_mib": round(median(of_cameras(many)), 2),
        "detector_mib": max(of_detectors(many)),
        "gateway_mib": round(_sum(many), 1),
    }


def _settled(source: str, cameras: int, uses: Sequence[str], seconds: float, decode: str) -> dict[str, list[float]]:
    configured = [
        dwelling(f"cam-{n:03d}", address, uses=uses, decode=decode)
        for n, address in enumerate(sources(source, cameras))
    ]
    with (
        tempfile.TemporaryDirectory(prefix="edge-bench-") as folder,
        BenchGateway(Path(folder), configured, clips=True) as gateway,
    ):
        gateway.wait_streaming()
        time.sleep(seconds)
        return gateway.uss_mib()


def _sum(uss_mib: dict[str, list[float]]) -> float:
    return sum(size for sizes in uss_mib.values() for size in sizes)
