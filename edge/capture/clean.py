"""A decoder that gives out nothing but what the camera saw.

Decoders hide damage: they copy what is missing from the picture before. After any sign of damage the decoder starts
afresh, and nothing comes out until a picture stands on its own again; what was held back is counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from edge.capture.gating import VideoPacket
from edge.capture.hardware import Decoders
from edge.capture.numbering import Numbering
from edge.ports import CaptureCounts

# One thread: a second one costs 20 MB a camera, and a picture's delay where it works on the next picture.
_THREADS = 1
# H.265: damage inside a picture is only reported when errors end the decoding; and pictures that carry a check sum
# (few cameras send one) are held to it. H.264's decoder marks damaged pictures without being asked.
_STRICT = {"hevc": {"err_detect": "explode+crccheck"}, "mjpeg": {"err_detect": "explode"}}


# A decoder that strictly refused so many keyframes, within so many packets (ten seconds of a usual camera), may be at
# odds with what the camera adds to its pictures. But damage then goes unseen: strictness is tried again all along.
_REFUSED_KEYFRAMES_LIMIT = 3
_REFUSED_LIMIT = 250
_TRIAL_PACKETS = 25
_PATIENCE = 1500  # packets without a true picture for any other reason; "smart" codecs send a keyframe in 1200


class CleanDecoder:
    """Takes a stream's packets in order and returns true pictures only.

    `strict` refuses what breaks the standard. Some cameras' extra units do, and of those nothing would ever be seen: a
    decoder that refused some keyframes in a row goes on without, until it is offered one that it need not refuse.
    A file is read without from the beginning.
    """

    def __init__(
        self,
        context: VideoCodecContext,
        counts: CaptureCounts,
        *,
        keyframes_only: bool,
        strict: bool,
        decoders: Decoders | None = None,
    ) -> None:
        """`decoders` make the stream's decoders; without, the software does."""
        self._decoders = decoders or Decoders(context)
        self._codec = context.name
        self._can_be_strict = strict and context.name in _STRICT
        self._strict = self._can_be_strict
        self._joins_at_keyframes = strict
        self._context = self._prepare(self._decoders.first())
        self._counts = counts
        self._keyframes_only = keyframes_only
        self._numbering = Numbering(context.extradata) if context.name == "h264" and not keyframes_only else None
        self._waiting = True  # for a keyframe: at the beginning, and after every fault
        self._damaged = False
        self._forgive()
        self._since_trial = 0

    @property
    def strict(self) -> bool:
        return self._strict

    @property
    def failure(self) -> str:
        """Why this stream gives nothing, once that is clear: "nothing-decodes", "no-keyframe", or "" ."""
        if self._refuses_all:
            return "nothing-decodes"
        if self._in_a_row >= _PATIENCE:
            return "nothing-decodes" if self._saw_keyframe else "no-keyframe"
        return ""

    def decode(self, packet: VideoPacket, *, lost: bool = False, alone: bool = False) -> Sequence[VideoFrame]:
        """The true pictures that become ready with this packet. `lost`: something before it is missing; `alone`: the
        next one shown to the decoder will be a keyframe, as this one is."""
        self._since_trial += 1
        alone |= self._keyframes_only
        wanted = packet.is_keyframe or not self._keyframes_only
        pictures = self._offer(packet, lost=lost, alone=alone) if wanted else []
        if pictures:
            self._forgive()
            return pictures
        self._in_a_row += self._waiting or self._damaged
        self._saw_keyframe |= packet.is_keyframe
        self._counts.withheld += self._damaged and wanted
        if self._strict and self._refuses_all:
            self._relent()
        return []

    def leave_out(self) -> Sequence[VideoFrame]:
        """What the decoder still holds, before packets that it will not be shown; the next is to be a keyframe."""
        pictures = self.finish()
        self._waiting = True
        if self._numbering is not None:
            self._numbering.forget()
        self._context = self._new_context()
        return pictures

    def finish(self) -> Sequence[VideoFrame]:
        """What the decoder still holds at the end of a file."""
        return [] if self._keyframes_only or self._damaged else self._true_pictures(None)

    @property
    def _refuses_all(self) -> bool:
        return self._in_a_row >= _REFUSED_LIMIT and self._refused_keyframes >= _REFUSED_KEYFRAMES_LIMIT

    def _offer(self, packet: VideoPacket, *, lost: bool, alone: bool) -> Sequence[VideoFrame]:
        missing = not alone and self._misses(packet)
        if lost or missing:
            self._start_afresh()
        return [] if lost or not self._may_follow(packet) else self._read(packet, alone=alone)

    def _misses(self, packet: VideoPacket) -> bool:
        return self._numbering is not None and self._numbering.misses(bytes(packet)) and not self._damaged

    def _may_follow(self, packet: VideoPacket) -> bool:
        """Whether the decoder may see this packet: while it waits, a keyframe or nothing.

        A whole keyframe comes out wrong (by 1.2 grey levels in FFmpeg 8) when a picture without its reference went in
        before it. Where an H.264 stream is refreshed piece by piece, its points of recovery count as keyframes.
        """
        if self._waiting and self._joins_at_keyframes and not packet.is_keyframe:
            return False
        self._waiting = False
        return True

    def _read(self, packet: VideoPacket, *, alone: bool) -> Sequence[VideoFrame]:
        if packet.is_keyframe and not self._strict and self._can_be_strict and self._since_trial >= _TRIAL_PACKETS:
            self._try_strictly(packet)
        pictures = self._true_pictures(packet)
        if alone:
            # Fed with nothing but keyframes a decoder holds back one or two for B-frames that never come.
            pictures = [*pictures, *self._true_pictures(None)]
            self._context.flush_buffers()
            self._waiting |= not self._keyframes_only
            if self._numbering is not None:
                self._numbering.forget()
        self._refused_keyframes += packet.is_keyframe and self._damaged and not pictures
        return pictures

    def _true_pictures(self, packet: VideoPacket | None) -> Sequence[VideoFrame]:
        if packet is not None and self._codec == "mjpeg" and not _is_whole_jpeg(bytes(packet)):
            self._start_afresh()
            return []
        try:
            pictures = self._context.decode(packet)
        except EOFError:
            return []
        except av.FFmpegError:
            self._decoders.refused(keyframe=packet is not None and packet.is_keyframe)
            self._start_afresh()
            return []
        if (packet is not None and packet.is_corrupt) or any(picture.is_corrupt for picture in pictures):
            self._start_afresh()
            return []
        if pictures:
            self._damaged = False
            self._decoders.showed(self._context)
        return pictures

    def _try_strictly(self, packet: VideoPacket) -> None:
        """On the side, so that nothing is lost where this keyframe, too, would be refused."""
        self._since_trial = 0
        self._strict = True
        context = self._new_context()
        try:
            context.decode(packet)
        except av.FFmpegError:
            self._strict = False
        else:
            self._context = self._new_context()

    def _relent(self) -> None:
        self._strict = False
        self._since_trial = 0
        self._forgive()
        self._context = self._new_context()

    def _forgive(self) -> None:
        self._in_a_row = self._refused_keyframes = 0  # since the last true picture, while one is waited for
        self._saw_keyframe = False

    def _start_afresh(self) -> None:
        """With a new decoder: flushing an old one leaves what a damaged parameter set or slice did to its state."""
        if not self._damaged:
            self._counts.corrupt += 1
        self._damaged = self._waiting = True
        if self._numbering is not None:
            self._numbering.forget()
        self._context = self._new_context()

    def _new_context(self) -> VideoCodecContext:
        return self._prepare(self._decoders.fresh())

    def _prepare(self, context: VideoCodecContext) -> VideoCodecContext:
        context.thread_count = _THREADS
        context.thread_type = "SLICE"
        if self._strict:
            context.options = _STRICT[self._codec]
        return context


def _is_whole_jpeg(data: bytes) -> bool:
    """Whether the end marker is there: the decoder paints what a cut picture lacks and says nothing."""
    return data.rstrip(b"\0\r\n").endswith(b"\xff\xd9")
