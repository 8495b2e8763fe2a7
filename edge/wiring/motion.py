"""How far apart looks at a camera may be: what its scenarios and measures ask of `decode: auto`."""

from __future__ import annotations

from edge.capture.gate import Pace
from edge.config.loader import Site
from edge.config.models import CameraConfig
from edge.core.scenarios.rule import LOOK_MAX_NS
from edge.wiring.camera_models import CameraModels
from edge.wiring.frame_path import KEYFRAMES_APART_NS, names_that_need_motion, rule_for, scenarios_of


def pace_of(site: Site, camera: CameraConfig, models: CameraModels) -> Pace:
    looks_ns = [rule_for(site, camera, row, models).look_max_ns for row in scenarios_of(camera)]
    content_ns = [look_ns for look_ns in looks_ns if look_ns >= KEYFRAMES_APART_NS]
    return Pace(
        motion_for=names_that_need_motion(site, camera, models),
        apart_max_ns=min([LOOK_MAX_NS, *content_ns]),
    )
