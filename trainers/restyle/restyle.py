"""Restyle all pictures of a plan: each in the look of a picture of the style, with its labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge.types import U8, RgbPicture
from trainers.data import image_file
from trainers.evaluation.figures import draw_sample, letterbox_sample, save_image, tile
from trainers.restyle.folder import Plan, finish, write_picture
from trainers.restyle.look import draw_noise
from trainers.restyle.style import Fit, Restyler, Style

_SHOWN = 6
_SHOWN_WH = (320, 320)


@dataclass(frozen=True, slots=True, eq=False)
class RestyledPicture:
    """A picture that was written.

    Attributes:
        index: Of the day picture in the plan.
        style: File of the picture that gave the style.
        path: Of the restyled picture.
        fit: How it came to be.
    """

    index: int
    style: Path
    path: Path
    fit: Fit


def restyle_all(plan: Plan, restyler: Restyler, seed: int = 0) -> Iterator[RestyledPicture]:
    """Restyle one picture after another; the data set is whole when all are taken.

    Each is given a picture of the style at random: a camera sees more than one night.

    Raises:
        ConfigError: A picture cannot be read, or the disk is full.
    """
    rng = np.random.default_rng(seed)
    styles: dict[Path, Style] = {}
    for index, example in enumerate(plan.examples):
        file = plan.styles[int(rng.integers(len(plan.styles)))]
        if file not in styles:
            styles[file] = restyler.describe(image_file.read(file).rgb)
        image = example.load().image
        noise = draw_noise(example.name, example.size_wh, seed)
        fit = restyler.fit(image, noise, styles[file])
        path = write_picture(plan, index, RgbPicture(fit.look(image, noise)))
        yield RestyledPicture(index, file, path, fit)
    finish(plan)


def draw_fits(plan: Plan, done: Sequence[RestyledPicture], path: Path) -> None:
    """Draw some pictures by day, what gave the style, and the result with its labels, as PNG.

    Raises:
        ConfigError: A picture cannot be read, or the PNG cannot be written.
    """
    images: list[U8] = []
    titles: list[str] = []
    for one in done[:: max(1, len(done) // _SHOWN)][:_SHOWN]:
        example = plan.examples[one.index]
        day = example.load()
        night = replace(day, image=image_file.read(one.path).rgb)
        style = replace(day[:0], image=image_file.read(one.style).rgb)
        shown = (letterbox_sample(sample, _SHOWN_WH) for sample in (day, style, night))
        images += [draw_sample(sample, plan.classes) for sample in shown]
        titles += [day.name, f"style: {one.style.name}", f"style loss {one.fit.style:.3f}"]
    save_image(path, tile(images, 3, titles))
