"""The seams of the frame path: what the worker asks of the parts that `wiring.py` puts in.

Small on purpose. An adapter satisfies a port by its shape; nothing inherits from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from edge.core.types import Case, CaseChange, Detections, Frame, UInt8


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a source says of itself. Unknown numbers are 0."""

    width_px: int
    height_px: int
    fps: float
    codec: str
    duration_s: float
    frames_declared: int
    created_wall_ns: int  # the container's creation time, 0 if it has none


@dataclass(slots=True)
class CaptureCounts:
    """Running totals of one capture; a drop is never silent."""

    read: int = 0  # frames or packets that the source gave
    decoded: int = 0
    yielded: int = 0
    corrupt: int = 0  # packets that the decoder refused
    incomplete: bool = False  # the file ended before it said it would


class Capture(Protocol):
    """A source of frames in time order, already thinned to the analysis rate. Iterate once, then close."""

    info: SourceInfo
    counts: CaptureCounts

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...


class Detector(Protocol):
    """A model that finds labelled boxes. Stateless; one answer for each picture, in order."""

    name: str
    sha256: str
    labels: tuple[str, ...]

    def detect(self, pictures: Sequence[UInt8]) -> list[Detections]: ...


@dataclass(frozen=True, slots=True)
class EvidenceFile:
    """One stored file as an alert names it."""

    role: str  # overview | original | crop | still | clip | after | manifest
    media_type: str
    sha256: str
    bytes: int
    path: str  # relative to the replay's folder or the state folder
    taken_wall_ns: int


class Recorder(Protocol):
    """Fixes the evidence of cases. Called for every analysed frame, so that stills exist before a case opens."""

    def watch(self, cases: Sequence[Case], frame: Frame) -> None: ...

    def record(self, change: CaseChange, frame: Frame) -> Sequence[EvidenceFile]: ...


class Outbox(Protocol):
    """Cases and their alerts, committed together."""

    def commit(self, change: CaseChange, alert: dict[str, object], topic: str) -> int:
        """Store the case and its alert in one transaction; sets and returns the alert's `sequence`."""
        ...
