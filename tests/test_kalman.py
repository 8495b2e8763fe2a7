import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core import kalman

MOTION = kalman.Motion()
BOXES = np.array([[100.0, 200.0, 27.0, 27.0], [900.0, 300.0, 40.0, 110.0], [50.0, 60.0, 300.0, 150.0]])

spans_s = st.lists(st.floats(0.01, 2.0), min_size=1, max_size=12)
shakes = st.lists(st.floats(-3, 3), min_size=48, max_size=48)

unhurried = settings(deadline=None)  # a busy machine is no failure


class DenseFilter:
    """The textbook filter of one box: state (x, y, w, h, vx, vy, vw, vh), full 8x8 covariance, Joseph form."""

    def __init__(self, box: np.ndarray) -> None:
        size = np.sqrt(box[2] * box[3])
        self.mean = np.concatenate([box, np.zeros(4)])
        self.covariance = np.diag(
            np.concatenate([size * np.array(MOTION.jitter), size * np.array(MOTION.unknown)]) ** 2
        )

    def predict(self, unseen_s: float, step_s: float) -> None:
        before, after = (max(t - MOTION.steady_s, 0) for t in (unseen_s, unseen_s + step_s))
        fade = np.array(MOTION.fade_s)
        keep = np.exp(-(after - before) / fade)
        travel = step_s - (after - before) + fade * (1 - keep)
        flow = np.block([[np.eye(4), np.diag(travel)], [np.zeros((4, 4)), np.diag(keep)]])
        drift = np.diag((np.sqrt(max(self.mean[2] * self.mean[3], 1)) * np.array(MOTION.wander)) ** 2)
        noise = np.block([[drift * step_s**3 / 3, drift * step_s**2 / 2], [drift * step_s**2 / 2, drift * step_s]])
        self.mean = flow @ self.mean
        self.covariance = flow @ self.covariance @ flow.T + noise

    def correct(self, measured: np.ndarray) -> None:
        look = np.eye(4, 8)
        noise = np.diag((np.sqrt(measured[2] * measured[3]) * np.array(MOTION.jitter)) ** 2)
        gain = self.covariance @ look.T @ np.linalg.inv(look @ self.covariance @ look.T + noise)
        rest = np.eye(8) - gain @ look
        self.mean = self.mean + gain @ (measured - look @ self.mean)
        self.covariance = rest @ self.covariance @ rest.T + gain @ noise @ gain.T


@unhurried
@given(spans_s, shakes)
def test_four_small_filters_are_the_dense_one(spans, shake):
    shakes_px = np.array(shake).reshape(12, 4)
    belief = kalman.begin(BOXES, MOTION)
    dense = [DenseFilter(box) for box in BOXES]
    for step_s, shake_px in zip(spans, shakes_px, strict=False):
        belief = kalman.predict(belief, unseen_s=np.zeros(3), step_s=step_s, motion=MOTION)
        belief = kalman.correct(belief, BOXES + shake_px, MOTION)
        for one, box in zip(dense, BOXES, strict=True):
            one.predict(0.0, step_s)
            one.correct(box + shake_px)
    for row, one in enumerate(dense):
        assert np.allclose(np.concatenate([belief.position[row], belief.velocity[row]]), one.mean)
        assert np.allclose(belief.covariance[row, :, 0], np.diag(one.covariance)[:4])
        assert np.allclose(belief.covariance[row, :, 1], np.diag(one.covariance[:4, 4:]))
        assert np.allclose(belief.covariance[row, :, 2], np.diag(one.covariance)[4:])


def moving_belief() -> kalman.Belief:
    still = kalman.begin(BOXES, MOTION)
    return kalman.Belief(
        still.position, np.array([[30.0, -10, 5, 2], [-80, 0, 0, 0], [200, 20, -40, 9]]), still.covariance
    )


@unhurried
@given(st.floats(0, 3), st.floats(0.01, 2), st.floats(0.01, 2))
def test_looking_in_between_does_not_change_where_a_hidden_box_is_thought_to_be(unseen_s, first_s, then_s):
    once = kalman.predict(moving_belief(), unseen_s=np.full(3, unseen_s), step_s=first_s + then_s, motion=MOTION)
    half = kalman.predict(moving_belief(), unseen_s=np.full(3, unseen_s), step_s=first_s, motion=MOTION)
    twice = kalman.predict(half, unseen_s=np.full(3, unseen_s + first_s), step_s=then_s, motion=MOTION)
    assert np.allclose(once.position, twice.position)
    assert np.allclose(once.velocity, twice.velocity)


@unhurried
@given(st.floats(0.1, 60))
def test_a_hidden_box_never_goes_farther_than_its_velocity_lasts(step_s):
    moving = moving_belief()
    later = kalman.predict(moving, unseen_s=np.zeros(3), step_s=step_s, motion=MOTION)
    reach = np.abs(moving.velocity) * (MOTION.steady_s + np.array(MOTION.fade_s))
    assert (np.abs(later.position - moving.position) <= reach + 1e-9).all()


@unhurried
@given(shakes, st.floats(0.02, 1))
def test_the_covariance_stays_a_covariance(shake, step_s):
    belief = kalman.begin(BOXES, MOTION)
    for shake_px in np.array(shake).reshape(12, 4):
        belief = kalman.predict(belief, unseen_s=np.zeros(3), step_s=step_s, motion=MOTION)
        belief = kalman.correct(belief, BOXES + shake_px, MOTION)
        both, cross, pace = np.moveaxis(belief.covariance, 2, 0)
        assert (both > 0).all()
        assert (pace > 0).all()
        assert (both * pace - cross * cross > 0).all()


def test_a_steady_walk_is_learnt_at_two_looks_a_second():
    pace = np.array([[40.0, 0, 0, 0], [0, 60, 0, 0], [-90, 30, 0, 0]])
    belief = kalman.begin(BOXES, MOTION)
    for look in range(1, 13):
        belief = kalman.predict(belief, unseen_s=np.zeros(3), step_s=0.5, motion=MOTION)
        belief = kalman.correct(belief, BOXES + pace * look * 0.5, MOTION)
    assert np.abs(belief.velocity - pace).max() < 2
    assert belief.position == pytest.approx(BOXES + pace * 6, abs=1)


def test_a_step_of_no_time_changes_nothing():
    moving = moving_belief()
    same = kalman.predict(moving, unseen_s=np.array([0.0, 0.3, 2.0]), step_s=0.0, motion=MOTION)
    assert np.array_equal(same.position, moving.position)
    assert np.allclose(same.covariance, moving.covariance)


def test_the_arguments_are_not_changed():
    moving = moving_belief()
    before = [array.copy() for array in (moving.position, moving.velocity, moving.covariance)]
    kalman.correct(kalman.predict(moving, unseen_s=np.zeros(3), step_s=1.0, motion=MOTION), BOXES, MOTION)
    for was, array in zip(before, (moving.position, moving.velocity, moving.covariance), strict=True):
        assert np.array_equal(was, array)
