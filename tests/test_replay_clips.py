"""Several recordings of one camera: one clock, one line of frames, whatever the files say of their length."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import TextIO

import pytest

from edge.capture.packets import PacketCapture, inspect
from edge.cli.replay import Seen
from edge.clock import Stopwatch
from edge.core.sight import Sight
from edge.core.stillness import Stillness
from edge.core.tracker import Tracker
from edge.core.types import NS_PER_S, Detections, Frame, UInt8
from edge.ports import WordedMeasure
from edge.runtime.looking import Looking
from edge.runtime.measuring import Measuring
from edge.runtime.replay import Clip, Journal, Replay
from edge.runtime.telling import Telling, Told
from edge.runtime.worker import Worker
from edge.state.database import IN_MEMORY, Database
from tests.clips import regular_times, write_clip


class NothingDetector:
    name, sha256, labels = "nothing", "0" * 64, ("car",)

    def detect(self, pictures: list[UInt8]) -> list[Detections]:
        return [Detections.empty() for _ in pictures]


class NoRecorder:
    def watch(self, cases: object, frame: Frame, things: object = None) -> None: ...

    def filmed(self, mono_ns: int, *, last: bool = False) -> tuple[()]:
        return ()

    def record(self, change: object, frame: Frame) -> tuple[()]:
        return ()


def a_replay(
    database: Database,
    lines: TextIO,
    clips: list[Clip],
    *,
    tracker: Tracker | None = None,
    on_frame: Callable[[Frame], None] = lambda frame: None,
) -> Replay:
    """Clips through a worker that finds nothing."""
    journal = Journal(database, lines, StringIO(), on_alert=lambda: None)
    stopwatch = Stopwatch()
    telling = Telling(recorder=NoRecorder(), word=lambda change, frame, evidence, failure: Told({}, ""), outbox=journal)
    worker = Worker(
        sight=Sight(),
        looking=Looking(NothingDetector(), Stillness(zones=[]), stopwatch),
        tracker=tracker or Tracker(),
        zones={},
        background=None,
        watches=(),
        ignored=(),
        telling=telling,
        measuring=Measuring([], word=lambda measure, wall_ns: WordedMeasure("", {}), box=journal),
        stopwatch=stopwatch,
    )
    return Replay(
        worker=worker,
        telling=telling,
        clips=clips,
        open_clip=lambda clip, origin: PacketCapture(str(clip.path), camera="c", fps=5, origin=origin),
        journal=journal,
        stopwatch=stopwatch,
        on_frame=on_frame,
    )


@pytest.mark.parametrize("gap_s", [-1.5, 0.0, 3600.0])
def test_time_goes_on_from_clip_to_clip(tmp_path: Path, gap_s: float) -> None:
    """A second clip that claims to begin before the first has ended begins when it has ended."""
    path = write_clip(tmp_path / "a.mp4", regular_times(frames=50, fps=25))
    start_ns = 1_000 * NS_PER_S
    clips = [
        Clip(path, inspect(str(path)), start_ns),
        Clip(path, inspect(str(path)), start_ns + round((2 + gap_s) * NS_PER_S)),
    ]
    seen: list[Frame] = []
    with Database.open(IN_MEMORY) as database, (tmp_path / "alerts.jsonl").open("w") as lines:
        replay = a_replay(database, lines, clips, on_frame=seen.append)
        replay.run()
    assert [frame.index for frame in seen] == list(range(20))
    steps = [later.mono_ns - earlier.mono_ns for earlier, later in pairwise(seen)]
    assert min(steps) > 0
    expected_s = 2 + max(gap_s, 0)
    assert (seen[10].mono_ns - seen[0].mono_ns) / NS_PER_S == pytest.approx(expected_s, abs=0.05)
    assert seen[10].media_ns == 0
    footage = Seen()
    progress_s = [footage.up_to(frame.media_ns) for frame in seen]
    assert progress_s == sorted(progress_s)
    assert progress_s[-1] == pytest.approx(3.6, abs=0.3)  # of 4 s in all, whatever lies between the clips
    assert all(frame.wall_ns - frame.mono_ns == start_ns for frame in seen)


def test_the_summary_says_how_often_bounds_were_hit(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", regular_times(frames=50, fps=25))
    tracker = Tracker()
    tracker.dropped = 3
    with Database.open(IN_MEMORY) as database, (tmp_path / "alerts.jsonl").open("w") as lines:
        replay = a_replay(database, lines, [Clip(path, inspect(str(path)), NS_PER_S)], tracker=tracker)
        replay.run()
    summary = replay.summary(wall_s=1, cpu_s=1, timezone=UTC, identity={}, limits={"stills_refused": 2})
    told = {
        "tracks_dropped": 3,
        "stills_refused": 2,
        "timestamps_repaired": 0,
        "measures_lost": 0,
        "measures_dropped": 0,
    }
    assert summary["limits"] == told
