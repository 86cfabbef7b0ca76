"""Planarity test: does a face change as a flat picture that is moved about cannot?

However a photo is panned, zoomed, turned, tilted or lit in front of a camera, any two pictures of
it differ by a homography and by light. So two aligned crops are registered by the best homography,
gain, offset and slope of light (Gauss-Newton, after Lucas and Kanade 1981), and the residual is
measured. Facial expressions and a turning head leave one.

Measured: on 60 simulated moved photos (5 stills, 55 television frames, 15 views each) the smaller
residual of both directions never exceeded 0.11; compared with the first three of their looks, 24
others never exceeded 0.06. Of a man singing, 0.2 s apart, it was never below 0.27; of 12 simulated
heads that turn by 18 degrees it was 0.12 to 0.23, by 36 degrees 0.22 to 0.40. A video on a screen
passes: detecting that is the liveness model's job.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge.types import F32, U8

_F64 = NDArray[np.float64]

MIN_RESIDUAL = 0.14  # that no flat picture leaves, in standard deviations of the face's luma
MAX_FLAT = 0.07  # that a flat picture leaves as a rule
MAX_ITERATIONS = 10
# A residual this many times above the limit that shrinks by less than 3 % will not get below it.
HOPELESS, SLOW = 1.3, 0.97
MIN_OVERLAP = 0.6  # of the face, visible in both crops
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_INNER = slice(8, 104)  # of an aligned crop of 112
_SIDE = 46  # of a thumbnail
_CENTER_XY, _RADII_XY = (22.5, 25.0), (15.0, 18.0)  # of the face in a thumbnail
_MAX_STEP = 0.15  # per iteration, in halves of the side
_DAMPING = 1e-6


def make_thumbnail(crop: U8) -> F32:
    """An aligned crop ``(112, 112, 3)`` as small, smooth luma, ``(46, 46)`` float32.

    It is NaN where the crop is fully black, which is where it reaches beyond the picture.
    """
    inner = crop[_INNER, _INNER]
    luma = inner[..., 0] * _LUMA[0] + inner[..., 1] * _LUMA[1] + inner[..., 2] * _LUMA[2]
    half = luma.reshape(48, 2, 48, 2).mean(axis=(1, 3))
    half[half == 0] = np.nan
    half = (half[:-2] + 2 * half[1:-1] + half[2:]) / 4
    smooth: F32 = (half[:, :-2] + 2 * half[:, 1:-1] + half[:, 2:]) / 4
    return smooth


def is_nonplanar(one: F32, other: F32) -> bool:
    """Whether two thumbnails differ as those of a moved flat picture do not."""
    return (
        _register(one, other, MIN_RESIDUAL) >= MIN_RESIDUAL
        and _register(other, one, MIN_RESIDUAL) >= MIN_RESIDUAL
    )


def is_flat(one: F32, other: F32) -> bool:
    """Whether two thumbnails differ no more than those of a flat picture do as a rule."""
    return _register(one, other, MAX_FLAT) < MAX_FLAT


def compute_residual(one: F32, other: F32) -> float:
    """The difference of two thumbnails that no moved flat picture explains; 0 is none.

    In standard deviations of the face's luma; NaN when too little of it is visible.
    """
    return float(np.minimum(_register(one, other), _register(other, one)))


def _make_grid() -> tuple[_F64, _F64]:
    """Every other point, as on a chessboard, of the face without its surroundings.

    The surroundings move independently; a thumbnail is smooth, so half of its points suffice.
    """
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    across, down = (columns - _CENTER_XY[0]) / _RADII_XY[0], (rows - _CENTER_XY[1]) / _RADII_XY[1]
    face = (across**2 + down**2 <= 1) & ((rows + columns) % 2 == 0)
    center = (_SIDE - 1) / 2
    return (columns[face] - center) / (_SIDE / 2), (rows[face] - center) / (_SIDE / 2)


_U, _V = _make_grid()  # (P,) each, -1..1 over the thumbnail


def _register(one: F32, other: F32, enough: float = 0) -> float:
    """Residual of ``other`` registered to ``one``; stops early at one below ``enough``."""
    target = _sample(one[None].astype(np.float64), _U, _V)[0]  # (P,)
    planes = np.stack([other, *np.gradient(other)[::-1]]).astype(np.float64)
    h = np.zeros(8)  # homography, apart from the identity
    least = math.inf
    for _ in range(MAX_ITERATIONS):
        depth = 1 + h[6] * _U + h[7] * _V
        x = ((1 + h[0]) * _U + h[1] * _V + h[2]) / depth
        y = (h[3] * _U + (1 + h[4]) * _V + h[5]) / depth
        value, dx, dy = _sample(planes, x, y)
        both = np.isfinite(target) & np.isfinite(dx) & np.isfinite(dy)
        if both.mean() < MIN_OVERLAP:
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
        residual = value + np.einsum("i,ip->p", step, slopes)
        contrast = float(target[both].std()) * max(abs(float(step[8])), 0.1)
        before, least = least, min(least, float(np.sqrt(np.mean(residual**2))) / max(contrast, 1.0))
        h += np.clip(step[:8], -_MAX_STEP, _MAX_STEP)
        if least < enough or np.abs(step[:8]).max() < 1e-3 or not np.isfinite(h).all():
            break
        if least > HOPELESS * enough > 0 and least > SLOW * before:
            break
    return least if least < math.inf else math.nan


def _sample(planes: _F64, x: _F64, y: _F64) -> _F64:
    """Bilinear samples of ``(C, S, S)`` at x, y in -1..1 -> ``(C, P)``."""
    center = (_SIDE - 1) / 2
    columns = np.clip(np.nan_to_num(x * (_SIDE / 2) + center), 0, _SIDE - 1.001)
    rows = np.clip(np.nan_to_num(y * (_SIDE / 2) + center), 0, _SIDE - 1.001)
    row, column = rows.astype(int), columns.astype(int)
    b, a = rows - row, columns - column
    flat, at = planes.reshape(len(planes), -1), row * _SIDE + column
    upper = (1 - a) * flat.take(at, 1) + a * flat.take(at + 1, 1)
    lower = (1 - a) * flat.take(at + _SIDE, 1) + a * flat.take(at + _SIDE + 1, 1)
    sampled: _F64 = (1 - b) * upper + b * lower
    return sampled
