"""Keeps the gateway's processes alive, judges them from outside, and says what it sees.

    turn: deaths -> starts that are due -> hangs -> reload -> report -> watchdog       four times a second

What a process does is not known here: a `Plan` says how to start it. A process that ends is started at once the first
time, then after 1, 2, 4 .. 60 s, and never given up; 30 s of health forget the past. A process whose heartbeat is older
than its plan allows hangs in something that cannot be interrupted, and is killed.
"""

from __future__ import annotations

import logging
import selectors
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from edge.clock import SystemClock
from edge.core.types import NS_PER_S, seconds_to_ns
from edge.errors import EdgeError, StateError
from edge.runtime.board import ROWS, SUPERVISOR_ROW, Board
from edge.runtime.health import (
    RUNNING,
    STOPPED,
    STREAMING,
    WAITING,
    KeptEvidence,
    ProcessEntry,
    SupervisorReport,
    gateway_status,
    short,
    write_report,
)
from edge.runtime.process import Child

log = logging.getLogger(__name__)

TURN_S = 0.25
RETRY_MAX_S = 60.0
HEALTHY_NS = 30 * NS_PER_S  # a process that has lived so long starts with a clean sheet
BUDGET_STARTS = 5  # more restarts than these within the window, and the process counts as failing
# Longer than so many of the longest waits, each with a life that is too short for a clean sheet.
BUDGET_WINDOW_NS = (BUDGET_STARTS + 1) * (seconds_to_ns(RETRY_MAX_S) + HEALTHY_NS)
STOOD_STILL_NS = 5 * NS_PER_S  # between two turns: a machine or container that was halted, and all its processes
START_S = 30.0  # until the next one has been started, systemd is asked to wait
WORDS_NS = 5 * NS_PER_S  # how often systemd is told in words
SILENT_NS = 5 * NS_PER_S  # without a heartbeat for longer, health speaks of it; the kill comes later
STOP_S = 8.5  # for all of them together: systemd and people wait ten


@dataclass(frozen=True, slots=True)
class Plan:
    """A process that is to run."""

    kind: str
    name: str
    start: Callable[[int], Child]  # gets the number of its row on the board; raises EdgeError or OSError
    fingerprint: str  # of all that it was made from; another one means a restart
    hang_s: float  # a heartbeat older than this is a hang
    stop_order: int = 0  # those of a lower order are stopped first
    stop_s: float = 4.0
    carries_on: bool = False  # the next process goes on from the last one's report
    deaf: Callable[[], bool] = lambda: False  # it lives, but no longer takes what it is told: start it anew

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.name


class Notices(Protocol):
    """The service manager: see `edge.runtime.systemd.Notifier`."""

    def ready(self) -> None: ...
    def status(self, words: str) -> None: ...
    def watchdog(self) -> None: ...
    def stopping(self) -> None: ...
    def reloading(self) -> None: ...
    def extend(self, seconds: float) -> None: ...


class Window(Protocol):
    """Where others ask how the gateway does: see `edge.runtime.status_socket.StatusSocket`."""

    def fileno(self) -> int: ...
    def serve(self) -> None: ...


class Configuration(Protocol):
    """What is to run, and whether that has changed."""

    def changed(self) -> bool:
        """Whether the file is another one since the last `load`, and no longer being written."""
        ...

    def load(self) -> Gateway:
        """Raises EdgeError for one that cannot be run."""
        ...


@dataclass(frozen=True, slots=True)
class Gateway:
    """One accepted configuration."""

    plans: Sequence[Plan]
    identity: SupervisorReport  # without its processes
    taken: Callable[[], None] = lambda: None  # called once it is in force
    kept: Callable[[], KeptEvidence] = KeptEvidence


