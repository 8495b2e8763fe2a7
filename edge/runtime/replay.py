"""Recorded footage through the frame path, into one folder of files.

Clips are successive recordings of one camera on one clock. What is written depends on the clips, the configuration
and the versions alone: never on the present time, the machine's load or the folder's name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Protocol, TextIO

from edge.capture.timeline import FrameOrigin
from edge.clock import Stopwatch, iso
from edge.core.scene import Scene
from edge.core.types import NS_PER_S, OPENED, CaseChange, Frame, seconds_to_ns
from edge.delivery.message import dumps
from edge.errors import EvidenceError
from edge.ports import Capture, MeasureBox, Outbox, SourceInfo, WordedMeasure
from edge.runtime.output import PRODUCED_BY
from edge.runtime.telling import Telling
from edge.runtime.worker import Worker


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording and the time at which it begins on the replay's clock."""

    path: Path
    info: SourceInfo
    start_wall_ns: int


class RecordedCapture(Capture, Protocol):
    """A capture that knows where the next recording would begin."""

    @property
    def following(self) -> FrameOrigin: ...

    @property
    def repaired(self) -> int: ...


class Sketch(Protocol):
    """Whoever wants to see each analysed frame: the annotated video."""

    def begin(self, clip: Clip) -> None: ...

    def add(self, frame: Frame, scene: Scene, worker: Worker) -> None: ...

    def close(self) -> None: ...


class JournaledBox(Outbox, MeasureBox, Protocol):
    """What a journal writes down: alerts and measures."""


class Journal:
    """The outbox of a replay: commits to the database, then writes the alert, or the measure, as one line."""

    def __init__(
        self,
        outbox: JournaledBox,
        lines: TextIO,
        measure_lines: TextIO,
        *,
        on_alert: Callable[[], None],
    ) -> None:
        self._outbox = outbox
        self._on_alert = on_alert
        self._lines = lines
        self._measure_lines = measure_lines
        self.measures: list[dict[str, object]] = []
        self.alerts: list[dict[str, object]] = []
        self.told = dict.fromkeys(("opened", "updated", "cleared", "withdrawn"), 0)

    def commit(self, change: CaseChange, alert: dict[str, object], topic: str) -> int:
        sequence = self._outbox.commit(change, alert, topic)
        self._lines.write(dumps(alert) + "\n")
        self.alerts.append(alert)
        self.told[change.kind] += 1
        self._on_alert()
        return sequence

    def put_measures(self, measures: Sequence[WordedMeasure]) -> int:
        dropped = self._outbox.put_measures(measures)
        for measure in measures:
            self._measure_lines.write(dumps(measure.body) + "\n")
            self.measures.append(measure.body)
        return dropped


