"""Every line of the delivery path as a point to be killed at, without a word about it in the code itself.

A trace function sees each line before it runs: in a first run it notes them, in later ones it kills its own process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import edge

_ROOT = Path(edge.__file__).resolve().parent
_FOLDERS = ("evidence", "state", "delivery")
_FILES = ("runtime/telling.py", "runtime/live.py", "wiring/courier_process.py")

Line = tuple[str, int]  # file below edge/, number
Trace = Callable[[FrameType, str, Any], Any]


def _watched() -> dict[str, str]:
    """Path as frames have it -> name below edge/."""
    paths = [path for folder in _FOLDERS for path in sorted((_ROOT / folder).glob("*.py"))]
    paths += [_ROOT / name for name in _FILES]
    return {str(path): path.relative_to(_ROOT).as_posix() for path in paths}


class LinesRun:
    """Notes how often each line is visited; `phase` may be changed meanwhile, and the first of each line is kept."""

    def __init__(self) -> None:
        self.visits: Counter[Line] = Counter()
        self.phase = ""
        self.phases: dict[Line, str] = {}
        self._names = _watched()

    def start(self) -> None:
        _trace_all(self._enter)

    def _enter(self, frame: FrameType, _event: str, _argument: Any) -> Trace | None:
        return self._inside if frame.f_code.co_filename in self._names else None

    def _inside(self, frame: FrameType, event: str, _argument: Any) -> Trace:
        if event == "line":
            line = (self._names[frame.f_code.co_filename], frame.f_lineno)
            self.visits[line] += 1
            self.phases.setdefault(line, self.phase)
        return self._inside


def kill_at(line: Line, visit: int = 1) -> None:
    """From now on this process dies by SIGKILL right before it runs `line` for the `visit`-th time, in any thread."""
    path, number = str(_ROOT / line[0]), line[1]
    left = visit

    def enter(frame: FrameType, _event: str, _argument: Any) -> Trace | None:
        code = frame.f_code
        return inside if code.co_filename == path else None

    def inside(frame: FrameType, event: str, _argument: Any) -> Trace:
        nonlocal left
        if event == "line" and frame.f_lineno == number:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return inside

    _trace_all(enter)


def _trace_all(trace: Trace) -> None:
    threading.settrace(trace)
    sys.settrace(trace)
