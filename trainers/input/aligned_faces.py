"""Batches of aligned faces with their 68 points: as wrongly aligned as the daemon's, mirrored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from edge.compat import Self
from edge.errors import ConfigError
from edge.types import F32, U8, RgbPicture
from edge.vision.face_crops import FACE_POINTS, FACE_PX, align_face, fit_alignment
from trainers.augment.augment import Augment, Rng, apply
from trainers.data.dataset import Sample, no_labels
from trainers.data.face_points import FacePoints
from trainers.data.points68 import mirror_points, select_five
from trainers.input.pipeline import locate_picture, plan_epoch
from trainers.networks.config import LandmarkConfig

# Errors of zoo:faces-nano's five points in close-ups of 664 faces of ytf_dev that it was not
# trained on, eye distances: deviation of their mean, and of each point from it.
SHIFT, SCATTER = 0.055, 0.06
_ROOM = 0.5  # by which kept crops are wider than the network's, as a fraction
_OVERSAMPLE = 1.25  # and how much finer


class FaceBatch(TypedDict):
    """B aligned faces: ``images`` ``(B, h, w, 3)`` uint8 RGB, ``points`` ``(B, 68, 2)``."""

    images: U8
    points: F32


def get_eyes_px(config: LandmarkConfig) -> float:
    """Distance of the eyes of an aligned face, network pixels."""
    eyes = float(np.linalg.norm(FACE_POINTS[1] - FACE_POINTS[0]))
    return eyes * config.input_wh[0] / (FACE_PX * (1 + config.margin))


def err(five: F32, rng: Rng) -> F32:
    """Five points as a detector would have found them."""
    eyes = float(np.linalg.norm(five[1] - five[0]))
    error = rng.normal(0, SHIFT, (1, 2)) + rng.normal(0, SCATTER, (5, 2))
    return np.asarray(five + error * eyes, np.float32)


def place_points(points: F32, five: F32, side_px: int, margin: float) -> F32:
    """``(68, 2)`` points in the crop that is aligned by ``five`` points.

    Raises:
        ConfigError: The five are in one place.
    """
    fitted = fit_alignment(five, side_px, margin)
    if fitted is None:
        raise ConfigError("the points of a face lie in one place: correct or drop its row")
    return fitted.to_crop(points)


def crop_face(image: U8, points: F32, five: F32, config: LandmarkConfig) -> tuple[U8, F32]:
    """The face aligned by ``five`` points, and its 68 points in pixels of the crop."""
    side, margin = config.input_wh[0], config.margin
    crop = align_face(RgbPicture(np.ascontiguousarray(image)), five, side, margin=margin)
    return crop, place_points(points, five, side, margin)


@dataclass(frozen=True, slots=True, eq=False)
class AlignedFaces:
    """Batches of the faces of a data set: a `BatchSource`.

    Attributes:
        images: Faces aligned by their own points, with room around them.
        points: ``(N, 68, 2)`` their points, pixels of those.
        batch: B.
        augment: Augmentations of a crop that move nothing, in order.
        seed: Seed of every random choice.
    """

    images: tuple[U8, ...]
    points: F32
    config: LandmarkConfig
    batch: int
    augment: tuple[Augment, ...]
    seed: int

    @classmethod
    def of(
        cls, faces: FacePoints, config: LandmarkConfig, batch: int,
        augment: Sequence[Augment] = (), seed: int = 0,
    ) -> Self:  # fmt: skip
        """Batches of a data set, whose pictures are read here.

        Raises:
            ConfigError: A picture is missing, broken or of another size.
        """
        images, placed = [], []
        side = round(config.input_wh[0] * (1 + _ROOM) * _OVERSAMPLE)
        margin = (1 + config.margin) * (1 + _ROOM) - 1
        for example, points in zip(faces.examples, faces.points, strict=True):
            with locate_picture(example.path):
                five = select_five(points)
                picture = RgbPicture(example.load().image)
                images.append(align_face(picture, five, side, margin=margin))
                placed.append(place_points(points, five, side, margin))
        return cls(tuple(images), np.stack(placed), config, batch, tuple(augment), seed)

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return len(plan_epoch(len(self.images), self.batch, 0, 0, shuffle=True))

    def plan(self, epoch: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Epoch, step and faces of each batch of an epoch."""
        order = plan_epoch(len(self.images), self.batch, self.seed, epoch, shuffle=True)
        for step, chosen in enumerate(order):
            yield epoch, step, chosen

    def make(self, epoch: int, step: int, chosen: np.ndarray) -> FaceBatch:
        """Make a batch."""
        drawn = [
            self.draw(int(index), (self.seed, epoch, step, place))
            for place, index in enumerate(chosen)
        ]
        return FaceBatch(
            images=np.stack([image for image, _ in drawn]),
            points=np.stack([points for _, points in drawn]),
        )

    def draw(self, index: int, seed: tuple[int, ...]) -> tuple[U8, F32]:
        """A face, aligned wrongly, mirrored by chance and augmented."""
        rng = np.random.default_rng(seed)
        image, points = self.images[index], self.points[index]
        if rng.random() < 0.5:
            image = np.ascontiguousarray(image[:, ::-1])
            points = mirror_points(points, image.shape[1] - 1)
        crop, placed = crop_face(image, points, err(select_five(points), rng), self.config)
        sample = apply(self.augment, Sample(crop, **no_labels(), name="", group=""), rng)
        return sample.image, placed
