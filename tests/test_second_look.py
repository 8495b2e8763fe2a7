"""The second stage: which crops are looked at and when, what is remembered, and what stays a finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.memory import StreetMemory
from edge.core.scene import Scene
from edge.core.types import Detections, Findings, Float32, Frame, StaticRegions, Tracks, UInt8, seconds_to_ns
from edge.runtime.second_look import CROPS_MAX, KNOWN_MAX, SecondLook, crop_of

CART, CAR = 250, 20  # the level that each is drawn with
Box = tuple[float, float, float, float]


@dataclass
class LevelClassifier:
    """Says cart or car by the level in the middle of the crop; `doubts` are answered with the other one."""

    name: str = "carts"
    sha256: str = "c" * 64
    labels: tuple[str, ...] = ("cart", "car", "bin")
    crops: list[UInt8] = field(default_factory=list)
    doubts: int = 0

    def classify(self, pictures: Sequence[UInt8]) -> list[Float32]:
        self.crops += pictures
        return [self._judge(picture) for picture in pictures]

    def _judge(self, picture: UInt8) -> Float32:
        bright = picture[picture.shape[0] // 2, picture.shape[1] // 2, 0] > 128
        if self.doubts:
            self.doubts, bright = self.doubts - 1, not bright
        return np.array([0.9, 0.08, 0.02] if bright else [0.1, 0.85, 0.05], np.float32)


def scene_at(seconds: float, *things: tuple[Box, int], width: int = 320, height: int = 240) -> Scene:
    picture = np.full((height, width, 3), 100, np.uint8)
    for (x1, y1, x2, y2), level in things:
        picture[round(y1) : round(y2), round(x1) : round(x2)] = level
    frame = Frame("c", 0, seconds_to_ns(seconds), seconds_to_ns(seconds), picture)
    return Scene(frame, Detections.empty(), Tracks.empty(), {}, StaticRegions.empty(), StreetMemory())


def findings_of(*boxes: Box, tracks: Sequence[int] | None = None) -> Findings:
    count = len(boxes)
    return Findings(
        zone=np.zeros(count, np.int16),
        xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        label=np.zeros(count, np.int16),
        score=np.full(count, 0.7, np.float32),
        track_id=np.array(tracks if tracks is not None else range(1, count + 1), np.int64),
        since_ns=np.zeros(count, np.int64),
        count=np.ones(count, np.int16),
        reasons=np.zeros((count, 0), np.bool_),
    )


def carts(classifier: LevelClassifier, score_min: float = 0.5) -> SecondLook:
    return SecondLook(classifier, labels=["cart"], score_min=score_min)


LEFT, RIGHT = (20.0, 40.0, 80.0, 100.0), (200.0, 60.0, 260.0, 120.0)


def test_only_what_the_classifier_agrees_to_stays_a_finding() -> None:
    look = carts(LevelClassifier())
    kept = look.keep(findings_of(LEFT, RIGHT), scene_at(0, (LEFT, CAR), (RIGHT, CART)))
    assert kept.track_id.tolist() == [2]
    verdict = look.verdict_at(RIGHT)
    assert verdict is not None
    assert (verdict.model, verdict.label, round(verdict.score, 2), verdict.agrees) == ("carts", "cart", 0.9, True)
    assert look.verdict_at((0, 0, 20, 20)) is None


def test_a_score_below_the_limit_is_no_agreement() -> None:
    assert len(carts(LevelClassifier(), score_min=0.95).keep(findings_of(LEFT), scene_at(0, (LEFT, CART)))) == 0


@pytest.mark.parametrize("tracks", [[7], [-1]], ids=["by its track", "by its place"])
def test_a_thing_costs_one_crop_in_a_second_and_a_half(tracks: list[int]) -> None:
    classifier = LevelClassifier()
    look = carts(classifier)
    for turn in range(51):  # ten seconds at five a second
        box = (LEFT[0] + turn % 3, *LEFT[1:])
        assert len(look.keep(findings_of(box, tracks=tracks), scene_at(turn / 5, (LEFT, CART)))) == 1
    print(f"{look.crops} crops in 10 s of one thing")
    assert look.crops == len(classifier.crops) == 7


def test_one_crop_that_went_wrong_decides_nothing() -> None:
    classifier = LevelClassifier()
    look = carts(classifier)
    kept = []
    for turn in range(60):
        if turn == 20:
            classifier.doubts = 1
        kept.append(len(look.keep(findings_of(LEFT), scene_at(turn / 5, (LEFT, CART)))))
    assert kept == [1] * 60


def test_two_crops_of_another_kind_are_believed() -> None:
    look = carts(LevelClassifier())
    assert len(look.keep(findings_of(LEFT), scene_at(0, (LEFT, CART)))) == 1
    kept = [len(look.keep(findings_of(LEFT), scene_at(turn / 5, (LEFT, CAR)))) for turn in range(1, 40)]
    assert kept[-1] == 0
    assert kept.index(0) < 20  # the second look at it


def test_many_things_at_once_are_looked_at_a_few_in_a_frame_and_each_in_its_turn() -> None:
    classifier = LevelClassifier()
    look = carts(classifier)
    boxes = [(20.0 * row + 40, 40.0, 20.0 * row + 56, 56.0) for row in range(10)]
    scene = [(box, CART) for box in boxes]
    kept = [len(look.keep(findings_of(*boxes), scene_at(turn / 5, *scene))) for turn in range(4)]
    assert kept == [4, 8, 10, 10]
    assert look.put_off == 6 + 2
    per_look = []
    for turn in range(4, 60):
        before = look.crops
        look.keep(findings_of(*boxes), scene_at(turn / 5, *scene))
        per_look.append(look.crops - before)
    print(f"10 things: {sum(per_look)} crops in {len(per_look)} frames, at most {max(per_look)} in one")
    assert max(per_look) <= CROPS_MAX


def test_the_same_thing_in_two_zones_is_one_crop() -> None:
    look = carts(LevelClassifier())
    twice = findings_of(LEFT, LEFT, tracks=[3, 3])
    assert len(look.keep(twice, scene_at(0, (LEFT, CART)))) == 2
    assert look.crops == 1


def test_what_is_remembered_is_bounded_and_counted() -> None:
    look = carts(LevelClassifier())
    for turn in range(KNOWN_MAX + 20):
        look.keep(findings_of(LEFT, tracks=[turn]), scene_at(turn / 100, (LEFT, CART)))
    assert len(look._known) == KNOWN_MAX
    assert look.forgotten == 20
    look.keep(findings_of(LEFT, tracks=[9999]), scene_at(100, (LEFT, CART)))
    assert len(look._known) == 1  # the others were not found for long


def test_a_camera_with_another_resolution_shows_the_same_thing() -> None:
    look = carts(LevelClassifier())
    look.keep(findings_of(LEFT, tracks=[-1]), scene_at(0, (LEFT, CART)))
    double = tuple(2 * edge for edge in LEFT)
    kept = look.keep(findings_of(double, tracks=[-1]), scene_at(0.2, (double, CART), width=640, height=480))
    assert len(kept) == 1
    assert look.crops == 1


def test_a_crop_at_the_pictures_edge_is_moved_inside_not_padded() -> None:
    picture = np.arange(240 * 320 * 3, dtype=np.uint64).reshape(240, 320, 3).astype(np.uint8)
    crop = crop_of(picture, np.array([300, 200, 320, 240], np.float32))
    assert crop.shape[0] == crop.shape[1] == 52
    assert np.array_equal(crop, picture[-52:, -52:])
    assert crop_of(picture, np.array([-50, -50, 900, 900], np.float32)).shape == picture.shape


edges = st.floats(-400, 700)


@given(edges, edges, st.floats(0.1, 500), st.floats(0.1, 500))
def test_a_crop_is_never_empty_and_lies_in_the_picture(left: float, top: float, width: float, height: float) -> None:
    picture = np.zeros((240, 320, 3), np.uint8)
    crop = crop_of(picture, np.array([left, top, left + width, top + height], np.float32))
    assert 32 <= crop.shape[0] <= 240
    assert 32 <= crop.shape[1] <= 320
