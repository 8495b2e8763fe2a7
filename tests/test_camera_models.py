"""Which models a camera looks with, by its configuration: what fits is found, what does not is told with its line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from edge.clock import SystemClock
from edge.config.loader import Site, load_site
from edge.config.models import ReviewConfig
from edge.errors import ConfigError, ModelError
from edge.runtime.board import Board
from edge.runtime.slots import SizeClass
from edge.wiring.camera_models import CameraModels
from edge.wiring.frame_path import check_models
from edge.wiring.live import _WORKER_BYTES, Fleet
from edge.wiring.process_order import LogSettings
from tests.tiny_models import brightness_model, constant_model, write_classifier, write_model

ZONES = [
    {"id": "kerb", "polygon": [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]},
    {"id": "far", "polygon": [[0.4, 0.1], [0.6, 0.1], [0.6, 0.2], [0.4, 0.2]]},
    {"id": "corner", "polygon": [[0.9, 0.0], [1, 0.0], [1, 0.1], [0.9, 0.1]]},
]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder of a site with some models of its own beside it."""
    write_model(tmp_path / "street", brightness_model(), format="yolo-e2e")
    write_model(tmp_path / "carts", brightness_model(), format="yolo-e2e", labels=["stall", "cart"])
    fixed = constant_model([np.zeros((1, 6), np.float32)], height=64, width=96)
    write_model(tmp_path / "fixed", fixed, format="yolo-e2e", longest_side=96, fixed_px=[96, 64])
    write_classifier(tmp_path / "judge")
    return tmp_path


def site_of(folder: Path, **camera: Any) -> Site:
    """A site of one camera; model names are folders beside it."""
    settings = {"id": "gate", "source": "clip.mp4", "model": str(folder / "street"), "zones": ZONES, **camera}
    config = {
        "version": 1,
        "site": {"id": "s", "timezone": "UTC"},
        "gateway": {"id": "g"},
        "cameras": [settings],
    }
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return load_site(path, environ={})


def models_of_gate(site: Site) -> CameraModels:
    return check_models(site)["gate"]


def fault(folder: Path, **camera: Any) -> str:
    """The error's text without the folder, and that it is one line with a number."""
    with pytest.raises(ConfigError) as caught:
        check_models(site_of(folder, **camera))
    words = str(caught.value).replace(f"{folder}/", "")
    assert "\n" not in words
    assert words.split(":")[0] == "site.yaml"
    assert int(words.split(":")[1]) > 1
    return words.split(":", 2)[2].strip()


# Far zones


def test_a_larger_input_is_every_detectors_and_its_slots_grow_with_it(models: Path) -> None:
    usual = models_of_gate(site_of(models)).detectors[0]
    large = models_of_gate(site_of(models, sampling={"input_px": 128})).detectors[0]
    assert (usual.longest_side, usual.size_class.side_px) == (None, 64)
    assert (large.longest_side, large.size_class.side_px) == (128, 128)
    print(f"slots: {usual.size_class.slot_bytes} and {large.size_class.slot_bytes} bytes")
    assert large.size_class.slot_bytes > usual.size_class.slot_bytes


@pytest.mark.parametrize(
    ("sampling", "says"),
    [
        ({"input_px": 900}, "cameras.gate.sampling: input_px must be a multiple of 32, has 900"),
        ({"input_px": 32}, "cameras.gate.sampling: input_px must be 64 or more, has 32"),
        ({"input_px": "960"}, "cameras.gate.sampling: input_px must be a whole number"),
        (
            {"closer": ["nowhere"]},
            "cameras.gate.sampling: closer[0] nowhere is no zone of this camera; its zones: corner",
        ),
        ({"closer": ["far", "far"]}, "cameras.gate.sampling: closer names the same one twice"),
        (
            {"closer": ["far", "kerb"]},
            "cameras.gate.sampling: closer[1] kerb with its margin is 100% of the picture, where a closer look gains",
        ),
    ],
)
def test_what_a_camera_cannot_look_with_is_told(models: Path, sampling: dict[str, Any], says: str) -> None:
    assert fault(models, sampling=sampling).startswith(says)


