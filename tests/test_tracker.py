from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.boxes import iou
from edge.core.tracker import Tracker, TrackerSettings
from edge.core.types import NS_PER_S, Detections, Tracks, seconds_to_ns

CAR, TRUCK, PERSON = 0, 1, 2
GROUPS = np.array([0, 0, 1], np.int16)

unhurried = settings(deadline=None, max_examples=60)  # a busy machine is no failure


def look(*boxes: Iterable[float], score: float | list[float] = 0.8, label: int | list[int] = CAR) -> Detections:
    count = len(boxes)
    return Detections(
        np.array([list(box) for box in boxes], np.float32).reshape(count, 4),
        np.broadcast_to(np.array(score, np.float32), count).copy(),
        np.broadcast_to(np.array(label, np.int16), count).copy(),
    )


def follow(tracker: Tracker, looks: Iterable[Detections], *, fps: float = 5, start_s: float = 0) -> list[Tracks]:
    return [tracker.update(detections, seconds_to_ns(start_s + index / fps)) for index, detections in enumerate(looks)]


def square(center_x: float, center_y: float, side: float = 27) -> list[float]:
    return [center_x - side / 2, center_y - side / 2, center_x + side / 2, center_y + side / 2]


def shaken(box: list[float], rng: np.random.Generator, shake_px: float = 2) -> list[float]:
    return list(np.array(box) + rng.uniform(-shake_px, shake_px, 4))


def ids(tracks: Tracks) -> list[int]:
    return [int(track) for track in tracks.track_id]


def rest_resets(history: list[Tracks]) -> int:
    """How often the rest of the only track began anew."""
    return len({int(tracks.rest_since_ns[0]) for tracks in history if len(tracks)}) - 1


