"""The detector process: takes ready slots of all cameras and answers them with batched runs of one model.

Fair: cameras are served in the order in which they became ready, each with one picture at a time, and the first in the
queue is in every batch. A batch waits for others at most `batch_wait_ms`, so a slow camera holds up nobody.
Cameras come and go over a control socket; when its other end closes, the supervisor is gone and so is the work.
"""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from threading import Event
from typing import Protocol

import numpy as np

from edge.clock import SystemClock
from edge.core.types import NS_PER_S, Detections, UInt8, seconds_to_ns
from edge.detect.letterbox import Letterbox
from edge.detect.model_input import ModelInput
from edge.errors import ModelError
from edge.runtime.slots import AnswerTimes, Request, SizeClass, Slot, drain

BATCH_MAX = 8
BATCH_WAIT_MS = 10.0
REPORT_S = 0.5
_TURN_S = 0.5  # the longest sleep of an idle detector, so that it can be told from a hung one
_MESSAGE_BYTES = 4096


class BatchSession(Protocol):
    """A loaded model, as `OnnxDetector` and `OnnxClassifier` of `edge.detect` are."""

    input: ModelInput
    batch_max: int
    candidates_dropped: int

    def run_batch(self, slots: UInt8, letterboxes: Sequence[Letterbox]) -> list[Detections]: ...


@dataclass(slots=True)
class DetectorCounts:
    """Running totals of one detector process since its start, but for the first two, which are of now."""

    cameras: int = 0
    queue: int = 0  # requests that wait
    batches: int = 0
    pictures: int = 0
    biggest_batch: int = 0
    torn: int = 0  # looks at a request that was half written or senseless; it is left alone
    candidates_dropped: int = 0  # boxes beyond the bounds on suppression and on a slot's rows
    waited_s: float = 0.0  # sum over pictures, from the worker's signal to the start of the run
    ran_s: float = 0.0  # sum over batches


def serve(  # every part of the loop, by name
    session: BatchSession,
    control: socket.socket,
    *,
    batch_max: int = BATCH_MAX,
    batch_wait_ms: float = BATCH_WAIT_MS,
    clock: SystemClock | None = None,
    report: Callable[[DetectorCounts], None] = lambda counts: None,
    beat: Callable[[], None] = lambda: None,
    stop: Event | None = None,
) -> None:
    """Answer requests until the other end of `control` closes, or `stop` is set: then half a second later at most.

    Owns `control` and the slots that come over it.

    `report` gets a copy of the counts twice a second, `beat` is called at least as often. Raises ModelError when the
    model refuses a batch or does not fit its slots.
    """
    desk = Desk(
        session,
        control,
        batch_max=min(batch_max, session.batch_max),
        batch_wait_ns=seconds_to_ns(batch_wait_ms / 1000),
        clock=clock or SystemClock(),
    )
    reported_ns = 0
    with closing(desk):
        while not (stop and stop.is_set()) and desk.turn():
            beat()
            if desk.now_ns - reported_ns >= seconds_to_ns(REPORT_S):
                reported_ns = desk.now_ns
                report(desk.counts())


