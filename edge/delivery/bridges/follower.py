"""Tells one other system of every alert, in order, for as long as it takes.

    relays --waiting--> Bridge.send --done--> struck out
              ^            |
              '-- back-off +-- refused for good, a few times: struck out too, counted and told

What waits lies in the database, so neither a restart nor an outage loses any. A system that is away holds up nobody
else: each has a thread and a queue of its own. A message that it will never take holds up the others for some tries.
"""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from edge.delivery.bridges.http import BusyError, RefusedError
from edge.errors import DeliveryError, StateError

log = logging.getLogger(__name__)

Alert = Mapping[str, Any]

TAKEN_MAX = 50  # alerts that are looked at in one turn
REFUSED_MAX = 3  # times that one is offered


class PauseError(DeliveryError):
    """It was told as often as it may be; nothing is wrong."""

    def __init__(self, pause_s: float) -> None:
        super().__init__(f"a pause of {pause_s:.1f} s")
        self.pause_s = pause_s


class Relayed(Protocol):
    """An alert as it was published."""

    @property
    def sequence(self) -> int: ...
    @property
    def body(self) -> str: ...


class WaitingRelays(Protocol):
    """See `edge.state.relays`."""

    def waiting(self, follower: str, *, after: int = 0, limit: int = 100) -> Sequence[Relayed]: ...

    def waiting_count(self, follower: str) -> int: ...

    def done(self, follower: str, sequences: Iterable[int]) -> None: ...


class Bridge(Protocol):
    """How one other system is spoken to. Used from its follower's thread alone."""

    def wants(self, alert: Alert) -> bool: ...

    def send(self, alerts: Sequence[Alert]) -> int:
        """Tell it of the first ones, of one at least; returns of how many.

        Raises PauseError, BusyError, RefusedError or DeliveryError.
        """
        ...

    def idle(self) -> None:
        """Nothing waits: time for a sign of life. Raises like `send`."""
        ...

    def close(self) -> None:
        """Take leave. Raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class FollowerState:
    """How it stands with one follower. Counts are those since its start."""

    name: str
    waiting: int = 0
    sent: int = 0
    refused: int = 0  # struck out, as they would never be taken
    merged: int = 0  # of those sent, told in one message with others
    reason: str = ""  # what holds it up, "" where nothing does


class Follower:
    """A thread between the relays of one name and one bridge. It never gives up."""

    def __init__(
        self,
        name: str,
        relays: WaitingRelays,
        bridge: Bridge,
        *,
        poll_s: float = 1.0,
        retry_s: float = 2.0,
        retry_max_s: float = 300.0,
    ) -> None:
        self.name = name
        self._relays = relays
        self._bridge = bridge
        self._poll_s = poll_s
        self._retry_s = retry_s
        self._retry_max_s = retry_max_s
        self._pause_s = 0.0  # the last one of the back-off, 0 while all is well
        self._refusals = 0  # of the message that is the next
        self._sent = self._refused = self._merged = 0
        self._reason = ""
        self._started = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"follower-{name}", daemon=True)

    def start(self) -> None:
        self._started = True
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing new."""
        self._started = False
        self._stopping.set()

    def close(self, limit_s: float = 1.0) -> None:
        """What waits is kept. A thread that waits for an answer is left to end by itself."""
        self.stop()
        if self._thread.is_alive():
            self._thread.join(limit_s)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def state(self) -> FollowerState:
        """May be called from any thread. Raises StateError."""
        waiting = self._relays.waiting_count(self.name)
        reason = "its thread has ended; see the log" if self._started and not self.alive else self._reason
        return FollowerState(self.name, waiting, self._sent, self._refused, self._merged, reason)

    def __enter__(self) -> Follower:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._stopping.wait(self._turn())
        self._bridge.close()

    def _turn(self) -> float:
        """Tell what can be told now; returns the seconds until the next turn."""
        try:
            again_s = 0.0 if self._tell() else self._poll_s
        except PauseError as pause:
            return pause.pause_s
        except BusyError as pause:
            return self._held_up(str(pause), pause.pause_s)
        except (DeliveryError, StateError) as error:
            return self._held_up(str(error))
        if self._reason:
            log.info("%s: goes on", self.name)
        self._reason, self._pause_s = "", 0.0
        return again_s

    def _tell(self) -> bool:
        """Whether there may be more."""
        waiting = self._relays.waiting(self.name, limit=TAKEN_MAX)
        alerts = [(row.sequence, json.loads(row.body)) for row in waiting]
        unwanted = [sequence for sequence, alert in alerts if not self._bridge.wants(alert)]
        if unwanted:
            self._relays.done(self.name, unwanted)
        wanted = [(sequence, alert) for sequence, alert in alerts if sequence not in set(unwanted)]
        if not wanted:
            self._bridge.idle()
            return bool(unwanted)
        try:
            told = self._send([alert for _, alert in wanted])
        except RefusedError as refusal:
            self._refusals += 1
            if self._refusals < REFUSED_MAX:
                raise
            log.error("%s: alert %d is given up after %d tries: %s", self.name, wanted[0][0], REFUSED_MAX, refusal)
            self._strike_out([wanted[0][0]])
            self._refused += 1
            return True
        self._strike_out([sequence for sequence, _ in wanted[:told]])
        self._sent += told
        self._merged += told if told > 1 else 0
        return True

    def _send(self, alerts: Sequence[Alert]) -> int:
        try:
            return self._bridge.send(alerts)
        except (KeyError, ValueError, TypeError) as error:  # an alert of another version may lie in the queue
            raise RefusedError(f"alert {alerts[0].get('sequence')} cannot be put into its words ({error!r})") from error

    def _strike_out(self, sequences: Sequence[int]) -> None:
        self._relays.done(self.name, sequences)
        self._refusals = 0

    def _held_up(self, words: str, asked_s: float = 0.0) -> float:
        """The pause that was asked for, else one that doubles; with jitter, as other gateways wait too."""
        if words != self._reason:
            log.warning("%s: %s", self.name, words)
        self._reason = words
        if asked_s:
            return asked_s * random.uniform(1.0, 1.2)
        self._pause_s = min(self._pause_s * 2 or self._retry_s, self._retry_max_s)
        return self._pause_s * random.uniform(0.5, 1.0)
