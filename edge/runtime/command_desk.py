"""Commands of the street brain, done one after the other in a thread of their own, each at most once.

    receive -> [messages] -> Gate.read -> [commands] -> known? -> Gate.admit -> begin -> action -> finish -> letter
                   '--full       '--refused   '--full: busy         '--refused: a letter in memory alone

What was begun is in the database before anything is done, so a repeat gets the same reply, and a command in whose
middle the process ended is answered at the next start and not done again. Nothing that a message holds can end us.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from edge.clock import SystemClock
from edge.core.types import NS_PER_S
from edge.delivery.commands import (
    BUSY,
    BYTES_MAX,
    DONE,
    FAILED,
    ID_TAKEN,
    OVERSIZED,
    REFUSED,
    RETAINED,
    Command,
    CommandRefusedError,
    Gate,
    Reply,
)
from edge.errors import EdgeError, StateError, UsageError
from edge.runtime.health import COMMAND_OUTCOMES
from edge.state.commands import KnownCommand

log = logging.getLogger(__name__)

MESSAGES_MAX = 64  # unread ones, of BYTES_MAX each at most
QUEUE_MAX = 16
REFUSALS_MAX = 256  # that wait for the broker; more are counted and not answered
RETRY_S = 1.0
_LOOK_S = 0.5  # whether to stop
_TELL_NS = 60 * NS_PER_S  # refusals are logged once in so long: somebody may send thousands, and the network waits
_STORED = "reply/"  # what the keys of replies in the table begin with
INTERRUPTED = Reply(FAILED, "interrupted", "the gateway was started anew in the middle of it; ask again with a new id")

Action = Callable[[Command], Reply]


class CommandTable(Protocol):
    """See `edge.state.commands.Commands`."""

    def known(self, command_id: str) -> KnownCommand | None: ...

    def begin(
        self, command_id: str, *, name: str, fingerprint: str, forgettable_wall_ns: int, now_wall_ns: int
    ) -> bool: ...

    def finish(self, command_id: str, reply: str) -> None: ...

    def send_again(self, command_id: str) -> None: ...

    def interrupted(self) -> Sequence[KnownCommand]: ...

    def unsent(self, limit: int) -> Sequence[tuple[str, str]]: ...

    def mark_sent(self, command_ids: Iterable[str]) -> None: ...


@dataclass(slots=True)
class CommandCounts:
    """Of this process. Every message received is one of done, failed, repeated, refused, or still waits."""

    received: int = 0
    done: int = 0
    failed: int = 0
    repeated: int = 0
    unanswered: int = 0  # among the refused: no id could be read, or too many refusals wait
    refused: Counter[str] = field(default_factory=Counter)  # by reason; all of them words of ours


class CommandDesk:
    """Messages come to `receive` from any thread; its replies are letters of the courier's."""

    def __init__(
        self,
        gate: Gate,
        table: CommandTable,
        actions: Mapping[str, Action],
        *,
        topic: str,
        word: Callable[[Reply, str, str], str],
        clock: SystemClock,
        after_a_break: Callable[[KnownCommand], Reply] = lambda known: INTERRUPTED,
    ) -> None:
        """`topic`: of the replies; `word` makes the message of a reply, the command's id and its name; `after_a_break`
        says what became of one in whose middle the last process ended."""
        self.counts = CommandCounts()
        self.wake: Callable[[], None] = lambda: None  # a reply waits for the courier
        self._gate = gate
        self._table = table
        self._actions = actions
        self._topic = topic
        self._word = word
        self._clock = clock
        self._after_a_break = after_a_break
        self._messages: queue.Queue[bytes] = queue.Queue(MESSAGES_MAX)
        self._commands: queue.Queue[Command] = queue.Queue(QUEUE_MAX)
        self._refusals: deque[tuple[str, str]] = deque()  # key and message, at most REFUSALS_MAX
        self._refusals_made = 0
        self._told_ns: int | None = None  # when a refusal was last logged
        self._untold: Counter[str] = Counter()  # refusals since, by reason
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._read_all, name="commands-gate", daemon=True),
            threading.Thread(target=self._do_all, name="commands", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def tally(self) -> tuple[dict[str, int], dict[str, int]]:
        """The counts by what became of the messages, and of the refused ones by reason."""
        with self._lock:
            named = {name: getattr(self.counts, name) for name in COMMAND_OUTCOMES}
            return named, dict(self.counts.refused)

    def close(self, limit_s: float = 1.0) -> None:
        """What is being done now is answered at the next start, if it does not end in time."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(limit_s)

    def __enter__(self) -> CommandDesk:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def receive(self, payload: bytes, *, retained: bool = False) -> None:
        """One message from the topic `command`, whatever it is. Neither reads it nor waits.

        `retained`: the broker had it from before we listened, and would give it to us with every connection.
        """
        self._count("received")
        if retained:
            self._refuse(CommandRefusedError(RETAINED, "the broker retains it: send commands without that mark"))
            return
        if len(payload) > BYTES_MAX:
            self._refuse(CommandRefusedError(OVERSIZED, f"{len(payload)} bytes, {BYTES_MAX} at most"))
            return
        try:
            self._messages.put_nowait(payload)
        except queue.Full:
            self._refuse(CommandRefusedError(BUSY, f"{MESSAGES_MAX} messages wait to be read"))

    def unposted(self, limit: int) -> Sequence[tuple[str, str, str]]:
        """Replies that no broker has confirmed: key, topic and message. Raises StateError."""
        with self._lock:
            refusals = list(self._refusals)[:limit]
        stored = self._table.unsent(limit - len(refusals))
        return [(key, self._topic, text) for key, text in [*refusals, *((f"{_STORED}{one}", r) for one, r in stored)]]

    def mark_posted(self, keys: Iterable[str]) -> None:
        """The broker has these. Raises StateError."""
        confirmed = set(keys)
        with self._lock:
            self._refusals = deque(refusal for refusal in self._refusals if refusal[0] not in confirmed)
        if stored := [key.removeprefix(_STORED) for key in confirmed if key.startswith(_STORED)]:
            self._table.mark_sent(stored)

    # The desk's own two threads

    def _read_all(self) -> None:
        while not self._stop.is_set():
            self.read(_LOOK_S)

    def _do_all(self) -> None:
        self._patiently(self._answer_interrupted)
        while not self._stop.is_set():
            self.serve(_LOOK_S)

    def read(self, limit_s: float) -> bool:
        """Read the message that has waited longest, or wait for one; False where none came in time."""
        try:
            payload = self._messages.get(timeout=limit_s)
        except queue.Empty:
            return False
        try:
            command = self._gate.read(payload)
        except CommandRefusedError as error:
            self._refuse(error)
            return True
        try:
            self._commands.put_nowait(command)
        except queue.Full:
            words = f"{QUEUE_MAX} commands wait already: ask again in a while"
            self._refuse(CommandRefusedError(BUSY, words, command_id=command.id, name=command.name))
        return True

    def serve(self, limit_s: float) -> bool:
        """Do the command that has waited longest, or wait for one; False where none came in time."""
        try:
            command = self._commands.get(timeout=limit_s)
        except queue.Empty:
            return False
        try:
            if not self._is_repeat(command):
                self._gate.admit(command, self._clock.wall_ns())
                self._begin(command)
                self._finish(command, self._done(command))
        except CommandRefusedError as error:
            self._refuse(error)
        except StateError as error:
            self._count(FAILED)
            log.error("the command %s %s is not done: %s", command.name, command.id, error)
            self._post(Reply(FAILED, "state", str(error)), command.id, command.name)
        return True

    def _is_repeat(self, command: Command) -> bool:
        known = self._table.known(command.id)
        if known is None:
            return False
        if known.fingerprint != command.fingerprint:
            words = "another command had this id: give each its own"
            raise CommandRefusedError(ID_TAKEN, words, command_id=command.id, name=command.name)
        self._table.send_again(command.id)
        self._count("repeated")
        self.wake()
        return True

    def _begin(self, command: Command) -> None:
        noted = self._table.begin(
            command.id,
            name=command.name,
            fingerprint=command.fingerprint,
            forgettable_wall_ns=self._gate.forgettable_ns(command),
            now_wall_ns=self._clock.wall_ns(),
        )
        if not noted:
            words = "so many commands came that no more can be remembered: ask again in a while"
            raise CommandRefusedError(BUSY, words, command_id=command.id, name=command.name)

    def _done(self, command: Command) -> Reply:
        try:
            return self._actions[command.name](command)
        except CommandRefusedError as error:
            return Reply(REFUSED, error.reason, error.words)
        except UsageError as error:
            return Reply(REFUSED, "cannot-be", str(error))
        except (EdgeError, OSError) as error:  # OSError: a file of evidence that goes in this moment
            return Reply(FAILED, "failed", str(error))

    def _finish(self, command: Command, reply: Reply) -> None:
        """Count and tell; a reply is never given that a repeat might not get."""
        if reply.outcome == REFUSED:
            with self._lock:
                self.counts.refused[reply.reason] += 1
        else:
            self._count(reply.outcome)
        level = logging.INFO if reply.outcome == DONE else logging.WARNING
        log.log(level, "command %s %s: %s: %s", command.name, command.id, reply.outcome, reply.words)
        message = self._word(reply, command.id, command.name)
        self._patiently(lambda: self._table.finish(command.id, message))
        self.wake()

    def _answer_interrupted(self) -> None:
        for known in self._table.interrupted():
            reply = self._after_a_break(known)
            log.warning("command %s %s was interrupted: %s", known.name, known.command_id, reply.outcome)
            self._table.finish(known.command_id, self._word(reply, known.command_id, known.name))
        self.wake()

    def _patiently(self, store: Callable[[], None]) -> None:
        """A database that cannot be written now is asked again: a full disk is emptied."""
        while True:
            try:
                store()
                return
            except StateError as error:
                log.error("a reply waits for the database: %s", error)
                if self._stop.wait(RETRY_S):
                    return

    # Refusals

    def _refuse(self, error: CommandRefusedError) -> None:
        with self._lock:
            self.counts.refused[error.reason] += 1
        self._tell(error)
        if error.command_id:
            self._post(Reply(REFUSED, error.reason, error.words), error.command_id, error.name)
        else:
            self._count("unanswered")

    def _tell(self, error: CommandRefusedError) -> None:
        """In the log, once a minute; the counts of the status tell of each."""
        now_ns = self._clock.mono_ns()
        with self._lock:
            if self._told_ns is not None and now_ns - self._told_ns < _TELL_NS:
                self._untold[error.reason] += 1
                return
            self._told_ns = now_ns
            untold, self._untold = self._untold, Counter()
        named = f"{error.name or 'a command'} {error.command_id or 'without an id'}"
        others = ", ".join(f"{reason} {count}" for reason, count in sorted(untold.items()))
        more = f" (refused since the last line: {others})" if others else ""
        log.warning("%s is refused: %s: %s%s", named, error.reason, error.words, more)

    def _post(self, reply: Reply, command_id: str, name: str) -> None:
        """A reply that is not kept: the command may come again and find another."""
        message = self._word(reply, command_id, name)
        with self._lock:
            full = len(self._refusals) >= REFUSALS_MAX
            if full:
                self.counts.unanswered += 1
            else:
                self._refusals_made += 1
                self._refusals.append((f"refusal/{self._refusals_made}", message))
        if not full:
            self.wake()

    def _count(self, name: str) -> None:
        with self._lock:
            setattr(self.counts, name, getattr(self.counts, name) + 1)
