"""The detector as a camera's worker has it: pictures go to the detector process, boxes come back.

Satisfies `edge.ports.Detector` from the model's manifest and a slot; nothing of a network is loaded here.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from typing import TypeVar

from edge.clock import SystemClock
from edge.core.types import NS_PER_S, Detections, Int16, UInt8
from edge.detect.manifest import ModelManifest
from edge.detect.model_input import ModelInput
from edge.errors import EdgeError
from edge.runtime.slots import Answer, Slot, drain

_Found = TypeVar("_Found")

PATIENCE_S = 1.0  # until a request is signalled again: a detector that restarted may have lost the first signal


class DetectorLostError(EdgeError):
    """The detector process did not answer for as long as the worker was told to wait."""


class RemoteDetector:
    """One camera's way to the detector process of one model. For one thread."""

    name: str
    sha256: str
    labels: tuple[str, ...]
    groups: Int16  # (C,) labels of one group stand for one thing
    waited_s: float  # of the last `detect`: for the detector's attention, the way there and back
    ran_s: float  # of the last `detect`: inside the network's runs that its pictures were part of
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
        """`keep_waiting` is asked each `patience_s` without an answer; False ends `detect` with DetectorLostError."""
        self.name = manifest.name
        self.sha256 = manifest.sha256
        self.labels = manifest.labels
        self.groups = manifest.label_groups()
        self.waited_s = self.ran_s = 0.0
        self.signalled_again = 0
        self._manifest = manifest
        self._longest_side = longest_side
        self._slot = slot
        self._clock = clock or SystemClock()
        self._keep_waiting = keep_waiting
        self._patience_s = patience_s
        self._input: ModelInput | None = None
        self._answered = select.poll()
        self._answered.register(slot.fds[2], select.POLLIN)

    def detect(self, pictures: Sequence[UInt8], *, pixel_aspect: float = 1.0) -> list[Detections]:
        """One answer for each picture (H, W, 3) BGR, in order, best score first, in pixels of that picture.

        Raises DetectorLostError. Several pictures go one after the other: the detector batches over cameras.
        """
        self.waited_s = self.ran_s = 0.0
        return [self._ask(picture, pixel_aspect) for picture in pictures]

    def _ask(self, picture: UInt8, pixel_aspect: float) -> Detections:
        letterbox = self._rule().letterbox(width=picture.shape[1], height=picture.shape[0], pixel_aspect=pixel_aspect)
        sequence = self._slot.submit(picture, letterbox, submitted_ns=self._clock.mono_ns)
        answer: Answer = self._await(lambda: self._slot.answer(sequence))
        ran_s = answer.times.ran_ns / NS_PER_S
        self.ran_s += ran_s
        self.waited_s += max((self._clock.mono_ns() - self._slot.submitted_ns) / NS_PER_S - ran_s, 0.0)
        return answer.detections

    def _rule(self) -> ModelInput:
        if self._input is None:
            card = self._await(self._slot.card)
            self._input = ModelInput.of(self._manifest, longest_side=self._longest_side, fixed_px=card.fixed_px)
        return self._input

    def _await(self, fetch: Callable[[], _Found | None]) -> _Found:
        while (found := fetch()) is None:
            if self._answered.poll(self._patience_s * 1000):
                drain(self._slot.fds[2])
            elif (found := fetch()) is not None:  # its signal was lost with the detector that gave it
                return found
            elif not self._keep_waiting():
                raise DetectorLostError(
                    f"model {self.name}: its detector process does not answer: see its log for the reason"
                )
            else:
                self.signalled_again += 1
                self._slot.signal_ready()
        return found
