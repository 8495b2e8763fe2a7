"""Cases that no worker sees end are withdrawn in its place, and the street brain is told: those of cameras that are no
longer configured, and one that a person dismisses while no gateway runs."""

from __future__ import annotations

from edge.clock import SystemClock
from edge.config.loader import Site
from edge.config.models import CameraConfig
from edge.core.cases import withdrawn
from edge.core.types import OPENED, Case
from edge.delivery.message import Origin, Tag, Topics, alert
from edge.state.database import Database
from edge.state.judgements import Judgements
from edge.state.occurrences import Occurrences
from edge.wiring.frame_path import origin_of, stock_tag, with_last_place

_REASON = "camera-removed"
_UNKNOWN_MODEL = ("unknown", "0" * 64)  # it went with the camera's configuration, and an alert must name one


def withdraw_cases(site: Site, database: Database, *, clock: SystemClock) -> int:
    """Withdraw the open cases of cameras that the site does not name, forget the others; returns how many."""
    configured = {camera.id for camera in site.config.cameras}
    told = 0
    for name in database.running_cameras():
        if name not in configured:
            cases = database.running_cases(name, mono_to_wall=clock.wall_ns() - clock.mono_ns())
            for case in cases:
                if case.state == OPENED:
                    _withdraw_removed(site, case, database, clock)
                    told += 1
            database.save_running(name, [])
    Judgements(database).end_elsewhere(configured)
    Occurrences(database).forget_other_cameras(configured)
    return told


def tell_withdrawn(
    site: Site,
    database: Database,
    case: Case,
    *,
    reason: str,
    origin: Origin,
    tag: Tag,
    clock: SystemClock,
    evidence_error: str = "",
) -> None:
    """There is no picture of this moment, and the size of the last one may be unknown: then the box says enough."""
    mono_ns, wall_ns = clock.mono_ns(), clock.wall_ns()
    width, height = case.frame_px
    frame_px = (width or max(round(case.footprint[2]), 1), height or max(round(case.footprint[3]), 1))
    change = withdrawn(case, mono_ns=mono_ns, reason=reason)
    body = alert(
        change,
        origin=origin if case.zone in origin.zones else with_last_place(origin, case, frame_px),
        tag=tag,
        frame_px=frame_px,
        now_wall_ns=wall_ns,
        mono_to_wall=wall_ns - mono_ns,
        media_time_s=None,
        evidence=(),
        evidence_error=evidence_error,
    )
    topics = Topics(site.config.site.id, site.config.gateway.id)
    database.commit(change, body, topics.alert(case.camera, case.scenario))


def _withdraw_removed(site: Site, case: Case, database: Database, clock: SystemClock) -> None:
    name, sha256 = _UNKNOWN_MODEL
    camera = CameraConfig(id=case.camera, source="removed")
    origin = origin_of(site, camera, model_name=name, model_sha256=sha256)
    tag = stock_tag(case.scenario)
    tell_withdrawn(site, database, case, reason=_REASON, origin=origin, tag=tag, clock=clock)
