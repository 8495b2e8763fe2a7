"""The default capture: packets, decoding and true timestamps through PyAV (FFmpeg's libraries).

    file -> demux -> packet -> decode -> sample by time -> Frame

Nothing is converted here: a frame's pixels are when somebody asks for them. The file is read at the reader's pace:
nothing is dropped, nothing runs ahead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from edge.capture import sources
from edge.capture.gate import ALL, AUTO, KEYFRAMES, WATCHES_DWELLS, Coded, Decoder, Gate, Pace, chosen
from edge.capture.gating import Greys, VideoPacket, coded
from edge.capture.hardware import NONE, Decoders, tell
from edge.capture.pixels import Converter, DecodedPixels
from edge.capture.reading import Reading
from edge.capture.reel import Reel
from edge.capture.timeline import FrameOrigin
from edge.core.types import NS_PER_S
from edge.ports import Decoding, SourceInfo

TIMELESS = "a raw stream has no times, so every picture counts"
_NO_TIMES = 0x80  # AVFMT_NOTIMESTAMPS
_DECODER_THREADS = 2  # more cost memory for each camera (24 MB a thread at 1080p) and gain nothing at street rates
_REFUSED_LIMIT = 250  # packets without one picture: ten seconds of a usual camera

_NETWORK_LIMIT_S = (5.0, 2.5)  # open, read; FFmpeg lets the second pass twice before it gives up: 5 s, measured
# Opening waits for the first picture (32 KiB of it) and not for enough of them to guess at a rate: 0.1 s, not 2 s.
# `nobuffer` would be quicker still and throws that first picture, the keyframe, away.
_NETWORK_OPTIONS = {"probesize": "32768", "analyzeduration": "300000"}
TCP = "tcp"
UDP = "udp"
_TRANSPORTS = {
    # A camera in a hurry drops RTP packets over TCP too; with a queue FFmpeg says so, without it is silent.
    TCP: {"rtsp_transport": "tcp", "reorder_queue_size": "8"},
    # A late datagram is waited for 0.3 s; a keyframe of 4 MiB fits the buffer while Python does something else.
    UDP: {"rtsp_transport": "udp", "max_delay": "300000", "reorder_queue_size": "500", "buffer_size": "4194304"},
}
_FIRST_YEAR = 1990  # a recorder whose clock was never set writes 1904 or 1970

# Formats whose header says how long they are. In others FFmpeg guesses from the size of the file.
_DECLARES_LENGTH = {"mov", "mp4", "matroska", "webm", "avi", "flv", "asf"}
_STORES_ROTATION = {"mov", "mp4", "matroska", "webm"}


def inspect(source: str) -> SourceInfo:
    """What a clip says of itself, its pictures not read. Raises CaptureError."""
    container, stream = open_video(source)
    with container:
        return info_of(source, container, stream)


class PacketCapture(Reading[VideoFrame]):
    """One clip's frames, thinned to `fps`. `decode`: all, keyframes, or auto, where a gate chooses by `pace`.

    Raises CaptureError when the source cannot be opened, and while iterating when nothing in it can be decoded. A file
    that breaks off gives what it has and sets `counts.incomplete`. `reel` keeps the last packets.
    `hwaccel`: see `hardware.py`; `info.decoder` says what became of it.
    """

    def __init__(
        self,
        source: str,
        *,
        camera: str,
        fps: float,
        decode: str = ALL,
        origin: FrameOrigin,
        reel: Reel | None = None,
        hwaccel: str = NONE,
        pace: Pace = WATCHES_DWELLS,
    ) -> None:
        if decode not in (ALL, KEYFRAMES, AUTO):
            raise ValueError(f"decode must be all, keyframes or auto, got {decode!r}")
        self._container, self._stream = open_video(source)
        self._decoders = decoders_of(source, self._container, self._stream, hwaccel)
        info = info_of(source, self._container, self._stream)
        super().__init__(source, camera=camera, fps=fps, origin=origin, info=info)
        self._hwaccel = hwaccel
        self._note_decoder()
        self._decoder = self._threaded(self._decoders.first())
        self._converter = Converter(source)
        # AVI stores no timestamps: those of its frames follow the order of decoding, and only the packets' are in line.
        self._stamped_by_packet = self._container.format.name == "avi"
        self._reel = reel
        if reel is not None:
            reel.begin(self._stream)
        self._ungated = why_ungated(self._container, self._stream)
        self._asked = AUTO if self._ungated == TIMELESS and decode == KEYFRAMES else decode
        self._gate = self._gate_for(fps, pace) if decode == AUTO and not self._ungated else None
        self._sent_ns = 0
        self._last_packet_torn = False
        self._first_dts: int | None = None
        self._last_dts: int | None = None

    def _release(self) -> None:
        # Only this waits for the decoder's threads without Python's lock. One that has something to log wants that
        # lock, and would never get it from whoever frees the decoder.
        self._decoder.flush_buffers()
        self._container.close()
        if self._gate is not None:
            self._gate.close()

    def _is_keyframe(self, picture: VideoFrame) -> bool:
        return bool(picture.key_frame)

    def _pictures(self) -> Iterator[VideoFrame]:
        """Every picture that the decoder gives back, in the order of showing."""
        for packet in self._packets():
            if self._gate is not None:
                yield from self._gate.offer(self._coded(packet))
            elif self._asked == KEYFRAMES:
                if packet.is_keyframe:
                    yield from self._decode_alone(packet)
            else:
                yield from self._decode(packet)
            if self.counts.decoded == 0 and self.counts.corrupt >= _REFUSED_LIMIT:
                raise sources.nothing_decodes(self._source)
        if self._gate is not None:
            yield from self._gate.finish()
        elif self._asked != KEYFRAMES:
            yield from self._decode(None)

    def _packets(self) -> Iterator[VideoPacket]:
        try:
            for packet in self._container.demux(self._stream):
                if packet.size == 0:  # PyAV's own sign of the end
                    continue
                self.counts.read += 1
                self._last_packet_torn = packet.is_corrupt
                self._last_dts = packet.dts if packet.dts is not None else self._last_dts
                self._first_dts = self._last_dts if self._first_dts is None else self._first_dts
                if self._reel is not None:
                    self._reel.add(packet)
                yield packet
        except (av.FFmpegError, OSError) as error:
            if sources.is_url(self._source):
                raise sources.broke_off(self._source, str(error)) from error
            self.counts.incomplete = True

    def _decode(self, packet: VideoPacket | None) -> Sequence[VideoFrame]:
        """The pictures that become ready with this packet, or at the end (None); none when the decoder refuses it."""
        try:
            pictures = self._decoder.decode(packet)
        except EOFError:
            return []
        except av.FFmpegError:
            self.counts.corrupt += 1
            if packet is None or not self._decoders.refused(keyframe=packet.is_keyframe):
                return []
            self._decoder = self._threaded(self._decoders.fresh())
            self._note_decoder()
            return self._decode(packet)
        if pictures and self._decoders.on_device:
            self._decoders.showed(self._decoder)
            self._note_decoder()
        return pictures

    def _note_decoder(self) -> None:
        """The log tells when it is another than before."""
        if self.info.decoder != self._decoders.runs_on:
            self.info = replace(self.info, decoder=self._decoders.runs_on)
            tell(self._camera, self._hwaccel, self._decoders.runs_on)

    def _threaded(self, decoder: VideoCodecContext) -> VideoCodecContext:
        """A device gains nothing by threads, which tell of a refusal one packet late."""
        decoder.thread_count = 1 if self._decoders.on_device else _DECODER_THREADS
        decoder.thread_type = "AUTO"
        return decoder

    def _decode_alone(self, packet: VideoPacket) -> Sequence[VideoFrame]:
        # Fed with nothing but keyframes a decoder holds back one or two for B-frames that never come.
        return [*self._decode(packet), *self._leave()]

    def _leave(self) -> Sequence[VideoFrame]:
        pictures = self._decode(None)
        self._decoder.flush_buffers()
        return pictures

    def _gate_for(self, fps: float, pace: Pace) -> Gate[VideoPacket, VideoFrame]:
        decoder = Decoder(
            alone=self._decode_alone, follow=self._decode, leave=self._leave, stamp_ns=self._stamp_ns, grey=Greys().of
        )
        return Gate(decoder, self.counts, fps=fps, pace=pace)

    def _coded(self, packet: VideoPacket) -> Coded[VideoPacket]:
        """A raw stream has no times of its own: its packets are taken to be evenly spaced."""
        sent = packet.pts if packet.dts is None else packet.dts
        sent_ns = self._in_ns(sent)
        self._sent_ns = self._sent_ns + self._timeline.interval_ns if sent_ns is None else sent_ns
        return coded(packet, packet, sent_ns=self._sent_ns, shown_ns=self._in_ns(packet.pts))

    def _placed(self, picture: VideoFrame, mono_ns: int) -> None:
        if self._reel is not None:
            self._reel.place(self._stamp_ns(picture), mono_ns, (picture.width, picture.height))

    def _stamp_ns(self, picture: VideoFrame) -> int | None:
        return self._in_ns(picture.dts if self._stamped_by_packet or picture.pts is None else picture.pts)

    def _in_ns(self, stamp: int | None) -> int | None:
        if stamp is None or self._stream.time_base is None:
            return None
        return round(stamp * self._stream.time_base * NS_PER_S)

    def _pixels(self, picture: VideoFrame) -> DecodedPixels:
        return self._converter.pixels(picture)

    def _was_cut(self) -> bool:
        if not _declares_length(self._container):
            return False
        declared_s = max(self.info.duration_s, _counted_s(self._container, self._stream))
        short = sources.ended_early(seen_s=self._end_ns / NS_PER_S, declared_s=declared_s)
        return short or self._last_packet_torn

    @property
    def decoding(self) -> Decoding:
        """What of its pictures is decoded, and why."""
        return chosen(self._asked, self._gate, ungated=self._ungated)

    @property
    def _end_ns(self) -> int:
        """How far the source was read: to the last picture, or where most are skipped, to the last packet."""
        skips = self._asked == KEYFRAMES or self._gate is not None
        if not skips or self._first_dts is None or self._last_dts is None:
            return self._timeline.end_ns
        span = (self._last_dts - self._first_dts) * (self._stream.time_base or 0) * NS_PER_S
        return max(self._timeline.end_ns, round(span) + self._timeline.interval_ns)


def open_video(source: str, *, transport: str = TCP) -> tuple[InputContainer, VideoStream]:
    """The container and its video track, with a decoder that exists. Raises CaptureError."""
    address = sources.check_source(source)
    try:
        if sources.is_url(source):
            options = _NETWORK_OPTIONS | (_TRANSPORTS[transport] if sources.is_rtsp(source) else {})
            container = av.open(address, timeout=_NETWORK_LIMIT_S, options=options)
        else:
            container = av.open(address)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise sources.unreadable(source, str(error)) from error
    # A cover picture in a sound file is a video track of one frame.
    tracks = [track for track in container.streams.video if not track.disposition & Disposition.attached_pic]
    if not tracks:
        container.close()
        raise sources.no_picture(source)
    if tracks[0].codec_context is None:
        container.close()
        raise sources.unknown_codec(source)
    return container, tracks[0]


def decoders_of(source: str, container: InputContainer, stream: VideoStream, hwaccel: str) -> Decoders:
    """A clip that is stored turned is for the software: only the stream's own decoder knows how."""
    turnable = not sources.is_url(source) and bool(_formats(container) & _STORES_ROTATION)
    decoders = Decoders(stream.codec_context, hwaccel)
    if decoders.on_device and turnable and _rotation(source):
        decoders.go_without("the clip is stored turned")
    return decoders


