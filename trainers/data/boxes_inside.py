"""Labels that vanish when boxes are cut at the borders of their pictures, before training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge.errors import ConfigError
from edge.vision import boxes
from trainers.data import image_file
from trainers.data.dataset import Dataset, Example, Problem
from trainers.data.picture_folder import list_some

_LEAST_PX = 1.0  # as `Sample.inside`
_NEARLY_ALL = 0.9
_FAR = 4  # times the size of the picture
_DEEP = frozenset({".png", ".tif", ".tiff"})  # formats of 16 bits


def count_vanishing(example: Example) -> int:
    """How many labels of a picture nothing is left of inside it."""
    clipped = boxes.clip(example.xyxy, example.size_wh)
    size = clipped[:, 2:] - clipped[:, :2]
    return int((~(size >= _LEAST_PX).all(1)).sum())


def describe_unit(example: Example) -> str:
    """Which unit the boxes of a picture look like, if not that of their format; else empty."""
    if not len(example):
        return ""
    largest = float(np.abs(example.xyxy / np.tile(example.size_wh, 2)).max())
    if largest > _FAR and example.label_file.suffix == ".txt":
        return "these look like pixels or percent: 0..1 is wanted"
    if np.abs(example.xyxy).max() <= 1.5 and example.label_file.suffix != ".txt":
        return "these look like fractions: pixels are wanted"
    return ""


def require_inside(dataset: Dataset) -> list[Problem]:
    """What is lost of the labels, where it is not nearly everything.

    Raises:
        ConfigError: (Nearly) all labels lie outside their pictures.
    """
    total = sum(len(e) for e in dataset.examples)
    lost = [(e, n) for e in dataset.examples if (n := count_vanishing(e))]
    if not lost:
        return []
    count = sum(n for _, n in lost)
    first = lost[0][0]
    what = f"{count} of {total} labels lie outside their pictures or are smaller than a pixel"
    hint = next((unit for e, _ in lost if (unit := describe_unit(e))), "")
    remedy = f"{hint or 'correct them'} (edge-train check lists them)."
    if count >= _NEARLY_ALL * total:
        raise ConfigError(f"{what}: {remedy}", file=first.label_file)
    names = list_some(e.name for e, _ in lost)
    return [Problem(first.label_file, 0, f"{what} and are not learned ({names}): {remedy}")]


def tell_dark(examples: Sequence[Example]) -> list[Problem]:
    """Pictures of 16 bits that are read nearly black.

    Raises:
        ConfigError: A picture is missing or broken.
    """
    deep = (e.path for e in examples if e.path.suffix.lower() in _DEEP)
    dark: list[tuple[Path, str]] = [(p, w) for p in deep if (w := image_file.describe_dark(p))]
    if not dark:
        return []
    names = list_some(path.name for path, _ in dark)
    return [Problem(dark[0][0], 0, f"{len(dark)} picture(s) like this ({names}): {dark[0][1]}")]
