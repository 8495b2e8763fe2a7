"""How many live cameras this machine sustains, found by doubling and then by halving the gap.

Every camera tells a measure every ten seconds. What is judged is how long after an interval's end it arrives at a
subscriber: picture, decoder, detector, rules, outbox and broker lie in between, as with an alert, and it needs nothing
to happen in the street. What never arrives counts as late for ever. A gateway that leaves pictures out is in time and
blind all the same, so those count too.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from edge.bench.gateway import CAMERAS_MAX, BenchGateway, sources, streaming
from edge.bench.streets import INTERVAL_S, watching
from edge.clock import SystemClock, elapsed_s
from edge.core.types import NS_PER_S
from edge.delivery.broker import EmbeddedBroker
from edge.delivery.message import ALL_MEASURES
from edge.delivery.subscriber import Subscriber
from edge.errors import StateError, UsageError
from edge.runtime.health import CameraReport, GatewayStatus

FOR_EVER_S = 3600.0
LEFT_OUT_SHARE_MAX = 0.05  # of the pictures that were due
_GAP = 16  # the answer is looked for to a sixteenth


@dataclass(frozen=True, slots=True)
class Trial:
    """So many cameras for a while. Delays are of an interval's end."""

    cameras: int
    held: bool
    reason: str  # why not, "" where it held
    delay_p50_s: float = 0.0
    delay_p99_s: float = 0.0
    told: int = 0
    missing: int = 0
    cores: float = 0.0  # of the whole gateway
    left_out_share: float = 0.0  # of due pictures, of the camera that fared worst
    decoding: dict[str, int] = field(default_factory=dict)  # at the end: how many cameras decode what


class IntervalEnds:
    """When each measure arrived, by camera and by the end of its interval."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clock = SystemClock()
        self._delays_s: dict[tuple[str, float], float] = {}

    def __call__(self, topic: str, body: dict[str, Any]) -> None:
        data = body["data"]
        end_s = datetime.fromisoformat(data["to"]).timestamp()
        with self._lock:
            self._delays_s.setdefault((data["camera"]["id"], end_s), self._clock.wall_ns() / NS_PER_S - end_s)

    def between(self, cameras: int, begin_s: float, end_s: float) -> tuple[list[float], int]:
        """Delays of all intervals that ended then, those missing for ever late, and how many are missing."""
        with self._lock:
            delays_s = [delay_s for (_, to_s), delay_s in self._delays_s.items() if begin_s < to_s <= end_s]
        due = cameras * int(end_s // INTERVAL_S - begin_s // INTERVAL_S)
        missing = max(due - len(delays_s), 0)
        return delays_s + [FOR_EVER_S] * missing, missing


def measure(
    pattern: str,
    *,
    delay_s: float,
    seconds: float,
    decode: str,
    fps: float,
    cameras_max: int,
    limit_s: float,
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> dict[str, Any]:
    """Trials of `seconds` each until the answer is found, none begun after `limit_s`. Raises EdgeError."""
    if not seconds >= 2 * INTERVAL_S:  # nor is what is no number
        raise UsageError(f"--seconds {seconds:g}: a trial needs {2 * INTERVAL_S} at least, two intervals")
    sources(pattern, cameras_max)
    begin_s, trials = elapsed_s(), list[Trial]()

    def holds(cameras: int) -> bool | None:
        if elapsed_s() - begin_s > limit_s:
            return None
        trials.append(_trial(sources(pattern, cameras), delay_s=delay_s, seconds=seconds, decode=decode, fps=fps))
        on_trial(trials[-1])
        return trials[-1].held

    most, whole = search(holds, cameras_max=cameras_max)
    return {
        "cameras": most,
        "found": "all" if most == cameras_max else "most" if whole else "at least: the time was over",
        "delay_s": delay_s,
        "decode": decode,
        "fps": fps,
        "trials": [asdict(trial) for trial in trials],
    }


def search(holds: Callable[[int], bool | None], *, cameras_max: int = CAMERAS_MAX) -> tuple[int, bool]:
    """The most cameras that hold, to a sixteenth, and whether the search came to its end (None: no more trials)."""
    good, bad, asked = 0, 0, 1
    while not bad and good < cameras_max:
        answer = holds(min(asked, cameras_max))
        if answer is None:
            return good, False
        if answer:
            good, asked = min(asked, cameras_max), asked * 2
        else:
            bad = min(asked, cameras_max)
    while bad - good > max(1, good // _GAP):
        middle = (good + bad) // 2
        answer = holds(middle)
        if answer is None:
            return good, False
        good, bad = (middle, bad) if answer else (good, middle)
    return good, True


def _trial(addresses: list[str], *, delay_s: float, seconds: float, decode: str, fps: float) -> Trial:
    count, ends, clock = len(addresses), IntervalEnds(), SystemClock()
    cameras = [watching(f"cam-{n:03d}", address, decode=decode, fps=fps) for n, address in enumerate(addresses)]
    with (
        tempfile.TemporaryDirectory(prefix="edge-bench-") as folder,
        EmbeddedBroker() as broker,
        Subscriber(broker.url, ends, client_id="edge-bench-live", topics=ALL_MEASURES),
        BenchGateway(Path(folder), cameras, mqtt_url=broker.url) as gateway,
    ):
        try:
            gateway.wait_streaming()
            before = gateway.status()
            begin_s, spent_s = clock.wall_ns() / NS_PER_S, gateway.cpu_s()
            time.sleep(seconds)
            end_s, spent_s = clock.wall_ns() / NS_PER_S, gateway.cpu_s() - spent_s
            time.sleep(delay_s)  # for what was due at the end
            after = gateway.status()
        except StateError as error:  # too many to start, or to stay alive
            return Trial(count, held=False, reason=str(error))
    delays_s, missing = ends.between(count, begin_s, end_s)
    p50_s, p99_s = (round(float(np.percentile(delays_s, share)), 3) for share in (50, 99))
    share = left_out_share(before, after)
    reason = ""
    if lost := count - streaming(after):
        reason = f"{lost} cameras went blind"
    elif p99_s > delay_s:
        reason = f"p99 of the delay is {p99_s:g} s"
    elif share > LEFT_OUT_SHARE_MAX:
        reason = f"{share:.0%} of the pictures of a camera were left out"
    return Trial(
        count,
        held=not reason,
        reason=reason,
        delay_p50_s=p50_s,
        delay_p99_s=p99_s,
        told=len(delays_s) - missing,
        missing=missing,
        cores=round(spent_s / seconds, 3),
        left_out_share=round(share, 4),
        decoding=dict(Counter(camera.report.decoding for camera in after.cameras)),
    )


def left_out_share(before: GatewayStatus, after: GatewayStatus) -> float:
    """Of what was to be decoded, or was due at the analysis rate, between the two; of the worst camera."""
    earlier = {camera.camera: camera.report for camera in before.cameras}
    return max(_left_out(earlier.get(camera.camera, CameraReport()), camera.report) for camera in after.cameras)


def _left_out(before: CameraReport, after: CameraReport) -> float:
    decoded, skipped, taken, dropped = (
        getattr(after, name) - getattr(before, name) for name in ("decoded", "skipped", "taken", "dropped")
    )
    if decoded <= 0 or taken <= 0:
        return 1.0
    return float(1 - decoded / (decoded + skipped) * (taken - dropped) / taken)
