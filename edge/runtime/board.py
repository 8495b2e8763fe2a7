"""The status board: a row of shared memory for each process, written by that process alone, read by everybody.

    row = [sequence | beat_ns | frame_ns | length | text]

Heartbeats are single aligned words and cost nothing. The text is a report in JSON, guarded by a sequence that is odd
while it is written, so a reader never takes half a report for a whole one. The memory has no name: it ends with the
processes that hold it. Rows outlive their process, so the next one can go on counting where it was killed.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np

from edge.core.types import Int64
from edge.errors import StateError

SUPERVISOR_ROW = 0
ROWS = 288  # 256 cameras, and room for whatever serves them
_FIRST_BYTES = 128 * 1024  # the supervisor's row tells of every process
_ROW_BYTES = 8 * 1024
_BYTES = _FIRST_BYTES + (ROWS - 1) * _ROW_BYTES
_WORDS = 4
_SEQUENCE, _BEAT, _FRAME, _LENGTH = range(_WORDS)
_TRIES = 1000  # a writer needs some microseconds; one that was killed in the middle leaves the row torn for good


class Row:
    """One process's place on the board. Times are monotonic nanoseconds, 0 for never."""

    def __init__(self, memory: mmap.mmap, number: int) -> None:
        start, size = (0, _FIRST_BYTES) if number == 0 else (_FIRST_BYTES + (number - 1) * _ROW_BYTES, _ROW_BYTES)
        self._words: Int64 = np.frombuffer(memory, np.int64, _WORDS, start)
        self._text = memoryview(memory)[start + 8 * _WORDS : start + size]
        self.number = number

    @property
    def beat_ns(self) -> int:
        """When its process last said that it is alive and moving."""
        return int(self._words[_BEAT])

    @property
    def frame_ns(self) -> int:
        """When the last picture came from the camera."""
        return int(self._words[_FRAME])

    def beat(self, mono_ns: int) -> None:
        self._words[_BEAT] = mono_ns

    def frame(self, mono_ns: int) -> None:
        self._words[_FRAME] = mono_ns

    def write(self, text: str) -> None:
        """Replace the report. Raises StateError when it does not fit: the writer's limits are wrong then."""
        content = text.encode()
        if len(content) > len(self._text):
            raise StateError(f"status row {self.number}: a report of {len(content)} bytes, room for {len(self._text)}")
        words = self._words
        words[_SEQUENCE] |= 1  # also where a killed writer left it odd
        self._text[: len(content)] = content
        words[_LENGTH] = len(content)
        words[_SEQUENCE] += 1

    def read(self) -> str:
        """The last whole report, "" where there is none or its writer was killed in the middle."""
        words = self._words
        for _ in range(_TRIES):
            before = int(words[_SEQUENCE])
            content = bytes(self._text[: max(min(int(words[_LENGTH]), len(self._text)), 0)])
            if before % 2 == 0 and before == int(words[_SEQUENCE]):
                return content.decode(errors="replace")
        return ""

    def clear(self) -> None:
        """For its next owner."""
        self.write("")
        self._words[_BEAT] = self._words[_FRAME] = 0


class Board:
    """All rows. Made by the supervisor, and given to the other processes as an argument."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, _BYTES)

    @classmethod
    def create(cls) -> Board:
        fd = os.memfd_create("edge-board", os.MFD_CLOEXEC)
        try:
            os.posix_fallocate(fd, 0, _BYTES)  # now, in words, rather than later by a bus error
        except OSError as error:
            os.close(fd)
            if error.errno not in (errno.ENOSPC, errno.ENOMEM):
                raise
            raise StateError(
                f"shared memory: no room for the status board ({_BYTES} bytes): free some memory"
            ) from error
        return cls(fd)

    def __reduce__(self) -> tuple[Callable[..., Board], tuple[object, ...]]:
        """Given to a new process, its descriptor travels along."""
        return _received, (DupFd(self.fd),)

    def row(self, number: int) -> Row:
        return Row(self._memory, number)


def _received(descriptor: Any) -> Board:
    return Board(descriptor.detach())
