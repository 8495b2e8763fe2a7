"""The last seconds of a camera's own coded packets, and clips cut from them: remuxed, never decoded, never encoded.

    packet -> groups of pictures, each from a keyframe to the next -> cut(from, to) -> an MP4 in memory

The capturing thread feeds it, any other may cut. Groups are kept and dropped whole, by seconds and by bytes. A clip
lies within one run: packets of one connection, one set of parameters and one count of time.
"""

from __future__ import annotations

import io
import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain

import av
import numpy as np
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from edge.capture.gating import VideoPacket
from edge.capture.timeline import Ticks
from edge.core.types import NS_PER_S, UInt8
from edge.errors import CaptureError
from edge.ports import ANALYSED, Footage, Shot

log = logging.getLogger(__name__)

SHOT_OFF_NS = NS_PER_S  # a picture is shown for no longer than that; else its stream stands still
# What one of them may cost to decode, because the camera waits for it: some half a second. Thirty pictures of 1440p.
SHOT_PX_MAX = 120_000_000
_UNKNOWN_PX = 3840 * 2160  # of a stream that does not say how large its pictures are
SLACK_NS = 5 * NS_PER_S  # a clip is cut by whoever analyses, and who is late still finds its beginning
_STEP_BACK_NS = NS_PER_S  # from packet to packet: further back than B-frames go is another count of time
_STEP_AHEAD_NS = 10 * NS_PER_S  # further ahead is one too, or a camera that was away
_UNTIMED_BASE = Fraction(1, 90_000)  # for packets without times of their own: those of their arrival
_START = b"\0\0\1"
_SETS = {"h264": {7, 8}, "hevc": {32, 33, 34}}  # kinds of units
_SLICES = {"h264": {1, 5}, "hevc": set(range(32))}
_BIT_EXACT = {"fflags": "+bitexact"}  # no version of the program, no date: the same packets are the same bytes
_FORMATS: Sequence[
    tuple[str, dict[str, str], str]
] = (  # FFmpeg's name, its options, media type; the first that can hold the codec
    ("mp4", {"movflags": "+faststart"}, "video/mp4"),
    ("matroska", {}, "video/x-matroska"),
)


@dataclass(frozen=True, slots=True)
class _Coded:
    """One packet; `stamp` is when its picture is shown, in ticks of its run."""

    data: bytes
    stamp: int
    duration: int
    key: bool


@dataclass(slots=True, eq=False)
class _Run:
    """What packets have in common that may stand in one file."""

    holder: OutputContainer  # keeps `template` alive, beyond the connection that it is a copy of
    template: VideoStream
    time_base: Fraction
    ticks: Ticks
    parameters: bytes  # as found in the stream itself, b"" where the template alone has them
    size_px: tuple[int, int] | None = None  # of its pictures, once one was decoded

    def ns(self, ticks: int) -> int:
        return self.ticks.ns(ticks)


@dataclass(slots=True, eq=False)
class _Group:
    """A keyframe and what hangs on it. Packets are only ever added."""

    run: _Run
    offset_ns: int | None  # mono minus the stamps, None until one of its pictures was placed
    packets: list[_Coded] = field(default_factory=list)
    bytes: int = 0
    last_ns: int = 0  # the highest stamp

    @property
    def first_ns(self) -> int:
        return self.run.ns(self.packets[0].stamp)


