"""A kept case once more: the same scenario and the same case book over the looks that were kept, with another rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edge.core import finding_again
from edge.core.cases import CaseBook
from edge.core.kept import KeptCase
from edge.core.scenarios import Rule, Scenario, scenario_for
from edge.core.scene import Scene
from edge.core.types import NS_PER_S, OPENED, Case, Findings

EARLY_NS = 5 * NS_PER_S  # between two looks that only tell the time
SAME_PLACE = 0.3  # of overlap
SAME_START_NS = 2 * NS_PER_S


class Reenacted(NamedTuple):
    """What came of it. `opened_ns` is mono, None where no such case opened in all that was kept."""

    opened_ns: int | None
    could_yet: bool  # it did not open, but the looks end before the thing had gone: nobody knows


def reenact(kept: KeptCase, scenes: Sequence[Scene], rule: Rule) -> Reenacted:
    """`scenes`: the case's own. `rule`: its own, or one that differs in thresholds only.

    Before the case was found, the book is told of nothing but the time: other things stood there, and of how those
    looked nothing was kept.
    """
    scenario = scenario_for(rule, list(kept.zones.values()))
    book = CaseBook(rule, camera=kept.camera, gateway="kept")
    compares = type(scenario).interrupt is not Scenario.interrupt  # one look with the next
    told_ns = -EARLY_NS
    for scene in scenes:
        if scene.frame.resumed:
            scenario.interrupt()
            book.interrupt()
        early = scene.frame.mono_ns < kept.found_ns
        findings = Findings.empty() if scene.blind or (early and not compares) else scenario.find(scene)
        if early and not scene.blind and scene.frame.mono_ns - told_ns < EARLY_NS:
            continue
        told_ns = scene.frame.mono_ns
        for change in book.advance(Findings.empty() if early else findings, scene):
            if change.kind == OPENED and _is_it(change.case, kept):
                return Reenacted(change.case.opened_ns, could_yet=False)
    return Reenacted(None, could_yet=not kept.over)


def _is_it(case: Case, kept: KeptCase) -> bool:
    """At the same place, or begun at the same moment: who walks about opens a case elsewhere when it opens later."""
    if case.zone != kept.zone or case.started_ns < kept.started_ns - SAME_START_NS:
        return False
    one, other = (np.array([box], np.float32) for box in (case.footprint, kept.footprint))
    same_place = float(finding_again.place_overlap(one, other)[0, 0]) >= SAME_PLACE
    return same_place or abs(case.started_ns - kept.started_ns) <= SAME_START_NS
