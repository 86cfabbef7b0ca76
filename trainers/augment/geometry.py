"""Geometric augmentations: mirroring, crop, rotation, shear, scale, local warping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from edge.types import F32
from trainers.augment.augment import FILL, Rng, keep_visible, visible_share, with_image
from trainers.data.dataset import Sample

_MIRRORED_POINTS = [1, 0, 2, 4, 3]
_LEAST_VISIBLE = 0.3  # fraction of a box, else the object is dropped
_TRIES = 8


def mirror(sample: Sample) -> Sample:
    """Mirror the picture; left and right eye and mouth corner swap. Twice is the identity."""
    width = np.float32(sample.image.shape[1])
    xyxy = sample.xyxy.copy()
    xyxy[:, [0, 2]] = width - xyxy[:, [2, 0]]
    landmarks = sample.landmarks[:, _MIRRORED_POINTS].copy()
    landmarks[..., 0] = width - landmarks[..., 0]
    return replace(with_image(sample, cv2.flip(sample.image, 1)), xyxy=xyxy, landmarks=landmarks)


@dataclass(frozen=True, slots=True)
class Mirror:
    """Mirror by chance."""

    chance: float = 0.5

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """Mirror by chance."""
        return mirror(sample) if rng.random() < self.chance else sample


def crop(sample: Sample, xyxy: tuple[int, int, int, int]) -> Sample:
    """Crop the picture to ``xyxy``; labels move and are not yet clipped."""
    x1, y1, x2, y2 = xyxy
    return with_image(sample, sample.image[y1:y2, x1:x2]).move_labels(shift=(-x1, -y1))


@dataclass(frozen=True, slots=True)
class Crop:
    """A random crop that cuts through no object and keeps at least one.

    Each object stays visible by at least ``whole``, or by at most ``gone``; if a few tries find
    no such crop the picture stays as it is.

    Attributes:
        smallest: Fraction of width and height; lowering it zooms in more.
        whole: Raising it keeps more of each object.
        gone: Raising it allows larger unlabeled remains.
    """

    smallest: float = 0.5
    whole: float = 0.8
    gone: float = 0.1

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """Crop the picture."""
        width, height = sample.size_wh
        for _ in range(_TRIES):
            w = max(2, round(width * rng.uniform(self.smallest, 1)))
            h = max(2, round(height * rng.uniform(self.smallest, 1)))
            x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            moved = sample.xyxy - np.array([x, y, x, y], np.float32)
            share = visible_share(moved, (w, h))
            clean = ((share >= self.whole) | (share <= self.gone)).all()
            if clean and (not len(share) or share.max() >= self.whole):
                return keep_visible(crop(sample, (x, y, x + w, y + h)), self.whole)
        return sample


def transform_points(points: F32, matrix: np.ndarray) -> F32:
    """``(..., 2)`` by a ``(2, 3)`` affine matrix."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)


def transform_boxes(xyxy: F32, matrix: np.ndarray) -> F32:
    """``(N, 4)`` xyxy around what a ``(2, 3)`` affine matrix makes of the boxes' content.

    A turned rectangle's bounds are too wide for an object, which seldom fills its corners;
    the bounds of the inscribed ellipse are too narrow. The middle of the two is taken.
    """
    center = transform_points((xyxy[:, :2] + xyxy[:, 2:]) / np.float32(2), matrix)
    half = (xyxy[:, 2:] - xyxy[:, :2]) / 2  # (N, 2)
    linear = np.abs(matrix[:, :2])
    wide = half @ linear.T
    narrow = np.sqrt((half**2) @ (linear**2).T)
    reach = (wide + narrow) / 2
    return np.concatenate([center - reach, center + reach], axis=1).astype(np.float32)


