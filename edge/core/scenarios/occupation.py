"""Things put out on the ground, whatever they are: a shop's chairs and crates, a cart with its vendor.

Evidence of several kinds is joined by nearness into occupations, and each is one finding, however its pieces change.

    labels     things that stand and that the detector has a word for
    regions    things of no known class that have come and stayed, where no track explains them
    people     who stay beside them; they support an occupation and never make one
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from edge.core import boxes, ground, polygons
from edge.core.finding_again import FIXTURE_SCORE_MIN, FOUND_SHARE
from edge.core.pieces import NO_LABEL, Evidence, Float64, PieceMemory, Table
from edge.core.scenarios.left_object import AREA_MIN_PX
from edge.core.scenarios.rule import PEOPLE_LOOK_NS, SPOT, Rule, Scenario, large_enough_cm, three_looks_in, wanted
from edge.core.scene import Scene
from edge.core.types import HIDDEN, HOLDS, LASTS, NS_PER_S, Bool, Findings, Float32, Int16, Int64, Tracks
from edge.core.zones import ZoneMap

LABELS, REGIONS, PEOPLE = "labels", "regions", "people"
APPEARED, STAYS = "appeared-object", "people-stay"

PERSON = "person"
# A thing of a known class that has kept its place for so long was put there. A cart that is pushed off keeps it for a
# second now and then, by a box that is good to a tenth of its size.
SETTLED_NS = 3 * NS_PER_S
FOUND_MORE_NS = 2 * NS_PER_S  # beyond that: a track must be confirmed first
SPEED_MAX = 0.4  # body heights a second; an adult's walk is about 0.8, who stands at a stall shuffles below half
SAME_PIECE = 0.5  # share of a region within labelled things, overlap of two labelled ones: one thing seen twice
CARRIED_SIDE_MAX = 0.8  # body heights: an open umbrella is 0.6 wide, a large suitcase 0.5 high, a parasol above 1
CARRIED_NS = 5 * NS_PER_S  # the detector misses the one who carries it for a moment
COMPANY_NS = 20 * NS_PER_S  # a vendor whose track was lost must be found anew and stay again: the same company
COMPANY_SEEN_NS = 3 * NS_PER_S  # the detector misses people for moments; longer, and nobody is known to be there


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class OccupationRule(Rule):
    kind: ClassVar[str] = "occupation"
    keyed_by: ClassVar[str] = SPOT
    sees_regions: ClassVar[bool] = True

    evidence: tuple[str, ...] = (LABELS, REGIONS, PEOPLE)
    things_min: int = 1
    large_min: float = 0.0  # fraction of the zone; one thing so large is enough by itself. 0: none is
    large_cm_min: float = 0.0  # instead, where the zone has a scale: the longer side. 0: none is
    size_min: float = 0.0  # fraction of the zone
    size_cm_min: float = 0.0  # and the longer side; 0: none asked for
    tolerance: float = 0.0  # what stands this near to the zone's front does not count: fraction of the zone's depth
    tolerance_cm: float = 0.0  # instead, where the zone has a scale
    spacing: float = 2.0  # things this many sides of the smaller apart, or nearer, are one occupation
    region_score_min: float = 0.5
    needs_person: bool = False  # without somebody who stays beside it, it is another scenario's
    stay_ns: int = 10 * NS_PER_S  # whoever has been in the zone for so long, and is slow, stays
    must_arrive: bool = False  # only what has come while the camera watched counts
    carried: tuple[str, ...] = ()  # labels of what people have with them; does not count while somebody holds it

    @property
    def found_within_ns(self) -> int:
        return SETTLED_NS + FOUND_MORE_NS

    @property
    def look_max_ns(self) -> int:
        """Where somebody must stay beside the things, he must be told from those who pass."""
        things_ns = three_looks_in(self.after_ns)
        return min(things_ns, PEOPLE_LOOK_NS, three_looks_in(self.stay_ns)) if self.needs_person else things_ns

    @property
    def reason_names(self) -> tuple[str, ...]:
        return (*(self.label_names[row] for row in self.labels), APPEARED, STAYS)

    def rows_of(self, names: Sequence[str]) -> Int16:
        return np.array([row for row, name in enumerate(self.label_names) if name in names], np.int16)


class _Occupied(NamedTuple):
    """One row of findings in the making."""

    zone: int
    xyxy: Float32
    label: int
    score: float
    since_ns: int
    things: int
    reasons: Bool
    extent: int


class Occupation(Scenario):
    rule: OccupationRule

    def __init__(self, rule: OccupationRule, zones: Sequence[Float32]) -> None:
        super().__init__(rule, zones)
        self._zones = ZoneMap(zones, anchor=rule.anchor)
        self._polygons = zones
        self._zone_area = np.array([polygons.area(zone) for zone in zones])  # (Z,) of the frame's area
        self._memory = PieceMemory(judged_ns=max(rule.after_ns, NS_PER_S))
        self._people = rule.rows_of([PERSON])
        self._portable = rule.rows_of(rule.carried)
        self._occupations = 0  # numbers given so far

    def find(self, scene: Scene) -> Findings:
        evidence = self._things(scene).and_also(self._appeared(scene))
        matters = self._large_enough(evidence, scene) & ~self._tolerated(evidence, scene)
        pieces = self._memory.update(evidence.take(matters), scene)
        self._see_people(pieces, scene)
        counts = self._counts(pieces, scene.frame.mono_ns)
        self._join(pieces, counts)
        return self._occupied(pieces, counts, scene)

    def interrupt(self) -> None:
        self._memory.interrupt()

    # Evidence

    def _things(self, scene: Scene) -> Evidence:
        tracks, presence = scene.tracks, scene.presence[self.rule.anchor]
        now_ns = scene.frame.mono_ns
        still = wanted(tracks, self.rule) & (now_ns - tracks.rest_since_ns >= SETTLED_NS)
        still &= LABELS in self.rule.evidence
        zone, row = np.nonzero(presence.inside & self.rule.zone_mask()[:, None] & still[None, :])
        # A thing that was too dim to count until now has not stood there for us.
        last_ns = self._memory.looked_ns if self._memory.looked_ns >= 0 else now_ns
        since_ns = np.maximum(tracks.rest_since_ns[row], presence.entered_ns[zone, row])
        return Evidence(
            zone=zone.astype(np.int64),
            xyxy=tracks.xyxy[row],
            label=tracks.label[row],
            track_id=tracks.track_id[row],
            since_ns=np.maximum(since_ns, last_ns - SETTLED_NS),
            score=tracks.score[row],
        )

    def _appeared(self, scene: Scene) -> Evidence:
        regions = scene.regions
        width, height = scene.frame.size_px
        unexplained = regions.appeared & (regions.explained_by < 0) & (regions.score >= self.rule.region_score_min)
        unexplained &= REGIONS in self.rule.evidence
        inside = self._zones.inside(regions.xyxy, width=width, height=height)
        zone, row = np.nonzero(inside & self.rule.zone_mask()[:, None] & unexplained[None, :])
        return Evidence(
            zone=zone.astype(np.int64),
            xyxy=regions.xyxy[row],
            label=np.full(len(row), NO_LABEL, np.int16),
            track_id=np.full(len(row), -1, np.int64),
            since_ns=regions.since_ns[row],
            score=regions.score[row],
        )

    def _large_enough(self, evidence: Evidence, scene: Scene) -> Bool:
        size_min_px = np.maximum(self._zone_px(evidence.zone, scene) * self.rule.size_min, AREA_MIN_PX)
        large_cm = large_enough_cm(
            evidence.xyxy,
            evidence.zone,
            self.rule,
            size_cm_min=self.rule.size_cm_min,
            size_px=scene.frame.size_px,
        )
        return np.asarray((boxes.area(evidence.xyxy) >= size_min_px) & large_cm)

    def _tolerated(self, evidence: Evidence, scene: Scene) -> Bool:
        """(N,) what stands no further out from the shops than it may."""
        size_px, grounds = scene.frame.size_px, self.rule.grounds
        foot = boxes.anchors(evidence.xyxy)
        tolerated = np.zeros(len(evidence), np.bool_)
        for row, known in enumerate(grounds):  # zones are few
            if known.front is None:
                continue
            corners = polygons.to_pixels(self._polygons[row], width=size_px[0], height=size_px[1])
            depth_px = ground.from_line(corners, known.front, size_px).max()
            out_px = ground.from_line(foot, known.front, size_px)
            out_cm = ground.in_cm(out_px, foot[:, 1], evidence.zone, grounds, size_px)
            by_cm = self.rule.tolerance_cm > 0 and known.scale is not None
            within = out_cm <= self.rule.tolerance_cm if by_cm else out_px <= self.rule.tolerance * depth_px
            tolerated |= (evidence.zone == row) & within
        return tolerated

    def _zone_px(self, zone: Int64, scene: Scene) -> Float32:
        """(N,) zones -> (N,) px²."""
        width, height = scene.frame.size_px
        return np.asarray(self._zone_area[zone] * (width * height), np.float32)

    # People

    def _see_people(self, pieces: Table, scene: Scene) -> None:
        """Note what people hold in their hands, and beside which pieces they stay."""
        tracks, now_ns = scene.tracks, scene.frame.mono_ns
        person = (tracks.detection >= 0) & tracks.labelled(self._people) & (tracks.score >= self.rule.score_min)
        self._see_hands(pieces, tracks.take(person), now_ns)
        if PEOPLE not in self.rule.evidence:
            return
        presence = scene.presence[self.rule.anchor]
        slow = presence.inside & (person & (tracks.speed <= SPEED_MAX))[None, :]
        beside = ground.beside(pieces["xyxy"], tracks.xyxy) & slow[pieces["zone"]]
        entered_ns = presence.entered_ns[pieces["zone"]]
        self._note_beside(pieces, beside, entered_ns, now_ns)
        stays = beside & (presence.visible_ns >= self.rule.stay_ns)[pieces["zone"]]
        company = stays.any(axis=1)
        begins = company & ((pieces["company_since_ns"] == 0) | (now_ns - pieces["company_ns"] > COMPANY_NS))
        # That somebody stays is known after a while; where the stay began is known from then on.
        since_ns = np.maximum(pieces["beside_since_ns"], _earliest(entered_ns, stays))
        pieces["company_since_ns"][begins] = since_ns[begins]
        pieces["company_ns"][company] = now_ns

    def _note_beside(self, pieces: Table, beside: Bool, entered_ns: Int64, now_ns: int) -> None:
        """`beside`, `entered_ns`: (P, T) who stands beside which piece, and since when in its zone."""
        somebody = beside.any(axis=1)
        begins = somebody & ((pieces["beside_since_ns"] == 0) | (now_ns - pieces["beside_ns"] > COMPANY_SEEN_NS))
        # A thing of no known class is told some seconds after it has come; who stands beside it then came with it.
        with_it = np.maximum(pieces["since_ns"], _earliest(entered_ns, beside))
        since_ns = np.where(pieces["taken_in_ns"] == now_ns, with_it, now_ns)
        pieces["beside_since_ns"][begins] = since_ns[begins]
        pieces["beside_ns"][somebody] = now_ns

    def _see_hands(self, pieces: Table, people: Tracks, now_ns: int) -> None:
        height = people.xyxy[:, 3] - people.xyxy[:, 1]
        small = ground.sides(pieces["xyxy"])[:, None] <= CARRIED_SIDE_MAX * height[None, :]
        held = (ground.touching(pieces["xyxy"], people.xyxy) & small).any(axis=1)
        pieces["carried_ns"][held & np.isin(pieces["label"], self._portable)] = now_ns

    # Occupations

    def _counts(self, pieces: Table, now_ns: int) -> Bool:
        """(P,) which pieces are things that were put there, as far as is known."""
        fixture = ~pieces["arrived"] & (self.rule.must_arrive | (self._memory.score < FIXTURE_SCORE_MIN))
        carried = (pieces["carried_ns"] > 0) & (now_ns - pieces["carried_ns"] <= CARRIED_NS)
        return np.asarray((self._memory.found_share >= FOUND_SHARE) & ~fixture & ~carried)

    def _join(self, pieces: Table, counts: Bool) -> None:
        """Number the occupations. What once belonged together does so as long as a piece of it is there."""
        rows = np.flatnonzero(counts)
        box, zone, number = pieces["xyxy"][rows], pieces["zone"][rows], pieces["occupation"][rows]
        side = ground.sides(box)
        reach = self.rule.spacing * np.minimum(side[:, None], side[None, :])
        near = (ground.gaps(box) <= reach) & (zone[:, None] == zone[None, :])
        near |= (number[:, None] == number[None, :]) & (number[:, None] >= 0)
        first, chain = np.unique(ground.connected(near), return_inverse=True)
        oldest = np.full(len(first), np.iinfo(np.int64).max)
        np.minimum.at(oldest, chain, np.where(number >= 0, number, np.iinfo(np.int64).max))
        new = oldest == np.iinfo(np.int64).max
        oldest[new] = self._occupations + np.arange(np.count_nonzero(new))
        self._occupations += int(np.count_nonzero(new))
        pieces["occupation"][rows] = oldest[chain]

    def _occupied(self, pieces: Table, counts: Bool, scene: Scene) -> Findings:
        # Whose last place lies open now is not found: how long that must be so is the case book's.
        numbers = np.unique(pieces["occupation"][counts & ~pieces["empty"]])
        if not len(numbers):
            return Findings.empty()
        distinct = counts & ~_seen_twice(pieces, counts)
        large = counts & self._large(pieces, scene)
        score = self._memory.score
        # A street has a handful of occupations, each of pieces of its own: a loop is the clear form.
        found = [
            self._occupation(pieces[rows], score=score[rows], distinct=distinct[rows], large=large[rows], scene=scene)
            for rows in (np.flatnonzero(counts & (pieces["occupation"] == number)) for number in numbers)
        ]
        return Findings(
            zone=np.array([one.zone for one in found], np.int16),
            xyxy=np.array([one.xyxy for one in found], np.float32),
            label=np.array([one.label for one in found], np.int16),
            score=np.array([one.score for one in found], np.float32),
            track_id=np.full(len(found), -1, np.int64),
            since_ns=np.array([one.since_ns for one in found], np.int64),
            count=np.array([one.things for one in found], np.int16),
            reasons=np.array([one.reasons for one in found], np.bool_),
            extent=np.array([one.extent for one in found], np.int8),
        )

    def _large(self, pieces: Table, scene: Scene) -> Bool:
        """(P,) which are enough by themselves."""
        zone_px = self._zone_px(pieces["zone"], scene)
        by_share = (self.rule.large_min > 0) & (boxes.area(pieces["xyxy"]) >= self.rule.large_min * zone_px)
        if self.rule.large_cm_min <= 0:
            return np.asarray(by_share)
        size_cm = ground.sizes_cm(pieces["xyxy"], pieces["zone"], self.rule.grounds, scene.frame.size_px)
        return np.where(np.isnan(size_cm), by_share, size_cm >= self.rule.large_cm_min)

    def _occupation(self, pieces: Table, *, score: Float64, distinct: Bool, large: Bool, scene: Scene) -> _Occupied:
        """What the pieces of one occupation, one or more of them, come to."""
        rule, now_ns = self.rule, scene.frame.mono_ns
        # Time in which a piece was hidden is no time that it was seen there; in somebody's hands it was not put out.
        since_ns = np.maximum(np.maximum(pieces["since_ns"], now_ns - pieces["visible_ns"]), pieces["carried_ns"])
        company = pieces[(pieces["company_since_ns"] > 0) & (now_ns - pieces["company_ns"] <= COMPANY_SEEN_NS)]
        things = np.sort(since_ns[distinct])
        enough_ns = [int(things[rule.things_min - 1])] if len(things) >= rule.things_min else []
        enough_ns += [int(since_ns[large].min())] if large.any() else []
        begun_ns = min(enough_ns) if enough_ns else int(since_ns.min())
        if rule.needs_person and len(company):
            begun_ns = max(begun_ns, int(company["company_since_ns"].min()))
        enough = bool(enough_ns) and (len(company) > 0 or not rule.needs_person)
        visible = bool((pieces["found"] | pieces["same"]).any())
        labels = pieces["label"][pieces["label"] != NO_LABEL]
        named = np.isin(rule.labels, labels)
        appeared = bool((pieces["label"] == NO_LABEL).any())
        return _Occupied(
            zone=int(pieces["zone"][0]),
            xyxy=boxes.enclosing(pieces["xyxy"]),
            label=int(labels[0]) if len(labels) else NO_LABEL,
            score=float(score.max()),
            since_ns=begun_ns,
            things=max(int(np.count_nonzero(distinct)), 1),
            reasons=np.append(named, [appeared, len(company) > 0]),
            extent=(HOLDS if enough else LASTS) if visible else HIDDEN,
        )


def _earliest(since_ns: Int64, held: Bool) -> Int64:
    """(P, T) -> (P,) the earliest of those that hold, far in the future where none does."""
    far_ns = np.iinfo(np.int64).max
    return np.asarray(np.where(held, since_ns, far_ns).min(axis=1, initial=far_ns), np.int64)


def _seen_twice(pieces: Table, counts: Bool) -> Bool:
    """(P,) a region of a thing that has a label as well, and the second box on one thing."""
    xyxy, region = pieces["xyxy"], pieces["label"] == NO_LABEL
    same_zone = pieces["zone"][:, None] == pieces["zone"][None, :]
    labelled = (~region & counts)[None, :] & same_zone
    explained = region & (np.where(labelled, boxes.coverage(xyxy, xyxy), 0).sum(axis=1) >= SAME_PIECE)
    earlier = np.tri(len(pieces), k=-1, dtype=np.bool_) & counts[None, :] & same_zone
    same_kind = region[:, None] == region[None, :]
    return np.asarray(explained | ((boxes.iou(xyxy, xyxy) >= SAME_PIECE) & earlier & same_kind).any(axis=1))
