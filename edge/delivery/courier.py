"""Brings the alerts of the outbox to the broker, in order, each at least once; and beside them retained notices.

    outbox --next_unsent--> [window in flight] --PUBACK--> mark_sent
                 ^                 |
                 '---- connection lost: again from the first unsent

Only what the outbox holds is sent as an alert, so a crash of this process or of the broker costs a repeat, not an
alert. Notices go after the alerts of each turn, in a window of their own, so neither waits for the other.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol

from edge.clock import SystemClock
from edge.core.types import NS_PER_S, seconds_to_ns
from edge.delivery.retained import RetainedNotices
from edge.errors import DeliveryError, EdgeError, StateError

log = logging.getLogger(__name__)

_GOODBYE_S = 1.0  # how long the last notice may take to be confirmed
_MEASURES_A_TURN = 64
_LETTERS_WINDOW = 16  # in flight, beside the alerts'
_STEADY_NS = 10 * NS_PER_S  # a connection that stood for so long was a good one


class Waiting(Protocol):
    """A stored alert."""

    @property
    def sequence(self) -> int: ...
    @property
    def topic(self) -> str: ...
    @property
    def body(self) -> str: ...


class Backlog(Protocol):
    """How far the delivery is behind."""

    @property
    def unsent(self) -> int: ...
    @property
    def oldest(self) -> str:
        """RFC 3339, "" where nothing waits."""
        ...

    @property
    def last_sequence(self) -> int: ...


class UnsentAlerts(Protocol):
    """The outbox as the courier sees it."""

    def next_unsent(self, after: int, limit: int) -> Sequence[Waiting]: ...

    def mark_sent(self, sequences: Iterable[int]) -> None: ...

    def unsent_count(self) -> int: ...

    def backlog(self) -> Backlog: ...


@dataclass(frozen=True, slots=True)
class CourierState:
    """How the delivery stands."""

    connected: bool = False
    reason: str = "connecting"  # why it is not connected, "" while it is
    sent: int = 0  # alerts confirmed since the courier's start
    unsent: int = 0
    oldest_unsent_s: float = 0.0
    last_sequence: int = 0


class Notices(Protocol):
    """What is retained at the broker beside the alerts, made in the courier's own thread.

    Before anything is known, `current` is empty and the others are None: then nothing is published or cleared.
    """

    def current(self, courier: CourierState) -> Mapping[str, str]:
        """Topic -> body, all of them; a topic that was named before and is no more is cleared."""
        ...

    def will(self, courier: CourierState) -> tuple[str, str] | None:
        """Topic and body that the broker is to publish when we vanish; asked before each connection."""
        ...

    def farewell(self, courier: CourierState) -> tuple[str, str] | None:
        """Topic and body of an orderly end."""
        ...


class Publisher(Protocol):
    """See `MqttPublisher`."""

    def connect(
        self,
        *,
        on_confirmed: Callable[[int], None],
        on_lost: Callable[[str], None],
        on_refused: Callable[[int, str], None] | None = None,
        will: tuple[str, str] | None = None,
    ) -> None: ...

    def publish(self, topic: str, body: str, *, retain: bool = False) -> int: ...

    def publish_once(self, topic: str, body: str) -> None: ...

    def recalled(self) -> set[str]: ...

    def close(self) -> None: ...


class MeasureQueue(Protocol):
    """Measures that wait; taken, they are gone, whatever becomes of them."""

    def take_measures(self, limit: int) -> Sequence[tuple[str, str]]:
        """Topic and body, oldest first."""
        ...

    def waiting_measures(self) -> int: ...


class LetterBox(Protocol):
    """Messages at QoS 1 beside the alerts, such as replies to commands: each published until the broker confirms it."""

    def unposted(self, limit: int) -> Sequence[tuple[str, str, str]]:
        """Key, topic and body of the oldest; asked every turn, so it must be cheap where nothing waits."""
        ...

    def mark_posted(self, keys: Iterable[str]) -> None:
        """The broker has these, or has refused them for good."""
        ...


class Courier:
    """A thread between one outbox and one broker. It never gives up; `last_error` says what holds it up."""

    def __init__(
        self,
        outbox: UnsentAlerts,
        publisher: Publisher,
        *,
        notices: Notices | None = None,
        measures: MeasureQueue | None = None,
        letters: LetterBox | None = None,
        window: int = 32,
        poll_s: float = 1.0,
        notice_s: float = 0.5,
        retry_s: float = 1.0,
        retry_max_s: float = 60.0,
        confirm_s: float = 30.0,
    ) -> None:
        """`window` bounds what is in flight; `poll_s` is how often the outbox is asked for other processes' alerts,
        `notice_s` how often the notices are; a broker that confirms nothing for `confirm_s` is connected to anew.
        """
        self._outbox = outbox
        self._publisher = publisher
        self._notices = notices
        self._measures = measures
        self._letters = letters
        self._letters_in_flight: dict[int, str] = {}  # ticket -> key, at most _LETTERS_WINDOW
        self._window = window
        self._poll_s = poll_s if notices is None else min(poll_s, notice_s)
        self._notice_ns = seconds_to_ns(notice_s)
        self._retry_s = retry_s
        self._retry_max_s = retry_max_s
        self._confirm_ns = seconds_to_ns(confirm_s)
        self._clock = SystemClock()
        self._changed = threading.Condition()
        self._stopping = False
        self._woken = False
        self._hurried = False
        self._lost = ""
        self._confirmed: list[int] = []  # tickets not yet marked; the windows bound it
        self._refused: dict[int, str] = {}  # ticket -> the broker's words
        self._retained = RetainedNotices()
        self._wanted: Mapping[str, str] = {}
        self._asked_ns: int | None = None  # when the notices were asked for last
        self._recalling = False
        self._sent = 0
        self._last_state = CourierState()
        self._connected = False
        self._since_ns: int | None = None  # when this connection was made
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self.last_error = ""

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether its thread runs: what a heartbeat should hang on."""
        return self._thread.is_alive()

    @property
    def connected(self) -> bool:
        """Whether alerts can go out now; cheap, from any thread."""
        return self._connected

    def wake(self) -> None:
        """There is a new alert: do not wait for the next poll."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def drain(self, limit_s: float) -> int:
        """Wait until every alert is confirmed, at most `limit_s`; returns how many are not.

        Cuts a pause between two tries short: the broker may be back since.
        """
        with self._changed:
            self._woken = self._hurried = True
            self._changed.notify_all()
            self._changed.wait_for(self._is_drained, timeout=limit_s)
        return self._outbox.unsent_count()

    def _is_drained(self) -> bool:
        return self._outbox.unsent_count() == 0 and (self._measures is None or not self._measures.waiting_measures())

    def state(self) -> CourierState:
        """How the delivery stands now; may be called from any thread. Where the outbox fails, its last numbers."""
        reason = "" if self._connected else self.last_error or "connecting"
        before = self._last_state
        unsent, oldest_s, sequence = before.unsent, before.oldest_unsent_s, before.last_sequence
        try:
            backlog = self._outbox.backlog()
            unsent, sequence = backlog.unsent, backlog.last_sequence
            oldest_s = self._age_s(backlog.oldest)
        except StateError as error:
            reason = reason or str(error)
        self._last_state = CourierState(self._connected, reason, self._sent, unsent, oldest_s, sequence)
        return self._last_state

    def close(self, limit_s: float = 5.0) -> None:
        """Say goodbye, end the thread and the connection; what is unconfirmed stays in the outbox.

        A thread that is still reaching for a broker after `limit_s` is left to end by itself.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(limit_s)
            if self._thread.is_alive():
                log.warning("the courier did not end within %g s; its connection is left to break off", limit_s)

    def __enter__(self) -> Courier:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _run(self) -> None:
        pause_s = self._retry_s
        while not self._stopping:
            self._forget_connection()
            try:
                self._connect()
                self._take_leave(self._deliver())
            except EdgeError as error:  # a broker comes back, a full disk is emptied: both are tried again
                self.last_error = str(error)
                if self._since_ns is not None and self._clock.mono_ns() - self._since_ns > _STEADY_NS:
                    pause_s = self._retry_s
                log.warning("%s; next try in %g s", error, pause_s)
            finally:
                self._connected = False
                self._publisher.close()
            self._pause(pause_s)
            pause_s = min(pause_s * 2, self._retry_max_s)

    def _connect(self) -> None:
        self._publisher.connect(
            on_confirmed=self._on_confirmed,
            on_lost=self._on_lost,
            on_refused=self._on_refused,
            will=None if self._notices is None else self._notices.will(self.state()),
        )
        self._connected = True
        self._since_ns = self._clock.mono_ns()
        log.info("connected to the broker")

    def _deliver(self) -> dict[int, int]:
        """Send what is unsent, from the beginning, until the connection is lost (DeliveryError) or `close`.

        Returns what is still in flight then: ticket -> sequence, at most `window`.
        """
        in_flight: dict[int, int] = {}
        handed_over = 0
        progress_ns = self._clock.mono_ns()
        while not self._stopping:
            if not in_flight and not self._retained.in_flight and not self._letters_in_flight:
                progress_ns = self._clock.mono_ns()
            if rows := self._outbox.next_unsent(handed_over, self._window - len(in_flight)):
                handed_over = rows[-1].sequence
                self._hand_over(rows, in_flight)
            self._post_notices()
            self._post_letters()
            self._post_measures()
            waiting = len(in_flight) + self._retained.in_flight + len(self._letters_in_flight)
            answered = self._wait_for_news()
            if answered and self._settle(answered, in_flight):
                progress_ns = self._clock.mono_ns()
            elif waiting and self._clock.mono_ns() - progress_ns > self._confirm_ns:
                raise DeliveryError(f"the broker has not confirmed {waiting} messages; connecting anew")
        return in_flight

    def _hand_over(self, rows: Sequence[Waiting], in_flight: dict[int, int]) -> None:
        """A break is noted like any other loss, so that what was confirmed before it is marked first."""
        try:
            for row in rows:
                in_flight[self._publisher.publish(row.topic, row.body)] = row.sequence
        except DeliveryError as error:
            self._on_lost(str(error))

    def _post_notices(self) -> None:
        """Publish the notices that changed since they were last confirmed."""
        if self._notices is None:
            return
        now_ns = self._clock.mono_ns()
        if self._asked_ns is None or now_ns - self._asked_ns >= self._notice_ns:
            self._asked_ns = now_ns
            self._wanted = self._notices.current(self.state())
        due = self._retained.due(self._wanted) if self._wanted else []
        try:
            for topic, body in due:
                self._retained.sent(self._publisher.publish(topic, body, retain=True), topic, body)
        except DeliveryError as error:
            self._on_lost(str(error))

    def _post_letters(self) -> None:
        """The key of one in flight is not given out again, so the box is asked for as many more as there are."""
        if self._letters is None or len(self._letters_in_flight) >= _LETTERS_WINDOW:
            return
        on_way = set(self._letters_in_flight.values())
        try:
            for key, topic, body in self._letters.unposted(_LETTERS_WINDOW):
                if key not in on_way and len(self._letters_in_flight) < _LETTERS_WINDOW:
                    self._letters_in_flight[self._publisher.publish(topic, body)] = key
        except DeliveryError as error:
            self._on_lost(str(error))

    def _post_measures(self) -> None:
        """At most a handful a turn, so that a backlog of numbers holds up no alert."""
        if self._measures is None:
            return
        try:
            for topic, body in self._measures.take_measures(_MEASURES_A_TURN):
                self._publisher.publish_once(topic, body)
        except DeliveryError as error:
            self._on_lost(str(error))

    def _settle(self, answered: Sequence[int], in_flight: dict[int, int]) -> bool:
        """Mark what the broker has confirmed; whether it was any of what we wait for, and not a measure's departure.

        Raises DeliveryError where it has refused an alert.
        """
        refused = self._refused_of(answered)
        awaited = any(ticket in in_flight for ticket in answered)
        for ticket in answered:
            topic = self._retained.answered(ticket)
            awaited |= topic is not None
            if topic is not None and ticket in refused:
                log.warning("%s: %s", topic, refused[ticket])
            elif topic is not None and self._recalling:
                self._recalling = False
                self._retained.remember(self._publisher.recalled())
        if posted := [self._letters_in_flight.pop(one) for one in answered if one in self._letters_in_flight]:
            awaited = True
            assert self._letters is not None
            self._letters.mark_posted(posted)
        if sequences := [in_flight.pop(ticket) for ticket in answered if ticket in in_flight and ticket not in refused]:
            self._outbox.mark_sent(sequences)
            self._sent += len(sequences)
        for ticket in in_flight.keys() & refused.keys():
            raise DeliveryError(refused[ticket])
        self._tell_drain()
        return awaited

    def _take_leave(self, in_flight: dict[int, int]) -> None:
        """The last notice, and what the broker confirms until it has that."""
        farewell = None if self._notices is None else self._notices.farewell(self.state())
        if farewell is None:
            return
        ticket = self._publisher.publish(*farewell, retain=True)
        with self._changed:
            self._changed.wait_for(lambda: ticket in self._confirmed or self._lost, timeout=_GOODBYE_S)
            answered, self._confirmed = self._confirmed, []
        if ticket not in answered:
            log.warning("the broker has not confirmed our goodbye within %g s", _GOODBYE_S)
        self._settle(answered, in_flight)

    def _wait_for_news(self) -> list[int]:
        """The tickets answered since the last call, after at most one poll. Raises DeliveryError when lost."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._confirmed or self._lost or self._woken or self._stopping, timeout=self._poll_s
            )
            self._woken = False
            answered, self._confirmed = self._confirmed, []
            if self._lost and not answered:
                raise DeliveryError(self._lost)
            return answered

    def _refused_of(self, answered: Sequence[int]) -> dict[int, str]:
        with self._changed:
            return {ticket: self._refused.pop(ticket) for ticket in answered if ticket in self._refused}

    def _on_confirmed(self, ticket: int) -> None:
        with self._changed:
            self._confirmed.append(ticket)
            self._changed.notify_all()

    def _on_refused(self, ticket: int, words: str) -> None:
        with self._changed:
            self._refused[ticket] = words
            self._confirmed.append(ticket)
            self._changed.notify_all()

    def _on_lost(self, reason: str) -> None:
        self._connected = False
        with self._changed:
            self._lost = reason
            self._changed.notify_all()

    def _forget_connection(self) -> None:
        self._since_ns = None
        self._retained.forget_connection()
        self._letters_in_flight.clear()
        self._recalling = True
        self._asked_ns = None
        with self._changed:
            self._lost = ""
            self._confirmed = []
            self._refused = {}

    def _tell_drain(self) -> None:
        self.last_error = ""
        with self._changed:
            self._changed.notify_all()

    def _age_s(self, moment: str) -> float:
        if not moment:
            return 0.0
        return max(self._clock.wall_ns() / NS_PER_S - datetime.fromisoformat(moment).timestamp(), 0.0)

    def _pause(self, pause_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._hurried, timeout=pause_s)
            self._hurried = False