def test_a_model_of_a_fixed_size_takes_no_other_input(models: Path) -> None:
    fixed = {"model": str(models / "fixed")}
    assert fault(models, **fixed, sampling={"input_px": 128}) == (
        "cameras.gate.sampling: input_px does not suit fixed, which takes pictures of 96x64 alone, not of 128 px"
    )
    assert models_of_gate(site_of(models, **fixed, sampling={"input_px": 96})).detectors[0].size_class.side_px == 96


def test_zones_at_the_pictures_edge_may_be_looked_at_closer(models: Path) -> None:
    assert models_of_gate(site_of(models, sampling={"closer": ["corner", "far"]})).labels == ("person", "car", "truck")


# Kinds of models


def test_a_model_that_is_missing_or_spoilt_is_told(models: Path) -> None:
    assert fault(models, model="nothing").startswith("cameras.gate: model nothing is not installed; ")
    (models / "street" / "model.onnx").write_bytes(b"other")
    with pytest.raises(ModelError, match="the file is not the one that was checked"):
        check_models(site_of(models))


def test_a_classifier_cannot_be_a_cameras_model(models: Path) -> None:
    judge = str(models / "judge")
    assert (
        fault(models, model=judge) == "cameras.gate: model judge is a classifier, which finds nothing: name a detector"
    )


# What is started anew


def test_another_room_for_kept_cases_starts_the_cameras_anew_and_nothing_else(models: Path, tmp_path: Path) -> None:
    site = site_of(models)
    more = replace(site, config=site.config.model_copy(update={"review": ReviewConfig(kept_mb=1)}))
    fleet = Fleet(
        site.path, folder=tmp_path, environ={}, board=Board.create(), clock=SystemClock(), log_settings=LogSettings()
    )
    before, after = ({plan.name: plan for plan in fleet.start_with(one).plans} for one in (site, more))
    fleet.close()
    changed = [name for name in before if before[name].fingerprint != after[name].fingerprint]
    assert changed == ["gate"]


# Memory


def test_the_memory_that_is_asked_for_is_that_of_every_slot_that_is_not_there_yet(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A camera with three models, and after that with a larger input; what runs already is not counted again."""
    asked: list[int] = []
    monkeypatch.setattr("edge.wiring.live.check_memory", lambda wanted, purpose: asked.append(wanted))
    zones = ZONES[:1]
    carts = {"use": "non-motor-parking", "zones": ["kerb"], "labels": ["cart"], "model": str(models / "carts")}
    carts["check"] = {"model": str(models / "judge"), "labels": ["bright"]}
    parking = {"use": "illegal-parking", "zones": ["kerb"], "labels": ["car"]}
    site = site_of(models, zones=zones, scenarios=[parking, carts])
    clock = SystemClock()
    fleet = Fleet(site.path, folder=tmp_path, environ={}, board=Board.create(), clock=clock, log_settings=LogSettings())
    used = models_of_gate(site)
    fleet.start_with(site)
    for model in used:
        fleet._links[model.manifest].add("gate", model.size_class)
    fleet.start_with(site)
    larger = site_of(models, zones=zones, scenarios=[parking, carts], sampling={"input_px": 128})
    fleet.start_with(larger)
    fleet.close()
    detector, classifier = SizeClass(64).slot_bytes, SizeClass(64, rows_max=2).slot_bytes
    print(f"slots of {detector} and {classifier} bytes; asked for {asked}")
    worker = _WORKER_BYTES + round(site.config.evidence.clip_mb * 1_000_000)
    assert asked == [worker + 2 * detector + classifier, worker, worker + 2 * SizeClass(128).slot_bytes]
