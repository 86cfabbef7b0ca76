"""The Kalman filter against the textbook's matrices, and its behaviour over time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.vision import kalman

BOXES = np.array([[100, 200, 40, 80], [900, 50, 300, 20], [5, 5, 1, 1]], np.float32)
STEPS = st.lists(st.floats(0, 3), min_size=1, max_size=6)


def full_predict(x, p, dt_s):
    """The 8-state filter of the textbook: cx cy w h and their velocities."""
    f = np.eye(8)
    f[:4, 4:] = np.eye(4) * dt_s
    side = (x[2] + x[3]) / 2
    q = (kalman.TURN_NOISE * side) ** 2
    block = q * np.array([[dt_s**3 / 3, dt_s**2 / 2], [dt_s**2 / 2, dt_s]])
    return f @ x, f @ p @ f.T + np.kron(block, np.eye(4))


def full_update(x, p, z):
    h = np.eye(4, 8)
    r = np.eye(4) * (kalman.BOX_NOISE * (x[2] + x[3]) / 2) ** 2
    k = p @ h.T @ np.linalg.inv(h @ p @ h.T + r)
    return x + k @ (z - h @ x), (np.eye(8) - k @ h) @ p


def test_equals_the_filter_with_8x8_matrices():
    rng = np.random.default_rng(0)
    box = BOXES[:1]
    state = kalman.begin(box)
    side = float(box[0, 2:].mean())
    x = np.concatenate([box[0], np.zeros(4)])
    p = np.diag([(kalman.BOX_NOISE * side) ** 2] * 4 + [(kalman.START_SPEED * side) ** 2] * 4)
    for dt_s in (0.1, 0.033, 0.5, 0.0, 0.2):
        kalman.predict(state, dt_s)
        x, p = full_predict(x, p, dt_s)
        found = (box + rng.normal(0, 3, (1, 4))).astype(np.float32)
        state = kalman.update(state, found)
        x, p = full_update(x, p, found[0])
        np.testing.assert_allclose(state[0, :8], x, rtol=1e-6)
        variances = [p[0, 0], p[0, 4], p[4, 4]]
        np.testing.assert_allclose(state[0, kalman.VARIANCES], variances, rtol=1e-6)


@given(STEPS)
@settings(deadline=None)
def test_one_long_step_predicts_what_many_short_ones_do(steps):
    moving = kalman.begin(BOXES)
    moving[:, 4:6] = [[30, -7], [0, 2], [-1, 1]]
    once, often = moving.copy(), moving.copy()
    kalman.predict(once, sum(steps))
    for dt_s in steps:
        kalman.predict(often, dt_s)
    np.testing.assert_allclose(often, once, rtol=1e-6, atol=1e-6)


@given(STEPS, st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_variances_stay_a_covariance_and_everything_finite(steps, seed):
    rng = np.random.default_rng(seed)
    state = kalman.begin(BOXES)
    for dt_s in steps:
        kalman.predict(state, dt_s)
        found = rng.uniform([-1e5, -1e5, 0, 0], [1e5, 1e5, 1e4, 1e4], (3, 4)).astype(np.float32)
        state = kalman.update(state, found)
        value, covar, velocity = state[:, kalman.VARIANCES].T
        assert np.isfinite(state).all()
        assert (value > 0).all()
        assert (velocity > 0).all()
        assert (value * velocity >= covar**2 * (1 - 1e-6)).all()


@pytest.mark.parametrize("fps", [2, 10, 60])
def test_learns_the_speed_in_pixels_a_second_at_any_frame_rate(fps):
    state = kalman.begin(np.array([[0, 0, 50, 100]], np.float32))
    for frame in range(1, 5 * fps):
        kalman.predict(state, 1 / fps)
        state = kalman.update(state, np.array([[60 * frame / fps, 0, 50, 100]], np.float32))
    assert state[0, 4] == pytest.approx(60, abs=2)
    assert state[0, 5] == pytest.approx(0, abs=1e-6)


def test_a_prediction_never_shrinks_below_a_pixel():
    state = kalman.begin(BOXES)
    state[:, kalman.SIZE_VELOCITY] = -1e4
    kalman.predict(state, 10)
    assert (state[:, kalman.SIZE] == kalman.MIN_SIDE_PX).all()


def test_no_tracks_are_no_problem():
    state = kalman.begin(np.zeros((0, 4), np.float32))
    kalman.predict(state, 0.1)
    assert kalman.update(state, np.zeros((0, 4), np.float32)).shape == (0, kalman.WIDTH)
