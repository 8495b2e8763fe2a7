"""Which packets of a stream are decoded where `decode: auto` chooses.

    packet -> keyframe? decode it alone -> moved since the last one? --no--> show it, hold what follows
                                                                    --yes-> decode what was held, go on decoding
           -> other?    hold it         -> bigger than usual?       --yes-> the same, from its keyframe on

A street that stands still costs its keyframes. Where nobody asks for motion that is all; where somebody does, a group
of pictures is decoded from its keyframe on as soon as its packets or the next keyframe say that something moves, and
so is everything after it until it has been quiet for some seconds. Where pictures showed motion of which the packets
said nothing (a constant bit rate), everything is decoded until they say it again. What is held is bounded by time,
count and bytes: a stream whose keyframes are too rare for that is decoded as a whole.

Decides by the stream alone, never by a clock: the same stream, the same pictures.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from edge.capture.activity import PacketSizes, Pictures
from edge.capture.sampling import Sampler
from edge.core.types import NS_PER_S, Bool, UInt8, seconds_to_ns
from edge.ports import CaptureCounts, Decoding

_QUIET_NS = 5 * NS_PER_S  # from the last motion to the first group that is not decoded: people stop and go on
_LOOK_NS = NS_PER_S // 2  # between two pictures that are compared, while every picture is decoded
_DWELL_FPS = 1.0  # looks a second where nobody asks for motion and keyframes come more often
_HELD_MAX = 480  # packets of one group: 4 s at 120 a second
_HELD_BYTES_MAX = 16_000_000  # 4 s of 32 Mbit/s
_SOUND_GROUPS = 2  # in a row, before a stream with rare keyframes is gated again
_OFTEN_GROUPS = 3  # in a row, before keyframes are all that is needed; two may be a scene cut behind a keyframe
_STEP_BACK_NS = NS_PER_S  # further back is another count of time
_JITTER_NS = NS_PER_S // 4  # of keyframes that come every so many seconds
_STEP_AHEAD_NS = 60 * NS_PER_S
_REFUSED_GROUPS = 2  # in a row: one may be damage
_TRIAL_GROUPS = 32  # until keyframes are tried by themselves again; twice as many after each time
_NOT_ALONE = "its keyframes give no picture by themselves: turn intra refresh off"

ALL = "all"
KEYFRAMES = "keyframes"
AUTO = "auto"
ACTIVITY = "activity"

P = TypeVar("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Pace:
    """What a camera is watched for."""

    motion_for: tuple[str, ...] = ()  # who needs every picture as long as something moves; () for nobody
    apart_max_ns: int = 4 * NS_PER_S  # keyframes: where they are rarer, every picture is decoded
    watched: Bool | None = None  # (180, 320) where motion is looked for, None for everywhere


WATCHES_DWELLS = Pace()


@dataclass(frozen=True, slots=True)
class Coded(Generic[P]):
    """One packet. Times in ns of the stream's own count."""

    carried: P
    key: bool
    sent_ns: int  # in the order of sending
    shown_ns: int  # when its picture is shown
    size: int  # bytes without filling


@dataclass(frozen=True, slots=True)
class Decoder(Generic[P, T]):
    """What the gate asks of a decoder, and of its pictures."""

    alone: Callable[[P], Sequence[T]]  # a keyframe's picture; the decoder keeps nothing of it
    follow: Callable[[P], Sequence[T]]  # pictures that become ready with the next packet of a stream
    leave: Callable[[], Sequence[T]]  # what it still holds; what comes next is a keyframe
    stamp_ns: Callable[[T], int | None]
    grey: Callable[[T], UInt8 | None]  # (180, 320), None where it cannot be had


