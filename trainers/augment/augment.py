"""Augmentation: a sample and a random generator in, a changed sample out.

Each change is a small frozen dataclass in ``geometry``, ``color`` or ``mixing``; a list of
them is applied in order. Boxes and landmarks go with the pixels. Coordinates are continuous:
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
FILL = 114  # gray where no picture is, as in the letterbox


class Augment(Protocol):
    """One change."""

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The changed sample; ``sample`` stays as it is."""
        ...


@runtime_checkable
class Mixing(Protocol):
    """An augmentation that mixes in other pictures."""

    def bind(self, draw: Draw) -> Augment:
        """The same augmentation, which draws other pictures from a data set."""
        ...


def bind(augments: Sequence[Augment], draw: Draw) -> list[Augment]:
    """The same list, where changes that mix in other pictures get them from ``draw``."""
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
    """Stands where a change has not been bound to a data set.

    Raises:
        LookupError: always.
    """
    raise LookupError("this change mixes in other pictures: bind it to a data set first")


@dataclass(frozen=True, slots=True)
class Sometimes:
    """A change that happens by chance.

    Attributes:
        chance: raising it changes more pictures.
        change: what happens then.
    """

    chance: float
    change: Augment

    @property
    def joins(self) -> bool:
        """Whether the change brings the labels of other pictures along."""
        return bool(getattr(self.change, "joins", False))

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """Change it or leave it."""
        return self.change(sample, rng) if rng.random() < self.chance else sample


def apply(augments: Sequence[Augment], sample: Sample, rng: Rng) -> Sample:
    """All changes, in order."""
    for change in augments:
        sample = change(sample, rng)
    return sample


def visible_share(xyxy: F32, size_wh: tuple[int, int]) -> F32:
    """``(N, 4)`` -> ``(N,)`` share of each box inside a picture, in [0, 1]."""
    whole = np.array([[0, 0, *size_wh]], np.float32)
    return boxes.containment(xyxy, whole)[:, 0]


def keep_visible(sample: Sample, least: float) -> Sample:
    """Drop objects of which less than ``least`` is left in the picture, cut the others."""
    return sample[visible_share(sample.xyxy, sample.size_wh) >= least].inside()


def with_image(sample: Sample, image: np.ndarray) -> Sample:
    """Other pixels, the same labels."""
    return replace(sample, image=np.ascontiguousarray(image, np.uint8))
