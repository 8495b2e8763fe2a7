"""Which cases wait for their clip: from some seconds before a case opened to some after it.

The alert that opens a case never waits for it. A clip is cut when its time has come or when its case ends, whichever
is first, and belongs to one later alert. What there is no clip of is counted, and no alert is made of it.

At most one clip is in memory: cases that opened in one moment share it, and the next is cut once it is told.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from edge.errors import CaptureError
from edge.ports import Film, Footage

WAITING_MAX = 256  # cases that opened within one post-roll; beyond, none is cut for the rest

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Cut:
    """What was cut last."""

    opened_ns: int
    end_ns: int
    footage: Footage


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
        self._waiting: dict[str, int] = {}  # case id -> mono time of its opening; at most WAITING_MAX
        self._cut: _Cut | None = None  # as long as somebody waits for it
        self._named = ""  # the case that is to take its clip before the next is named
        self.lost = 0  # clips that could not be cut, or had no alert to go with
        self.cut_short = 0  # that begin later than they should: the camera was not there, or its pictures are not kept

    @property
    def held_bytes(self) -> int:
        """Of clips that are cut and not told."""
        return len(self._cut.footage.content) if self._cut is not None else 0

    def begin(self, case_id: str, opened_ns: int) -> None:
        if len(self._waiting) < WAITING_MAX:
            self._waiting[case_id] = opened_ns
        else:
            self._lose(case_id, f"more than {WAITING_MAX} cases wait for theirs")

    def due(self, mono_ns: int, *, last: bool) -> str | None:
        """Cut a clip whose end has come, with `last` any, and name its case. It must be taken before the next call: a
        case that cannot be told of any more has no use for its clip."""
        if self._named in self._waiting:
            self._lose(self._named, "no alert could carry it")
            self.forget(self._named)
        for case_id, opened_ns in list(self._waiting.items()):
            if last or mono_ns >= opened_ns + self._post_roll_ns:
                if self._footage(case_id, opened_ns, mono_ns) is not None:
                    self._named = case_id
                    return case_id
                self.forget(case_id)
        return None

    def take(self, case_id: str, mono_ns: int) -> Footage | None:
        """The clip of a case that is told of now, as far as it has come; None where it has none, or had it before."""
        opened_ns = self._waiting.get(case_id)
        return None if opened_ns is None else self._footage(case_id, opened_ns, mono_ns)

    def forget(self, case_id: str) -> None:
        """Its clip is told."""
        self._waiting.pop(case_id, None)
        if self._cut is not None and self._cut.opened_ns not in self._waiting.values():
            self._cut = None

    def _footage(self, case_id: str, opened_ns: int, mono_ns: int) -> Footage | None:
        begin_ns, end_ns = opened_ns - self._pre_roll_ns, min(opened_ns + self._post_roll_ns, mono_ns)
        if self._cut is None or (self._cut.opened_ns, self._cut.end_ns) != (opened_ns, end_ns):
            self._cut = None  # before the next is made
            try:
                footage = self._film.cut(begin_ns, end_ns, at_ns=opened_ns)
            except CaptureError as error:
                self._lose(case_id, str(error))
                return None
            self._cut = _Cut(opened_ns, end_ns, footage)
        if case_id != self._named:
            self.cut_short += self._cut.footage.from_ns > begin_ns
        return self._cut.footage

    def _lose(self, case_id: str, reason: str) -> None:
        level = logging.DEBUG if self.lost else logging.WARNING  # once; from here on the count tells
        self.lost += 1
        _log.log(level, "case %s has no clip: %s", case_id, reason)
