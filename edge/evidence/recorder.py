"""Fixes a case's evidence while it happens: stills in memory before a case opens, files and a manifest at each alert.

    watch: pending and open cases -> a JPEG at the start, then at least 10 s apart, while the thing is really seen
    record: one alert             -> its pictures, then its manifest; all of them or none
    filmed: some seconds later    -> the clip of an opened case, for an alert of its own unless the case ended first

`original` is the sealed picture: the frame untouched, and `clip` the camera's own bitstream. What `Hiding` hides is
hidden in all others; where it hides anything, those two are marked as private: they are not to leave the gateway.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from functools import cached_property

import cv2
import numpy as np

from edge.clock import iso, told_offset
from edge.core import boxes
from edge.core.types import (
    CLEARED,
    NS_PER_S,
    OPENED,
    PENDING,
    WITHDRAWN,
    Case,
    CaseChange,
    Detections,
    Float32,
    Frame,
    UInt8,
)
from edge.errors import EvidenceError
from edge.evidence.chain import Chain, ManifestChain
from edge.evidence.drawing import clock, draw_after, draw_overview
from edge.evidence.filming import Filming
from edge.evidence.hiding import Hiding
from edge.evidence.manifest import (
    BYTES,
    JSON,
    alert_entry,
    alert_of,
    evidence_path,
    file_entry,
    is_signed,
    listed_files,
    manifest_name,
    manifest_number,
    proves,
    signature_name,
)
from edge.evidence.store import EvidenceStore
from edge.ports import ANALYSED, EvidenceFile, MainStream, Shot

JPEG_QUALITY = 90
STILL_APART_NS = 10 * NS_PER_S  # GA/T 832-2014: pictures of static traffic violations at least 10 s apart
STILLS_MAX = 3  # waiting for the next alert of one case
CASES_MAX = 64  # passers-by that may become a case among them; an open case takes the place of one
CROP_MARGIN = 0.15
CROP_MIN_PX = 32
CLIP = "clip"  # a role of evidence, and the reason of the update that carries it
# Two streams whose aspect ratios differ by more may show different parts of the street: the one cropped, not squeezed.
SHAPES_APART_MAX = 0.02
SEEN_WITHIN_NS = NS_PER_S  # the background looks less often than frames come

Box = tuple[float, float, float, float]  # xyxy px

JPEG = "image/jpeg"
_SUFFIXES = {JPEG: "jpg", "video/mp4": "mp4", "video/x-matroska": "mkv"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EvidenceOrigin:
    """What every manifest of one camera says of where its evidence comes from."""

    camera: str
    zones: Mapping[str, Float32]  # id -> (V, 2) fractions
    timezone: tzinfo
    model_of: Callable[[str, str], tuple[str, str]]  # scenario, zone -> name and sha256 of the model that judges there
    config_sha256: Callable[[], str]  # of the configuration in force at the time
    software: str
    place: Mapping[str, str] = field(
        default_factory=dict
    )  # what people call it: site, gateway, camera_name, road, grid
    category_of: Callable[[str, str], Mapping[str, object]] = lambda scenario, zone: {}  # how a case there is filed
    clock_offset_s: Callable[[], float | None] = lambda: None  # the camera's clock minus ours, where it tells


@dataclass(slots=True)
class RecorderCounts:
    """What the bounds of memory cost; never silent."""

    stills_thinned: int = 0  # taken out between others, because a case had STILLS_MAX waiting
    main_of_other_shape: int = 0  # pictures of the main stream on which nothing can be drawn or hidden in its place
    stills_refused: int = 0  # not taken, or given up for an open case, because CASES_MAX cases were watched


@dataclass(frozen=True, slots=True)
class _Still:
    jpeg: bytes
    mono_ns: int
    wall_ns: int
    source: str


@dataclass(slots=True)
class _Watched:
    begun_ns: int  # mono time of the first watch
    last_ns: int  # mono time of the newest still, told or waiting
    apart_ns: int = STILL_APART_NS  # doubles whenever STILLS_MAX are waiting
    waiting: list[_Still] = field(default_factory=list)  # at most STILLS_MAX, one more while an alert is recorded
    again_ns: int = 0  # mono time of the frame before which no picture is far enough
    pending: bool = True
    missed: bool = False  # not among the cases of the latest watch

    def keep(self, picture: _Encoded, own: Box | None) -> None:
        """If it is far enough from the one before: the main stream's picture of a moment may be a little older."""
        lacking_ns = self.last_ns + STILL_APART_NS - picture.mono_ns
        if lacking_ns > 0:
            self.again_ns = picture.frame.mono_ns + lacking_ns
        else:
            self.last_ns = picture.mono_ns
            self.waiting.append(_Still(picture.published_jpeg(own), picture.mono_ns, picture.wall_ns, picture.source))