def why_ungated(container: InputContainer, stream: VideoStream) -> str:
    """Why every picture must be decoded, "" where keyframes may be enough.

    An AVI's index also marks pictures that hang on others (DivX recorders), and what is decoded from such a one on is
    no picture that anybody saw. In a raw stream, without times, only all pictures tell when each of them was.
    """
    if stream.codec_context.name == "mjpeg":
        return ""
    if container.format.flags & _NO_TIMES:
        return TIMELESS
    return "an AVI marks pictures as keyframes that are none" if container.format.name == "avi" else ""


def info_of(source: str, container: InputContainer, stream: VideoStream) -> SourceInfo:
    width_px, height_px = stream.codec_context.width, stream.codec_context.height
    if not sources.is_url(source) and _formats(container) & _STORES_ROTATION and round(_rotation(source) / 90) % 2:
        width_px, height_px = height_px, width_px
    return SourceInfo(
        width_px=width_px,
        height_px=height_px,
        fps=float(stream.average_rate or stream.guessed_rate or 0),
        codec=stream.codec_context.name,
        duration_s=_duration_s(container, stream),
        frames_declared=stream.frames,
        created_wall_ns=_created_wall_ns(container.metadata) or _created_wall_ns(stream.metadata),
    )


def _formats(container: InputContainer) -> set[str]:
    return set(container.format.name.split(","))


