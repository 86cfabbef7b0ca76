"""Augmentations that bring other pictures in: the mosaic."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from edge.compat import Self
from edge.vision.resize import resize
from trainers.augment.augment import FILL, Draw, Rng, keep_visible, no_pictures, with_image
from trainers.augment.geometry import crop
from trainers.data.dataset import Sample, join_labels

_LEAST_VISIBLE = 0.3


def scaled(sample: Sample, size_wh: tuple[int, int]) -> Sample:
    """Resize the sample."""
    scale = np.divide(size_wh, sample.size_wh, dtype=np.float32)
    return with_image(sample, resize(sample.image, size_wh)).move_labels(scale)


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Four pictures in one (Bochkovskiy et al., 2020), around a random middle.

    Each is scaled to fit its quarter, to fill it, or in between; ``draw`` draws the other three.
    """

    draw: Draw = no_pictures
    joins: ClassVar[bool] = True

    def bind(self, draw: Draw) -> Self:
        """The same augmentation, which draws other pictures from a data set."""
        return replace(self, draw=draw)

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """Join four pictures."""
        w, h = sample.size_wh
        x, y = round(w * rng.uniform(0.35, 0.65)), round(h * rng.uniform(0.35, 0.65))
        canvas = np.full((h, w, 3), FILL, np.uint8)
        tiles = [(0, 0, x, y), (x, 0, w, y), (0, y, x, h), (x, y, w, h)]
        first = int(rng.integers(4))
        parts: list[Sample] = []
        for n, (x1, y1, x2, y2) in enumerate(tiles):
            source = sample if n == first else self.draw(rng)
            part = _fit(source, (max(1, x2 - x1), max(1, y2 - y1)), rng)
            pw, ph = part.size_wh
            left, top = x1 if x1 else x2 - pw, y1 if y1 else y2 - ph  # towards the middle
            canvas[top : top + ph, left : left + pw] = part.image
            parts.append(part.move_labels(shift=(left, top)))
        return replace(sample, image=canvas, **join_labels(parts))


def _fit(sample: Sample, tile_wh: tuple[int, int], rng: Rng) -> Sample:
    """Scale to fit the tile, to fill it, or in between, and crop to it."""
    ratios = np.array(tile_wh) / np.array(sample.size_wh)
    scale = rng.uniform(ratios.min(), ratios.max())
    w, h = (max(1, round(s * scale)) for s in sample.size_wh)
    part = scaled(sample, (w, h))
    cw, ch = min(w, tile_wh[0]), min(h, tile_wh[1])
    x, y = int(rng.integers(w - cw + 1)), int(rng.integers(h - ch + 1))
    return keep_visible(crop(part, (x, y, x + cw, y + ch)), _LEAST_VISIBLE)
