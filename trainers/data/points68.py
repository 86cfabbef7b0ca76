"""The 68 points of a face (iBUG, 300-W): their order, their mirror image, the five in them.

Counted from 0: the jaw 0 to 16, the brows 17 to 26, the nose 27 to 35, the eyes 36 to 47 (six each
from the left corner, clockwise), the outer lips 48 to 59, the inner lips 60 to 67; left and right
are as seen in the image. https://ibug.doc.ic.ac.uk/resources/300-W/
"""

from __future__ import annotations

import numpy as np

from edge.models.landmarks import POINTS68
from edge.types import F32

_PAIRS = [
    *zip(range(8), range(16, 8, -1), strict=True),
    *zip(range(17, 22), range(26, 21, -1), strict=True),
    (31, 35), (32, 34),
    (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),
    (48, 54), (49, 53), (50, 52), (59, 55), (58, 56), (60, 64), (61, 63), (67, 65),
]  # fmt: skip


def _mirror_order() -> tuple[int, ...]:
    order = list(range(POINTS68))
    for left, right in _PAIRS:
        order[left], order[right] = right, left
    return tuple(order)


MIRRORED = _mirror_order()


def mirror_points(points: F32, width: float) -> F32:
    """``(..., 68, 2)`` points in the mirror image of a picture that ends at ``width``."""
    mirrored = points[..., MIRRORED, :] * np.array([-1, 1], np.float32)
    return np.asarray(mirrored + np.array([width, 0], np.float32), np.float32)


def select_five(points: F32) -> F32:
    """``(..., 68, 2)`` -> ``(..., 5, 2)``: middles of the eyes, tip of the nose, mouth corners."""
    left, right = points[..., 36:42, :].mean(axis=-2), points[..., 42:48, :].mean(axis=-2)
    tip_and_corners = points[..., (30, 48, 54), :]
    return np.concatenate([left[..., None, :], right[..., None, :], tip_and_corners], axis=-2)


def measure_turns(points: F32) -> F32:
    """``(N, 68, 2)`` -> ``(N,)``: -1 far to the left of the picture, 0 ahead, 1 far to the right.

    How far the tip of the nose lies from both sides of the jaw (means of points 1 to 3 and 13 to
    15) along the line of the eyes: the difference over the sum.
    """
    five = select_five(points)
    axis = five[:, 1] - five[:, 0]
    axis /= np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-6)
    nose, left, right = points[:, 30], points[:, 1:4].mean(1), points[:, 13:16].mean(1)
    to_left, to_right = ((nose - left) * axis).sum(1), ((right - nose) * axis).sum(1)
    return np.asarray((to_left - to_right) / (to_left + to_right), np.float32)


def measure_eye_openings(points: F32) -> F32:
    """``(..., 68, 2)`` -> ``(..., 2)``: height over width of each eye.

    It is the eye aspect ratio (Soukupova & Cech 2016): about 0.3 for an open eye, near 0 for a
    closed one.
    """
    eyes = [points[..., 36:42, :], points[..., 42:48, :]]
    return np.stack([_measure_opening(eye) for eye in eyes], axis=-1)


def _measure_opening(eye: F32) -> F32:
    """``(..., 6, 2)`` -> ``(...)``."""
    heights = sum(
        np.linalg.norm(eye[..., a, :] - eye[..., b, :], axis=-1) for a, b in ((1, 5), (2, 4))
    )
    width = np.linalg.norm(eye[..., 3, :] - eye[..., 0, :], axis=-1)
    return np.asarray(heights / np.maximum(2 * width, 1e-6), np.float32)
