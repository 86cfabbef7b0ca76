"""Errors of 68 points: NME, the mean distance over that of the outer corners of the eyes.

That is how 300-W measures (Sagonas et al. 2013); a head that is turned has its eyes nearer to each
other, and a greater error for the same pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.types import F32, Bool
from trainers.metrics.interval import Interval

OUTER_CORNERS = (36, 45)  # of the eyes, of 68 points
FAILED = 0.1  # NME from which points have not found the face
_DRAWS = 500


def measure_nme(found: F32, labeled: F32) -> F32:
    """``(N, 68, 2)`` twice -> ``(N,)`` normalized mean error of each face."""
    left, right = OUTER_CORNERS
    eyes = np.linalg.norm(labeled[:, right] - labeled[:, left], axis=1)
    error = np.linalg.norm(found - labeled, axis=2).mean(axis=1)
    return np.asarray(error / np.maximum(eyes, 1e-6), np.float32)


def mean_over_people(
    values: F32, people: Sequence[str], rows: Bool | None = None, seed: int = 0
) -> Interval:
    """Mean of ``(N,)`` values, or those of ``rows``; people are drawn for its interval."""
    chosen = np.flatnonzero(np.ones(len(values), bool) if rows is None else rows)
    if not len(chosen):
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    _, person = np.unique([people[n] for n in chosen.tolist()], return_inverse=True)
    total, count = np.bincount(person, values[chosen]), np.bincount(person)
    drawn = np.random.default_rng(seed).integers(len(count), size=(_DRAWS, len(count)))
    low, high = np.quantile(total[drawn].sum(1) / count[drawn].sum(1), [0.025, 0.975])
    return Interval(float(values[chosen].mean()), float(low), float(high), len(chosen))
