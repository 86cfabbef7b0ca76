"""Flatness: does a face change otherwise than a flat picture that is moved about?

Whatever is done to a photograph before a camera, panned, zoomed, turned, tilted, lit from another
side, any two pictures of it differ by a homography and by light. So two aligned crops are laid
over each other by the best homography, gain, offset and slope of light (Gauss-Newton, after Lucas
and Kanade 1981), and what remains is measured. Mimicry and a head that turns remain.

Measured: on 60 simulated moved photographs (5 stills, 55 television frames, 15 views each) the
least of both directions never came above 0.11; of a man singing, 0.2 s apart, it was never below
0.27. A video shown on a screen passes: that is the liveness network's work.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge.types import F32, U8

_F64 = NDArray[np.float64]

STIRRED = 0.2  # what remains, in standard deviations of the face, and comes from no flat picture
ROUNDS = 10
HOPELESS, SLOW = 1.3, 0.97  # so far above and hardly less than a round before: it stays there
LEAST_SEEN = 0.6  # of the face, in both crops
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_INNER = slice(8, 104)  # of an aligned crop of 112
_SIDE = 46  # of a sketch
_CENTRE_XY, _RADII_XY = (22.5, 25.0), (15.0, 18.0)  # of the face in a sketch
_MOST_STEP = 0.15  # a round; in halves of the side
_DAMPING = 1e-6


def sketch(crop: U8) -> F32:
    """An aligned crop ``(112, 112, 3)`` as small, smooth luma, ``(46, 46)`` float32.

    It is NaN where the crop is quite black: there it reaches beyond the picture.
    """
    inner = crop[_INNER, _INNER]
    luma = inner[..., 0] * _LUMA[0] + inner[..., 1] * _LUMA[1] + inner[..., 2] * _LUMA[2]
    half = luma.reshape(48, 2, 48, 2).mean(axis=(1, 3))
    half[half == 0] = np.nan
    half = (half[:-2] + 2 * half[1:-1] + half[2:]) / 4
    smooth: F32 = (half[:, :-2] + 2 * half[:, 1:-1] + half[:, 2:]) / 4
    return smooth


def stirred(one: F32, other: F32) -> bool:
    """Whether two sketches differ as no moved flat picture does."""
    return _remains(one, other, STIRRED) >= STIRRED and _remains(other, one, STIRRED) >= STIRRED


def stir(one: F32, other: F32) -> float:
    """What of the difference of two sketches no moved flat picture explains; 0 is nothing.

    In standard deviations of the face's luma; NaN when too little of it is seen.
    """
    return float(np.minimum(_remains(one, other), _remains(other, one)))


def _grid() -> tuple[_F64, _F64]:
    """Every other point, as on a chessboard, of the face without its surroundings.

    Those move otherwise than a photograph's; a sketch is smooth, so half of it says as much.
    """
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    across, down = (columns - _CENTRE_XY[0]) / _RADII_XY[0], (rows - _CENTRE_XY[1]) / _RADII_XY[1]
    face = (across**2 + down**2 <= 1) & ((rows + columns) % 2 == 0)
    centre = (_SIDE - 1) / 2
    return (columns[face] - centre) / (_SIDE / 2), (rows[face] - centre) / (_SIDE / 2)


_U, _V = _grid()  # (P,) each, -1..1 over the sketch


def _remains(one: F32, other: F32, enough: float = 0) -> float:
    """What remains of ``other`` laid over ``one``; some number below ``enough`` will do."""
    target = _sample(one[None].astype(np.float64), _U, _V)[0]  # (P,)
    planes = np.stack([other, *np.gradient(other)[::-1]]).astype(np.float64)
    h = np.zeros(8)  # homography, apart from the identity
    least = math.inf
    for _ in range(ROUNDS):
        depth = 1 + h[6] * _U + h[7] * _V
        x = ((1 + h[0]) * _U + h[1] * _V + h[2]) / depth
        y = (h[3] * _U + (1 + h[4]) * _V + h[5]) / depth
        value, dx, dy = _sample(planes, x, y)
        both = np.isfinite(target) & np.isfinite(dx) & np.isfinite(dy)
        if both.mean() < LEAST_SEEN:
            break
        per_px = _SIDE / 2 / depth
        dx, dy = dx * per_px, dy * per_px
        bend = -(dx * x + dy * y)
        slopes = np.stack(
            [dx * _U, dx * _V, dx, dy * _U, dy * _V, dy, bend * _U, bend * _V,
             -target, -np.ones_like(target), -_U, -_V],
        )  # (12, P)  # fmt: skip
        if not both.all():
            slopes, value = slopes[:, both], value[both]
        normal = np.einsum("ip,jp->ij", slopes, slopes)
        normal[np.diag_indices(12)] += _DAMPING * np.trace(normal) + 1e-9
        step = np.linalg.solve(normal, -np.einsum("ip,p->i", slopes, value))
        left = value + np.einsum("i,ip->p", step, slopes)
        contrast = float(target[both].std()) * max(abs(float(step[8])), 0.1)
        before, least = least, min(least, float(np.sqrt(np.mean(left**2))) / max(contrast, 1.0))
        h += np.clip(step[:8], -_MOST_STEP, _MOST_STEP)
        if least < enough or np.abs(step[:8]).max() < 1e-3 or not np.isfinite(h).all():
            break
        if least > HOPELESS * enough > 0 and least > SLOW * before:
            break
    return least if least < math.inf else math.nan


def _sample(planes: _F64, x: _F64, y: _F64) -> _F64:
    """Bilinear samples of ``(C, S, S)`` at x, y in -1..1 -> ``(C, P)``."""
    centre = (_SIDE - 1) / 2
    columns = np.clip(np.nan_to_num(x * (_SIDE / 2) + centre), 0, _SIDE - 1.001)
    rows = np.clip(np.nan_to_num(y * (_SIDE / 2) + centre), 0, _SIDE - 1.001)
    row, column = rows.astype(int), columns.astype(int)
    b, a = rows - row, columns - column
    flat, at = planes.reshape(len(planes), -1), row * _SIDE + column
    upper = (1 - a) * flat.take(at, 1) + a * flat.take(at + 1, 1)
    lower = (1 - a) * flat.take(at + _SIDE, 1) + a * flat.take(at + _SIDE + 1, 1)
    sampled: _F64 = (1 - b) * upper + b * lower
    return sampled