class Gate(Generic[P, T]):
    """Of one connection or file. `offer` it every packet in the order of sending, and `finish` where a file ends."""

    def __init__(
        self,
        decoder: Decoder[P, T],
        counts: CaptureCounts,
        *,
        fps: float,
        pace: Pace,
    ) -> None:
        """`fps`: the analysis rate."""
        self._decoder = decoder
        self._counts = counts
        self._step_ns = seconds_to_ns(1 / fps)
        self._motion_for = pace.motion_for
        self._rhythm = _Rhythm(pace.apart_max_ns)
        self._alone = _Alone()
        self._due_fps = fps if pace.motion_for else min(fps, _DWELL_FPS)
        self._due = Sampler(self._due_fps)
        self._pictures = Pictures(pace.watched)
        self._sizes = PacketSizes()
        self._open = True  # until the first keyframe
        self._held: list[Coded[P]] = []  # since the last keyframe, while closed
        self._held_bytes = 0
        self._is_shown = False  # whether the keyframe that is held was decoded
        self._latest_shown_ns: int | None = None  # of all packets since the last keyframe
        self._given_ns: int | None = None  # stamp of the last picture, while a group is opened that it belongs to
        self._fed = False  # whether the decoder may hold something
        self._again = False  # what is decoded now was given before, up to `_given_ns`
        self._sent_ns: int | None = None
        self._looked_ns: int | None = None
        self._moved_ns: int | None = None  # when motion was last seen; None: never judged

    def close(self) -> None:
        """Once: lets go of the decoder. Its functions know who owns us, and that circle would keep 10 MB of pictures
        until garbage is collected."""
        del self._decoder

    @property
    def closed(self) -> bool:
        """Whether keyframes alone are decoded just now."""
        return not self._open

    @property
    def held(self) -> int:
        """Packets that wait for whether they are needed."""
        return len(self._held)

    @property
    def held_bytes(self) -> int:
        return self._held_bytes

    @property
    def decoding(self) -> Decoding:
        """What is decoded just now, and why."""
        rhythm = self._rhythm
        if self._fault:
            return Decoding(ALL, self._fault, faulty=True)
        interval_s = None if rhythm.interval_ns is None else rhythm.interval_ns / NS_PER_S
        every = "as often as they come" if interval_s is None else f"every {interval_s:.1f} s"
        if not self._asks_for_motion:
            return Decoding(KEYFRAMES, every)
        if not self._open:
            return Decoding(KEYFRAMES, f"{every}, until something moves")
        if not self._sizes.ready:
            return Decoding(ALL, f"the street has not been still yet, and {self._who} for motion")
        if not self._sizes.tell:
            words = f"packet sizes tell nothing here: they hid what moved, and {self._who} for motion"
            return Decoding(ALL, words)
        return Decoding(ACTIVITY, f"something moves, and {self._who} for that")

    def offer(self, coded: Coded[P]) -> Iterator[T]:
        """The pictures to show now, times ascending."""
        self._follow_time(coded)
        if coded.key:
            yield from self._take_keyframe(coded)
            return
        between = self._latest_shown_ns is not None and coded.shown_ns < self._latest_shown_ns
        self._latest_shown_ns = max(coded.shown_ns, self._latest_shown_ns or coded.shown_ns)
        stirs = self._asks_for_motion and self._sizes.stir(coded.size, between=between)
        if not self._open:
            self._hold(coded)
        too_much = len(self._held) >= _HELD_MAX or self._held_bytes > _HELD_BYTES_MAX
        overdue = self._rhythm.waits_too_long(coded.sent_ns, too_much=too_much)
        if self._open:
            yield from self._follow(coded)
        elif overdue:
            yield from self._decode_held()
        elif stirs:
            yield from self._wake(coded)

    def leave_out(self) -> None:
        """Packets were left out: what is held can no longer be followed."""
        self._drop_held()
        self._open, self._fed = True, False

    def finish(self) -> Iterator[T]:
        """The end of a file: of the last group nobody will say whether it was quiet."""
        if not self._open and self._held and (self._asks_for_motion or self._rhythm.interval_ns is None):
            yield from self._decode_held()
        if self._open:
            yield from self._leave()
        self._drop_held()

    # Keyframes

    def _take_keyframe(self, coded: Coded[P]) -> Iterator[T]:
        self._rhythm.keyframe(coded.sent_ns)
        self._alone.keyframe()
        self._latest_shown_ns = coded.shown_ns
        if self._open and not self._may_close(coded.sent_ns):
            yield from self._follow(coded)
            return
        if self._open:
            yield from self._leave()
            self._open = self._again = False
        elif not self._may_be_closed:
            yield from self._decode_held()
            yield from self._follow(coded)
            return
        if self._due.takes(coded.sent_ns):
            yield from self._show_alone(coded)
        else:
            self._hold_keyframe(coded, shown=False)

    def _show_alone(self, coded: Coded[P]) -> Iterator[T]:
        damage = self._counts.corrupt, self._counts.withheld
        pictures = self._decoder.alone(coded.carried)
        if damage == (self._counts.corrupt, self._counts.withheld):  # else what was lost on the way tells nothing
            self._alone.tried(gave=bool(pictures))
        if not pictures:  # from here on as if there were no gate, until it can be closed again
            self.leave_out()
            if self._alone.fault:  # a point of recovery: pictures come with what follows it
                yield from self._follow(coded)
            return
        if self._asks_for_motion:
            moved = self._compare(pictures[-1], coded.sent_ns)
            if moved and self._held:
                yield from self._wake(coded)
                yield from self._follow(coded)
                return
        self._counts.keyframes += 1
        self._given_ns = self._decoder.stamp_ns(pictures[-1])
        self._hold_keyframe(coded, shown=True)
        yield from pictures

    @property
    def _fault(self) -> str:
        """Why keyframes are not enough though they would be welcome, "" where they are."""
        return self._rhythm.fault or self._alone.fault

    @property
    def _may_be_closed(self) -> bool:
        return not self._fault and (not self._asks_for_motion or (self._sizes.ready and self._sizes.tell))

    def _may_close(self, sent_ns: int) -> bool:
        if not self._may_be_closed:
            return False
        if not self._asks_for_motion:
            return True
        return self._moved_ns is not None and sent_ns - self._moved_ns >= _QUIET_NS

    @property
    def _asks_for_motion(self) -> bool:
        """Not where keyframes come as often as pictures are analysed: then they are all that is needed."""
        return bool(self._motion_for) and not self._rhythm.is_within(self._step_ns)

    @property
    def _who(self) -> str:
        return f"{', '.join(self._motion_for)} ask{'s' * (len(self._motion_for) == 1)}"

    # What is held, and what is decoded after all

    def _hold(self, coded: Coded[P]) -> None:
        self._held.append(coded)
        self._held_bytes += coded.size

    def _hold_keyframe(self, coded: Coded[P], *, shown: bool) -> None:
        self._drop_held()
        self._hold(coded)
        self._is_shown = shown

    def _drop_held(self) -> None:
        self._counts.undecoded += len(self._held) - (self._is_shown and bool(self._held))
        self._held, self._held_bytes, self._is_shown = [], 0, False

    def _wake(self, coded: Coded[P]) -> Iterator[T]:
        self._counts.groups += 1
        self._moved_ns = coded.sent_ns
        self._sizes.pass_over()
        return self._decode_held()

    def _decode_held(self) -> Iterator[T]:
        """From the keyframe on, which may have been shown: it and what is shown before it do not come again."""
        held, self._held, self._held_bytes = self._held, [], 0
        self._open, self._again, self._is_shown = True, self._is_shown, False
        for coded in held:
            yield from self._follow(coded)

    def _leave(self) -> Iterator[T]:
        fed, self._fed = self._fed, False
        yield from self._shown(self._decoder.leave()) if fed else ()

    def _follow(self, coded: Coded[P]) -> Iterator[T]:
        self._fed = True
        pictures = self._shown(self._decoder.follow(coded.carried))
        for picture in pictures:
            if self._asks_for_motion and (self._looked_ns is None or coded.sent_ns - self._looked_ns >= _LOOK_NS):
                self._compare(picture, coded.sent_ns)
            yield picture

    def _shown(self, pictures: Iterable[T]) -> Iterator[T]:
        for picture in pictures:
            if not self._was_given(picture):
                yield picture

    def _was_given(self, picture: T) -> bool:
        """Whether it is the keyframe that was shown alone, or hangs on what was before that: shown too late."""
        if not self._again:
            return False
        stamp_ns = self._decoder.stamp_ns(picture)
        if stamp_ns is None or self._given_ns is None:
            self._again = False
            return True
        self._again = 0 <= self._given_ns - stamp_ns < _STEP_BACK_NS
        return self._again

    def _compare(self, picture: T, sent_ns: int) -> bool:
        grey = self._decoder.grey(picture)
        moved = grey is None or self._pictures.moved(grey)
        self._sizes.judge(moved=moved)
        self._looked_ns = sent_ns
        if moved or self._moved_ns is None:
            self._moved_ns = sent_ns
        return moved

    def _follow_time(self, coded: Coded[P]) -> None:
        """A stream that begins to count anew."""
        step_ns = 0 if self._sent_ns is None else coded.sent_ns - self._sent_ns
        self._sent_ns = coded.sent_ns
        if not -_STEP_BACK_NS <= step_ns <= _STEP_AHEAD_NS:
            self._due = Sampler(self._due_fps)
            self._looked_ns = self._moved_ns = None
            self._rhythm.break_off()


