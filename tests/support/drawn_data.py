"""Pictures drawn for tests: flat ground, coloured dots where the landmarks are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from trainers.augment.augment import Augment
from trainers.data.dataset import Dataset, Example, Sample, unknown_points
from trainers.input.pipeline import Batch, build_batches, stream_batches

SHARED = Path(__file__).parents[3] / "shared" / "data"
DOTS = np.array([[255, 0, 0], [0, 0, 255], [0, 255, 0], [255, 255, 0], [255, 0, 255]], np.uint8)
GROUND = 90


def shared(name: str) -> Path:
    """A folder of the shared data, or a skipped test."""
    if not (SHARED / name).is_dir():
        pytest.skip(f"needs ../shared/data/{name} beside the repository")
    return SHARED / name


def face(seed: int, size_wh: tuple[int, int] = (160, 120), name: str = "drawn") -> Sample:
    """One object with five dots, each 5 pixels across, well inside its box."""
    rng = np.random.default_rng(seed)
    w, h = size_wh
    low = rng.uniform([0, 0], [w * 0.3, h * 0.3])
    high = rng.uniform([w * 0.65, h * 0.65], [w, h])
    grid = np.array([[0.25, 0.25], [0.75, 0.25], [0.5, 0.5], [0.25, 0.75], [0.75, 0.75]])
    points = low + (high - low) * (grid + rng.uniform(-0.04, 0.04, (5, 2)))
    points = np.floor(points) + 0.5  # the middle of a pixel
    image = np.full((h, w, 3), GROUND, np.uint8)
    for (x, y), colour in zip(points, DOTS, strict=True):
        cv2.circle(image, (int(x), int(y)), 3, colour.tolist(), -1)
    return Sample(
        image, np.float32([[*low, *high]]), np.zeros(1, np.int32), points[None].astype(np.float32),
        np.ones(1, np.float32), name, name,
    )  # fmt: skip


def find_dot(image: np.ndarray, colour: np.ndarray) -> np.ndarray | None:
    """The middle of the pixels nearest to a colour, None where there are none."""
    alike = np.abs(image.astype(int) - colour.astype(int)).max(2) < 70
    if alike.sum() < 4:
        return None
    y, x = np.nonzero(alike)
    return np.array([x.mean(), y.mean()]) + 0.5


def write_example(folder: Path, name: str, sample: Sample, group: str = "") -> Example:
    """The sample as a file and its example."""
    path = folder / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR))
    return Example(
        path, sample.size_wh, sample.xyxy, sample.class_id, sample.landmarks, sample.weight,
        name, group or name, path.with_suffix(".txt"),
    )  # fmt: skip


def drawn_dataset(folder: Path, n: int = 10, size_wh: tuple[int, int] = (160, 120)) -> Dataset:
    """``n`` drawn pictures in files."""
    return Dataset(
        ("face",), tuple(write_example(folder, f"p{i:03d}", face(i, size_wh)) for i in range(n))
    )


def plain_example(name: str, group: str, boxes: int = 1) -> Example:
    """Labels without a picture."""
    xyxy = np.float32([[10, 10, 50, 50]] * boxes).reshape(-1, 4)
    return Example(
        Path(f"{name}.jpg"), (100, 100), xyxy, np.zeros(boxes, np.int32), unknown_points(boxes),
        np.ones(boxes, np.float32), name, group, Path(f"{name}.txt"),
    )  # fmt: skip


def iterate_batches(
    dataset: Dataset, size_wh: tuple[int, int], batch: int, augment: Sequence[Augment] = (),
    workers: int = 2, seed: int = 0, epoch: int = 0, epochs: int | None = 1, **options: Any,
) -> Iterator[Batch]:  # fmt: skip
    """Batches of a data set, streamed."""
    source = build_batches(dataset, size_wh, batch, augment, seed=seed, **options)
    yield from stream_batches(source, workers=workers, epoch=epoch, epochs=epochs)
