"""The frame path: from a camera's picture to rows in the outbox, read from top to bottom.

    capture -> sight -> still? -> detect -> track -> static regions -> zones
            -> scenarios -> second look -> cases -> evidence -> outbox
            -> gauges -> measures

The worker decides in which order; the parts compute. It knows no file, no broker and no clock: `edge.wiring` puts in
live parts for the service and recorded ones for replay, and this is the same code for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from edge.clock import Stopwatch
from edge.core.background import BackgroundModel
from edge.core.cases import withdrawn
from edge.core.memory import StreetMemory
from edge.core.raster import Raster
from edge.core.scene import Scene
from edge.core.sight import Sight
from edge.core.tracker import Tracker
from edge.core.types import OPENED, Case, Float32, Frame, StaticRegions
from edge.core.zones import ZoneMap, parted_by_masks
from edge.runtime.looking import Looking
from edge.runtime.measuring import Measuring
from edge.runtime.telling import Telling
from edge.runtime.watch import Watch, limits_of


class Worker:
    """One camera's frame path. Not thread-safe; feed it frames in time order."""

    def __init__(  # every part of the frame path, by name
        self,
        *,
        sight: Sight,
        looking: Looking,
        tracker: Tracker,
        zones: Mapping[str, ZoneMap],  # by anchor
        background: BackgroundModel | None,
        watches: Sequence[Watch],
        ignored: Sequence[Float32],
        telling: Telling,
        measuring: Measuring,
        stopwatch: Stopwatch,
    ) -> None:
        self._sight = sight
        self.looking = looking  # it counts the looks that it spared the detector
        self._tracker = tracker
        self._zones = zones
        self.background = background  # its picture of the empty place outlives us
        self.watches = watches  # an operator's word reaches their cases
        self._ignored = Raster(ignored)
        self._telling = telling
        self.measuring = measuring  # to be finished when no frame will follow
        self._stage = stopwatch.stage
        self._memory = StreetMemory()
        self.blind = ""  # why the last frame was not believed

    def run(self, frames: Iterable[Frame]) -> Iterable[tuple[Frame, Scene]]:
        """Every frame's way; yields what was seen in each, for whoever draws or counts."""
        waiting = iter(frames)
        while True:
            with self._stage("decode"):
                frame = next(waiting, None)
            if frame is None:
                return
            yield frame, self.step(frame)

    def step(self, frame: Frame) -> Scene:
        with self._stage("sight"):
            was_blind, self.blind = self.blind, self._sight.judge(frame)
        if frame.resumed or (was_blind and not self.blind):
            self._interrupt(frame.mono_ns)
        scene = Scene.unseen(frame, self._memory) if self.blind else self._look(frame)
        with self._stage("rules"):
            # All have found before one judges: a wait for a classifier that is given up leaves every case as it was.
            found = [watch.find(scene) for watch in self.watches]
            judged = [watch.judge(findings, scene) for watch, findings in zip(self.watches, found, strict=True)]
            self.measuring.look(scene)
        with self._stage("evidence"):
            if not self.blind:
                self._telling.watch(self.cases, frame, scene.things)
            self._telling.publish(chain.from_iterable(judged), frame, blind=self.blind)
            self._telling.publish_clips(self.watches, frame)
        return scene

    def resume(self, cases: Sequence[Case], frame: Frame, *, same_street: bool) -> None:
        """Go on with an earlier process's cases, before the first step. What nobody watches now is withdrawn."""
        for case in cases:
            watch = next((watch for watch in self.watches if same_street and watch.cases.watches(case)), None)
            if watch is not None:
                watch.cases.restore([case], now_ns=frame.mono_ns)
            elif case.state == OPENED:
                reason = "not-watched" if same_street else "street-changed"
                gone = withdrawn(case, mono_ns=frame.mono_ns, reason=reason)
                self._telling.publish([gone], frame, blind="")

    @property
    def cases(self) -> list[Case]:
        """Pending and open cases of all scenarios."""
        return [case for watch in self.watches for case in watch.cases.live]

    @property
    def limits(self) -> dict[str, int]:
        """How often a bound on memory was hit so far, by what was given up."""
        return {"tracks_dropped": self._tracker.dropped, **limits_of(self.watches), **self.measuring.limits}

    def _look(self, frame: Frame) -> Scene:
        width, height = frame.size_px
        found = self.looking.look(frame, self._tracker.doubtful, self.cases)
        with self._stage("track"):
            detections, ignored = parted_by_masks(found, self._ignored, width=width, height=height)
            self._tracker.fit_to(width=width, height=height)
            tracks = self._tracker.update(detections, frame.mono_ns)
        with self._stage("static"):
            regions = StaticRegions.empty()
            if self.background is not None:
                regions = self.background.update(frame.pixels, tracks, frame.mono_ns)
        with self._stage("zones"):
            presence = {
                anchor: zones.locate(tracks, width=width, height=height, mono_ns=frame.mono_ns)
                for anchor, zones in self._zones.items()
            }
        self._memory.keep(frame)
        return Scene(frame, detections, tracks, presence, regions, self._memory, ignored=ignored)

    def _interrupt(self, mono_ns: int) -> None:
        """What was since the last look is unknown: it counts neither as seen nor as empty, nor as standing still."""
        self.looking.interrupt()
        self._tracker.interrupt(mono_ns)
        if self.background is not None:
            self.background.interrupt(mono_ns)
        for zones in self._zones.values():
            zones.interrupt()
        for watch in self.watches:
            watch.scenario.interrupt()
            watch.cases.interrupt()
        self.measuring.interrupt()
