"""Kalman filter: boxes that move and grow at a constant velocity, all tracks at once.

Centre x, centre y, width and height are four independent one-dimensional motions: the usual
8-state filter of SORT (Bewley 2016, arXiv:1602.00763) and BoT-SORT (Aharon 2022,
arXiv:2206.14651) never couples them, because its noises are diagonal. So its 8x8 covariance is
four 2x2 blocks, an update is a few products of columns, and no matrix is ever inverted.

A state is ``(N, 5, 4)`` float64: for each track the rows value, velocity a second, variance of
the value, covariance, variance of the velocity; for each of them cx, cy, w, h in pixels.
All noises are shares of the box's mean side, so near and far objects are treated alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.types import F32

F64 = NDArray[np.float64]

VALUE, VELOCITY, VALUE_VAR, COVAR, VELOCITY_VAR = range(5)

# Shares of the box's mean side. A detector's box shakes by about a twentieth of it (SORT's
# figure); a person walks one body height a second and may turn round within a second.
BOX_NOISE = 0.05
START_SPEED = 1.0  # a second
TURN_NOISE = 1.0  # velocity gained at random within one second
MIN_SIDE_PX = 1.0


def begin(cxcywh: F32) -> F64:
    """``(N, 4)`` centres and sizes of first detections -> ``(N, 5, 4)`` states at rest."""
    state = np.zeros((len(cxcywh), 5, 4))
    state[:, VALUE] = cxcywh
    side = _mean_side(state)
    state[:, VALUE_VAR] = (BOX_NOISE * side) ** 2
    state[:, VELOCITY_VAR] = (START_SPEED * side) ** 2
    return state


def predict(state: F64, dt_s: float) -> None:
    """Move ``(N, 5, 4)`` states ``dt_s`` seconds ahead, in place.

    Noise is the continuous white-noise acceleration of Bar-Shalom, Li and Kirubarajan,
    "Estimation with Applications to Tracking and Navigation" (2001), section 6.2.2: with
    ``q = (TURN_NOISE * side)**2`` it adds ``q * [[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]]``. So
    two steps of 50 ms give exactly what one of 100 ms gives, whatever frames were dropped.
    """
    noise = (TURN_NOISE * _mean_side(state)) ** 2 * dt_s  # (N, 1)
    growth = state[:, VELOCITY_VAR] * dt_s
    covar = state[:, COVAR]
    state[:, VALUE] += state[:, VELOCITY] * dt_s
    state[:, VALUE_VAR] += (2 * covar + growth) * dt_s + noise * (dt_s * dt_s / 3)
    covar += growth + noise * (dt_s / 2)
    state[:, VELOCITY_VAR] += noise
    size = state[:, VALUE, 2:]
    np.maximum(size, MIN_SIDE_PX, out=size)


def update(state: F64, cxcywh: F32) -> F64:
    """``(N, 5, 4)`` predicted states and the ``(N, 4)`` boxes found -> corrected states.

    The scalar form of Kalman's equations (Welch and Bishop, TR 95-041, table 1-2).
    """
    noise = (BOX_NOISE * _mean_side(state)) ** 2  # (N, 1)
    gains = state[:, VALUE_VAR : COVAR + 1] / (state[:, VALUE_VAR] + noise)[:, None]  # (N, 2, 4)
    surprise = cxcywh - state[:, VALUE]
    new = state.copy()
    new[:, VALUE : VELOCITY + 1] += gains * surprise[:, None]
    new[:, VALUE_VAR : COVAR + 1] -= gains[:, :1] * state[:, VALUE_VAR : COVAR + 1]
    new[:, VELOCITY_VAR] -= gains[:, 1] * state[:, COVAR]
    return new


def _mean_side(state: F64) -> F64:
    """``(N, 1)`` mean of width and height, at least a pixel."""
    side: F64 = np.maximum(state[:, VALUE, 2:3] + state[:, VALUE, 3:4], 2 * MIN_SIDE_PX) / 2
    return side
