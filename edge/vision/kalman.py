"""Kalman filter: boxes that move and grow at a constant velocity, all tracks at once.

Centre x, centre y, width and height are four independent one-dimensional motions: the usual
8-state filter of SORT (Bewley 2016, arXiv:1602.00763) and BoT-SORT (Aharon 2022,
arXiv:2206.14651) never couples them, because its noises are diagonal. Here the noises of all
four are the same share of the box's mean side, so that near and far objects are treated alike;
hence all four also have the same variances. What is an 8x8 covariance there is three numbers,
and no matrix is ever inverted.

A state is ``(N, 11)`` float64, one row a track: cx, cy, w, h in pixels, their velocities a
second, variance of a value, covariance of value and velocity, variance of a velocity.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.types import F32

F64 = NDArray[np.float64]

WIDTH = 11
VALUE, SIZE = slice(0, 4), slice(2, 4)
VELOCITY, SIZE_VELOCITY = slice(4, 8), slice(6, 8)
VARIANCES = slice(8, 11)

# Shares of the box's mean side. A detector's box shakes by about a twentieth of it (SORT's
# figure); a person walks one body height a second and may turn round within a second. Half or
# twice of each changed identity switches in simulated crowds by less than their spread.
BOX_NOISE = 0.05
START_SPEED = 1.0  # a second
TURN_NOISE = 1.0  # velocity gained at random within one second
MIN_SIDE_PX = 1.0


def begin(cxcywh: F32) -> F64:
    """``(N, 4)`` centres and sizes of first detections -> ``(N, 11)`` states at rest."""
    state = np.zeros((len(cxcywh), WIDTH))
    state[:, VALUE] = cxcywh
    state[:, VARIANCES] = _side2(state) * (BOX_NOISE**2, 0, START_SPEED**2)
    return state


def predict(state: F64, dt_s: float) -> None:
    """Move ``(N, 11)`` states ``dt_s`` seconds ahead, in place.

    Noise is the continuous white-noise acceleration of Bar-Shalom, Li and Kirubarajan,
    "Estimation with Applications to Tracking and Navigation" (2001), section 6.2.2: with
    ``q = (TURN_NOISE * side)**2`` it adds ``q * [[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]]``. So
    two steps of 50 ms give what one of 100 ms gives, whatever frames were dropped.
    """
    q = TURN_NOISE**2 * dt_s
    noise = _side2(state) * (q * dt_s * dt_s / 3, q * dt_s / 2, q)  # (N, 3)
    # F P F' for F = [[1, dt], [0, 1]], written for the three numbers of P
    moved = np.array([[1, 0, 0], [2 * dt_s, 1, 0], [dt_s * dt_s, dt_s, 1]])
    state[:, VARIANCES] = state[:, VARIANCES] @ moved + noise
    state[:, VALUE] += state[:, VELOCITY] * dt_s
    np.maximum(state[:, SIZE], MIN_SIDE_PX, out=state[:, SIZE])


def update(state: F64, cxcywh: F32) -> F64:
    """``(N, 11)`` predicted states and the ``(N, 4)`` boxes found -> corrected states.

    Kalman's equations (Welch and Bishop, TR 95-041, table 1-2) for one measured value.
    """
    shared = state[:, 8:10]  # variance and covariance
    gain = shared / (shared[:, :1] + _side2(state) * BOX_NOISE**2)  # (N, 2)
    surprise = cxcywh - state[:, VALUE]
    new = state.copy()
    new[:, :8] += (gain[:, :, None] * surprise[:, None]).reshape(-1, 8)
    new[:, 8:10] -= gain[:, :1] * shared
    new[:, 10] -= gain[:, 1] * shared[:, 1]
    return new


def _side2(state: F64) -> F64:
    """``(N, 1)`` mean of width and height, squared; at least a pixel."""
    side: F64 = np.maximum(state[:, 2:3] + state[:, 3:4], 2 * MIN_SIDE_PX)
    return side * side / 4
