"""Compares our tracker with `trackers`' ByteTrack: identities on made scenes, tracks on a real clip, time per look.

Run by scripts/compare-tracker. ByteTrack runs twice: as it comes, and with our thresholds and our patience of 3 s;
it is told the time of each look, as ours is. Both are judged by the detections that they name, so boxes play no part.
IDF1 after Ristani et al. 2016, over the true detections that were given: what nobody detected is nobody's fault.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import supervision
from trackers import ByteTrackTracker

from edge.core.assignment import assign
from edge.core.boxes import coverage
from edge.core.tracker import Tracker
from edge.core.types import Detections, seconds_to_ns

NOBODY = -1
WIDTH_PX, HEIGHT_PX = 960, 540


@dataclass(frozen=True)
class Look:
    time_s: float
    detections: Detections
    truth: np.ndarray  # (N,) who each detection is of, or NOBODY


Follow = Callable[[Look], np.ndarray]  # (N,) track of each detection, or NOBODY


def ours(fps: float) -> Follow:
    tracker = Tracker()

    def follow(look: Look) -> np.ndarray:
        tracks = tracker.update(look.detections, seconds_to_ns(look.time_s))
        named = np.full(len(look.detections), NOBODY, np.int64)
        seen = tracks.detection >= 0
        named[tracks.detection[seen]] = tracks.track_id[seen]
        return named

    return follow


def bytetrack_with(**settings: float) -> Callable[[float], Follow]:
    def make(fps: float) -> Follow:
        tracker = ByteTrackTracker(frame_rate=fps, **settings)

        def follow(look: Look) -> np.ndarray:
            rows = np.arange(len(look.detections))
            given = supervision.Detections(look.detections.xyxy, confidence=look.detections.score, data={"row": rows})
            answer = tracker.update(given, timestamp=look.time_s)
            named = np.full(len(rows), NOBODY, np.int64)
            if len(answer):
                named[answer.data["row"]] = answer.tracker_id
            return named

        return follow

    return make


OURS, PLAIN, TUNED = "ours", "ByteTrack", "ByteTrack, our thresholds"
CONTESTANTS: dict[str, Callable[[float], Follow]] = {
    OURS: ours,
    PLAIN: bytetrack_with(),
    TUNED: bytetrack_with(track_activation_threshold=0.3, high_conf_det_threshold=0.3, lost_track_buffer=90),
}


def walkers(seed: int, *, fps: float, count: int = 16, seconds: float = 40) -> Iterator[Look]:
    """People on a plaza, hidden by one another and, 0.5 to 2 s at a time, by posts; one look in five misses them."""
    rng = np.random.default_rng(seed)
    foot = rng.uniform([0, 180], [WIDTH_PX, HEIGHT_PX], (count, 2))
    heading, pace = rng.uniform(0, 2 * np.pi, count), rng.uniform(0.4, 0.9, count)
    hidden_until_s = np.zeros(count)
    for time_s in np.arange(0, seconds, 1 / fps):
        height = 30 + 0.16 * foot[:, 1]
        heading += rng.normal(0, 0.25 / np.sqrt(fps), count)
        step = np.stack([np.cos(heading), 0.5 * np.sin(heading)], axis=1) * (pace * height / fps)[:, None]
        outside = (foot + step < [0, 180]) | (foot + step > [WIDTH_PX, HEIGHT_PX])
        heading = np.where(outside[:, 0], np.pi - heading, np.where(outside[:, 1], -heading, heading))
        foot = np.clip(foot + step, [0, 180], [WIDTH_PX, HEIGHT_PX])
        half = 0.2 * height
        xyxy = np.stack([foot[:, 0] - half, foot[:, 1] - height, foot[:, 0] + half, foot[:, 1]], axis=1)

        posts = (rng.random(count) < 0.05 / fps) & (hidden_until_s < time_s)
        hidden_until_s[posts] = time_s + rng.uniform(0.5, 2, posts.sum())
        nearer = foot[None, :, 1] > foot[:, None, 1]
        cover = (coverage(xyxy.astype(np.float32), xyxy.astype(np.float32)) * nearer).max(axis=1)
        seen = (hidden_until_s <= time_s) & (cover < 0.6) & (rng.random(count) > 0.2)
        score = np.clip(rng.normal(0.75 - 0.5 * cover, 0.12), 0.12, 0.97)
        yield _look(rng, time_s, xyxy[seen], score[seen], np.flatnonzero(seen), false_boxes=1.5)


def parked(seed: int, *, fps: float, seconds: float = 60) -> Iterator[Look]:
    """Twelve parked cars, dim and seen in every second look, and people who walk before them."""
    rng = np.random.default_rng(seed)
    corner = np.stack([60 + 75 * np.arange(12), np.full(12, 200)], axis=1).astype(np.float64)
    cars = np.concatenate([corner, corner + np.array([56, 34])], axis=1)
    for index, people in enumerate(walkers(seed + 1000, fps=fps, count=4, seconds=seconds)):
        seen = np.flatnonzero((np.arange(12) + index) % 2 == 0)
        score = rng.uniform(0.22, 0.38, len(seen))
        street = _look(rng, people.time_s, cars[seen], score, seen + 100, false_boxes=0)
        both = (people.detections, street.detections)
        detections = Detections(
            *(np.concatenate([getattr(part, name) for part in both]) for name in ("xyxy", "score", "label"))
        )
        yield Look(people.time_s, detections, np.concatenate([people.truth, street.truth]))


def _look(
    rng: np.random.Generator, time_s: float, xyxy: np.ndarray, score: np.ndarray, who: np.ndarray, *, false_boxes: float
) -> Look:
    """Shakes the boxes and adds false ones."""
    size = np.sqrt((xyxy[:, 2:] - xyxy[:, :2]).prod(axis=1))[:, None]
    shaken = xyxy + rng.normal(0, 0.04, xyxy.shape) * size
    extra = rng.poisson(false_boxes)
    corner = rng.uniform(0, [WIDTH_PX, HEIGHT_PX], (extra, 2))
    ghosts = np.concatenate([corner, corner + rng.uniform([15, 30], [45, 110], (extra, 2))], axis=1)
    boxes = np.concatenate([shaken, ghosts]).astype(np.float32)
    scores = np.concatenate([score, rng.uniform(0.1, 0.55, extra)]).astype(np.float32)
    truth = np.concatenate([who, np.full(extra, NOBODY)]).astype(np.int64)
    return Look(float(time_s), Detections(boxes, scores, np.zeros(len(boxes), np.int16)), truth)


def recorded(path: Path, *, every: int, fps: float) -> Iterator[Look]:
    """A MOT detection file (frame, -1, left, top, width, height, score, ...), every n-th frame of it."""
    table = np.loadtxt(path, delimiter=",")
    for frame in range(1, int(table[:, 0].max()) + 1, every):
        rows = table[table[:, 0] == frame]
        xyxy = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1).astype(np.float32)
        detections = Detections(xyxy, rows[:, 6].astype(np.float32), np.zeros(len(rows), np.int16))
        yield Look(frame / fps, detections, np.full(len(rows), NOBODY, np.int64))


def identity(looks: list[Look], named: list[np.ndarray]) -> tuple[float, int]:
    """IDF1 and the number of times a person's track changed to another one."""
    truth, track = np.concatenate([look.truth for look in looks]), np.concatenate(named)
    people, tracks = np.unique(truth[truth != NOBODY]), np.unique(track[track != NOBODY])
    together = np.zeros((len(people), len(tracks)))
    both = (truth != NOBODY) & (track != NOBODY)
    np.add.at(together, (np.searchsorted(people, truth[both]), np.searchsorted(tracks, track[both])), 1)
    rows, columns = assign(-together, 0.0)
    right = together[rows, columns].sum()
    idf1 = 2 * right / ((truth != NOBODY).sum() + (track != NOBODY).sum())
    switches = sum(int(np.count_nonzero(np.diff(track[both & (truth == person)]))) for person in people)
    return float(idf1), switches


