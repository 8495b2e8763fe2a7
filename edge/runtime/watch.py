"""One scenario at one camera: what it finds in a scene, what a second model thinks of that, and what its book of cases
makes of it. The worker decides when each is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.core.cases import CaseBook
from edge.core.scenarios import Scenario
from edge.core.scene import Scene
from edge.core.types import Bool, CaseChange, Findings
from edge.runtime.second_look import SecondLook


@dataclass(frozen=True, slots=True)
class Watch:
    """One scenario as this camera uses it, and the cases that it has found."""

    scenario: Scenario
    cases: CaseBook
    active: Callable[[int, int], bool]  # wall_ns of the look before, and now -> within the opening hours ever since
    own_labels: Bool | None = None  # (C,) those of the model that judges this scenario, None where there is but one
    second_look: SecondLook | None = None

    def find(self, scene: Scene) -> Findings:
        """The things for which the condition holds, and to which the classifier agrees."""
        scene = self._as_seen(scene)
        findings = Findings.empty() if scene.blind else self.scenario.find(scene)
        if self.second_look is None or not self._is_active(scene):
            return findings
        return self.second_look.keep(findings, scene)

    def judge(self, findings: Findings, scene: Scene) -> list[CaseChange]:
        return self.cases.advance(findings, self._as_seen(scene), active=self._is_active(scene))

    @property
    def limits(self) -> dict[str, int]:
        """How often a bound on memory was hit so far, by what was given up."""
        check = self.second_look
        return {
            "cases_refused": self.cases.refused,
            "checks_put_off": check.put_off if check else 0,
            "checks_forgotten": check.forgotten if check else 0,
        }

    def _as_seen(self, scene: Scene) -> Scene:
        return scene if self.own_labels is None else scene.seen_by(self.own_labels)

    def _is_active(self, scene: Scene) -> bool:
        # Hours that ended and began again while nobody looked have ended the cases as well.
        known_wall_ns = scene.frame.wall_ns - self.cases.unknown_ns(scene.frame.mono_ns)
        return self.active(known_wall_ns, scene.frame.wall_ns)


def limits_of(watches: Sequence[Watch]) -> Counter[str]:
    """Of all watches together, noughts included."""
    hits: Counter[str] = Counter()
    for watch in watches:
        hits.update(watch.limits)
    return hits
