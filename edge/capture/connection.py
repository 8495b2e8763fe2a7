"""One connection to a live source, from opening to its end: what `live.py` makes again and again.

RTSP, HTTP or a file -> packets -> CleanDecoder -> pictures as they come, never decoded twice, converted on demand
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import av
import av.logging
from av.video.frame import VideoFrame

from edge.capture import sources
from edge.capture.clean import CleanDecoder
from edge.capture.gate import ALL, AUTO, KEYFRAMES, Decoder, Gate, Pace, chosen
from edge.capture.gating import Greys, VideoPacket, coded
from edge.capture.hardware import NONE
from edge.capture.lag import Lag
from edge.capture.packets import TIMELESS, decoders_of, info_of, open_video, why_ungated
from edge.capture.pixels import Converter
from edge.capture.reel import Reel
from edge.capture.timeline import Ticks, interval_ns
from edge.core.pixels import Pixels
from edge.core.types import NS_PER_S
from edge.errors import CaptureError, redact
from edge.ports import CaptureCounts, Decoding, SourceInfo

_FAILURE_WORDS = {
    "nothing-decodes": "sends pictures that cannot be decoded; set it to H.264, and check the network for losses",
    "no-keyframe": "sends no whole picture; set the camera's keyframe (I-frame) interval to 2 to 4 s",
}
_LOST = "RTP: missed"  # FFmpeg says that datagrams are missing to its log, and nowhere else
_REPORT_BYTES = 12  # of AVProducerReferenceTime: microseconds since 1970 as int64, flags as int32
_LATE_NS = 2 * NS_PER_S  # from here on packets are left out, up to a keyframe that is no later than the next number
_CAUGHT_UP_NS = NS_PER_S
_REORDERED_NS = NS_PER_S  # further back is another count of time
_REPORT_EVERY = 16  # packets: the camera's clock drifts slowly, and to look for its word in each costs time
# Who wants keyframes alone is in no hurry. To be woken for every packet costs more than to read it, so what comes
# within this time is read at once. The kernel holds it meanwhile: no more than a radio link holds back now and then.
_REST_S = 0.16
_WAITED_NS = NS_PER_S // 250  # to have waited that long for a packet means that no other is there yet
_UNTIMED = {"mpjpeg"}  # its stamps count pictures; only their arrival tells the time


class BrokenOffError(CaptureError):
    """A connection that was open is no more; `reason` is a short code."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A packet, whether something before it was lost on the way, and when it came."""

    packet: VideoPacket
    lost: bool
    mono_ns: int
    behind_ns: int


@dataclass(frozen=True, slots=True)
class Gating:
    """What a gate needs to know of a camera: see `edge.capture.gate.Gate`."""

    fps: float
    pace: Pace


@dataclass(frozen=True, slots=True)
class Picture:
    """One true picture, not yet converted. `pixels` is asked before the next one is, and is valid for as long as it is
    held."""

    stamp_ns: int | None  # the source's own time, None where it has none
    keyframe: bool
    size_px: tuple[int, int]
    pixels: Callable[[], Pixels]  # as a player would show it. Raises CaptureError


class Connection(Protocol):
    info: SourceInfo
    camera_ns: int | None  # wall time of the camera's own clock as told with what came last
    behind_ns: int  # for how long what came last had been waiting for us

    looks_back: bool  # whether what came last had been held back here, and more of it follows

    @property
    def decoding(self) -> Decoding:
        """What is decoded just now, and why."""
        ...

    def steps(self) -> Iterator[Picture | None]:
        """A step for each thing that arrives: a picture, or None where there is none to show yet.

        Raises BrokenOffError when the source breaks off; ends where a file ends.
        """
        ...

    def close(self) -> None: ...


