"""What every reader of recordings shares: read once, each picture placed in time, and thinned to the analysis rate.

A reader says where its pictures come from, what stamp each claims, and what the pixels of one that is taken are; the
rest is here. It opens nothing and decodes nothing itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, TypeVar

from edge.capture import sources
from edge.capture.sampling import Sampler
from edge.capture.timeline import FrameOrigin, Timeline, interval_ns
from edge.core.pixels import Pixels
from edge.core.types import Frame
from edge.errors import CaptureError, redact
from edge.ports import CaptureCounts, SourceInfo

Picture = TypeVar("Picture")


class Reading(ABC, Generic[Picture]):
    """One clip's frames, thinned to `fps`; satisfies `edge.ports.Capture`."""

    def __init__(self, source: str, *, camera: str, fps: float, origin: FrameOrigin, info: SourceInfo) -> None:
        self.info = info
        self.counts = CaptureCounts()
        self._source = source
        self._camera = camera
        self._origin = origin
        self._sampler = Sampler(fps)
        self._timeline = Timeline(interval_ns(info.fps))
        self._started = False
        self._closed = False

    @property
    def repaired(self) -> int:
        """Timestamps so far that were missing or did not go forward."""
        return self._timeline.repaired

    @property
    def following(self) -> FrameOrigin:
        """Where the next recording of this camera begins when it follows without a gap."""
        return self._origin.after(duration_ns=self._end_ns, frames=self.counts.yielded)

    def __iter__(self) -> Iterator[Frame]:
        if self._started or self._closed:
            raise CaptureError(f"{redact(self._source)}: a capture is read once; open it again")
        self._started = True
        return self._frames()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._release()

    def _frames(self) -> Iterator[Frame]:
        for picture in self._pictures():
            self.counts.decoded += 1
            media_ns = self._timeline.place(self._stamp_ns(picture))
            self._placed(picture, self._origin.mono_ns + media_ns)
            if self._sampler.takes(media_ns):
                frame = Frame(
                    camera=self._camera,
                    index=self._origin.index + self.counts.yielded,
                    mono_ns=self._origin.mono_ns + media_ns,
                    wall_ns=self._origin.wall_ns + media_ns,
                    picture=self._pixels(picture),
                    keyframe=self._is_keyframe(picture),
                    media_ns=media_ns,
                )
                self.counts.yielded += 1
                yield frame
                if self._closed:
                    return
        if self.counts.decoded == 0:
            raise sources.nothing_decodes(self._source)
        self.counts.incomplete |= self._was_cut()

    @property
    def _end_ns(self) -> int:
        """How far the source was read."""
        return self._timeline.end_ns

    def _is_keyframe(self, picture: Picture) -> bool:
        return False

    def _placed(self, picture: Picture, mono_ns: int) -> None:  # not every reader keeps packets
        """A picture was given its time, whether it is taken or not."""

    @abstractmethod
    def _pictures(self) -> Iterator[Picture]:
        """Every decoded picture in the order of showing; keeps `counts.read` and `counts.corrupt`."""

    @abstractmethod
    def _stamp_ns(self, picture: Picture) -> int | None:
        """The time that the source claims for a picture, None where it claims none."""

    @abstractmethod
    def _pixels(self, picture: Picture) -> Pixels:
        """As a player would show it; valid for as long as it is held. Raises CaptureError."""

    @abstractmethod
    def _was_cut(self) -> bool:
        """Whether the source ended before it said it would."""

    @abstractmethod
    def _release(self) -> None: ...
