"""Keeps what the rules saw of each case that opens, so that other thresholds can be tried on it later.

    look() -> the last minutes of looks, shared by all cases -> each case in the making: its looks and small cuts
           -> opened, and over or long enough seen -> save()

A case that comes to nothing is forgotten. Everything is bounded; what a bound costs is counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from edge.core import polygons
from edge.core.kept import KeptCase, Look, Window
from edge.core.scenarios.rule import PERSON, REGION, SPOT, THING
from edge.core.scene import Scene
from edge.core.types import NS_PER_S, OPENED, PENDING, Case, Float32, UInt8
from edge.runtime.watch import Watch
from edge.runtime.worker import Worker

LOOK_NS = NS_PER_S // 2  # between two looks that are kept
CUT_NS = 2 * NS_PER_S
CUTS_MAX = 64  # of one case; beyond, every second one is left out, and the next come half as often
RUN_UP = 120  # looks from before a case begins: a minute
LOOKS_MAX = 2400  # of one case; beyond, every second one is left out: 20 minutes, then 40 of half as many
TRACED_MAX = 16  # cases in the making or open at once; their cuts take 1.7 MB each at most
AFTER_MIN_NS = 60 * NS_PER_S  # a case is looked at so long after it opened, and for its rule's `after_s` at least
_PICTURED = (THING, REGION, PERSON, SPOT)  # kinds of finding again that compare pictures


@dataclass(slots=True)
class _Traced:
    """A case in the making, as far as it was seen."""

    case: Case
    watch: Watch
    window: Window
    earlier: UInt8 | None
    looks: list[Look]
    found_ns: int  # mono; of the first look at it
    cuts: list[tuple[int, UInt8]] = field(default_factory=list)
    look_ns: int = LOOK_NS  # doubles when LOOKS_MAX are reached
    cut_ns: int = CUT_NS  # doubles when CUTS_MAX are
    interrupted: bool = False  # a look that was left out knew that what was before it is unknown


class CaseRecording:
    """Of one camera. `look` at every frame's scene; `close` at the end."""

    def __init__(
        self,
        worker: Worker,
        *,
        zones: Mapping[str, Float32],
        privacy: Sequence[Float32],
        save: Callable[[KeptCase], None],
    ) -> None:
        self.refused = 0
        self._worker = worker
        self._zones = zones
        self._privacy = privacy
        self._save = save
        self._recent: deque[Look] = deque(maxlen=RUN_UP)
        self._traced: dict[str, _Traced] = {}  # by case_id, at most TRACED_MAX
        self._done: deque[str] = deque(maxlen=4 * TRACED_MAX)  # saved, and perhaps still open
        self._no_room: set[str] = set()  # live cases that were refused so far
        self._interrupted = self._was_blind = False

    def look(self, scene: Scene) -> None:
        look = self._kept_look(scene)
        if look is None:
            return
        live = {case.case_id: (case, watch) for watch in self._worker.watches for case in watch.cases.live}
        self._end(set(live), look.mono_ns)
        self._no_room &= set(live)
        if scene.blind:
            self._append_to_all(look)
            return
        for case_id, (case, watch) in live.items():
            seen_to_begin = case.state == PENDING or case.opened_ns >= self._recent[0].mono_ns
            if seen_to_begin and case_id not in self._traced and case_id not in self._done:
                self._begin(case, watch, scene)
        self._append_to_all(look)
        for case_id, traced in self._traced.items():
            traced.case = live[case_id][0] if traced.case.state != OPENED else traced.case
            self._cut(traced, scene)

    def close(self) -> None:
        """What is open now is kept as far as it was seen."""
        for traced in self._traced.values():
            self._finish(traced, over=False)
        self._traced.clear()

    def _kept_look(self, scene: Scene) -> Look | None:
        """This look, or None where the last one is hardly older. What is left out leaves its interruption behind."""
        frame = scene.frame
        self._interrupted |= frame.resumed or (self._was_blind and not scene.blind)
        turned, self._was_blind = self._was_blind != scene.blind, scene.blind
        if self._recent and frame.mono_ns - self._recent[-1].mono_ns < LOOK_NS and not turned:
            return None
        look = Look(
            frame.mono_ns,
            frame.wall_ns,
            frame.size_px,
            scene.tracks,
            scene.regions,
            scene.blind,
            self._interrupted,
        )
        self._interrupted = False
        self._recent.append(look)
        return look

    def _begin(self, case: Case, watch: Watch, scene: Scene) -> None:
        if len(self._traced) >= TRACED_MAX:
            self.refused += case.case_id not in self._no_room
            self._no_room.add(case.case_id)
            return
        window = Window.round_place(case.footprint, scene.frame.size_px)
        earlier = scene.memory.before(case.started_ns)
        same_size = earlier is not None and earlier.shape[::-1] == scene.frame.size_px
        kept = self._masked(window.cut(earlier), window, scene) if earlier is not None and same_size else None
        self._traced[case.case_id] = _Traced(case, watch, window, kept, list(self._recent)[:-1], scene.frame.mono_ns)

    def _append_to_all(self, look: Look) -> None:
        for traced in self._traced.values():
            if traced.looks and look.mono_ns - traced.looks[-1].mono_ns < traced.look_ns and not look.blind:
                traced.interrupted |= look.resumed
                continue
            traced.looks.append(replace(look, resumed=True) if traced.interrupted else look)
            traced.interrupted = False
            if len(traced.looks) >= LOOKS_MAX:
                traced.looks = _thinned(traced.looks)
                traced.look_ns *= 2

    def _cut(self, traced: _Traced, scene: Scene) -> None:
        due = not traced.cuts or scene.frame.mono_ns - traced.cuts[-1][0] >= traced.cut_ns
        if due and traced.watch.scenario.rule.keyed_by in _PICTURED:
            cut = self._masked(traced.window.cut(scene.frame.pixels), traced.window, scene)
            traced.cuts.append((scene.frame.mono_ns, cut))
            if len(traced.cuts) >= CUTS_MAX:
                del traced.cuts[1::2]
                traced.cut_ns *= 2

    def _masked(self, cut: UInt8, window: Window, scene: Scene) -> UInt8:
        """Privacy masks are filled with grey: nothing of what they hide is kept."""
        if not self._privacy:
            return cut
        masked = cut.copy()
        width, height = scene.frame.size_px
        for mask in self._privacy:
            corners = polygons.to_pixels(mask, width=width, height=height) - np.array(window.corner, np.float32)
            cv2.fillPoly(masked, [np.round(corners * window.scale).astype(np.int32)], (128,))
        return masked

    def _end(self, live: set[str], now_ns: int) -> None:
        left_alone = {case.case_id for watch in self._worker.watches for case in watch.cases.dismissed}
        for case_id, traced in list(self._traced.items()):
            case = traced.case
            long_enough = case.state == OPENED and now_ns - case.opened_ns >= max(
                traced.watch.scenario.rule.after_ns, AFTER_MIN_NS
            )
            if case_id in live and not long_enough:
                continue
            self._finish(traced, over=case_id not in live | left_alone)
            del self._traced[case_id]

    def _finish(self, traced: _Traced, *, over: bool) -> None:
        case = traced.case
        if case.state != OPENED:
            return
        self._done.append(case.case_id)
        self._save(
            KeptCase(
                case_id=case.case_id,
                camera=case.camera,
                scenario=case.scenario,
                zone=case.zone,
                started_ns=case.started_ns,
                found_ns=traced.found_ns,
                opened_ns=case.opened_ns,
                opened_wall_ns=case.opened_wall_ns,
                footprint=case.footprint,
                over=over,
                rule=traced.watch.scenario.rule,
                own_labels=traced.watch.own_labels,
                zones=self._zones,
                looks=tuple(traced.looks),
                window=traced.window,
                cuts=tuple(traced.cuts),
                earlier=traced.earlier,
            )
        )


def _thinned(looks: list[Look]) -> list[Look]:
    """Every second look; one that is left out leaves its interruption to the next."""
    kept = []
    for number, look in enumerate(looks[1::2]):
        kept.append(replace(look, resumed=True) if looks[2 * number].resumed else look)
    return kept
