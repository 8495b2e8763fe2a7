"""A decoder that gives out nothing but what the camera saw.

Decoders hide damage: they copy what is missing from the picture before. After any sign of damage the decoder starts
afresh, and nothing comes out until a picture stands on its own again; what was held back is counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from edge.capture.numbering import Numbering
from edge.capture.packets import VideoPacket
from edge.ports import CaptureCounts

# One thread: a second one costs 20 MB a camera, and a picture's delay where it works on the next picture.
_THREADS = 1
# H.265: damage inside a picture is only reported when errors end the decoding; and pictures that carry a check sum
# (few cameras send one) are held to it. H.264's decoder marks damaged pictures without being asked.
_STRICT = {"hevc": {"err_detect": "explode+crccheck"}, "mjpeg": {"err_detect": "explode"}}


class CleanDecoder:
    """Takes a stream's packets in order and returns true pictures only.

    `strict` refuses what breaks the standard; some cameras' extra units do, and with them nothing is ever decoded:
    `refuses_all` says so, and the next connection is made without.
    """

    def __init__(
        self, context: VideoCodecContext, counts: CaptureCounts, *, keyframes_only: bool, strict: bool
    ) -> None:
        self._extradata = context.extradata
        self._codec = context.codec
        self._strict = strict
        self._context = self._prepare(context)
        self._counts = counts
        self._keyframes_only = keyframes_only
        self._numbering = Numbering(context.extradata) if context.name == "h264" and not keyframes_only else None
        self._waiting = True  # for a keyframe: at the beginning, and after every fault
        self._damaged = False
        self._in_a_row = 0

    @property
    def refused_in_a_row(self) -> int:
        """Packets since the last true picture, while one is waited for."""
        return self._in_a_row

    def decode(self, packet: VideoPacket, *, lost: bool = False) -> Sequence[VideoFrame]:
        """The true pictures that become ready with this packet. `lost`: something before it is missing."""
        if self._keyframes_only:
            return self._decode_alone(packet) if packet.is_keyframe else []
        missing = self._numbering is not None and self._numbering.misses(bytes(packet)) and not self._damaged
        if lost or missing:
            self._start_afresh()
        pictures = [] if lost or not self._may_follow(packet) else self._true_pictures(packet)
        if not pictures:
            self._in_a_row += self._waiting or self._damaged
            self._counts.withheld += self._damaged
        return pictures

    def _may_follow(self, packet: VideoPacket) -> bool:
        """Whether the decoder may see this packet: while it waits, a keyframe or nothing.

        A whole keyframe comes out wrong (by 1.2 grey levels in FFmpeg 8) when a picture without its reference went in
        before it. Streams that are refreshed piece by piece may have none: they are read without `strict`.
        """
        if self._waiting and self._strict and not packet.is_keyframe:
            return False
        self._waiting = False
        return True

    def finish(self) -> Sequence[VideoFrame]:
        """What the decoder still holds at the end of a file."""
        return [] if self._keyframes_only or self._damaged else self._true_pictures(None)

    def _decode_alone(self, packet: VideoPacket) -> Sequence[VideoFrame]:
        # Fed with nothing but keyframes a decoder holds back one or two for B-frames that never come.
        pictures = [*self._true_pictures(packet), *self._true_pictures(None)]
        self._context.flush_buffers()
        return pictures

    def _true_pictures(self, packet: VideoPacket | None) -> Sequence[VideoFrame]:
        if packet is not None and self._context.name == "mjpeg" and not _is_whole_jpeg(bytes(packet)):
            self._start_afresh()
            return []
        try:
            pictures = self._context.decode(packet)
        except EOFError:
            return []
        except av.FFmpegError:
            self._start_afresh()
            return []
        if (packet is not None and packet.is_corrupt) or any(picture.is_corrupt for picture in pictures):
            self._start_afresh()
            return []
        if pictures:
            self._damaged = False
            self._in_a_row = 0
        return pictures

    def _start_afresh(self) -> None:
        """With a new decoder: flushing an old one leaves what a damaged parameter set or slice did to its state."""
        if not self._damaged:
            self._counts.corrupt += 1
        self._damaged = self._waiting = True
        if self._numbering is not None:
            self._numbering.forget()
        self._context = self._new_context()

    def _new_context(self) -> VideoCodecContext:
        context = av.CodecContext.create(self._codec, "r")
        assert isinstance(context, VideoCodecContext)
        context.extradata = self._extradata
        return self._prepare(context)

    def _prepare(self, context: VideoCodecContext) -> VideoCodecContext:
        context.thread_count = _THREADS
        context.thread_type = "SLICE"
        if self._strict:
            context.options = _STRICT.get(context.name, {})
        return context


def _is_whole_jpeg(data: bytes) -> bool:
    """Whether the end marker is there: the decoder paints what a cut picture lacks and says nothing."""
    return data.rstrip(b"\0\r\n").endswith(b"\xff\xd9")
