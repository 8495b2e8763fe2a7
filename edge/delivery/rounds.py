"""Which alerts are handed over next: rounds through the outbox, each from its oldest alert to its newest.

    a connection begins --> a round over all that is there, sent or not --> what comes new
    no receipt in time  --> what is overdue, little by little; when the brain speaks again, a round over all
    somebody asks       --> the alerts of a range

In order of `sequence` within a round, read ahead in pieces, and nothing twice at the same time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from edge.clock import SystemClock
from edge.core.types import NS_PER_S

AHEAD = 512  # alerts read at once; `hand_over` bounds their bytes
_LOOK_NS = NS_PER_S  # how often what is overdue is looked for
_PROBES = 64  # to a brain that is silent, once in `redrive_ns`: a whole month's alerts each hour would fill the link
_RANGES_MAX = 16


class Waiting(Protocol):
    """A stored alert."""

    @property
    def sequence(self) -> int: ...
    @property
    def topic(self) -> str: ...
    @property
    def body(self) -> str: ...


class HandedOver(Protocol):
    """The outbox, as far as alerts are taken from it to be published."""

    def hand_over(self, after: int, limit: int, *, last: int | None = None) -> Sequence[Waiting]: ...

    def overdue(self, limit: int, *, now_wall_ns: int, redrive_max_ns: int) -> Sequence[Waiting]: ...


@dataclass(slots=True)
class _Range:
    after: int
    last: int


class Rounds:
    """Used from the courier's thread; only `ask_for` may be called from another."""

    def __init__(self, outbox: HandedOver, *, redrive_ns: int | None, redrive_max_ns: int, clock: SystemClock) -> None:
        """`redrive_ns` is None where nobody sends receipts: then nothing is ever overdue."""
        self._outbox = outbox
        self._redrive_ns = redrive_ns
        self._redrive_max_ns = redrive_max_ns
        self._clock = clock
        self._ahead: deque[Waiting] = deque()  # at most AHEAD
        self._after = 0  # up to here this round has read
        self._asked: deque[_Range] = deque(maxlen=_RANGES_MAX)  # the oldest question goes
        self._looked_ns = 0
        self._silent = False  # something was overdue, and the brain has not spoken since

    def begin(self) -> None:
        """From the oldest alert on, again."""
        self._ahead.clear()
        self._after = 0
        self._silent = False

    def heard(self) -> None:
        """The brain has spoken. After a silence it may have missed more than what was overdue."""
        if self._silent:
            self.begin()

    def ask_for(self, first: int, last: int) -> None:
        """Hand these over again, as far as they are still here."""
        self._asked.append(_Range(first - 1, last))

    def take(self, limit: int, in_flight: Container[int]) -> Iterator[Waiting]:
        """At most `limit` alerts, none of those whose sequence is in flight."""
        taken = 0
        while taken < limit:
            row = self._ahead.popleft() if self._ahead or self._read() else None
            if row is None:
                return
            if row.sequence not in in_flight:
                taken += 1
                yield row

    def _read(self) -> bool:
        """Whether there was anything to read ahead."""
        if rows := self._outbox.hand_over(self._after, AHEAD):
            self._after = rows[-1].sequence
        self._ahead.extend(rows or self._read_asked() or self._read_overdue())
        return bool(self._ahead)

    def _read_asked(self) -> Sequence[Waiting]:
        while self._asked:
            asked = self._asked[0]
            if rows := self._outbox.hand_over(asked.after, AHEAD, last=asked.last):
                asked.after = rows[-1].sequence
                return rows
            self._asked.popleft()
        return []

    def _read_overdue(self) -> Sequence[Waiting]:
        if self._redrive_ns is None:
            return []
        now_ns = self._clock.mono_ns()
        if now_ns - self._looked_ns < (self._redrive_ns if self._silent else min(_LOOK_NS, self._redrive_ns)):
            return []
        self._looked_ns = now_ns
        limit = _PROBES if self._silent else AHEAD
        rows = self._outbox.overdue(limit, now_wall_ns=self._clock.wall_ns(), redrive_max_ns=self._redrive_max_ns)
        self._silent |= bool(rows)
        return rows
