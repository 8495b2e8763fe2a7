"""The arrays that travel along a frame's way, and nothing that acts on them.

Frozen, slotted dataclasses of parallel arrays. Rows mean the same everywhere: B batch, N detections,
T tracks, Z zones, S static regions. Times are int64 nanoseconds: `mono_ns` for arithmetic, `wall_ns` for people.
Boxes are xyxy float32 in pixels of the source frame. Empty arrays keep shape and dtype.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from edge.core.pixels import Picture, Pixels, pixels_of

Float32 = npt.NDArray[np.float32]
Int8 = npt.NDArray[np.int8]
Int16 = npt.NDArray[np.int16]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
UInt8 = npt.NDArray[np.uint8]

NS_PER_S = 1_000_000_000


def seconds_to_ns(seconds: float) -> int:
    """Seconds as whole nanoseconds, rounded to the nearest."""
    return round(seconds * NS_PER_S)


def _expect(name: str, array: npt.NDArray[np.generic], dtype: type[np.generic], *shape: int | None) -> None:
    if array.shape == shape and array.dtype == dtype:  # as nearly always, and every look asks often
        return
    fits = array.ndim == len(shape) and all(
        want is None or have == want for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits or array.dtype != dtype:
        wanted = ", ".join("*" if length is None else str(length) for length in shape)
        raise ValueError(f"{name}: expected ({wanted}) {np.dtype(dtype).name}, got {array.shape} {array.dtype.name}")


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded picture with its time.

    It holds the decoder's own picture and what was made of it: some 3 MB at 1080p, 6 more once `bgr` was asked for. Who
    keeps frames keeps that. `mono_ns` never goes back within one worker; `media_ns` is the position in its file, -1 for
    a live camera. `resumed`: the first frame after a time in which the camera could not be seen; what was between is
    unknown.
    """

    camera: str
    index: int
    mono_ns: int
    wall_ns: int
    picture: Picture  # pixels, or (H, W, 3) uint8 BGR, of which pixels are made
    keyframe: bool = False
    media_ns: int = -1
    resumed: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.picture, np.ndarray):
            _expect("Frame.picture", self.picture, np.uint8, None, None, 3)
            object.__setattr__(self, "picture", pixels_of(self.picture))

    @property
    def pixels(self) -> Pixels:
        return pixels_of(self.picture)

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.size_px

    @property
    def bgr(self) -> UInt8:
        """(H, W, 3), the whole picture: converted when it is first asked for."""
        return self.pixels.bgr()

    def scaled(self, size_px: tuple[int, int]) -> UInt8:
        """(height, width, 3) BGR of that (width, height)."""
        return self.pixels.scaled(size_px)


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What one look of the detector found in one frame."""

    xyxy: Float32  # (N, 4) px
    score: Float32  # (N,) 0..1
    label: Int16  # (N,) row of the model's label list

    def __post_init__(self) -> None:
        count = len(self.score)
        _expect("Detections.xyxy", self.xyxy, np.float32, count, 4)
        _expect("Detections.score", self.score, np.float32, count)
        _expect("Detections.label", self.label, np.int16, count)

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: Bool | Int64) -> Detections:
        return Detections(self.xyxy[rows], self.score[rows], self.label[rows])

    @classmethod
    def empty(cls) -> Detections:
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int16))


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """The confirmed tracks after one frame, seen in it (`detection >= 0`) or carried on (-1).

    `rest_since_ns` is when the box last left the place where it stands: now minus it is how long the thing has
    been still. `speed` is in box heights per second.
    """

    track_id: Int64  # (T,) ascending, never reused
    xyxy: Float32  # (T, 4) px
    label: Int16  # (T,)
    score: Float32  # (T,)
    detection: Int64  # (T,) row of this frame's detections, or -1
    first_seen_ns: Int64  # (T,)
    last_seen_ns: Int64  # (T,)
    rest_since_ns: Int64  # (T,)
    speed: Float32  # (T,)

    def __post_init__(self) -> None:
        count = len(self.track_id)
        _expect("Tracks.xyxy", self.xyxy, np.float32, count, 4)
        _expect("Tracks.label", self.label, np.int16, count)
        _expect("Tracks.score", self.score, np.float32, count)
        _expect("Tracks.speed", self.speed, np.float32, count)
        for name in ("track_id", "detection", "first_seen_ns", "last_seen_ns", "rest_since_ns"):
            _expect(f"Tracks.{name}", getattr(self, name), np.int64, count)

    def __len__(self) -> int:
        return len(self.track_id)

    def labelled(self, labels: Int16) -> Bool:
        """(T,) those of one of these labels, of which there are few."""
        return np.asarray((self.label[:, None] == labels).any(axis=1))

    def take(self, rows: Bool | Int64) -> Tracks:
        return Tracks(**{column.name: getattr(self, column.name)[rows] for column in fields(self)})

    @classmethod
    def empty(cls) -> Tracks:
        return cls(
            track_id=np.zeros(0, np.int64),
            xyxy=np.zeros((0, 4), np.float32),
            label=np.zeros(0, np.int16),
            score=np.zeros(0, np.float32),
            detection=np.zeros(0, np.int64),
            first_seen_ns=np.zeros(0, np.int64),
            last_seen_ns=np.zeros(0, np.int64),
            rest_since_ns=np.zeros(0, np.int64),
            speed=np.zeros(0, np.float32),
        )


@dataclass(frozen=True, slots=True, eq=False)
class StaticRegions:
    """Things of no known class that came and stayed, or that were there and went (see `background.py`)."""

    xyxy: Float32  # (S, 4) px
    since_ns: Int64  # (S,) when the change began
    appeared: Bool  # (S,) True: something is there now; False: something was taken away
    explained_by: Int64  # (S,) track_id of the track that covers it, or -1
    score: Float32  # (S,) 0..1, share of the region that still differs from the empty place

    def __post_init__(self) -> None:
        count = len(self.since_ns)
        _expect("StaticRegions.xyxy", self.xyxy, np.float32, count, 4)
        _expect("StaticRegions.since_ns", self.since_ns, np.int64, count)
        _expect("StaticRegions.appeared", self.appeared, np.bool_, count)
        _expect("StaticRegions.explained_by", self.explained_by, np.int64, count)
        _expect("StaticRegions.score", self.score, np.float32, count)

    def __len__(self) -> int:
        return len(self.since_ns)

    @classmethod
    def empty(cls) -> StaticRegions:
        return cls(
            xyxy=np.zeros((0, 4), np.float32),
            since_ns=np.zeros(0, np.int64),
            appeared=np.zeros(0, np.bool_),
            explained_by=np.zeros(0, np.int64),
            score=np.zeros(0, np.float32),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Presence:
    """Which track is in which zone, since when, and for how long it was really seen there."""

    inside: Bool  # (Z, T) at this very look
    entered_ns: Int64  # (Z, T) start of the present visit, which a short step outside does not end; 0 without one
    visible_ns: Int64  # (Z, T) seen time of the present visit

    def __post_init__(self) -> None:
        shape = self.inside.shape
        _expect("Presence.inside", self.inside, np.bool_, None, None)
        _expect("Presence.entered_ns", self.entered_ns, np.int64, *shape)
        _expect("Presence.visible_ns", self.visible_ns, np.int64, *shape)


HIDDEN = 0  # something stands before it: no clock runs
LASTS = 1  # too little to make a case of, enough for an open one to go on
WAITS = 2  # it holds, but may have an innocent end: the time counts only if it has not
HOLDS = 3  # the condition holds
_ALL_HOLD = np.zeros(0, np.int8)


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """The things for which one scenario's condition holds in this frame, before any dwell is asked for.

    A kind that remembers its things from look to look also tells those for which it cannot be said now: `extent`.
    """

    zone: Int16  # (N,) row of the camera's zones
    xyxy: Float32  # (N, 4) px, the violating thing; for a gathering the box round its people
    label: Int16  # (N,) row of the model's labels, -1 for a thing of no known class
    score: Float32  # (N,)
    track_id: Int64  # (N,) -1 where no single track stands for it
    since_ns: Int64  # (N,) when the condition began to hold for this thing
    count: Int16  # (N,) how many things it is made of
    reasons: Bool  # (N, R) which of the rule's named reasons speak for it
    extent: Int8 = field(default_factory=lambda: _ALL_HOLD)  # (N,) HIDDEN .. HOLDS; left out, it holds for all

    def __post_init__(self) -> None:
        count = len(self.zone)
        if self.extent is _ALL_HOLD:
            object.__setattr__(self, "extent", np.full(count, HOLDS, np.int8))
        _expect("Findings.zone", self.zone, np.int16, count)
        _expect("Findings.xyxy", self.xyxy, np.float32, count, 4)
        _expect("Findings.label", self.label, np.int16, count)
        _expect("Findings.score", self.score, np.float32, count)
        _expect("Findings.track_id", self.track_id, np.int64, count)
        _expect("Findings.since_ns", self.since_ns, np.int64, count)
        _expect("Findings.count", self.count, np.int16, count)
        _expect("Findings.reasons", self.reasons, np.bool_, count, None)
        _expect("Findings.extent", self.extent, np.int8, count)

    def __len__(self) -> int:
        return len(self.zone)

    def take(self, rows: Bool | Int64) -> Findings:
        return Findings(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @classmethod
    def empty(cls, reasons: int = 0) -> Findings:
        return cls(
            zone=np.zeros(0, np.int16),
            xyxy=np.zeros((0, 4), np.float32),
            label=np.zeros(0, np.int16),
            score=np.zeros(0, np.float32),
            track_id=np.zeros(0, np.int64),
            since_ns=np.zeros(0, np.int64),
            count=np.zeros(0, np.int16),
            reasons=np.zeros((0, reasons), np.bool_),
        )


PENDING = "pending"
OPENED = "opened"
CLEARED = "cleared"
WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Grounds:
    """What the case book judges a case by and nobody else is told: kept with it, or a restart would forget it."""

    found_ns: int = 0  # how long the finder itself saw it, by a score that counts
    found_looks: int = 0
    score_sum: float = 0.0  # over those looks
    arrived: bool = False  # its place looked different before it came, or it has walked away from there
    begun_at: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # xyxy px, where it was found first
    changed_looks: int = 0  # in which a walker's first place no longer looked as it did
    empty_ns: int = 0  # how long its place has been seen without it
    departed: bool = False  # its own track was seen to go, and the thing has not been seen in its place since
    told_ns: int = 0  # mono; of the last alert, 0 while pending


@dataclass(frozen=True, slots=True)
class Occurrence:
    """That people gathered in a zone on one day: how many at most, and since when. Nothing of who they were."""

    scenario: str
    zone: str
    day: int  # of the site's calendar, as `date.toordinal` counts
    started_wall_ns: int
    count: int
    told: bool = False  # a case was opened for it


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """The life of one violation at one place. A pending case is not yet known to anybody outside the worker."""

    case_id: str  # UUIDv5 of gateway, camera, scenario, zone and start
    camera: str
    scenario: str
    zone: str
    state: str  # PENDING | OPENED | CLEARED | WITHDRAWN
    label: str  # "" for a thing of no known class
    score: float  # best so far
    count: int
    footprint: tuple[float, float, float, float]  # xyxy px
    appearance: Float32  # (P, P) luma patch of the footprint, 0..255
    started_ns: int  # mono; when the condition began to hold
    opened_ns: int  # mono; 0 while pending
    last_seen_ns: int  # mono
    visible_ns: int  # how long it was seen, occlusion left out
    cleared_ns: int  # mono; 0 until cleared
    started_wall_ns: int
    opened_wall_ns: int
    alerts: int  # alerts told so far
    frame_px: tuple[int, int] = (0, 0)  # (width, height) of the picture that the boxes are in, (0, 0) unknown
    reasons: tuple[str, ...] = ()  # what spoke for it when it was last found, by name
    occurrences: tuple[Occurrence, ...] = ()  # for a rule that asks how often it came: the days, this one the last
    grounds: Grounds = Grounds()


@dataclass(frozen=True, slots=True, eq=False)
class CaseChange:
    """One step in a case's life that the outside is told of: one alert."""

    case: Case
    kind: str  # "opened" | "updated" | "cleared" | "withdrawn"
    # "" or, for cleared and withdrawn, why: "seen-empty", "left", "replaced", "hours", "dismissed", ...; of an update
    # "clip": it carries the case's clip, and says nothing new otherwise.
    reason: str


Number = int | float | None


@dataclass(frozen=True, slots=True)
class Measure:
    """The numbers of one place over one interval, or over a part of it."""

    name: str
    place: str  # the zone, or the line
    from_wall_ns: int
    to_wall_ns: int
    first_wall_ns: int  # of the first look, which tells the parts of an interval apart
    seen_ns: int
    values: tuple[tuple[str, Number], ...]  # None where nothing was seen
