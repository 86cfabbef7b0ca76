"""Near-duplicates: found by difference hashes, and united in a group that no split parts.

Collections from the web hold the same photograph twice, in another size or quality. With one copy
in training and the other in validation, a metric measures memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np

from edge.types import U8
from edge.vision.resize import resize
from trainers.data.dataset import Dataset, Example, Problem

_SIDE = 16
_ALIKE_BITS = 115  # of 512; unrelated photographs differ by 140 and more


def compute_dhash(image: U8) -> U8:
    """``(64,)`` uint8 dHash: 512 bits, whether it gets darker to the right and downwards."""
    gray = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    small = resize(gray, (_SIDE + 1, _SIDE + 1)).astype(np.int16)
    right = small[:-1, :-1] > small[:-1, 1:]
    down = small[:-1, :-1] > small[1:, :-1]
    return np.packbits(np.concatenate([right.ravel(), down.ravel()]))


def count_different_bits(fingerprints: U8, one: U8) -> np.ndarray:
    """``(N, 64)``, ``(64,)`` -> ``(N,)`` bits that differ."""
    return np.asarray(np.bitwise_count(fingerprints ^ one).sum(1, dtype=np.int64))


def find_near_duplicates(examples: Sequence[Example], workers: int = 2) -> list[tuple[int, int]]:
    """Find pairs (first, second) of near-duplicates.

    Raises:
        ConfigError: A picture cannot be read.
    """
    if not examples:
        return []
    with ThreadPoolExecutor(workers) as pool:
        every = np.stack(list(pool.map(lambda e: compute_dhash(e.load().image), examples)))
    pairs: list[tuple[int, int]] = []
    for n in range(len(every) - 1):
        near = np.flatnonzero(count_different_bits(every[n + 1 :], every[n]) <= _ALIKE_BITS)
        pairs += [(n, n + 1 + int(m)) for m in near]
    return pairs


def drop_near_duplicates(
    new: Sequence[Example], held: Sequence[Example], workers: int = 2
) -> tuple[Example, ...]:
    """Those of ``new`` that are no near-duplicates of ``held``.

    Raises:
        ConfigError: A picture cannot be read.
    """
    if not new or not held:
        return tuple(new)
    with ThreadPoolExecutor(workers) as pool:
        every = list(pool.map(lambda e: compute_dhash(e.load().image), [*new, *held]))
    known = np.stack(every[len(new) :])
    fresh = [count_different_bits(known, one).min() > _ALIKE_BITS for one in every[: len(new)]]
    return tuple(e for e, keep in zip(new, fresh, strict=True) if keep)


def unite_near_duplicates(dataset: Dataset, workers: int = 2) -> Dataset:
    """The same data set, with groups united that share near-duplicates.

    The united group takes the first of the names.

    Raises:
        ConfigError: A picture cannot be read.
    """
    root = {e.group: e.group for e in dataset.examples}

    def find(group: str) -> str:
        while root[group] != group:
            group = root[group]
        return group

    for a, b in find_near_duplicates(dataset.examples, workers):
        first, second = sorted([find(dataset.examples[a].group), find(dataset.examples[b].group)])
        root[second] = first
    return replace(
        dataset, examples=tuple(replace(e, group=find(e.group)) for e in dataset.examples)
    )


def split_dataset(dataset: Dataset, val_fraction: float, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Split into training and validation part, as every trainer does.

    The split depends on group names, near-duplicates and the seed alone. Where the data set brings
    its own, that is kept, and near-duplicates on both sides are noted.

    Raises:
        ConfigError: One side would be empty, or a picture cannot be read.
    """
    if not any(e.part == "val" for e in dataset.examples):
        return unite_near_duplicates(dataset).split(val_fraction, seed)
    training, validation = dataset.split(val_fraction, seed)
    return note_near_duplicates(training, validation), validation


def note_near_duplicates(training: Dataset, held: Dataset) -> Dataset:
    """The training data with a note if pictures show nearly what held-back ones do.

    Raises:
        ConfigError: A picture cannot be read.
    """
    alike = len(training) - len(drop_near_duplicates(training.examples, held.examples))
    if not alike:
        return training
    part = "test" if held.examples[0].part == "test" else "validation"
    what = (
        f"{alike} training picture(s) show nearly the same as {part} pictures of the split "
        "that the data brings along: metrics flatter"
    )
    told = Problem(held.examples[0].path, 0, what, harmless=True)
    return replace(training, notes=(*training.notes, told))