def judge_scenes(scene: Callable[..., Iterator[Look]], *, fps: float, seeds: int) -> dict[str, tuple[float, float]]:
    scores: dict[str, list[tuple[float, int]]] = {name: [] for name in CONTESTANTS}
    for seed in range(seeds):
        looks = list(scene(seed, fps=fps))
        for name, make in CONTESTANTS.items():
            follow = make(fps)
            scores[name].append(identity(looks, [follow(look) for look in looks]))
    return {
        name: (float(np.mean([one[0] for one in each])), sum(one[1] for one in each)) for name, each in scores.items()
    }


def judge_recording(path: Path, *, every: int, fps: float) -> dict[str, tuple[int, float, float]]:
    """Tracks, mean detections in a track, share of the detections that are in one."""
    answer = {}
    looks = list(recorded(path, every=every, fps=fps))
    for name, make in CONTESTANTS.items():
        follow = make(fps / every)
        track = np.concatenate([follow(look) for look in looks])
        count = len(np.unique(track[track != NOBODY]))
        told = int((track != NOBODY).sum())
        answer[name] = (count, told / max(count, 1), told / len(track))
    return answer


def time_us(count: int, *, rounds: int = 5, looks: int = 60) -> dict[str, float]:
    """Median time per look; the contestants take turns, so that a busy machine slows them all."""
    spans: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for seed in range(rounds):
        rng = np.random.default_rng(seed)
        corner, pace = rng.uniform(0, [1880, 1000], (count, 2)), rng.normal(0, 30, (count, 2))
        scene = []
        for time_s in np.arange(looks) / 10:
            place = corner + pace * time_s + rng.normal(0, 1, (count, 2))
            xyxy = np.concatenate([place, place + np.array([30, 70])], axis=1).astype(np.float32)
            score = rng.uniform(0.2, 0.95, count).astype(np.float32)
            scene.append(Look(time_s, Detections(xyxy, score, np.zeros(count, np.int16)), np.arange(count)))
        for name, make in CONTESTANTS.items():
            follow = make(10.0)
            for look in scene:
                begin = time.perf_counter()
                follow(look)
                spans[name].append(time.perf_counter() - begin)
    return {name: float(np.median(each)) * 1e6 for name, each in spans.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Our tracker beside trackers' ByteTrack.")
    parser.add_argument("detections", type=Path, nargs="?", help="a MOT detection file of a real clip")
    parser.add_argument("--frame-rate", type=float, default=10, help="of the detection file")
    parser.add_argument("--seeds", type=int, default=8, help="made scenes of each kind")
    arguments = parser.parse_args()

    print(f"{'':34}" + "".join(f"{name:>28}" for name in CONTESTANTS) + f"{'ratio of ours':>16}")
    for title, scene, rates in (("walkers", walkers, (5, 10)), ("parked cars, dim", parked, (2, 5, 10))):
        for fps in rates:
            scores = judge_scenes(scene, fps=fps, seeds=arguments.seeds)
            _row(f"{title}, {fps} looks/s, IDF1", {name: score[0] for name, score in scores.items()}, "{:.3f}")
            _row(f"{title}, {fps} looks/s, switches", {name: score[1] for name, score in scores.items()}, "{:.0f}")
    if arguments.detections:
        for every in (1, 2, 5):
            answer = judge_recording(arguments.detections, every=every, fps=arguments.frame_rate)
            title = f"{arguments.detections.stem[:12]}, {arguments.frame_rate / every:g} looks/s, "
            _row(title + "tracks", {name: one[0] for name, one in answer.items()}, "{:.0f}")
            _row(title + "length", {name: one[1] for name, one in answer.items()}, "{:.1f}")
            _row(title + "coverage", {name: one[2] for name, one in answer.items()}, "{:.3f}")
    for count in (1, 10, 50, 300):
        _row(f"{count} objects, us per look", time_us(count), "{:.0f}")


def _row(title: str, values: dict[str, float], form: str) -> None:
    """The ratio is to the plain ByteTrack."""
    ratio = values[OURS] / values[PLAIN] if values[PLAIN] else float("nan")
    print(
        f"{title:34}" + "".join(f"{form.format(value):>28}" for value in values.values()) + f"{ratio:>16.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
