"""Constant-velocity Kalman filters for boxes, all tracks at once.

The four axes (centre x, centre y, width, height) do not share noise, so the usual 8-state filter falls apart into
four 2-state ones: the same numbers (a test proves it) at a fraction of the cost. Noise grows with the size of
the box and with time, never with the number of frames. A track that is no longer seen slows down: its velocity is
kept for `steady_s`, then fades with `fade_s`, and how often nobody saw it makes no difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Motion:
    """How things move, per axis (x, y, width, height), in box sizes: the root of the box's area."""

    wander: tuple[float, float, float, float] = (0.7, 0.7, 0.2, 0.2)  # sizes/s gained at random in one second
    jitter: tuple[float, float, float, float] = (0.05, 0.05, 0.08, 0.08)  # sizes, of a detector's box
    unknown: tuple[float, float, float, float] = (1.0, 1.0, 0.2, 0.2)  # sizes/s, of a thing seen once
    steady_s: float = 0.5
    fade_s: tuple[float, float, float, float] = (2.0, 2.0, 0.3, 0.3)


@dataclass(frozen=True, slots=True, eq=False)
class Belief:
    """Where T boxes are thought to be, how fast they go, and how sure that is."""

    position: Float64  # (T, 4) centre x, centre y, width, height, px
    velocity: Float64  # (T, 4) px/s
    covariance: Float64  # (T, 4, 3) per axis: var(position), cov(position, velocity), var(velocity)


def begin(measured: Float64, motion: Motion) -> Belief:
    """(T, 4) first boxes (centre and size) -> a belief at rest, with a wide open velocity."""
    size = box_size(measured)
    covariance = np.zeros((len(measured), 4, 3))
    covariance[..., 0] = (size * motion.jitter) ** 2
    covariance[..., 2] = (size * motion.unknown) ** 2
    return Belief(measured.astype(np.float64), np.zeros((len(measured), 4)), covariance)


def predict(belief: Belief, *, unseen_s: Float64, step_s: float, motion: Motion) -> Belief:
    """The belief `step_s` later. `unseen_s` (T,): how long ago each box was last measured, before the step."""
    travel, keep = _fading(unseen_s[:, None], step_s, motion)
    drift = (box_size(belief.position) * motion.wander) ** 2
    both, cross, pace = (belief.covariance[..., entry] for entry in range(3))
    carried = cross + travel * pace
    covariance = np.empty_like(belief.covariance)
    covariance[..., 0] = both + travel * (cross + carried) + drift * (step_s**3 / 3)
    covariance[..., 1] = keep * carried + drift * (step_s**2 / 2)
    covariance[..., 2] = keep * keep * pace + drift * step_s
    return Belief(belief.position + travel * belief.velocity, keep * belief.velocity, covariance)


def correct(belief: Belief, measured: Float64, motion: Motion) -> Belief:
    """The belief after each box was measured at (T, 4) centre and size."""
    both, cross, pace = (belief.covariance[..., entry] for entry in range(3))
    spread = both + (box_size(measured) * motion.jitter) ** 2
    gain, push = both / spread, cross / spread
    surprise = measured - belief.position
    covariance = np.empty_like(belief.covariance)
    covariance[..., 0] = (1 - gain) * both
    covariance[..., 1] = (1 - gain) * cross
    covariance[..., 2] = pace - push * cross
    return Belief(belief.position + gain * surprise, belief.velocity + push * surprise, covariance)


def box_size(box: Float64) -> Float64:
    """(T, 4) centre and size -> (T, 1) root of the area, at least 1 px."""
    return np.asarray(np.sqrt(np.maximum(box[:, 2:3] * box[:, 3:4], 1.0)))


def _fading(unseen_s: Float64, step_s: float, motion: Motion) -> tuple[Float64, Float64]:
    """For a step begun `unseen_s` after the last sight: travel in seconds of present velocity, share of it left."""
    fade_s = np.array(motion.fade_s)
    before_s = np.maximum(unseen_s - motion.steady_s, 0)
    after_s = np.maximum(unseen_s + step_s - motion.steady_s, 0)
    keep = np.exp((before_s - after_s) / fade_s)
    steady_s = step_s - (after_s - before_s)
    return steady_s + fade_s * (1 - keep), keep
