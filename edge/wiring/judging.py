"""A person's word on a case: kept, and what follows from it at the camera.

    judge() -> table `judgements`, `dismissals` -> a running gateway: its camera's worker withdraws the case
                                                -> none runs: it is withdrawn here, its alert waits in the outbox

Whoever asks, a command line or a message, asks here. Asked again it is as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge.clock import SystemClock
from edge.config.loader import Site
from edge.core.types import OPENED, Case, Frame
from edge.runtime.dismissing import Dismissing
from edge.runtime.requests import ANSWER_S, Take, ask
from edge.state.database import Answer, Database
from edge.state.judgements import DISMISSED, Judgement, Judgements, judgement_of
from edge.wiring.camera_models import models_of
from edge.wiring.frame_path import judges_of, origin_of, tag_of
from edge.wiring.withdrawal import tell_withdrawn

DISMISS = "dismiss"
_OVER = "the case was over already, and is judged only"


@dataclass(frozen=True, slots=True)
class Word:
    """What somebody says of a case."""

    case_id: str  # or its beginning
    verdict: str  # DISMISSED | CONFIRMED | REVOKED
    reason: str = ""  # of a dismissal
    note: str = ""
    judged_by: str = ""


def judge(
    database: Database,
    word: Word,
    *,
    running: bool,
    site: Site | None = None,
    clock: SystemClock | None = None,
    limit_s: float = ANSWER_S,
) -> tuple[Judgement, str]:
    """Keep a word on a case and do what follows; returns it with what was done, in words.

    `running`: a gateway has this database. `site`: of a gateway that does not run, to tell of a withdrawn case at once;
    without it, its next start does. Raises UsageError for an unknown case or reason, and then nothing was kept.
    """
    clock = clock or SystemClock()
    judgements = Judgements(database)
    case = database.known_case(judgements.whole_id(word.case_id))
    assert case is not None
    judgement = judgement_of(
        case, word.verdict, reason=word.reason, note=word.note, judged_by=word.judged_by, now_wall_ns=clock.wall_ns()
    )
    is_new = judgements.put(case, judgement)
    kept = f"{case.case_id}: {judgement.verdict}" + ("" if is_new else ", as before")
    done = _done(database, case, judgement, running=running, site=site, clock=clock, limit_s=limit_s)
    return judgement, f"{kept}; {done}" if done else kept


def applied_by(dismissing: Dismissing) -> Take:
    """What a worker does when it is asked."""

    def apply(body: Mapping[str, Any], frame: Frame) -> Answer:
        dismissing.apply(frame)
        if body["case_id"] in {case.case_id for case in dismissing.cases}:
            return Answer(done=True, words="the case is withdrawn, and its thing is left alone while it stays there")
        return Answer(done=True, words=_OVER)

    return apply


def _done(
    database: Database,
    case: Case,
    judgement: Judgement,
    *,
    running: bool,
    site: Site | None,
    clock: SystemClock,
    limit_s: float,
) -> str:
    if judgement.verdict != DISMISSED:
        if running and case.state != OPENED:  # a dismissal that is taken back must be known to the worker
            ask(database, case.camera, DISMISS, {"case_id": case.case_id}, limit_s=limit_s, clock=clock)
        return ""
    if case.state != OPENED:
        return _OVER
    if running:
        answer = ask(database, case.camera, DISMISS, {"case_id": case.case_id}, limit_s=limit_s, clock=clock)
        if answer is not None:
            return answer.words
        return "its camera has not answered (see `edge status`): the case is withdrawn when it has a picture again"
    if site is None or all(camera.id != case.camera for camera in site.config.cameras):
        return "no gateway runs here: the case is withdrawn when one starts"
    done = _withdraw(site, database, case.case_id, case.camera, clock)
    told = "no gateway runs here: the case is withdrawn, and the street brain is told when one starts"
    return told if done else _OVER


def _withdraw(site: Site, database: Database, case_id: str, camera_id: str, clock: SystemClock) -> bool:
    """In the place of a worker; False where one has ended the case since."""
    running = database.running_cases(camera_id, mono_to_wall=clock.wall_ns() - clock.mono_ns())
    case = next((case for case in running if case.case_id == case_id), None)
    if case is None:
        return False
    camera = next(camera for camera in site.config.cameras if camera.id == camera_id)
    name, sha256 = judges_of(site, camera, models_of(site, [camera])[camera.id])(case.scenario, case.zone)
    tell_withdrawn(
        site,
        database,
        case,
        reason=DISMISSED,
        origin=origin_of(site, camera, model_name=name, model_sha256=sha256),
        tag=tag_of(site, case),
        clock=clock,
        evidence_error="no picture: the gateway did not run",
    )
    return True
