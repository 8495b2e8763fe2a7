"""The rules that a camera's configuration comes to, with a model that knows the labels that a test asks for."""

from __future__ import annotations

from dataclasses import replace

from edge.config.loader import Site
from edge.core.scenarios import Rule
from edge.detect.manifest import load_manifest
from edge.resources import models_dir
from edge.wiring.camera_models import CameraModel, CameraModels
from edge.wiring.frame_path import rule_for


def first_rule(site: Site, labels: tuple[str, ...]) -> Rule:
    """Of the first camera's first scenario."""
    camera = site.config.cameras[0]
    model = CameraModel(replace(load_manifest(models_dir() / "yolox-nano"), labels=labels), longest_side=None)
    count = len(camera.scenarios)
    models = CameraModels(detectors=(model,), classifiers=(), judges=(0,) * count, checks=(-1,) * count)
    return rule_for(site, camera, 0, models)
