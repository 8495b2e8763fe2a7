"""A live camera's frames, for ever: a loop around one `_run_once`, which opens, reads, and breaks off some time.

What broke is said, a few seconds later it is tried again, and a camera is never given up. All of it happens in the
thread that iterates: FFmpeg's objects may not be closed by another. A call that hangs in C cannot be interrupted from
here: the outside judges by `beat_ns` and kills the process.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Protocol

from edge.capture import sources
from edge.capture.arrival import Arrivals
from edge.capture.connection import BrokenOffError, Connection, Gating, PacedFile, PacketConnection, Picture
from edge.capture.gate import ALL, AUTO, KEYFRAMES, WATCHES_DWELLS, Pace
from edge.capture.hardware import HWACCELS, NONE, tell
from edge.capture.look_up import LookUp
from edge.capture.opencv import DeviceConnection
from edge.capture.packets import TCP, UDP
from edge.capture.probe import find_reason
from edge.capture.reel import Reel
from edge.capture.sampling import Sampler
from edge.clock import SystemClock
from edge.core.pixels import Pixels
from edge.core.types import NS_PER_S, Frame
from edge.errors import CaptureError, redact
from edge.ports import CaptureCounts, CaptureState, Decoding, SourceInfo

log = logging.getLogger(__name__)

_RETRY_S = (3.0, 5.0)  # cameras that restart together must not be asked together
_REFUSED_RETRY_S = (60.0, 600.0)  # doubling from the first to the second: cameras lock after a few wrong passwords
_BEAT_S = 5.0
_UNSEEN_NS = 5 * NS_PER_S  # a longer gap between true pictures makes what was in it unknown
_UNSEEN_GATED_NS = 10 * NS_PER_S  # two keyframes of a gated stream, and one of them damaged
_UNSEEN_KEYFRAMES_NS = 30 * NS_PER_S  # recorders write a keyframe as rarely as every 25 s
_OFFSET_DECAY_S = 0.0005  # a report: so the comparison of clocks follows one that drifts
_NOTHING_KNOWN = SourceInfo(
    width_px=0, height_px=0, fps=0.0, codec="", duration_s=0.0, frames_declared=0, created_wall_ns=0
)


class Clock(Protocol):
    def mono_ns(self) -> int: ...

    def wall_ns(self) -> int: ...


Opener = Callable[[CaptureCounts], Connection]
FindReason = Callable[[str, CaptureError], tuple[str, str]]


class LiveCapture:
    """Satisfies `edge.ports.CameraCapture`. Iterate in one thread; the others read its attributes.

    `fps` thins by time, `decode` is all, keyframes, or auto, where a gate chooses by `pace`. `transport` is tcp or udp.
    `changed` is called in the iterating thread with each new `state`. `pause(seconds)` waits and says whether to stop;
    `open_with` and `find_reason` stand for the network in tests. `reel` keeps the last packets; with `undecoded` that
    is all: there are no frames. `hwaccel`: see `hardware.py`.
    """

    def __init__(
        self,
        source: str,
        *,
        camera: str,
        fps: float,
        stop: threading.Event,
        decode: str = ALL,
        transport: str = TCP,
        changed: Callable[[CaptureState], None] | None = None,
        clock: Clock | None = None,
        pause: Callable[[float], bool] | None = None,
        open_with: Opener | None = None,
        find_reason: FindReason = find_reason,
        reel: Reel | None = None,
        undecoded: bool = False,
        hwaccel: str = NONE,
        pace: Pace = WATCHES_DWELLS,
    ) -> None:
        if decode not in (ALL, KEYFRAMES, AUTO):
            raise ValueError(f"decode must be all, keyframes or auto, got {decode!r}")
        if transport not in (TCP, UDP):
            raise ValueError(f"transport must be tcp or udp, got {transport!r}")
        if hwaccel not in HWACCELS:
            raise ValueError(f"hwaccel must be one of {', '.join(HWACCELS)}, got {hwaccel!r}")
        self._source = source
        self._camera = camera
        self._stop = stop
        self._keyframes_only = decode == KEYFRAMES
        self._gating = Gating(fps, pace) if decode == AUTO else None
        self._transport = transport
        self._changed = changed
        self._clock = clock or SystemClock()
        self._pause = pause or stop.wait
        self._open = open_with or self._connect
        self._find_reason = find_reason
        self._reel = reel
        self._undecoded = undecoded
        self._hwaccel = hwaccel
        self._said_decoder = ""
        self._retries = random.Random(camera)  # spreads the load, keeps no secret
        self._look_up = LookUp()
        self._sampler = Sampler(fps)
        self._arrivals = Arrivals()
        self._connections = 0
        self._said_skipping = False
        self._said_all = False
        self._refusals = 0  # of the password, since the last connection
        self._placed_ns: int | None = None
        self._resumed = True  # what was before the first picture is unknown, too
        self.info = _NOTHING_KNOWN
        self.counts = CaptureCounts()
        self.clock_offset_s: float | None = None
        self.seen_ns = 0
        self.looks_back = False
        self.decoding = Decoding("", "")
        self.beat_ns = self._clock.mono_ns()
        words = f"{redact(source)}: not connected yet"
        self.state = CaptureState(False, "starting", words, self._clock.wall_ns())

    def __iter__(self) -> Iterator[Frame]:
        while not self._stop.is_set():
            played = yield from self._run_once()
            if not played:
                self._rest()

    def close(self) -> None:
        """Ends the frames at the next packet; the thread that iterates lets everything go."""
        self._stop.set()

    @property
    def _is_recording(self) -> bool:
        """A plain file that stands in for a camera; it is played over and over."""
        return not sources.is_url(self._source) and not sources.is_device(self._source)

    def _run_once(self) -> Generator[Frame, None, bool]:
        """One connection's frames, and in `state` why there are no more. Raises nothing that a camera can cause.

        Returns whether a recording was played to its end, and is to be played again at once.
        """
        try:
            connection = self._attempt()
        except CaptureError as error:
            reason, words = self._find_reason(self._source, error)
            self._beat()
            self._tell(connected=False, reason=reason, words=words)
            return False
        decoded = self.counts.decoded
        try:
            with closing(connection):
                yield from self._frames(connection)
        except BrokenOffError as error:
            self._tell(connected=False, reason=error.reason, words=str(error))
            return False
        if self._is_recording and self.counts.decoded > decoded:
            return True
        if self._is_recording:
            words = str(sources.nothing_decodes(self._source))
            self._tell(connected=False, reason="nothing-decodes", words=words)
        elif not self._stop.is_set():
            words = f"{redact(self._source)}: ended the stream; it is asked again"
            self._tell(connected=False, reason="ended", words=words)
        return False

    def _rest(self) -> None:
        """A while before the next attempt; beats meanwhile, as who waits does not hang."""
        rest_s = self._retries.uniform(*_RETRY_S)
        if self.state.reason == "wrong-password":
            shortest_s, longest_s = _REFUSED_RETRY_S
            rest_s += min(shortest_s * 2**self._refusals, longest_s)
            self._refusals += 1
        while rest_s > 0 and not self._stop.is_set():
            self._beat()
            self._pause(min(rest_s, _BEAT_S))
            rest_s -= _BEAT_S

    def _attempt(self) -> Connection:
        self._beat()
        connection = self._open(self.counts)
        self._beat()
        self._refusals = 0
        self._connections += 1
        self.counts.reconnects = self._connections - 1
        self._arrivals.break_off()
        self._resumed = True
        self.clock_offset_s = None  # of a camera that may have restarted meanwhile
        self.info = connection.info
        self.decoding = connection.decoding
        return connection

    def _frames(self, connection: Connection) -> Iterator[Frame]:
        for picture in connection.steps():
            arrived_ns = self._beat()
            self._compare_clocks(connection.camera_ns, connection.behind_ns)
            self.looks_back = connection.looks_back
            self._speak_of_skipping()
            self._speak_of_decoder(connection.info.decoder)
            if picture is not None:
                self.decoding = connection.decoding
                self._speak_of_decoding()
                self.counts.decoded += 1
                self.seen_ns = arrived_ns
                self.info = connection.info
                mono_ns = self._place(picture, arrived_ns - connection.behind_ns)
                if self._reel is not None:
                    self._reel.place(picture.stamp_ns, mono_ns, None if self._undecoded else picture.size_px)
                if not self.state.connected:
                    self._tell(connected=True, reason="", words="")
                if not self._undecoded and self._sampler.takes(mono_ns):
                    yield self._frame(picture, mono_ns, picture.pixels())
            if self._stop.is_set():
                return

    def _speak_of_skipping(self) -> None:
        if self.counts.skipped and not self._said_skipping:
            self._said_skipping = True  # once; from here on the count tells
            log.warning(
                "camera %s sends more than can be decoded here: pictures are left out up to the next keyframe; "
                "lower its rate or size, or set decode: keyframes",
                self._camera,
            )

    def _speak_of_decoder(self, decoder: str) -> None:
        """Once for each answer to `hwaccel`, and not at every new connection."""
        if self._hwaccel != NONE and decoder != self._said_decoder and not self._undecoded:
            self._said_decoder = decoder
            tell(self._camera, self._hwaccel, decoder)

    def _speak_of_decoding(self) -> None:
        if self._gating is None or self._said_all or not self.decoding.faulty:
            return
        self._said_all = True  # once; from here on the health tells
        log.warning(
            "camera %s: every picture is decoded: %s; set it to a whole keyframe (I-frame) every 1 to 2 s",
            self._camera,
            self.decoding.words,
        )

    def _place(self, picture: Picture, arrived_ns: int) -> int:
        mono_ns = self._arrivals.place(picture.stamp_ns, arrived_ns)
        self.counts.reanchored = self._arrivals.reanchored
        unseen_ns = _UNSEEN_KEYFRAMES_NS if self._keyframes_only else _UNSEEN_GATED_NS if self._gating else _UNSEEN_NS
        self._resumed |= self._placed_ns is not None and mono_ns - self._placed_ns > unseen_ns
        self._placed_ns = mono_ns
        return mono_ns

    def _frame(self, picture: Picture, mono_ns: int, pixels: Pixels) -> Frame:
        frame = Frame(
            camera=self._camera,
            index=self.counts.yielded,
            mono_ns=mono_ns,
            # Both clocks are read now: a step of the wall clock is followed with the next frame.
            wall_ns=mono_ns + self._clock.wall_ns() - self._clock.mono_ns(),
            picture=pixels,
            keyframe=picture.keyframe,
            resumed=self._resumed,
        )
        self._resumed = False
        self.counts.yielded += 1
        return frame

    def _compare_clocks(self, camera_ns: int | None, behind_ns: int) -> None:
        """The least delayed report since the connection began stands: the way to us only ever takes from it."""
        if camera_ns is None:
            return
        offset_s = (camera_ns - self._clock.wall_ns() + behind_ns) / NS_PER_S
        known_s = self.clock_offset_s
        follows = known_s is not None and abs(offset_s - known_s) < 1.0
        self.clock_offset_s = max(offset_s, known_s - _OFFSET_DECAY_S) if follows and known_s is not None else offset_s

    def _connect(self, counts: CaptureCounts) -> Connection:
        if sources.is_device(self._source):
            return DeviceConnection(self._source, counts=counts)
        if sources.is_url(self._source):
            self._look_up.check(self._source, beat=self._beat)
            return PacketConnection(
                self._source,
                transport=self._transport,
                keyframes_only=self._keyframes_only,
                counts=counts,
                mono_ns=self._clock.mono_ns,
                reel=self._reel,
                undecoded=self._undecoded,
                hwaccel=self._hwaccel,
                rest=self._pause if self._transport == TCP else None,  # the kernel holds few datagrams
                gating=self._gating,
            )
        return PacedFile(
            self._source,
            keyframes_only=self._keyframes_only,
            counts=counts,
            mono_ns=self._clock.mono_ns,
            pause=self._pause,
            reel=self._reel,
            undecoded=self._undecoded,
            hwaccel=self._hwaccel,
            gating=self._gating,
        )

    def _beat(self) -> int:
        self.beat_ns = self._clock.mono_ns()
        return self.beat_ns

    def _tell(self, *, connected: bool, reason: str, words: str) -> None:
        since_wall_ns = self.state.since_wall_ns
        if connected != self.state.connected:
            since_wall_ns = self._clock.wall_ns()
        state = CaptureState(connected=connected, reason=reason, words=words, since_wall_ns=since_wall_ns)
        changed = (state.connected, state.reason, state.words) != (
            self.state.connected,
            self.state.reason,
            self.state.words,
        )
        self.state = state
        if changed and self._changed is not None:
            self._changed(state)
