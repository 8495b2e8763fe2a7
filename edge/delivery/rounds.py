"""Which alerts are handed over next: what is new before what goes again.

    new               in order, from the oldest that the broker has not confirmed
    asked for         the alerts of a range
    a new connection  a round over all that was sent and has no receipt
    a receipt is due  what the brain has passed over; a few as probes while it is silent, a round when it speaks again

Read ahead in pieces, and nothing twice at the same time. What is new never waits behind what goes again, and a brain
that is slow is not sent more for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from edge.clock import SystemClock
from edge.core.types import NS_PER_S

AHEAD = 512  # alerts read at once; `hand_over` bounds their bytes
_LOOK_NS = NS_PER_S  # how often what is overdue is looked for
_PROBES = 64  # to a brain that is silent, once in `redrive_ns`: a whole month's alerts each hour would fill the link
_RANGES_MAX = 16
_REFUSED_NS = 300 * NS_PER_S  # until what the broker has refused is tried again
_HELD_MAX = 256
# A road that loses much breaks connections, too: what was held for that must not wait for long.
_HOLD_NS, _HOLD_MAX_NS = 10 * NS_PER_S, 300 * NS_PER_S
_NO_END = 1 << 62


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

    def hand_over(self, after: int, limit: int) -> Sequence[Waiting]: ...

    def hand_over_between(self, first: int, last: int, limit: int) -> Sequence[Waiting]: ...

    def sent_before(
        self, after: int, limit: int, *, last: int, before_wall_ns: int, now_wall_ns: int
    ) -> Sequence[Waiting]: ...

    def overdue(
        self, limit: int, *, now_wall_ns: int, redrive_max_ns: int, sent_before_ns: int
    ) -> Sequence[Waiting]: ...


@dataclass(slots=True)
class _Range:
    after: int
    last: int
    before_wall_ns: int = 0  # of a round: what was sent later is not meant


@dataclass(slots=True)
class _Held:
    """An alert under which connections broke."""

    due_ns: int
    pause_ns: int


class Rounds:
    """Used from the courier's thread; only `ask_for` may be called from another."""

    def __init__(self, outbox: HandedOver, *, redrive_ns: int | None, redrive_max_ns: int, clock: SystemClock) -> None:
        """`redrive_ns` is None where nobody sends receipts: then nothing is ever overdue."""
        self._outbox = outbox
        self._redrive_ns = redrive_ns
        self._redrive_max_ns = redrive_max_ns
        self._clock = clock
        self._new: deque[Waiting] = deque()  # at most AHEAD, like the next
        self._again: deque[Waiting] = deque()
        self._after = 0  # up to here what is new has been read
        self._round: deque[_Range] = deque()  # at most two
        self._reached = 0  # the last alert of the round that was handed over, 0 when it is through
        self._going_round = False  # what is read ahead to go again is the round's
        self._asked: deque[_Range] = deque(maxlen=_RANGES_MAX)  # the oldest question goes
        self._looked_ns = 0
        self._heard_ns = 0  # when the brain spoke last, or the connection began
        self._passed_ns = 0  # what was sent before this moment, the brain has passed over
        self._probing = False
        self._refused: set[int] = set()  # at most _HELD_MAX; of more than that, some are tried again sooner
        self._held: dict[int, _Held] = {}  # by sequence, at most _HELD_MAX
        self._refused_ns: int | None = None  # when the broker refused an alert first since they were tried

    def begin(self) -> None:
        """A new connection: what was on its way may be lost, and so may what the broker had."""
        self._new.clear()
        self._again.clear()
        self._after = 0
        self._passed_ns = 0
        self._refused_ns = None
        self._refused.clear()
        self._heard_ns = self._clock.mono_ns()
        self._probing = False
        # A round that was broken off goes on where it was, or a link that breaks often would never let it end.
        self._go_round(self._reached, before_wall_ns=self._clock.wall_ns())

    def heard(self, sent_wall_ns: int) -> None:
        """The brain has stored an alert that was sent then. After a silence it may have missed any."""
        self._passed_ns = max(self._passed_ns, sent_wall_ns)
        self._heard_ns = self._clock.mono_ns()
        if self._probing and self._redrive_ns is not None:
            self._probing = False
            self._again.clear()
            self._go_round(0, before_wall_ns=self._clock.wall_ns() - self._redrive_ns)

    def refused(self, sequence: int) -> None:
        """The broker does not take this alert: it stays, and is tried again in a while."""
        if len(self._refused) < _HELD_MAX:
            self._refused.add(sequence)
        if self._refused_ns is None:
            self._refused_ns = self._clock.mono_ns()

    def hold(self, sequence: int) -> None:
        """Connections broke while this alert was on its way, so it goes last, alone, and less and less often."""
        before = self._held.pop(sequence, None)
        pause_ns = _HOLD_NS if before is None else min(2 * before.pause_ns, _HOLD_MAX_NS)
        self._held[sequence] = _Held(self._clock.mono_ns() + pause_ns, pause_ns)
        if len(self._held) > _HELD_MAX:
            self._held.pop(next(iter(self._held)))

    def confirmed(self, sequences: Iterable[int]) -> None:
        """The broker has these."""
        if self._held or self._refused:
            for sequence in sequences:
                self._held.pop(sequence, None)
                self._refused.discard(sequence)

    @property
    def held(self) -> Collection[int]:
        """What `hold` was said of, and the broker has not confirmed since."""
        return self._held.keys()

    @property
    def set_aside(self) -> int:
        """How many alerts are not sent for now, because of what became of them: refused and held ones."""
        return len(self._refused | self._held.keys())

    def ask_for(self, first: int, last: int) -> None:
        """Hand these over again, as far as they are still here."""
        self._asked.append(_Range(first - 1, last))

    def take(self, limit: int, in_flight: Collection[int]) -> Iterator[Waiting]:
        """At most `limit` alerts, none of those whose sequence is in flight."""
        taken = 0
        while taken < limit and (row := self._next()) is not None:
            if row.sequence not in in_flight and row.sequence not in self._held:
                taken += 1
                yield row
        if self._held and not taken and not in_flight:
            yield from self._try_held()

    def _try_held(self) -> Sequence[Waiting]:
        now_ns = self._clock.mono_ns()
        for sequence in [sequence for sequence, held in self._held.items() if held.due_ns <= now_ns]:
            if rows := self._outbox.hand_over_between(sequence, sequence, 1):
                self.hold(sequence)  # until it is confirmed
                return rows
            del self._held[sequence]
        return []

    def _go_round(self, begin: int, *, before_wall_ns: int) -> None:
        self._round = deque([_Range(begin, _NO_END, before_wall_ns), _Range(0, begin, before_wall_ns)])

    def _next(self) -> Waiting | None:
        if not self._new:
            self._new.extend(self._read_new())
        if self._new:
            return self._new.popleft()
        if not self._again:
            self._again.extend(self._read_asked() or self._read_round() or self._read_overdue())
        if not self._again:
            return None
        row = self._again.popleft()
        if self._going_round:
            self._reached = row.sequence
        return row

    def _read_new(self) -> Sequence[Waiting]:
        if self._refused_ns is not None and self._clock.mono_ns() - self._refused_ns > _REFUSED_NS:
            self._refused_ns = None
            self._refused.clear()
            self._after = 0
        rows = self._outbox.hand_over(self._after, AHEAD)
        if rows:
            self._after = rows[-1].sequence
        return rows

    def _read_asked(self) -> Sequence[Waiting]:
        self._going_round = False
        while self._asked:
            asked = self._asked[0]
            if rows := self._outbox.hand_over_between(asked.after + 1, asked.last, AHEAD):
                asked.after = rows[-1].sequence
                return rows
            self._asked.popleft()
        return []

    def _read_round(self) -> Sequence[Waiting]:
        self._going_round = bool(self._round)
        while self._round:
            part = self._round[0]
            rows = self._outbox.sent_before(
                part.after,
                AHEAD,
                last=part.last,
                before_wall_ns=part.before_wall_ns,
                now_wall_ns=self._clock.wall_ns(),
            )
            if rows:
                part.after = rows[-1].sequence
                return rows
            self._round.popleft()
            self._reached = 0
        self._going_round = False
        return []

    def _read_overdue(self) -> Sequence[Waiting]:
        if self._redrive_ns is None:
            return []
        now_ns = self._clock.mono_ns()
        silent = now_ns - self._heard_ns >= self._redrive_ns
        if now_ns - self._looked_ns < (self._redrive_ns if self._probing else min(_LOOK_NS, self._redrive_ns)):
            return []
        self._looked_ns = now_ns
        rows = self._outbox.overdue(
            _PROBES if silent else AHEAD,
            now_wall_ns=self._clock.wall_ns(),
            redrive_max_ns=self._redrive_max_ns,
            sent_before_ns=_NO_END if silent else self._passed_ns,
        )
        self._probing |= silent and bool(rows)
        return rows
