"""`edge tune`: judged cases that were kept are run once more with stricter parameters; which would have been better?

Nothing is changed by it. Only stricter values are tried: what opened no case was not kept, and says nothing of looser
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from edge.core.kept import KeptCase
from edge.core.scenarios import Rule
from edge.core.scene import Scene
from edge.core.tuning import (
    CASES_MIN,
    CHANCE_MAX,
    EACH_MIN,
    Threshold,
    Trial,
    best_threshold,
    cross_validated,
    groups_of,
)
from edge.core.types import NS_PER_S, Bool, Int64
from edge.runtime.reenactment import Reenacted, reenact
from edge.state.judgements import CONFIRMED, Judgement
from edge.state.kept_cases import KeptCases

_STEPS = 24
_NEAR_S = 3.0  # a case that opens again within this of its time, or a tenth of its `after_s`, is reproduced
_DAY_NS = 86_400 * NS_PER_S

# What is made stricter by raising it, as rules name it, and the values that are tried.
_TRIED: Mapping[str, Callable[[float], list[float]]] = {
    "score_min": lambda now: [round(value, 3) for value in np.linspace(now, max(now, 0.95), _STEPS + 1).tolist()],
    "size_min": lambda now: [float(f"{value:.3g}") for value in np.geomspace(max(now, 1e-4), max(now, 1e-4) * 32, 17)],
    "after_ns": lambda now: [round(value / 1e8) * 10**8 for value in np.linspace(now, 4 * now, 13).tolist()],
    "stay_ns": lambda now: [round(value / 1e8) * 10**8 for value in np.linspace(now, 4 * now, 9).tolist()],
    "people_min": lambda now: [int(now) + more for more in range(9)],
    "things_min": lambda now: [int(now) + more for more in range(5)],
    "region_score_min": lambda now: [round(value, 3) for value in np.linspace(now, max(now, 0.95), 13).tolist()],
}


@dataclass(frozen=True, slots=True)
class Proposal:
    """A stricter value that would have been better."""

    parameter: str
    now: float
    value: float
    threshold: Threshold
    trial: Trial
    by_day: bool
    later_s: float  # the most that a confirmed case would have opened later


@dataclass(slots=True)
class Advice:
    """What the kept cases of one scenario at one camera say."""

    camera: str
    scenario: str
    dismissed: int = 0  # judged cases that were kept and could be reproduced
    confirmed: int = 0
    not_kept: int = 0  # judged, but given up for newer ones or from before cases were kept
    not_reproduced: int = 0  # the looks that were kept do not open them again
    outdated: int = 0  # the parameters in force would not open them any more
    proposals: list[Proposal] = field(default_factory=list)  # the best first
    refusal: str = ""  # why there is none


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    kept: KeptCase
    scenes: Sequence[Scene]  # the same whatever the thresholds are
    confirmed: bool


def tune(
    folder: Path, judgements: Sequence[Judgement], *, camera: str | None = None, scenario: str | None = None
) -> list[Advice]:
    """By camera and scenario, from the cases kept below a gateway's state folder. The same cases give the same."""
    by_place: dict[tuple[str, str], list[Judgement]] = {}
    for judgement in sorted(judgements, key=lambda one: (one.opened_wall_ns, one.case_id)):
        if camera in (None, judgement.camera) and scenario in (None, judgement.scenario):
            by_place.setdefault((judgement.camera, judgement.scenario), []).append(judgement)
    # One scenario of one camera after the other: a gateway that works beside us needs the memory.
    return [_advice_on(folder, *place, words) for place, words in sorted(by_place.items())]


def _advice_on(folder: Path, camera: str, scenario: str, words: Sequence[Judgement]) -> Advice:
    verdicts = {word.case_id: word.verdict for word in words}
    cases = [
        _Judged(kept, list(kept.scenes()), verdicts[kept.case_id] == CONFIRMED)
        for kept in KeptCases(folder).read(camera, verdicts)
    ]
    advice = Advice(camera, scenario, not_kept=len(verdicts) - len(cases))
    _advise(advice, cases)
    return advice


