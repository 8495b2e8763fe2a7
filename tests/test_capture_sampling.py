"""The sampler and the timeline: pure functions of timestamps."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.capture.sampling import Sampler
from edge.capture.timeline import FrameOrigin, Timeline, interval_ns
from edge.core.types import NS_PER_S

rates = st.floats(min_value=0.2, max_value=60)


def taken(times_ns: list[int], fps: float) -> list[int]:
    sampler = Sampler(fps)
    return [time_ns for time_ns in times_ns if sampler.takes(time_ns)]


def regular(*, rate: float, duration_s: float) -> list[int]:
    return [round(index * NS_PER_S / rate) for index in range(int(duration_s * rate) + 1)]


@pytest.mark.parametrize(
    ("rate", "fps"), [(30000 / 1001, 5.0), (25, 5.0), (25, 2.0), (12.5, 5.0), (30, 7.5), (50 / 3, 5)]
)
def test_a_minute_gives_the_rate_that_was_asked_for(rate: float, fps: float) -> None:
    frames = taken(regular(rate=rate, duration_s=60), fps)
    given_fps = (len(frames) - 1) / ((frames[-1] - frames[0]) / NS_PER_S)
    print(f"{rate:.3f} fps at {fps}: {given_fps:.4f} a second")
    assert given_fps == pytest.approx(fps, rel=0.003)


@given(rate=rates, fps=rates, duration_s=st.floats(min_value=1, max_value=30))
def test_the_rate_is_met_and_never_passed(rate: float, fps: float, duration_s: float) -> None:
    times_ns = regular(rate=rate, duration_s=duration_s)
    expected = min(rate, fps) * times_ns[-1] / NS_PER_S + 1
    assert abs(len(taken(times_ns, fps)) - expected) <= 1.01


@given(rate=rates, jitter=st.lists(st.floats(-0.15, 0.15), min_size=2, max_size=80))
def test_a_source_no_faster_than_asked_keeps_every_frame(rate: float, jitter: list[float]) -> None:
    times_ns = [round((index + 1 + shift) * NS_PER_S / rate) for index, shift in enumerate(jitter)]
    assert taken(times_ns, rate) == times_ns
    assert taken(times_ns, rate * 1.5) == times_ns


def test_timestamps_in_whole_milliseconds_cost_no_frame() -> None:
    times_ns = [round(index * 1001 / 30) * 1_000_000 for index in range(3000)]
    assert taken(times_ns, 30) == times_ns


@given(steps=st.lists(st.integers(1, 400_000_000), min_size=1, max_size=60), fps=rates, shift_ns=st.integers(0, 10**15))
def test_the_choice_does_not_depend_on_when_the_clip_begins(steps: list[int], fps: float, shift_ns: int) -> None:
    times_ns = [sum(steps[:index]) for index in range(len(steps))]
    moved = [time_ns + shift_ns for time_ns in times_ns]
    assert taken(moved, fps) == [time_ns + shift_ns for time_ns in taken(times_ns, fps)]


@given(steps=st.lists(st.integers(1, 3 * NS_PER_S), min_size=1, max_size=60), fps=rates)
def test_no_burst_follows_a_gap(steps: list[int], fps: float) -> None:
    times_ns = [sum(steps[:index]) for index in range(len(steps))]
    frames = taken(times_ns, fps)
    assert len(frames) <= (frames[-1] - frames[0]) / NS_PER_S * fps + 2
    assert frames[0] == times_ns[0]


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Sampler(0)


@given(stamps=st.lists(st.one_of(st.none(), st.integers(-(10**12), 10**12)), max_size=60))
def test_the_timeline_begins_at_zero_and_only_goes_forward(stamps: list[int | None]) -> None:
    timeline = Timeline(interval_ns(25))
    placed = [timeline.place(stamp) for stamp in stamps]
    assert placed[:1] in ([], [0])
    assert all(later > earlier for earlier, later in pairwise(placed))


@given(first=st.integers(-(10**15), 10**15), steps=st.lists(st.integers(1, 10**10), max_size=40))
def test_good_timestamps_are_left_alone(first: int, steps: list[int]) -> None:
    timeline = Timeline(interval_ns(25))
    stamps = [first + sum(steps[:index]) for index in range(len(steps) + 1)]
    assert [timeline.place(stamp) for stamp in stamps] == [stamp - first for stamp in stamps]
    assert timeline.repaired == 0


def test_a_frame_out_of_order_moves_only_itself() -> None:
    timeline = Timeline(40)
    assert [timeline.place(stamp) for stamp in (0, 40, 80, 40, 160, 200)] == [0, 40, 80, 120, 160, 200]
    assert timeline.repaired == 1


def test_a_clock_that_is_set_back_does_not_stop_time() -> None:
    timeline = Timeline(interval_ns(25))
    seconds = [100.0, 100.04, 3.0, 3.04, 3.08]
    placed = [timeline.place(round(time_s * NS_PER_S)) / NS_PER_S for time_s in seconds]
    assert placed == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])


def test_missing_timestamps_are_filled_with_the_average_interval() -> None:
    timeline = Timeline(40)
    assert [timeline.place(stamp) for stamp in (None, None, 500, None, 580)] == [0, 40, 80, 120, 160]


def test_an_origin_is_followed_by_the_next_recording() -> None:
    assert FrameOrigin(10, 1000, 3).after(duration_ns=90, frames=7) == FrameOrigin(100, 1090, 10)


def test_one_late_picture_does_not_stretch_the_clip() -> None:
    timeline = Timeline(interval_ns(25))
    stamps_s = (0.48, 0.52, 0.56, 3.56, 0.60, 0.64, 3.60, 3.64, 3.68, 3.72)
    placed_s = [timeline.place(round(stamp * 1e9)) / 1e9 for stamp in stamps_s]
    assert placed_s == sorted(placed_s)
    assert placed_s[-1] < 3.5


def test_a_stamp_centuries_ahead_costs_one_interval() -> None:
    timeline = Timeline(interval_ns(25))
    stamps_s = (0.0, 0.04, 300 * 365 * 86_400.0, 0.12, 0.16, 8 * 3600.0, 0.24, 0.28)
    placed_s = [timeline.place(round(stamp * 1e9)) / 1e9 for stamp in stamps_s]
    assert placed_s == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.28])
