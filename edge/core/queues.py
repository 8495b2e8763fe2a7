"""Which of the vehicles that stand are waiting for the traffic, and which are parked.

Nobody tells the gateway of lanes or of traffic lights. It goes by what a queue does: vehicles that came driving the
same way halt beside or behind one another within some seconds, and move off one after the other. So a halt *queues*
from the moment at which such a companion halts near it, for as long as one of its companions still stands. It is
parking again when all of them have been gone for a while, or when nothing has moved for longer than any red light.

    stands alone, or was there before, or came back unseen      parked, at once
    halts within seconds of a neighbour, or behind a queue      queues
    companions gone for GONE_NS, or longer than queue_max_ns    parked, since it halted

State is rows beside the tracks' ids, and those of vehicles lately lost from sight, for a bus that passes hides a queue,
or lately gone from their place, for a track may slide off with another vehicle. Two boxes on one vehicle are one.
A gap in which nobody looked hides a queue as well, and nobody has waited in it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge.core import boxes, finding_again
from edge.core.carrying import rows_again
from edge.core.types import NS_PER_S, Bool, Float32, Int64, Tracks
from edge.core.zones import seen_step_ns

Float64 = npt.NDArray[np.float64]

STANDS_NS = 3 * NS_PER_S // 2  # at rest for so long, a vehicle stands, even one that is looked at twice a second
# Halts this near in time are one halt of the traffic: vehicles in a street follow one another by 2 to 5 s,
# and two drivers who park within 10 s of one another beside each other are rare, and found when one of them leaves.
TOGETHER_NS = 10 * NS_PER_S
# A driver starts about two seconds after the one ahead; who has not after four times that was not waiting for him.
GONE_NS = 8 * NS_PER_S
# A vehicle lost while it stood is known again in its place: a queue hides it for a red light.
HIDDEN_NS = 120 * NS_PER_S
HIDDEN_MAX = 256
# A track slides along with a vehicle that passes before its own, and back: nobody drives off and another in so soon.
SLID_NS = 4 * NS_PER_S
THERE_NS = 2 * NS_PER_S  # who stands so soon after the first look may have stood there before it
SETTLES_NS = NS_PER_S  # at rest for so long, it comes to stand; whether in a queue is not known yet
# In sizes (roots of the boxes' areas): jitter of a box is below a fifth, and a car moves up by its length, 1 to 1.7.
MOVES = 0.15  # of its size, without rest: as the tracker takes a box to have left its anchor
OTHER_PLACE = 0.5  # who is this far from where it halted does not stand there any more
KNOWN_WAY = 0.25  # who was not seen to come as far may have come any way
# Gaps between the boxes, in widths of the smaller, or in its heights and then this much of them: a car seen from the
# side leaves half its length to the next, or a lorry's driver the whole. Seen along the street a roof hides the ground
# behind it: looking down by 45 degrees a whole length is left as half a height of the nearer, three quarters of the
# further one's.
UPRIGHT = 0.75
NEAR = 1.0
# A box of a lower mean score may be no vehicle, or one that stood there long before it was first seen: it holds nobody
# back unless it was seen to drive.
SURE = 0.5
SURER = 1.5  # times the mean score
FAR = 3.0  # a companion that moved up no further than this still queues
APART = 0.25  # two boxes this far from one another are no parts of one vehicle
SAME_WAY = 0.5  # cosine: within 60 degrees in the picture, where lanes of one direction converge
# Beside the line of its way, in widths, and twice as many heights: the next lane is further off.
IN_LINE = 0.6

_DRIVES, _ALONE, _QUEUES, _PARKED = range(4)

_ROW = np.dtype(
    [
        ("track_id", np.int64),
        ("seen_ns", np.int64),
        ("box", np.float32, 4),  # when last seen
        ("towed", np.float64, 2),  # a point that it drags behind it by one size: from there to it is its way
        ("state", np.int8),
        ("came", np.bool_),  # it was not always there: it was first seen later on, or has rested anew
        ("drove", np.bool_),  # it has been seen to drive, further than any box trembles
        # The track on whose ground it was first seen, and from which it has not parted: no two vehicles come out of one
        # place.
        ("part_of", np.int64),
        ("apart_ns", np.int64),  # for how long it has been seen apart from that one
        ("joined_at", np.float64, 2),  # where it was when that one last moved
        ("score_sum", np.float64),  # over the looks in which it was seen
        ("looks", np.int64),
        ("since_ns", np.int64),  # when it came to stand, or, while it drives, when it left the last place
        ("halt_ns", np.int64),  # the same, or earlier: of a vehicle lost from sight whose place it has
        ("halt_box", np.float32, 4),
        ("leaves", np.bool_),  # it has begun to move, and is not yet well away
        ("stood_ns", np.int64),  # how much of the time since then was looked at
        ("alone_ns", np.int64),  # for how long it has been seen to stand with no companion left
    ],
    align=True,
)


class Halts(NamedTuple):
    """Of (T,) vehicles."""

    stands: Bool
    waits: Bool  # and that in a queue, or too short for anyone to know
    since_ns: Int64  # when it came to stand


class Queues:
    """The halts of one camera's vehicles. `update` once for each analysed frame, in time order."""

    def __init__(self, *, queue_max_ns: int) -> None:
        """`queue_max_ns`: nobody is taken to wait for longer than this in one place."""
        self._queue_max_ns = queue_max_ns
        self._table: npt.NDArray[np.void] = np.zeros(0, _ROW)
        self._companions = np.zeros((0, 0), np.bool_)  # (V, V) whose halt is held by whose, while that one stands
        self._left: npt.NDArray[np.void] = np.zeros(0, _ROW)  # of those that moved off lately, as they stood
        self._looked_ns = self._begun_ns = self._known_ns = -1  # last look, first of those without a gap, last known
        self._known_since_ns = 0  # who has come since is told from who was there before
        self._size_px = (0, 0)

    def update(self, tracks: Tracks, mono_ns: int, *, size_px: tuple[int, int]) -> Halts:
        """What these vehicles do at this look, in a picture of that (width, height)."""
        step_ns = seen_step_ns(self._looked_ns, mono_ns)
        if self._begun_ns < 0:
            self._begun_ns = mono_ns
            if self._known_ns < 0 or mono_ns - self._known_ns > HIDDEN_NS:
                self._known_since_ns = mono_ns
        if mono_ns - self._begun_ns >= THERE_NS + STANDS_NS:
            self._known_ns = mono_ns
        self._looked_ns = mono_ns
        self._fit_to(size_px)
        self._carry_over(tracks, mono_ns)
        self._move(tracks, step_ns, mono_ns)
        self._link()
        self._judge(len(tracks), step_ns, mono_ns)
        state, since_ns = self._table["state"][: len(tracks)], self._table["since_ns"][: len(tracks)]
        drives = state == _DRIVES
        since_ns = np.where(drives, np.maximum(tracks.rest_since_ns, since_ns), since_ns)
        settles = drives & (mono_ns - since_ns >= SETTLES_NS)
        stands = (~drives & ~self._table["leaves"][: len(tracks)]) | settles
        return Halts(stands, settles | (state == _QUEUES), since_ns)

    def second_boxes(self, able: Bool) -> Bool:
        """(T,) of the tracks of the last `update`: the lesser box of two on one vehicle, of which the other is `able`.

        That is the younger one, unless it is half as sure again: they are not to take turns.
        """
        table = self._table[: len(able)]
        rows = np.flatnonzero(able | (table["state"] != _DRIVES))
        second = np.zeros(len(able), np.bool_)
        if len(rows) < 2:
            return second
        score = (table["score_sum"] / np.maximum(table["looks"], 1))[rows]
        elder = table["track_id"][rows][:, None] < table["track_id"][rows]
        lesser = np.where(elder, SURER * score[:, None] < score, elder.T & (score[:, None] <= SURER * score))
        second[rows] = (_one_vehicle(table[rows]) & lesser & able[rows]).any(axis=1)
        return second

    def interrupt(self) -> None:
        """The time until the next look is unknown: nobody was seen to stand alone in it.

        Looks too few to know who stands in the street leave it as unknown as it was.
        """
        self._looked_ns = self._begun_ns = -1

    def _fit_to(self, size_px: tuple[int, int]) -> None:
        """A camera that has another resolution now still shows the same street."""
        if size_px == self._size_px:
            return
        factor = boxes.rescaling(self._size_px, size_px)
        self._size_px = size_px
        self._table["box"] *= factor
        self._table["towed"] *= factor[:2]
        self._table["halt_box"] *= factor
        self._table["joined_at"] *= factor[:2]
        self._left["box"] *= factor

    def _carry_over(self, tracks: Tracks, mono_ns: int) -> None:
        """Rows of the present tracks, in their order, and after them of those lost while they stood."""
        table = self._table
        source = rows_again(tracks.track_id, table["track_id"])
        lost = np.ones(len(table), np.bool_)
        lost[source[source >= 0]] = False
        lost &= (table["state"] != _DRIVES) & (mono_ns - table["seen_ns"] <= HIDDEN_NS)
        source = np.concatenate([source, np.flatnonzero(lost)[-HIDDEN_MAX:]])

        carried = np.zeros(len(source), _ROW)
        carried[source >= 0] = table[source[source >= 0]]
        middle = _middles(tracks.xyxy)
        fresh = np.flatnonzero(source[: len(tracks)] < 0)
        carried["towed"][fresh] = middle[fresh]
        carried["came"][fresh] = tracks.first_seen_ns[fresh] - self._known_since_ns >= THERE_NS
        carried["part_of"][fresh] = _parts_of(tracks, fresh)
        carried["track_id"][: len(tracks)] = tracks.track_id
        held = np.zeros((len(source), len(source)), np.bool_)
        old = np.flatnonzero(source >= 0)
        held[np.ix_(old, old)] = self._companions[np.ix_(source[old], source[old])]
        self._table, self._companions = carried, held

    def _move(self, tracks: Tracks, step_ns: int, mono_ns: int) -> None:
        """Halts that began and ended. A box that trembles, or that a passer-by cuts short, is where it was."""
        table = self._table[: len(tracks)]  # a view
        middle, size = _middles(tracks.xyxy), _sizes(tracks.xyxy)
        seen = tracks.last_seen_ns == mono_ns
        table["box"], table["seen_ns"] = tracks.xyxy, tracks.last_seen_ns
        rope = middle - table["towed"]
        length = np.hypot(*rope.T)
        slack = np.maximum(1 - size / np.maximum(length, 1e-6), 0)
        table["towed"] += rope * slack[:, None]
        table["drove"] |= seen & (length >= OTHER_PLACE * size)
        table["score_sum"] += np.where(seen, tracks.score, 0)
        table["looks"] += seen
        self._part(tracks, seen, step_ns, mono_ns)

        way = np.hypot(*(middle - _middles(table["halt_box"])).T)
        rests = tracks.rest_since_ns <= table["since_ns"]
        moved_off = seen & (table["state"] != _DRIVES) & (way >= OTHER_PLACE * size) & ~rests
        self._leave(np.flatnonzero(moved_off), mono_ns)
        since_ns = np.maximum(tracks.rest_since_ns, table["since_ns"])
        begins = np.flatnonzero(seen & (table["state"] == _DRIVES) & (mono_ns - since_ns >= STANDS_NS))
        # A halt is held until its vehicle is well away; who has begun to move does not stand any more.
        table["leaves"] = (mono_ns - tracks.rest_since_ns < SETTLES_NS) & (way >= MOVES * size)
        if not len(begins):
            return
        table["came"][begins] |= (tracks.rest_since_ns > tracks.first_seen_ns)[begins]
        table["state"][begins], table["alone_ns"][begins] = _ALONE, 0
        table["since_ns"][begins] = table["halt_ns"][begins] = since_ns[begins]
        table["stood_ns"][begins] = mono_ns - since_ns[begins]
        table["halt_box"][begins] = tracks.xyxy[begins]
        table["leaves"][begins] = False
        self._go_on(begins, len(tracks), mono_ns)

    def _part(self, tracks: Tracks, seen: Bool, step_ns: int, mono_ns: int) -> None:
        """Who is seen apart from the one that it came out of, or drives on while that one stands, is another."""
        table = self._table[: len(seen)]
        if (table["part_of"] < 0).all():
            return
        middle = _middles(table["box"])
        whole = rows_again(table["part_of"], table["track_id"])
        rows = np.flatnonzero((whole >= 0) & seen)
        rows = rows[seen[whole[rows]]]
        whole = whole[rows]
        moves = mono_ns - tracks.rest_since_ns[whole] < SETTLES_NS
        fresh = table["looks"][rows] <= 1
        table["joined_at"][rows[moves | fresh]] = middle[rows[moves | fresh]]
        gap = np.diagonal(_gap(table["box"][np.concatenate([rows, whole])])[: len(rows), len(rows) :])
        table["apart_ns"][rows] = np.where(gap > APART, table["apart_ns"][rows] + step_ns, 0)
        on = np.hypot(*(middle[rows] - table["joined_at"][rows]).T) >= OTHER_PLACE * _sizes(table["box"][rows])
        table["part_of"][rows[on | (table["apart_ns"][rows] >= STANDS_NS)]] = -1

    def _leave(self, rows: Int64, mono_ns: int) -> None:
        """Their halts are over; what they were is kept for as long as it may show that they stand there as ever."""
        if not len(rows) and not len(self._left):
            return
        left = self._table[rows[self._table["state"][rows] != _QUEUES]]  # a copy; who waits is taken up again anyway
        left["box"], left["seen_ns"] = left["halt_box"], mono_ns
        kept = self._left[mono_ns - self._left["seen_ns"] <= SLID_NS]
        self._left = np.concatenate([kept, left])[-HIDDEN_MAX:]
        self._table["state"][rows], self._table["since_ns"][rows] = _DRIVES, mono_ns
        self._companions[rows] = False

    def _go_on(self, begins: Int64, seen: int, mono_ns: int) -> None:
        """Who begins to stand where somebody stood who was lost from sight stands in for him.

        So does who turns up, not seen to drive in, where somebody's track has slid off with another vehicle.
        """
        table, left = self._table, self._left
        hidden = np.flatnonzero((table["state"] != _DRIVES) & (table["seen_ns"] < mono_ns))
        begun, lost = _same_place(table["box"][begins], table["box"][hidden])
        begun, lost = begins[begun], hidden[lost]
        gone = (lost >= seen) | (table["seen_ns"][lost] <= table["since_ns"][begun])
        begun, lost = begun[gone], lost[gone]
        _inherit(table, begun, table[lost])
        self._companions[begun] = self._companions[lost]
        self._companions[:, begun] = self._companions[:, lost]
        table["state"][lost] = _DRIVES  # forgotten with the next look

        others = np.setdiff1d(begins, begun)
        begun, slid = _same_place(table["box"][others], left["box"])
        begun = others[begun]
        stayed = ~table["drove"][begun] | (table["track_id"][begun] == left["track_id"][slid])
        _inherit(table, begun[stayed], left[slid[stayed]])

    def _link(self) -> None:
        """Companions: who halts together, who halts behind or beside a queue, and who is followed while it queues."""
        table = self._table
        able = table["came"] & ((table["state"] == _ALONE) | (table["state"] == _QUEUES))
        rows = np.flatnonzero(able)
        if len(rows) < 2:
            return
        box, halt_ns, queues = table["box"][rows], table["halt_ns"][rows], table["state"][rows] == _QUEUES
        way = _middles(box) - table["towed"][rows]
        length = np.hypot(*way.T)
        known = length >= KNOWN_WAY * _sizes(box)
        way /= np.maximum(length, 1e-6)[:, None]
        near = (_gap(box) <= NEAR) & ((way @ way.T >= SAME_WAY) | ~known[:, None] | ~known[None, :])
        near &= ~_one_vehicle(table[rows])
        apart_ns = halt_ns[:, None] - halt_ns[None, :]
        holds = (table["drove"] | (table["score_sum"] >= SURE * table["looks"]))[rows][None, :]
        together = near & (np.abs(apart_ns) <= TOGETHER_NS)
        queues |= (together & holds).any(axis=1)
        joins = near & (apart_ns > 0) & queues[None, :]
        followed = (joins & _in_line(box, way)).T
        self._companions[np.ix_(rows, rows)] |= (together | joins | followed) & holds

    def _judge(self, seen: int, step_ns: int, mono_ns: int) -> None:
        table = self._table
        unparked = (table["state"] == _ALONE) | (table["state"] == _QUEUES)
        table["state"][unparked & self._companions.any(axis=1)] = _QUEUES
        queues = table["state"] == _QUEUES
        stands = (table["state"] != _DRIVES) & (mono_ns - table["seen_ns"] <= GONE_NS)
        companions = self._companions & stands[None, :]
        held = (companions & (_gap(table["box"]) <= FAR) if companions.any() else companions).any(axis=1)
        looked = np.arange(len(table)) < seen
        table["alone_ns"] = np.where(held, 0, table["alone_ns"] + np.where(looked & queues, step_ns, 0))
        table["stood_ns"] += np.where(table["state"] != _DRIVES, step_ns, 0)
        over = (table["alone_ns"] > GONE_NS) | (table["stood_ns"] >= self._queue_max_ns)
        table["state"][queues & over] = _PARKED


