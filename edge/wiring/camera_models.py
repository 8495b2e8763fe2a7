"""Which models each camera needs, and how large it looks: known from configuration and manifests alone.

No network is loaded here. The order of a camera's models is that of its slots and of the joined labels: detectors
first, the camera's own before those that only a scenario names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge.config.document import Loc
from edge.config.loader import Site
from edge.config.models import CameraConfig
from edge.core.types import Float32
from edge.detect.closer import CloserDetector, crop_round
from edge.detect.joined import AskedDetector, JoinedDetector
from edge.detect.manifest import ModelManifest, find_model, load_manifest
from edge.errors import ModelError
from edge.ports import Detector
from edge.resources import models_dir
from edge.runtime.slots import SizeClass

_CROP_SIDE_MAX = 0.8  # of the frame: a larger crop shows hardly more than the whole picture


@dataclass(frozen=True, slots=True)
class CameraModel:
    """One model as one camera uses it."""

    manifest: ModelManifest
    longest_side: int | None  # px of its input, instead of the manifest's

    @property
    def size_class(self) -> SizeClass:
        """What a slot for its pictures must hold."""
        return SizeClass.for_model(self.manifest, longest_side=self.longest_side)


@dataclass(frozen=True, slots=True)
class CameraModels:
    """The models of one camera."""

    detectors: tuple[CameraModel, ...]

    def __iter__(self) -> Iterator[CameraModel]:
        """In the order of the camera's slots."""
        yield from self.detectors

    @property
    def labels(self) -> tuple[str, ...]:
        """Of all detectors, one after the other: `edge.detect.joined`."""
        return tuple(label for model in self.detectors for label in model.manifest.labels)


def models_of(site: Site, cameras: Sequence[CameraConfig]) -> dict[str, CameraModels]:
    """The models of these cameras, by camera id: each is there, is the file that was checked, can look as it should.

    Raises ConfigError or ModelError.
    """
    shelf = _Shelf(site)
    return {camera.id: _of_camera(site, camera, shelf) for camera in cameras}


def detector_of(camera: CameraConfig, models: CameraModels, load: Callable[[CameraModel], AskedDetector]) -> Detector:
    """The camera's detectors as its frame path sees them: one, with a closer look where it is asked for."""
    crops = _crops(camera)
    parts: list[AskedDetector] = []
    for model in models.detectors:
        part = load(model)
        parts.append(CloserDetector(part, crops, iou_max=model.manifest.overlap_max) if crops else part)
    return parts[0] if len(parts) == 1 else JoinedDetector(parts)


@dataclass
class _Shelf:
    """Manifests by the name in the configuration; each file is read and hashed once."""

    site: Site
    _by_folder: dict[Path, ModelManifest] = field(default_factory=dict)

    def take(self, name: str, loc: Loc) -> ModelManifest:
        """`loc` is where the configuration names it."""
        try:
            folder = find_model(name, [models_dir(), self.site.path.parent])
        except ModelError as error:
            raise self.site.fault(loc, f"{name} is not installed; {str(error).rpartition(': ')[2]}") from error
        if folder not in self._by_folder:
            self._by_folder[folder] = load_manifest(folder)
        return self._by_folder[folder]

    def detector(self, name: str, loc: Loc) -> ModelManifest:
        manifest = self.take(name, loc)
        if not manifest.finds_boxes:
            raise self.site.fault(loc, f"{name} is a classifier, which finds nothing: name a detector")
        return manifest


def _of_camera(site: Site, camera: CameraConfig, shelf: _Shelf) -> CameraModels:
    at: Loc = ("cameras", site.config.cameras.index(camera))
    _check_crops(site, camera, at)
    loc: Loc = (*at, "model") if camera.model else ("model",)
    manifest = shelf.detector(camera.model or site.config.model, loc)
    longest_side = camera.sampling.input_px
    problem = manifest.misfit_of(longest_side) if longest_side else ""
    if problem:
        raise site.fault((*at, "sampling", "input_px"), f"does not suit {manifest.name}, which {problem}")
    return CameraModels((CameraModel(manifest, longest_side),))


def _check_crops(site: Site, camera: CameraConfig, at: Loc) -> None:
    for row, (zone, crop) in enumerate(zip(camera.sampling.closer, _crops(camera), strict=True)):
        if crop[2] - crop[0] > _CROP_SIDE_MAX:
            raise site.fault(
                (*at, "sampling", "closer", row),
                f"{zone} with its margin is {crop[2] - crop[0]:.0%} of the picture, where a closer look gains nothing: "
                "use input_px, or draw a zone round what is far",
            )


def _crops(camera: CameraConfig) -> Sequence[Float32]:
    zones: Mapping[str, object] = {zone.id: zone.polygon for zone in camera.zones}
    return [crop_round(np.array(zones[name], np.float32)) for name in camera.sampling.closer]