class Desk:
    """The slots that were adopted and the queue of cameras that wait."""

    def __init__(
        self,
        session: BatchSession,
        control: socket.socket,
        *,
        batch_max: int,
        batch_wait_ns: int,
        clock: SystemClock,
    ) -> None:
        self._session = session
        self._control = control
        self._batch_max = batch_max
        self._batch_wait_ns = batch_wait_ns
        self._clock = clock
        self._counts = DetectorCounts()
        self._rows_dropped = 0
        self._slots: dict[str, Slot] = {}
        self._camera_of: dict[int, str] = {}  # by the descriptor of its slot's `ready`
        self._queue: dict[str, int] = {}  # camera -> mono ns when it became ready, in the order of service
        self._buffer: UInt8 = np.empty(0, np.uint8)
        self._epoll = select.epoll()
        self._epoll.register(control, select.EPOLLIN)
        self.now_ns = clock.mono_ns()

    def turn(self) -> bool:
        """Wait for something, do it; False when the supervisor is gone."""
        ready: list[str] = []
        for fd, _ in self._epoll.poll(self._sleep_s()):
            if fd in self._camera_of:
                drain(fd)
                ready.append(self._camera_of[fd])
            elif fd == self._control.fileno() and not self._obey(ready):
                return False
        self.now_ns = self._clock.mono_ns()
        self._enqueue(ready)
        if self._due():
            self._serve_batch()
        return True

    def counts(self) -> DetectorCounts:
        dropped = self._rows_dropped + self._session.candidates_dropped
        return replace(self._counts, cameras=len(self._slots), queue=len(self._queue), candidates_dropped=dropped)

    def close(self) -> None:
        for camera in list(self._slots):
            self._release(camera)
        self._epoll.close()
        self._control.close()

    def _obey(self, ready: list[str]) -> bool:
        """One message of the supervisor; a camera that was added may have a request waiting already."""
        try:
            text, fds, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES, 3, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return False
        if not text:
            return False
        message = json.loads(text)
        if "add" in message:
            memory, ready_fd, answered_fd = fds
            self._adopt(message["add"], Slot((memory, ready_fd, answered_fd)))
            ready.append(message["add"])
        elif "remove" in message:
            self._release(message["remove"])
        return True

    def _adopt(self, camera: str, slot: Slot) -> None:
        self._release(camera)
        fixed = self._session.input.fixed_px
        if fixed and fixed[0] * fixed[1] * 3 > slot.size_class.picture_bytes:
            raise ModelError(
                f"the model insists on {fixed[0]}x{fixed[1]}, its slots hold {slot.size_class.side_px} px a side: "
                f"set longest_side in its manifest to {max(fixed)}"
            )
        self._slots[camera] = slot
        self._camera_of[slot.fds[1]] = camera
        self._epoll.register(slot.fds[1], select.EPOLLIN)
        self._make_room(slot.size_class)
        slot.wake_worker()

    def _make_room(self, size_class: SizeClass) -> None:
        if len(self._buffer) < self._batch_max * size_class.picture_bytes:
            self._buffer = np.empty(self._batch_max * size_class.picture_bytes, np.uint8)

    def _release(self, camera: str) -> None:
        slot = self._slots.pop(camera, None)
        if slot is not None:
            self._queue.pop(camera, None)
            self._epoll.unregister(slot.fds[1])
            del self._camera_of[slot.fds[1]]
            slot.close()

    def _enqueue(self, cameras: Sequence[str]) -> None:
        """Those with a request go to the end of the queue, in the order in which their workers signalled."""
        arrived = []
        for camera in cameras:
            slot = self._slots.get(camera)  # None: removed after it was seen to be ready, in the same turn
            request = slot.request() if slot else None
            if request is not None:
                arrived.append((min(request.submitted_ns, self.now_ns), camera))
            elif slot is not None:
                self._counts.torn += slot.torn
        for ready_ns, camera in sorted(arrived):
            self._queue.setdefault(camera, ready_ns)

    def _sleep_s(self) -> float:
        if not self._queue:
            return _TURN_S
        return max(self._head_due_ns() - self._clock.mono_ns(), 0) / NS_PER_S if not self._full() else 0.0

    def _due(self) -> bool:
        return bool(self._queue) and (self._full() or self.now_ns >= self._head_due_ns())

    def _full(self) -> bool:
        """Nobody is left to wait for."""
        return len(self._queue) >= min(self._batch_max, len(self._slots))

    def _head_due_ns(self) -> int:
        return next(iter(self._queue.values())) + self._batch_wait_ns

    def _serve_batch(self) -> None:
        chosen = self._gather()
        if not chosen:
            return
        width, height = chosen[0][1].letterbox.input_px
        pictures = self._buffer[: len(chosen) * height * width * 3].reshape(-1, height, width, 3)
        begin_ns = self._clock.mono_ns()
        answers = self._session.run_batch(pictures, [request.letterbox for _, request in chosen])
        ran_ns = self._clock.mono_ns() - begin_ns
        for (camera, request), answer in zip(chosen, answers, strict=True):
            waited_ns = max(begin_ns - request.submitted_ns, 0)
            times = AnswerTimes(waited_ns=waited_ns, ran_ns=ran_ns, batch=len(chosen))
            self._rows_dropped += self._slots[camera].write_answer(request.sequence, answer, times)
            self._counts.waited_s += waited_ns / NS_PER_S
        self._counts.batches += 1
        self._counts.pictures += len(chosen)
        self._counts.biggest_batch = max(self._counts.biggest_batch, len(chosen))
        self._counts.ran_s += ran_ns / NS_PER_S

    def _gather(self) -> list[tuple[str, Request]]:
        """Copy the picture of the first in the queue and those of the same input size behind it into the buffer."""
        chosen: list[tuple[str, Request]] = []
        for camera in list(self._queue):
            request = self._slots[camera].request()
            if request is None or not self._session.input.accepts(request.letterbox.input_px):
                self._forget_torn(camera)
                continue
            width, height = request.letterbox.input_px
            if chosen and chosen[0][1].letterbox.input_px != (width, height):
                continue
            begin = len(chosen) * width * height * 3
            place = self._buffer[begin : begin + width * height * 3].reshape(height, width, 3)
            if not self._slots[camera].copy_picture(request, place):
                self._forget_torn(camera)
                continue
            del self._queue[camera]
            chosen.append((camera, request))
            if len(chosen) == self._batch_max:
                break
        return chosen

    def _forget_torn(self, camera: str) -> None:
        """Its worker died, and the next one will signal anew."""
        del self._queue[camera]
        self._counts.torn += 1


