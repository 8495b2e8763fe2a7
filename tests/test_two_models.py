"""A camera with several models: which judges what, that nothing counts twice, and what the alerts say of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from edge.clock import Stopwatch
from edge.core.memory import StreetMemory
from edge.core.scene import Scene
from edge.core.types import (
    Case,
    CaseChange,
    Detections,
    Float32,
    Frame,
    Presence,
    StaticRegions,
    Tracks,
    UInt8,
    seconds_to_ns,
)
from edge.delivery.schema import alert_schema
from edge.detect.classifier import OnnxClassifier
from edge.detect.manifest import ModelManifest
from edge.detect.session import OnnxDetector
from edge.ports import EvidenceFile, WordedMeasure
from edge.runtime.remote import DetectorLostError
from edge.state.database import IN_MEMORY, Database
from edge.state.judgements import DISMISSED
from edge.wiring.camera_models import eyes_of
from edge.wiring.frame_path import check_models, measuring_for, sight_for, telling_for, worker_for
from edge.wiring.judging import Word, judge
from tests.alerts import a_change, alert_of, topic_of
from tests.street import HEIGHT, WIDTH, texture
from tests.test_camera_models import fault, models_of_gate, site_of
from tests.tiny_models import constant_model, write_classifier, write_model

KERB = {"id": "kerb", "polygon": [[0.05, 0.05], [0.95, 0.05], [0.95, 0.95], [0.05, 0.95]]}
PERSON, CAR, CART = (40, 60, 70, 140), (120, 100, 200, 160), (220, 60, 280, 130)
SECOND_PERSON = (80, 60, 110, 140)
STREET_LABELS, CART_LABELS = ("person", "car", "truck"), ("person", "stall", "cart")
DARK = 20


def _model(folder: Path, labels: Sequence[str], *things: tuple[tuple[int, int, int, int], str, float]) -> str:
    """A model that sees the same things in every picture, as the drawn street has them."""
    rows = np.array([(*box, score, labels.index(name)) for box, name, score in things], np.float32).reshape(-1, 6)
    content = constant_model([rows], height=256, width=320)
    write_model(
        folder, content, format="yolo-e2e", labels=list(labels), longest_side=320, fixed_px=[320, 256], iou_max=0.8
    )
    return str(folder)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    _model(
        tmp_path / "street",
        STREET_LABELS,
        (PERSON, "person", 0.9),
        (SECOND_PERSON, "person", 0.85),
        (CAR, "car", 0.8),
        ((222, 62, 279, 128), "truck", 0.6),  # it takes the cart for a lorry
    )
    _model(tmp_path / "carts", CART_LABELS, ((41, 61, 70, 140), "person", 0.7), (CART, "cart", 0.7))
    write_classifier(tmp_path / "judge", labels=["cart", "bin"])  # bright, dark
    return tmp_path


@dataclass
class Told:
    """An outbox and a recorder with a memory."""

    alerts: list[dict[str, Any]] = field(default_factory=list)

    def commit(self, change: CaseChange, alert: dict[str, object], topic: str) -> int:
        self.alerts.append({**alert, "sequence": len(self.alerts) + 1})
        return len(self.alerts)

    def put_measures(self, measures: Sequence[WordedMeasure]) -> int:
        return 0

    def watch(self, cases: Sequence[Case], frame: Frame, things: Detections | None = None) -> None:
        pass

    def filmed(self, mono_ns: int, *, last: bool = False) -> Sequence[str]:
        return ()

    def record(self, change: CaseChange, frame: Frame) -> Sequence[EvidenceFile]:
        return ()


def picture(*, cart_level: int | None = None) -> UInt8:
    drawn = texture(1, WIDTH, HEIGHT, level=90)
    for seed, (x1, y1, x2, y2) in enumerate((PERSON, SECOND_PERSON, CAR, CART), start=2):
        drawn[y1:y2, x1:x2] = texture(seed, x2 - x1, y2 - y1, level=170)
    if cart_level is not None:
        x1, y1, x2, y2 = CART
        drawn[y1 - 20 : y2 + 20, x1 - 20 : x2 + 20] = cart_level
    return drawn


def watch(folder: Path, scenarios: list[dict[str, Any]], *, seconds: float = 4, bgr: UInt8 | None = None) -> Told:
    """A camera over a drawn street for some seconds, two pictures a second."""
    site = site_of(folder, zones=[KERB], scenarios=scenarios)
    camera, models = site.config.cameras[0], check_models(site)["gate"]
    eyes = eyes_of(
        camera,
        models,
        detector=lambda model: OnnxDetector(model.manifest, threads=1, longest_side=model.longest_side),
        classifier=lambda model: OnnxClassifier(model.manifest, threads=1),
    )
    told = Told()
    telling = telling_for(site, camera, eyes, recorder=told, outbox=told)  # type: ignore[arg-type]
    measuring = measuring_for(site, camera, models, box=told)
    worker = worker_for(
        site, camera, eyes, sight=sight_for(camera), telling=telling, measuring=measuring, stopwatch=Stopwatch()
    )
    bgr = picture() if bgr is None else bgr
    for row in range(round(seconds * 2)):
        now_ns = seconds_to_ns(10 + row / 2)
        worker.step(Frame("gate", row, now_ns, now_ns, bgr))
    for alert in told.alerts:
        jsonschema.validate(alert, alert_schema())
    return told


def parking(**changes: Any) -> dict[str, Any]:
    return {"use": "illegal-parking", "zones": ["kerb"], "after_s": 1, "labels": ["car"], **changes}


def cart_rule(folder: Path, **changes: Any) -> dict[str, Any]:
    settings = {"use": "non-motor-parking", "zones": ["kerb"], "after_s": 1, "labels": ["cart"]}
    return {**settings, "model": str(folder / "carts"), **changes}


def _found(told: Told) -> list[tuple[str, str, str]]:
    """Scenario, label and model of each alert."""
    data = [alert["data"] for alert in told.alerts]
    return sorted((entry["scenario"], entry["object"]["label"], entry["model"]["name"]) for entry in data)


def test_each_scenario_is_judged_by_its_own_model_which_its_alerts_name(models: Path) -> None:
    told = watch(models, [parking(), cart_rule(models)])
    assert _found(told) == [("illegal-parking", "car", "street"), ("non-motor-parking", "cart", "carts")]


def test_a_case_withdrawn_while_no_gateway_runs_names_the_model_that_judged_it(models: Path) -> None:
    site = site_of(models, zones=[KERB], scenarios=[parking(), cart_rule(models)])
    change = a_change(camera="gate", scenario="non-motor-parking")
    with Database.open(IN_MEMORY) as database:
        database.commit(change, alert_of(change), topic_of(change))
        word = Word(change.case.case_id, DISMISSED, "allowed")
        judge(database, word, running=False, site=site)
        told = json.loads(database.next_unsent(1, 1)[0].body)
    assert (told["data"]["state"], told["data"]["model"]["name"]) == ("withdrawn", "carts")


def test_both_models_may_judge_scenarios_of_one_name_in_different_zones(models: Path) -> None:
    site = site_of(
        models,
        zones=[KERB, {**KERB, "id": "other"}],
        scenarios=[parking(), parking(zones=["other"], labels=["cart"], model=str(models / "carts"))],
    )
    assert check_models(site)["gate"].judges == (0, 1)


def test_a_person_seen_by_two_models_is_one_in_a_gathering(models: Path) -> None:
    """Three detections of two people: of either model's people alone there are never three."""
    crowd = {"use": "crowd-gathering", "zones": ["kerb"], "after_s": 1, "stay_s": 2, "spacing": 3}
    pair = watch(models, [{**crowd, "people_min": 2}, cart_rule(models)], seconds=12)
    three = watch(models, [{**crowd, "people_min": 3}, cart_rule(models)], seconds=12)
    own = watch(models, [{**crowd, "people_min": 2, "model": str(models / "carts")}], seconds=12)
    counts = [alert["data"]["object"]["count"] for alert in pair.alerts if "count" in alert["data"]["object"]]
    assert counts == [2]
    assert [scenario for scenario, _, _ in _found(three)] == ["non-motor-parking"]
    assert _found(own) == []


