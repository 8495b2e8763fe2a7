"""The seams of the frame path: what the worker asks of the parts that `edge.wiring` puts in.

Small on purpose. An adapter satisfies a port by its shape; nothing inherits from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from edge.core.pixels import Picture
from edge.core.types import Case, CaseChange, Detections, Float32, Frame, Int16, UInt8


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
    decoder: str = "software"  # or a device, or "software: " and why not the device that was asked for


@dataclass(slots=True)
class CaptureCounts:
    """Running totals of one capture; a drop is never silent."""

    read: int = 0  # frames or packets that the source gave
    decoded: int = 0
    yielded: int = 0
    corrupt: int = 0  # packets that the decoder refused, or pictures that it had to make up
    incomplete: bool = False  # the file ended before it said it would
    withheld: int = 0  # pictures between a fault and the next clean keyframe: not true, so never given out
    skipped: int = 0  # pictures that a live camera's decoder had no time for; never decoded
    reconnects: int = 0  # a live camera's connections after its first
    reanchored: int = 0  # times at which a live camera's own timestamps stopped fitting our clock
    bytes: int = 0  # of coded pictures
    undecoded: int = 0  # packets that were not decoded, as nothing moved
    keyframes: int = 0  # decoded alone, as nothing moved
    groups: int = 0  # decoded after all, as something moved in them


@dataclass(frozen=True, slots=True)
class Decoding:
    """What of a camera's pictures is decoded just now, and why."""

    mode: str  # all | keyframes | activity: all for as long as something moves
    words: str
    faulty: bool = False  # keyframes would do, if the camera sent whole ones often enough


@dataclass(frozen=True, slots=True)
class CaptureState:
    """How a live camera's connection stands. `reason` is a short code for programs, `words` are for the installer."""

    connected: bool
    reason: str  # "" while connected; else "starting", "refused", "wrong-password", ...: edge/capture/probe.py
    words: str
    since_wall_ns: int


class Capture(Protocol):
    """A source of frames in time order, already thinned to the analysis rate. Iterate once, then close."""

    info: SourceInfo
    counts: CaptureCounts

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...


class CameraCapture(Capture, Protocol):
    """A live camera's frames, for ever: it reconnects by itself and ends only when it is told to stop.

    The attributes are written by the thread that iterates and may be read by any other.
    """

    state: CaptureState
    beat_ns: int  # mono; when the camera last gave a packet, or an attempt to reach it or a wait for one went on
    seen_ns: int  # mono; when the last true picture came, due or not; 0 before the first
    clock_offset_s: float | None  # the camera's clock minus ours, None where it does not tell
    looks_back: bool  # whether the frame that came last had been held back, and more of it follows at once

    @property
    def decoding(self) -> Decoding:
        """What is decoded just now, and why; of any thread."""
        ...


class Detector(Protocol):
    """A model that finds labelled boxes. Stateless; one answer for each picture, in order, in pixels of that picture.

    A picture is (H, W, 3) BGR or `Pixels`, which are asked for no more than the model's input needs.
    """

    name: str
    sha256: str
    labels: tuple[str, ...]
    groups: Int16  # (C,) labels of one group stand for one thing

    def detect(self, pictures: Sequence[Picture]) -> list[Detections]: ...


class Classifier(Protocol):
    """A model that says what a crop shows. Stateless; one answer for each picture, in order."""

    name: str
    sha256: str
    labels: tuple[str, ...]

    def classify(self, pictures: Sequence[UInt8]) -> list[Float32]:
        """(C,) for each picture (H, W, 3) BGR: 0..1, how probable each label is."""
        ...


ANALYSED = "analysed"  # the stream whose frames are looked at
MAIN = "main"  # the camera's main stream, where its sub stream is analysed


@dataclass(frozen=True, slots=True)
class Footage:
    """Some seconds of a camera's own coded pictures as one file, and the mono times of its first and last picture."""

    content: bytes
    media_type: str
    from_ns: int
    to_ns: int
    source: str  # ANALYSED or MAIN


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture of a stream that is not looked at otherwise."""

    bgr: UInt8  # (H, W, 3)
    mono_ns: int
    source: str


class Film(Protocol):
    """The last seconds of one camera."""

    def cut(self, from_ns: int, to_ns: int, *, at_ns: int) -> Footage:
        """The pictures of that time, and what is needed to show them: from the keyframe before it on.

        It may begin later and end earlier: as the pictures are kept, and within the connection that was there `at_ns`.
        Raises CaptureError where there is nothing of that moment.
        """
        ...


class MainStream(Protocol):
    """A camera's better stream, which nobody looks at."""

    def shot(self, at_ns: int) -> Shot | None:
        """The picture nearest to that moment; None where there is none within a second: the stream stands still."""
        ...


@dataclass(frozen=True, slots=True)
class EvidenceFile:
    """One stored file as an alert names it."""

    role: str  # overview | original | crop | still | clip | after | signature | manifest
    media_type: str
    sha256: str
    bytes: int
    path: str  # relative to the replay's folder or the state folder
    taken_wall_ns: int


class Recorder(Protocol):
    """Fixes the evidence of cases. Called for every analysed frame, so that stills exist before a case opens."""

    def resume(self, cases: Sequence[Case]) -> None:
        """Before anything else: the running cases of a process that may have been killed in the middle of an alert.

        What it stored of one that it never told goes. Raises EvidenceError.
        """
        ...

    def watch(self, cases: Sequence[Case], frame: Frame, things: Detections | None = None) -> None:
        """`things`: all boxes of the frame, so that what they are of can be hidden, by `record` of this frame too."""
        ...

    def filmed(self, mono_ns: int, *, last: bool = False) -> Sequence[str]:
        """The id of a case whose clip is complete, for an update to carry it before the next call; each case once.

        One at a time, because a clip is large and storing it takes time. `last`: as far as it is.
        """
        ...

    def record(self, change: CaseChange, frame: Frame) -> Sequence[EvidenceFile]: ...


@dataclass(frozen=True, slots=True)
class WordedMeasure:
    """A measure as it is published."""

    topic: str
    body: dict[str, object]


class MeasureBox(Protocol):
    """Where measures wait for whoever sends them; it holds so many, and gives up the oldest for new ones."""

    def put_measures(self, measures: Sequence[WordedMeasure]) -> int:
        """Returns how many older ones were given up. Raises StateError."""
        ...


class Outbox(Protocol):
    """Cases and their alerts, committed together."""

    def commit(self, change: CaseChange, alert: dict[str, object], topic: str) -> int:
        """Store the case and its alert in one transaction; sets and returns the alert's `sequence`."""
        ...
