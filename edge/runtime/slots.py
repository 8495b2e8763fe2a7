"""Shared-memory slots: how one camera's picture reaches a detector, and how its boxes come back.

    worker  --- picture, request sequence ---> [ slot ] --- ready ------>  detector
    worker  <-- answered --------------------- [ slot ] <-- boxes, answered sequence ---  detector

A slot is a memfd, whole from the start, and two eventfds: nothing has a name, so nothing is left behind. It is not a
file in /dev/shm: that is bounded (64 MB in a Docker container), and a write beyond the bound is a bus error.
The supervisor makes slots; worker and detector may be killed at any byte and only ever leave an unanswered request.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from multiprocessing.reduction import DupFd
from threading import Lock
from typing import Any

import numpy as np

from edge.core.pixels import Picture
from edge.core.types import Detections, Float32, Int16, UInt8
from edge.detect.letterbox import Letterbox
from edge.detect.manifest import ModelManifest
from edge.detect.model_input import ModelInput
from edge.errors import ModelError
from edge.runtime.headroom import SharedMemoryError

_MAGIC = 0x45444745_0002  # "EDGE", layout 2
_PAGE = 4096
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

SlotFds = tuple[int, int, int]  # memory, ready, answered


class _At(IntEnum):
    """Places of the header's int64 fields; those of one writer share cache lines with no other writer's."""

    MAGIC = 0
    SIDE_PX = 1
    ROWS_MAX = 2
    # written by the worker
    REQUEST = 8  # odd while the request is being written
    SUBMITTED_NS = 9
    INPUT_WIDTH = 10
    INPUT_HEIGHT = 11
    SOURCE_WIDTH = 12
    SOURCE_HEIGHT = 13
    CONTENT_WIDTH = 14
    CONTENT_HEIGHT = 15
    OFFSET_LEFT = 16
    OFFSET_TOP = 17
    # written by the detector, for each answer
    ANSWERED = 32
    COUNT = 33
    WAITED_NS = 34
    RAN_NS = 35
    BATCH = 36
    END = 64


@dataclass(frozen=True, slots=True)
class SizeClass:
    """How much a slot holds: one picture of at most `side_px` x `side_px`, and `rows_max` boxes, or one row a class.

    A camera has a slot for each of its models; crops travel through it one after the other.
    """

    side_px: int
    rows_max: int = 1000  # what suppression leaves of a picture at most: `session._CANDIDATES_MAX`

    @classmethod
    def for_model(cls, manifest: ModelManifest, *, longest_side: int | None = None) -> SizeClass:
        side_px = ModelInput.of(manifest, longest_side=longest_side).side_px
        return cls(side_px) if manifest.finds_boxes else cls(side_px, rows_max=len(manifest.labels))

    @property
    def picture_bytes(self) -> int:
        return self.side_px * self.side_px * 3

    @property
    def answer_bytes(self) -> int:
        return self.rows_max * (4 * 4 + 4 + 2)

    @property
    def slot_bytes(self) -> int:
        """Bytes of a slot, whole pages: header, answer, picture."""
        return _PAGE + _whole_pages(self.answer_bytes) + _whole_pages(self.picture_bytes)


@dataclass(frozen=True, slots=True)
class Request:
    """One picture that waits in a slot."""

    sequence: int  # even, rises with each request of a slot, also over restarts of its worker
    submitted_ns: int  # mono
    letterbox: Letterbox


@dataclass(frozen=True, slots=True)
class AnswerTimes:
    """What one answer cost in the detector process."""

    waited_ns: int  # from the worker's signal to the start of the run
    ran_ns: int  # the whole batch
    batch: int  # pictures in it


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    detections: Detections  # px of the source picture
    times: AnswerTimes


class Slot:
    """One process's view of a slot. The methods of one side must be called by one thread only.

    May be given to a new process as an argument (spawn or forkserver): its three descriptors travel along.
    """

    def __init__(self, fds: SlotFds) -> None:
        """Takes the descriptors over. ModelError when the memory is not a slot."""
        self.fds = fds
        size = os.fstat(fds[0]).st_size
        if size < _PAGE:
            raise ModelError(f"shared memory of {size} bytes is no slot: restart the gateway")
        self._memory = mmap.mmap(fds[0], size)
        self._header = memoryview(self._memory)[: _At.END * 8].cast("q")
        self.size_class = SizeClass(self._header[_At.SIDE_PX], self._header[_At.ROWS_MAX])
        if self._header[_At.MAGIC] != _MAGIC or self.size_class.slot_bytes != size:
            self.close()
            raise ModelError("shared memory was laid out by another version: restart the gateway")
        rows = self.size_class.rows_max
        self._xyxy: Float32 = np.frombuffer(self._memory, np.float32, rows * 4, _PAGE).reshape(rows, 4)
        self._score: Float32 = np.frombuffer(self._memory, np.float32, rows, _PAGE + rows * 16)
        self._label: Int16 = np.frombuffer(self._memory, np.int16, rows, _PAGE + rows * 20)
        self._picture: UInt8 = np.frombuffer(
            self._memory, np.uint8, self.size_class.picture_bytes, _PAGE + _whole_pages(self.size_class.answer_bytes)
        )
        self._order = Lock()
        self._order.acquire()

    @classmethod
    def create(cls, size_class: SizeClass) -> Slot:
        """A new, empty slot with its memory reserved: no later write can fail. Raises SharedMemoryError."""
        memory = os.memfd_create("edge-slot", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.posix_fallocate(memory, 0, size_class.slot_bytes)
            # A shorter file under a mapping is a bus error for everybody who looks: nobody can make it shorter.
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
            os.pwrite(memory, np.array([_MAGIC, size_class.side_px, size_class.rows_max], np.int64).tobytes(), 0)
        except OSError as error:
            os.close(memory)
            if error.errno not in (errno.ENOSPC, errno.ENOMEM):
                raise
            raise SharedMemoryError(
                f"a slot of {size_class.slot_bytes} bytes cannot be reserved: {error.strerror}: "
                "use fewer cameras or a smaller input"
            ) from None
        flags = os.EFD_CLOEXEC | os.EFD_NONBLOCK
        return cls((memory, os.eventfd(0, flags), os.eventfd(0, flags)))

    def close(self) -> None:
        """Give back this process's view and descriptors; the memory goes with the last process that has it."""
        self._header.release()
        for view in ("_xyxy", "_score", "_label", "_picture"):
            self.__dict__.pop(view, None)
        self._memory.close()
        for fd in self.fds:
            os.close(fd)

    def __reduce__(self) -> tuple[Callable[..., Slot], tuple[object, ...]]:
        return _received, tuple(DupFd(fd) for fd in self.fds)

    # The worker's side.

    def submit(self, picture: Picture, letterbox: Letterbox, *, submitted_ns: Callable[[], int]) -> int:
        """Letterbox a picture into the slot and signal it; returns the request's sequence.

        The sequence goes on from the one that is there: answers to a dead worker's request are not taken for ours.
        """
        header = self._header
        writing = header[_At.REQUEST] | 1
        header[_At.REQUEST] = writing
        self._settle()
        header[_At.INPUT_WIDTH], header[_At.INPUT_HEIGHT] = letterbox.input_px
        header[_At.SOURCE_WIDTH], header[_At.SOURCE_HEIGHT] = letterbox.source_px
        header[_At.CONTENT_WIDTH], header[_At.CONTENT_HEIGHT] = letterbox.content_px
        header[_At.OFFSET_LEFT], header[_At.OFFSET_TOP] = letterbox.offset_px
        letterbox.apply(picture, self._input(letterbox.input_px))
        header[_At.SUBMITTED_NS] = submitted_ns()
        self._settle()
        header[_At.REQUEST] = writing + 1
        self.signal_ready()
        return writing + 1

    @property
    def submitted_ns(self) -> int:
        """When the request that lies there was signalled, mono."""
        return self._header[_At.SUBMITTED_NS]

    def signal_ready(self) -> None:
        """Wake the detector; again for the same request does no harm."""
        os.eventfd_write(self.fds[1], 1)

    def answer(self, sequence: int) -> Answer | None:
        """A copy of the answer to request `sequence`, or None while there is none."""
        header = self._header
        if header[_At.ANSWERED] != sequence:
            return None
        self._settle()
        rows = slice(min(max(header[_At.COUNT], 0), self.size_class.rows_max))
        found = Detections(self._xyxy[rows].copy(), self._score[rows].copy(), self._label[rows].copy())
        return Answer(found, AnswerTimes(header[_At.WAITED_NS], header[_At.RAN_NS], header[_At.BATCH]))

    # The detector's side.

    def wake_worker(self) -> None:
        """It may have lost an answer's signal with the detector that gave it."""
        os.eventfd_write(self.fds[2], 1)

    @property
    def torn(self) -> bool:
        """A worker is writing at this moment, or was killed while it did."""
        return bool(self._header[_At.REQUEST] & 1)

    def request(self) -> Request | None:
        """The request that waits for an answer; None when there is none, or when it is torn."""
        header = self._header
        sequence = header[_At.REQUEST]
        if sequence & 1 or sequence == header[_At.ANSWERED]:
            return None
        self._settle()
        letterbox = Letterbox(
            source_px=(header[_At.SOURCE_WIDTH], header[_At.SOURCE_HEIGHT]),
            input_px=(header[_At.INPUT_WIDTH], header[_At.INPUT_HEIGHT]),
            content_px=(header[_At.CONTENT_WIDTH], header[_At.CONTENT_HEIGHT]),
            offset_px=(header[_At.OFFSET_LEFT], header[_At.OFFSET_TOP]),
            swap_colours=False,
        )
        found = Request(sequence, header[_At.SUBMITTED_NS], letterbox)
        return found if self._unchanged(sequence) and self._has_room(letterbox) else None

    def copy_picture(self, request: Request, out: UInt8) -> bool:
        """Copy the letterboxed picture into `out` (H, W, 3); False when it was overwritten meanwhile."""
        np.copyto(out, self._input(request.letterbox.input_px))
        return self._unchanged(request.sequence)

    def write_answer(self, sequence: int, detections: Detections, times: AnswerTimes) -> int:
        """Answer request `sequence` and wake its worker; returns how many of the worst rows had no room."""
        header = self._header
        rows = slice(min(len(detections), self.size_class.rows_max))
        self._xyxy[rows] = detections.xyxy[rows]
        self._score[rows] = detections.score[rows]
        self._label[rows] = detections.label[rows]
        header[_At.COUNT] = rows.stop
        header[_At.WAITED_NS], header[_At.RAN_NS], header[_At.BATCH] = times.waited_ns, times.ran_ns, times.batch
        self._settle()
        header[_At.ANSWERED] = sequence
        os.eventfd_write(self.fds[2], 1)
        return len(detections) - rows.stop

    def _input(self, input_px: tuple[int, int]) -> UInt8:
        width, height = input_px
        return self._picture[: width * height * 3].reshape(height, width, 3)

    def _has_room(self, letterbox: Letterbox) -> bool:
        sides = (*letterbox.input_px, *letterbox.source_px, *letterbox.content_px)
        width, height = letterbox.input_px
        return min(sides) > 0 and width * height * 3 <= self.size_class.picture_bytes

    def _unchanged(self, sequence: int) -> bool:
        self._settle()
        return bool(self._header[_At.REQUEST] == sequence)

    def _settle(self) -> None:
        """Everything before is done, for every core, before anything after begins.

        x86 keeps such order by itself, ARM does not: there a sequence could be seen before the picture that it
        vouches for. Python has no fence, but giving a lock back is a release and taking it an acquire. Where an
        eventfd was read first, the kernel's own lock on its counter has already ordered the two processes; this is
        for the looks without one: after a limit ran out, and when a detector adopts a slot.
        """
        self._order.release()
        self._order.acquire()


def drain(event_fd: int) -> None:
    """Take an eventfd's count; nothing when another wake-up has done so already."""
    try:
        os.eventfd_read(event_fd)
    except BlockingIOError:
        return


def _received(*packed: Any) -> Slot:
    """A slot that came as an argument of this process."""
    memory, ready, answered = (int(fd.detach()) for fd in packed)
    return Slot((memory, ready, answered))


def _whole_pages(count: int) -> int:
    return -(-count // _PAGE) * _PAGE
