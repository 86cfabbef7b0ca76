"""Kalman filter: boxes that move and grow at a constant velocity, all tracks at once.

Center x, center y, width and height are four independent one-dimensional motions: the usual
8-state filter of SORT (Bewley 2016, arXiv:1602.00763) and BoT-SORT (Aharon 2022,
arXiv:2206.14651) never couples them, because its noises are diagonal. Here the noises of all
four are the same fraction of the box's mean side, so that near and far objects are treated alike;
hence all four also have the same variances. The 8x8 covariance becomes three numbers, and no
matrix is ever inverted.

A state is ``(N, 11)`` float64, one row per track: cx, cy, w, h in pixels, their velocities per
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

# Fractions of the box's mean side. A detector's box jitters by about a twentieth of it (SORT's
# figure); a person walks one body height per second and may turn around within a second. Halving
# or doubling each changed identity switches in simulated crowds by less than their spread.
BOX_NOISE = 0.05
START_SPEED = 1.0  # per second
TURN_NOISE = 1.0  # random change of velocity within one second
MIN_SIDE_PX = 1.0


def begin(cxcywh: F32) -> F64:
    """``(N, 4)`` centers and sizes of first detections -> ``(N, 11)`` states at rest."""
    state = np.zeros((len(cxcywh), WIDTH))
    state[:, VALUE] = cxcywh
    state[:, VARIANCES] = _side2(state) * (BOX_NOISE**2, 0, START_SPEED**2)
    return state


def predict(state: F64, dt_s: float) -> None:
    """Move ``(N, 11)`` states ``dt_s`` seconds ahead, in place.

    Noise is the continuous white-noise acceleration of Bar-Shalom, Li and Kirubarajan,
    "Estimation with Applications to Tracking and Navigation" (2001), section 6.2.2: with
    ``q = (TURN_NOISE * side)**2`` it adds ``q * [[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]]``.
    Two steps of 50 ms thus give the same as one of 100 ms, whichever frames were dropped.
    """
    q = TURN_NOISE**2 * dt_s
    noise = _side2(state) * (q * dt_s * dt_s / 3, q * dt_s / 2, q)  # (N, 3)
    # F P F' for F = [[1, dt], [0, 1]], written for the three numbers of P
    moved = np.array([[1, 0, 0], [2 * dt_s, 1, 0], [dt_s * dt_s, dt_s, 1]])
    state[:, VARIANCES] = state[:, VARIANCES] @ moved + noise
    state[:, VALUE] += state[:, VELOCITY] * dt_s
    np.maximum(state[:, SIZE], MIN_SIDE_PX, out=state[:, SIZE])


def update(state: F64, cxcywh: F32) -> F64:
    """``(N, 11)`` predicted states and ``(N, 4)`` detected boxes -> corrected states.

    Kalman's equations (Welch and Bishop, TR 95-041, table 1-2) for one measured value.
    """
    shared = state[:, 8:10]  # variance and covariance
    gain = shared / (shared[:, :1] + _side2(state) * BOX_NOISE**2)  # (N, 2)
    innovation = cxcywh - state[:, VALUE]
    new = state.copy()
    new[:, :8] += (gain[:, :, None] * innovation[:, None]).reshape(-1, 8)
    new[:, 8:10] -= gain[:, :1] * shared
    new[:, 10] -= gain[:, 1] * shared[:, 1]
    return new


def _side2(state: F64) -> F64:
    """``(N, 1)`` squared mean of width and height, at least one pixel."""
    side: F64 = np.maximum(state[:, 2:3] + state[:, 3:4], 2 * MIN_SIDE_PX)
    return side * side / 4
