"""`edge replay`: recorded footage to alerts."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edge.core.types import Frame
    from edge.wiring.recorded import ReplayResult


def replay(
    clips: Annotated[list[Path], typer.Argument(metavar="CLIP...", help="Successive recordings of one camera.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration, usually site.yaml.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for alerts, evidence and report.")],
    camera: Annotated[str | None, typer.Option(help="Which camera of the configuration recorded the clips.")] = None,
    start: Annotated[str | None, typer.Option(help="When the first clip begins, ISO 8601; else what it says.")] = None,
    annotate: Annotated[bool, typer.Option("--annotate", help="Also write annotated.mp4.")] = False,
    mqtt: Annotated[str | None, typer.Option(metavar="URL", help="Also publish the alerts to this broker.")] = None,
    state: Annotated[
        Path | None, typer.Option(help="Sign the evidence with this state folder's key; nothing else of it is used.")
    ] = None,
    against: Annotated[Path | None, typer.Option(help="Folder of an earlier replay: print what changed.")] = None,
) -> int:
    """Replay recorded footage: the same frame path as the service, the same answer every time.

    Example: edge replay monday.mp4 --config site.yaml --out monday

    Exit status: 0 done, 1 failed or the footage is cut short, 2 misused.
    """
    from edge.config.loader import load_site
    from edge.runtime.comparison import differences, read_earlier
    from edge.wiring.recorded import ReplayOrder
    from edge.wiring.recorded import replay as run_replay

    site = load_site(config, environ=os.environ)
    before = read_earlier(against) if against is not None else None
    order = ReplayOrder(clips=clips, out=out, camera=camera, start=start, annotate=annotate, mqtt_url=mqtt, state=state)
    with progress() as on_frame:
        result = run_replay(site, order, on_frame=on_frame)
    print(told(result))
    if before is not None:
        changed = differences(before.alerts, result.alerts, one_clip=before.one_clip and len(clips) == 1)
        print("\n".join(changed) if changed else f"no case differs from {against}")
    if result.incomplete:
        print(f"edge: {_cut(clips, result)}: cut short; what could be decoded was replayed", file=sys.stderr)
        return 1
    return 0


def _cut(clips: list[Path], result: ReplayResult) -> str:
    """The names of the clips that break off."""
    told = result.summary["clips"]
    assert isinstance(told, list)
    return ", ".join(str(path) for path, clip in zip(clips, told, strict=True) if clip["incomplete"])


class Seen:
    """Seconds of footage seen so far: those of each clip, without the gaps between them."""

    def __init__(self) -> None:
        self._earlier_ns = 0
        self._clip_ns = 0

    def up_to(self, media_ns: int) -> float:
        if media_ns < self._clip_ns:  # a next clip has begun
            self._earlier_ns += self._clip_ns
        self._clip_ns = media_ns
        return (self._earlier_ns + self._clip_ns) / 1e9


@contextmanager
def progress() -> Iterator[Callable[[Frame, float], None]]:
    """A bar on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda frame, total_s: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("replay", total=None)
        seen = Seen()

        def on_frame(frame: Frame, total_s: float) -> None:
            bar.update(task, total=total_s or None, completed=seen.up_to(frame.media_ns))

        yield on_frame


def told(result: ReplayResult) -> str:
    """The outcome in two lines."""
    summary = result.summary
    alerts, frames = summary["alerts"], summary["frames"]
    assert isinstance(alerts, dict)
    assert isinstance(frames, dict)
    counts = ", ".join(f"{count} {kind}" for kind, count in alerts.items() if count) or "no alerts"
    if frames["corrupt"]:
        counts += f", {frames['corrupt']} packets could not be decoded"
    speed = f"{summary['media_s']} s of footage in {summary['wall_s']} s ({summary['times_real_time']} times real time)"
    return f"{counts}; {speed}\n{result.folder / 'report.html'}"
