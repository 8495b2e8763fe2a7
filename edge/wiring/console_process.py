"""The console process: /metrics, /healthz and /status over HTTP."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from edge.clock import SystemClock
from edge.console.server import ConsoleServer, Listen
from edge.core.types import NS_PER_S
from edge.errors import StateError
from edge.runtime.health import ConsoleReport, gateway_status, write_report
from edge.runtime.process import run_child
from edge.state.database import Database
from edge.state.judgements import Judgements, Tally
from edge.wiring.process_order import ProcessOrder

_TURN_S = 0.5
_COUNTED_NS = 60 * NS_PER_S  # cases are counted no oftener: people judge slowly, and there may be many
_BUSY_S = 1.0  # whoever asks for the status waits as long

log = logging.getLogger(__name__)


def main(order: ProcessOrder) -> None:
    """Answer until SIGTERM."""
    order.set_up_log("console")
    run_child(lambda stop: _run(order, stop), name="edge:console")


def _run(order: ProcessOrder, stop: threading.Event) -> None:
    clock, console = SystemClock(), order.site.config.console
    assert console is not None
    server = ConsoleServer(
        lambda: gateway_status(order.board, mono_ns=clock.mono_ns(), wall_ns=clock.wall_ns()),
        Listen.parse(console.listen),
        tallies=counted(order.database, clock),
    )
    with server:
        write_report(order.row, ConsoleReport(listen=str(server.listen)))
        while not stop.wait(_TURN_S):
            order.row.beat(clock.mono_ns())


def counted(path: Path, clock: SystemClock) -> Callable[[], Sequence[Tally]]:
    """What was said of cases; the last that is known where the database does not answer: whether the gateway is well
    must be told then too."""
    judgements: Judgements | None = None
    known: Sequence[Tally] = ()
    counted_ns = clock.mono_ns() - _COUNTED_NS

    def tallies() -> Sequence[Tally]:
        nonlocal judgements, known, counted_ns
        if clock.mono_ns() - counted_ns >= _COUNTED_NS:
            counted_ns = clock.mono_ns()
            try:
                judgements = judgements or Judgements(Database.open(path, busy_s=_BUSY_S))
                known = judgements.tallies()
            except StateError as error:
                log.warning("cases are not counted: %s", error)
        return known

    return tallies
