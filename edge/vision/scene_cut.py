"""Scene-cut detection: whether a frame continues the one before it."""

from __future__ import annotations

import itertools

import numpy as np

from edge.types import F32, Picture, YuvPicture

# Correlation with the frame before, the best of some shifts. In a film at 30, 10 and 5 frames a
# second: cuts at most 0.43, else at least 0.78, 0.47 and 0.54 (once 0.18). Single points without
# shifts gave 0.25 at 10 frames a second where the camera panned, and faces lost their names.
MIN_CORRELATION = 0.45
GRID_WH = (32, 18)  # cells of a picture that are compared for that
POINTS = 4  # of a cell, across and down
SHIFTS = sorted(itertools.product(range(-2, 3), repeat=2), key=lambda yx: abs(yx[0]) + abs(yx[1]))


def compute_grid(picture: Picture) -> F32:
    """``(18, 32)`` means of a few points of the picture's luma, or of its green."""
    plane = picture.y if isinstance(picture, YuvPicture) else picture.rgb[..., 1]
    across, down = (cells * POINTS for cells in GRID_WH)
    rows = np.arange(down) * plane.shape[0] // down
    columns = np.arange(across) * plane.shape[1] // across
    points = plane[rows[:, None], columns].reshape(GRID_WH[1], POINTS, across)
    bands = points.sum(axis=1, dtype=np.float32)  # a mean over both axes takes longer
    means: F32 = bands.reshape(GRID_WH[1], GRID_WH[0], POINTS).sum(axis=2) / POINTS**2
    return means


def is_cut(before: F32, after: F32) -> bool:
    """Whether two grids show different scenes; pictures without any contrast do not."""
    if before.shape != after.shape:
        return True
    return not any(_is_similar(_shift(before, y, x), _shift(after, -y, -x)) for y, x in SHIFTS)


def _is_similar(before: F32, after: F32) -> bool:
    one, other = before - before.mean(), after - after.mean()
    power = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) >= MIN_CORRELATION * power


def _shift(grid: F32, y: int, x: int) -> F32:
    """Without the first y rows and x columns, or without the last where they are negative."""
    height, width = grid.shape
    return grid[max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)]