def _declares_length(container: InputContainer) -> bool:
    return bool(_formats(container) & _DECLARES_LENGTH)


def _duration_s(container: InputContainer, stream: VideoStream) -> float:
    """The video track's own length: the container's may be that of a longer sound track. 0 where it is unknown."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    tagged_s = _clock_s(stream.metadata.get("DURATION", ""))  # Matroska keeps a track's length as a tag
    return tagged_s or (container.duration or 0) / av.time_base


def _counted_s(container: InputContainer, stream: VideoStream) -> float:
    """The length that an AVI's count of frames stands for: FFmpeg fits the duration of a cut one to the file's size."""
    if container.format.name != "avi" or not stream.average_rate:
        return 0.0
    return float(stream.frames / stream.average_rate)


def _clock_s(text: str) -> float:
    """`00:01:30.500000000` in seconds; 0 for anything else."""
    try:
        hours, minutes, seconds = (float(part) for part in text.split(":"))
    except ValueError:
        return 0.0
    return hours * 3600 + minutes * 60 + seconds


def _created_wall_ns(metadata: Mapping[str, str]) -> int:
    """The creation time in nanoseconds since 1970, 0 if unknown. Without a zone it is UTC: so mp4 has it."""
    try:
        moment = datetime.fromisoformat(metadata.get("creation_time", ""))
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if moment.year < _FIRST_YEAR:
        return 0
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since // timedelta(microseconds=1)) * 1000


def _rotation(source: str) -> int:
    """Degrees by which the first picture is shown turned: only a decoded frame tells."""
    try:
        with av.open(sources.check_source(source)) as container:
            first = next(container.decode(video=0), None)
            return 0 if first is None else round(first.rotation)
    except (av.FFmpegError, OSError):
        return 0
