"""What keeps a camera's opened cases for `edge tune`: its recording, and where they are stored."""

from __future__ import annotations

import logging
from pathlib import Path

from edge.config.loader import Site
from edge.config.models import CameraConfig
from edge.core.kept import KeptCase
from edge.errors import StateError
from edge.runtime.recording import CaseRecording
from edge.runtime.worker import Worker
from edge.state.database import Database
from edge.state.judgements import Judgements
from edge.state.kept_cases import KeptCases
from edge.wiring.frame_path import arrays, polygons_of

log = logging.getLogger(__name__)

_MB = 1_000_000


def recording_for(
    site: Site, camera: CameraConfig, worker: Worker, *, folder: Path, database: Database
) -> CaseRecording:
    """One camera's; what it keeps goes below the state `folder`."""
    shelf, judgements = KeptCases(folder), Judgements(database)
    bytes_max = round(site.config.review.kept_mb * _MB)

    def save(case: KeptCase) -> None:
        """A case that cannot be kept is one less to learn from, and holds nothing up."""
        try:
            judged = {judgement.case_id for judgement in judgements.judged(camera=camera.id)}
            shelf.save(case, bytes_max=bytes_max, judged=judged)
        except StateError as error:
            log.warning("%s", error)

    return CaseRecording(
        worker,
        zones=dict(zip((zone.id for zone in camera.zones), polygons_of(camera), strict=True)),
        privacy=arrays(camera.masks.privacy),
        save=save if bytes_max else lambda case: None,
    )
