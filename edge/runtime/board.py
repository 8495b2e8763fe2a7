"""The status board: a row of shared memory for each process, written by that process alone, read by everybody.

    row = [writes | beat_ns | frame_ns | length, sum | length, sum | text | text]

Heartbeats are single aligned words and cost nothing. A report in JSON is written beside the last one and counts when it
is whole: a writer that is killed or held up in the middle leaves the last one to read. The memory has no name: it ends
with the processes that hold it. Rows outlive their process, so the next one can go on counting where it was killed.
"""

from __future__ import annotations

import errno
import mmap
import os
import zlib
from collections.abc import Callable
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np

from edge.core.types import Int64
from edge.errors import StateError

SUPERVISOR_ROW = 0
ROWS = 288  # 256 cameras, and room for whatever serves them
_FIRST_BYTES = 768 * 1024  # the supervisor's row tells of every process
_ROW_BYTES = 16 * 1024
_BYTES = _FIRST_BYTES + (ROWS - 1) * _ROW_BYTES
_WORDS = 8
_WRITES, _BEAT, _FRAME = range(3)
_LENGTHS, _SUMS = (3, 5), (4, 6)  # of the text that an even number of writes leaves, and of the other
_TRIES = 1000  # a reader is overtaken only by two writes at once, and they come twice a second


class Row:
    """One process's place on the board. Times are monotonic nanoseconds, 0 for never."""

    def __init__(self, memory: mmap.mmap, number: int) -> None:
        start, size = (0, _FIRST_BYTES) if number == 0 else (_FIRST_BYTES + (number - 1) * _ROW_BYTES, _ROW_BYTES)
        self._words: Int64 = np.frombuffer(memory, np.int64, _WORDS, start)
        room = memoryview(memory)[start + 8 * _WORDS : start + size]
        half = len(room) // 2
        self._texts = (room[:half], room[half:])
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
        content = text.encode(errors="replace")  # a path's bytes may be no text at all
        words = self._words
        writes = int(words[_WRITES]) + 1
        place = self._texts[writes % 2]
        if len(content) > len(place):
            raise StateError(f"status row {self.number}: a report of {len(content)} bytes, room for {len(place)}")
        place[: len(content)] = content
        words[_LENGTHS[writes % 2]] = len(content)
        words[_SUMS[writes % 2]] = zlib.crc32(content)
        words[_WRITES] = writes

    def read(self) -> str:
        """The last whole report, "" where there is none. The sum also tells where a CPU has put writes out of order."""
        words = self._words
        for _ in range(_TRIES):
            which = int(words[_WRITES]) % 2
            place = self._texts[which]
            content = bytes(place[: max(min(int(words[_LENGTHS[which]]), len(place)), 0)])
            if zlib.crc32(content) == words[_SUMS[which]]:
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
