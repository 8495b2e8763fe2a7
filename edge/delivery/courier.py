"""Brings the alerts of the outbox to the broker, in order, each at least once; and beside them retained notices.

    outbox --Rounds--> [window in flight] --PUBACK--> marked as sent --receipt--> deleted
               ^                |                '--> deleted, where no receipts come
               |                |
               '---- connection lost, or no receipt: again, all that is still there

Only what the outbox holds is sent as an alert, so a crash of this process or of the broker costs a repeat, not an
alert. Notices go after the alerts of each turn, in a window of their own, so neither waits for the other.
"""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Protocol

from edge.clock import SystemClock
from edge.core.types import NS_PER_S, seconds_to_ns
from edge.delivery.letters import Letter
from edge.delivery.message import dumps
from edge.delivery.retained import RetainedNotices
from edge.delivery.rounds import HandedOver, Rounds, Waiting
from edge.errors import DeliveryError, EdgeError, OversizedError, StateError

log = logging.getLogger(__name__)

_GOODBYE_S = 1.0  # how long the last notice may take to be confirmed
_ALERTS_A_TURN = 64  # between two looks at what else is to be said
_MEASURES_A_TURN = 64
_MARKED_AT_ONCE = 128
_MARK_S = 0.02  # so long a confirmed alert may wait for others to be marked with
_LETTERS_WINDOW = 16  # in flight, beside the alerts'
_IDS_AT_ONCE = 2000  # of receipts in one transaction, in which no camera can write
_BREAKS_MAX = 3  # connections that may break on one alert
_LETTER_BREAKS_MAX = 6
_STEADY_NS = 10 * NS_PER_S  # a connection that stood for so long was a good one


class Backlog(Protocol):
    """How far the delivery is behind. Times are RFC 3339, "" where nothing waits."""

    @property
    def unsent(self) -> int: ...
    @property
    def oldest(self) -> str: ...
    @property
    def last_sequence(self) -> int: ...
    @property
    def unreceipted(self) -> int: ...
    @property
    def oldest_unreceipted(self) -> str: ...
    @property
    def merged(self) -> int: ...
    @property
    def given_up(self) -> int: ...


class StoredAlerts(HandedOver, Protocol):
    """The outbox as the courier sees it."""

    def mark_sent(
        self, sequences: Iterable[int], *, now_wall_ns: int, redrive_ns: int, redrive_max_ns: int
    ) -> None: ...

    def delete_sent(self, sequences: Iterable[int]) -> None: ...

    def delete(self, ids: Iterable[str]) -> int | None: ...

    def unsent_count(self) -> int: ...

    def backlog(self) -> Backlog: ...


