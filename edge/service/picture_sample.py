"""A sample of a picture: small patches of luma at full resolution, and the mean color."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge.types import F32, U8, Picture, RgbPicture

PATCH_PX = 8
MAX_ROWS, MAX_COLUMNS = 24, 32


@dataclass(frozen=True, slots=True, eq=False)
class PictureSample:
    """What is kept of a picture to judge it and to compare it with others.

    Attributes:
        patches: ``(rows, 8, columns, 8)`` uint8 luma, patches evenly spread over the picture.
        chroma: Largest distance of the mean chroma from gray, 0..128.
    """

    patches: U8
    chroma: float

    @classmethod
    def take(cls, picture: Picture) -> PictureSample:
        """Sample a picture; a copy, so that the picture need not be kept."""
        if isinstance(picture, RgbPicture):
            means = picture.rgb[::16, ::16].reshape(-1, 3).mean(axis=0)
            return cls(_take_patches(picture.rgb[:, :, 1]), float(means.max() - means.min()) / 2)
        chroma = max(abs(float(plane[::8, ::8].mean()) - 128) for plane in (picture.u, picture.v))
        return cls(_take_patches(picture.y), chroma)

    def measure_change(self, other: PictureSample) -> F32:
        """``(rows, columns)`` mean absolute difference of each patch to the other picture's."""
        rows, height, columns, width = self.patches.shape
        shape = rows * height, columns * width
        change = cv2.absdiff(self.patches.reshape(shape), other.patches.reshape(shape))
        return _average(np.asarray(change, np.uint8))

    def measure_luma(self) -> F32:
        """``(rows, columns)`` mean luma of each patch."""
        rows, height, columns, width = self.patches.shape
        return _average(self.patches.reshape(rows * height, columns * width))


def _average(patches: U8) -> F32:
    """``(8 * rows, 8 * columns)`` -> ``(rows, columns)``; many times as fast as NumPy's mean."""
    height, width = patches.shape
    size_wh = width // PATCH_PX, height // PATCH_PX
    means = cv2.resize(patches.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA)
    return np.asarray(means, np.float32)


def _take_patches(plane: U8) -> U8:
    """``(H, W)`` -> ``(rows, 8, columns, 8)``; a picture below 8 pixels is repeated."""
    height, width = plane.shape
    if height < PATCH_PX or width < PATCH_PX:
        plane = np.pad(
            plane, ((0, max(PATCH_PX - height, 0)), (0, max(PATCH_PX - width, 0))), "edge"
        )
        height, width = plane.shape
    rows, columns = min(height // PATCH_PX, MAX_ROWS), min(width // PATCH_PX, MAX_COLUMNS)
    step_y, step_x = height // rows, width // columns
    grid = plane[: rows * step_y, : columns * step_x].reshape(rows, step_y, columns, step_x)
    return np.ascontiguousarray(grid[:, :PATCH_PX, :, :PATCH_PX])
