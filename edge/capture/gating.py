"""What the gate needs of PyAV's packets and pictures: sizes, times, and small grey copies."""

from __future__ import annotations

from typing import TypeAlias, TypeVar

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from edge.capture.activity import LOOK_PX, payload_bytes
from edge.capture.gate import Coded
from edge.core.types import UInt8

VideoPacket: TypeAlias = "av.Packet[VideoStream]"
P = TypeVar("P")


class Greys:
    """Makes small grey pictures of decoded ones, for whoever compares them."""

    def __init__(self) -> None:
        self._converter = VideoReformatter()
        self._quarter_turns: int | None = None  # by the file's header; only its first decoder knows

    def of(self, picture: VideoFrame) -> UInt8 | None:
        """(180, 320), upright, straight from the decoder's planes; None where it cannot be converted."""
        if self._quarter_turns is None:
            self._quarter_turns = round(picture.rotation / 90) % 4
        width, height = LOOK_PX[::-1] if self._quarter_turns % 2 else LOOK_PX
        try:
            small = self._converter.reformat(picture, width, height, "gray", interpolation="AREA", threads=1)
        except (av.FFmpegError, ValueError):
            return None
        return np.ascontiguousarray(np.rot90(small.to_ndarray(), self._quarter_turns), np.uint8)


def coded(packet: VideoPacket, carried: P, *, sent_ns: int, shown_ns: int | None) -> Coded[P]:
    """The packet as the gate takes it; `carried` is what the decoder is to be given of it."""
    return Coded(
        carried=carried,
        key=packet.is_keyframe,
        sent_ns=sent_ns,
        shown_ns=sent_ns if shown_ns is None else shown_ns,
        size=payload_bytes(memoryview(packet)),
    )
