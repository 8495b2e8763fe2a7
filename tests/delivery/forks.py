"""Lives of a gateway's process as forks of one that has loaded everything: a life costs milliseconds.

Only for processes with a single thread, which `python -m tests.delivery.walk` is.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class End:
    """How a life ended: `value` is what it returned, None for one that was killed."""

    killed: bool
    value: Any = None


class Life:
    """A forked process that runs `task` and sends home what that returns."""

    def __init__(self, task: Callable[[], Any]) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            _live(task, writing)
        os.close(writing)
        self._pipe = reading
        self._status: int | None = None

    def signal(self, number: signal.Signals) -> None:
        if self._status is None:
            os.kill(self.pid, number)

    def has_ended(self, within_s: float = 0.0) -> bool:
        """Its end of the pipe closes with it."""
        return self._status is not None or bool(select.select([self._pipe], [], [], within_s)[0])

    def end(self, limit_s: float = 60.0) -> End:
        """Waits for its end; one that does not come is a fault of the test or of the code under it."""
        if self._status is None and not self.has_ended(limit_s):
            self.signal(signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self._pipe)
            raise AssertionError(f"a life did not end within {limit_s:g} s")
        content = b""
        while block := os.read(self._pipe, 1 << 16):
            content += block
        os.close(self._pipe)
        if self._status is None:
            self._status = os.waitpid(self.pid, 0)[1]
        return _end_of(self._status, content)

    def reaped(self, status: int) -> None:
        """Whoever traces it has waited for it already."""
        self._status = status


def _end_of(status: int, content: bytes) -> End:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return End(killed=True)
    said = json.loads(content) if content else {"failed": f"status {status}"}
    if "failed" in said:
        raise AssertionError(f"a life failed: {said['failed']}")
    return End(killed=False, value=said["value"])


def _live(task: Callable[[], Any], writing: int) -> None:
    die_with_parent()
    try:
        said = {"value": task()}
    except BaseException:  # noqa: BLE001  # told at home
        said = {"failed": traceback.format_exc()}
    content = json.dumps(said).encode()
    while content:
        content = content[os.write(writing, content) :]
    os._exit(0)


def die_with_parent() -> None:
    """For a child of this process: the kernel sees to it."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def lived(task: Callable[[], Any], limit_s: float = 60.0) -> End:
    """A whole life."""
    return Life(task).end(limit_s)


class Watch:
    """How long each of many things took."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()

    @property
    def seconds(self) -> float:
        return round(time.perf_counter() - self.begun, 2)
