"""Augmentation: a sample and a random generator in, a changed sample out.

Each change is a small frozen dataclass; a list of them is a recipe. Boxes and landmarks go
with the pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from trainers.data import Sample

Rng = np.random.Generator
Draw = Callable[[Rng], Sample]


class Augment(Protocol):
    """One change."""

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The changed sample; ``sample`` stays as it is."""
        ...


def bind(augments: Sequence[Augment], draw: Draw) -> list[Augment]:
    """The same list, where changes that mix in other pictures get them from ``draw``."""
    return [replace(a, draw=draw) if hasattr(a, "draw") else a for a in augments]  # type: ignore[type-var]


@dataclass(frozen=True, slots=True)
class Mirror:
    """Swap left and right; so do left and right eye and mouth corner.

    Attributes:
        chance: raising it mirrors more often.
    """

    chance: float = 0.5

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """Mirror by chance."""
        return mirror(sample) if rng.random() < self.chance else sample


_MIRRORED_POINTS = [1, 0, 2, 4, 3]


def mirror(sample: Sample) -> Sample:
    """Left becomes right. Twice is nothing."""
    width = np.float32(sample.image.shape[1])
    xyxy = sample.xyxy.copy()
    xyxy[:, [0, 2]] = width - xyxy[:, [2, 0]]
    landmarks = sample.landmarks[:, _MIRRORED_POINTS].copy()
    landmarks[..., 0] = width - landmarks[..., 0]
    image = np.ascontiguousarray(sample.image[:, ::-1])
    return replace(sample, image=image, xyxy=xyxy, landmarks=landmarks)