class Reel:
    """Of one camera; satisfies `edge.ports.Film` and `MainStream`. One thread calls `begin`, `add` and `place`."""

    def __init__(self, camera: str, *, keep_ns: int, bytes_max: int, source: str = ANALYSED) -> None:
        """`keep_ns`: how long a clip is at most, from its beginning to when it is cut."""
        self._camera = camera
        self._source = source
        self._keep_ns = keep_ns + SLACK_NS
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._groups: deque[_Group] = deque()  # bounded by bytes_max
        self._bytes = 0
        self._run: _Run | None = None
        self._untimed = False
        self._newest: int | None = None  # the last packet's time of sending, in ticks
        self._offset_ns: int | None = None  # of the present run
        self.refused = 0  # connections and files of a codec that no clip can hold
        self.too_far = 0  # pictures not given, because they were too far from a keyframe
        self.overruns = 0  # groups given up because one alone was more than the reel holds

    @property
    def held_bytes(self) -> int:
        """Of coded pictures."""
        return self._bytes

    def begin(self, stream: VideoStream, *, untimed: bool = False) -> None:
        """A new connection or file. `untimed`: its stamps tell no time, the arrival of each packet does.

        What no file can hold (wmv2, dvvideo) is analysed all the same, and there are no clips of it.
        """
        holder = av.open(io.BytesIO(), "w", format="matroska")
        try:
            template = holder.add_stream_from_template(stream, opaque=True)
        except (av.FFmpegError, ValueError) as error:
            self._refuse(error)
            return
        self._untimed = untimed
        base = _UNTIMED_BASE if untimed or stream.time_base is None else stream.time_base
        self._start_run(_Run(holder, template, base, Ticks(base), b""))

    def add(self, packet: VideoPacket, *, mono_ns: int = 0) -> None:
        """The next packet in the order of sending. `mono_ns`: its arrival, for packets without times of their own."""
        run = self._run
        if run is None:
            return
        data = bytes(packet)
        found = self._parameters_in(run, data) if packet.is_keyframe else b""
        stamp, sent = self._times(packet, run, mono_ns)
        if stamp is None or sent is None:
            return
        if (found and run.parameters and found != run.parameters) or self._leaps(run, sent):
            size_px = run.size_px if found == run.parameters else None
            run = _Run(run.holder, run.template, run.time_base, run.ticks, found or run.parameters, size_px)
            self._start_run(run)
        run.parameters = found or run.parameters
        self._newest = sent
        coded = _Coded(data, stamp, packet.duration or 0, packet.is_keyframe)
        with self._lock:
            self._append(run, coded)

    def place(self, stamp_ns: int | None, mono_ns: int, size_px: tuple[int, int] | None) -> None:
        """A picture of the stream was given its time: `stamp_ns` is its own, None where it has none. `size_px` is as
        decoded, None where it was not."""
        offset_ns = 0 if stamp_ns is None or self._untimed else mono_ns - stamp_ns
        with self._lock:
            for group in reversed(self._groups):
                if group.run is not self._run:
                    return
                if stamp_ns is None or self._untimed or group.first_ns <= stamp_ns <= group.last_ns:
                    group.offset_ns = self._offset_ns = offset_ns
                    group.run.size_px = size_px or group.run.size_px
                    break
            self._drop_older_than(mono_ns - self._keep_ns)

    def cut(self, from_ns: int, to_ns: int, *, at_ns: int) -> Footage:
        """See `edge.ports.Film`."""
        run, groups = self._run_at(at_ns)
        begin = max((row for row, group in enumerate(groups) if group[0][0] <= from_ns), default=0)
        key_ns = groups[begin][0][0]
        # Pictures that are shown before the keyframe hang on the group before it.
        shown = [groups[begin][0], *(one for one in chain(*groups[begin:]) if one[0] > key_ns)]
        end = _end_of(shown, to_ns)
        content, media_type = self._file(run, [coded for _, coded in shown[:end]])
        times_ns = [mono_ns for mono_ns, _ in shown[:end]]
        return Footage(content, media_type, min(times_ns), max(times_ns), self._source)

    def shot(self, at_ns: int) -> Shot | None:
        """See `edge.ports.MainStream`: decoded from its keyframe on, and no further than its cost allows.

        Beyond that it is the nearest of those within, the next keyframe among them, if it is near enough; else None.
        """
        try:
            run, groups = self._run_at(at_ns)
        except CaptureError:
            return None
        begin = max(row for row, group in enumerate(groups) if group[0][0] <= at_ns)
        following = groups[begin + 1] if begin + 1 < len(groups) else []  # may begin with pictures before its keyframe
        group = [*groups[begin], *following]
        within = group[: self._shot_pictures(run)]
        row = min(range(len(within)), key=lambda row: abs(within[row][0] - at_ns))
        needed = within[: row + 1]
        if following and abs(following[0][0] - at_ns) < abs(needed[-1][0] - at_ns):
            needed = following[:1]
        mono_ns, wanted = needed[-1]
        if abs(at_ns - mono_ns) > SHOT_OFF_NS:
            if any(abs(at_ns - near_ns) <= SHOT_OFF_NS for near_ns, _ in group):
                self._say_too_far()
            return None
        bgr = _decoded(run, [coded for _, coded in needed], wanted)
        return None if bgr is None else Shot(bgr, mono_ns, self._source)

    # Kept

    def _refuse(self, error: Exception) -> None:
        """What was kept of another codec would be taken for what comes now."""
        with self._lock:
            self._groups.clear()
            self._bytes, self._run = 0, None
        if not self.refused:
            log.warning("camera %s: there are no clips of its codec: %s; set it to H.264 or H.265", self._camera, error)
        self.refused += 1

    def _start_run(self, run: _Run) -> None:
        self._run, self._newest, self._offset_ns = run, None, None

    def _times(self, packet: VideoPacket, run: _Run, mono_ns: int) -> tuple[int | None, int | None]:
        """When its picture is shown and when it was sent, in ticks; None where nobody knows."""
        if self._untimed:
            ticks = round(mono_ns / NS_PER_S / run.time_base)
            return ticks, ticks
        sent = packet.pts if packet.dts is None else packet.dts
        reordered = run.template.codec_context.has_b_frames
        return sent if packet.pts is None and not reordered else packet.pts, sent

    def _leaps(self, run: _Run, sent: int) -> bool:
        if self._newest is None:
            return False
        step_ns = run.ns(sent - self._newest)
        return not -_STEP_BACK_NS <= step_ns <= _STEP_AHEAD_NS

    def _append(self, run: _Run, coded: _Coded) -> None:
        if coded.key:
            self._groups.append(_Group(run, self._offset_ns, last_ns=run.ns(coded.stamp)))
        elif not self._groups or self._groups[-1].run is not run:
            return  # nothing can be shown before a keyframe
        group = self._groups[-1]
        group.packets.append(coded)
        group.bytes += len(coded.data)
        group.last_ns = max(group.last_ns, run.ns(coded.stamp))
        self._bytes += len(coded.data)
        while self._bytes > self._bytes_max and self._groups:
            if len(self._groups) == 1:
                self._say_overrun()
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._bytes -= self._groups.popleft().bytes

    def _drop_older_than(self, mono_ns: int) -> None:
        while len(self._groups) > 1:
            following = self._groups[1]
            if following.offset_ns is None or following.first_ns + following.offset_ns > mono_ns:
                return
            self._drop_oldest()

    @staticmethod
    def _shot_pictures(run: _Run) -> int:
        """How many may be decoded for one."""
        codec = run.template.codec_context
        width, height = run.size_px or (codec.width, codec.height)
        return max(1, SHOT_PX_MAX // (width * height or _UNKNOWN_PX))

    def _say_too_far(self) -> None:
        if not self.too_far:
            log.warning(
                "camera %s: a picture of its main stream is too far from a keyframe to be decoded in time: the "
                "analysed stream's is taken; set the main stream's keyframe (I-frame) interval to 1 to 2 s",
                self._camera,
            )
        self.too_far += 1

    def _say_overrun(self) -> None:
        if not self.overruns:
            log.warning(
                "camera %s sends more than %.0f MB from one keyframe to the next: its clips are incomplete; set its "
                "keyframe (I-frame) interval to 2 to 4 s, or raise evidence.clip_mb",
                self._camera,
                self._bytes_max / 1e6,
            )
        self.overruns += 1

    # Cut

    def _run_at(self, at_ns: int) -> tuple[_Run, list[list[tuple[int, _Coded]]]]:
        """The run that was in force at a moment: its groups, each packet with the time of its picture."""
        with self._lock:
            timed = [(group, group.offset_ns, group.packets.copy()) for group in self._groups]
        groups = [
            (group.run, [(group.run.ns(coded.stamp) + offset_ns, coded) for coded in packets])
            for group, offset_ns, packets in timed
            if offset_ns is not None
        ]
        run = next((run for run, group in reversed(groups) if group[0][0] <= at_ns), None)
        if run is None:
            raise CaptureError(f"camera {self._camera}: {self._why_nothing()}: there is no clip of this moment")
        return run, [group for its_run, group in groups if its_run is run]

    def _why_nothing(self) -> str:
        if self._run is None and self.refused:
            return "sends a codec that no clip can hold"
        if self._run is None:
            return "gives no coded pictures (a USB camera does not)"
        if self.overruns:
            return "sends more from one keyframe to the next than evidence.clip_mb holds"
        return "its pictures of that time are not kept, or were none"

    def _file(self, run: _Run, packets: Sequence[_Coded]) -> tuple[bytes, str]:
        """The packets as a file, and its media type."""
        for name, options, media_type in _FORMATS:
            try:
                return _muxed(run, packets, name, options), media_type
            except (av.FFmpegError, ValueError, OSError) as error:
                failure = error
        raise CaptureError(f"camera {self._camera}: its pictures cannot be put into a file: {failure}")

    @staticmethod
    def _parameters_in(run: _Run, data: bytes) -> bytes:
        codec = run.template.codec_context
        return parameter_sets(data, codec.name) if (codec.extradata or b"\0")[0] == 0 else b""


def _decoded(run: _Run, packets: Sequence[_Coded], wanted: _Coded) -> UInt8 | None:
    """(H, W, 3) BGR of one picture of a group; None where the decoder does not give it."""
    template = run.template.codec_context
    decoder = av.CodecContext.create(template.codec.name, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.extradata = run.parameters or template.extradata
    decoder.thread_type = "SLICE"
    try:
        for coded in (*packets, None):
            packet = None if coded is None else av.Packet(coded.data)
            if packet is not None and coded is not None:
                packet.pts = packet.dts = coded.stamp
            for picture in decoder.decode(packet):
                if picture.pts == wanted.stamp and not picture.is_corrupt:
                    return np.ascontiguousarray(picture.to_ndarray(format="bgr24"), np.uint8)
    except (av.FFmpegError, ValueError) as error:
        log.debug("a picture cannot be decoded: %s", error)
    return None


class _Kept(io.BytesIO):
    """Outlives the container that writes to it."""

    def close(self) -> None:
        pass


def _muxed(run: _Run, packets: Sequence[_Coded], name: str, options: dict[str, str]) -> bytes:
    file = _Kept()

    def written(url: str, flags: int, _options: object) -> io.BytesIO:
        """What is there so far: the index is put in front of it."""
        return io.BytesIO(file.getvalue())

    container = av.open(file, "w", format=name, options=options, container_options=_BIT_EXACT, io_open=written)
    with container:
        stream = container.add_stream_from_template(run.template, opaque=True)
        stream.time_base = run.time_base
        if run.parameters:
            stream.codec_context.extradata = run.parameters
        if run.size_px is not None:
            stream.codec_context.width, stream.codec_context.height = run.size_px
        for coded, (shown, sent) in zip(packets, _stamps([coded.stamp for coded in packets]), strict=True):
            packet = av.Packet(coded.data)
            packet.stream, packet.time_base = stream, run.time_base
            packet.pts, packet.dts, packet.duration, packet.is_keyframe = shown, sent, coded.duration, coded.key
            container.mux_one(packet)
    return file.getvalue()


def _end_of(shown: Sequence[tuple[int, _Coded]], to_ns: int) -> int:
    """How many packets, in the order of decoding, show all that is to be seen up to a moment, and leave no gap."""
    times_ns = [mono_ns for mono_ns, _ in shown]
    needed = max(row for row, mono_ns in enumerate(times_ns) if row == 0 or mono_ns <= to_ns)
    newest_ns = max(times_ns[: needed + 1])  # what others hang on may be shown after them, and after the end
    return max(row for row, mono_ns in enumerate(times_ns) if mono_ns <= newest_ns) + 1


def _stamps(shown: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(pts, dts) from 0 on for the times of showing, in the order of decoding.

    Times of sending are made anew, as late as every picture bears: what cameras and recorders say of them is missing
    or wrong too often, and only their order matters.
    """
    ordered = sorted(shown)
    delay = max(sent - pts for sent, pts in zip(ordered, shown, strict=True))
    before = -delay - 1
    for pts, turn in zip(shown, ordered, strict=True):
        before = max(turn - ordered[0] - delay, before + 1)
        yield max(pts - ordered[0], before), before


def parameter_sets(data: bytes, codec: str) -> bytes:
    """The parameter sets that stand before the first slice of an access unit (Annex B), start codes included."""
    if codec not in _SETS:
        return b""
    unit, sets = data.find(_START), []
    while 0 <= unit < len(data) - 3:
        begin = unit + 3
        kind = data[begin] & 31 if codec == "h264" else data[begin] >> 1 & 63
        if kind in _SLICES[codec]:
            break
        unit = data.find(_START, begin)
        if kind in _SETS[codec]:
            sets.append(b"\0" + _START + data[begin : unit if unit >= 0 else None].rstrip(b"\0"))
    return b"".join(sets)
