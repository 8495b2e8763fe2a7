"""How far decoding is behind a live camera: what waits in the socket and in FFmpeg's queue is old, and nothing says so.

A packet's stamp tells its age against the least delayed one. But a camera's clock may run slow, too, and jump. Who is
behind never waits for a packet; who waits for a good part of his time has read all there was. So age counts as lag
only where there was hardly any waiting, and begins anew where there was. What was waited before a long piece of work
says nothing of the time after it.
"""

from __future__ import annotations

from collections import deque

from edge.core.types import NS_PER_S

_WINDOW_NS = 2 * NS_PER_S
_PACKETS_MAX = 1024  # in a window
_IDLE_SHARE = 0.25  # of the wall time: on a full machine taking packets alone looks like waiting for a tenth of it
_STEP_MAX_NS = 5 * NS_PER_S
_LONG_NS = NS_PER_S * 3 // 4  # of work on one packet; less cannot move a picture far, see `arrival.py`


class Lag:
    """Feed it every packet of one connection."""

    def __init__(self) -> None:
        self._window: deque[tuple[int, int, int]] = deque()  # when, time taken, of that waited
        self._least: deque[tuple[int, int]] = deque()  # when, and a delay that none after it in the window is below
        self._taken_ns = self._waited_ns = 0
        self._least_ns: int | None = None
        self._stamp_ns: int | None = None

    def of(self, stamp_ns: int | None, *, now_ns: int, waited_ns: int, rested_ns: int = 0) -> int:
        """How late this packet is read, in ns; 0 where that cannot be told. `waited_ns`: how long it let us wait, after
        `rested_ns` in which we did not ask for it although there was nothing else to do."""
        if stamp_ns is None:
            return 0
        self._note(stamp_ns, now_ns, waited_ns, rested_ns)
        delay_ns = now_ns - stamp_ns
        if self._least_ns is None:
            self._least_ns = delay_ns
        is_idle = self._waited_ns >= _IDLE_SHARE * self._taken_ns
        if is_idle and now_ns - self._window[0][0] >= _WINDOW_NS // 2:
            self._least_ns = self._least[0][1]
        self._least_ns = min(self._least_ns, delay_ns)
        return 0 if is_idle else delay_ns - self._least_ns

    def busy(self) -> None:
        """The last packet took longer to work on than to come: no wait before it says that the next one is on time."""
        self._window = deque((when_ns, taken_ns, 0) for when_ns, taken_ns, _ in self._window)
        self._waited_ns = 0

    def _note(self, stamp_ns: int, now_ns: int, waited_ns: int, rested_ns: int) -> None:
        """A wait counts for as long as the camera's own step takes: the rest was a stall, and what waits is late."""
        step_ns = 0 if self._stamp_ns is None else min(max(stamp_ns - self._stamp_ns, 0), _STEP_MAX_NS)
        taken_ns = now_ns - self._window[-1][0] if self._window else 0
        self._stamp_ns = stamp_ns
        if taken_ns - waited_ns - rested_ns > _LONG_NS:
            self.busy()
        waited_ns = min(min(waited_ns, step_ns) + rested_ns, taken_ns)
        self._window.append((now_ns, taken_ns, waited_ns))
        self._taken_ns += taken_ns
        self._waited_ns += waited_ns
        delay_ns = now_ns - stamp_ns
        while self._least and self._least[-1][1] >= delay_ns:
            self._least.pop()
        self._least.append((now_ns, delay_ns))
        while len(self._window) > 1 and (now_ns - self._window[0][0] > _WINDOW_NS or len(self._window) > _PACKETS_MAX):
            _, taken_ns, waited_ns = self._window.popleft()
            self._taken_ns -= taken_ns
            self._waited_ns -= waited_ns
        while self._least[0][0] < self._window[0][0]:
            self._least.popleft()