def test_goods_put_out_may_be_of_a_custom_model_while_the_cameras_own_explains_static_things(models: Path) -> None:
    stall = {
        "use": "out-of-store-trading",
        "zones": ["kerb"],
        "labels": ["cart"],
        "after_s": 2,
        "active": "Mon-Sun 00:00-24:00",
    }
    told = watch(models, [{**stall, "model": str(models / "carts"), "evidence": ["labels"]}], seconds=12)
    assert _found(told) == [("out-of-store-trading", "cart", "carts")]
    site = site_of(models, zones=[KERB], scenarios=[{**stall, "model": str(models / "carts")}])
    assert [model.manifest.name for model in models_of_gate(site).detectors] == ["street", "carts"]


def test_a_model_that_no_scenario_asks_is_not_run(models: Path) -> None:
    carts = str(models / "carts")
    assert [model.manifest.name for model in models_of_gate(site_of(models)).detectors] == ["street"]
    only = models_of_gate(site_of(models, zones=[KERB], scenarios=[cart_rule(models)]))
    assert [model.manifest.name for model in only.detectors] == ["carts"]
    both = models_of_gate(site_of(models, zones=[KERB], scenarios=[cart_rule(models), parking()]))
    assert [model.manifest.name for model in both.detectors] == ["street", "carts"]
    goods = {"use": "piled-goods", "zones": ["kerb"]}
    explained = models_of_gate(site_of(models, zones=[KERB], scenarios=[cart_rule(models), goods]))
    assert [model.manifest.name for model in explained.detectors] == ["street", "carts"]
    same = models_of_gate(site_of(models, zones=[KERB], model=carts, scenarios=[cart_rule(models)]))
    assert [model.manifest.name for model in same.detectors] == ["carts"]


