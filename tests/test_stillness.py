"""When the detector's last answer stands, and that nothing in a street is passed over. Figures are printed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.clock import thread_cpu_s
from edge.core.stillness import Stillness, StillnessSettings
from edge.core.tracker import Tracker
from edge.core.types import Detections, Frame, Tracks, UInt8, seconds_to_ns
from tests.street import texture

WIDTH, HEIGHT = 640, 360
KERB = np.array([[0.3, 0.4], [0.7, 0.4], [0.7, 0.9], [0.3, 0.9]], np.float32)
FAR = np.array([[0.0, 0.0], [0.1, 0.0], [0.1, 0.2], [0.0, 0.2]], np.float32)
CAR = (280, 180, 380, 250)
STEP_S = 0.2
NOWHERE = np.zeros((0, 4), np.float32)
Box = tuple[float, float, float, float]

GROUND = texture(1, WIDTH, HEIGHT, level=90)
GRAIN = [np.random.default_rng(row).normal(8, 2, GROUND.shape).clip(0, 16).astype(np.uint8) for row in range(8)]


def drawn(*things: tuple[int, Box], gain: float = 1.0, look: int = 0) -> UInt8:
    """The street with things (seed of their looks, box) on it, in a light, each look with a grain of its own."""
    picture = GROUND.copy()
    for thing, box in things:
        x1, y1, x2, y2 = (round(edge) for edge in box)
        picture[y1:y2, x1:x2] = texture(thing, x2 - x1, y2 - y1, level=140)
    return np.asarray(cv2.add(cv2.convertScaleAbs(picture, alpha=gain), GRAIN[look % len(GRAIN)]), np.uint8)


def boxes_of(*boxes: Box, score: float = 0.8) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.full(count, score, np.float32), np.zeros(count, np.int16)
    )


@dataclass
class Post:
    """One camera from sight to tracks, with a detector that is told what there is to see."""

    stillness: Stillness = field(default_factory=lambda: Stillness(zones=[KERB]))
    tracker: Tracker = field(default_factory=Tracker)
    now_s: float = 0.0
    asked: list[float] = field(default_factory=list)
    looks: int = 0
    tracks: Tracks = field(default_factory=Tracks.empty)

    def look(self, picture: UInt8, seen: Detections) -> bool:
        """Whether the detector was asked."""
        now_ns = seconds_to_ns(self.now_s)
        frame = Frame("c", self.looks, now_ns, now_ns, picture)
        found = self.stillness.answer(frame, self.tracker.doubtful)
        was_asked = found is None
        if found is None:
            self.asked.append(self.now_s)
            found = self.stillness.keep(frame, seen)
        self.tracks = self.tracker.update(found, now_ns)
        self.looks += 1
        self.now_s = round(self.now_s + STEP_S, 6)
        return was_asked

    def play(
        self, seconds: float, *things: tuple[int, Box], gain: Callable[[float], float] = lambda at_s: 1.0
    ) -> float:
        """The share of looks that asked, of a street with these things on it."""
        looks, seen = round(seconds / STEP_S), boxes_of(*(box for _, box in things))
        pictures = (drawn(*things, gain=gain(nth * STEP_S), look=nth) for nth in range(looks))
        return sum(self.look(picture, seen) for picture in pictures) / looks


def test_a_parked_car_in_a_still_picture_goes_on_being_seen_and_the_model_rests() -> None:
    post = Post()
    asked = post.play(60, (5, CAR))
    print(f"asked at {asked:.0%} of the looks, {post.stillness.held} held")
    assert asked < 0.08, "a second to settle, and every ten seconds"
    assert max(np.diff(post.asked)) <= 10.0
    assert len(post.tracks) == 1
    assert post.tracks.detection[0] == 0, "it was seen at the last look"
    assert seconds_to_ns(post.now_s) - post.tracks.rest_since_ns[0] == seconds_to_ns(60), "and has never moved"


def test_dusk_and_a_lamp_change_no_street() -> None:
    post = Post()
    dusk = post.play(40, (5, CAR), gain=lambda at_s: 1 - 0.6 * at_s / 40)
    lamp = post.play(10, (5, CAR), gain=lambda at_s: 0.4 if at_s < 5 else 0.8)
    print(f"asked at {dusk:.0%} of the looks at dusk, at {lamp:.0%} as a lamp is lit")
    assert dusk < 0.1
    assert lamp < 0.15


@settings(max_examples=15)
@given(x=st.floats(0.3, 0.66), y=st.floats(0.45, 0.85), height_px=st.integers(16, 120), seed=st.integers(2, 50))
def test_what_comes_or_leaves_is_looked_at_in_the_same_look(x: float, y: float, height_px: int, seed: int) -> None:
    """From 16 px of 360, the least height of a person that the stock model finds, anywhere in the zone."""
    foot, half = y * HEIGHT, height_px / 4
    box = (x * WIDTH - half, max(foot - height_px, 0), x * WIDTH + half, foot)
    for before, after in (([], [(seed, box)]), ([(seed, box)], [])):
        post = Post()
        post.play(2.4, *before)
        assert post.stillness.held > 0, "the street was still before"
        assert post.look(drawn(*after), boxes_of())


@pytest.mark.parametrize("pace_px", [0.2, 0.5, 1.0])
def test_slow_changes_add_up(pace_px: float) -> None:
    """Each picture is nearly the one before; what has crept on by more than some pixels is looked at."""
    post = Post()
    crept = 0.0
    crept_unseen = [0.0]
    for look in range(100):
        left = 200 + pace_px * look
        box = (left, 200.0, left + 60, 260.0)
        crept = 0.0 if post.look(drawn((5, box), look=look), boxes_of(box)) else crept + pace_px
        crept_unseen.append(crept)
    print(f"{pace_px} px a look: at most {max(crept_unseen):.1f} px unseen, {post.stillness.held} looks held")
    assert max(crept_unseen) <= 8


def test_far_from_every_zone_nothing_is_asked_and_what_moved_is_not_held() -> None:
    post = Post(Stillness(zones=[FAR]))
    post.play(3, (5, CAR), (6, (20, 10, 60, 60)))
    held = post.stillness.held
    moved = (400.0, 180.0, 500.0, 250.0)
    assert not post.look(drawn((5, moved), (6, (20, 10, 60, 60))), boxes_of(moved, (20, 10, 60, 60)))
    assert post.stillness.held == held + 1
    seen = post.tracks.detection >= 0
    assert post.tracks.xyxy[seen, 0].tolist() == pytest.approx([20], abs=2), "the car went, and was not asked for"


def test_everything_counts_where_the_whole_picture_does() -> None:
    post = Post(Stillness(zones=[FAR], whole=True))
    post.play(3, (5, CAR))
    assert post.look(drawn((5, (400, 180, 500, 250))), boxes_of(CAR))


def test_a_thing_that_flickers_is_looked_at_until_it_is_certain() -> None:
    """Seen in every third look: the picture is still, and the model is asked at nearly all of them all the same."""
    post = Post()
    asked = sum(post.look(drawn((5, CAR), look=nth), boxes_of(*[CAR][: nth % 3 == 0])) for nth in range(50))
    print(f"asked at {asked} of 50 looks")
    assert asked > 45


def test_no_answer_outlives_a_time_unseen_another_resolution_or_its_time() -> None:
    post = Post()
    post.play(3, (5, CAR))
    assert not post.look(drawn((5, CAR)), boxes_of(CAR))
    post.stillness.interrupt()
    assert post.look(drawn((5, CAR)), boxes_of(CAR)), "what was meanwhile is unknown"
    post.play(3, (5, CAR))
    half = np.ascontiguousarray(drawn((5, CAR))[::2, ::2])
    assert post.look(half, boxes_of())
    always = Post(Stillness(zones=[KERB], settings=StillnessSettings(forced_ns=0)))
    assert always.play(2, (5, CAR)) == 1.0


def test_a_comparison_costs_little() -> None:
    picture, stillness = drawn((5, CAR)), Stillness(zones=[KERB])
    frame = Frame("c", 0, 0, 0, picture)
    stillness.answer(frame, NOWHERE)
    stillness.keep(frame, boxes_of(CAR))
    begin_s = thread_cpu_s()
    for nth in range(50):
        stillness.answer(Frame("c", 0, seconds_to_ns(nth * STEP_S), 0, picture), NOWHERE)
    ms = (thread_cpu_s() - begin_s) * 1e3 / 50
    print(f"{ms:.2f} ms a look of {WIDTH}x{HEIGHT}")
    assert ms < 5
