"""Which picture of a source to show to somebody who wants to draw zones on it."""

from __future__ import annotations

from edge.core.types import NS_PER_S, Frame
from edge.ports import Capture

LOOK_FPS = 25.0  # at which a capture for `first_with_something` gives its frames
_LOOK_NS = 2 * NS_PER_S  # a recording may fade in from black: that long we look for a picture with something in it
_FLAT_LEVELS = 3.0  # a picture whose grey levels deviate by less shows nothing


def first_with_something(capture: Capture) -> Frame | None:
    """The first frame that shows something, else the very first; None where there is none."""
    first: Frame | None = None
    for frame in capture:
        first = first or frame
        if float(frame.bgr.std(axis=(0, 1)).max()) >= _FLAT_LEVELS:
            return frame
        if frame.media_ns >= first.media_ns + _LOOK_NS:
            break
    return first


def second(capture: Capture) -> Frame | None:
    """The second frame: of a capture at one frame in N seconds the one at N seconds. None where it ends before."""
    frames = iter(capture)
    next(frames, None)
    return next(frames, None)