def _parts_of(tracks: Tracks, fresh: Int64) -> Int64:
    """Of these rows the tracks of old on whose ground they are, -1 for none."""
    whole = tracks.detection >= 0
    whole[fresh] = False
    parts = np.full(len(fresh), -1, np.int64)
    for place, row in enumerate(fresh):  # a handful in a look, most of them on free ground
        found = np.flatnonzero(whole & finding_again.same_ground(tracks.xyxy[row], tracks.xyxy))
        parts[place] = tracks.track_id[found[0]] if len(found) else -1
    return parts


def _one_vehicle(rows: npt.NDArray[np.void]) -> Bool:
    """(N,) -> (N, N): two boxes on one ground, itself included, or one that came out of the other and has not parted
    from it."""
    part = rows["part_of"][:, None] == rows["track_id"][None, :]
    return np.asarray(part | part.T | finding_again.same_ground(rows["box"].T[..., None], rows["box"]))


def _inherit(table: npt.NDArray[np.void], heirs: Int64, before: npt.NDArray[np.void]) -> None:
    """The heirs' halts, rows of the table, go on with those of before."""
    for name in ("state", "came", "drove", "halt_ns", "stood_ns", "alone_ns"):
        table[name][heirs] = before[name]
    # Row by row: two or three in an hour.
    for heir, one in zip(heirs, before, strict=True):
        parts = table["part_of"] == one["track_id"]
        table["part_of"][parts] = table["track_id"][heir]
        table["part_of"][heir] = one["part_of"] if one["part_of"] != table["track_id"][heir] else -1


