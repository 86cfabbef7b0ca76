"""The augmentation sheet: what a run will show its network, a row for each augmentation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge.types import U8
from trainers.augment.augment import Augment, Rng, Sometimes, apply, bind
from trainers.augment.presets import choose
from trainers.data.dataset import Dataset, Sample
from trainers.evaluation.figures import draw_sample, letterbox_sample, save_image, tile

COLUMNS = 6
ALL = "all, by chance"


def draw_augment_sheet(
    dataset: Dataset, named: Mapping[str, Sometimes], path: Path, side: int = 200, seed: int = 0
) -> None:
    """Draw pictures with their labels under each augmentation, and under all of them as a run does.

    An augmentation that a run leaves out (chance 0) has no row. The first row is without any.

    Args:
        dataset: Where the pictures come from.
        named: A preset, see `trainers.augment.presets`.
        path: PNG to write.
        side: Of each picture, pixels.
        seed: Of the choice of pictures and of what is done to them.

    Raises:
        ConfigError: The data set is empty, a picture is broken, or the PNG cannot be written.
    """
    dataset.require_examples()
    rng = np.random.default_rng(seed)
    labeled = [n for n, example in enumerate(dataset.examples) if len(example)]
    chosen = np.resize(rng.permutation(labeled), COLUMNS).tolist()
    samples = [dataset.examples[n].load() for n in chosen]

    def draw(random: Rng) -> Sample:
        return dataset.examples[int(random.integers(len(dataset)))].load()

    rows: dict[str, list[Augment]] = {"none": []}
    rows |= {
        f"{name}, {some.chance:.0%}": [some.change] for name, some in named.items() if some.chance
    }
    rows[ALL] = choose(named)
    pictures: list[U8] = []
    titles: list[str] = []
    for name, augments in rows.items():
        bound = bind(augments, draw)
        for sample in samples:
            changed = apply(bound, sample, rng)
            pictures.append(draw_sample(letterbox_sample(changed, (side, side)), dataset.classes))
            titles.append(name)
    save_image(path, tile(pictures, COLUMNS, titles))