# What a scenario of one model sees of the others


def _scene(boxes: list[tuple[int, int, int, int]], labels: list[int]) -> Scene:
    frame = Frame("c", 0, 0, 0, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    count = len(boxes)
    times = np.zeros(count, np.int64)
    tracks = Tracks(
        track_id=np.arange(1, count + 1),
        xyxy=np.array(boxes, np.float32),
        label=np.array(labels, np.int16),
        score=np.full(count, 0.8, np.float32),
        detection=np.arange(count),
        first_seen_ns=times,
        last_seen_ns=times,
        rest_since_ns=times,
        speed=np.zeros(count, np.float32),
    )
    presence = Presence(
        np.ones((1, count), np.bool_), np.arange(count, dtype=np.int64)[None], np.zeros((1, count), np.int64)
    )
    return Scene(frame, Detections.empty(), tracks, {"bottom": presence}, StaticRegions.empty(), StreetMemory())


OWN = np.array([True, True, False, False])


def test_the_other_models_track_of_the_same_thing_hides_nothing_but_what_stands_before_it_does() -> None:
    before = (150, 90, 180, 160)
    scene = _scene([CAR, (121, 101, 199, 160), before, before], [1, 3, 2, 3])
    seen = scene.seen_by(OWN)
    assert seen.tracks.track_id.tolist() == [1, 3]
    assert seen.presence["bottom"].entered_ns.tolist() == [[0, 2]]


def test_a_models_own_tracks_all_stay_however_they_overlap() -> None:
    scene = _scene([CAR, CAR, CAR], [0, 1, 2])
    assert scene.seen_by(OWN).tracks.track_id.tolist() == [1, 2]
    assert _scene([CAR, CAR], [0, 1]).seen_by(OWN).tracks.track_id.tolist() == [1, 2]


# The second stage in the frame path


def test_a_finding_that_the_classifier_refuses_opens_no_case_and_one_that_it_agrees_to_says_so(models: Path) -> None:
    check = {"model": str(models / "judge"), "labels": ["cart"]}
    bright = watch(models, [cart_rule(models, check=check)], bgr=picture(cart_level=230))
    dark = watch(models, [cart_rule(models, check=check)], bgr=picture(cart_level=DARK))
    unasked = watch(models, [cart_rule(models)], bgr=picture(cart_level=DARK))
    assert [alert["data"]["check"] for alert in bright.alerts] == [{"model": "judge", "label": "cart", "score": 1.0}]
    assert dark.alerts == []
    assert ["check" in alert["data"] for alert in unasked.alerts] == [False]


def test_the_same_pictures_give_the_same_alerts(models: Path) -> None:
    scenarios = [parking(), cart_rule(models, check={"model": str(models / "judge"), "labels": ["cart"]})]
    first, second = (watch(models, scenarios, bgr=picture(cart_level=230)) for _ in range(2))
    assert len(first.alerts) == 2
    assert first.alerts == second.alerts


def test_a_wait_for_a_classifier_that_is_given_up_leaves_every_case_as_it_was(models: Path) -> None:
    """The process is told to stop while the classifier's is away: what was about to open is told by the next one."""
    check = {"model": str(models / "judge"), "labels": ["cart"]}
    site = site_of(models, zones=[KERB], scenarios=[parking(after_s=2), cart_rule(models, check=check)])
    camera, loaded = site.config.cameras[0], check_models(site)["gate"]
    eyes = eyes_of(
        camera,
        loaded,
        detector=lambda model: OnnxDetector(model.manifest, threads=1, longest_side=model.longest_side),
        classifier=lambda model: Lost(model.manifest),
    )
    told = Told()
    telling = telling_for(site, camera, eyes, recorder=told, outbox=told)  # type: ignore[arg-type]
    measuring = measuring_for(site, camera, loaded, box=told)
    worker = worker_for(
        site, camera, eyes, sight=sight_for(camera), telling=telling, measuring=measuring, stopwatch=Stopwatch()
    )
    lost = 0
    for row in range(8):
        now_ns = seconds_to_ns(10 + row / 2)
        before = worker.cases
        try:
            worker.step(Frame("gate", row, now_ns, now_ns, picture()))
        except DetectorLostError:
            lost += 1
            assert worker.cases == before
    assert lost > 3
    assert told.alerts == []


class Lost:
    """A classifier whose process does not come back."""

    def __init__(self, manifest: ModelManifest) -> None:
        self.name, self.sha256, self.labels = manifest.name, manifest.sha256, manifest.labels

    def classify(self, pictures: Sequence[UInt8]) -> list[Float32]:
        raise DetectorLostError("gone")


# What is refused


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "nothing"}, "model nothing is not installed; known models are"),
        ({"labels": ["car"]}, "labels holds 'car', which the model carts does not know: its labels are person, stall"),
        ({"model": "{}/judge"}, "model judge is a classifier, which finds nothing: name a detector"),
        ({"model": ""}, "model must not be empty"),
        (
            {"check": {"model": "nothing", "labels": ["cart"]}},
            "check: model nothing is not installed; known models are",
        ),
        (
            {"check": {"model": "{}/street", "labels": ["cart"]}},
            "check: model street is a detector, which judges no crops",
        ),
        (
            {"check": {"model": "{}/judge", "labels": ["car"]}},
            "check: labels holds 'car', which judge does not know: its",
        ),
        ({"check": {"model": "{}/judge", "labels": []}}, "check: labels needs at least one"),
        ({"check": {"model": "{}/judge"}}, "check: labels is missing"),
        ({"check": {"model": "{}/judge", "labels": ["cart"], "score_min": 2}}, "check: score_min must be 1 or less"),
        (
            {"check": {"model": "{}/judge", "labels": ["cart"], "score": 1}},
            "check: unknown key score; did you mean score_min",
        ),
        ({"check": True}, "check must be a mapping"),
    ],
)
def test_a_wrong_model_or_check_is_told_with_its_line(models: Path, changes: dict[str, Any], says: str) -> None:
    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: placed(part) for key, part in value.items()}
        return value.format(models) if isinstance(value, str) else value

    words = fault(models, zones=[KERB], scenarios=[parking(), cart_rule(models, **placed(changes))])
    assert says in words, words
    assert "cameras.gate.scenarios.non-motor-parking" in words


def test_a_larger_input_must_suit_every_detector_of_the_camera(models: Path) -> None:
    words = fault(models, zones=[KERB], scenarios=[cart_rule(models)], sampling={"input_px": 640})
    assert words == (
        "cameras.gate.sampling: input_px does not suit carts, which takes pictures of 320x256 alone, not of 640 px"
    )
