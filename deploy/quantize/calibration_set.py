"""Samples: real pictures as contract inputs, some to calibrate on and others to examine on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from deploy.quantize.accuracy import prepare_inputs
from deploy.verify.verify import find_pictures, read_letterboxed
from edge.errors import ConfigError
from edge.manifest import Manifest
from edge.types import U8
from trainers.data.dataset import Dataset
from trainers.data.read import read_dataset

T = TypeVar("T")


def read_calibration_set(
    manifest: Manifest, data: Path, exam: Path | None, calibrate: int, most: int
) -> tuple[U8, Dataset]:
    """Inputs to calibrate on ``(P, ...)`` and labelled pictures to examine on.

    Args:
        manifest: of the model.
        data: pictures to calibrate on.
        exam: labelled pictures; None takes those of ``data`` that are not calibrated on.
        calibrate: how many at most, evenly spread.
        most: pictures of the exam at most, evenly spread.

    Raises:
        ConfigError: no pictures, or none with the labels that are needed.
    """
    if exam is not None and manifest.task in ("detect", "faces"):
        inputs = read_letterboxed(pick_evenly(find_pictures([data]), calibrate), manifest)
        return inputs, _spread(read_dataset(exam), most)
    labelled = read_dataset(data)
    chosen = pick_evenly(labelled.examples, min(calibrate, max(1, len(labelled.examples) // 3)))
    inputs = prepare_inputs(manifest, chosen)
    if exam is not None:
        return inputs, _spread(read_dataset(exam), most)
    seen = {example.name for example in chosen}
    rest = tuple(e for e in labelled.examples if e.name not in seen)
    if not rest:
        raise ConfigError(f"--data {data}: one picture is too few, or name others with --exam")
    return inputs, _spread(Dataset(labelled.classes, rest), most)


def _spread(dataset: Dataset, most: int) -> Dataset:
    return Dataset(dataset.classes, tuple(pick_evenly(dataset.examples, most)))


def pick_evenly(items: Sequence[T], most: int) -> list[T]:
    """At most so many of the items, evenly spread."""
    rows = np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).astype(int))
    return [items[row] for row in rows]
