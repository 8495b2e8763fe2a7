"""Thinning a source to the analysis rate by its timestamps, never by counting frames."""

from __future__ import annotations

from edge.core.types import NS_PER_S

_TIE_NS = 1000  # frames equally near to a grid point: the later one, whatever the reader's rounding


class Sampler:
    """Takes the frame nearest to each point of a grid of 1/fps: a 29.97 fps file gives 5.0 frames a second at 5.

    A source no faster than `fps` keeps all its frames, also where its timestamps are rounded to milliseconds. After
    a gap the grid begins again at the first frame behind it: the rate is never exceeded to catch up.
    """

    def __init__(self, fps: float) -> None:
        if not fps > 0:
            raise ValueError(f"fps must be above 0, got {fps}")
        self._step_ns = NS_PER_S / fps
        self._due_ns = 0.0
        self._previous_ns: int | None = None

    def takes(self, media_ns: int) -> bool:
        """Whether the frame at this time is analysed. Call once a frame, times ascending."""
        if self._previous_ns is None:
            self._due_ns = media_ns
            slack_ns = 0.0
        else:
            # A frame that comes before its grid point is still the nearest one when the next will be further behind.
            slack_ns = min(media_ns - self._previous_ns, self._step_ns) / 2 - _TIE_NS
        self._previous_ns = media_ns
        if media_ns < self._due_ns - slack_ns:
            return False
        late = media_ns > self._due_ns + self._step_ns / 2 + _TIE_NS
        self._due_ns = (media_ns if late else self._due_ns) + self._step_ns
        return True
