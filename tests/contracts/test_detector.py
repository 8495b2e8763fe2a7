"""What every detector promises: held against the committed model, and meant for each further runtime."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from edge.core.types import Detections, UInt8
from edge.detect.closer import CloserDetector
from edge.detect.joined import JoinedDetector
from edge.detect.manifest import find_model, load_manifest
from edge.detect.session import OnnxDetector
from edge.ports import Detector
from edge.resources import models_dir
from tests.runtime_example import example_npu, write_npu_model


@pytest.fixture(scope="module")
def network() -> OnnxDetector:
    return OnnxDetector(load_manifest(find_model("yolox-nano", [models_dir()])), threads=1, longest_side=320)


@pytest.fixture(scope="module")
def npu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnnxDetector]:
    """The example of docs/models.md, found by its name as an installed one would be."""
    with example_npu() as provider:
        folder = write_npu_model(tmp_path_factory.mktemp("npu") / "compiled", width=96, height=64)
        yield OnnxDetector(load_manifest(folder), providers=[provider])


@pytest.fixture(scope="module", params=["alone", "closer", "joined", "npu"])
def detector(request: pytest.FixtureRequest, network: OnnxDetector, npu: OnnxDetector) -> Detector:
    """The network alone, with a closer look, with that as the only one of several that are joined, and on another
    runtime than ONNX Runtime."""
    if request.param == "npu":
        return npu
    closer = CloserDetector(network, [np.array([0.5, 0, 1, 0.5], np.float32)], iou_max=0.5)
    return {"alone": network, "closer": closer, "joined": JoinedDetector([closer])}[str(request.param)]


@pytest.fixture(scope="module")
def pictures() -> list[UInt8]:
    """Noise at four sizes: a nano model sees all sorts of things in it."""
    generator = np.random.default_rng(11)
    sizes = [(240, 320), (1080, 1920), (240, 320), (500, 300), (33, 47)]
    return [generator.integers(0, 255, (*size, 3)).astype(np.uint8) for size in sizes]


def _same(first: Detections, second: Detections) -> bool:
    return (
        np.array_equal(first.xyxy, second.xyxy)
        and np.array_equal(first.score, second.score)
        and np.array_equal(first.label, second.label)
    )


def test_it_says_which_model_it_is(detector: Detector) -> None:
    assert detector.name
    assert len(detector.sha256) == 64
    assert len(set(detector.labels)) == len(detector.labels) > 0


def test_no_pictures_give_no_answers(detector: Detector) -> None:
    assert detector.detect([]) == []


def test_each_picture_has_its_answer_in_order_whatever_its_neighbours(
    detector: Detector, pictures: list[UInt8]
) -> None:
    together = detector.detect(pictures)
    alone = [detector.detect([picture])[0] for picture in pictures]
    assert len(together) == len(pictures)
    assert all(map(_same, together, alone))


def test_the_same_picture_gives_the_same_answer(detector: Detector, pictures: list[UInt8]) -> None:
    assert all(map(_same, detector.detect(pictures), detector.detect(pictures)))


def test_boxes_lie_in_their_picture_best_first_with_labels_of_the_model(
    detector: Detector, pictures: list[UInt8]
) -> None:
    for picture, answer in zip(pictures, detector.detect(pictures), strict=True):
        height, width = picture.shape[:2]
        assert (answer.xyxy >= 0).all()
        assert (answer.xyxy <= [width, height, width, height]).all()
        assert (answer.xyxy[:, 2:] > answer.xyxy[:, :2]).all()
        assert (np.diff(answer.score) <= 0).all()
        assert ((answer.score > 0) & (answer.score <= 1)).all()
        assert ((answer.label >= 0) & (answer.label < len(detector.labels))).all()


def test_pictures_are_not_changed(detector: Detector, pictures: list[UInt8]) -> None:
    before = [picture.copy() for picture in pictures]
    detector.detect(pictures)
    assert all(map(np.array_equal, before, pictures))
