"""A drawn street whose opened cases are kept, as a camera's worker keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import numpy as np

from edge.core.kept import KeptCase
from edge.core.scenarios import Rule
from edge.core.scene import Scene
from edge.core.types import NS_PER_S, CaseChange, Findings, Float32
from edge.runtime.recording import CaseRecording
from edge.runtime.worker import Worker
from tests.street import KERB, Street


def recorded(rule: Rule, *, step_s: float = 0.5, privacy: Sequence[Float32] = ()) -> tuple[Street, list[KeptCase]]:
    """A street, and the list that its kept cases will be in."""
    street = Street(rule, step_s=step_s)
    kept: list[KeptCase] = []
    watch = SimpleNamespace(scenario=street.scenario, cases=street.book, own_labels=None)
    worker = SimpleNamespace(watches=[watch])
    recording = CaseRecording(
        cast(Worker, worker),
        zones={"kerb": np.array(KERB, np.float32)},
        privacy=privacy,
        save=kept.append,
    )
    advance = street.book.advance

    def watched(findings: Findings, scene: Scene, *, active: bool = True) -> list[CaseChange]:
        told = advance(findings, scene, active=active)
        recording.look(scene)
        return told

    street.book.advance = watched  # type: ignore[method-assign]
    street.recording = recording  # type: ignore[attr-defined]
    return street, kept


def opened_s(case: KeptCase) -> float:
    return case.opened_ns / NS_PER_S
