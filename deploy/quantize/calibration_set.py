"""The calibration set: real pictures as contract inputs, some to calibrate on, others to score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from deploy.verify.verify import list_pictures, read_letterboxed
from edge.errors import ConfigError
from edge.manifest import Manifest
from edge.types import U8, Letterbox, RgbPicture
from edge.vision.box_crops import cut_box
from edge.vision.face_crops import align_face, crop_wide
from edge.vision.preprocess import letterbox
from trainers.data.class_data import list_crops, read_class_data
from trainers.data.dataset import Dataset, Example
from trainers.data.read import read_dataset

T = TypeVar("T")


def read_calibration_set(
    manifest: Manifest, data: Path, val_data: Path | None, max_calibration: int, max_images: int
) -> tuple[U8, Dataset]:
    """Inputs to calibrate on ``(P, ...)`` and labeled pictures to check the accuracy on.

    Both are spread evenly, and the notes on both come with the latter. Without ``val_data`` the
    pictures left of ``data`` are checked on.

    Raises:
        ConfigError: There are no pictures, or none with the labels that are needed.
    """
    if manifest.task == "landmarks":
        raise ConfigError(
            "a model of 68 points is not quantized: it is small, and pixels are what it is for; "
            "use it as it is"
        )
    read = read_class_data if manifest.task == "classify" else read_dataset
    if val_data is not None and manifest.task in ("detect", "faces"):
        files, notes = list_pictures([data])
        inputs = read_letterboxed(pick_evenly(files, max_calibration), manifest)
        examined = _pick_examples(read_dataset(val_data), max_images)
        return inputs, replace(examined, notes=(*notes, *examined.notes))
    labeled = read(data)
    count = min(max_calibration, max(1, len(labeled.examples) // 3))
    chosen = pick_evenly(labeled.examples, count)
    inputs = prepare_inputs(manifest, chosen)
    if val_data is not None:
        examined = _pick_examples(read(val_data), max_images)
        return inputs, replace(examined, notes=labeled.notes + examined.notes)
    used = {example.name for example in chosen}
    rest = tuple(e for e in labeled.examples if e.name not in used)
    if not rest:
        raise ConfigError(
            f"--data {data} holds a single picture, which is too few: add more, or name labeled "
            "pictures with --val-data"
        )
    return inputs, _pick_examples(replace(labeled, examples=rest), max_images)


def _pick_examples(dataset: Dataset, max_images: int) -> Dataset:
    return replace(dataset, examples=tuple(pick_evenly(dataset.examples, max_images)))


def pick_evenly(items: Sequence[T], max_items: int) -> list[T]:
    """At most ``max_items`` of the items, evenly spread."""
    rows = np.unique(np.linspace(0, len(items) - 1, min(max_items, len(items))).astype(int))
    return [items[row] for row in rows]


def prepare_inputs(manifest: Manifest, examples: Sequence[Example]) -> U8:
    """``(P, ...)`` uint8: what the daemon would hand to the model for labeled pictures.

    Raises:
        ConfigError: A picture cannot be read, or lacks the labels that this task crops by.
    """
    inputs = [array for example in examples for array in _prepare(manifest, example)]
    if not inputs:
        needed = {"embed": "five points of a face", "liveness": "boxes of faces"}
        raise ConfigError(
            f"no picture of --data has {needed.get(manifest.task, 'anything')}: use a labels.csv"
        )
    return np.stack(inputs)


def _prepare(manifest: Manifest, example: Example) -> Iterator[U8]:
    if manifest.task == "embed":
        for points in example.landmarks:
            if np.isfinite(points).all():
                yield align_face(
                    RgbPicture(example.load().image), points, resampling=manifest.resampling
                )
    elif manifest.task == "liveness":
        for box in example.xyxy:
            picture = RgbPicture(example.load().image)
            crops = [
                crop_wide(picture, box, scale, manifest.input_wh, manifest.resampling)
                for scale in manifest.crop_scales
            ]
            yield np.stack(crops * manifest.clip_frames)
    elif manifest.task == "classify":
        picture = RgbPicture(example.load().image)
        for labeled in list_crops(Dataset((), (example,))):
            yield cut_box(
                picture, labeled.xyxy, manifest.input_wh, manifest.crop_margin, manifest.placement
            )
    else:
        width, height = manifest.input_wh
        image = np.empty((height, width, 3), np.uint8)
        letterbox_example(manifest, example, image)
        yield image


def letterbox_example(manifest: Manifest, example: Example, image: U8) -> Letterbox:
    """Letterbox a labeled picture into ``image``, as the daemon would."""
    picture = RgbPicture(example.load().image)
    return letterbox(picture, image, manifest.placement)
