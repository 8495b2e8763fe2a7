"""A detector process: the only one that loads ONNX Runtime."""

from __future__ import annotations

import socket
import threading

from edge.clock import SystemClock
from edge.core.types import NS_PER_S
from edge.detect.manifest import ModelManifest
from edge.runtime.board import Row
from edge.runtime.detector import BATCH_MAX, BATCH_WAIT_MS, DetectorCounts, serve
from edge.runtime.health import DetectorReport, write_report
from edge.runtime.process import run_child
from edge.wiring.process_order import ProcessOrder

# A CPU runs batches no faster a picture than one by one, so a picture that waits for others only waits.
_CPU_BATCH = 2
_LOAD_MAX_S = 900  # TensorRT builds its engine at the first start; beyond this it hangs


def main(order: ProcessOrder, manifest: ModelManifest, control: socket.socket) -> None:
    """Answer the pictures of all cameras of a model, until SIGTERM or the end of the supervisor."""
    order.set_up_log(f"detector {manifest.name}")
    run_child(lambda stop: _run(order, manifest, control, stop), name=f"edge:{manifest.name}")


def _run(order: ProcessOrder, manifest: ModelManifest, control: socket.socket, stop: threading.Event) -> None:
    clock, row, settings = SystemClock(), order.row, order.site.config.detector
    base = DetectorReport(model=manifest.name, sha256=manifest.sha256)
    write_report(row, base)
    with _Loading(row, clock):
        from edge.detect.models import open_model  # takes a second, and may take minutes

        session = open_model(manifest, threads=settings.threads, providers=settings.providers)

    on_cpu = session.provider == "cpu"

    def report(counts: DetectorCounts) -> None:
        write_report(
            row,
            DetectorReport(
                model=manifest.name,
                sha256=manifest.sha256,
                provider=session.provider,
                ready=True,
                cameras=counts.cameras,
                queue=counts.queue,
                batches=counts.batches,
                pictures=counts.pictures,
                batch_biggest=counts.biggest_batch,
                torn=counts.torn,
                candidates_dropped=counts.candidates_dropped,
                wait_s=round(counts.waited_s, 3),
                run_s=round(counts.ran_s, 3),
            ),
        )

    serve(
        session,
        control,
        batch_max=settings.batch_max or (_CPU_BATCH if on_cpu else BATCH_MAX),
        batch_wait_ms=(0.0 if on_cpu else BATCH_WAIT_MS) if settings.batch_wait_ms is None else settings.batch_wait_ms,
        clock=clock,
        report=report,
        beat=lambda: row.beat(clock.mono_ns()),
        stop=stop,
    )


class _Loading:
    """Heartbeats while the model is loaded, which nothing can interrupt; not for ever."""

    def __init__(self, row: Row, clock: SystemClock) -> None:
        self._row = row
        self._clock = clock
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="loading", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        end_ns = self._clock.mono_ns() + _LOAD_MAX_S * NS_PER_S
        while not self._done.wait(1.0) and self._clock.mono_ns() < end_ns:
            self._row.beat(self._clock.mono_ns())