@dataclass(slots=True, eq=False)
class _Ward:
    """A process in our care: the one that runs now, and the history of its predecessors."""

    plan: Plan
    row: int
    child: Child | None = None
    started_ns: int = 0
    due_ns: int = 0
    retry_s: float = 0.0
    restarts: int = 0
    reason: str = ""
    hung: str = ""  # why the one that runs now was killed by us
    ends_ns: list[int] = field(default_factory=list)  # the last BUDGET_STARTS + 1

    def over_budget(self, now_ns: int) -> bool:
        recent = [end_ns for end_ns in self.ends_ns if now_ns - end_ns <= BUDGET_WINDOW_NS]
        return len(recent) > BUDGET_STARTS

    def note_end(self, now_ns: int, reason: str) -> None:
        """Decide when the next start is due."""
        if now_ns - self.started_ns >= HEALTHY_NS:
            self.retry_s = 0.0
        self.due_ns = now_ns + seconds_to_ns(self.retry_s)
        self.retry_s = min(max(self.retry_s * 2, 1.0), RETRY_MAX_S)
        self.reason = reason
        self.ends_ns = [*self.ends_ns[-BUDGET_STARTS:], now_ns]
        self.child = None

    def entry(self, now_ns: int, *, silent_ns: int, stopping: bool) -> ProcessEntry:
        idle = STOPPED if stopping else WAITING
        return ProcessEntry(
            kind=self.plan.kind,
            name=self.plan.name,
            row=self.row,
            pid=self.child.pid if self.child else 0,
            state=RUNNING if self.child else idle,
            restarts=self.restarts,
            reason=short(self.reason),
            over_budget=self.over_budget(now_ns),
            silent=self.child is not None and silent_ns > SILENT_NS,
        )