class ReceiptBox(Protocol):
    """The brain's receipts as they come; see `Receipts`."""

    on_arrival: Callable[[], None]

    @property
    def malformed(self) -> int: ...

    def take(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class CourierState:
    """How the delivery stands."""

    connected: bool = False
    reason: str = "connecting"  # why it is not connected, "" while it is
    sent: int = 0  # alerts confirmed since the courier's start
    unsent: int = 0
    oldest_unsent_s: float = 0.0
    last_sequence: int = 0
    unreceipted: int = 0  # sent, and the brain has not confirmed them
    oldest_unreceipted_s: float = 0.0
    merged: int = 0  # ever: their numbers stand in the `replaces` of later ones
    given_up: int = 0  # ever, for room
    receipts_malformed: int = 0  # since the courier's start
    refused: int = 0  # times since then that the broker would not take an alert
    refusal: str = ""  # in its words, where it did so on this connection


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

    @property
    def receive_max(self) -> int: ...


class MeasureQueue(Protocol):
    """Measures that wait; taken, they are gone, whatever becomes of them."""

    def take_measures(self, limit: int) -> Sequence[tuple[str, str]]:
        """Topic and body, oldest first."""
        ...

    def waiting_measures(self) -> int: ...


class LetterBox(Protocol):
    """Messages at QoS 1 beside the alerts, such as replies to commands: each published until the broker confirms it."""

    def unposted(self, limit: int) -> Sequence[tuple[str, str, str] | Letter]:
        """Key, topic and body of the oldest; asked every turn, so it must be cheap where nothing waits."""
        ...

    def mark_posted(self, keys: Iterable[str]) -> None:
        """The broker has these, or has refused them for good."""
        ...


class Courier:
    """A thread between one outbox and one broker. It never gives up; `last_error` says what holds it up."""

    def __init__(
        self,
        outbox: StoredAlerts,
        publisher: Publisher,
        *,
        notices: Notices | None = None,
        measures: MeasureQueue | None = None,
        letters: LetterBox | None = None,
        receipts: ReceiptBox | None = None,
        redrive_s: float = 60.0,
        redrive_max_s: float = 3600.0,
        window: int = 256,
        poll_s: float = 1.0,
        notice_s: float = 0.5,
        retry_s: float = 1.0,
        retry_max_s: float = 60.0,
        confirm_s: float = 30.0,
        seed: int | None = None,
    ) -> None:
        """Without `receipts` the broker's word is enough, and deletes. With them it is the brain's; an alert without
        one is sent again after `redrive_s`, then twice as long, at most `redrive_max_s`. `seed`: of the pauses' jitter.

        `window` bounds what is in flight; `poll_s` is how often the outbox is asked for other processes' alerts,
        `notice_s` how often the notices are; a broker that confirms nothing for `confirm_s` is connected to anew.
        """
        self._outbox = outbox
        self._publisher = publisher
        self._notices = notices
        self._measures = measures
        self._letters = letters
        self._letters_in_flight: dict[int, str] = {}  # ticket -> key, at most _LETTERS_WINDOW
        self._receipts = receipts
        self._redrive_ns = seconds_to_ns(redrive_s)
        self._redrive_max_ns = seconds_to_ns(redrive_max_s)
        self._window = window
        self._poll_s = poll_s if notices is None else min(poll_s, notice_s)
        self._notice_ns = seconds_to_ns(notice_s)
        self._retry_s = retry_s
        self._retry_max_s = retry_max_s
        self._confirm_ns = seconds_to_ns(confirm_s)
        self._jitter = random.Random(seed)
        self._clock = SystemClock()
        redrive_ns = None if receipts is None else self._redrive_ns
        self._rounds = Rounds(outbox, redrive_ns=redrive_ns, redrive_max_ns=self._redrive_max_ns, clock=self._clock)
        self._changed = threading.Condition()
        self._progress = threading.Condition()  # for `drain`, which asks the database
        self._stopping = False
        self._woken = False
        self._hurried = False
        self._lost = ""
        self._confirmed: list[int] = []  # tickets not yet looked at; the windows bound it
        self._unmarked: list[int] = []  # sequences that the broker has; at most a window and _MARKED_AT_ONCE
        self._refused: dict[int, str] = {}  # ticket -> the broker's words
        self._retained = RetainedNotices()
        self._wanted: Mapping[str, str] = {}
        self._asked_ns: int | None = None  # when the notices were asked for last
        self._recalling = False
        self._sent = 0
        self._refusal = ""  # the broker's words, where it has refused an alert on this connection
        self._refused_alerts = 0
        self._alert_suspected, self._alert_breaks = 0, 0
        self._letter_suspected, self._letter_breaks = "", 0
        self._last_state = CourierState()
        self._connected = False
        self._since_ns: int | None = None  # when this connection was made
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self.last_error = ""
        if receipts is not None:
            receipts.on_arrival = self.wake

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

    def resend(self, first: int, last: int) -> None:
        """Send the alerts with these numbers again, as far as they are still in the outbox."""
        self._rounds.ask_for(first, last)
        self.wake()

    def drain(self, limit_s: float) -> int:
        """Wait until the broker has confirmed all alerts that it takes, at most `limit_s`; returns how many it has not.

        Cuts a pause between two tries short: the broker may be back since.
        """
        with self._changed:
            self._woken = self._hurried = True
            self._changed.notify_all()
        with self._progress:
            self._progress.wait_for(self._is_drained, timeout=limit_s)
        return self._outbox.unsent_count()

    @property
    def is_busy(self) -> bool:
        """Whether it is connected and has alerts to send, other than those that the broker does not take."""
        return self._connected and self._outbox.unsent_count() > self._rounds.set_aside

    def _is_drained(self) -> bool:
        return self._outbox.unsent_count() <= self._rounds.set_aside and (
            self._measures is None or not self._measures.waiting_measures()
        )

    def state(self) -> CourierState:
        """How the delivery stands now; may be called from any thread. Where the outbox fails, its last numbers."""
        reason = "" if self._connected else self.last_error or "connecting"
        try:
            backlog = self._outbox.backlog()
            self._last_state = replace(
                self._last_state,
                unsent=backlog.unsent,
                oldest_unsent_s=self._age_s(backlog.oldest),
                last_sequence=backlog.last_sequence,
                unreceipted=backlog.unreceipted,
                oldest_unreceipted_s=self._age_s(backlog.oldest_unreceipted),
                merged=backlog.merged,
                given_up=backlog.given_up,
            )
        except StateError as error:
            reason = reason or str(error)
        malformed = 0 if self._receipts is None else self._receipts.malformed
        self._last_state = replace(
            self._last_state,
            connected=self._connected,
            reason=reason,
            sent=self._sent,
            receipts_malformed=malformed,
            refused=self._refused_alerts,
            refusal=self._refusal or self._held_words(),
        )
        return self._last_state

    def _held_words(self) -> str:
        held = len(self._rounds.held)
        return f"connections break on {held} alerts, which go last: are they too long for the broker?" if held else ""

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
                log.warning("%s; next try within %g s", error, pause_s)
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
        """Send what is in the outbox, from the beginning, until the connection is lost (DeliveryError) or `close`.

        Returns what is still in flight then: ticket -> sequence, at most `window`.
        """
        in_flight: dict[int, int] = {}
        self._rounds.begin()
        try:
            self._deliver_until_stopped(in_flight)
        except DeliveryError:
            self._suspect(in_flight)
            raise
        finally:
            self._mark_confirmed()  # before the break: those need not go again
        return in_flight

    def _suspect(self, in_flight: Mapping[int, int]) -> None:
        """A broker that hangs up on a message has confirmed all before it: the oldest on its way may be too long.

        When connection after connection breaks on the same one, it must not hold up the others any more.
        """
        if not self._lost:
            return  # it was we who gave the connection up
        alert = next(iter(in_flight.values()), 0)
        letter = next(iter(self._letters_in_flight.values()), "")
        if alert:
            self._alert_breaks = self._alert_breaks + 1 if alert == self._alert_suspected else 1
            self._alert_suspected = alert
        if letter:
            self._letter_breaks = self._letter_breaks + 1 if letter == self._letter_suspected else 1
            self._letter_suspected = letter
        if alert and self._alert_breaks >= _BREAKS_MAX and alert not in self._rounds.held:
            self._rounds.hold(alert)
            self._refused_alerts += 1
            log.error("alert %d: connections break while it is on its way; it goes last from now on", alert)
        if letter and self._letters is not None and self._letter_breaks >= _LETTER_BREAKS_MAX:
            self._letters.mark_posted([letter])
            log.error("message %s: connections break while it is on its way; it is given up", letter)

    def _deliver_until_stopped(self, in_flight: dict[int, int]) -> None:
        progress_ns = self._clock.mono_ns()
        while not self._stopping:
            if not in_flight and not self._retained.in_flight and not self._letters_in_flight:
                progress_ns = self._clock.mono_ns()
            self._hear_receipts()
            self._hand_over(in_flight)
            self._post_notices(self._room(in_flight))
            self._post_letters(self._room(in_flight))
            self._post_measures()
            waiting = len(in_flight) + self._retained.in_flight + len(self._letters_in_flight)
            answered = self._wait_for_news()
            if not answered:
                self._mark_confirmed()
            if answered and self._settle(answered, in_flight):
                progress_ns = self._clock.mono_ns()
            elif waiting and self._clock.mono_ns() - progress_ns > self._confirm_ns:
                raise DeliveryError(f"the broker has not confirmed {waiting} messages; connecting anew")

    def _hear_receipts(self) -> None:
        """What the brain has stored is done with."""
        if self._receipts is None:
            return
        ids = self._receipts.take()
        for first in range(0, len(ids), _IDS_AT_ONCE):
            sent_wall_ns = self._outbox.delete(ids[first : first + _IDS_AT_ONCE])
            if sent_wall_ns is not None:
                self._rounds.heard(sent_wall_ns)
        if len(self._receipts):
            self.wake()

    def _room(self, in_flight: Mapping[int, int]) -> int:
        """How many messages the broker takes beyond those in flight; one of MQTT 5 hangs up on more."""
        others = self._retained.in_flight + len(self._letters_in_flight)
        return self._publisher.receive_max - len(in_flight) - others

    def _hand_over(self, in_flight: dict[int, int]) -> None:
        """A break is noted like any other loss, so that what was confirmed before it is marked first.

        Where the broker takes few at a time, a quarter is left for notices and letters.
        """
        window = max(min(self._window, self._publisher.receive_max * 3 // 4), 1)
        room = min(window - len(in_flight), self._room(in_flight), _ALERTS_A_TURN)
        on_way = set(in_flight.values())
        try:
            for row in self._rounds.take(room, on_way):
                try:
                    ticket = self._publish_within_limit(row)
                except OversizedError as error:
                    self._refuse(row.sequence, str(error))
                else:
                    in_flight[ticket] = row.sequence
                    on_way.add(row.sequence)
        except DeliveryError as error:
            self._on_lost(str(error))

    def _publish_within_limit(self, row: Waiting) -> int:
        """Where the broker's limit is below it, without its thumbnail: that proves nothing, and the files are there."""
        try:
            return self._publisher.publish(row.topic, row.body)
        except OversizedError:
            alert = json.loads(row.body)
            if alert["data"].pop("thumbnail", None) is None:
                raise
            return self._publisher.publish(row.topic, dumps(alert))

    def _refuse(self, sequence: int, words: str) -> None:
        log.log(logging.DEBUG if self._refusal else logging.ERROR, "alert %d: %s", sequence, words)
        self._refusal = words
        self._refused_alerts += 1
        self._rounds.refused(sequence)

    def _post_notices(self, room: int) -> None:
        """Publish the notices that changed since they were last confirmed."""
        if self._notices is None:
            return
        now_ns = self._clock.mono_ns()
        if self._asked_ns is None or now_ns - self._asked_ns >= self._notice_ns:
            self._asked_ns = now_ns
            self._wanted = self._notices.current(self.state())
        due = self._retained.due(self._wanted) if self._wanted else []
        try:
            for topic, body in due[: max(room, 0)]:
                self._retained.sent(self._publisher.publish(topic, body, retain=True), topic, body)
        except DeliveryError as error:
            self._on_lost(str(error))

    def _post_letters(self, room: int) -> None:
        """The key of one in flight is not given out again, so the box is asked for as many more as there are."""
        window = min(_LETTERS_WINDOW, len(self._letters_in_flight) + room)
        if self._letters is None or len(self._letters_in_flight) >= window:
            return
        on_way = set(self._letters_in_flight.values())
        try:
            for one in self._letters.unposted(_LETTERS_WINDOW):
                letter = one if isinstance(one, Letter) else Letter(*one)
                if letter.key not in on_way and len(self._letters_in_flight) < window:
                    self._post_letter(letter)
        except DeliveryError as error:
            self._on_lost(str(error))

    def _post_letter(self, letter: Letter) -> None:
        assert self._letters is not None
        try:
            ticket = self._publisher.publish(letter.topic, letter.body, retain=letter.retain)
        except OversizedError as error:
            log.error("message %s is given up: %s", letter.key, error)
            self._letters.mark_posted([letter.key])
        else:
            self._letters_in_flight[ticket] = letter.key

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

        An alert that it refuses stays in the outbox, is told of, and holds up no other.
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
        confirmed = [in_flight.pop(ticket) for ticket in answered if ticket in in_flight and ticket not in refused]
        self._unmarked += confirmed
        self._rounds.confirmed(confirmed)
        self._sent += len(confirmed)
        for ticket in in_flight.keys() & refused.keys():
            self._refuse(in_flight.pop(ticket), refused[ticket])
        if not in_flight or len(self._unmarked) >= _MARKED_AT_ONCE or self._stopping:
            self._mark_confirmed()
        self._tell_drain()
        return awaited

    def _mark_confirmed(self) -> None:
        """Many in one transaction: each waits for the disk. A crash before it costs that many repeats."""
        sequences, self._unmarked = self._unmarked, []
        if not sequences:
            return
        if self._receipts is None:
            self._outbox.delete_sent(sequences)
        else:
            self._outbox.mark_sent(
                sequences,
                now_wall_ns=self._clock.wall_ns(),
                redrive_ns=self._redrive_ns,
                redrive_max_ns=self._redrive_max_ns,
            )
        self._tell_drain()

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
        self._mark_confirmed()

    def _wait_for_news(self) -> list[int]:
        """The tickets answered since the last call, after at most one poll. Raises DeliveryError when lost."""
        timeout_s = min(self._poll_s, _MARK_S) if self._unmarked else self._poll_s
        with self._changed:
            self._changed.wait_for(
                lambda: self._confirmed or self._lost or self._woken or self._stopping, timeout=timeout_s
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
        self._unmarked.clear()
        self._refusal = ""
        self._recalling = True
        self._asked_ns = None
        with self._changed:
            self._lost = ""
            self._confirmed = []
            self._refused = {}

    def _tell_drain(self) -> None:
        self.last_error = self._refusal
        with self._progress:
            self._progress.notify_all()

    def _age_s(self, moment: str) -> float:
        if not moment:
            return 0.0
        return max(self._clock.wall_ns() / NS_PER_S - datetime.fromisoformat(moment).timestamp(), 0.0)

    def _pause(self, pause_s: float) -> None:
        """Equal jitter: half of the pause, and a part of the other half by chance. A broker that comes back is not
        stormed by all of a city's gateways at once, and none of them comes at once.
        """
        with self._changed:
            timeout_s = pause_s / 2 * (1 + self._jitter.random())
            self._changed.wait_for(lambda: self._stopping or self._hurried, timeout=timeout_s)
            self._hurried = False
