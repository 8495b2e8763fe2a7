"""One camera for ever: what a worker process does around the frame path.

    capture thread: connect, decode, thin -> mailbox of one -> main thread: Worker.step, save, report

The mailbox drops the oldest: a gateway that is late looks at the newest picture, and counts the others. The heartbeat
is given only while both threads move, so that whoever judges from outside needs to look at one number.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from edge.clock import Stopwatch, SystemClock, thread_cpu_s
from edge.core.scene import Scene
from edge.core.types import NS_PER_S, OPENED, PENDING, Case, CaseChange, Frame, Occurrence, seconds_to_ns
from edge.errors import StateError
from edge.ports import CameraCapture, Outbox
from edge.runtime.board import Row
from edge.runtime.dismissing import Dismissing
from edge.runtime.health import BLIND, SILENT_S, STREAMING, CameraReport, read_report, short, write_report
from edge.runtime.main_stream import MainStreamReading
from edge.runtime.recording import CaseRecording
from edge.runtime.remote import DetectorLostError
from edge.runtime.requests import RequestDesk
from edge.runtime.telling import Telling
from edge.runtime.worker import Worker

log = logging.getLogger(__name__)

WAIT_S = 0.25  # for a picture, before looking at the clock again
REPORT_NS = NS_PER_S // 2
SAVE_NS = 10 * NS_PER_S  # how much dwell of a case in the making a kill may cost
EMERGENCY_REPEAT_NS = 60 * NS_PER_S  # between two updates of an open case, at most
STUCK_NS = 20 * NS_PER_S  # a capture that has neither a packet nor an attempt for so long hangs in its library
RATE_NS = 10 * NS_PER_S
LOOKS_MAX = 1024  # remembered for the rate
LOOK_BACK_S = 1.0  # at most, for one picture that had been held back
RETRY_S = 1.0
LEAVE_S = 2.0  # for the capture thread to come back from its library at the end

_Number = TypeVar("_Number", int, float)


class RunningCases(Protocol):
    """The database as a worker sees it, beside the outbox."""

    def save_running(self, camera: str, cases: Iterable[Case]) -> None: ...

    def running_cases(self, camera: str, *, mono_to_wall: int | None = None) -> list[Case]: ...

    def dismissed_cases(self, camera: str, *, mono_to_wall: int | None = None) -> list[Case]: ...


class KnownOccurrences(Protocol):
    """Which days a camera's rules have noted, kept over restarts."""

    def keep(self, camera: str, occurrences: Iterable[Occurrence]) -> None: ...

    def of_camera(self, camera: str) -> list[Occurrence]: ...


class Mailbox:
    """Room for one picture between two threads; a newer one takes the place of one that nobody has fetched."""

    def __init__(self) -> None:
        self.dropped = 0
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._put_ns = 0

    def put(self, frame: Frame, mono_ns: int) -> None:
        with self._changed:
            if self._frame is not None:
                self.dropped += 1
                if self._frame.resumed:  # what it knew of the gap before it must not be lost with it
                    frame = replace(frame, resumed=True)
            self._frame, self._put_ns = frame, mono_ns
            self._changed.notify()

    def wait_until_taken(self, limit_s: float) -> None:
        """Until there is room, for at most so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is None, timeout=limit_s)

    def take(self, limit_s: float) -> tuple[Frame, int] | None:
        """The picture and when it was put there, or None after `limit_s`."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._frame is not None, timeout=limit_s) or self._frame is None:
                return None
            taken, self._frame = self._frame, None
            self._changed.notify_all()
            return taken, self._put_ns

    def __len__(self) -> int:
        return self._frame is not None


class PatientOutbox:
    """An outbox that waits for a database that cannot be written now: a full disk is emptied, another writer ends.

    Meanwhile pictures are dropped and counted; nothing is told that is not stored.
    """

    def __init__(self, outbox: Outbox, *, stop: threading.Event, still_here: Callable[[str], None]) -> None:
        """`still_here` is called with the reason before each new try, "" when the database takes again."""
        self._outbox = outbox
        self._stop = stop
        self._still_here = still_here
        self.alerts = 0
        self.gave_up = False  # the end came before the database took an alert: what is in memory is ahead of it

    def commit(self, change: CaseChange, alert: dict[str, object], topic: str) -> int:
        failed = False
        while True:
            if not failed:
                self._still_here("")  # one of many, each of which may wait long for the database
            try:
                sequence = self._outbox.commit(change, alert, topic)
            except StateError as error:
                log.error("an alert waits for the database: %s", error)
                failed = True
                self._still_here(str(error))
                if self._stop.wait(RETRY_S):
                    self.gave_up = True
                    raise
                continue
            if failed:
                self._still_here("")
            self.alerts += 1
            return sequence


