"""Augmentations: functions from a sample and a random generator to a new sample.

Each is a small frozen dataclass in ``geometry``, ``color`` or ``mixing``; a list of them is applied
in order. Boxes and landmarks go with the pixels. Coordinates are continuous:
pixel i covers [i, i + 1), so a mirrored x is ``width - x``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from edge.types import F32
from edge.vision import boxes
from trainers.data.dataset import Sample

Rng = np.random.Generator
Draw = Callable[[Rng], Sample]
FILL = 114  # gray outside the picture, as in the letterbox


class Augment(Protocol):
    """An augmentation."""

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The augmented sample; ``sample`` is not changed."""


@runtime_checkable
class Mixing(Protocol):
    """An augmentation that mixes in other pictures."""

    def bind(self, draw: Draw) -> Augment:
        """The same augmentation, which draws other pictures from a data set."""


def bind(augments: Sequence[Augment], draw: Draw) -> list[Augment]:
    """The same list, with augmentations that mix in other pictures bound to ``draw``."""
    bound: list[Augment] = []
    for change in augments:
        if isinstance(change, Sometimes):
            bound.append(replace(change, change=bind([change.change], draw)[0]))
        elif isinstance(change, Mixing):
            bound.append(change.bind(draw))
        else:
            bound.append(change)
    return bound


def no_pictures(_rng: Rng) -> Sample:
    """Stand in until an augmentation is bound to a data set.

    Raises:
        LookupError: Always.
    """
    raise LookupError("this augmentation mixes in other pictures: bind it to a data set first")


@dataclass(frozen=True, slots=True)
class Sometimes:
    """An augmentation that is applied by chance, a probability."""

    chance: float
    change: Augment

    @property
    def joins(self) -> bool:
        """Whether labels of other pictures are added."""
        return bool(getattr(self.change, "joins", False))

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """Apply the augmentation, or not."""
        return self.change(sample, rng) if rng.random() < self.chance else sample


def apply(augments: Sequence[Augment], sample: Sample, rng: Rng) -> Sample:
    """Apply all augmentations, in order."""
    for change in augments:
        sample = change(sample, rng)
    return sample


def visible_share(xyxy: F32, size_wh: tuple[int, int]) -> F32:
    """``(N, 4)`` -> ``(N,)`` visible fraction of each box in a picture, in [0, 1]."""
    whole = np.array([[0, 0, *size_wh]], np.float32)
    return boxes.containment(xyxy, whole)[:, 0]


def keep_visible(sample: Sample, least: float) -> Sample:
    """Drop objects that are visible by less than ``least``, clip the others."""
    return sample[visible_share(sample.xyxy, sample.size_wh) >= least].inside()


def with_image(sample: Sample, image: np.ndarray) -> Sample:
    """The sample with other pixels and the same labels."""
    return replace(sample, image=np.ascontiguousarray(image, np.uint8))
