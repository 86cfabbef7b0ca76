"""The parts of a data set: to learn from, to choose the epoch by, and to judge the outcome by.

The figure of the best of many epochs flatters, because it was chosen for being high. A test part
has no say in any choice: the network is asked about it once, when it is finished.
"""

from __future__ import annotations

from typing import NamedTuple

from edge.errors import ConfigError
from trainers.data.dataset import Dataset, is_held_out
from trainers.data.near_duplicates import (
    note_near_duplicates,
    split_dataset,
    unite_near_duplicates,
)

_OTHER_SEED = 7919  # so that a test part is not a piece of what another run validates on


class Parts(NamedTuple):
    """What a run learns from, validates on after its epochs, and is tested on at its end."""

    training: Dataset
    validation: Dataset
    test: Dataset | None = None

    def describe_test(self) -> str:
        """How many pictures are kept for the test; empty without a test part."""
        return f", {len(self.test)} for the test" if self.test else ""


def split_parts(
    dataset: Dataset, val_fraction: float, test_fraction: float = 0.0, seed: int = 0
) -> Parts:
    """Split by groups; near-duplicates are on one side.

    The test part is that of the data set's own split, or holds about ``test_fraction`` of the
    groups outside its own validation part, chosen by their names and the seed alone.

    Raises:
        ConfigError: A part would be empty, there are two test parts, or a picture cannot be read.
    """
    if not 0 <= test_fraction < 1:
        raise ConfigError(f"--test-fraction must be in [0, 1), got {test_fraction}")
    test = dataset.where(lambda e: e.part == "test")
    if test and test_fraction:
        raise ConfigError(
            f"the data have a test part of {len(test)} pictures: leave out --test-fraction"
        )
    if test_fraction:
        dataset = unite_near_duplicates(dataset)

        def is_test(group: str, part: str) -> bool:
            return part != "val" and is_held_out(group, test_fraction, seed + _OTHER_SEED)

        test = dataset.where(lambda e: is_test(e.group, e.part))
        dataset = dataset.where(lambda e: not is_test(e.group, e.part))
        if not test or not dataset:
            raise ConfigError(
                f"--test-fraction {test_fraction:g} of these groups leaves one side empty: add "
                "pictures of other videos or people, or choose another fraction or seed"
            )
    training, validation = split_dataset(dataset, val_fraction, seed)
    if test and not test_fraction:
        training = note_near_duplicates(training, test)
    return Parts(training, validation, test or None)