@dataclass(frozen=True, slots=True)
class _Sight:
    """Whether the camera can be seen at this moment."""

    state: str
    reason: str = ""
    words: str = ""


_BLIND_WORDS: Mapping[str, str] = {
    "black": "the picture is all of one level: check the light, the lens and the camera's night mode",
    "covered": "the picture has lost its detail: clean or uncover the lens, or focus it",
    "frozen": "the picture has not changed at all: restart the camera",
    "moved": "the camera no longer looks where its zones were drawn: turn it back, or draw them anew",
}


class LiveCamera:
    """One camera's capture, mailbox and worker. `run` once; it ends when `stop` is set."""

    def __init__(
        self,
        *,
        camera: str,
        capture: CameraCapture,
        worker: Worker,
        telling: Telling,
        outbox: PatientOutbox,
        cases: RunningCases,
        occurrences: KnownOccurrences,
        desk: RequestDesk,
        dismissing: Dismissing,
        recording: CaseRecording,
        row: Row,
        clock: SystemClock,
        stopwatch: Stopwatch,
        stop: threading.Event,
        limits: Callable[[], Mapping[str, int]],
        keep: Callable[[bool], None],
        same_street: Callable[[Frame], bool | None],
        emergency: Callable[[], bool] = lambda: False,
        silent_s: float = SILENT_S,
        main_stream: MainStreamReading[Any] | None = None,
    ) -> None:
        """`limits`: how often the bounds of parts that only the caller knows were hit; `keep`: store what must not be
        learned anew; called often, and at the end with True; `same_street`: whether the camera still looks at what
        the last process saw, None where this frame does not tell; `emergency`: whether open cases are to be told
        often; `silent_s`: a picture older than that is none."""
        self._camera = camera
        self._capture = capture
        self._main_stream = main_stream
        self._worker = worker
        self._telling = telling
        self._outbox = outbox
        self._cases = cases
        self._occurrences = occurrences
        self._desk = desk
        self._dismissing = dismissing
        self._recording = recording
        self._row = row
        self._clock = clock
        self._stopwatch = stopwatch
        self._stop = stop
        self._limits = limits
        self._keep = keep
        self._same_street = same_street
        self._emergency = emergency
        self._silent_ns = seconds_to_ns(silent_s)
        self._mailbox = Mailbox()
        self._before = _left_by(read_report(row, CameraReport))
        self._report = CameraReport(since_wall_ns=clock.wall_ns())
        self._looked_ns: deque[int] = deque(maxlen=LOOKS_MAX)
        self._last: Frame | None = None
        self.scene: Scene | None = None  # what was seen in the last frame
        self._dropped_before_last = 0
        self._analysed = self._unseen = 0
        self._reported_ns = self._saved_ns = 0
        self._begun_ns = clock.mono_ns()
        self._saved: list[Case] = []
        self._noted: list[Occurrence] = []
        self._restored = False
        self._held_up = ""  # what the frame path waits for

    def run(self) -> None:
        reader = threading.Thread(target=self._read, name="capture", daemon=True)
        reader.start()
        if self._main_stream is not None:
            self._main_stream.start()
        try:
            while not self._stop.is_set():
                self._turn()
            self._recording.close()
            self._finish_clips()
            self._save()
            self._worker.measuring.finish()
        finally:
            self._stop.set()
            self._keep(True)
            self._tell()
        reader.join(LEAVE_S)

    def still_here(self, reason: str = "") -> None:
        """A heartbeat from the middle of something that takes long, and why it does. Main thread only."""
        self._held_up = reason
        now_ns = self._clock.mono_ns()
        if now_ns - self._capture.beat_ns < STUCK_NS:
            self._row.beat(now_ns)
        if now_ns - self._reported_ns >= 2 * REPORT_NS:  # no turn ends now, and "streaming" may long be untrue
            self._tell()

    # The capture thread

    def _read(self) -> None:
        """What decoding costs is this thread's own CPU time: by the wall it mostly waits for the network."""
        spent_s = thread_cpu_s()
        for frame in self._capture:
            before_s, spent_s = spent_s, thread_cpu_s()
            self._stopwatch.add("decode", spent_s - before_s)
            self._row.frame(self._clock.mono_ns())
            if self._capture.looks_back:  # a burst of what just happened: each picture of it is wanted, none is newer
                self._mailbox.wait_until_taken(LOOK_BACK_S)
            self._mailbox.put(frame, self._clock.mono_ns())

    # The main thread

    def _turn(self) -> None:
        taken = self._mailbox.take(WAIT_S)
        self.still_here()
        if taken is not None:
            frame, put_ns = taken
            self._stopwatch.add("wait", (self._clock.mono_ns() - put_ns) / NS_PER_S)
            self._look(self._marked(frame))
        if self._restored and self._last is not None:
            self._desk.serve(self._last)
        now_ns = self._clock.mono_ns()
        if now_ns - self._saved_ns >= SAVE_NS:
            if self._restored and self._last is not None:
                self._heed_dismissals(self._last)
                self._heed_mode()
            self._save()
            self._saved_ns = now_ns
        if now_ns - self._reported_ns >= REPORT_NS or self._sight(now_ns).reason != self._report.reason:
            self._tell()

    def _look(self, frame: Frame) -> None:
        if not self._restored:
            self._restore(frame)
        try:
            scene = self._worker.step(frame)
        except DetectorLostError:
            if not self._stop.is_set():
                raise
            return  # told to stop while the detector was away: this picture is given up, the cases are as before
        self.scene = scene
        self._recording.look(scene)
        if self._worker.blind:
            self._unseen += 1
        else:
            self._analysed += 1
            self._looked_ns.append(self._clock.mono_ns())
        frame.pixels.forget()  # the last one is kept until the next comes, which may be seconds: 8 MB less at 1080p

    def _restore(self, frame: Frame) -> None:
        """Once it can be told whether the camera still looks at the street that its cases are of."""
        same_street = self._same_street(frame)
        if same_street is not None:
            mono_to_wall = frame.wall_ns - frame.mono_ns
            known = self._cases.running_cases(self._camera, mono_to_wall=mono_to_wall)
            left_alone = self._cases.dismissed_cases(self._camera, mono_to_wall=mono_to_wall)
            self._noted = self._occurrences.of_camera(self._camera)
            for watch in self._worker.watches if same_street else ():
                watch.cases.remember(self._noted)
            self._telling.resume(known)
            self._worker.resume([*known, *left_alone], frame, same_street=same_street)
            self._heed_dismissals(frame)
            self._restored = True

    def _finish_clips(self) -> None:
        """Those that are still being filmed end with us. An alert that the database does not take now is given up."""
        if self._last is not None and self._restored:
            try:
                self._telling.publish_clips(self._worker.watches, self._last, last=True)
            except StateError as error:
                log.warning("a clip is not told: %s", error)

    def _heed_dismissals(self, frame: Frame) -> None:
        """Those whose request we did not see in time as well. A database that is busy now is asked again later."""
        try:
            self._dismissing.apply(frame)
        except StateError as error:
            log.warning("dismissals wait for the database: %s", error)

    def _heed_mode(self) -> None:
        """In an emergency whoever decides wants to see an open case often."""
        try:
            hurry_ns = EMERGENCY_REPEAT_NS if self._emergency() else 0
        except StateError as error:
            log.warning("the gateway's mode waits for the database: %s", error)
            return
        for watch in self._worker.watches:
            watch.cases.hurry_ns = hurry_ns

    def _marked(self, frame: Frame) -> Frame:
        """A gap that we made ourselves, by dropping pictures for long, is time that nobody has looked at."""
        dropped, last = self._mailbox.dropped, self._last
        late = (
            last is not None and frame.mono_ns - last.mono_ns > self._silent_ns and dropped > self._dropped_before_last
        )
        self._last, self._dropped_before_last = frame, dropped
        return replace(frame, resumed=True) if late or not self._restored else frame

    def _save(self) -> None:
        """Keep the cases for whoever comes after us. A database that is busy now is asked again later."""
        self._keep(False)
        if not self._restored or self._outbox.gave_up:  # a case whose alert was not stored must not be kept as told
            return
        cases = [*self._worker.cases, *self._dismissing.cases]
        noted = [one for watch in self._worker.watches for one in watch.cases.occurrences]
        try:
            if noted != self._noted:
                self._occurrences.keep(self._camera, noted)
                self._noted = noted
            if cases != self._saved:
                self._cases.save_running(self._camera, cases)
                self._dismissing.keep()
                self._saved = cases
        except StateError as error:
            log.warning("running cases are not saved: %s", error)

    # What the outside is told

    def _sight(self, now_ns: int) -> _Sight:
        state = self._capture.state
        if not state.connected:
            return _Sight(BLIND, state.reason, state.words)
        if now_ns - max(self._row.frame_ns, self._begun_ns) > self._silent_ns:
            silent_s = self._silent_ns / NS_PER_S
            return _Sight(BLIND, "no-frames", f"connected, but no picture for {silent_s:.0f} s: check the camera")
        if self._worker.blind:
            return _Sight(BLIND, self._worker.blind, _BLIND_WORDS.get(self._worker.blind, self._worker.blind))
        if now_ns - (self._looked_ns[-1] if self._looked_ns else self._begun_ns) > 2 * self._silent_ns:
            held_up = self._held_up or "see the detector's state"
            return _Sight(BLIND, "not-analysed", f"pictures come, but none is looked at: {held_up}")
        if not self._looked_ns:
            return _Sight(BLIND, "starting", "connected; the first picture is on its way")
        return _Sight(STREAMING)

    def _tell(self) -> None:
        now_ns = self._clock.mono_ns()
        sight = self._sight(now_ns)
        if (sight.state, sight.reason) != (self._report.state, self._report.reason):
            level = logging.INFO if sight.state == STREAMING else logging.WARNING
            log.log(
                level,
                "camera %s is %s%s",
                self._camera,
                sight.state,
                f" ({sight.reason}: {sight.words})" if sight.reason else "",
            )
            since_wall_ns = self._clock.wall_ns()
        else:
            since_wall_ns = self._report.since_wall_ns
        self._reported_ns = now_ns
        self._report = self._counted(sight, since_wall_ns, now_ns)
        write_report(self._row, self._report)

    def _counted(self, sight: _Sight, since_wall_ns: int, now_ns: int) -> CameraReport:
        before, counts, live = self._before, self._capture.counts, self._worker.cases
        size_px = self._last.size_px if self._last is not None else (0, 0)
        decoding = self._capture.decoding
        return CameraReport(
            state=sight.state,
            reason=sight.reason,
            words=short(sight.words),
            since_wall_ns=since_wall_ns,
            fps=round(self._rate(now_ns), 2),
            width_px=size_px[0],
            height_px=size_px[1],
            codec=self._capture.info.codec,
            decoder=short(self._capture.info.decoder),
            decoding=decoding.mode,
            decoding_words=short(decoding.words),
            keyframes=before.keyframes + counts.keyframes,
            groups=before.groups + counts.groups,
            clock_offset_s=self._capture.clock_offset_s,
            main_stream="" if self._main_stream is None else self._main_stream.state(now_ns),
            read=before.read + counts.read,
            decoded=before.decoded + counts.decoded,
            taken=before.taken + counts.yielded,
            analysed=before.analysed + self._analysed,
            dropped=before.dropped + self._mailbox.dropped,
            withheld=before.withheld + counts.withheld,
            skipped=before.skipped + counts.skipped,
            undecoded=before.undecoded + counts.undecoded,
            unseen=before.unseen + self._unseen,
            corrupt=before.corrupt + counts.corrupt,
            reconnects=before.reconnects + counts.reconnects,
            repaired=before.repaired + counts.reanchored,
            cases_open=sum(case.state == OPENED for case in live),
            cases_pending=sum(case.state == PENDING for case in live),
            silent_s=self._silent_ns / NS_PER_S,
            queue=len(self._mailbox),
            evidence_failures=before.evidence_failures + self._telling.failures,
            evidence_failure=short(self._telling.failure),
            alerts=before.alerts + self._outbox.alerts,
            # Copies in one step: the capture thread adds to both.
            stage_s=_summed(before.stage_s, {name: round(s, 4) for name, s in self._stopwatch.wall_s.copy().items()}),
            stage_count=_summed(before.stage_count, self._stopwatch.count.copy()),
            limits=_summed(before.limits, {**self._worker.limits, **self._limits()}),
        )

    def _rate(self, now_ns: int) -> float:
        recent = [look_ns for look_ns in self._looked_ns if now_ns - look_ns <= RATE_NS]
        return len(recent) * NS_PER_S / RATE_NS


def _left_by(killed: CameraReport) -> CameraReport:
    """Counts go on from those of the process before; the pictures that it had in hand are dropped with it."""
    return replace(killed, dropped=killed.taken - killed.analysed - killed.unseen)


def _summed(before: Mapping[str, _Number], now: Mapping[str, _Number]) -> dict[str, _Number]:
    both = {**before}
    for name, number in now.items():
        both[name] = both[name] + number if name in both else number
    return both