# A scene: walkers with places, paces and scores; some looks miss some of them; the time between looks varies.
walkers = st.lists(
    st.tuples(st.integers(0, 600), st.integers(0, 400), st.integers(-40, 40), st.integers(-40, 40), st.integers(2, 9)),
    max_size=6,
    unique_by=lambda walker: (walker[0] // 8, walker[1] // 8),
)
spans_ms = st.lists(st.integers(40, 900), min_size=1, max_size=12)
Walkers = list[tuple[int, int, int, int, int]]


def scene(people: Walkers, spans: list[int], *, seed: int = 0) -> list[tuple[Detections, int]]:
    rng = np.random.default_rng(seed)
    table = np.array(people, np.float64).reshape(-1, 5)
    looks, now_ms = [], 1000
    for span_ms in spans:
        now_ms += span_ms
        place = np.round(table[:, :2] + table[:, 2:4] * (now_ms - 1000) / 1000 + rng.integers(-1, 2, (len(table), 2)))
        xyxy = np.concatenate([place, place + np.array([24, 60])], axis=1).astype(np.float32)
        seen = rng.random(len(table)) > 0.2
        detections = Detections(xyxy, (table[:, 4] / 10).astype(np.float32), np.full(len(table), PERSON, np.int16))
        looks.append((detections.take(seen), now_ms * 1_000_000))
    return looks


def same_tracks(one: Tracks, other: Tracks, *, shift: np.ndarray | float = 0.0) -> bool:
    exact = ("track_id", "label", "score", "first_seen_ns", "last_seen_ns", "rest_since_ns")
    return (
        all(np.array_equal(getattr(one, name), getattr(other, name)) for name in exact)
        and np.allclose(one.xyxy + shift, other.xyxy, atol=0.01)
        and np.allclose(one.speed, other.speed, atol=1e-4)
    )


class TestProperties:
    @unhurried
    @given(walkers, spans_ms, st.integers(-500, 500), st.integers(-500, 500))
    def test_shifting_the_scene_shifts_the_boxes_and_keeps_the_ids(self, people, spans, right, down):
        shift = np.array([right, down, right, down], np.float32)
        here, there = Tracker(), Tracker()
        for detections, mono_ns in scene(people, spans):
            moved = Detections(detections.xyxy + shift, detections.score, detections.label)
            one, other = here.update(detections, mono_ns), there.update(moved, mono_ns)
            assert same_tracks(one, other, shift=shift)
            assert np.array_equal(one.detection, other.detection)

    @unhurried
    @given(walkers, spans_ms, st.randoms(use_true_random=False))
    def test_permuting_the_detections_permutes_the_detection_column_and_nothing_else(self, people, spans, random):
        straight, mixed = Tracker(), Tracker()
        for detections, mono_ns in scene(people, spans):
            order = list(range(len(detections)))
            random.shuffle(order)
            one = straight.update(detections, mono_ns)
            other = mixed.update(detections.take(np.array(order, np.int64)), mono_ns)
            assert same_tracks(one, other)
            back = np.array([*order, -1], np.int64)  # -1 stays -1
            assert np.array_equal(one.detection, back[other.detection])

    @unhurried
    @given(walkers, spans_ms)
    def test_ids_ascend_and_no_detection_is_used_twice(self, people, spans):
        tracker, newest, before = Tracker(), 0, set()
        for detections, mono_ns in scene(people, spans):
            tracks = tracker.update(detections, mono_ns)
            used = tracks.detection[tracks.detection >= 0]
            assert len(set(used.tolist())) == len(used)
            assert (used < len(detections)).all()
            assert (np.diff(tracks.track_id) > 0).all()
            assert ((tracks.detection >= 0) == (tracks.last_seen_ns == mono_ns)).all()
            come = set(ids(tracks)) - before
            before |= come
            newest = max(newest, *come) if come else newest
        assert newest >= len(before)

    @unhurried
    @given(walkers, spans_ms)
    def test_the_detections_are_not_changed(self, people, spans):
        tracker = Tracker()
        for detections, mono_ns in scene(people, spans):
            copies = [array.copy() for array in (detections.xyxy, detections.score, detections.label)]
            tracker.update(detections, mono_ns)
            for was, array in zip(copies, (detections.xyxy, detections.score, detections.label), strict=True):
                assert np.array_equal(was, array)

    @unhurried
    @given(walkers, spans_ms)
    def test_what_was_told_is_not_changed_by_later_looks(self, people, spans):
        tracker, told = Tracker(), []
        for detections, mono_ns in scene(people, spans):
            tracks = tracker.update(detections, mono_ns)
            told.append((tracks, {name: getattr(tracks, name).copy() for name in Tracks.__slots__}))
        for tracks, copies in told:
            assert all(np.array_equal(getattr(tracks, name), was) for name, was in copies.items())


class TestLife:
    def test_no_detections_keep_shapes_and_dtypes(self):
        tracker = Tracker()
        for mono_ns in (0, 1, NS_PER_S):
            tracks = tracker.update(Detections.empty(), mono_ns)
            assert len(tracks) == 0
            assert tracks.xyxy.shape == (0, 4)

    def test_a_track_is_told_of_at_its_second_look(self):
        history = follow(Tracker(), [look(square(50, 50))] * 3)
        assert [len(tracks) for tracks in history] == [0, 1, 1]
        assert history[1].first_seen_ns[0] == 0

    def test_at_ten_looks_a_second_it_still_takes_the_time_it_takes(self):
        history = follow(Tracker(), [look(square(50, 50))] * 4, fps=10)
        assert [len(tracks) for tracks in history] == [0, 0, 1, 1]

    def test_a_box_seen_once_is_never_told_of(self):
        history = follow(Tracker(), [look(square(50, 50))] + [Detections.empty()] * 20)
        assert all(len(tracks) == 0 for tracks in history)

    def test_a_dim_box_begins_no_track(self):
        history = follow(Tracker(), [look(square(50, 50), score=0.25)] * 10)
        assert all(len(tracks) == 0 for tracks in history)

    def test_a_dim_box_goes_on_with_a_track(self):
        seen = [look(square(50, 50))] * 2 + [look(square(50, 50), score=0.15)] * 30
        history = follow(Tracker(), seen)
        assert all(ids(tracks) == [1] and tracks.detection[0] == 0 for tracks in history[1:])

    @pytest.mark.parametrize("fps", [2, 5, 10])
    def test_a_dim_parked_car_seen_in_every_second_look_keeps_one_track(self, fps):
        rng = np.random.default_rng(3)
        seen = [
            look(shaken(square(300, 200), rng), score=float(rng.uniform(0.22, 0.38))) if index % 2 == 0 else look()
            for index in range(int(60 * fps))
        ]
        history = follow(Tracker(), seen, fps=fps)
        told = [ids(tracks) for tracks in history if len(tracks)]
        assert len(told) > 0.9 * len(history)
        assert all(track == told[0] for track in told)
        assert len(told[0]) == 1

    def test_a_look_every_four_seconds_still_follows_a_parked_car(self):
        rng = np.random.default_rng(4)
        seen = [look(shaken(square(300, 200), rng)) if index % 3 else look() for index in range(30)]
        history = follow(Tracker(), seen, fps=0.25)
        assert {tuple(ids(tracks)) for tracks in history[5:]} == {(1,)}

    def test_a_lost_track_coasts_for_lost_ns_and_is_gone(self):
        seen = [look(square(50, 50))] * 5 + [Detections.empty()] * 25
        history = follow(Tracker(), seen)
        unseen = [tracks for tracks in history[5:] if len(tracks)]
        assert all(tracks.detection[0] == -1 for tracks in unseen)
        assert unseen[-1].last_seen_ns[0] == seconds_to_ns(0.8)
        assert len(unseen) == 15

    def test_an_id_is_not_given_again(self):
        tracker = Tracker()
        follow(tracker, [look(square(50, 50))] * 5 + [Detections.empty()] * 25)
        assert ids(follow(tracker, [look(square(50, 50))] * 5, start_s=60)[-1]) == [2]

    def test_a_gap_in_the_frames_does_not_end_a_track_that_stands(self):
        tracker = Tracker()
        follow(tracker, [look(square(50, 50))] * 10)
        assert ids(tracker.update(look(square(51, 50)), seconds_to_ns(12))) == [1]

    def test_time_that_goes_back_is_refused(self):
        tracker = Tracker()
        tracker.update(look(), 5)
        with pytest.raises(ValueError, match="expected mono_ns >= 5, got 4"):
            tracker.update(look(), 4)

    def test_boxes_that_are_no_boxes_are_passed_over(self):
        broken = look([5, 5, 5, 9], [0, 0, np.nan, 4], [0, 0, np.inf, 4], [9, 9, 3, 3], square(50, 50))
        history = follow(Tracker(), [broken] * 4)
        assert len(history[-1]) == 1
        assert history[-1].detection.tolist() == [4]


class TestMotion:
    @pytest.mark.parametrize("fps", [2, 5, 10])
    def test_two_who_cross_keep_their_ids(self, fps):
        tracker, times_s = Tracker(), np.arange(0, 8, 1 / fps)
        east = [[60 * t, 100 + 2 * t, 60 * t + 30, 180 + 2 * t] for t in times_s]
        west = [[480 - 60 * t, 104, 510 - 60 * t, 184] for t in times_s]
        history = follow(tracker, [look(*pair, label=PERSON) for pair in zip(east, west, strict=True)], fps=fps)
        first, last = history[2], history[-1]
        assert ids(first) == ids(last)
        assert first.detection.tolist() == last.detection.tolist()

    @pytest.mark.parametrize("fps", [2, 5, 10])
    def test_a_walker_is_followed_from_the_first_step_even_where_the_boxes_do_not_overlap(self, fps):
        pace = 1.2 * 60  # 1.2 heights a second; at 2 looks a second one and a half widths from look to look
        boxes = [[pace * t, 50, pace * t + 24, 110] for t in np.arange(0, 6, 1 / fps)]
        history = follow(Tracker(), [look(box, label=PERSON) for box in boxes], fps=fps)
        assert {tuple(ids(tracks)) for tracks in history[3:]} == {(1,)}
        assert history[-1].speed[0] == pytest.approx(1.2, rel=0.1)

    def test_a_walker_hidden_for_a_second_comes_out_with_the_same_id(self):
        boxes = [[40 * t, 50, 40 * t + 24, 110] for t in np.arange(0, 6, 0.2)]
        seen = [look() if 15 <= index < 20 else look(box, label=PERSON) for index, box in enumerate(boxes)]
        history = follow(Tracker(), seen)
        assert ids(history[-1]) == [1]

    def test_a_car_that_drives_in_between_keyframes_and_stands_keeps_its_id_and_rests_since_it_was_seen_there(self):
        drives = [[383, 34, 663, 230], [390, 37, 660, 219], [757, 110, 1004, 332], [1393, 150, 1573, 348]]
        history = follow(Tracker(), [look(box) for box in drives] + [look([1395, 151, 1573, 349])] * 4, fps=0.5)
        assert [ids(tracks) for tracks in history[1:]] == [[1]] * 7
        assert [int(tracks.detection[0]) for tracks in history[1:]] == [0] * 7  # seen at every look
        assert int(history[-1].rest_since_ns[0]) == 6 * NS_PER_S

    @pytest.mark.parametrize(("label", "score"), [(PERSON, 0.8), (CAR, 0.2)])
    def test_what_is_found_where_a_car_halted_is_another_by_its_kind_or_where_it_is_dim(self, label, score):
        drives = [[383, 34, 663, 230], [390, 37, 660, 219], [757, 110, 1004, 332], [1393, 150, 1573, 348]]
        looks = [*(look(box) for box in drives), look([1395, 151, 1573, 349], label=label, score=score)]
        tracks = follow(Tracker(), looks, fps=0.5)[-1]
        assert ids(tracks)[:1] == [1]
        assert int(tracks.detection[0]) == -1

    def test_a_second_box_on_a_car_that_halted_carries_no_other_track_on(self):
        passes = [[0, 150, 180, 348], [380, 150, 560, 348], [760, 150, 940, 348], [1393, 150, 1573, 348]]
        halted, second = [1395, 151, 1573, 349], [1397, 152, 1575, 350]
        history = follow(Tracker(), [*(look(box) for box in passes), look(halted, second, score=[0.8, 0.6])], fps=0.5)
        assert len(history[-1]) == 1

    def test_uneven_looks_do_not_end_a_track(self):
        rng = np.random.default_rng(5)
        tracker, now_s, told = Tracker(), 0.0, set()
        for _ in range(80):
            now_s += float(rng.uniform(0.05, 0.6))
            tracks = tracker.update(look([30 * now_s, 50, 30 * now_s + 24, 110]), seconds_to_ns(now_s))
            told |= set(ids(tracks))
        assert told == {1}

    def test_a_coasting_box_does_not_fly_away(self):
        boxes = [[200 * t, 50, 200 * t + 60 + 30 * t, 100 + 30 * t] for t in np.arange(0, 2, 0.2)]
        history = follow(Tracker(), [look(box) for box in boxes] + [Detections.empty()] * 14)
        last, end = history[9].xyxy[0], history[-1].xyxy[0]
        assert (end[0] - last[0]) < 200 * 2.6
        grown = (end[2:] - end[:2]) / (last[2:] - last[:2])
        assert (grown <= 2).all()
        assert (grown >= 0.5).all()

    def test_a_thing_at_rest_coasts_where_it_stands(self):
        rng = np.random.default_rng(6)
        history = follow(Tracker(), [look(shaken(square(90, 90), rng)) for _ in range(20)] + [look()] * 14)
        drift = np.abs(history[-1].xyxy[0] - history[19].xyxy[0])
        assert drift.max() == 0

    def test_a_car_that_drives_away_from_a_standing_one_takes_its_own_id_along(self):
        standing = square(100, 100, 60)
        seen = [look(standing, square(165 + 25 * max(t - 3, 0) ** 2, 100, 60)) for t in np.arange(0, 6, 0.2)]
        history = follow(Tracker(), seen)
        assert ids(history[3]) == ids(history[-1])
        assert history[3].detection.tolist() == history[-1].detection.tolist()


class TestRest:
    """How long a thing has been still is what a case is made of: it must survive everything but leaving."""

    @pytest.mark.parametrize("fps", [2, 5, 10])
    @pytest.mark.parametrize("seed", range(5))
    def test_jitter_does_not_end_a_rest(self, fps, seed):
        rng = np.random.default_rng(seed)
        history = follow(Tracker(), [look(shaken(square(90, 90), rng)) for _ in range(60 * fps)], fps=fps)
        assert rest_resets(history) == 0
        assert history[-1].rest_since_ns[0] == 0

    @pytest.mark.parametrize("side", ["left", "top", "right", "bottom"])
    @pytest.mark.parametrize("size", [(27, 27), (30, 80), (120, 60)])
    def test_a_passer_by_who_hides_a_third_for_a_second_does_not_end_a_rest(self, side, size):
        rng = np.random.default_rng(1)
        width, height = size
        whole = [200.0, 150.0, 200.0 + width, 150.0 + height]
        cut = list(whole)
        cut[["left", "top", "right", "bottom"].index(side)] += {
            "left": 0.3 * width,
            "top": 0.3 * height,
            "right": -0.3 * width,
            "bottom": -0.3 * height,
        }[side]
        seen = [look(shaken(cut if 25 <= index < 30 else whole, rng, 1)) for index in range(60)]
        history = follow(Tracker(), seen)
        assert rest_resets(history) == 0
        assert max(float(tracks.speed[0]) for tracks in history[10:]) < 0.1

    def test_missed_looks_do_not_end_a_rest(self):
        rng = np.random.default_rng(2)
        seen = [look() if rng.random() < 0.3 else look(shaken(square(90, 90), rng)) for _ in range(300)]
        history = follow(Tracker(), seen)
        assert rest_resets(history) == 0

    def test_a_box_that_is_wrong_for_half_a_second_does_not_end_a_rest(self):
        seen = [look(square(102 if 20 <= index < 22 else 90, 90)) for index in range(60)]
        assert rest_resets(follow(Tracker(), seen)) == 0

    @pytest.mark.parametrize("pace", [0.02, 0.05, 0.1, 0.3])
    @pytest.mark.parametrize("way", [(1, 0), (0, 1), (-1, 0), (0.6, -0.8)])
    def test_a_crawl_ends_the_rest_again_and_again(self, pace, way):
        seen = [
            look(square(200 + way[0] * pace * 60 * t, 200 + way[1] * pace * 60 * t, 60)) for t in np.arange(0, 60, 0.2)
        ]
        history = follow(Tracker(), seen)
        longest_s = max(int(tracks.last_seen_ns[0] - tracks.rest_since_ns[0]) for tracks in history[1:]) / NS_PER_S
        assert rest_resets(history) >= 60 / (0.15 / pace + 2) - 2
        assert longest_s < 0.15 / pace + 2

    def test_a_rest_begins_when_the_thing_has_stopped(self):
        stop_s = 4
        seen = [look(square(100 + 90 * min(t, stop_s), 100, 60)) for t in np.arange(0, 30, 0.2)]
        history = follow(Tracker(), seen)
        assert history[-1].rest_since_ns[0] / NS_PER_S == pytest.approx(stop_s, abs=1)
        assert len(set(ids(history[-1]))) == 1

    def test_a_rest_ends_when_the_thing_leaves(self):
        seen = [look(square(100 + 60 * max(t - 20, 0), 100, 60)) for t in np.arange(0, 23, 0.2)]
        history = follow(Tracker(), seen)
        assert ids(history[-1]) == [1]
        assert history[99].rest_since_ns[0] == 0
        assert history[-1].rest_since_ns[0] > 20 * NS_PER_S

    @pytest.mark.parametrize("fps", [2, 5, 10])
    def test_the_speed_of_a_shaking_box_is_next_to_nothing(self, fps):
        rng = np.random.default_rng(9)
        history = follow(Tracker(), [look(shaken(square(90, 90), rng)) for _ in range(30 * fps)], fps=fps)
        speeds = [float(tracks.speed[0]) for tracks in history[5 * fps :]]
        print(f"speed of a 27 px box that shakes by 2 px, {fps} looks/s: at most {max(speeds):.3f} heights/s")
        assert max(speeds) < 0.05


class TestLabels:
    def test_a_van_called_car_and_truck_in_turn_stays_one_track_with_one_label(self):
        rng = np.random.default_rng(11)
        seen = [look(square(90, 90), label=int(rng.integers(CAR, TRUCK + 1)), score=0.6) for _ in range(200)]
        history = follow(Tracker(groups=GROUPS), seen)
        assert {tuple(ids(tracks)) for tracks in history[1:]} == {(1,)}
        flips = sum(int(a.label[0] != b.label[0]) for a, b in pairwise(history[1:]))
        print(f"label flips in 200 looks of a coin-toss label: {flips}")
        assert flips <= 6

    def test_a_first_wrong_label_is_outvoted(self):
        seen = [look(square(90, 90), label=TRUCK)] * 2 + [look(square(90, 90), label=CAR)] * 20
        assert follow(Tracker(groups=GROUPS), seen)[-1].label.tolist() == [CAR]

    def test_a_person_before_a_car_is_not_the_car(self):
        seen = [look(square(90, 90), square(90, 91), label=[CAR, PERSON])] * 3
        seen += [look(square(90, 90), label=PERSON)] * 3
        last = follow(Tracker(groups=GROUPS), seen)[-1]
        assert last.label.tolist() == [CAR, PERSON]
        assert last.detection.tolist() == [-1, 0]

    def test_without_groups_every_label_is_its_own(self):
        seen = [look(square(90, 90), square(90, 91), label=[CAR, TRUCK])] * 3
        assert len(follow(Tracker(), seen)[-1]) == 2

    def test_two_boxes_of_one_group_over_one_van_make_one_track(self):
        seen = [look(square(90, 90), square(91, 91), label=[CAR, TRUCK], score=[0.6, 0.5])] * 10
        assert ids(follow(Tracker(groups=GROUPS), seen)[-1]) == [1]

    def test_more_labels_than_a_track_remembers_do_no_harm(self):
        groups = np.zeros(9, np.int16)
        seen = [look(square(90, 90), label=index % 9 if index % 2 else 4) for index in range(100)]
        assert follow(Tracker(groups=groups), seen)[-1].label.tolist() == [4]

    def test_a_label_without_a_group_is_refused(self):
        with pytest.raises(ValueError, match=r"labels must be 0\.\.2 to have a group, got 7"):
            Tracker(groups=GROUPS).update(look(square(9, 9), label=7), 0)


class TestBound:
    def test_a_full_table_gives_up_the_longest_lost_and_counts_it(self):
        tracker = Tracker(TrackerSettings(tracks_max=3))
        places = [square(100 * index, 100) for index in range(1, 5)]
        follow(tracker, [look(*places[:2])] * 3)
        follow(tracker, [look(places[1])] * 2, start_s=0.6)
        last = follow(tracker, [look(places[1], places[2], places[3])] * 3, start_s=1.0)[-1]
        assert tracker.dropped == 1
        assert ids(last) == [2, 3, 4]

    def test_a_crowd_beyond_the_bound_keeps_the_tracks_that_were_there(self):
        tracker = Tracker(TrackerSettings(tracks_max=4))
        crowd = [square(50 + 60 * index, 100) for index in range(8)]
        first = follow(tracker, [look(*crowd[:4])] * 3)[-1]
        last = follow(tracker, [look(*crowd)] * 5, start_s=0.6)[-1]
        assert ids(first) == ids(last)
        assert tracker.dropped == 4 * 5

    @settings(unhurried, max_examples=10)
    @given(st.integers(0, 2**32 - 1))
    def test_noise_never_outgrows_the_bound(self, seed):
        rng = np.random.default_rng(seed)
        tracker = Tracker(TrackerSettings(tracks_max=50))
        for index in range(10):
            corner = rng.uniform(0, 2000, (80, 2))
            boxes = np.concatenate([corner, corner + rng.uniform(1, 200, (80, 2))], axis=1)
            assert len(tracker.update(look(*boxes), seconds_to_ns(index / 5))) <= 50


def test_a_told_box_lies_on_its_detection():
    rng = np.random.default_rng(12)
    tracker, worst = Tracker(), 1.0
    for index in range(60):
        t = index / 5
        detections = look(shaken([30 * t, 50, 30 * t + 24, 110], rng, 1), label=PERSON)
        tracks = tracker.update(detections, seconds_to_ns(t))
        if len(tracks):
            worst = min(worst, float(iou(tracks.xyxy, detections.xyxy)[0, 0]))
    print(f"least IoU of a track's box with its detection: {worst:.2f}")
    assert worst > 0.75


def test_a_change_of_resolution_keeps_tracks_and_rest() -> None:
    tracker = Tracker(groups=GROUPS)
    tracker.fit_to(width=640, height=360)
    follow(tracker, [look(square(200, 100), square(300, 150))] * 10)
    tracker.fit_to(width=320, height=180)
    half = [look(square(100, 50, 13.5), square(150, 75, 13.5))] * 10
    tracks = follow(tracker, half, start_s=2)[-1]
    assert ids(tracks) == [1, 2]
    assert tracks.rest_since_ns.tolist() == [0, 0]
    assert np.allclose(tracks.xyxy[0], square(100, 50, 13.5), atol=0.5)
