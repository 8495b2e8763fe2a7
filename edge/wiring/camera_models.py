"""Which models each camera needs, and how large it looks: known from configuration and manifests alone.

No network is loaded here. The order of a camera's models is that of its slots and of the joined labels: detectors
first, the camera's own before those that only a scenario names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge.config.catalogue import MeasureUse, ScenarioUse
from edge.config.document import Loc
from edge.config.loader import Site
from edge.config.models import CameraConfig
from edge.core.scenarios import rule_class
from edge.core.types import Float32
from edge.detect.closer import CloserDetector, crop_round
from edge.detect.joined import AskedDetector, JoinedDetector
from edge.detect.manifest import CLASSES, ModelManifest, find_model, load_manifest
from edge.errors import ModelError
from edge.ports import Classifier, Detector
from edge.resources import models_dir
from edge.runtime.second_look import SecondLook
from edge.runtime.slots import SizeClass

_NAMES_SHOWN = 8
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
    """The models of one camera, and which of them judges which of its scenarios."""

    detectors: tuple[CameraModel, ...]
    classifiers: tuple[CameraModel, ...]
    judges: tuple[int, ...]  # of each scenario, the row of its detector
    checks: tuple[int, ...]  # of each scenario, the row of its classifier, -1 for none

    def __iter__(self) -> Iterator[CameraModel]:
        """In the order of the camera's slots."""
        yield from (*self.detectors, *self.classifiers)

    @property
    def labels(self) -> tuple[str, ...]:
        """Of all detectors, one after the other: `edge.detect.joined`."""
        return tuple(label for model in self.detectors for label in model.manifest.labels)

    def rows_of(self, detector: int) -> slice:
        """Which of all labels are those of one detector."""
        first = sum(len(model.manifest.labels) for model in self.detectors[:detector])
        return slice(first, first + len(self.detectors[detector].manifest.labels))

    def judge_of(self, scenario: int) -> ModelManifest:
        return self.detectors[self.judges[scenario]].manifest


@dataclass(frozen=True, slots=True)
class Eyes:
    """One camera's models, loaded or reached through slots."""

    models: CameraModels
    detector: Detector  # all of them as one
    second_looks: tuple[SecondLook | None, ...]  # of each scenario


def models_of(site: Site, cameras: Sequence[CameraConfig]) -> dict[str, CameraModels]:
    """The models of these cameras, by camera id: each is there, is the file that was checked, can look as it should.

    Raises ConfigError or ModelError.
    """
    shelf = _Shelf(site)
    return {camera.id: _of_camera(site, camera, shelf) for camera in cameras}


def eyes_of(
    camera: CameraConfig,
    models: CameraModels,
    *,
    detector: Callable[[CameraModel], AskedDetector],
    classifier: Callable[[CameraModel], Classifier],
) -> Eyes:
    """Each model as the two functions have it, put together. Each is asked for once."""
    crops = _crops(camera)
    parts: list[AskedDetector] = []
    for model in models.detectors:
        part = detector(model)
        parts.append(CloserDetector(part, crops, iou_max=model.manifest.overlap_max) if crops else part)
    judges = [classifier(model) for model in models.classifiers]
    second_looks = [
        SecondLook(judges[row], labels=use.check.labels, score_min=use.check.score_min) if use.check else None
        for use, row in zip(camera.scenarios, models.checks, strict=True)
    ]
    return Eyes(models, parts[0] if len(parts) == 1 else JoinedDetector(parts), tuple(second_looks))


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

    def classifier(self, name: str, loc: Loc) -> ModelManifest:
        manifest = self.take(name, loc)
        if manifest.finds_boxes:
            raise self.site.fault(loc, f"{name} is a detector, which judges no crops: name a model of format {CLASSES}")
        return manifest


def _of_camera(site: Site, camera: CameraConfig, shelf: _Shelf) -> CameraModels:
    at: Loc = ("cameras", site.config.cameras.index(camera))
    _check_crops(site, camera, at)
    own = shelf.detector(camera.model or site.config.model, (*at, "model") if camera.model else ("model",))
    named = [
        shelf.detector(use.model, (*at, "scenarios", row, "model")) if use.model else own
        for row, use in enumerate(camera.scenarios)
    ]
    checks = [_classifier(site, use, shelf, (*at, "scenarios", row)) for row, use in enumerate(camera.scenarios)]
    # The camera's own model runs where a scenario asks it, where it must explain static things, or where nobody does.
    asked = [manifest for manifest, use in zip(named, camera.scenarios, strict=True) if manifest != own]
    explains = any(rule_class(use.kind).sees_regions for use in camera.scenarios if isinstance(use, ScenarioUse))
    needs_own = explains or len(asked) < len(named) or not named
    detectors = list(dict.fromkeys([own, *asked] if needs_own else asked))
    classifiers = list(dict.fromkeys(check for check in checks if check is not None))
    longest_side = camera.sampling.input_px
    for manifest in detectors:
        problem = manifest.misfit_of(longest_side) if longest_side else ""
        if problem:
            raise site.fault((*at, "sampling", "input_px"), f"does not suit {manifest.name}, which {problem}")
    return CameraModels(
        detectors=tuple(CameraModel(manifest, longest_side) for manifest in detectors),
        classifiers=tuple(CameraModel(manifest, None) for manifest in classifiers),
        judges=tuple(detectors.index(manifest) for manifest in named),
        checks=tuple(-1 if check is None else classifiers.index(check) for check in checks),
    )


def _classifier(site: Site, use: ScenarioUse | MeasureUse, shelf: _Shelf, at: Loc) -> ModelManifest | None:
    if use.check is None:
        return None
    manifest = shelf.classifier(use.check.model, (*at, "check", "model"))
    unknown = [label for label in use.check.labels if label not in manifest.labels]
    if unknown:
        raise site.fault(
            (*at, "check", "labels"),
            f"holds {unknown[0]!r}, which {manifest.name} does not know: its labels are {listed(manifest.labels)}",
        )
    return manifest


def listed(names: Sequence[str]) -> str:
    """The first of them: enough to see how they are spelt."""
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {len(names) - _NAMES_SHOWN} more" if names[_NAMES_SHOWN:] else "")


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