def _same_place(box: Float32, lost: Float32) -> tuple[Int64, Int64]:
    """Of (N, 4) that begin to stand and (L, 4) lost ones those that stand in one's place, pair by pair, each used
    once."""
    if not len(box) or not len(lost):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    overlap = finding_again.place_overlap(lost, box).T
    best = overlap.argmax(axis=1)
    mutual = (overlap.argmax(axis=0)[best] == np.arange(len(box))) & (overlap.max(axis=1) >= 0.5)
    return np.flatnonzero(mutual), best[mutual]


def _middles(xyxy: Float32) -> Float64:
    """(N, 4) -> (N, 2) the middles of the boxes' lower edges: where things stand."""
    return boxes.anchors(xyxy).astype(np.float64)


def _sizes(xyxy: Float32) -> Float64:
    return np.sqrt(np.maximum(boxes.area(xyxy), 1)).astype(np.float64)


def _gap(xyxy: Float32) -> Float64:
    """(N, 4) -> (N, N) how far apart the boxes are, in the smaller's widths or shares of its height, whichever is more;
    0 if they meet."""
    begin, end = xyxy[:, :2].astype(np.float64), xyxy[:, 2:].astype(np.float64)
    between = np.maximum(begin[:, None], begin[None, :]) - np.minimum(end[:, None], end[None, :])
    smaller_wh = np.minimum((end - begin)[:, None], (end - begin)[None, :]) * np.array([1, UPRIGHT])
    return np.asarray((np.maximum(between, 0) / np.maximum(smaller_wh, 1e-6)).max(axis=2), np.float64)


def _in_line(xyxy: Float32, way: Float64) -> Bool:
    """(N, 4), (N, 2) -> (N, N): the first stands behind the second, on the line of its own way."""
    middle = _middles(xyxy)
    ahead = middle[None, :] - middle[:, None]
    along = (ahead * way[:, None]).sum(axis=2)
    beside = np.abs(ahead - along[..., None] * way[:, None])
    wh = (xyxy[:, 2:] - xyxy[:, :2]).astype(np.float64)
    narrower = np.minimum(wh[:, None], wh[None, :]) * np.array([1, 0.5])
    return np.asarray((along > 0) & ((beside / np.maximum(narrower, 1e-6)).max(axis=2) <= IN_LINE))
