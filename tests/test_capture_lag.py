"""A decoder that is behind is noticed, and a camera whose clock is wrong is not taken for one."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.capture.arrival import Arrivals
from edge.capture.lag import Lag
from edge.capture.timeline import Ticks
from edge.core.types import NS_PER_S


def lags_s(
    *,
    fps: float,
    busy_s: float,
    seconds: float,
    camera_rate: float = 1.0,
    stalls: tuple[tuple[float, float], ...] = (),
    jump: tuple[float, float] = (1e9, 0.0),
    b_seconds: float = 0.0,
) -> np.ndarray:
    """(N, 2): lag as told and as it is, s. `busy_s` is what each picture costs; `stalls`: (from, to) nobody reads."""
    lag, told, now = Lag(), [], 0.0
    rng = np.random.default_rng(3)
    for number in range(round(fps * seconds)):
        taken = number / fps
        sent = taken if b_seconds == 0 else np.ceil(taken / b_seconds) * b_seconds  # Wi-Fi that delivers in bursts
        asked = now
        now = max(now + 0.0003, sent + float(rng.exponential(0.004)))
        for begin, end in stalls:
            now = end if begin <= now < end else now
        stamp = taken * camera_rate + 40.0 + (jump[1] if taken >= jump[0] else 0.0)
        answer = lag.of(
            round(stamp * NS_PER_S), now_ns=round(now * NS_PER_S), waited_ns=round((now - asked) * NS_PER_S)
        )
        told.append((answer / NS_PER_S, now - taken))
        now += busy_s
    return np.array(told)


@pytest.mark.parametrize("fps", [5.0, 15.0, 25.0])
def test_decoding_a_little_too_slowly_adds_up(fps: float) -> None:
    lags = lags_s(fps=fps, busy_s=1.07 / fps, seconds=120)
    error_s = np.abs(lags[:, 0] - lags[:, 1])
    print(f"{fps:.0f} fps decoded 7 % too slowly: {lags[-1, 1]:.1f} s behind, told within {error_s.max():.2f} s")
    assert lags[-1, 0] > 8
    assert error_s[lags[:, 1] > 1].max() < 0.1


@pytest.mark.parametrize("camera_rate", [0.999, 1.001])
@pytest.mark.parametrize(("fps", "load"), [(1.0, 0.02), (5.0, 0.1), (15.0, 0.3), (25.0, 0.6), (25.0, 0.7)])
def test_a_camera_whose_clock_is_a_thousandth_wrong_is_not_behind(camera_rate: float, fps: float, load: float) -> None:
    lags = lags_s(fps=fps, busy_s=load / fps, seconds=4 * 3600 / fps, camera_rate=camera_rate)
    assert lags[:, 0].max() < 0.1


def test_a_stall_is_lag_until_what_waited_is_read() -> None:
    """Ten seconds in which the process stood still, or the network: pictures come late, and their times stay true."""
    lags = lags_s(fps=15.0, busy_s=0.02, seconds=60, stalls=((20.0, 30.0),))
    late = lags[lags[:, 1] > 2]
    assert len(late) > 50
    assert np.abs(late[:, 0] - late[:, 1]).max() < 0.1
    assert lags[-200:, 0].max() < 0.1


def test_stamps_that_jump_are_not_lag_for_longer_than_it_takes_to_see_it() -> None:
    lags = lags_s(fps=15.0, busy_s=0.02, seconds=60, jump=(20.0, -7.0))
    assert lags[:, 0].max() < 0.1


def test_a_network_that_delivers_in_bursts_is_not_behind() -> None:
    lags = lags_s(fps=15.0, busy_s=0.02, seconds=60, b_seconds=0.8)
    assert lags[:, 0].max() < 1.0


def test_no_stamps_no_lag() -> None:
    lag = Lag()
    assert [lag.of(None, now_ns=n * 10**9, waited_ns=0) for n in range(5)] == [0] * 5


def test_who_rests_between_packets_is_not_behind_and_whom_a_stall_held_up_is() -> None:
    """Packets are read at once every 0.2 s; the camera's clock is a thousandth slow; for ten seconds nobody could."""
    lag, told, now = Lag(), [], 0.0
    for number in range(25 * 600):
        taken = number / 25
        asked, rested = now, 0.0
        if taken >= asked:  # nothing is there yet: what comes is left to gather
            rested = 0.2
        now = max(asked + rested, taken) + 0.0003
        now = 310.0 if 300.0 <= now < 310.0 else now
        answer = lag.of(
            round(taken * 0.999 * NS_PER_S),
            now_ns=round(now * NS_PER_S),
            waited_ns=round((now - asked - rested) * NS_PER_S),
            rested_ns=round(rested * NS_PER_S),
        )
        told.append((taken, answer / NS_PER_S))
    told_s = np.array(told)
    held_up = (told_s[:, 0] > 300.5) & (told_s[:, 0] < 309)
    print(f"at rest {told_s[told_s[:, 0] < 299, 1].max():.2f} s behind, after a stall {told_s[held_up, 1].max():.2f} s")
    assert told_s[told_s[:, 0] < 299, 1].max() < 0.25
    assert told_s[held_up, 1].max() > 8
    assert told_s[told_s[:, 0] > 312, 1].max() < 0.25


@pytest.mark.parametrize("then_ms", [0, 30, 60, 100])
def test_pictures_stay_in_place_whatever_long_work_comes_between_rests(then_ms: int) -> None:
    """25 fps read at rest; then what was held back is decoded at once, and `then_ms` are spent on each that follows."""
    errors_s = {}
    for first_ms in range(100, 3600, 200):
        lag, arrivals, now_ns, rested_ns, worst_ns = Lag(), Arrivals(), 0, 0, 0
        for number in range(400):
            sent_ns, asked_ns = number * NS_PER_S // 25, now_ns
            now_ns = max(now_ns, sent_ns) + NS_PER_S // 1000
            waited_ns = now_ns - asked_ns
            late_ns = lag.of(sent_ns, now_ns=now_ns, waited_ns=waited_ns, rested_ns=rested_ns)
            worst_ns = max(worst_ns, abs(arrivals.place(sent_ns, now_ns - late_ns) - sent_ns))
            rested_ns = 0
            if number == 200:
                now_ns += first_ms * NS_PER_S // 1000
                if then_ms:  # else only its length tells
                    lag.busy()
            elif 200 < number < 230:
                now_ns += then_ms * NS_PER_S // 1000
            elif waited_ns > NS_PER_S // 250:
                rested_ns = NS_PER_S * 16 // 100
                now_ns += rested_ns
        errors_s[first_ms] = round(worst_ns / NS_PER_S, 3)
        assert arrivals.reanchored == 0, f"after {first_ms} ms of work"
    print(f"placed within {max(errors_s.values())} s")
    assert max(errors_s.values()) < 0.2, errors_s


@given(
    st.integers(-(10**13), 10**13),
    st.fractions(min_value=Fraction(1, 10**7), max_value=2, max_denominator=10**7),
)
def test_ticks_are_rounded_as_fractions_are(ticks: int, time_base: Fraction) -> None:
    assert Ticks(time_base).ns(ticks) == round(ticks * time_base * NS_PER_S)


def test_a_half_nanosecond_goes_to_the_even_one() -> None:
    base = Fraction(1, 2 * NS_PER_S)
    assert [Ticks(base).ns(ticks) for ticks in (1, 3, 5, -1, -3)] == [0, 2, 2, 0, -2]
