"""From the picture that meets a condition to the alert at a subscriber: evidence, database and broker are real.

The subscriber's receipt stands for the broker's PUBACK: both follow the broker's taking the alert, and its way is one
step longer.
"""

from __future__ import annotations

import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from edge.bench.gateway import BenchGateway, sources
from edge.bench.streets import busy
from edge.clock import SystemClock
from edge.core.types import NS_PER_S
from edge.delivery.broker import EmbeddedBroker
from edge.delivery.subscriber import Subscriber
from edge.errors import StateError

ALERTS_MIN = 5
P99_ALERTS_MIN = 100  # of fewer it is a guess between the two longest
_PARTS = {"columns": 4, "rows": 3}


class Arrivals:
    """How long after its case was opened each alert arrived."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clock = SystemClock()
        self._delays_s: list[float] = []

    def __call__(self, topic: str, alert: dict[str, Any]) -> None:
        if alert["type"] != "cityeye.case.opened.v1":
            return
        opened_s = datetime.fromisoformat(alert["data"]["opened_at"]).timestamp()
        with self._lock:
            self._delays_s.append(self._clock.wall_ns() / NS_PER_S - opened_s)

    @property
    def delays_s(self) -> list[float]:
        with self._lock:
            return list(self._delays_s)


def measure(source: str, *, seconds: float, broker_url: str | None = None) -> dict[str, Any]:
    """One camera with people in it for so many seconds; the broker that is named, else our own. Raises EdgeError."""
    sources(source, 1)
    arrivals = Arrivals()
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as folder:
        if broker_url is not None:
            _run(Path(folder), source, broker_url, arrivals, seconds)
        else:
            with EmbeddedBroker() as broker:
                _run(Path(folder), source, broker.url, arrivals, seconds)
    delays_s = arrivals.delays_s
    if len(delays_s) < ALERTS_MIN:
        raise StateError(
            f"{source}: only {len(delays_s)} alerts in {seconds:g} s: show people, or measure for longer with --seconds"
        )
    return {
        "alerts": len(delays_s),
        "broker": "embedded" if broker_url is None else "named",
        "p50_s": round(float(np.percentile(delays_s, 50)), 3),
        "p99_s": round(float(np.percentile(delays_s, 99)), 3) if len(delays_s) >= P99_ALERTS_MIN else None,
        "max_s": round(max(delays_s), 3),
        "each": [round(delay_s, 3) for delay_s in delays_s],
    }


def _run(folder: Path, source: str, url: str, arrivals: Arrivals, seconds: float) -> None:
    with (
        Subscriber(url, arrivals, client_id="edge-bench-latency"),
        BenchGateway(folder, [busy("cam-000", source, **_PARTS)], mqtt_url=url) as gateway,
    ):
        gateway.wait_streaming()
        time.sleep(seconds)
