"""Changes that bring other pictures in: mosaic, pasted small objects, backgrounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from edge.types import F32, U8
from edge.vision import boxes
from edge.vision.resize import resize
from trainers.augment.augment import FILL, Draw, Rng, keep_visible, no_pictures, with_image
from trainers.augment.geometry import crop
from trainers.data.dataset import Sample

_LEAST_VISIBLE = 0.3
_COVERED = 0.15  # share of a background's object that may be covered
_TRIES = 6


def scaled(sample: Sample, size_wh: tuple[int, int]) -> Sample:
    """The sample at another size."""
    scale = np.float32(size_wh) / np.float32(sample.size_wh)
    return replace(
        with_image(sample, resize(sample.image, size_wh)),
        xyxy=(sample.xyxy.reshape(-1, 2, 2) * scale).reshape(-1, 4),
        landmarks=sample.landmarks * scale,
    )


def _joined(image: U8, parts: Sequence[tuple[Sample, tuple[int, int]]], of: Sample) -> Sample:
    """One sample with the labels of all parts, each moved by its place."""
    xyxy = [p.xyxy + np.float32([*at, *at]) for p, at in parts]
    return Sample(
        image,
        np.concatenate(xyxy).astype(np.float32),
        np.concatenate([p.class_id for p, _ in parts]),
        np.concatenate([p.landmarks + np.float32(at) for p, at in parts]).astype(np.float32),
        np.concatenate([p.weight for p, _ in parts]),
        of.name,
        of.group,
    )


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Four pictures in one (Bochkovskiy et al., 2020), around a random middle.

    Each fills its quarter or lies whole in it, or between the two.

    Attributes:
        draw: where the other three come from.
        joins: brings the labels of other pictures along.
    """

    draw: Draw = no_pictures
    joins: ClassVar[bool] = True

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """Join four."""
        w, h = sample.size_wh
        x, y = round(w * rng.uniform(0.35, 0.65)), round(h * rng.uniform(0.35, 0.65))
        canvas = np.full((h, w, 3), FILL, np.uint8)
        tiles = [(0, 0, x, y), (x, 0, w, y), (0, y, x, h), (x, y, w, h)]
        first = int(rng.integers(4))
        parts: list[tuple[Sample, tuple[int, int]]] = []
        for n, (x1, y1, x2, y2) in enumerate(tiles):
            source = sample if n == first else self.draw(rng)
            part = _fitted(source, (max(1, x2 - x1), max(1, y2 - y1)), rng)
            pw, ph = part.size_wh
            at = (x1 if x1 else x2 - pw, y1 if y1 else y2 - ph)  # towards the middle
            canvas[at[1] : at[1] + ph, at[0] : at[0] + pw] = part.image
            parts.append((part, at))
        return _joined(canvas, parts, sample)


def _fitted(sample: Sample, tile_wh: tuple[int, int], rng: Rng) -> Sample:
    """Scaled between lying whole in the tile and filling it; what stands out is cut off."""
    ratios = np.array(tile_wh) / np.array(sample.size_wh)
    scale = rng.uniform(ratios.min(), ratios.max())
    w, h = (max(1, round(s * scale)) for s in sample.size_wh)
    part = scaled(sample, (w, h))
    cw, ch = min(w, tile_wh[0]), min(h, tile_wh[1])
    x, y = int(rng.integers(w - cw + 1)), int(rng.integers(h - ch + 1))
    return keep_visible(crop(part, (x, y, x + cw, y + ch)), _LEAST_VISIBLE)


