"""A real detector process with the supervisor's end of it, and camera workers as processes, for tests."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from socket import socket

import numpy as np

from edge.detect.manifest import ModelManifest, load_manifest, parse_manifest
from edge.runtime.detector import DetectorCounts, DetectorLink, serve
from edge.runtime.remote import RemoteClassifier, RemoteDetector
from edge.runtime.slots import SizeClass, Slot

SPAWN = get_context("spawn")


def run_detector(control: socket, reports: Connection, folder: Path, options: dict[str, float]) -> None:
    """The detector process, as `wiring` starts it but for the status board."""
    from edge.detect.models import open_model

    serve(open_model(load_manifest(folder), threads=1), control, report=reports.send, **options)  # type: ignore[arg-type]


class Bench:
    """One model's detector process; slots live as long as the bench, the process may be killed and restarted."""

    def __init__(self, folder: Path, **options: float) -> None:
        self.manifest = parse_manifest(folder)
        self.link = DetectorLink()
        self._folder = folder
        self._options = options
        self._reports: Connection | None = None
        self.process: BaseProcess | None = None
        self.latest = DetectorCounts()

    def start(self) -> None:
        control = self.link.connect()
        if self._reports is not None:
            self._reports.close()
        self._reports, theirs = SPAWN.Pipe(duplex=False)
        self.process = SPAWN.Process(target=run_detector, args=(control, theirs, self._folder, self._options))
        self.process.start()
        control.close()
        theirs.close()

    def kill(self) -> None:
        assert self.process is not None
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join(10)
        self.process.close()
        self.process = None

    def add(self, camera: str, *, longest_side: int | None = None) -> Slot:
        return self.link.add(camera, SizeClass.for_model(self.manifest, longest_side=longest_side))

    def detector(self, camera: str, *, longest_side: int | None = None, **options: object) -> RemoteDetector:
        slot = self.add(camera, longest_side=longest_side)
        return RemoteDetector(self.manifest, slot, longest_side=longest_side, **options)

    def classifier(self, camera: str) -> RemoteClassifier:
        return RemoteClassifier(self.manifest, self.add(camera))

    def counts(
        self, enough: Callable[[DetectorCounts], bool] = lambda counts: True, *, limit_s: float = 30
    ) -> DetectorCounts:
        """The first report from now on that is `enough`, else the last one within the limit."""
        assert self._reports is not None
        while self._reports.poll(0):
            self.latest = self._reports.recv()
        end_s = time.perf_counter() + limit_s
        while time.perf_counter() < end_s and self._reports.poll(limit_s):
            self.latest = self._reports.recv()
            if enough(self.latest):
                break
        return self.latest

    def close(self) -> None:
        """The way of an orderly stop: the control socket closes and the process leaves by itself."""
        self.link.close()
        if self.process is not None:
            self.process.join(10)
            assert self.process.exitcode == 0
            self.process.close()
        if self._reports is not None:
            self._reports.close()


@contextmanager
def bench(folder: Path, **options: float) -> Iterator[Bench]:
    running = Bench(folder, **options)
    try:
        running.start()
        yield running
    except BaseException:
        if running.process is not None:
            running.process.kill()
        raise
    else:
        running.close()


def worker_processes() -> ForkServerContext:
    """Processes as camera workers are started: they share the pages of numpy and cv2."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["edge.runtime.remote", "tests.detector_bench"])
    return context


def ask_forever(slot: Slot, manifest: ModelManifest, first: int, told: Connection) -> None:
    """A camera's worker: exit status 3 after a wrong answer."""
    detector = RemoteDetector(manifest, slot)
    pictures = [np.full((1080, 1920, 3), level, np.uint8) for level in range(first, first + 3)]
    for turn in range(100_000):
        answer = detector.detect([pictures[turn % 3]])[0]
        seen = ((first + turn % 3) * 360 + 114 * 24) / 384  # the border is part of what the model sees
        if abs(float(answer.score[0]) * 255 - seen) > 0.3:
            os._exit(3)
        if turn == 0:
            told.send(None)


def ask_at_a_rate(slot: Slot, manifest: ModelManifest, period_s: float, span_s: float, told: Connection) -> None:
    """A camera's worker that looks every `period_s`; tells the seconds that each answer took."""
    detector = RemoteDetector(manifest, slot)
    picture = np.random.default_rng(os.getpid()).integers(0, 255, (360, 640, 3)).astype(np.uint8)
    detector.detect([picture])
    told.send(None)
    spent_s: list[float] = []
    begin_s = time.perf_counter()
    next_s = begin_s + period_s * random.Random(os.getpid()).random()
    while time.perf_counter() < begin_s + span_s:
        time.sleep(max(next_s - time.perf_counter(), 0))
        asked_s = time.perf_counter()
        detector.detect([picture])
        spent_s.append(time.perf_counter() - asked_s)
        next_s = max(next_s + period_s, asked_s)
    told.send(spent_s)