@dataclass(frozen=True, slots=True)
class _Picture:
    """One file to be: what its alert will name."""

    role: str
    content: bytes
    wall_ns: int
    masked: bool
    source: str
    media_type: str = JPEG


class CaseRecorder:
    """The recorder of one camera; satisfies `edge.ports.Recorder`.

    The chain is the gateway's or the replay's; recorders of one process share it.
    """

    def __init__(
        self,
        store: EvidenceStore,
        *,
        origin: EvidenceOrigin,
        hiding: Hiding | None = None,
        chain: ManifestChain | None = None,
        filming: Filming | None = None,
        main: MainStream | None = None,
    ) -> None:
        """Without `filming` there are no clips. `main`: where pictures come from as long as it has them."""
        self.counts = RecorderCounts()
        self._filming = filming
        self._main = main
        self._store = store
        self._origin = origin
        self._hiding = hiding or Hiding()
        self._picture: _Encoded | None = None  # of the frame that was watched last, whose boxes are known
        self._chain = chain or Chain()
        self._watched: dict[str, _Watched] = {}  # by case_id, at most CASES_MAX

    def resume(self, cases: Sequence[Case]) -> None:
        """See `edge.ports.Recorder`."""
        for case in cases:
            self._discard_after(case.case_id, self._newest_manifest(case.case_id))

    def watch(self, cases: Sequence[Case], frame: Frame, things: Detections | None = None) -> None:
        """Take the stills that are due; forget cases that were not given twice running."""
        picture = self._picture = _Encoded(frame, self._hiding, things, self._main, self.counts)
        given = {case.case_id for case in cases}
        for case_id in [case_id for case_id, watched in self._watched.items() if watched.missed]:
            if case_id not in given:
                del self._watched[case_id]
        for case_id, watched in self._watched.items():
            watched.missed = case_id not in given
        for case in cases:
            if frame.mono_ns - case.last_seen_ns <= SEEN_WITHIN_NS:
                self._watch_case(case, frame, picture)

    def filmed(self, mono_ns: int, *, last: bool = False) -> Sequence[str]:
        """See `edge.ports.Recorder`."""
        case_id = self._filming.due(mono_ns, last=last) if self._filming is not None else None
        return [] if case_id is None else [case_id]

    def record(self, change: CaseChange, frame: Frame) -> Sequence[EvidenceFile]:
        """Store one alert's evidence; the manifest is the last of the files, its signature the one before.

        Raises EvidenceError, and then none of the alert's files remain. An alert whose manifest is stored already
        (the program was killed before it could tell) keeps that evidence. If the street has changed meanwhile, and
        another alert has its number, that one's evidence comes after it: of one number, the last was told.
        """
        case_id, newest = change.case.case_id, self._newest_manifest(change.case.case_id)
        self._discard_after(case_id, newest)
        if newest:
            name = manifest_name(newest)
            manifest = self._store.read(case_id, name)
            if proves(manifest, change):
                signature = self._store.read(case_id, signature_name(newest)) if is_signed(manifest) else b""
                return listed_files(case_id, name, manifest, signature)
        number = max(change.case.alerts, newest + 1)
        try:
            return self._store_alert(change, frame, number)
        except EvidenceError:
            with contextlib.suppress(EvidenceError):  # the first error is the one to tell
                self._discard_after(case_id, newest)
            raise

    def content_of(self, file: EvidenceFile) -> bytes:
        """What a stored file holds. Raises EvidenceError."""
        case_id, name = file.path.split("/")[-2:]
        return self._store.read(case_id, name)

    def _discard_after(self, case_id: str, newest: int) -> None:
        """What has no manifest: of this alert, or of another that was to have its number and came to nothing."""
        unfinished = [name for name in self._store.names(case_id) if alert_of(name) > newest]
        self._store.discard(case_id, unfinished)
        self._store.discard_parts(case_id)

    def _watch_case(self, case: Case, frame: Frame, picture: _Encoded) -> None:
        """Keep the still that is due. A long wait keeps few, ever further apart, so that they span it."""
        watched = self._watched_case(case, frame)
        if watched is None:
            return
        due = frame.mono_ns - watched.last_ns >= watched.apart_ns
        if due and len(watched.waiting) >= STILLS_MAX:
            self.counts.stills_thinned += len(watched.waiting) // 2
            del watched.waiting[1::2]
            watched.apart_ns *= 2
            watched.last_ns = watched.waiting[-1].mono_ns
            due = frame.mono_ns - watched.last_ns >= watched.apart_ns
        if due and frame.mono_ns >= watched.again_ns:
            watched.keep(picture, self._hiding.own(case))

    def _watched_case(self, case: Case, frame: Frame) -> _Watched | None:
        """What is kept for a case; None where the table is full and no passer-by may go for it."""
        pending = case.state == PENDING
        watched = self._watched.get(case.case_id)
        if watched is None:
            if len(self._watched) >= CASES_MAX and (pending or not self._evict_passer_by(frame)):
                self._refuse_stills(1, frame)
                return None
            watched = self._watched[case.case_id] = _Watched(frame.mono_ns, frame.mono_ns - STILL_APART_NS)
        watched.pending = pending
        return watched

    def _evict_passer_by(self, frame: Frame) -> bool:
        """Give up the pending case that was watched last: the one with the least to lose, and the least likely."""
        passers = [case_id for case_id, watched in self._watched.items() if watched.pending]
        if not passers:
            return False
        youngest = max(reversed(passers), key=lambda case_id: self._watched[case_id].begun_ns)
        self._refuse_stills(len(self._watched.pop(youngest).waiting), frame)
        return True

    def _refuse_stills(self, count: int, frame: Frame) -> None:
        first = self.counts.stills_refused == 0
        self.counts.stills_refused += count
        if first and count:
            _log.warning("%s: more than %d cases at once: no stills for the rest", frame.camera, CASES_MAX)

    def _store_alert(self, change: CaseChange, frame: Frame, number: int) -> list[EvidenceFile]:
        case = change.case
        pictures = self._pictures(change, frame)
        files: list[EvidenceFile] = []
        for picture, name in zip(pictures, _file_names(pictures, number), strict=True):
            files.append(
                self._store.save(
                    case_id=case.case_id,
                    name=name,
                    content=picture.content,
                    role=picture.role,
                    media_type=picture.media_type,
                    taken_wall_ns=picture.wall_ns,
                )
            )
        files.extend(self._store_manifest(change, frame, files, pictures, number=number))
        self._told(change, frame)
        return files

    def _store_manifest(
        self,
        change: CaseChange,
        frame: Frame,
        files: Sequence[EvidenceFile],
        pictures: Sequence[_Picture],
        *,
        number: int,
    ) -> Sequence[EvidenceFile]:
        """The signature first: a manifest that can be seen can be proved."""
        case_id = change.case.case_id

        def save(role: str, name: str, content: bytes, media_type: str) -> EvidenceFile:
            return self._store.save(
                case_id=case_id,
                name=name,
                content=content,
                role=role,
                media_type=media_type,
                taken_wall_ns=frame.wall_ns,
            )

        def save_both(manifest: bytes, signature: bytes) -> list[EvidenceFile]:
            saved = [save("signature", signature_name(number), signature, BYTES)] if signature else []
            return [*saved, save("manifest", manifest_name(number), manifest, JSON)]

        document = {**self._manifest(change, frame, files, pictures), "number": number}
        return self._chain.link(evidence_path(case_id, manifest_name(number)), document, save_both)

    def _take_present(self, case: Case, frame: Frame, picture: _Encoded) -> None:
        """The alert's own frame is its last still, unless one is younger than 10 s."""
        watched = self._watched_case(case, frame)
        if watched is not None and frame.mono_ns - watched.last_ns >= STILL_APART_NS:
            watched.keep(picture, self._hiding.own(case))

    def _told(self, change: CaseChange, frame: Frame) -> None:
        """The waiting stills are stored, or the clip; a case that has ended is watched no more."""
        case_id = change.case.case_id
        if self._filming is not None and change.kind == OPENED:
            self._filming.begin(case_id, frame.mono_ns)
        elif self._filming is not None and _has_clip(change):
            self._filming.forget(case_id)
        if change.reason == CLIP:
            return
        if change.kind in (CLEARED, WITHDRAWN):
            self._watched.pop(case_id, None)
        elif case_id in self._watched:
            watched = self._watched[case_id]
            watched.waiting.clear()
            watched.apart_ns = STILL_APART_NS

    def _pictures(self, change: CaseChange, frame: Frame) -> list[_Picture]:
        clip = self._clip(change, frame)
        if change.kind == WITHDRAWN or change.reason == CLIP:
            return clip
        encoded, own = self._encoded(frame), self._hiding.own(change.case)
        wall_ns, source, blurred = encoded.wall_ns, encoded.source, self._hiding.hides
        drawn = self._drawn(change, frame, encoded)
        if change.kind == CLEARED:
            pictures = [_Picture("after", drawn, wall_ns, blurred, source)]
        else:
            self._take_present(change.case, frame, encoded)
            pictures = [_Picture("overview", drawn, wall_ns, blurred, source)]
        if change.kind == OPENED:
            crop = _jpeg(_crop(encoded.published(own), _in_frame(encoded.box(change.case.footprint), encoded.size_px)))
            sealed = encoded.original
            pictures.append(_Picture("original", encoded.untouched, encoded.wall_ns_of(sealed), False, sealed.source))
            pictures.append(_Picture("crop", crop, wall_ns, blurred, source))
        watched = self._watched.get(change.case.case_id)
        waiting = watched.waiting if watched is not None else []
        stills = [_Picture("still", still.jpeg, still.wall_ns, blurred, still.source) for still in waiting]
        return [*pictures, *stills, *clip]

    def _encoded(self, frame: Frame) -> _Encoded:
        """The boxes of another frame than the one that was watched last are not known."""
        last = self._picture
        return (
            last
            if last is not None and last.frame is frame
            else _Encoded(frame, self._hiding, None, self._main, self.counts)
        )

    def _clip(self, change: CaseChange, frame: Frame) -> list[_Picture]:
        """The clip that goes with this alert: with one of its own, or with the one that ends the case."""
        if self._filming is None or not _has_clip(change):
            return []
        footage = self._filming.take(change.case.case_id, frame.mono_ns)
        if footage is None:
            return []
        begun_wall_ns = frame.wall_ns - (frame.mono_ns - footage.from_ns)
        return [_Picture(CLIP, footage.content, begun_wall_ns, False, footage.source, footage.media_type)]

    def _drawn(self, change: CaseChange, frame: Frame, encoded: _Encoded) -> bytes:
        case, box = change.case, encoded.box(change.case.footprint)
        published = encoded.published(self._hiding.own(case))
        polygon = self._origin.zones.get(case.zone)
        ended = f"{change.kind}: {change.reason}" if change.reason else change.kind
        when = iso(frame.wall_ns, self._origin.timezone)
        caption = [f"{self._origin.camera}  {case.scenario}", f"{when[:10]} {when[11:19]} {when[23:]}  {ended}"]
        if change.kind == CLEARED:
            return _jpeg(draw_after(published, polygon=polygon, box=box, caption=caption))
        dwell = clock((frame.mono_ns - case.started_ns) / NS_PER_S)
        label = f"{case.label or 'object'} {dwell}"
        return _jpeg(draw_overview(published, polygon=polygon, box=box, label=label, caption=caption))

    def _manifest(
        self,
        change: CaseChange,
        frame: Frame,
        files: Sequence[EvidenceFile],
        pictures: Sequence[_Picture],
    ) -> dict[str, object]:
        case, origin = change.case, self._origin
        zone = origin.timezone
        polygon = origin.zones.get(case.zone)
        cleared_wall_ns = frame.wall_ns + case.cleared_ns - frame.mono_ns
        return {
            "case_id": case.case_id,
            "alert": alert_entry(change),
            "camera": origin.camera,
            "place": dict(origin.place),
            "scenario": case.scenario,
            "category": dict(origin.category_of(case.scenario, case.zone)),
            "zone": {"id": case.zone, "polygon": None if polygon is None else _fractions(polygon)},
            "object": {
                "label": case.label,
                "box_px": [round(edge) for edge in _in_frame(case.footprint, frame.size_px)],
                "frame_px": list(frame.size_px),
            },
            "started_at": iso(case.started_wall_ns, zone),
            "opened_at": iso(case.opened_wall_ns, zone) if case.opened_wall_ns else None,
            "cleared_at": iso(cleared_wall_ns, zone) if change.kind == CLEARED else None,
            "taken_at": iso(frame.wall_ns, zone),
            **told_offset(origin.clock_offset_s()),
            "files": [
                file_entry(
                    file,
                    zone,
                    masked=picture.masked,
                    private=self._hiding.hides and not picture.masked,
                    source=picture.source,
                )
                for file, picture in zip(files, pictures, strict=True)
            ],
            "model": dict(zip(("name", "sha256"), origin.model_of(case.scenario, case.zone), strict=True)),
            "config_sha256": origin.config_sha256(),
            "software": origin.software,
            "previous_in_case": self._previous_in_case(case.case_id),
        }

    def _previous_in_case(self, case_id: str) -> str | None:
        """Read from the disk, so that the case's chain holds across a restart."""
        newest = self._newest_manifest(case_id)
        return hashlib.sha256(self._store.read(case_id, manifest_name(newest))).hexdigest() if newest else None

    def _newest_manifest(self, case_id: str) -> int:
        """Its number, 0 for a case without one."""
        return max(map(manifest_number, self._store.names(case_id)), default=0)