class Replay:
    """One camera's clips through one worker. `run` once, then ask for the `summary`."""

    def __init__(
        self,
        *,
        worker: Worker,
        telling: Telling,
        clips: Sequence[Clip],
        open_clip: Callable[[Clip, FrameOrigin], RecordedCapture],
        journal: Journal,
        stopwatch: Stopwatch,
        on_frame: Callable[[Frame], None] = lambda frame: None,
        sketch: Sketch | None = None,
    ) -> None:
        self._worker = worker
        self._telling = telling
        self._clips = clips
        self._open_clip = open_clip
        self._journal = journal
        self._stopwatch = stopwatch
        self._on_frame = on_frame
        self._sketch = sketch
        # `dropped` is what a live camera loses when the gateway is late; a file waits, so here it stays 0.
        self._frames = dict.fromkeys(("read", "decoded", "detected", "dropped", "corrupt"), 0)
        self._repaired = 0
        self._told_clips: list[dict[str, object]] = []
        self._media_s = 0.0
        self._ended_wall_ns = 0
        self._next_ns = 0
        self._last: Frame | None = None
        self.incomplete = False

    def run(self) -> None:
        """Every clip's frames, in order. Raises EdgeError when a clip or its evidence cannot be used at all."""
        for clip in self._clips:
            media_ns, incomplete = self._run_clip(clip)
            self.incomplete |= incomplete
            self._media_s += media_ns / NS_PER_S
            self._told_clips.append(_clip_summary(clip, incomplete))
        if self._last is not None:
            self._telling.publish_clips(self._worker.watches, self._last, last=True)
            self._check_evidence()
        self._worker.measuring.finish()
        if self._sketch is not None:
            self._sketch.close()

    def summary(
        self,
        *,
        wall_s: float,
        cpu_s: float,
        timezone: tzinfo,
        identity: Mapping[str, object],
        limits: Mapping[str, int],
    ) -> dict[str, object]:
        """What was read, what was told and what it cost.

        `identity`: camera, model, configuration, software. `limits`: how often the bounds of parts that only the
        caller knows were hit; those of the worker and of the captures are added.
        """
        open_at_end = [case.case_id for case in self._worker.cases if case.state == OPENED]
        return {
            "produced_by": PRODUCED_BY,
            **identity,
            "clips": [
                clip | {"started_at": iso(planned.start_wall_ns, timezone)}
                for clip, planned in zip(self._told_clips, self._clips, strict=True)
            ],
            "incomplete": self.incomplete,
            "started_at": iso(self._clips[0].start_wall_ns, timezone),
            "ended_at": iso(self._ended_wall_ns, timezone),
            "frames": {**self._frames, "held": self._worker.looking.held},
            "limits": {**self._worker.limits, **limits, "timestamps_repaired": self._repaired},
            "media_s": round(self._media_s, 3),
            "wall_s": round(wall_s, 3),
            "cpu_s": round(cpu_s, 3),
            "times_real_time": round(self._media_s / wall_s, 2) if wall_s else 0.0,
            "stages": {
                name: {
                    "wall_s": round(self._stopwatch.wall_s[name], 3),
                    "cpu_s": round(self._stopwatch.cpu_s.get(name, 0.0), 3),
                    "count": self._stopwatch.count[name],
                }
                for name in self._stopwatch.wall_s
            },
            "alerts": self._journal.told,
            "measures": len(self._journal.measures),
            "open_at_end": open_at_end,
        }

    def _run_clip(self, clip: Clip) -> tuple[int, bool]:
        """Returns how much of the clip was seen, and whether it broke off."""
        origin = self._origin_of(clip)
        capture = self._open_clip(clip, origin)
        if self._sketch is not None:
            self._sketch.begin(clip)
        media_ns = 0
        try:
            for frame, scene in self._worker.run(capture):
                media_ns, self._ended_wall_ns, self._last = frame.media_ns, frame.wall_ns, frame
                if self._sketch is not None:
                    with self._stopwatch.stage("annotate"):
                        self._sketch.add(frame, scene, self._worker)
                self._on_frame(frame)
                self._check_evidence()
        finally:
            capture.close()
        self._next_ns = capture.following.mono_ns
        self._repaired += capture.repaired
        counts = capture.counts
        self._frames["read"] += counts.read
        self._frames["decoded"] += counts.decoded
        self._frames["detected"] += counts.yielded
        self._frames["corrupt"] += counts.corrupt
        seen_ns = media_ns if counts.incomplete else max(media_ns, seconds_to_ns(clip.info.duration_s))
        return seen_ns, counts.incomplete

    def _check_evidence(self) -> None:
        """A live camera goes on; here the rest would be for nothing."""
        if self._telling.failures:
            raise EvidenceError(self._telling.failure)

    def _origin_of(self, clip: Clip) -> FrameOrigin:
        """Where the clip was planned to begin, or later where the one before ran longer than it had said."""
        first_ns = self._clips[0].start_wall_ns
        mono_ns = max(clip.start_wall_ns - first_ns, self._next_ns)
        return FrameOrigin(mono_ns, first_ns + mono_ns, self._frames["detected"])


def _clip_summary(clip: Clip, incomplete: bool) -> dict[str, object]:
    info = clip.info
    return {
        "path": os.fsencode(clip.path.name).decode("utf-8", "replace"),  # a name need not be UTF-8
        "duration_s": round(info.duration_s, 3),
        "frames_declared": info.frames_declared,
        "width_px": info.width_px,
        "height_px": info.height_px,
        "codec": info.codec,
        "fps": round(info.fps, 3),
        "incomplete": incomplete,
    }
