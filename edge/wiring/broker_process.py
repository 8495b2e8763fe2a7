"""The embedded broker of `mqtt: embedded`, on the usual port of the loopback."""

from __future__ import annotations

import threading

from edge.clock import SystemClock
from edge.delivery.broker import EmbeddedBroker
from edge.runtime.process import run_child
from edge.wiring.process_order import ProcessOrder

PORT = 1883
_TURN_S = 1.0


def main(order: ProcessOrder) -> None:
    """Run the broker until SIGTERM."""
    order.set_up_log("broker")
    run_child(lambda stop: _run(order, stop), name="edge:broker")


def _run(order: ProcessOrder, stop: threading.Event) -> None:
    clock = SystemClock()
    with EmbeddedBroker(PORT):
        while not stop.wait(_TURN_S):
            order.row.beat(clock.mono_ns())
