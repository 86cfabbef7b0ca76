"""Similarity transforms of planes: points as complex numbers, ``z -> factor z + summand``."""

from __future__ import annotations

import cv2
import numpy as np

from edge.types import F32


def warp(plane: F32, factor: complex, summand: complex) -> F32:
    """``(H, W)`` float32 moved, turned and scaled, at the same size; NaN where nothing is."""
    matrix = np.array(
        [[factor.real, -factor.imag, summand.real], [factor.imag, factor.real, summand.imag]]
    )
    size_wh = (plane.shape[1], plane.shape[0])
    moved = cv2.warpAffine(
        plane, matrix, size_wh, borderMode=cv2.BORDER_CONSTANT, borderValue=np.nan
    )
    return np.asarray(moved, np.float32)