class Supervisor:
    """Runs until SIGTERM or SIGINT. `run` once."""

    def __init__(
        self,
        *,
        board: Board,
        configuration: Configuration,
        first: Gateway,
        notifier: Notices,
        window: Window,
        clock: SystemClock,
    ) -> None:
        self._board = board
        self._configuration = configuration
        self._gateway = first
        self._notifier = notifier
        self._window = window
        self._clock = clock
        self._row = board.row(SUPERVISOR_ROW)
        self._wards: dict[tuple[str, str], _Ward] = {}  # at most ROWS
        self._selector = selectors.DefaultSelector()
        self._asked_to_stop = 0
        self._asked_to_reload = False
        self._stopping = False
        self._refused = ""
        self._reloads = 0
        self._told_ns = 0
        self._judged_ns = self._moving_ns = 0

    def run(self) -> None:
        """Start everything, keep it running, and end it in order."""
        self._listen()
        self._take(self._gateway)
        self._report()
        self._notifier.ready()
        while not self._asked_to_stop:
            self._turn()
        self._stop()

    def stop(self) -> None:
        self._asked_to_stop += 1

    # One turn

    def _turn(self) -> None:
        for key, _ in self._selector.select(TURN_S):
            if key.fileobj is self._window:
                self._window.serve()
        self._bury()
        self._start_due()
        self._end_hanging()
        if self._asked_to_reload or self._configuration.changed():
            self._reload()
        self._report()
        self._notifier.watchdog()

    def _bury(self) -> None:
        """Take note of every process that has ended."""
        now_ns = self._clock.mono_ns()
        for ward in self._wards.values():
            if ward.child is not None and ward.child.ended:
                self._forget(ward.child)
                pid, how = ward.child.pid, ward.child.close()
                reason = ward.hung if ward.hung and how.startswith("killed") else how
                ward.note_end(now_ns, reason)
                wait_s = (ward.due_ns - now_ns) / NS_PER_S
                level = logging.INFO if self._stopping else logging.WARNING
                log.log(level, "%s %s (pid %d) %s; next start in %g s", *ward.plan.key, pid, reason, wait_s)
                if ward.over_budget(now_ns) and not self._stopping:
                    log.error("%s %s ends again and again: %s", *ward.plan.key, reason)

    def _start_due(self) -> None:
        for ward in list(self._wards.values()):
            if self._asked_to_stop:
                return
            if ward.child is None and self._clock.mono_ns() >= ward.due_ns:
                self._start(ward)
                self._row.beat(self._clock.mono_ns())
                self._notifier.watchdog()  # many starts take long, and each one is progress
                self._notifier.extend(START_S)

    def _start(self, ward: _Ward) -> None:
        again = ward.started_ns > 0
        ward.started_ns, ward.hung = self._clock.mono_ns(), ""
        row = self._board.row(ward.row)
        row.beat(ward.started_ns)
        if not ward.plan.carries_on:
            row.write("")  # what the last process said of itself is no longer so
        try:
            ward.child = ward.plan.start(ward.row)
        except (EdgeError, OSError, EOFError) as error:  # EOFError: the forkserver died while it was asked
            ward.note_end(self._clock.mono_ns(), f"could not be started: {error}")
            log.error("%s %s could not be started: %s", *ward.plan.key, error)
            return
        ward.restarts += again
        if ward.child.fileno() >= 0:
            self._selector.register(ward.child, selectors.EVENT_READ)
        log.info("%s %s started (pid %d)", *ward.plan.key, ward.child.pid)

    def _end_hanging(self) -> None:
        now_ns = self._clock.mono_ns()
        if now_ns - self._judged_ns > STOOD_STILL_NS:
            self._moving_ns = now_ns  # they could not beat while we could not look
        self._judged_ns = now_ns
        for ward in self._wards.values():
            if ward.child is None or ward.hung:  # killed already; what hangs in the kernel takes its time to die
                continue
            silent_ns = self._silent_ns(ward, now_ns)
            if silent_ns > seconds_to_ns(ward.plan.hang_s):
                ward.hung = f"hung for {silent_ns / NS_PER_S:.0f} s and was killed"
            elif ward.plan.deaf():
                ward.hung = "did not take what it was told and was killed"
            if ward.hung:
                log.error("%s %s (pid %d) %s", *ward.plan.key, ward.child.pid, ward.hung)
                ward.child.signal(signal.SIGKILL)

    def _silent_ns(self, ward: _Ward, now_ns: int) -> int:
        """How long a process has given no heartbeat, while we could look."""
        return now_ns - max(self._board.row(ward.row).beat_ns, ward.started_ns, self._moving_ns)

    def _report(self) -> None:
        now_ns = self._clock.mono_ns()
        entries = tuple(
            ward.entry(now_ns, silent_ns=self._silent_ns(ward, now_ns), stopping=self._stopping)
            for ward in self._wards.values()
        )
        report = replace(
            self._gateway.identity,
            config_refused=short(self._refused),
            reloads=self._reloads,
            stopping=self._stopping,
            evidence=self._gateway.kept(),
            processes=entries,
        )
        try:
            write_report(self._row, report)
        except StateError as error:  # who runs is worth more than why who does not
            log.warning("reasons are left out: %s", error)
            write_report(self._row, replace(report, processes=tuple(replace(entry, reason="") for entry in entries)))
        self._row.beat(now_ns)
        if now_ns - self._told_ns >= WORDS_NS:
            self._told_ns = now_ns
            self._notifier.status(self._words(now_ns))

    def _words(self, now_ns: int) -> str:
        """For `systemctl status`."""
        status = gateway_status(self._board, mono_ns=now_ns, wall_ns=self._clock.wall_ns())
        streaming = sum(camera.report.state == STREAMING for camera in status.cameras)
        problems = "; ".join(status.problems)
        return f"{streaming} of {len(status.cameras)} cameras streaming{'; ' if problems else ''}{problems}"

    # Configurations

    def _reload(self) -> None:
        """Take a new configuration; one that cannot be run changes nothing."""
        self._asked_to_reload = False
        self._notifier.reloading()
        try:
            gateway = self._configuration.load()
            self._take(gateway)
            self._refused = ""
            log.info("configuration %s is in force", gateway.identity.config_sha256[:12])
        except EdgeError as error:
            self._refused = str(error)
            log.error("configuration refused, the old one stays in force: %s", error)
        self._reloads += 1
        self._notifier.ready()

    def _take(self, gateway: Gateway) -> None:
        """End what is no longer wanted, start what is new; what did not change is not touched."""
        if len(gateway.plans) >= ROWS:
            raise StateError(f"{len(gateway.plans)} processes, room for {ROWS - 1}: watch fewer cameras")
        self._gateway = gateway
        wanted = {plan.key: plan for plan in gateway.plans}
        gone = [ward for key, ward in self._wards.items() if key not in wanted]
        changed = [
            ward
            for key, ward in self._wards.items()
            if key in wanted and wanted[key].fingerprint != ward.plan.fingerprint
        ]
        self._end_all([*gone, *changed])
        for ward in gone:
            del self._wards[ward.plan.key]
            self._board.row(ward.row).clear()
        for ward in changed:
            ward.due_ns, ward.retry_s, ward.started_ns = 0, 0.0, 0  # a start that was wanted is no restart
        for plan in gateway.plans:
            if plan.key in self._wards:
                self._wards[plan.key].plan = plan
            else:
                self._wards[plan.key] = _Ward(plan, self._free_row())
        self._report()
        self._start_due()
        gateway.taken()

    def _free_row(self) -> int:
        taken = {SUPERVISOR_ROW, *(ward.row for ward in self._wards.values())}
        return next(row for row in range(ROWS) if row not in taken)

    # The end

    def _stop(self) -> None:
        log.info("stopping")
        self._stopping = True
        self._notifier.stopping()
        self._report()
        self._end_all(list(self._wards.values()))
        self._report()
        log.info("stopped")

    def _end_all(self, wards: Sequence[_Ward]) -> None:
        """Order by order: first those that make alerts, last those that carry them away."""
        deadline_ns = self._clock.mono_ns() + seconds_to_ns(STOP_S)
        for order in sorted({ward.plan.stop_order for ward in wards}):
            self._end([ward for ward in wards if ward.plan.stop_order == order], deadline_ns)

    def _end(self, wards: Sequence[_Ward], deadline_ns: int) -> None:
        running = {ward.plan.key: ward.child for ward in wards if ward.child is not None}
        if not running:
            return
        for child in running.values():
            child.signal(signal.SIGTERM)
        allowed_ns = seconds_to_ns(max(ward.plan.stop_s for ward in wards))
        limit_ns = min(self._clock.mono_ns() + allowed_ns, deadline_ns)
        self._wait_for(running, limit_ns)
        for key in [key for key, child in running.items() if not child.ended]:
            log.warning("%s %s does not end by itself; killing it", *key)
            running[key].signal(signal.SIGKILL)
        self._wait_for(running, self._clock.mono_ns() + NS_PER_S)
        for ward in wards:
            if ward.child is not None:
                self._forget(ward.child)
                ward.child.close()
                ward.child, ward.reason = None, "stopped"

    def _wait_for(self, running: Mapping[tuple[str, str], Child], limit_ns: int) -> None:
        while (left_ns := limit_ns - self._clock.mono_ns()) > 0 and not all(child.ended for child in running.values()):
            for key, _ in self._selector.select(min(left_ns / NS_PER_S, 0.05)):
                if key.fileobj is self._window:
                    self._window.serve()
                elif isinstance(key.fileobj, Child):
                    self._forget(key.fileobj)  # else it would keep waking us
            self._row.beat(self._clock.mono_ns())
            self._notifier.watchdog()

    # Signals and descriptors

    def _listen(self) -> None:
        """Signals are only noted in the middle of a turn's work; the next turn is never far."""
        self._selector.register(self._window, selectors.EVENT_READ)

    def reload(self) -> None:
        self._asked_to_reload = True

    def _forget(self, child: Child) -> None:
        if child.fileno() >= 0 and child in _registered(self._selector):
            self._selector.unregister(child)


def _registered(selector: selectors.BaseSelector) -> Iterable[object]:
    return [key.fileobj for key in selector.get_map().values()]
