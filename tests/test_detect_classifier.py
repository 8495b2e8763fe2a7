"""Classifiers: what a crop shows, in the same process and through the slots of a detector process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.core.types import UInt8
from edge.detect.classifier import OnnxClassifier
from edge.detect.manifest import load_manifest
from edge.detect.models import open_model
from edge.detect.session import OnnxDetector
from edge.errors import ModelError
from edge.ports import Classifier
from edge.runtime.slots import SizeClass
from tests.detector_bench import bench
from tests.tiny_models import brightness_model, constant_model, write_classifier, write_model


def _square(level: int, side: int = 64) -> UInt8:
    return np.full((side, side, 3), level, np.uint8)


def _bright(level: int) -> float:
    """What the tiny model says of a picture of one level."""
    return float(1 / (1 + np.exp(-2 * (level * 20 / 255 - 10))))


def test_each_crop_has_its_own_answer_whatever_its_size(tmp_path: Path) -> None:
    classifier: Classifier = OnnxClassifier(load_manifest(write_classifier(tmp_path / "tiny")), threads=1)
    pictures = [_square(100), _square(150, 20), _square(130, 300), np.full((32, 64, 3), 120, np.uint8)]
    answers = classifier.classify(pictures)
    assert [float(answer[0]) for answer in answers] == pytest.approx(
        [_bright(v) for v in (100, 150, 130, 120)], abs=1e-4
    )
    assert [float(answer.sum()) for answer in answers] == pytest.approx([1] * 4, abs=1e-5)
    assert classifier.classify([]) == []


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("softmax", [0.7311, 0.2689, 0.0]), ("sigmoid", [0.8808, 0.7311, 0.0]), ("given", [1.0, 1.0, 0.0])],
)
def test_logits_become_probabilities_and_what_is_no_number_agrees_with_nothing(
    tmp_path: Path, activation: str, expected: list[float]
) -> None:
    """`given` is cut to 0..1: a number beyond it is no surer than sure."""
    numbers = np.array([2.0, 1.0, -np.inf if activation != "given" else np.nan], np.float32)
    folder = write_model(tmp_path / "tiny", constant_model([numbers]), format="classes", activation=activation)
    answer = OnnxClassifier(load_manifest(folder), threads=1).classify([_square(1)])[0]
    assert answer.tolist() == pytest.approx(expected, abs=1e-4)


def test_through_a_slot_the_answers_are_the_same(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "tiny")
    own = OnnxClassifier(load_manifest(folder), threads=1)
    pictures = [_square(level, side) for level, side in [(120, 64), (131, 17), (140, 200)]]
    with bench(folder) as running:
        remote: Classifier = running.classifier("camera")
        answers = remote.classify(pictures)
        counts = running.counts(lambda counts: counts.pictures == 3)
    assert all(map(np.array_equal, answers, own.classify(pictures)))
    assert (remote.name, remote.sha256, remote.labels) == (own.name, own.sha256, own.labels)
    assert counts.pictures == 3


def test_a_slot_of_a_classifier_has_a_row_for_each_class(tmp_path: Path) -> None:
    manifest = load_manifest(write_classifier(tmp_path / "tiny"))
    assert SizeClass.for_model(manifest) == SizeClass(side_px=64, rows_max=2)


def test_a_classifier_is_no_detector_and_a_detector_no_classifier(tmp_path: Path) -> None:
    classifier = load_manifest(write_classifier(tmp_path / "classifier"))
    detector = load_manifest(write_model(tmp_path / "detector", brightness_model(), format="yolo-e2e"))
    with pytest.raises(ModelError, match=r"is a classifier, which finds no boxes: name a detector$"):
        OnnxDetector(classifier)
    with pytest.raises(ModelError, match=r"is a detector \(format yolo-e2e\), which judges no crops: name a model of"):
        OnnxClassifier(detector)
    assert isinstance(open_model(classifier, threads=1), OnnxClassifier)
    assert isinstance(open_model(detector, threads=1), OnnxDetector)


def test_a_classifier_of_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    manifest = load_manifest(write_classifier(tmp_path / "tiny", labels=["cart", "stall", "car"]))
    with pytest.raises(ModelError, match=r"expected outputs \(2, 3\), got \(2, 2\) for format classes with 3 labels"):
        OnnxClassifier(manifest, threads=1)


def test_a_model_says_in_its_manifest_that_it_takes_one_size_alone(tmp_path: Path) -> None:
    content = constant_model([np.zeros((1, 6), np.float32)], height=64, width=96)
    silent = write_model(tmp_path / "silent", content, format="yolo-e2e", longest_side=96)
    with pytest.raises(
        ModelError, match=r"takes pictures of 96x64 alone: say so in the manifest, fixed_px: \[96, 64\]$"
    ):
        OnnxDetector(load_manifest(silent))
    said = load_manifest(write_model(tmp_path / "said", content, format="yolo-e2e", longest_side=96, fixed_px=[96, 64]))
    assert OnnxDetector(said).input.fixed_px == (96, 64)
    with pytest.raises(ModelError, match=r"takes pictures of 96x64 alone, not of 128 px$"):
        OnnxDetector(said, longest_side=128)
    free = write_model(tmp_path / "free", brightness_model(), format="yolo-e2e", fixed_px=[64, 64])
    with pytest.raises(ModelError, match=r"takes pictures of any size, its manifest says fixed_px: take that out"):
        OnnxDetector(load_manifest(free))
