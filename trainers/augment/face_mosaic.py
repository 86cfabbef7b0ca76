"""Mosaics of faces: every size a camera sees, several per image, on any background."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np

from edge.compat import Self
from edge.types import F32, U8
from trainers.augment.augment import FILL, Draw, Rng, no_pictures, visible_share, with_image
from trainers.augment.geometry import mirror
from trainers.augment.mixing import scaled
from trainers.data.dataset import Sample, join_labels

_LEAST_VISIBLE = 0.5
_LARGEST_SCALE = 2.2
_TINY_PX, _TINY_WEIGHT = 12, 0.6  # smaller faces are hardly visible: a lower weight


@dataclass(frozen=True, slots=True)
class FaceMosaic:
    """Places faces so that their sizes are spread evenly over octaves.

    A sample with a face fills the image, or a tile of a mosaic of four or nine; a sample without
    becomes a random crop of itself.

    Attributes:
        size_px: Side of the image.
        smallest_px: Smallest face; lowering it detects smaller ones and costs precision.
        mosaic: Probability of a mosaic.
        empty: Fraction of the tiles of a mosaic without a face.
        draw: Draws other tiles and backgrounds.
    """

    size_px: int = 256
    smallest_px: float = 11.0
    mosaic: float = 0.4
    empty: float = 0.2
    draw: Draw = no_pictures
    joins: ClassVar[bool] = True

    def bind(self, draw: Draw) -> Self:
        """The same augmentation, which draws other pictures from a data set."""
        return replace(self, draw=draw)

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """Compose an image."""
        side = (self.size_px, self.size_px)
        if not len(sample):
            return replace(sample, image=_piece(sample.image, side, rng))
        if rng.random() < self.mosaic:
            return self._mosaic(sample, rng)
        low = self.smallest_px if rng.random() < 0.5 else self.size_px / 4
        return self._placed(sample, side, _octaves(rng, low, self.size_px * 0.88), rng)

    def _mosaic(self, sample: Sample, rng: Rng) -> Sample:
        n = 2 if rng.random() < 0.55 else 3
        even = np.arange(n + 1) / n
        cuts = [even + np.r_[0, rng.uniform(-0.1, 0.1, n - 1), 0] for _ in range(2)]
        columns, rows = (np.rint(c * self.size_px).astype(int) for c in cuts)
        image = np.empty((self.size_px, self.size_px, 3), np.uint8)
        parts, first = [], int(rng.integers(n * n))
        for tile in range(n * n):
            row, column = divmod(tile, n)
            x1, x2, y1, y2 = columns[column], columns[column + 1], rows[row], rows[row + 1]
            part = self._tile(sample if tile == first else None, (x2 - x1, y2 - y1), rng)
            image[y1:y2, x1:x2] = part.image
            parts.append(part.move_labels(shift=(x1, y1)))
        return replace(sample, image=image, **join_labels(parts))

    def _tile(self, sample: Sample | None, tile_wh: tuple[int, int], rng: Rng) -> Sample:
        chosen = sample or self.draw(rng)
        if sample is None and rng.random() < self.empty:
            chosen = chosen[:0] if not len(chosen) else self._without(chosen, rng)
        if not len(chosen):
            return replace(chosen, image=_piece(chosen.image, tile_wh, rng))
        return self._placed(chosen, tile_wh, _octaves(rng, 10, min(tile_wh) * 0.8), rng)

    def _without(self, other: Sample, rng: Rng) -> Sample:
        """A picture without faces, if a few draws yield one."""
        for _ in range(8):
            drawn = self.draw(rng)
            if not len(drawn):
                return drawn
        return other

    def _placed(self, sample: Sample, wh: tuple[int, int], face_px: float, rng: Rng) -> Sample:
        """Scale, tilt and move the picture so that one of its faces has ``face_px``."""
        which = int(rng.integers(len(sample)))
        now_px = float(np.sqrt((sample.xyxy[which, 2:] - sample.xyxy[which, :2]).prod()))
        scale = min(face_px / max(now_px, 1), _LARGEST_SCALE)
        if scale < 0.7:  # shrink first, with care for aliasing
            w, h = (max(8, round(side * scale)) for side in sample.size_wh)
            sample, scale = scaled(sample, (w, h)), 1.0
            now_px = float(np.sqrt((sample.xyxy[which, 2:] - sample.xyxy[which, :2]).prod()))
        turn = np.deg2rad(rng.normal(0, 9) if rng.random() < 0.8 else rng.uniform(-35, 35))
        stretch, shear = np.exp(rng.normal(0, 0.05)), rng.normal(0, 0.04)
        cos, sin = np.cos(turn), np.sin(turn)
        linear = scale * np.array([[cos, -sin], [sin, cos]]) @ [[stretch, shear], [0, 1 / stretch]]
        middle = (sample.xyxy[which, :2] + sample.xyxy[which, 2:]) / 2
        half = now_px * scale / 2
        to = [rng.uniform(min(half, side / 2), max(side - half, side / 2)) for side in wh]
        matrix = np.column_stack([linear, to - linear @ middle])
        moved = _moved(sample, matrix, scale, self._background(wh, rng))
        return mirror(moved) if rng.random() < 0.5 else moved

    def _background(self, wh: tuple[int, int], rng: Rng) -> U8:
        kind = rng.random()
        if kind < 0.5:
            other = self.draw(rng)
            if not len(other):
                return _piece(other.image, wh, rng)
        gray = FILL if kind < 0.8 else rng.integers(0, 256, 3)
        return np.full((wh[1], wh[0], 3), gray, np.uint8)


def _octaves(rng: Rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(max(high, low)))))


def _piece(image: U8, wh: tuple[int, int], rng: Rng) -> U8:
    """A random crop of a picture, scaled to ``wh``."""
    size = np.array([image.shape[1], image.shape[0]])
    cut = np.minimum(size, np.array(wh) / (np.max(wh / size) * np.exp(rng.uniform(0, 1.2))))
    x, y = (int(v) for v in rng.uniform(0, size - cut + 1e-6))
    w, h = (max(1, int(v)) for v in cut)
    shrink = w > wh[0]
    kind = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image[y : y + h, x : x + w], wh, interpolation=kind), np.uint8)


def _moved(sample: Sample, matrix: np.ndarray, scale: float, background: U8) -> Sample:
    """Draw onto the background. A tilted face keeps its size: its box does not grow."""
    centers = matrix.copy()  # OpenCV counts from the pixels' centers
    centers[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    wh = (background.shape[1], background.shape[0])
    image = cv2.warpAffine(
        sample.image, centers, wh, dst=background.copy(), flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_TRANSPARENT,
    )  # fmt: skip
    middle = (sample.xyxy[:, :2] + sample.xyxy[:, 2:]) / 2 @ matrix[:, :2].T + matrix[:, 2]
    half = (sample.xyxy[:, 2:] - sample.xyxy[:, :2]) / 2 * scale
    points = sample.landmarks @ matrix[:, :2].T + matrix[:, 2]
    xyxy = np.concatenate([middle - half, middle + half], 1).astype(np.float32)
    small = np.sqrt(np.maximum((2 * half).prod(1), 0)) < _TINY_PX
    weight = np.where(small, sample.weight * _TINY_WEIGHT, sample.weight).astype(np.float32)
    moved = replace(
        with_image(sample, image),
        xyxy=xyxy, landmarks=points.astype(np.float32), weight=weight,
    )  # fmt: skip
    return _hide_remains(moved)


def _hide_remains(sample: Sample) -> Sample:
    """Paint over faces that are less than half visible: neither face nor background."""
    share = visible_share(sample.xyxy, sample.size_wh)
    kept = sample[share >= _LEAST_VISIBLE].inside()
    remains = sample.xyxy[(share > 0) & (share < _LEAST_VISIBLE)]
    if not len(remains):
        return kept
    image = sample.image.copy()
    for box in np.clip(remains, 0, np.tile(np.array(sample.size_wh, np.float32), 2)).astype(int):
        _paint(image, box, kept.xyxy)
    return with_image(kept, image)


def _paint(image: U8, box: np.ndarray, kept: F32) -> None:
    x1, y1, x2, y2 = (int(v) for v in box)
    covers = (
        (np.minimum(kept[:, 2], x2) > np.maximum(kept[:, 0], x1))
        & (np.minimum(kept[:, 3], y2) > np.maximum(kept[:, 1], y1))
    )  # fmt: skip
    if x2 > x1 and y2 > y1 and not covers.any():
        image[y1:y2, x1:x2] = image[y1:y2, x1:x2].reshape(-1, 3).mean(0)
