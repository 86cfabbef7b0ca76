"""Polygons: which points are inside, and their distance from the outline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge.types import F32, Bool

F64 = NDArray[np.float64]
Points = Sequence[tuple[float, float]]


class Polygons:
    """Several polygons that are tested against many points at once.

    A polygon that crosses itself is inside by the even-odd rule (Shimrat 1962, CACM
    algorithm 112). The upper and left parts of its outline belong to it, the lower and right
    ones do not, so that neighbors with a common edge share no point.
    """

    def __init__(self, corners: Sequence[Points]) -> None:
        ends = [np.array(polygon, np.float64) for polygon in corners]
        start = np.concatenate(ends or [np.zeros((0, 2))])
        end = np.concatenate([np.roll(end, -1, axis=0) for end in ends] or [np.zeros((0, 2))])
        self._start, self._along = start, end - start  # (E, 2)
        self._first = np.cumsum([0, *map(len, ends)])  # of each polygon among the edges
        rise = self._along[:, 1]
        self._slope = np.divide(self._along[:, 0], rise, out=np.zeros_like(rise), where=rise != 0)
        falls = (rise > 0)[:, None]
        upper, lower = np.where(falls, start, end), np.where(falls, end, start)
        self._top, self._bottom = upper[:, 1], lower[:, 1]
        self._upper_x = upper[:, 0]  # an edge has the same numbers seen from both sides

    def __len__(self) -> int:
        return len(self._first) - 1

    def contain(self, points: F64) -> Bool:
        """``(N, 2)`` points -> ``(N, P)``."""
        if not len(self) or not len(points):
            return np.zeros((len(points), len(self)), np.bool_)
        x, y = points[:, :1], points[:, 1:]
        crossed = (
            (self._top <= y)
            & (y < self._bottom)
            & (x - self._upper_x < (y - self._top) * self._slope)
        )
        inside: Bool = np.logical_xor.reduceat(crossed, self._first[:-1], axis=1)
        return inside

    def distance(self, polygon: int, points: F64, unit_xy: tuple[float, float]) -> F64:
        """``(N, 2)`` points -> ``(N,)`` distance to a polygon's outline.

        ``unit_xy`` is the length of the polygon's units, across and down.
        """
        edges = slice(self._first[polygon], self._first[polygon + 1])
        along = self._along[edges] * unit_xy  # (E, 2)
        away = (points[:, None] - self._start[edges]) * unit_xy  # (N, E, 2)
        length2 = np.maximum((along**2).sum(axis=1), 1e-12)
        share = np.clip((away * along).sum(axis=2) / length2, 0, 1)
        gap: F64 = np.linalg.norm(away - share[..., None] * along, axis=2).min(axis=1)
        return gap


def bound(polygon: Points, size_wh: tuple[int, int]) -> F32:
    """The box ``(4,)`` around a polygon in fractions of a picture, xyxy in its pixels."""
    corners = np.array(polygon, np.float64) * size_wh
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)]).astype(np.float32)