def _has_clip(change: CaseChange) -> bool:
    return change.reason == CLIP or change.kind in (CLEARED, WITHDRAWN)


class _Encoded:
    """The pictures of one moment, each made at most once where the cases that ask spare the same box.

    They are of the main stream where there is one; but where people and vehicles are found, to be hidden, the published
    ones are of the frame in which they were found: the other stream's is of a moment before or after. So they are where
    the two streams have different shapes: masks and boxes would lie beside what they are of.
    """

    def __init__(
        self,
        frame: Frame,
        hiding: Hiding,
        things: Detections | None,
        main: MainStream | None,
        counts: RecorderCounts,
    ) -> None:
        self.frame = frame
        self._hiding = hiding
        self._things = things
        self._main = main
        self._counts = counts
        self._fits = True  # what lies where in the analysed frame lies there in the original too
        self._original: Shot | None = None
        self._spared: Box | None = None  # in the two that follow
        self._published: UInt8 | None = None
        self._jpeg: bytes | None = None
        self._untouched: bytes | None = None

    @cached_property
    def _analysed(self) -> Shot:
        """Most looks take no picture: the frame is converted when one is."""
        return Shot(self.frame.bgr, self.frame.mono_ns, ANALYSED)

    @property
    def original(self) -> Shot:
        """Looked for when it is first needed: to decode it takes some milliseconds."""
        if self._original is None:
            shot = self._main.shot(self.frame.mono_ns) if self._main is not None else None
            self._original = shot or self._analysed
            self._fits = _shapes_apart(self._original.bgr, self.frame.bgr) <= SHAPES_APART_MAX
            if not self._fits:
                self._say_other_shape()
        return self._original

    @property
    def shot(self) -> Shot:
        """What is published of, once it is hidden what is to be."""
        if self._hiding.finds:
            return self._analysed
        original = self.original
        return original if self._fits else self._analysed

    @property
    def source(self) -> str:
        return self.shot.source

    @property
    def mono_ns(self) -> int:
        return self.shot.mono_ns

    @property
    def wall_ns(self) -> int:
        return self.wall_ns_of(self.shot)

    def wall_ns_of(self, shot: Shot) -> int:
        return self.frame.wall_ns - (self.frame.mono_ns - shot.mono_ns)

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height)."""
        height, width = self.shot.bgr.shape[:2]
        return width, height

    def box(self, footprint: Box) -> Box:
        """A box of the analysed frame where it lies in this picture."""
        across, down = (mine / its for mine, its in zip(self.size_px, self.frame.size_px, strict=True))
        x1, y1, x2, y2 = footprint
        return x1 * across, y1 * down, x2 * across, y2 * down

    def published(self, own: Box | None) -> UInt8:
        """The picture without what is hidden; `own` is the box that is spared."""
        if self._published is None or own != self._spared:
            self._published, self._jpeg = self._hiding.published(self.shot.bgr, self._things, own), None
            self._spared = own
        return self._published

    def published_jpeg(self, own: Box | None) -> bytes:
        if not self._hiding.hides and self.shot is self.original:
            return self.untouched
        published = self.published(own)
        if self._jpeg is None:
            self._jpeg = _jpeg(published)
        return self._jpeg

    @property
    def untouched(self) -> bytes:
        if self._untouched is None:
            self._untouched = _jpeg(self.original.bgr)
        return self._untouched

    def _say_other_shape(self) -> None:
        if not self._counts.main_of_other_shape:
            _log.warning(
                "%s: its main stream has another shape than the analysed one: published pictures are of the "
                "analysed one; set both streams to one aspect ratio",
                self.frame.camera,
            )
        self._counts.main_of_other_shape += 1


def _shapes_apart(one: UInt8, other: UInt8) -> float:
    """By how much the aspect ratios of two pictures differ, as a fraction."""
    ratio: float = one.shape[1] * other.shape[0] / (one.shape[0] * other.shape[1])
    return max(ratio, 1 / ratio) - 1


def _jpeg(bgr: UInt8) -> bytes:
    done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise EvidenceError(f"a picture of {bgr.shape[1]}x{bgr.shape[0]} px cannot be encoded as JPEG")
    return encoded.tobytes()


def _in_frame(footprint: Box, frame_px: tuple[int, int]) -> Box:
    """A track at the edge of the frame runs on beyond it; what is told of it does not."""
    x1, y1, x2, y2 = boxes.clip(np.array([footprint], np.float32), width=frame_px[0], height=frame_px[1])[0].tolist()
    return x1, y1, x2, y2


def _crop(bgr: UInt8, footprint: Box) -> UInt8:
    """The footprint with a margin round it, inside the frame and never too small to look at."""
    height, width = bgr.shape[:2]
    x1, x2 = _span(footprint[0], footprint[2], width)
    y1, y2 = _span(footprint[1], footprint[3], height)
    return np.ascontiguousarray(bgr[y1:y2, x1:x2])


def _span(start: float, end: float, limit_px: int) -> tuple[int, int]:
    margin = (end - start) * CROP_MARGIN
    first = min(max(0, round(start - margin)), limit_px)
    last = min(max(0, round(end + margin)), limit_px)
    if last - first >= CROP_MIN_PX:
        return first, last
    first = max(0, min((first + last - CROP_MIN_PX) // 2, limit_px - CROP_MIN_PX))
    return first, min(limit_px, first + CROP_MIN_PX)


def _file_names(pictures: Sequence[_Picture], number: int) -> list[str]:
    """`<role>-<number>.<suffix>`, the number its manifest's; stills are numbered within it."""
    names: list[str] = []
    stills = 0
    for picture in pictures:
        stills += picture.role == "still"
        part = f"-{stills}" if picture.role == "still" else ""
        names.append(f"{picture.role}-{number}{part}.{_SUFFIXES[picture.media_type]}")
    return names


def _fractions(polygon: Float32) -> list[list[float]]:
    return [[round(float(x), 6), round(float(y), 6)] for x, y in polygon]
