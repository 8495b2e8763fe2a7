"""What becomes of a case's change: its evidence on the disk, then the case and its alert in the outbox, together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edge.core.types import Case, CaseChange, Detections, Frame
from edge.errors import EvidenceError
from edge.ports import EvidenceFile, Outbox, Recorder
from edge.runtime.watch import Watch

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """An alert in words: what `delivery` makes of a change, and where it is to be published."""

    alert: dict[str, object]
    topic: str


class Telling:
    """One camera's way from changes to the outside. Evidence that cannot be fixed holds no alert back."""

    def __init__(
        self,
        *,
        recorder: Recorder,
        word: Callable[[CaseChange, Frame, Sequence[EvidenceFile], str], Told],
        outbox: Outbox,
    ) -> None:
        """`word` makes the alert of a change, its frame, its evidence, and why there is none."""
        self._recorder = recorder
        self._word = word
        self._outbox = outbox
        self.failures = 0
        self.failure = ""  # of the last alert, in words; "" where its evidence was stored

    def resume(self, cases: Sequence[Case]) -> None:
        """These are still running since an earlier process. What cannot be put right now stays for their next alert."""
        try:
            self._recorder.resume(cases)
        except EvidenceError as error:
            log.error("evidence of an earlier process cannot be looked through: %s", error)

    def watch(self, cases: Sequence[Case], frame: Frame, things: Detections | None = None) -> None:
        """A trusted frame, with all boxes in it: stills may be due."""
        self._recorder.watch(cases, frame, things)

    def publish(self, changes: Iterable[CaseChange], frame: Frame, *, blind: str) -> list[Told]:
        """`blind`: why the frame may not be evidence, "" where it may. Returns what was told, with its number."""
        return [self._publish(change, frame, blind) for change in changes]

    def _publish(self, change: CaseChange, frame: Frame, blind: str) -> Told:
        evidence, failure = self._fix(change, frame, blind)
        told = self._word(change, frame, evidence, failure)
        self._outbox.commit(change, told.alert, told.topic)
        return told

    def publish_clips(self, watches: Sequence[Watch], frame: Frame, *, last: bool = False) -> None:
        """What was filmed of a case goes out some seconds later, whether there is anything to see now or not.

        One a frame: many cases may open together. `last`: no frame will follow, and clips end here.
        """
        while filmed := self._recorder.filmed(frame.mono_ns, last=last):
            for case_id in filmed:
                told = (watch.cases.tell_again(case_id, reason="clip") for watch in watches)
                self.publish([change for change in told if change is not None], frame, blind="")
            if not last:
                break

    def _fix(self, change: CaseChange, frame: Frame, blind: str) -> tuple[Sequence[EvidenceFile], str]:
        if blind:
            return (), f"no picture: the camera is blind ({blind})"
        try:
            files = self._recorder.record(change, frame)
        except EvidenceError as error:  # the alert goes out all the same, and says why nothing is attached
            self.failures += 1
            self.failure = str(error)
            log.error("an alert goes out without evidence: %s", error)
            return (), str(error)
        self.failure = ""
        return files, ""
