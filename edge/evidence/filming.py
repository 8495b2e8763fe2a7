"""Which cases wait for their clip: from some seconds before a case opened to some after it.

The alert that opens a case never waits for it. A clip is cut when its time has come or when its case ends, whichever
is first, and belongs to one later alert. What there is no clip of is counted, and no alert is made of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from edge.errors import CaptureError
from edge.ports import Film, Footage

WAITING_MAX = 256  # cases that opened within one post-roll; beyond, none is cut for the rest

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    opened_ns: int
    footage: Footage | None = None  # cut, and not yet told


class MainFirst:
    """The film of a camera that is analysed on its sub stream: its main stream, or the other where that is away."""

    def __init__(self, main: Film, analysed: Film) -> None:
        self._main = main
        self._analysed = analysed

    def cut(self, from_ns: int, to_ns: int, *, at_ns: int) -> Footage:
        """See `edge.ports.Film`."""
        try:
            return self._main.cut(from_ns, to_ns, at_ns=at_ns)
        except CaptureError as error:
            _log.info("a clip is of the analysed stream: %s", error)
            return self._analysed.cut(from_ns, to_ns, at_ns=at_ns)


class Filming:
    """The clips of one camera's cases."""

    def __init__(self, film: Film, *, pre_roll_ns: int, post_roll_ns: int) -> None:
        self._film = film
        self._pre_roll_ns = pre_roll_ns
        self._post_roll_ns = post_roll_ns
        self._waiting: dict[str, _Waiting] = {}  # by case id; at most WAITING_MAX
        self.lost = 0  # clips that could not be cut, or had no alert to go with
        self.cut_short = 0  # that begin later than they should: the camera was not there, or its pictures are not kept

    def begin(self, case_id: str, opened_ns: int) -> None:
        if len(self._waiting) < WAITING_MAX:
            self._waiting[case_id] = _Waiting(opened_ns)
        else:
            self._lose(case_id, f"more than {WAITING_MAX} cases wait for theirs")

    def due(self, mono_ns: int, *, last: bool) -> Iterator[str]:
        """Cut the clips whose end has come, with `last` all, and name their cases. Each must be taken before the next
        call: a case that cannot be told of any more has no use for its clip."""
        for case_id, waiting in list(self._waiting.items()):
            if waiting.footage is not None:
                del self._waiting[case_id]
                self._lose(case_id, "no alert could carry it")
            elif last or mono_ns >= waiting.opened_ns + self._post_roll_ns:
                waiting.footage = self._cut(case_id, waiting, mono_ns)
                if waiting.footage is None:
                    del self._waiting[case_id]
                else:
                    yield case_id

    def take(self, case_id: str, mono_ns: int) -> Footage | None:
        """The clip of a case that is told of now, as far as it has come; None where it has none, or had it before."""
        waiting = self._waiting.get(case_id)
        if waiting is None:
            return None
        return waiting.footage or self._cut(case_id, waiting, mono_ns)

    def forget(self, case_id: str) -> None:
        """Its clip is told."""
        self._waiting.pop(case_id, None)

    def _cut(self, case_id: str, waiting: _Waiting, mono_ns: int) -> Footage | None:
        opened_ns = waiting.opened_ns
        begin_ns, end_ns = opened_ns - self._pre_roll_ns, min(opened_ns + self._post_roll_ns, mono_ns)
        try:
            footage = self._film.cut(begin_ns, end_ns, at_ns=opened_ns)
        except CaptureError as error:
            self._lose(case_id, str(error))
            return None
        self.cut_short += footage.from_ns > begin_ns
        return footage

    def _lose(self, case_id: str, reason: str) -> None:
        level = logging.DEBUG if self.lost else logging.WARNING  # once; from here on the count tells
        self.lost += 1
        _log.log(level, "case %s has no clip: %s", case_id, reason)