def _advise(advice: Advice, cases: Sequence[_Judged]) -> None:
    if not cases:
        advice.refusal = "none of its judged cases was kept"
        return
    true = [case for case in cases if _is_reproduced(case)]
    advice.not_reproduced = len(cases) - len(true)
    now = cases[-1].kept.rule  # of the newest: those in force
    opens = [case for case in true if _opened(case, now, {}).opened_ns is not None]
    advice.outdated = len(true) - len(opens)
    confirmed = np.array([case.confirmed for case in opens], np.bool_)
    advice.confirmed, advice.dismissed = int(confirmed.sum()), int((~confirmed).sum())
    if len(opens) < CASES_MIN or min(advice.confirmed, advice.dismissed) < EACH_MIN:
        advice.refusal = (
            f"too few cases to say: {advice.dismissed} dismissed and {advice.confirmed} confirmed; it takes "
            f"{CASES_MIN} in all, {EACH_MIN} of each"
        )
        return
    group, by_day = groups_of([str(case.kept.opened_wall_ns // _DAY_NS) for case in opens])
    names = _tried_of(now)
    for name in names:
        proposal = _proposal(name, now, opens, confirmed, group, by_day=by_day, tried=len(names))
        if proposal is not None:
            advice.proposals.append(proposal)
    advice.proposals.sort(key=lambda proposal: (-proposal.trial.spared, proposal.later_s, proposal.parameter))
    if not advice.proposals:
        advice.refusal = "no stricter value parts its dismissed cases from the confirmed ones; look at the zones"


def _proposal(
    name: str,
    now: Rule,
    cases: Sequence[_Judged],
    confirmed: Bool,
    group: Int64,
    *,
    by_day: bool,
    tried: int,
) -> Proposal | None:
    values = _TRIED[name](getattr(now, name))
    limit = np.array([_limit(case, now, name, values) for case in cases], np.int64)
    chosen, trial = best_threshold(limit, confirmed), cross_validated(limit, confirmed, group)
    if chosen is None or chosen.chance * tried > CHANCE_MAX or trial.lost or not trial.spared:
        return None
    value = values[chosen.row]
    again = [_opened(case, now, {name: value}) for case in cases]
    spared = sum(_is_spared(came) for case, came in zip(cases, again, strict=True) if not case.confirmed)
    if spared < chosen.spared or any(
        came.opened_ns is None and not came.could_yet for case, came in zip(cases, again, strict=True) if case.confirmed
    ):
        return None  # a stricter value that opens more is none to go by
    later = [
        (came.opened_ns or case.kept.looks[-1].mono_ns) - case.kept.opened_ns
        for case, came in zip(cases, again, strict=True)
        if case.confirmed
    ]
    parameter, before = _as_configured(name, getattr(now, name))
    return Proposal(
        parameter, before, _as_configured(name, value)[1], chosen, trial, by_day, max(0.0, max(later) / NS_PER_S)
    )


def _tried_of(rule: Rule) -> list[str]:
    return [name for name in _TRIED if hasattr(rule, name) and getattr(rule, name) > 0]


def _as_configured(name: str, value: float) -> tuple[str, float]:
    """A field of a rule as site.yaml has it."""
    return (f"{name.removesuffix('_ns')}_s", value / NS_PER_S) if name.endswith("_ns") else (name, value)


def _limit(case: _Judged, now: Rule, name: str, values: Sequence[float]) -> int:
    """The row of the strictest value at which the case still opens, found by halving; row 0 opens it.

    One that may yet have opened after its last look is taken to.
    """
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        if _is_spared(_opened(case, now, {name: values[middle]})):
            high = middle
        else:
            low = middle
    return low


def _is_spared(came: Reenacted) -> bool:
    return came.opened_ns is None and not came.could_yet


def _opened(case: _Judged, now: Rule | None, changes: Mapping[str, float]) -> Reenacted:
    """With the thresholds `now` in force, changed by `changes`; or with its own where `now` is None."""
    own = case.kept.rule
    in_force = {} if now is None else {name: getattr(now, name) for name in _tried_of(own) if hasattr(now, name)}
    return reenact(case.kept, case.scenes, replace(own, **{**in_force, **changes}))


def _is_reproduced(case: _Judged) -> bool:
    came = _opened(case, None, {})
    if came.opened_ns is None:
        return False
    off_s = abs(came.opened_ns - case.kept.opened_ns) / NS_PER_S
    return off_s <= max(_NEAR_S, case.kept.rule.after_ns / NS_PER_S / 10)


# In words


def advice_document(advice: Sequence[Advice]) -> dict[str, object]:
    return {"scenarios": [_one_document(one) for one in advice]}


def _one_document(advice: Advice) -> dict[str, object]:
    return {
        "camera": advice.camera,
        "scenario": advice.scenario,
        "dismissed": advice.dismissed,
        "confirmed": advice.confirmed,
        "not_kept": advice.not_kept,
        "not_reproduced": advice.not_reproduced,
        "outdated": advice.outdated,
        "refusal": advice.refusal,
        "proposals": [
            {
                "parameter": proposal.parameter,
                "now": proposal.now,
                "value": proposal.value,
                "spared": proposal.threshold.spared,
                "lost": 0,
                "chance": round(proposal.threshold.chance, 6),
                "left_out": "days" if proposal.by_day else "cases",
                "spared_when_left_out": proposal.trial.spared,
                "lost_when_left_out": proposal.trial.lost,
                "later_s": round(proposal.later_s, 1),
            }
            for proposal in advice.proposals
        ],
    }


def advice_text(advice: Sequence[Advice]) -> str:
    if not advice:
        return "no case was judged: see `edge dismiss` and `edge confirm`"
    return "\n\n".join("\n".join(_lines(one)) for one in advice)


def _lines(advice: Advice) -> list[str]:
    used = f"{advice.dismissed} dismissed and {advice.confirmed} confirmed cases"
    left = [
        f"{count} {words}"
        for count, words in (
            (advice.not_kept, "were not kept"),
            (advice.not_reproduced, "did not open again from what was kept"),
            (advice.outdated, "would not open by the parameters in force"),
        )
        if count
    ]
    head = f"{advice.camera} {advice.scenario}: {used}" + (f" ({', '.join(left)})" if left else "")
    if not advice.proposals:
        return [head, f"  nothing is proposed: {advice.refusal}"]
    lines = [head]
    for proposal in advice.proposals:
        what = "day" if proposal.by_day else "case"
        later = f"; confirmed ones open up to {proposal.later_s:.1f} s later" if proposal.later_s >= 0.05 else ""
        lines += [
            f"  {proposal.parameter}: {proposal.now:g} -> {proposal.value:g} would have spared "
            f"{proposal.threshold.spared} of {advice.dismissed}, and lost none of {advice.confirmed}{later}",
            f"    each {what} left out in turn: spared {proposal.trial.spared}, lost {proposal.trial.lost}",
        ]
    best = advice.proposals[0]
    return [
        *lines,
        f"  the best by itself, for site.yaml, camera {advice.camera}:",
        "    scenarios:",
        f"      - use: {advice.scenario}",
        f"        {best.parameter}: {best.value:g}",
    ]
