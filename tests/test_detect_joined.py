"""Several detectors as one, and closer looks at far zones: what is joined and cut, and that nothing is mixed up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.pixels import Picture, pixels_of
from edge.core.types import Detections, Float32, UInt8
from edge.detect.closer import CloserDetector, crop_round
from edge.detect.joined import JoinedDetector
from edge.detect.letterbox import Letterbox
from edge.detect.manifest import load_manifest
from edge.detect.session import OnnxDetector
from tests.detector_bench import bench
from tests.tiny_models import brightness_model, constant_model, write_model

INPUT_PX = (320, 192)
SEEN_PX = 6  # the smallest side in the input that the drawn detector still sees


class Blobs:
    """A detector that finds bright things, if they are large enough in its input: near-sighted, as all are."""

    name, sha256, labels = "blobs", "b" * 64, ("thing",)
    groups = np.zeros(1, np.int16)

    def __init__(self) -> None:
        self.looks = 0

    def detect(self, pictures: Sequence[Picture]) -> list[Detections]:
        return self.ask(pictures)()

    def ask(self, pictures: Sequence[Picture]) -> Callable[[], list[Detections]]:
        self.looks += len(pictures)
        return lambda: [self._look(picture) for picture in pictures]

    def _look(self, picture: Picture) -> Detections:
        pixels = pixels_of(picture)
        letterbox = Letterbox.fit(source_px=pixels.size_px, input_px=INPUT_PX)
        slot = np.empty((INPUT_PX[1], INPUT_PX[0], 3), np.uint8)
        letterbox.apply(picture, slot)
        found = cv2.connectedComponentsWithStats((slot[..., 0] > 180).astype(np.uint8))[2][1:]
        large = found[(found[:, 2:4] >= SEEN_PX).all(axis=1)]
        xyxy = np.concatenate([large[:, :2], large[:, :2] + large[:, 2:4]], axis=1).astype(np.float32)
        score = np.minimum(large[:, 2:4].min(axis=1) / 40, 0.95).astype(np.float32)
        return Detections(letterbox.to_source(xyxy), score, np.zeros(len(large), np.int16))


def _street(*things: tuple[int, int, int, int]) -> UInt8:
    picture = np.full((720, 1280, 3), 60, np.uint8)
    for x1, y1, x2, y2 in things:
        picture[y1:y2, x1:x2] = 255
    return picture


def _near(found: Detections, *boxes: tuple[int, int, int, int]) -> None:
    assert len(found) == len(boxes), found.xyxy
    order = np.lexsort(found.xyxy.T[::-1])
    np.testing.assert_allclose(found.xyxy[order], np.array(sorted(boxes), np.float32), atol=4)


FAR = np.array([(0.4, 0.1), (0.6, 0.1), (0.6, 0.3), (0.4, 0.3)], np.float32)
SMALL = (600, 120, 614, 136)


def test_a_closer_look_finds_what_is_too_small_in_the_whole_picture() -> None:
    picture = _street(SMALL, (100, 400, 300, 600))
    plain, closer = Blobs(), CloserDetector(Blobs(), [crop_round(FAR)], iou_max=0.5)
    _near(plain.detect([picture])[0], (100, 400, 300, 600))
    _near(closer.detect([picture])[0], (100, 400, 300, 600), SMALL)


def test_a_thing_seen_in_both_looks_is_one_with_the_surer_box() -> None:
    thing = (620, 100, 680, 170)
    whole = Blobs().detect([_street(thing)])[0]
    both = CloserDetector(Blobs(), [crop_round(FAR)], iou_max=0.5).detect([_street(thing)])[0]
    _near(both, thing)
    assert both.score[0] > whole.score[0]


def test_a_thing_that_the_crop_cuts_is_the_whole_pictures() -> None:
    left = round(float(crop_round(FAR)[0]) * 1280)
    thing = (left - 60, 120, left + 70, 200)
    _near(CloserDetector(Blobs(), [crop_round(FAR)], iou_max=0.5).detect([_street(thing)])[0], thing)


def test_at_the_pictures_own_edge_nothing_is_cut() -> None:
    corner = np.array([(0, 0), (0.1, 0), (0.1, 0.1), (0, 0.1)], np.float32)
    assert crop_round(corner)[:2].tolist() == [0, 0]
    closer = CloserDetector(Blobs(), [crop_round(corner)], iou_max=0.5)
    _near(closer.detect([_street((0, 0, 14, 14))])[0], (0, 0, 14, 14))


def test_several_pictures_and_crops_are_told_apart() -> None:
    zones = [FAR, FAR + np.float32(0.3)]
    blobs = Blobs()
    closer = CloserDetector(blobs, [crop_round(zone) for zone in zones], iou_max=0.5)
    other = (1000, 330, 1014, 346)
    first, second, third = closer.detect([_street(SMALL), _street(other), _street(SMALL, other)])
    assert blobs.looks == 9
    _near(first, SMALL)
    _near(second, other)
    _near(third, SMALL, other)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=8))
def test_a_crop_holds_its_zone_lies_in_the_frame_and_has_its_shape(points: list[tuple[float, float]]) -> None:
    polygon = np.array(points, np.float32)
    crop = crop_round(polygon)
    assert (crop >= 0).all()
    assert (crop <= 1 + 1e-6).all()
    assert crop[2] - crop[0] == pytest.approx(crop[3] - crop[1], abs=1e-5)
    assert (polygon.min(axis=0) >= crop[:2] - 1e-5).all()
    assert (polygon.max(axis=0) <= crop[2:] + 1e-5).all()


# Joined


def _constant(folder: Path, rows: Float32, **changes: object) -> OnnxDetector:
    content = constant_model([rows])
    return OnnxDetector(load_manifest(write_model(folder, content, format="yolo-e2e", **changes)), threads=1)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[OnnxDetector, OnnxDetector]:
    """Two models that see the same person; the second knows carts as well."""
    person = [0, 0, 32, 32, 0.9, 0]
    first = _constant(tmp_path / "street", np.array([person, [32, 0, 60, 30, 0.5, 2]], np.float32))
    second = _constant(
        tmp_path / "carts", np.array([person, [0, 32, 32, 60, 0.7, 1]], np.float32), labels=["person", "cart"]
    )
    return first, second


def test_joined_labels_follow_one_another_and_groups_never_meet(pair: tuple[OnnxDetector, OnnxDetector]) -> None:
    joined = JoinedDetector(pair)
    picture = np.zeros((64, 64, 3), np.uint8)
    found = joined.detect([picture, picture])[1]
    assert joined.name == "street+carts"
    assert joined.labels == ("person", "car", "truck", "person", "cart")
    assert [joined.labels[row] for row in found.label] == ["person", "person", "cart", "truck"]
    assert found.label.tolist() == [0, 3, 4, 2]
    assert joined.groups.tolist() == [0, 1, 2, 3, 4]
    assert len(set(joined.groups[[0, 3]].tolist())) == 2


def test_both_models_are_asked_before_either_is_waited_for(tmp_path: Path) -> None:
    folders = [write_model(tmp_path / name, brightness_model(), format="yolo-e2e") for name in ("one", "two")]
    picture = np.full((64, 64, 3), 120, np.uint8)
    with bench(folders[0]) as first, bench(folders[1]) as second:
        parts = [first.detector("camera"), second.detector("camera")]
        collect = [part.ask([picture]) for part in parts]
        # Both are served although nobody has fetched an answer yet.
        assert [running.counts(lambda counts: counts.pictures == 1).pictures for running in (first, second)] == [1, 1]
        assert [round(float(fetch()[0].score[0]) * 255) for fetch in collect] == [120, 120]
        assert len(JoinedDetector(parts).detect([picture])[0]) == 2


def test_closer_looks_travel_through_one_slot_and_a_larger_input_through_its_own(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny", brightness_model(), format="yolo-e2e")
    own = OnnxDetector(load_manifest(folder), threads=1, longest_side=128)
    picture = np.random.default_rng(5).integers(0, 255, (72, 128, 3)).astype(np.uint8)
    picture[:36] = 10
    crops = [crop_round(FAR), crop_round(FAR + np.float32(0.3))]
    with bench(folder) as running:
        plain = running.detector("plain")
        far = CloserDetector(running.detector("far", longest_side=128), crops, iou_max=0.99)
        expected = CloserDetector(own, crops, iou_max=0.99).detect([picture])[0]
        for _ in range(3):
            found = far.detect([picture])[0]
            assert np.array_equal(found.xyxy, expected.xyxy)
            assert np.array_equal(found.score, expected.score)
            plain.detect([picture])
        counts = running.counts(lambda counts: counts.pictures == 12)
    print(f"3 looks with 2 crops at 128 px beside 3 at 64 px: {counts}")
    assert counts.pictures == 12
    assert counts.torn == 0
