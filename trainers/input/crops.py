"""Batches of crops for a classifier: cut out, augmented, letterboxed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypedDict

import numpy as np

from edge.types import F32, U8, RgbPicture
from edge.vision.box_crops import cut_box, enlarge
from edge.vision.resize import resize
from trainers.augment.augment import Augment, apply
from trainers.data.class_data import LabeledCrop, encode, list_crops
from trainers.data.dataset import Dataset, Sample, unknown_points
from trainers.input.pipeline import locate_picture, plan_epoch
from trainers.networks.config import ClassifierConfig

_RAM_BYTES = 2 << 30
_ROOM = 0.15  # around a crop, of its sides, so that it can be moved about
_OVERSAMPLE = 1.5  # kept crops are larger than the network's input


class ClassBatch(TypedDict):
    """B crops: ``images`` ``(B, h, w, 3)`` uint8 RGB, ``labels`` ``(B, K)`` float32 0 or 1."""

    images: U8
    labels: F32


@dataclass(eq=False)
class CropCache:
    """Crops with some room around them, as large as training needs them, kept in memory.

    Attributes:
        dataset: Their pictures.
        config: Says how large they are cut.
    """

    dataset: Dataset
    config: ClassifierConfig
    _kept: dict[int, Sample] = field(default_factory=dict, repr=False)
    _kept_bytes: int = field(default=0, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def load(self, index: int, crop: LabeledCrop) -> Sample:
        """The picture around a crop; its box, with the margin, is the only label.

        Raises:
            ConfigError: The picture is missing, broken or of another size.
        """
        if sample := self._kept.get(index):
            return sample
        example = self.dataset.examples[crop.example]
        with locate_picture(example.path):
            sample = self._cut(example.load(), crop.xyxy)
        with self._lock:
            if self._kept_bytes + sample.image.nbytes <= _RAM_BYTES and index not in self._kept:
                self._kept[index] = sample
                self._kept_bytes += sample.image.nbytes
        return sample

    def _cut(self, picture: Sample, xyxy: F32) -> Sample:
        box = enlarge(xyxy, self.config.margin, picture.size_wh)
        wide = enlarge(box, _ROOM, picture.size_wh)
        x1, y1 = np.floor(wide[:2]).astype(int)
        x2, y2 = np.maximum(np.ceil(wide[2:]).astype(int), (x1 + 1, y1 + 1))
        part = np.ascontiguousarray(picture.image[y1:y2, x1:x2])
        most = _OVERSAMPLE * max(self.config.input_wh) / max(part.shape[:2])
        if most < 1:
            size_wh = (max(1, round(part.shape[1] * most)), max(1, round(part.shape[0] * most)))
            part = resize(part, size_wh)
        scale = np.array(part.shape[1::-1], np.float32) / (x2 - x1, y2 - y1)
        place = (box.reshape(2, 2) - (x1, y1)) * scale
        return Sample(
            part, place.reshape(1, 4).astype(np.float32), np.zeros(1, np.int32),
            unknown_points(1), np.ones(1, np.float32), picture.name, picture.group,
        )  # fmt: skip


def cut_out(sample: Sample, size_wh: tuple[int, int]) -> U8:
    """``(h, w, 3)``: the box of a sample, letterboxed as the daemon does."""
    whole = np.array([0, 0, *sample.size_wh], np.float32)
    box = sample.xyxy[0] if len(sample) else whole
    return cut_box(RgbPicture(np.ascontiguousarray(sample.image)), box, size_wh)


@dataclass(frozen=True, slots=True, eq=False)
class ClassBatches:
    """Batches of the crops of a data set: a `BatchSource`.

    Attributes:
        batch: B.
        augment: Augmentations of a crop, in order.
        seed: Seed of every random choice.
        jitter: Largest shift of a box, of its sides, and half of its largest change of size.
    """

    cache: CropCache
    crops: tuple[LabeledCrop, ...]
    batch: int
    augment: tuple[Augment, ...]
    seed: int
    jitter: float

    @classmethod
    def of(
        cls, dataset: Dataset, config: ClassifierConfig, batch: int,
        augment: Sequence[Augment], seed: int, jitter: float,
    ) -> ClassBatches:  # fmt: skip
        """Batches of a data set."""
        crops = tuple(list_crops(dataset))
        return cls(CropCache(dataset, config), crops, batch, tuple(augment), seed, jitter)

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return len(plan_epoch(len(self.crops), self.batch, 0, 0, shuffle=True))

    def plan(self, epoch: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Epoch, step and crops of each batch of an epoch."""
        order = plan_epoch(len(self.crops), self.batch, self.seed, epoch, shuffle=True)
        for step, chosen in enumerate(order):
            yield epoch, step, chosen

    def make(self, epoch: int, step: int, chosen: np.ndarray) -> ClassBatch:
        """Make a batch.

        Raises:
            ConfigError: A picture is missing or broken.
        """
        size_wh = self.cache.config.input_wh
        images = [
            cut_out(self.draw(int(index), (self.seed, epoch, step, place)), size_wh)
            for place, index in enumerate(chosen)
        ]
        rows = [self.crops[int(index)] for index in chosen]
        return ClassBatch(
            images=np.stack(images), labels=encode(rows, len(self.cache.config.classes))
        )

    def draw(self, index: int, seed: tuple[int, ...]) -> Sample:
        """A crop, augmented with the random generator of ``seed``."""
        rng = np.random.default_rng(seed)
        sample = apply(self.augment, self.cache.load(index, self.crops[index]), rng)
        if not len(sample):  # an affine augmentation moved it out of the picture
            return sample
        size, middle = sample.xyxy[0, 2:] - sample.xyxy[0, :2], sample.xyxy.reshape(2, 2).mean(0)
        middle = middle + rng.uniform(-self.jitter, self.jitter, 2) * size
        size = size * np.exp(rng.uniform(-2 * self.jitter, 2 * self.jitter))
        box = np.concatenate([middle - size / 2, middle + size / 2])
        return replace(sample, xyxy=box[None].astype(np.float32))


def load_crops(dataset: Dataset, config: ClassifierConfig) -> tuple[U8, F32]:
    """All crops as they are, ``(N, h, w, 3)``, and their labels ``(N, K)``.

    Raises:
        ConfigError: A picture is missing or broken.
    """
    cache, crops = CropCache(dataset, config), list_crops(dataset)
    images = [cut_out(cache.load(n, crop), config.input_wh) for n, crop in enumerate(crops)]
    return np.stack(images), encode(crops, len(config.classes))