def chosen(asked: str, gate: Gate[P, T] | None, *, ungated: str) -> Decoding:
    """What is decoded just now, and why, where `decode` is as asked; `ungated`: why there is no gate to choose."""
    if gate is not None:
        return gate.decoding
    return Decoding(KEYFRAMES if asked == KEYFRAMES else ALL, ungated if asked == AUTO else "as configured")


class _Alone:
    """Whether keyframes give pictures by themselves.

    Where H.264 is refreshed piece by piece (intra refresh) there are none: its points of recovery count as keyframes,
    and a picture is whole only with the seconds that follow.
    """

    def __init__(self) -> None:
        self._refused = 0  # in a row
        self._groups, self._left = _TRIAL_GROUPS, 0

    @property
    def fault(self) -> str:
        return _NOT_ALONE if self._left else ""

    def keyframe(self) -> None:
        self._left = max(self._left - 1, 0)

    def tried(self, *, gave: bool) -> None:
        if gave:
            self._refused, self._groups = 0, _TRIAL_GROUPS
            return
        self._refused += 1
        if self._refused >= _REFUSED_GROUPS:
            self._left, self._groups = self._groups, 2 * self._groups


class _Rhythm:
    """How far apart a stream's keyframes are, and whether they come too rarely."""

    def __init__(self, apart_max_ns: int) -> None:
        self._apart_max_ns = apart_max_ns + _JITTER_NS
        self.interval_ns: int | None = None
        self.fault = ""
        self._key_ns: int | None = None
        self._sound = 0
        self._last_ns: deque[int] = deque(maxlen=_OFTEN_GROUPS)

    def break_off(self) -> None:
        self._key_ns = None

    def keyframe(self, sent_ns: int) -> None:
        if self._key_ns is not None:
            self.interval_ns = sent_ns - self._key_ns
            self._last_ns.append(self.interval_ns)
            is_sound = self.interval_ns <= self._apart_max_ns
            self._sound = self._sound + 1 if is_sound else 0
            if not is_sound:
                self.fault = f"keyframes come every {self.interval_ns / NS_PER_S:.0f} s"
            elif self._sound >= _SOUND_GROUPS:
                self.fault = ""
        self._key_ns = sent_ns

    def waits_too_long(self, sent_ns: int, *, too_much: bool) -> bool:
        """Whether a keyframe is overdue at this packet; `too_much`: more cannot be held."""
        waited_ns = 0 if self._key_ns is None else sent_ns - self._key_ns
        if not too_much and waited_ns <= self._apart_max_ns:
            return False
        size = " or so many bytes" * too_much
        self.fault = self.fault or f"no keyframe in {waited_ns / NS_PER_S:.0f} s{size}"
        self._sound = 0
        return True

    def is_within(self, step_ns: int) -> bool:
        return len(self._last_ns) == _OFTEN_GROUPS and max(self._last_ns) <= step_ns * 1.01
