#!/usr/bin/env python3
"""What each stage of the frame path costs in CPU milliseconds a look: a clip replayed in one process.

    scripts/measure_stages.py --config site.yaml clip.mp4

Decoding runs in threads of its own: it is what the process used and no stage did. `convert` is the making of pictures
from decoded planes, taken out of the stages that asked for them. `rest`: all but decode, convert and detect.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge.capture.pixels import Converter, DecodedPixels
from edge.clock import Stopwatch, cpu_s, thread_cpu_s
from edge.config.loader import load_site
from edge.errors import EdgeError
from edge.wiring import recorded
from edge.wiring.recorded import ReplayOrder, replay


class CpuStopwatch(Stopwatch):
    """CPU seconds of the calling thread instead of wall seconds; what was converted meanwhile is not the stage's."""

    converted_s = 0.0
    watches: list[CpuStopwatch] = []  # noqa: RUF012  (the one that the replay makes for itself)

    def __init__(self) -> None:
        super().__init__()
        self.watches.append(self)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begin_s, converted_s = thread_cpu_s(), CpuStopwatch.converted_s
        try:
            yield
        finally:
            self.add(name, thread_cpu_s() - begin_s - (CpuStopwatch.converted_s - converted_s))


def timed(convert: Callable[..., Any]) -> Callable[..., Any]:
    def converting(*arguments: Any, **named: Any) -> Any:
        begin_s, inner_s = thread_cpu_s(), CpuStopwatch.converted_s
        try:
            return convert(*arguments, **named)
        finally:
            CpuStopwatch.converted_s = inner_s + thread_cpu_s() - begin_s

    return converting


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--config", type=Path, required=True, help="site.yaml with one camera")
    order = parser.parse_args()
    recorded.Stopwatch = CpuStopwatch  # type: ignore[misc]
    for owner, name in ((Converter, "convert"), (DecodedPixels, "luma_of"), (DecodedPixels, "colours_of")):
        setattr(owner, name, timed(getattr(owner, name)))
    began: list[float] = []
    with tempfile.TemporaryDirectory() as out:
        result = replay(
            load_site(order.config, environ={}),
            ReplayOrder(clips=[order.clip], out=Path(out) / "out", threads=1),
            on_frame=lambda frame, total_s: began.append(cpu_s()),
        )
    # From the first look's end to the last look's: loading the model is no part of it.
    used_s, looks = began[-1] - began[0], len(began) - 1
    stages = CpuStopwatch.watches[0].wall_s
    stages = {name: spent_s for name, spent_s in stages.items() if name != "decode"} | {
        "convert": CpuStopwatch.converted_s
    }
    decode_s = used_s - sum(stages.values())
    rest_s = sum(spent_s for name, spent_s in stages.items() if name not in ("convert", "detect"))
    for name, spent_s in [("decode", decode_s), *sorted(stages.items(), key=lambda item: -item[1])]:
        print(f"{name:10} {1000 * spent_s / looks:8.2f} ms a look {100 * spent_s / used_s:6.1f} %")
    print(f"{'rest':10} {1000 * rest_s / looks:8.2f} ms a look {100 * rest_s / used_s:6.1f} %")
    minutes = float(str(result.summary["media_s"])) / 60
    print(f"{'all':10} {1000 * used_s / looks:8.2f} ms a look, {used_s / minutes:.1f} CPU s a camera-minute")


if __name__ == "__main__":
    try:
        main()
    except EdgeError as error:
        raise SystemExit(f"measure_stages: {error}") from None