@dataclass(frozen=True, slots=True)
class PasteSmall:
    """Paste objects of other pictures, shrunk, where they cover no other object.

    For faces: pictures with several of them, and small ones.

    Attributes:
        most: at most so many are pasted.
        smallest: longer side of a pasted object's box as a share of the picture's.
        largest: the same, at most.
        margin: surroundings pasted along, share of the box on each side.
        draw: where they come from.
        joins: brings the labels of other pictures along.
    """

    most: int = 3
    smallest: float = 0.03
    largest: float = 0.25
    margin: float = 0.5
    draw: Draw = no_pictures
    joins: ClassVar[bool] = True

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """Paste some."""
        for _ in range(int(rng.integers(1, self.most + 1))):
            other = self.draw(rng)
            if len(other):
                sample = self._paste(sample, other, rng)
        return sample

    def _paste(self, sample: Sample, other: Sample, rng: Rng) -> Sample:
        patch = self._patch(other, max(sample.size_wh), rng)
        if patch is None:
            return sample
        free = np.array(sample.size_wh) - patch.size_wh
        if (free < 0).any():
            return sample
        at = (int(rng.integers(free[0] + 1)), int(rng.integers(free[1] + 1)))
        place = np.float32([[*at, at[0] + patch.size_wh[0], at[1] + patch.size_wh[1]]])
        if boxes.intersection(sample.xyxy, place).any():
            return sample
        image = sample.image.copy()
        image[at[1] : at[1] + patch.size_wh[1], at[0] : at[0] + patch.size_wh[0]] = patch.image
        return _joined(image, [(sample, (0, 0)), (patch, at)], sample)

    def _patch(self, other: Sample, longest_px: int, rng: Rng) -> Sample | None:
        """One object of ``other`` with some surroundings, at the size it is to have."""
        box = other.xyxy[int(rng.integers(len(other)))]
        area = _grown(box, self.margin, other.size_wh)
        if min(area[2] - area[0], area[3] - area[1]) < 4:
            return None
        cut = keep_visible(crop(other, area), _LEAST_VISIBLE)
        share = np.exp(rng.uniform(np.log(self.smallest), np.log(self.largest)))
        scale = min(1.0, longest_px * share / float((box[2:] - box[:2]).max()))
        w, h = (max(1, round(s * scale)) for s in cut.size_wh)
        return scaled(cut, (w, h))


def _grown(box: F32, margin: float, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """A box with ``margin`` of its size on each side, in whole pixels of the picture."""
    grow = (box[2:] - box[:2]) * margin
    low = np.maximum(np.floor(box[:2] - grow), 0)
    high = np.minimum(np.ceil(box[2:] + grow), size_wh)
    x1, y1, x2, y2 = (int(v) for v in (*low, *high))
    return x1, y1, x2, y2


@dataclass(frozen=True, slots=True)
class Shrink:
    """The picture smaller, on another picture or on grey: objects become small.

    Attributes:
        smallest: scale that is left at worst; lowering it makes smaller objects.
        draw: where backgrounds come from; no object of theirs is left half covered.
        joins: brings the labels of other pictures along.
    """

    smallest: float = 0.3
    draw: Draw = no_pictures
    joins: ClassVar[bool] = True

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """Shrink it."""
        w, h = sample.size_wh
        scale = rng.uniform(self.smallest, 1)
        small = scaled(sample, (max(1, round(w * scale)), max(1, round(h * scale))))
        back = scaled(self.draw(rng), (w, h)) if self.draw is not no_pictures else None
        free = (w - small.size_wh[0] + 1, h - small.size_wh[1] + 1)
        for _ in range(_TRIES if back else 0):
            at = (int(rng.integers(free[0])), int(rng.integers(free[1])))
            place = np.float32([*at, at[0] + small.size_wh[0], at[1] + small.size_wh[1]])
            rest = _beside(back, place)
            if rest is not None:
                return _laid(small, at, rest)
        grey = with_image(sample, np.full((h, w, 3), FILL, np.uint8))[:0]
        return _laid(small, (int(rng.integers(free[0])), int(rng.integers(free[1]))), grey)


def _beside(back: Sample, place: F32) -> Sample | None:
    """What of a background's labels stays when ``place`` (4,) is covered.

    None when an object would be half covered: neither seen nor gone.
    """
    hidden = boxes.containment(back.xyxy, place[None])[:, 0]
    if ((hidden > _COVERED) & (hidden < 1 - _COVERED)).any():
        return None
    rest = back[hidden <= _COVERED]
    under = ((rest.landmarks >= place[:2]) & (rest.landmarks < place[2:])).all(2)
    landmarks = np.where(under[..., None], np.float32(np.nan), rest.landmarks)
    return replace(rest, landmarks=landmarks)


def _laid(small: Sample, at: tuple[int, int], back: Sample) -> Sample:
    canvas = back.image.copy()
    canvas[at[1] : at[1] + small.size_wh[1], at[0] : at[0] + small.size_wh[0]] = small.image
    return _joined(canvas, [(back, (0, 0)), (small, at)], small)
