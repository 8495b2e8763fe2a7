"""CPU seconds per camera-minute of recorded footage, from the first picture to the last: start-up is left out."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import av

from edge.capture.packets import inspect
from edge.clock import cpu_s, elapsed_s
from edge.config.loader import Site
from edge.core.types import NS_PER_S, Frame
from edge.errors import CaptureError, UsageError
from edge.wiring.recorded import ReplayOrder, replay

DECODER_AND_NETWORK = ("decode", "detect")


@dataclass(frozen=True, slots=True)
class _Mark:
    media_ns: int
    cpu_s: float
    wall_s: float


def measure(site: Site, clip: Path, *, camera: str | None, seconds: float, rounds: int) -> dict[str, Any]:
    """Replays the first `seconds` of the clip so often (0: all of it). Raises EdgeError."""
    if rounds < 1:
        raise UsageError(f"--rounds {rounds}: at least one is needed")
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as folder:
        shown = clip if seconds <= 0 else cut(clip, Path(folder) / "clip.mkv", seconds=seconds)
        runs = [_run(site, shown, Path(folder) / "out", camera) for _ in range(rounds)]
    per_minute = [run["cpu_s_per_minute"] for run in runs]
    middle = min(runs, key=lambda run: abs(run["cpu_s_per_minute"] - median(per_minute)))
    return {
        "clip": clip.name,
        "rounds": rounds,
        "cpu_s_per_minute": round(median(per_minute), 3),
        "times_real_time": round(median(run["times_real_time"] for run in runs), 2),
        "rest_share": round(median(run["rest_share"] for run in runs), 4),
        "looks": middle["looks"],
        "alerts": middle["alerts"],
        "stages": middle["stages"],
        "each": [round(cost, 3) for cost in per_minute],
    }


def cut(clip: Path, out: Path, *, seconds: float) -> Path:
    """The packets of the first seconds, up to a keyframe. Raises CaptureError for what is no clip."""
    inspect(str(clip))
    try:
        with av.open(str(clip)) as source, av.open(str(out), "w") as target:
            stream = source.streams.video[0]
            copy = target.add_stream_from_template(stream)
            first: float | None = None
            for packet in source.demux(stream):
                if packet.dts is None or packet.pts is None or packet.time_base is None:
                    continue
                time_s = float(packet.pts * packet.time_base)
                first = time_s if first is None else first
                if packet.is_keyframe and time_s - first >= seconds:
                    break
                packet.stream = copy
                target.mux(packet)
    except av.FFmpegError as error:
        raise CaptureError(f"{clip}: cannot be cut to {seconds:g} s ({error.strerror}); use --seconds 0") from error
    return out


def _run(site: Site, clip: Path, out: Path, camera: str | None) -> dict[str, Any]:
    marks: list[_Mark] = []

    def on_frame(frame: Frame, total_s: float) -> None:
        del marks[1:]
        marks.append(_Mark(frame.media_ns, cpu_s(), elapsed_s()))

    result = replay(site, ReplayOrder(clips=[clip], out=out, camera=camera), on_frame=on_frame)
    if len(marks) < 2 or marks[1].media_ns <= marks[0].media_ns:
        raise UsageError(f"{clip}: too short to be measured: two analysed pictures are needed")
    first, last = marks
    media_s, spent_s = (last.media_ns - first.media_ns) / NS_PER_S, last.cpu_s - first.cpu_s
    summary: dict[str, Any] = result.summary
    stages = summary["stages"]
    rest_s = sum(stage["cpu_s"] for name, stage in stages.items() if name not in DECODER_AND_NETWORK)
    return {
        "cpu_s_per_minute": spent_s / media_s * 60,
        "times_real_time": media_s / (last.wall_s - first.wall_s),
        "rest_share": rest_s / max(spent_s, 1e-9),
        "looks": summary["frames"]["detected"],
        "alerts": summary["alerts"],
        "stages": {
            name: {
                "wall_ms": round(stage["wall_s"] / stage["count"] * 1e3, 3),
                "cpu_ms": round(stage["cpu_s"] / stage["count"] * 1e3, 3),
                "count": stage["count"],
            }
            for name, stage in stages.items()
        },
    }
