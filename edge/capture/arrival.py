"""When a live camera's picture was taken, on our clock: its own timestamps smooth the network's jitter."""

from __future__ import annotations

from edge.core.types import NS_PER_S

_OFF_NS = NS_PER_S  # stamps that are further off than this belong to another count: a jump, a stall, a reconnect
_DRIFT = 0.0005  # a camera's crystal runs at most this much slower than ours: so fast the anchor may follow
_STEP_NS = 1000  # between pictures whose times would meet


class Arrivals:
    """Places pictures by the least delayed of them; times go strictly forward for the whole life of the process."""

    def __init__(self) -> None:
        self.reanchored = 0
        self._offset_ns: int | None = None  # our clock minus the camera's count
        self._arrived_ns = 0
        self._last_ns = 0

    def break_off(self) -> None:
        """A new connection counts from elsewhere."""
        self._offset_ns = None

    def place(self, stamp_ns: int | None, arrived_ns: int) -> int:
        """The mono time of a picture that arrived now, given the timestamp that the camera claims for it."""
        taken_ns = arrived_ns if stamp_ns is None else stamp_ns + self._anchor(stamp_ns, arrived_ns)
        self._last_ns = max(taken_ns, self._last_ns + _STEP_NS)
        return self._last_ns

    def _anchor(self, stamp_ns: int, arrived_ns: int) -> int:
        offset_ns = arrived_ns - stamp_ns
        if self._offset_ns is not None:
            carried_ns = self._offset_ns + round((arrived_ns - self._arrived_ns) * _DRIFT)
            if abs(offset_ns - carried_ns) > _OFF_NS:
                self.reanchored += 1
            else:
                offset_ns = min(offset_ns, carried_ns)
        self._offset_ns, self._arrived_ns = offset_ns, arrived_ns
        return offset_ns
