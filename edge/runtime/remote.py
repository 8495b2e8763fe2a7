"""The models as a camera's worker has them: pictures go to a model's process, its answers come back.

Satisfies `edge.ports.Detector` and `Classifier` from the model's manifest and a slot; nothing of a network is loaded.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from typing import Any

from edge.clock import SystemClock
from edge.core.pixels import Picture, pixels_of
from edge.core.types import NS_PER_S, Detections, Float32, Int16, UInt8
from edge.detect.manifest import ModelManifest
from edge.detect.model_input import ModelInput
from edge.errors import EdgeError
from edge.runtime.slots import Answer, Slot, drain

PATIENCE_S = 1.0  # until a request is signalled again: a detector that restarted may have lost the first signal


class DetectorLostError(EdgeError):
    """The detector process did not answer for as long as the worker was told to wait."""


class RemoteModel:
    """One camera's way to the process of one model. For one thread; one picture at a time is on its way."""

    waited_s: float  # since `begin`: for the process's attention, the way there and back
    ran_s: float  # since `begin`: inside the network's runs that the pictures were part of
    signalled_again: int  # since the start

    def __init__(
        self,
        manifest: ModelManifest,
        slot: Slot,
        *,
        longest_side: int | None = None,
        clock: SystemClock | None = None,
        keep_waiting: Callable[[], bool] = lambda: True,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`keep_waiting` is asked each `patience_s` without an answer; False ends the wait with DetectorLostError."""
        self.waited_s = self.ran_s = 0.0
        self.signalled_again = 0
        self._name = manifest.name
        self._input = ModelInput.of(manifest, longest_side=longest_side)
        self._slot = slot
        self._clock = clock or SystemClock()
        self._keep_waiting = keep_waiting
        self._patience_s = patience_s
        self._answered = select.poll()
        self._answered.register(slot.fds[2], select.POLLIN)

    def ask(self, pictures: Sequence[Picture], *, pixel_aspect: float = 1.0) -> Callable[[], list[Detections]]:
        """Send the first picture on its way; what is returned waits for its answer, and sends the others after it.

        One after the other: the process batches over cameras.
        """
        self.waited_s = self.ran_s = 0.0
        sequence = self._send(pictures[0], pixel_aspect) if pictures else 0

        def collect() -> list[Detections]:
            answers = [self._fetch(sequence)] if pictures else []
            return answers + [self._fetch(self._send(picture, pixel_aspect)) for picture in pictures[1:]]

        return collect

    def _send(self, picture: Picture, pixel_aspect: float) -> int:
        width, height = pixels_of(picture).size_px
        letterbox = self._input.letterbox(width=width, height=height, pixel_aspect=pixel_aspect)
        return self._slot.submit(picture, letterbox, submitted_ns=self._clock.mono_ns)

    def _fetch(self, sequence: int) -> Detections:
        answer = self._await(sequence)
        ran_s = answer.times.ran_ns / NS_PER_S
        self.ran_s += ran_s
        self.waited_s += max((self._clock.mono_ns() - self._slot.submitted_ns) / NS_PER_S - ran_s, 0.0)
        return answer.detections

    def _await(self, sequence: int) -> Answer:
        while (found := self._slot.answer(sequence)) is None:
            if self._answered.poll(self._patience_s * 1000):
                drain(self._slot.fds[2])
            elif (found := self._slot.answer(sequence)) is not None:  # its signal was lost with its process
                return found
            elif not self._keep_waiting():
                raise DetectorLostError(
                    f"model {self._name}: its detector process does not answer: see its log for the reason"
                )
            else:
                self.signalled_again += 1
                self._slot.signal_ready()
        return found


class RemoteDetector(RemoteModel):
    """A detector in another process."""

    name: str
    sha256: str
    labels: tuple[str, ...]
    groups: Int16  # (C,) labels of one group stand for one thing

    def __init__(self, manifest: ModelManifest, slot: Slot, **options: Any) -> None:
        """`options`: see `RemoteModel`."""
        super().__init__(manifest, slot, **options)
        self.name = manifest.name
        self.sha256 = manifest.sha256
        self.labels = manifest.labels
        self.groups = manifest.label_groups()

    def detect(self, pictures: Sequence[Picture], *, pixel_aspect: float = 1.0) -> list[Detections]:
        """One answer for each picture, in order, best score first, in pixels of that picture.

        Raises DetectorLostError.
        """
        return self.ask(pictures, pixel_aspect=pixel_aspect)()


class RemoteClassifier(RemoteModel):
    """A classifier in another process, which answers with one row a class, in the order of its labels."""

    name: str
    sha256: str
    labels: tuple[str, ...]

    def __init__(self, manifest: ModelManifest, slot: Slot, **options: Any) -> None:
        """`options`: see `RemoteModel`."""
        super().__init__(manifest, slot, **options)
        self.name = manifest.name
        self.sha256 = manifest.sha256
        self.labels = manifest.labels

    def classify(self, pictures: Sequence[UInt8]) -> list[Float32]:
        """(C,) for each picture (H, W, 3) BGR, in order: 0..1, how probable each label is. Raises DetectorLostError."""
        return [answer.score for answer in self.ask(pictures)()]