class DetectorLink:
    """The supervisor's end: makes the slots of one model's cameras and tells the detector process of them.

    A slot outlives both processes that use it: a restarted worker is given the same one, a restarted detector all.
    """

    def __init__(self) -> None:
        self._slots: dict[str, Slot] = {}
        self._control: socket.socket | None = None
        self.stuck = False  # the detector does not read what it is told: restart it

    def connect(self) -> socket.socket:
        """The control socket of a new detector process, which finds all slots in it.

        Give it to the process and close it here after the start. The old process must be gone: two would answer both.
        """
        if self._control is not None:
            self._control.close()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        self.stuck = False
        for camera, slot in self._slots.items():
            self._tell({"add": camera}, slot)
        return theirs

    @property
    def cameras(self) -> list[str]:
        """Those that have a slot."""
        return list(self._slots)

    def knows(self, camera: str, size_class: SizeClass) -> bool:
        """Whether the camera has its slot already."""
        return camera in self._slots and self._slots[camera].size_class == size_class

    def add(self, camera: str, size_class: SizeClass) -> Slot:
        """The camera's slot, made and told if it is new; to be given to its worker. Raises SharedMemoryError.

        One of another size is replaced: the worker that had it must have ended.
        """
        if not self.knows(camera, size_class):
            self.remove(camera)
            self._slots[camera] = Slot.create(size_class)
            self._tell({"add": camera}, self._slots[camera])
        return self._slots[camera]

    def remove(self, camera: str) -> None:
        """Give the camera's slot back; its worker must have ended."""
        slot = self._slots.pop(camera, None)
        if slot is not None:
            self._tell({"remove": camera})
            slot.close()

    def close(self) -> None:
        """The detector process ends by itself when this end is closed."""
        if self._control is not None:
            self._control.close()
            self._control = None
        for slot in self._slots.values():
            slot.close()
        self._slots.clear()

    def _tell(self, message: dict[str, str], slot: Slot | None = None) -> None:
        if self._control is None:
            return
        try:
            socket.send_fds(self._control, [json.dumps(message).encode()], slot.fds if slot else ())
        except (BrokenPipeError, ConnectionResetError):
            return  # it has ended; the next one is told everything
        except BlockingIOError:
            self.stuck = True
