"""The console process: /metrics, /healthz and /status over HTTP."""

from __future__ import annotations

import threading

from edge.clock import SystemClock
from edge.console.server import ConsoleServer, Listen
from edge.runtime.health import ConsoleReport, gateway_status, write_report
from edge.runtime.process import run_child
from edge.wiring.process_order import ProcessOrder

_TURN_S = 0.5


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
    )
    with server:
        write_report(order.row, ConsoleReport(listen=str(server.listen)))
        while not stop.wait(_TURN_S):
            order.row.beat(clock.mono_ns())
