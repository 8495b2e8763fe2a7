"""Brings the alerts of the outbox to the broker, in order, each at least once.

    outbox --next_unsent--> [window in flight] --PUBACK--> mark_sent
                 ^                 |
                 '---- connection lost: again from the first unsent

Only what the outbox holds is ever sent, so a crash of this process or of the broker costs a repeat, not an alert.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Protocol

from edge.clock import SystemClock
from edge.core.types import seconds_to_ns
from edge.errors import DeliveryError, EdgeError

log = logging.getLogger(__name__)


class Waiting(Protocol):
    """A stored alert."""

    @property
    def sequence(self) -> int: ...
    @property
    def topic(self) -> str: ...
    @property
    def body(self) -> str: ...


class UnsentAlerts(Protocol):
    """The outbox as the courier sees it."""

    def next_unsent(self, after: int, limit: int) -> Sequence[Waiting]: ...

    def mark_sent(self, sequences: Iterable[int]) -> None: ...

    def unsent_count(self) -> int: ...


class Publisher(Protocol):
    """See `MqttPublisher`."""

    def connect(self, *, on_confirmed: Callable[[int], None], on_lost: Callable[[str], None]) -> None: ...

    def publish(self, topic: str, body: str) -> int: ...

    def close(self) -> None: ...


class Courier:
    """A thread between one outbox and one broker. It never gives up; `last_error` says what holds it up."""

    def __init__(
        self,
        outbox: UnsentAlerts,
        publisher: Publisher,
        *,
        window: int = 32,
        poll_s: float = 1.0,
        retry_s: float = 1.0,
        retry_max_s: float = 60.0,
        confirm_s: float = 30.0,
    ) -> None:
        """`window` bounds what is in flight; `poll_s` is how often the outbox is asked for other processes' alerts;
        a broker that confirms nothing for `confirm_s` is connected to anew.
        """
        self._outbox = outbox
        self._publisher = publisher
        self._window = window
        self._poll_s = poll_s
        self._retry_s = retry_s
        self._retry_max_s = retry_max_s
        self._confirm_ns = seconds_to_ns(confirm_s)
        self._clock = SystemClock()
        self._changed = threading.Condition()
        self._stopping = False
        self._woken = False
        self._hurried = False
        self._lost = ""
        self._confirmed: list[int] = []  # tickets not yet marked; the window bounds it
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self.last_error = ""

    def start(self) -> None:
        self._thread.start()

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
            self._changed.wait_for(lambda: self._outbox.unsent_count() == 0, timeout=limit_s)
        return self._outbox.unsent_count()

    def close(self) -> None:
        """End the thread and the connection; what is unconfirmed stays in the outbox."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

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
                self._publisher.connect(on_confirmed=self._on_confirmed, on_lost=self._on_lost)
                log.info("connected to the broker")
                pause_s = self._retry_s
                self._deliver()
            except EdgeError as error:  # a broker comes back, a full disk is emptied: both are tried again
                self.last_error = str(error)
                log.warning("%s; next try in %g s", error, pause_s)
            finally:
                self._publisher.close()
            self._pause(pause_s)
            pause_s = min(pause_s * 2, self._retry_max_s)

    def _deliver(self) -> None:
        """Send what is unsent, from the beginning, until the connection is lost (DeliveryError) or `close`."""
        in_flight: dict[int, int] = {}  # ticket -> sequence, at most `window`
        handed_over = 0
        progress_ns = self._clock.mono_ns()
        while not self._stopping:
            if rows := self._outbox.next_unsent(handed_over, self._window - len(in_flight)):
                handed_over = rows[-1].sequence
                progress_ns = self._clock.mono_ns()
                self._hand_over(rows, in_flight)
            if confirmed := self._wait_for_news():
                self._outbox.mark_sent([in_flight.pop(ticket) for ticket in confirmed if ticket in in_flight])
                progress_ns = self._clock.mono_ns()
                self._tell_drain()
            elif in_flight and self._clock.mono_ns() - progress_ns > self._confirm_ns:
                raise DeliveryError(f"the broker has not confirmed {len(in_flight)} alerts; connecting anew")

    def _hand_over(self, rows: Sequence[Waiting], in_flight: dict[int, int]) -> None:
        """A break is noted like any other loss, so that what was confirmed before it is marked first."""
        try:
            for row in rows:
                in_flight[self._publisher.publish(row.topic, row.body)] = row.sequence
        except DeliveryError as error:
            self._on_lost(str(error))

    def _wait_for_news(self) -> list[int]:
        """The tickets confirmed since the last call, after at most one poll. Raises DeliveryError when lost."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._confirmed or self._lost or self._woken or self._stopping, timeout=self._poll_s
            )
            self._woken = False
            confirmed, self._confirmed = self._confirmed, []
            if self._lost and not confirmed:
                raise DeliveryError(self._lost)
            return confirmed

    def _on_confirmed(self, ticket: int) -> None:
        with self._changed:
            self._confirmed.append(ticket)
            self._changed.notify_all()

    def _on_lost(self, reason: str) -> None:
        with self._changed:
            self._lost = reason
            self._changed.notify_all()

    def _forget_connection(self) -> None:
        with self._changed:
            self._lost = ""
            self._confirmed = []

    def _tell_drain(self) -> None:
        self.last_error = ""
        with self._changed:
            self._changed.notify_all()

    def _pause(self, pause_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._hurried, timeout=pause_s)
            self._hurried = False