class PacketConnection:
    """A stream or a file through PyAV. Raises CaptureError when it cannot be opened."""

    def __init__(
        self,
        source: str,
        *,
        transport: str,
        keyframes_only: bool,
        counts: CaptureCounts,
        mono_ns: Callable[[], int],
        strict: bool = True,
        reel: Reel | None = None,
        undecoded: bool = False,
        hwaccel: str = NONE,
        rest: Callable[[float], object] | None = None,
        gating: Gating | None = None,
    ) -> None:
        """`reel` takes every packet, shown or not. `undecoded`: a picture for each packet that only has its time.
        `rest(seconds)` waits, so that packets may gather; None where each is wanted at once. `gating`: a gate chooses
        what is decoded."""
        _listen_to_ffmpeg()
        self._source = source
        self._counts = counts
        self._mono_ns = mono_ns
        self._container, self._stream = open_video(source, transport=transport)
        self._decoders = decoders_of(source, self._container, self._stream, NONE if undecoded else hwaccel)
        self.info = replace(info_of(source, self._container, self._stream), decoder=self._decoders.runs_on)
        if sources.is_url(source):
            self.info = replace(self.info, fps=0.0)  # opening quickly leaves FFmpeg a guess: 30 for 15
        self.camera_ns: int | None = None
        self.behind_ns = 0
        self._lag = Lag() if sources.is_url(source) else None
        self._catching_up = False
        self._ungated = why_ungated(self._container, self._stream)
        if keyframes_only and self._ungated == TIMELESS:
            keyframes_only, self._asked = False, AUTO
        else:
            self._asked = AUTO if gating is not None else KEYFRAMES if keyframes_only else ALL
        self._decoder = CleanDecoder(
            self._stream.codec_context,
            counts,
            keyframes_only=keyframes_only,
            strict=strict,
            decoders=self._decoders,
        )
        self._gate = self._gate_for(gating) if gating is not None and not (undecoded or self._ungated) else None
        self._fed: _Arrived | None = None  # to the decoder, the last of all
        self._gate_ns = 0
        self.looks_back = False
        self._converter = Converter(source)
        self._untimed = self._container.format.name in _UNTIMED
        base = self._stream.time_base
        self._ticks = None if self._untimed or base is None else Ticks(base)
        self._reel = reel
        self._undecoded = undecoded
        self._rest = None if self._untimed else rest
        self._latest_ns: int | None = None  # stamp of an undecoded stream
        if reel is not None:
            reel.begin(self._stream, untimed=self._untimed)

    def steps(self) -> Iterator[Picture | None]:
        for packet, lost in self._packets():
            if self._undecoded:
                yield self._unseen(packet)
                continue
            late = self._is_late(packet)
            shown = False
            for picture in self._catch_up(packet) if late else self._decode(packet, lost=lost):
                shown = True
                yield self._show(picture)
            self._catching_up = late
            if self._decoder.failure:
                words = _FAILURE_WORDS[self._decoder.failure]
                raise BrokenOffError(f"{redact(self._source)}: {words}", reason=self._decoder.failure)
            if not shown:
                yield None
        for picture in () if self._undecoded else self._finish():
            yield self._show(picture)

    @property
    def decoding(self) -> Decoding:
        return chosen(self._asked, self._gate, ungated=self._ungated)

    def close(self) -> None:
        self._container.close()
        if self._gate is not None:
            self._gate.close()

    def _is_late(self, packet: VideoPacket) -> bool:
        """Whether we are so far behind that this packet is better left out; then so is all up to a keyframe."""
        if self.behind_ns > _LATE_NS:
            return True
        return self._catching_up and not (packet.is_keyframe and self.behind_ns < _CAUGHT_UP_NS)

    def _catch_up(self, packet: VideoPacket) -> Sequence[VideoFrame]:
        self._counts.skipped += packet.is_keyframe or self.decoding.mode != KEYFRAMES
        if self._catching_up:
            return []
        self._catching_up = True
        if self._gate is not None:
            self._gate.leave_out()
        return self._decoder.leave_out()

    def _decode(self, packet: VideoPacket, *, lost: bool) -> Iterator[VideoFrame]:
        if self._gate is None:
            yield from self._decoder.decode(packet, lost=lost)
            return
        now_ns, behind_ns = self._mono_ns(), self.behind_ns
        sent_ns = self._sent_ns(packet)
        self._gate_ns = now_ns if sent_ns is None else sent_ns
        arrived = _Arrived(packet, lost, now_ns, behind_ns)
        offered = coded(packet, arrived, sent_ns=self._gate_ns, shown_ns=self._in_ns(packet.pts))
        looks_back = False  # at any of what is shown
        for picture in self._gate.offer(offered):
            fed = self._fed
            if fed is not None:
                self.looks_back = fed is not arrived and self._lag is not None  # a file is played in its own time
                self.behind_ns = fed.behind_ns + self._mono_ns() - fed.mono_ns if self.looks_back else behind_ns
            if self.looks_back:
                looks_back, self.camera_ns = True, None  # which was told with the packet that came now
            yield picture
        if looks_back and self._lag is not None:
            self._lag.busy()
        self.looks_back, self.behind_ns = False, behind_ns

    def _finish(self) -> Iterator[VideoFrame]:
        yield from self._decoder.finish() if self._gate is None else self._gate.finish()

    def _gate_for(self, gating: Gating) -> Gate[_Arrived, VideoFrame]:
        def decode(arrived: _Arrived, *, alone: bool) -> Sequence[VideoFrame]:
            self._fed = arrived
            return self._decoder.decode(arrived.packet, lost=arrived.lost, alone=alone)

        decoder = Decoder(
            alone=partial(decode, alone=True),
            follow=partial(decode, alone=False),
            leave=self._decoder.leave_out,
            stamp_ns=self._stamp_ns,
            grey=Greys().of,
        )
        return Gate(decoder, self._counts, fps=gating.fps, pace=gating.pace)

    def _packets(self) -> Iterator[tuple[VideoPacket, bool]]:
        """Packets, each with whether something before it was lost on the way."""
        waiting = self._container.demux(self._stream)
        rested_ns = 0
        while True:
            asked_ns = self._mono_ns()
            with av.logging.Capture() as said:
                try:
                    packet = next(waiting, None)
                except (av.FFmpegError, OSError) as error:
                    raise self._broken_off(error) from error
            if packet is None:
                return
            if packet.size == 0:  # PyAV's own sign of the end
                continue
            now_ns = self._mono_ns()
            self._counts.read += 1
            self._counts.bytes += packet.size
            self.camera_ns = _camera_ns(packet) if self._counts.read % _REPORT_EVERY == 0 else None
            if self._reel is not None:
                self._reel.add(packet, mono_ns=now_ns)
            waited_ns = now_ns - asked_ns
            if self._lag is not None:
                self.behind_ns = self._lag.of(
                    self._sent_ns(packet), now_ns=now_ns, waited_ns=waited_ns, rested_ns=rested_ns
                )
            yield packet, bool(said) and any(_LOST in message for _, _, message in said)
            rested_ns = self._gather(waited_ns)

    def _gather(self, waited_ns: int) -> int:
        """Let packets gather where nobody waits for them; returns for how long."""
        if self._rest is None or waited_ns < _WAITED_NS or not self._is_patient:
            return 0
        begin_ns = self._mono_ns()
        self._rest(_REST_S)
        return self._mono_ns() - begin_ns

    @property
    def _is_patient(self) -> bool:
        """Whether pictures are so rare that nobody minds when they come a little later."""
        return self._asked == KEYFRAMES or self._undecoded or (self._gate is not None and self._gate.closed)

    def _show(self, picture: VideoFrame) -> Picture:
        size_px = (picture.width, picture.height)
        if size_px != (self.info.width_px, self.info.height_px):
            self.info = replace(self.info, width_px=picture.width, height_px=picture.height)
        if self.info.decoder != self._decoders.runs_on:
            self.info = replace(self.info, decoder=self._decoders.runs_on)
        return Picture(
            stamp_ns=self._stamp_ns(picture),
            keyframe=bool(picture.key_frame),
            size_px=size_px,
            pixels=lambda: self._pixels(picture),
        )

    def _unseen(self, packet: VideoPacket) -> Picture | None:
        """The time of a packet whose picture is later than all before it: it is sent as soon as it is taken, and those
        that are shown before it are sent after it."""
        stamp_ns = self._in_ns(packet.dts if packet.pts is None else packet.pts)
        if stamp_ns is not None and self._latest_ns is not None and 0 <= self._latest_ns - stamp_ns < _REORDERED_NS:
            return None
        self._latest_ns = stamp_ns
        size_px = (self.info.width_px, self.info.height_px)
        return Picture(stamp_ns, packet.is_keyframe, size_px, pixels=_no_pixels)

    def _sent_ns(self, packet: VideoPacket) -> int | None:
        """In the order of sending; that of showing goes to and fro."""
        return self._in_ns(packet.pts if packet.dts is None else packet.dts)

    def _stamp_ns(self, picture: VideoFrame) -> int | None:
        return self._in_ns(picture.pts)

    def _in_ns(self, stamp: int | None) -> int | None:
        return None if stamp is None or self._ticks is None else self._ticks.ns(stamp)

    def _pixels(self, picture: VideoFrame) -> Pixels:
        try:
            return self._converter.pixels(picture)
        except CaptureError as error:
            raise BrokenOffError(str(error), reason="broke-off") from error

    def _broken_off(self, error: Exception) -> BrokenOffError:
        if isinstance(error, av.ExitError | TimeoutError):
            where = redact(self._source)
            return BrokenOffError(f"{where}: sent nothing more; check the camera and its network", reason="no-data")
        return BrokenOffError(str(sources.broke_off(self._source, str(error))), reason="broke-off")


