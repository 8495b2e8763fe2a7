"""How far apart looks at a camera may be: what its scenarios and measures ask of `decode: auto`."""

from __future__ import annotations

import cv2
import numpy as np

from edge.capture.activity import LOOK_PX
from edge.capture.gate import Pace
from edge.config.loader import Site
from edge.config.models import CameraConfig
from edge.core import polygons
from edge.core.scenarios.rule import LOOK_MAX_NS
from edge.core.stillness import StillnessSettings, surroundings
from edge.core.types import Bool
from edge.wiring.camera_models import CameraModels
from edge.wiring.frame_path import (
    KEYFRAMES_APART_NS,
    arrays,
    names_that_need_motion,
    places_of,
    rule_for,
    scenarios_of,
)


def pace_of(site: Site, camera: CameraConfig, models: CameraModels) -> Pace:
    looks_ns = [rule_for(site, camera, row, models).look_max_ns for row in scenarios_of(camera)]
    content_ns = [look_ns for look_ns in looks_ns if look_ns >= KEYFRAMES_APART_NS]
    return Pace(
        motion_for=names_that_need_motion(site, camera, models),
        apart_max_ns=min([LOOK_MAX_NS, *content_ns]),
        watched=_watched(camera),
    )


def _watched(camera: CameraConfig) -> Bool:
    """(180, 320) where motion counts: in and round zones and lines, as for the detector, and nowhere that is not
    analysed. A burnt-in clock ticks for ever, and trees hardly rest."""
    watched = surroundings([*places_of(camera).values()], LOOK_PX, StillnessSettings().margin).astype(np.uint8)
    for outline in arrays(camera.masks.ignore):  # few, and once
        corners = polygons.to_pixels(outline, width=LOOK_PX[0], height=LOOK_PX[1]).round().astype(np.int32)
        cv2.fillPoly(watched, [corners], 0)
    return watched.astype(np.bool_)
