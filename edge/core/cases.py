"""The life of cases: keyed by place and appearance, never by a track's number alone.

A finding begins a *pending* case. It opens when the condition held for `after_ns` while it could be seen (at the look
that is nearest to that: stamps tremble), and is cleared when its place was seen to be empty for `clear_after_ns`.
Between looks a place is one of

    seen      found there again, or its pixels still show the same thing although the detector missed it
    waiting   found there, but the finder says that it may have an innocent end: what is seen counts only if it has not
    hidden    something else stands before it: no clock runs
    unknown   it looks different but is not at rest: something moves there, no clock runs
    empty     it looks different, at rest, with nothing before it; or its own track was seen to go

How a case is found again differs by kind: things that stand are matched by place and appearance, people who walk
about by their track and then by nearness, gatherings by the ground that they share: the rule's `keyed_by`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from edge.core import appearance, boxes, finding_again
from edge.core.appearance import SAME_THING
from edge.core.finding_again import FIXTURE_SCORE_MIN, FOUND_SHARE, HIDDEN_SHARE, IN_VIEW_SHARE, SAME_PLACE
from edge.core.recurrence import Diary
from edge.core.scenarios.rule import GROUND, MOMENT, PERSON, REGION, SPOT, THING, ZONE, Rule
from edge.core.scene import Scene
from edge.core.types import (
    CLEARED,
    LASTS,
    NS_PER_S,
    OPENED,
    PENDING,
    WAITS,
    WITHDRAWN,
    Bool,
    Case,
    CaseChange,
    Findings,
    Float32,
    Grounds,
    Occurrence,
    Tracks,
)
from edge.core.zones import seen_step_ns

NAMESPACE = uuid.UUID("5b1f6a52-5d1c-5a0e-9d0c-3f0f4c6f9a10")  # uuid5 of every case lives under this

_DAY_NS = 86_400 * NS_PER_S
LIVE_MAX = 256  # pending and open cases of one rule; beyond, new ones are refused and counted
DISMISSED_MAX = 64  # of one rule, as long as the dismissed things stay; beyond, the one unseen for longest is let go
OTHER_THING = 0.35  # agreement below which a thing that is found there is another one
# Once its own track was seen to drive off, what stands there is another, however alike: unless it agrees as only the
# thing itself does, behind which a lorry had taken its track along.
ITSELF = 0.7
PENDING_GONE_NS = 2 * NS_PER_S  # a pending thing that left starts anew when it comes back
PENDING_UNSEEN_NS = 120 * NS_PER_S  # a pending thing hidden for longer is forgotten: a queue stands before it for less
# A rule that asks for next to no dwell would take one false look, and one trembling box on the line of the zone.
AT_ONCE_NS = NS_PER_S  # such a rule has a shorter `after_ns`
LOOKS_MIN = 3  # in which somebody must be found, or two if they are a second apart
# Stamps tremble: of twenty seconds in looks two apart the tenth may lack a hundredth, and the next comes two later.
EARLY, EARLY_MAX_NS = 0.1, NS_PER_S // 4  # of the time between looks, by which one that is due may come too soon
LACKS_NS = 30 * NS_PER_S  # a pending case that is seen for so long with too little to be one is forgotten
# Looks further apart than this show a street in which everybody may have moved on: what is found where a thing was is
# that thing only if it looks like it, whatever the tracker says. Cars that follow one another at the time between two
# looks are all found at one place.
SPARSE_NS = 3 * NS_PER_S // 4
SPARSE_LOOKS_MIN = 2  # in which such a thing must be found, and its track was seen in one before
SETTLED_ANEW_NS = 3 * NS_PER_S  # an open case moves with its thing when that has stood in its new place this long

IS_SEEN, IS_HIDDEN, IS_EMPTY, IS_UNKNOWN = "seen", "hidden", "empty", "unknown"  # a case's place, in one look
_PLACES = (THING, REGION)
_SEEN_BEFORE = (REGION, GROUND, SPOT)  # reported only when it has lasted for a while, and seen all that time
_FIXTURES = (THING, PERSON)  # for which the detector may take street furniture: a sign, a bollard


@dataclass(slots=True, eq=False)
class _Life:
    """A case in the making, with what only the book needs to know. `case` is replaced, never changed."""

    case: Case
    row: int  # of the camera's zones
    track_id: int
    footprint: Float32  # (4,) px
    patch: Float32
    begun_at: Float32  # (4,) px
    last_patch: Float32 = field(default_factory=appearance.empty_patch)
    found_ns: int = 0  # this and what follows: see Grounds
    found_looks: int = 0
    score_sum: float = 0.0
    arrived: bool = False
    changed_looks: int = 0
    empty_ns: int = 0
    departed: bool = False
    told_ns: int = 0
    waits: bool = False  # when it was last found
    waited_ns: int = 0  # seen time that counts as soon as it waits no more; not kept over a restart
    halt_known_ns: int = 0  # when it was first found in its present halt
    lacks_ns: int = 0  # how long it has been seen with too little to be a case; not kept over a restart
    known_from_before: bool = False  # of an earlier run, and not found again since
    lent_from: int = -1  # the track that the case had before a walker near the place where it was lost took over
    outside_looks: int = 0  # in which a walker in the making was seen, but not in the zone; not kept over a restart
    seems_empty: bool = False  # the empty clock ran at the last look

    @classmethod
    def restored(cls, case: Case, row: int) -> _Life:
        grounds = case.grounds
        return cls(
            case,
            row,
            track_id=-1,  # tracks are numbered anew
            known_from_before=True,
            footprint=np.array(case.footprint, np.float32),
            patch=case.appearance,
            begun_at=np.array(grounds.begun_at, np.float32),
            found_ns=grounds.found_ns,
            found_looks=grounds.found_looks,
            score_sum=grounds.score_sum,
            arrived=grounds.arrived,
            changed_looks=grounds.changed_looks,
            empty_ns=grounds.empty_ns,
            departed=grounds.departed,
            told_ns=grounds.told_ns,
        )

    def keep_grounds(self) -> None:
        """Whoever saves the case saves them with it. A case that is as it was stays the same object."""
        grounds = Grounds(
            found_ns=self.found_ns,
            found_looks=self.found_looks,
            score_sum=self.score_sum,
            arrived=self.arrived,
            begun_at=_corners(self.begun_at),
            changed_looks=self.changed_looks,
            empty_ns=self.empty_ns,
            departed=self.departed,
            told_ns=self.told_ns,
        )
        if grounds != self.case.grounds:
            self.case = replace(self.case, grounds=grounds)


class _Look(NamedTuple):
    """What one frame shows of one case: compared once, asked several times."""

    patch: Float32
    agrees: float  # 0..1 with the case's own patch


class CaseBook:
    """The live cases of one rule at one camera. `advance` once for each analysed frame, in time order."""

    def __init__(
        self,
        rule: Rule,
        *,
        camera: str,
        gateway: str,
        day_of: Callable[[int], int] = lambda wall_ns: wall_ns // _DAY_NS,
    ) -> None:
        """`day_of`: the number of the day of a wall_ns, in the site's calendar."""
        self.rule = rule
        self._day_of = day_of
        self._diary = Diary(rule.scenario, rule.recurrence) if rule.recurrence is not None else None
        self.refused = 0
        self.hurry_ns = 0  # open cases are updated at least as often, whatever the rule says; 0: as the rule says
        self._camera = camera
        self._gateway = gateway
        self._lives: list[_Life] = []
        self._known_ns: int | None = None  # mono; of the last look, or since when restored cases were not seen
        self._looked_ns = -1
        self._step_ns = 0  # of the last look, 0 after a gap
        self._first_look_ns = -1  # of this process
        self._watched_since_ns = 0  # no look has been missing since
        self._active_since_ns = 0  # nothing that was so before counts

    @property
    def live(self) -> list[Case]:
        """Pending and open cases, in the order of their beginning."""
        return [life.case for life in self._lives if life.case.state != WITHDRAWN]

    @property
    def dismissed(self) -> list[Case]:
        """Withdrawn cases whose thing stays: it is followed as ever, and opens no case."""
        return [life.case for life in self._lives if life.case.state == WITHDRAWN]

    @property
    def occurrences(self) -> list[Occurrence]:
        """What a rule that asks how often it came must know after a restart."""
        return self._diary.rows if self._diary is not None else []

    def remember(self, occurrences: Iterable[Occurrence]) -> None:
        """Go on with the occurrences of an earlier run, as far as they are of this book's scenario and zones."""
        zones = {self.rule.zone_names[row] for row in self.rule.zones}
        if self._diary is not None:
            self._diary.restore(one for one in occurrences if one.scenario == self.rule.scenario and one.zone in zones)

    def advance(self, findings: Findings, scene: Scene, *, active: bool = True) -> list[CaseChange]:
        """Take one frame's findings in; returns what the outside must be told, in order."""
        now_ns = scene.frame.mono_ns
        self._step_ns = step_ns = seen_step_ns(self._looked_ns, now_ns)
        self._looked_ns = -1 if scene.blind else now_ns
        self._known_ns = now_ns
        if step_ns == 0:
            self._watched_since_ns = now_ns
        self._fit_to(scene.frame.size_px)
        if not active and not self.rule.pauses:
            self._active_since_ns = now_ns
            return self._end_all(now_ns, "hours")
        if scene.blind:
            return []
        if self._first_look_ns < 0:
            self._first_look_ns = now_ns
        if self.rule.keyed_by == GROUND:
            findings = self._gathered(findings)
        # A camera has a handful of live cases, each a small state machine: a loop over them is the clear form.
        looks = [self._look(life, scene) for life in self._lives]
        rows = self._match(findings, looks, scene)
        for life, look, row in zip(self._lives, looks, rows, strict=True):
            empty_ns = life.empty_ns
            if row >= 0 and findings.extent[row] >= (WAITS if life.case.state == PENDING else LASTS):
                self._see(life, look, (findings, row), scene, step_ns if active else 0)
            elif row < 0:
                self._judge_unfound(life, look, scene, step_ns)
            elif findings.extent[row] == LASTS:
                life.lacks_ns += step_ns
            life.last_patch = look.patch
            life.seems_empty = life.empty_ns > empty_ns
        self._begin(findings, rows, scene)
        return self._turn(scene)

    def unknown_ns(self, now_ns: int) -> int:
        """For how long the live cases have not been looked at, by this book or by the one before it."""
        return 0 if self._known_ns is None else now_ns - self._known_ns

    def watches(self, case: Case) -> bool:
        """Whether a case of an earlier run is one of this book's: same scenario, in a zone that is still watched."""
        zones = {self.rule.zone_names[row] for row in self.rule.zones}
        return case.scenario == self.rule.scenario and case.zone in zones

    def interrupt(self) -> None:
        """The time until the next look is unknown: nothing was seen in it, neither a thing nor an empty place."""
        self._looked_ns = -1

    def restore(self, cases: Iterable[Case], *, now_ns: int) -> None:
        """Go on with cases of an earlier run, before the first look; each must be one that the book `watches`."""
        for case in cases:
            known = _seen_before(case, now_ns)
            self.remember(case.occurrences)  # a kill may have come between the alert and the diary's own keeping
            if self.rule.keyed_by == ZONE:
                self._lives = [life for life in self._lives if not self._is_begun_for(life, known)]
            self._lives.append(_Life.restored(known, self.rule.zone_names.index(case.zone)))
            self._known_ns = min(known.last_seen_ns, now_ns if self._known_ns is None else self._known_ns)

    def dismiss(self, case_id: str, *, mono_ns: int) -> CaseChange | None:
        """End an open case by a person's word, or None if no such case is open.

        The word holds for this thing at this place while it stays, found again as an open case is; another thing there
        is another case.
        """
        life = self._open(case_id)
        if life is None:
            return None
        change = _ended(life.case, WITHDRAWN, mono_ns, "dismissed")
        life.case = change.case
        held = [life for life in self._lives if life.case.state == WITHDRAWN]
        if len(held) > DISMISSED_MAX:
            self._lives.remove(min(held, key=lambda life: life.case.last_seen_ns))
        return change

    def tell_again(self, case_id: str, *, reason: str) -> CaseChange | None:
        """Something has come to an open case that the outside is to have; None where it is not open any more.

        Its regular updates come as if nothing had been told.
        """
        life = self._open(case_id)
        if life is None:
            return None
        life.case = replace(life.case, alerts=life.case.alerts + 1)
        return CaseChange(life.case, "updated", reason)

    def place_of(self, case_id: str, scene: Scene) -> str:
        """What the last look, `scene`, shows of an open case: IS_SEEN and so on; "" if none is open."""
        life = self._open(case_id)
        if life is None:
            return ""
        if life.case.last_seen_ns == scene.frame.mono_ns:
            return IS_SEEN
        if _hidden_share(life, scene.tracks) >= HIDDEN_SHARE:
            return IS_HIDDEN
        return IS_EMPTY if life.seems_empty else IS_UNKNOWN

    def revoke(self, case_id: str) -> None:
        """A dismissal is taken back: if the thing still stays, it is found anew."""
        self._lives = [life for life in self._lives if life.case.case_id != case_id or life.case.state != WITHDRAWN]

    def _open(self, case_id: str) -> _Life | None:
        return next((life for life in self._lives if life.case.case_id == case_id and life.case.state == OPENED), None)

    def _is_begun_for(self, life: _Life, earlier: Case) -> bool:
        """Whether a zone's case was begun before the earlier run's was known: it is that very one."""
        begun_here = 0 <= self._first_look_ns <= life.case.started_ns
        return life.case.zone == earlier.zone and life.case.state == PENDING and begun_here

    def _fit_to(self, size_px: tuple[int, int]) -> None:
        """A camera that has another resolution now still shows the same street."""
        for life in self._lives:
            before_px = life.case.frame_px
            if before_px == size_px:
                continue
            scale = boxes.rescaling(before_px, size_px)
            life.footprint, life.begun_at = life.footprint * scale, life.begun_at * scale
            life.case = replace(life.case, footprint=_corners(life.footprint), frame_px=size_px)
            life.keep_grounds()

    # Finding again

    def _match(self, findings: Findings, looks: list[_Look], scene: Scene) -> list[int]:
        """For each live case the row of its finding, or -1; the strongest pairs first, each used once."""
        rows = [-1] * len(self._lives)
        affinity = np.zeros((len(self._lives), len(findings)), np.float32)
        footprints = np.array([life.footprint for life in self._lives], np.float32).reshape(-1, 4)
        overlap = finding_again.place_overlap(footprints, findings.xyxy)
        for index, (life, look) in enumerate(zip(self._lives, looks, strict=True)):
            affinity[index] = self._affinity(life, look, findings, overlap[index], scene)
        while affinity.size and affinity.max() > 0:
            index, row = divmod(int(affinity.argmax()), len(findings))
            rows[index] = row
            affinity[index, :] = 0
            affinity[:, row] = 0
        return rows

    def _gathered(self, findings: Findings) -> Findings:
        """What lies on the ground of one case is one finding: a crowd that parts in two, or looks as if it did."""
        shared = np.array([self._on_ground(life, findings) for life in self._lives], np.float32)
        if not shared.size:
            return findings
        owner = np.where(shared.max(axis=0) > 0, shared.argmax(axis=0), len(self._lives) + np.arange(len(findings)))
        if len(np.unique(owner)) == len(findings):
            return findings
        parts = [np.flatnonzero(owner == one) for one in np.unique(owner)]
        first = np.array([rows[findings.count[rows].argmax()] for rows in parts])
        return replace(
            findings.take(first),
            xyxy=np.array([boxes.enclosing(findings.xyxy[rows]) for rows in parts], np.float32),
            count=np.array([findings.count[rows].sum() for rows in parts], np.int16),
            reasons=np.array([findings.reasons[rows].any(axis=0) for rows in parts], np.bool_),
            extent=np.array([findings.extent[rows].max() for rows in parts], np.int8),
        )

    def _on_ground(self, life: _Life, findings: Findings) -> Float32:
        """(N,) how well each gathering continues this one; one in the making needs as many people as a new one."""
        goes_on = findings.zone == life.row
        if life.case.state == PENDING:
            goes_on &= self.rule.begins(findings)
        return np.where(goes_on, finding_again.ground_shared(life.footprint, findings.xyxy), 0).astype(np.float32)

    def _affinity(self, life: _Life, look: _Look, findings: Findings, overlap: Float32, scene: Scene) -> Float32:
        """(N,) how well each finding continues this case; 0 for not at all."""
        same_track = (findings.track_id >= 0) & (findings.track_id == life.track_id)
        same_zone = findings.zone == life.row
        if self.rule.keyed_by in _PLACES:
            same = (overlap, same_track, same_zone)
            return self._place_affinity(life, look, findings, same, scene.frame.mono_ns)
        if self.rule.keyed_by == PERSON:
            since_gap = self._watched_since_ns > life.case.last_seen_ns
            within_ns = finding_again.FOLLOW_BLANK_NS if since_gap else finding_again.FOLLOW_GAP_NS
            near = finding_again.nearness(
                life.footprint, findings, scene, lost_ns=life.case.last_seen_ns, within_ns=within_ns
            )
            near = near * (not life.departed and not _left_picture(life, scene))
            # The track that was taken for lost is surer than the one that was met near it: people cross.
            returned = (findings.track_id >= 0) & (findings.track_id == life.lent_from)
            strength = np.where(returned, 3, np.where(same_track, 2, near))
        elif self.rule.keyed_by == MOMENT:
            strength = same_track
        elif self.rule.keyed_by == ZONE:
            # What was seen to end and to begin anew is another case. What is so at our first look may be as before.
            known_ns = max(life.case.last_seen_ns, self._first_look_ns)
            strength = same_zone & ~((findings.since_ns > known_ns) & (findings.since_ns < scene.frame.mono_ns))
        else:
            strength = self._on_ground(life, findings)
        return np.where(same_zone, strength, 0).astype(np.float32)

    def _place_affinity(
        self, life: _Life, look: _Look, findings: Findings, same: tuple[Float32, Bool, Bool], now_ns: int
    ) -> Float32:
        """A place is itself whatever the zone: a car on the line between two is in one now and in the other then."""
        overlap, same_track, same_zone = same
        never_left = same_track | (findings.since_ns <= life.case.last_seen_ns)
        opened = life.case.state != PENDING
        alike = look.agrees >= (ITSELF if life.departed else OTHER_THING if opened else SAME_THING)
        if self.rule.keyed_by == THING and not opened and self._is_sparse:
            never_left &= alike
        # An open case follows its own thing to a new place in the zone; a pending one starts anew there, or every
        # queue would add its halts up to one long stop.
        moved = same_track & same_zone & opened & (now_ns - findings.since_ns >= SETTLED_ANEW_NS)
        # A track that slides off with a vehicle that passes has not settled, whatever its box was before.
        moved &= now_ns - life.case.last_seen_ns >= SETTLED_ANEW_NS
        strength = np.where((overlap >= SAME_PLACE) & (never_left | alike), overlap + same_track, 0)
        if self.rule.keyed_by == REGION and not opened:
            # The rim of a heap is a region before its carrier uncovers the rest.
            grown = finding_again.has_grown(life.footprint, findings.xyxy) & same_zone & (never_left | alike)
            strength = np.where((strength == 0) & grown, 0.2, strength)
        return np.where((strength == 0) & moved, 0.1, strength).astype(np.float32)

    def _look(self, life: _Life, scene: Scene) -> _Look:
        """What is to be seen now where the case stands, or where a walker was first seen."""
        if self.rule.keyed_by in _PLACES or (self.rule.keyed_by == SPOT and life.known_from_before):
            patch = scene.patch(life.footprint)
        elif self.rule.keyed_by == PERSON and not life.arrived:
            patch = scene.patch(life.begun_at)
        else:
            return _Look(life.patch, 1.0)
        return _Look(patch, appearance.agreement(life.patch, patch))

    # One look at one case

    def _see(self, life: _Life, look: _Look, found: tuple[Findings, int], scene: Scene, step_ns: int) -> None:
        findings, row = found
        box = findings.xyxy[row]
        track_id = int(findings.track_id[row])
        same_track = track_id == life.track_id
        if not same_track:
            life.lent_from = -1 if track_id == life.lent_from else life.track_id
        life.track_id = track_id
        life.waits = bool(findings.extent[row] == WAITS)
        if findings.since_ns[row] > life.halt_known_ns:
            life.halt_known_ns = scene.frame.mono_ns
            life.waited_ns *= not same_track  # it moved up: what it waited before is no parking
        life.known_from_before, life.lacks_ns = False, 0
        if self.rule.keyed_by == GROUND:  # reported late, as after a restart: what was seen meanwhile counts as well
            since_ns = max(int(findings.since_ns[row]), self._watched_since_ns, life.case.last_seen_ns)
            step_ns = max(step_ns, scene.frame.mono_ns - since_ns)
        life.found_ns += step_ns
        life.found_looks += 1
        life.score_sum += float(findings.score[row])
        life.case = replace(
            life.case,
            label=self._label(findings, row) if life.case.state == PENDING else life.case.label,
            score=max(life.case.score, float(findings.score[row])),
            count=int(findings.count[row]),
            reasons=self._reasons(findings, row),
        )
        if self.rule.keyed_by in _PLACES:
            self._settle(life, look, box, scene, same_track=same_track)
        else:
            life.footprint = box
            if self.rule.keyed_by == SPOT and _covered_share(life, self._strangers(scene.tracks)) <= IN_VIEW_SHARE:
                life.patch = scene.patch(box)
            life.arrived |= float(boxes.iou(life.begun_at[None], box[None])[0, 0]) == 0
            life.changed_looks += look.agrees < SAME_THING
        self._credit(life, scene.frame.mono_ns, step_ns)

    def _is_waited_for(self, life: _Life, scene: Scene) -> bool:
        """Somebody in the making is followed outside the zone, and comes back in time."""
        away_ns = scene.frame.mono_ns - life.case.last_seen_ns
        return (
            life.case.state == PENDING
            and away_ns <= self.rule.waits_ns
            and bool((scene.tracks.track_id == life.track_id).any())
        )

    def _is_outside(self, life: _Life, scene: Scene) -> bool:
        """The walker's own track is seen in this frame, and not in the zone."""
        own = (scene.tracks.track_id == life.track_id) & (scene.tracks.detection >= 0)
        return bool(own.any()) and not scene.presence[self.rule.anchor].inside[life.row, own].any()

    def _settle(self, life: _Life, look: _Look, box: Float32, scene: Scene, *, same_track: bool) -> None:
        """Keep footprint and appearance true, slowly, and never learn the one who stands before the thing."""
        overlap = float(boxes.iou(life.footprint[None], box[None])[0, 0])
        if overlap < SAME_PLACE and same_track:
            life.footprint = box
            life.patch = scene.patch(box)
            return
        if _covered_share(life, scene.tracks) > IN_VIEW_SHARE:
            return
        if overlap < SAME_PLACE and self.rule.keyed_by == REGION:  # it is in the making, and has grown
            life.footprint = box
            life.patch = scene.patch(box)
            return
        rate = np.float32(0.1 if look.agrees >= SAME_THING else 0.3)
        life.patch = life.patch + rate * (look.patch - life.patch)
        # A thing that drives off overlaps itself for a while, and must not take its place along; a bag that tips may.
        if overlap >= 0.8 or self.rule.keyed_by == REGION:
            life.footprint = life.footprint + np.float32(0.1) * (box - life.footprint)

    def _judge_unfound(self, life: _Life, look: _Look, scene: Scene, step_ns: int) -> None:
        if self.rule.keyed_by not in _PLACES:
            life.departed |= _left_picture(life, scene)
            life.outside_looks += self._is_outside(life, scene)
            if self.rule.keyed_by == SPOT and _hidden_share(life, self._strangers(scene.tracks)) >= HIDDEN_SHARE:
                return
            if self._is_as_before(life, look):
                self._credit(life, scene.frame.mono_ns, step_ns)
                return
            finds_anew = scene.frame.mono_ns - self._watched_since_ns <= self.rule.found_within_ns
            if not finds_anew and not self._is_waited_for(life, scene):
                life.empty_ns += step_ns
            return
        if self._was_taken_away(life, scene):
            life.empty_ns = PENDING_GONE_NS  # it was the ground, seen bit by bit from behind the thing's carrier
        elif look.agrees >= (ITSELF if life.departed else SAME_THING):
            self._credit(life, scene.frame.mono_ns, step_ns)
        else:
            life.departed |= _went_away(life, scene.tracks)
            life.empty_ns += step_ns if life.departed or self._lies_open(life, look.patch, scene) else 0

    def _was_taken_away(self, life: _Life, scene: Scene) -> bool:
        """What is in the making turns out to be the place where something stood until now."""
        gone = scene.regions.xyxy[~scene.regions.appeared]
        if self.rule.keyed_by != REGION or life.case.state != PENDING or not len(gone):
            return False
        return bool((finding_again.place_overlap(life.footprint[None], gone)[0] >= SAME_PLACE).any())

    def _is_as_before(self, life: _Life, look: _Look) -> bool:
        """Goods of an earlier run: who finds them now has not seen them come, and may not take them for goods."""
        return self.rule.keyed_by == SPOT and life.known_from_before and look.agrees >= SAME_THING

    def _strangers(self, tracks: Tracks) -> Tracks:
        """Whoever is seen and is none of the things that the rule is about: customers before a stall."""
        return tracks.take((tracks.detection >= 0) & ~tracks.labelled(self.rule.labels))

    def _lies_open(self, life: _Life, patch: Float32, scene: Scene) -> bool:
        """Nothing stands before the place, and nothing moves in it."""
        at_rest = appearance.agreement(life.last_patch, patch) >= SAME_THING
        return at_rest and _hidden_share(life, scene.tracks) < HIDDEN_SHARE

    def _credit(self, life: _Life, now_ns: int, step_ns: int) -> None:
        life.empty_ns = 0
        life.departed = False
        life.waited_ns += step_ns
        counts_ns = 0 if life.waits and life.case.state == PENDING else life.waited_ns
        life.waited_ns -= counts_ns
        life.case = replace(
            life.case,
            footprint=_corners(life.footprint),
            appearance=life.patch,
            last_seen_ns=now_ns,
            visible_ns=life.case.visible_ns + counts_ns,
        )

    # Beginnings and ends

    def _begin(self, findings: Findings, rows: list[int], scene: Scene) -> None:
        fresh = self.rule.begins(findings) & (findings.extent >= WAITS)
        fresh[[row for row in rows if row >= 0]] = False
        for row in np.nonzero(fresh)[0]:
            box = findings.xyxy[row]
            if any(self._is_part_of(box, int(findings.zone[row]), life, scene) for life in self._lives):
                continue
            if int(findings.track_id[row]) in self._known_tracks(scene.frame.mono_ns):
                continue  # seen in two zones at once; or it has moved within its own, and is not yet settled anew
            if len(self._lives) >= LIVE_MAX:
                self.refused += 1
                continue
            self._lives = [life for life in self._lives if not self._gives_way(life, box, scene.frame.mono_ns)]
            self._lives.append(self._pending(findings, int(row), scene))

    def _gives_way(self, life: _Life, box: Float32, now_ns: int) -> bool:
        """A thing in the making, long out of sight, on whose ground another stands: it has left."""
        unseen = life.case.state == PENDING and now_ns - life.case.last_seen_ns >= self._unseen_ns
        same = self.rule.keyed_by == THING and bool(finding_again.same_ground(box, life.footprint[None])[0])
        return unseen and same

    def _known_tracks(self, now_ns: int) -> set[int]:
        """Of cases that are or were open, and of whatever was seen at this very look."""
        known = (life for life in self._lives if life.case.state != PENDING or life.case.last_seen_ns == now_ns)
        return {life.track_id for life in known if life.track_id >= 0}

    def _is_part_of(self, box: Float32, zone: int, life: _Life, scene: Scene) -> bool:
        """A second box on a thing that was seen at this very look: no case of its own.

        A static region breaks into pieces more readily than a box of the detector's, so a share is enough there.
        """
        if life.case.last_seen_ns != scene.frame.mono_ns or self.rule.keyed_by in (PERSON, MOMENT):
            return False
        mine, theirs = box[None], life.footprint[None]
        if self.rule.keyed_by == THING:
            return bool(boxes.iou(mine, theirs)[0, 0] >= 0.5 or finding_again.same_ground(box, theirs)[0])
        if self.rule.keyed_by == REGION:
            return bool(max(boxes.coverage(mine, theirs)[0, 0], boxes.coverage(theirs, mine)[0, 0]) >= SAME_PLACE)
        if self.rule.keyed_by == SPOT:
            return life.row == zone and bool(boxes.coverage(mine, theirs)[0, 0] >= 0.5)
        return life.row == zone and bool(boxes.iou(mine, theirs)[0, 0] >= 0.5)

    def _pending(self, findings: Findings, row: int, scene: Scene) -> _Life:
        now_ns, box = scene.frame.mono_ns, findings.xyxy[row]
        since_ns = max(int(findings.since_ns[row]), self._active_since_ns)
        # A track may have stood there for long, but too dimly to count.
        seen_ns = now_ns - max(since_ns, self._watched_since_ns)
        if self.rule.keyed_by not in _SEEN_BEFORE:
            seen_ns = min(seen_ns, max(NS_PER_S, self._step_ns))
        patch = scene.patch(box)
        zone = int(findings.zone[row])
        started_wall_ns = scene.frame.wall_ns - (now_ns - since_ns)
        name = "/".join(
            (
                self._gateway,
                self._camera,
                self.rule.scenario,
                self.rule.zone_names[zone],
                str(started_wall_ns),
                # The same thing may be a case twice: cleared by the hours, and there when they begin again.
                str(scene.frame.wall_ns),
                str(int(findings.track_id[row])),
                ",".join(str(round(float(value), 1)) for value in box),
            )
        )
        case = Case(
            case_id=str(uuid.uuid5(NAMESPACE, name)),
            camera=self._camera,
            scenario=self.rule.scenario,
            zone=self.rule.zone_names[zone],
            state=PENDING,
            label=self._label(findings, row),
            score=float(findings.score[row]),
            count=int(findings.count[row]),
            footprint=_corners(box),
            appearance=patch,
            started_ns=since_ns,
            opened_ns=0,
            last_seen_ns=now_ns,
            visible_ns=seen_ns,
            cleared_ns=0,
            started_wall_ns=started_wall_ns,
            opened_wall_ns=0,
            alerts=0,
            frame_px=scene.frame.size_px,
            reasons=self._reasons(findings, row),
        )
        life = _Life(case, zone, int(findings.track_id[row]), box, patch, begun_at=box, last_patch=patch)
        life.found_ns, life.found_looks, life.score_sum = seen_ns, 1, case.score
        life.waits, life.halt_known_ns = bool(findings.extent[row] == WAITS), now_ns
        life.arrived = self.rule.keyed_by not in _FIXTURES or finding_again.has_arrived(box, patch, since_ns, scene)
        return life

    def _turn(self, scene: Scene) -> list[CaseChange]:
        """Open, update, clear and forget what has come so far."""
        changes: list[CaseChange] = []
        now_ns = scene.frame.mono_ns
        for life in list(self._lives):
            life.keep_grounds()
            case = life.case
            seen_now = case.last_seen_ns == now_ns
            if self._diary is not None and case.state == OPENED and seen_now:
                self._note(case, self._diary)  # more may have come since
            if case.state == PENDING and seen_now and self._is_due(life):
                if self._doubles(life, scene):
                    self._lives.remove(life)
                    continue
                if not self._comes_often(life):
                    continue
                opened = replace(life.case, state=OPENED, opened_ns=now_ns, opened_wall_ns=scene.frame.wall_ns)
                changes.append(_told(life, opened, OPENED, now_ns))
                changes += self._replaced_by(life, now_ns)
            elif case.state == OPENED and seen_now and 0 < self._repeat_ns <= now_ns - life.told_ns:
                changes.append(_told(life, case, "updated", now_ns))
            elif case.state == OPENED and self._is_clear(life, now_ns) and life in self._lives:
                self._lives.remove(life)
                changes.append(_ended(case, CLEARED, now_ns, self._end_of(life)))
            elif case.state in (PENDING, WITHDRAWN) and self._is_forgotten(life, now_ns) and life in self._lives:
                self._lives.remove(life)
        return changes + self._grown_together(now_ns)

    def _grown_together(self, now_ns: int) -> list[CaseChange]:
        """Cases on ground that another one, seen at this look, has come to cover: two rows of goods are one now."""
        changes: list[CaseChange] = []
        if self.rule.keyed_by != SPOT:
            return changes
        seen = [life for life in self._lives if life.case.last_seen_ns == now_ns]
        for life in [life for life in self._lives if life.case.last_seen_ns < now_ns]:
            covers = (boxes.coverage(life.footprint[None], other.footprint[None])[0, 0] for other in seen)
            same_zone = (other.row == life.row for other in seen)
            if any(share >= 0.8 and same for share, same in zip(covers, same_zone, strict=True)):
                self._lives.remove(life)
                if life.case.state == OPENED:
                    changes.append(_ended(life.case, CLEARED, now_ns, "merged"))
        return changes

    def _comes_often(self, life: _Life) -> bool:
        """What is due is noted as an occurrence of its day; a case it is when the rule says so, once a day."""
        if self._diary is None:
            return True
        case = life.case
        day = self._note(case, self._diary)
        told = self._diary.tell(case.zone, day)
        if told:
            life.case = replace(case, occurrences=self._diary.recent(case.zone, day))
        return told

    def _note(self, case: Case, diary: Diary) -> int:
        day = self._day_of(case.started_wall_ns)
        diary.note(case.zone, day, started_wall_ns=case.started_wall_ns, count=case.count)
        return day

    def _end_of(self, life: _Life) -> str:
        """Why it is cleared."""
        if self.rule.keyed_by in (*_PLACES, SPOT):
            return "seen-empty"
        if self.rule.keyed_by == GROUND and any(self._has_taken_in(other, life) for other in self._lives):
            return "merged"
        return self.rule.over

    def _has_taken_in(self, other: _Life, life: _Life) -> bool:
        """Another open gathering, seen at this look, stands on the ground of this one."""
        still_seen = other.row == life.row and other.case.last_seen_ns > life.case.last_seen_ns
        opened = other.case.state == OPENED and other is not life
        return opened and still_seen and bool(finding_again.ground_shared(life.footprint, other.footprint[None])[0] > 0)

    @property
    def _is_sparse(self) -> bool:
        return self._step_ns > SPARSE_NS

    @property
    def _unseen_ns(self) -> int:
        """A pending thing unseen for so long is gone; one look, where they are far apart, says little."""
        return max(PENDING_GONE_NS, self._step_ns * 3 // 2)

    @property
    def _repeat_ns(self) -> int:
        return min(self.rule.repeat_ns or self.hurry_ns, self.hurry_ns) if self.hurry_ns else self.rule.repeat_ns

    def _is_clear(self, life: _Life, now_ns: int) -> bool:
        return life.case.last_seen_ns < now_ns and life.empty_ns > 0 and life.empty_ns >= self.rule.clear_after_ns

    def _is_due(self, life: _Life) -> bool:
        if life.waits:
            return False
        visible_ns = life.case.visible_ns
        due_ns = self.rule.after_ns - min(round(min(self._step_ns, self.rule.after_ns) * EARLY), EARLY_MAX_NS)
        found_min_ns = max(min(due_ns, NS_PER_S), round(visible_ns * FOUND_SHARE))
        long_enough = visible_ns >= due_ns and life.found_ns >= found_min_ns
        if self.rule.keyed_by == THING and self._is_sparse:
            long_enough &= life.found_looks >= SPARSE_LOOKS_MIN
        return long_enough and self._is_no_fixture(life) and self._is_no_slip(life)

    def _is_no_slip(self, life: _Life) -> bool:
        """A walker whom the zone should not see at all: really seen there, and not in every fifth look beside it."""
        if self.rule.keyed_by != PERSON or self.rule.after_ns >= AT_ONCE_NS:
            return True
        looks_min = LOOKS_MIN if life.found_ns < AT_ONCE_NS else LOOKS_MIN - 1
        return life.found_looks >= max(looks_min, life.outside_looks + 1)

    def _is_no_fixture(self, life: _Life) -> bool:
        """It came, or is alive, or is a sure thing. Nobody alive keeps each fold of the coat for most of the time."""
        if life.arrived:
            return True
        if self.rule.keyed_by == PERSON:
            return 2 * life.changed_looks > life.found_looks
        return life.score_sum >= FIXTURE_SCORE_MIN * life.found_looks

    def _doubles(self, life: _Life, scene: Scene) -> bool:
        """A thing in the making turns out to stand where an open case, seen at this look, already stands, or one that
        was dismissed."""
        others = (other for other in self._lives if other.case.state != PENDING)
        return any(self._is_part_of(life.footprint, life.row, other, scene) for other in others)

    def _is_forgotten(self, life: _Life, now_ns: int) -> bool:
        """It came to nothing; or it was dismissed, and has gone."""
        if life.case.state == WITHDRAWN:
            return self._is_clear(life, now_ns)
        gone_ns = PENDING_GONE_NS if self.rule.keyed_by in _PLACES else finding_again.FOLLOW_GAP_NS
        if life.lacks_ns >= LACKS_NS:
            return True
        return life.empty_ns >= gone_ns or now_ns - life.case.last_seen_ns >= max(PENDING_UNSEEN_NS, self.rule.waits_ns)

    def _replaced_by(self, newcomer: _Life, now_ns: int) -> list[CaseChange]:
        """Cases whose place the newcomer has taken: another car in the same bay."""
        changes: list[CaseChange] = []
        if self.rule.keyed_by not in _PLACES:
            return changes
        for life in list(self._lives):
            unseen = life.case.last_seen_ns <= newcomer.case.started_ns
            same_place = float(boxes.iou(life.footprint[None], newcomer.footprint[None])[0, 0]) >= 0.5
            if life is not newcomer and life.row == newcomer.row and unseen and same_place:
                self._lives.remove(life)
                if life.case.state == OPENED:
                    changes.append(_ended(life.case, CLEARED, now_ns, "replaced"))
        return changes

    def _end_all(self, now_ns: int, reason: str) -> list[CaseChange]:
        opened = [life.case for life in self._lives if life.case.state == OPENED]
        stands = self.rule.keyed_by in _PLACES  # what is dismissed there may stay overnight
        self._lives = [life for life in self._lives if stands and life.case.state == WITHDRAWN]
        return [_ended(case, CLEARED, now_ns, reason) for case in opened]

    def _label(self, findings: Findings, row: int) -> str:
        label = int(findings.label[row])
        return self.rule.label_names[label] if label >= 0 else ""

    def _reasons(self, findings: Findings, row: int) -> tuple[str, ...]:
        held = findings.reasons[row]
        return tuple(name for name, holds in zip(self.rule.reason_names, held, strict=True) if holds)


def withdrawn(case: Case, *, mono_ns: int, reason: str) -> CaseChange:
    """An open case that no book has any more: its zone or scenario was taken out of the configuration."""
    return _ended(case, WITHDRAWN, mono_ns, reason)


def _seen_before(case: Case, now_ns: int) -> Case:
    """The wall clock, by which the times of a restored case are known, may have been put back since it was seen."""
    ahead_ns = max(case.last_seen_ns - (now_ns - 1), 0)
    if ahead_ns == 0:
        return case
    grounds = case.grounds
    return replace(
        case,
        started_ns=case.started_ns - ahead_ns,
        opened_ns=case.opened_ns - ahead_ns if case.opened_ns else 0,
        last_seen_ns=case.last_seen_ns - ahead_ns,
        grounds=replace(grounds, told_ns=grounds.told_ns - ahead_ns if grounds.told_ns else 0),
    )


def _corners(box: Float32) -> tuple[float, float, float, float]:
    return float(box[0]), float(box[1]), float(box[2]), float(box[3])


def _told(life: _Life, case: Case, kind: str, now_ns: int) -> CaseChange:
    life.told_ns = now_ns
    life.case = replace(case, alerts=case.alerts + 1)
    life.keep_grounds()
    return CaseChange(life.case, kind, "")


def _ended(case: Case, state: str, now_ns: int, reason: str) -> CaseChange:
    return CaseChange(replace(case, state=state, cleared_ns=now_ns, alerts=case.alerts + 1), state, reason)


def _covered_share(life: _Life, tracks: Tracks) -> float:
    """Share of the footprint that tracks other than the thing's own cover."""
    return float(finding_again.covered_share(life.footprint[None], _others(life, tracks))[0])


def _hidden_share(life: _Life, tracks: Tracks) -> float:
    """The same for those that stand before it."""
    return float(finding_again.hidden_share(life.footprint[None], _others(life, tracks))[0])


def _others(life: _Life, tracks: Tracks) -> Float32:
    """(N, 4) px."""
    return tracks.take(tracks.track_id != life.track_id).xyxy


def _left_picture(life: _Life, scene: Scene) -> bool:
    """The walker's own track was last seen on its way out of the picture: who comes in there is somebody else."""
    own = scene.tracks.xyxy[scene.tracks.track_id == life.track_id]
    x = boxes.anchors(own)[:, 0]
    return bool(((x < 0) | (x > scene.frame.size_px[0])).any())


def _went_away(life: _Life, tracks: Tracks) -> bool:
    """The thing's own track is seen in this frame, and not at its place, nor a last part of it beside an occluder."""
    own = tracks.xyxy[(tracks.track_id == life.track_id) & (tracks.detection >= 0)]
    place = life.footprint[None]
    away = boxes.iou(own, place) < SAME_PLACE
    return bool((away & (boxes.coverage(own, place) < finding_again.PART_SHARE)).any())
