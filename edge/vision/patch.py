"""Patches: where a part of a picture has gone, by Lucas and Kanade's method of 1981.

A translation, with gain and offset of the light; the slopes are those of the patch, so that they
and the normal equations are computed once (Baker and Matthews 2004, inverse compositional).
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from edge.types import F32, F64, Bool

MAX_ITERATIONS = 8
MAX_UNCERTAIN = 0.1  # standard deviation of a shift, pixels
MAX_SHIFT = 0.08  # of the longer side of the plane
MAX_REST = 0.6  # of the patch's contrast, not explained by the shift: else it is something else
MIN_PIXELS = 50
MIN_SEEN = 0.7  # of them, inside the other plane


class Patch:
    """A part of a plane that is looked for in others of the same place.

    Args:
        plane: Luma ``(H, W)`` float32; NaN counts for nothing.
        where: ``(H, W)``, the part of it.
    """

    def __init__(self, plane: F32, where: Bool) -> None:
        down, across = np.asarray(np.gradient(plane))
        self._inside = where & np.isfinite(across) & np.isfinite(down)
        self._values = plane[self._inside]
        ones = np.ones_like(self._values)
        self._slopes = np.stack([across[self._inside], down[self._inside], self._values, ones])
        self._inverse: F64 | None = None
        if len(ones) >= MIN_PIXELS:
            normal = (self._slopes @ self._slopes.T).astype(np.float64)
            normal[np.diag_indices(4)] += 1e-9 * np.trace(normal) + 1e-9
            self._inverse = np.linalg.inv(normal)

    def find_shift(self, plane: F32) -> F64:
        """Where it is in another plane ``(H, W)``.

        Returns:
            ``(2,)`` x and y, pixels; NaN where that is uncertain or too far.
        """
        nothing = np.full(2, np.nan)
        if self._inverse is None:
            return nothing
        shift = np.zeros(2)
        for _ in range(MAX_ITERATIONS):
            back = np.array([[1, 0, -shift[0]], [0, 1, -shift[1]]])
            moved = cv2.warpAffine(
                plane, back, plane.shape[::-1], borderMode=cv2.BORDER_CONSTANT, borderValue=math.nan
            )
            change = moved[self._inside] - self._values
            seen = np.isfinite(change)
            if seen.mean() < MIN_SEEN:
                return nothing
            change[~seen] = 0
            step = self._inverse @ (self._slopes @ change)
            shift -= step[:2]
            if not np.abs(shift).max() <= MAX_SHIFT * max(plane.shape):
                return nothing
            if np.abs(step[:2]).max() < 0.02:
                break
        rest = change - step.astype(np.float32) @ self._slopes
        deviation = np.sqrt(np.diag(self._inverse)[:2] * float(np.mean(rest**2)))
        is_found = rest.std() < MAX_REST * self._values.std()
        return shift if is_found and deviation.max() < MAX_UNCERTAIN else nothing