def affine(sample: Sample, matrix: np.ndarray, size_wh: tuple[int, int]) -> Sample:
    """Move the picture by a ``(2, 3)`` matrix, old to new continuous coordinates."""
    centers = matrix.astype(np.float64).copy()  # OpenCV counts from the pixels' centers
    centers[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    image = cv2.warpAffine(sample.image, centers, size_wh, borderValue=(FILL, FILL, FILL))
    moved = replace(
        with_image(sample, image),
        xyxy=transform_boxes(sample.xyxy, matrix),
        landmarks=transform_points(sample.landmarks, matrix),
    )
    return keep_visible(moved, _LEAST_VISIBLE)


@dataclass(frozen=True, slots=True)
class Affine:
    """Rotation, shear, scale and shift about the picture's middle, in one interpolation.

    Attributes:
        degrees: Largest rotation either way; raising it loosens boxes.
        shear_degrees: Largest shear along x and y.
        smallest: Smallest scale.
        largest: Largest scale; raising it cuts more objects at the border.
        shift: Largest shift, as a fraction of the picture.
    """

    degrees: float = 5.0
    shear_degrees: float = 2.0
    smallest: float = 0.7
    largest: float = 1.2
    shift: float = 0.1

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """Transform the picture."""
        return affine(sample, self._matrix(sample.size_wh, rng), sample.size_wh)

    def _matrix(self, size_wh: tuple[int, int], rng: Rng) -> np.ndarray:
        turn = np.deg2rad(rng.uniform(-self.degrees, self.degrees))
        shear = np.tan(np.deg2rad(rng.uniform(-self.shear_degrees, self.shear_degrees, 2)))
        scale = np.exp(rng.uniform(np.log(self.smallest), np.log(self.largest)))
        cos, sin = np.cos(turn), np.sin(turn)
        linear = scale * np.array([[cos, -sin], [sin, cos]]) @ [[1, shear[0]], [shear[1], 1]]
        middle = np.array(size_wh) / 2
        moved = middle + rng.uniform(-self.shift, self.shift, 2) * size_wh
        return np.column_stack([linear, moved - linear @ middle])


def _look_up(field: F32, points: F32) -> F32:
    """``(H, W, 2)`` field at ``(P, 2)`` continuous points, bilinear, -> ``(P, 2)``."""
    last = np.array([field.shape[1] - 1, field.shape[0] - 1])
    at = np.clip(points - 0.5, 0, last)
    low = np.minimum(at.astype(np.int64), np.maximum(last - 1, 0))
    high = np.minimum(low + 1, last)
    fx, fy = (at - low).T[..., None].astype(np.float32)
    top = field[low[:, 1], low[:, 0]] * (1 - fx) + field[low[:, 1], high[:, 0]] * fx
    bottom = field[high[:, 1], low[:, 0]] * (1 - fx) + field[high[:, 1], high[:, 0]] * fx
    return np.asarray(top * (1 - fy) + bottom * fy, np.float32)


def warp(sample: Sample, field: F32) -> Sample:
    """New pixel q shows old pixel ``q + field(q)``.

    The slope of the ``(H, W, 2)`` field in pixels must stay below 1, so that no points coincide.
    """
    h, w = sample.image.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    image = cv2.remap(
        sample.image, x + field[..., 0], y + field[..., 1], cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )  # fmt: skip

    def move(points: F32) -> F32:
        """The new place q of old p solves q + field(q) = p; a fixed-point iteration."""
        flat = points.reshape(-1, 2)
        q = flat
        for _ in range(8):
            q = flat - _look_up(field, q)
        return q.reshape(points.shape)

    moved = replace(
        with_image(sample, image),
        xyxy=_move_boxes(sample.xyxy, move),
        landmarks=np.where(np.isnan(sample.landmarks), np.float32(np.nan),
                           move(np.nan_to_num(sample.landmarks))),
    )  # fmt: skip
    return keep_visible(moved, _LEAST_VISIBLE)


_RIM = np.linspace(0, 1, 7, dtype=np.float32)
_ZEROS, _ONES = np.zeros_like(_RIM), np.ones_like(_RIM)
_BORDER = np.stack(
    [np.concatenate([_RIM, _RIM, _ZEROS, _ONES]), np.concatenate([_ZEROS, _ONES, _RIM, _RIM])], 1
)  # (28, 2) along a unit square's border


def _move_boxes(xyxy: F32, move: Callable[[F32], F32]) -> F32:
    if not len(xyxy):
        return xyxy
    low, size = xyxy[:, None, :2], (xyxy[:, 2:] - xyxy[:, :2])[:, None]
    border = move((low + size * _BORDER).astype(np.float32))  # (N, 28, 2)
    return np.concatenate([border.min(1), border.max(1)], axis=1)


@dataclass(frozen=True, slots=True)
class Warp:
    """Local warping by a smooth random displacement.

    Attributes:
        strength: Largest displacement as a fraction of the grid spacing; below 0.3 nothing
            folds over.
        nodes: Nodes of the grid along each side; raising it bends more locally.
    """

    strength: float = 0.12
    nodes: int = 5

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """Warp the picture."""
        w, h = sample.size_wh
        spacing = np.array([w, h], np.float32) / (self.nodes - 1)
        steps = rng.uniform(-1, 1, (self.nodes, self.nodes, 2)).astype(np.float32)
        field = cv2.resize(steps * self.strength * spacing, (w, h), interpolation=cv2.INTER_LINEAR)
        return warp(sample, np.asarray(field, np.float32))
