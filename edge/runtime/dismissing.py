"""One camera's dismissed cases: the database's list of them and the case books kept the same.

    a person's word -> table `dismissals` -> apply() -> the case is withdrawn, its thing followed and left alone
                                          <- keep()  <- the thing has gone

Only the list counts: whoever dismisses writes it first, so that a worker that was killed, or blind, or away at that
moment finds it later. `apply` may be called at any time, and again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from edge.core.types import OPENED, Case, Frame
from edge.runtime.telling import Telling
from edge.runtime.worker import Worker

log = logging.getLogger(__name__)


class DismissedCases(Protocol):
    """The list, as a worker sees it."""

    def standing(self, camera: str) -> set[str]: ...

    def end_standing(self, case_ids: Iterable[str]) -> None: ...


class Dismissing:
    """Of one camera. Main thread only."""

    def __init__(self, camera: str, worker: Worker, telling: Telling, listed: DismissedCases) -> None:
        self._camera = camera
        self._worker = worker
        self._telling = telling
        self._listed = listed
        self._held: set[str] = set()  # as the list had it last; bounded as the books are

    @property
    def cases(self) -> list[Case]:
        """Withdrawn ones whose things stay."""
        return [case for watch in self._worker.watches for case in watch.cases.dismissed]

    def apply(self, frame: Frame) -> None:
        """Make the books say what the list says, and tell of the cases withdrawn by it. Raises StateError."""
        listed = self._listed.standing(self._camera)
        # A camera has a handful of live cases, each with a book of its own to ask.
        for watch in self._worker.watches:
            for case in watch.cases.live:
                if case.state == OPENED and case.case_id in listed:
                    change = watch.cases.dismiss(case.case_id, mono_ns=frame.mono_ns)
                    self._telling.publish([change] if change else [], frame, blind=self._worker.blind)
            for case in watch.cases.dismissed:
                if case.case_id not in listed:
                    watch.cases.revoke(case.case_id)
        self._held = listed
        self.keep()

    def keep(self) -> None:
        """Strike from the list whose things have gone. Raises StateError."""
        over = self._held - {case.case_id for case in self.cases}
        if over:
            self._listed.end_standing(over)
            self._held -= over
            log.info("camera %s: dismissed things have gone, or were let go for others: %s", self._camera, sorted(over))