def _no_pixels() -> Pixels:
    raise CaptureError("a packet that was not decoded has no pixels; give `undecoded` up to have some")


class PacedFile(PacketConnection):
    """A file played at its own pace, as a camera to try things with. `pause(seconds)` waits."""

    def __init__(
        self,
        source: str,
        *,
        keyframes_only: bool,
        counts: CaptureCounts,
        mono_ns: Callable[[], int],
        pause: Callable[[float], bool],
        reel: Reel | None = None,
        undecoded: bool = False,
        hwaccel: str = NONE,
        gating: Gating | None = None,
    ) -> None:
        super().__init__(
            source,
            transport="",
            keyframes_only=keyframes_only,
            counts=counts,
            mono_ns=mono_ns,
            strict=False,
            reel=reel,
            undecoded=undecoded,
            hwaccel=hwaccel,
            gating=gating,
        )
        self._pause = pause

    def steps(self) -> Iterator[Picture | None]:
        begin_ns: int | None = None
        shown_ns = 0  # of a raw stream, which has no times: as evenly as it says
        for picture in super().steps():
            if picture is not None:
                stamp_ns = shown_ns if picture.stamp_ns is None else picture.stamp_ns
                shown_ns = stamp_ns + interval_ns(self.info.fps)
                begin_ns = self._mono_ns() - stamp_ns if begin_ns is None else begin_ns
                early_ns = begin_ns + stamp_ns - self._mono_ns()
                if early_ns > 0:
                    self._pause(early_ns / NS_PER_S)
            yield picture
        self._pause(interval_ns(self.info.fps) / NS_PER_S)  # the last picture is shown as long as the others


def _camera_ns(packet: VideoPacket) -> int | None:
    """The camera's wall time at this packet, from RTCP sender reports; None until the first."""
    if not packet.has_sidedata("prft"):
        return None
    told = bytes(packet.get_sidedata("prft"))
    if len(told) < _REPORT_BYTES:
        return None
    return int.from_bytes(told[:8], "little", signed=True) * 1000


def _listen_to_ffmpeg() -> None:
    """FFmpeg's warnings reach us; those that nobody here waits for go nowhere."""
    if av.logging.get_level() != av.logging.WARNING:
        av.logging.set_level(av.logging.WARNING)
        av.logging.set_skip_repeated(False)
        logger = logging.getLogger("libav")
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
