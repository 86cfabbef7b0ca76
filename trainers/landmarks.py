"""Training a network of 68 points on aligned faces.

A fifth of the people is held out for the final evaluation and never seen, the same as of
embedders; a tenth of the others chooses the best epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from edge.errors import ConfigError
from edge.printable import format_count
from edge.types import F32, U8
from trainers.augment.presets import landmark_augments
from trainers.data.face_points import FacePoints, read_face_points
from trainers.data.points68 import select_five
from trainers.input.aligned_faces import AlignedFaces, FaceBatch, crop_face, err, get_eyes_px
from trainers.metrics.points import FAILED, measure_nme
from trainers.networks.backbone import Tensor
from trainers.networks.config import LandmarkConfig
from trainers.networks.landmarks import begin_with, build
from trainers.run import train
from trainers.run.folder import RunFolder, build_run_config
from trainers.run.job import Job
from trainers.run.tell import tell

METRIC = "score"
KIND = "landmarks"
VAL_FRACTION, VAL_SEED = 0.1, 1  # of the training people, who choose the best epoch
_BEND = 0.05  # eye distances up to which the loss is quadratic: labels are not that exact
_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkJob(Job):
    """One training of a network of 68 points, complete.

    Attributes:
        data: A folder with ``labels.csv`` and ``landmarks68.csv``; ``val_fraction`` of its people
            is held out.
        config: The network.
    """

    data: Path
    config: LandmarkConfig = field(default_factory=LandmarkConfig)

    def __post_init__(self) -> None:
        if self.settings.activation:
            raise ConfigError(
                "a network of 68 points has an activation of its own: leave it out of --settings"
            )


class LandmarkTask(keras.Model):
    """Wraps a network; ``x`` is uint8 ``(B, h, w, 3)``, ``y`` is ``(B, 68, 2)`` network pixels."""

    def __init__(self, network: keras.Model, config: LandmarkConfig) -> None:
        super().__init__(name="landmark_task")
        self.network = network
        self._eyes_px, self._input_wh = get_eyes_px(config), config.input_wh

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        """uint8 images -> ``(B, 68, 2)`` points."""
        return self.network(ops.cast(images, "float32"), training=training)

    def compute_loss(self, x: Any, y: Any, y_pred: Any, *_: Any, **__: Any) -> Tensor:  # noqa: ANN401, ARG002
        """Smooth L1 (Girshick 2015) of distances in eye distances."""
        error = ops.abs(y_pred - y) / self._eyes_px
        bent = ops.where(error < _BEND, error**2 / (2 * _BEND), error - _BEND / 2)
        return ops.mean(bent)

    def example(self) -> np.ndarray:
        """An input of one picture, to build with."""
        width, height = self._input_wh
        return np.zeros((1, height, width, 3), np.uint8)


def to_keras_batch(batch: FaceBatch) -> tuple[U8, F32]:
    """A batch as ``fit`` takes it."""
    return batch["images"], batch["points"]


def crop_as_found(faces: FacePoints, config: LandmarkConfig, seed: int = 0) -> tuple[U8, F32]:
    """All faces, aligned as wrongly as by a detector: crops and ``(N, 68, 2)`` points in them.

    Raises:
        ConfigError: A picture is missing, broken or of another size.
    """
    rng = np.random.default_rng(seed)
    crops = [
        crop_face(example.load().image, points, err(select_five(points), rng), config)
        for example, points in zip(faces.examples, faces.points, strict=True)
    ]
    return np.stack([image for image, _ in crops]), np.stack([points for _, points in crops])


def compute_metrics(network: keras.Model, images: U8, points: F32) -> dict[str, float]:
    """NME and the fraction of faces that are not found, on ``(N, h, w, 3)`` aligned faces."""
    found = network.predict(images.astype(np.float32), _BATCH, verbose=0)
    nme = measure_nme(found, points)
    return {
        "nme": float(nme.mean()), "failed": float((nme > FAILED).mean()),
        METRIC: 1 - float(nme.mean()),
    }  # fmt: skip


def train_landmarks(job: LandmarkJob, *, resume: bool = False, verbose: int = 0) -> RunFolder:
    """Train; the network with the least NME on validation people is kept.

    Raises:
        EdgeError: Bad settings or data, a loss that is not finite, a full disk.
    """
    RunFolder.require_ready(job.out, resume=resume)
    settings, config = job.settings, job.config
    augments = landmark_augments(settings.strength, settings.augment)
    train.prepare(settings)
    tell(f"reading {job.data}", verbose)
    shown, held = read_face_points(job.data).split(job.val_fraction, 0)
    training, validation = shown.split(VAL_FRACTION, VAL_SEED)
    tell(
        f"{format_count(len(training), 'face')} to learn from, {len(validation)} choose the epoch, "
        f"{len(held)} held back",
        verbose,
    )
    tell("aligning faces", verbose)
    source = AlignedFaces.of(training, config, settings.batch, augments, settings.seed)
    images, points = crop_as_found(validation, config)
    side = "x".join(map(str, config.input_wh))
    tell(f"building the network: input {side}, {settings.epochs} epochs", verbose)
    network = build(config)
    _, placed = crop_as_found(training, config)
    begin_with(network, placed.mean(axis=0))
    config_json = build_run_config(
        KIND, config, None, settings, paths=[str(job.data)], hold=job.val_fraction
    )
    about = {
        "data_sha256": shown.sha256(), "pictures": len(training), "held_back": len(held),
    }  # fmt: skip
    folder = RunFolder.begin(job.out, config_json, about, resume=resume)
    train.train(
        folder, LandmarkTask(network, config), settings, source,
        lambda model: compute_metrics(model, images, points), METRIC,
        finish=to_keras_batch, verbose=verbose,
    )  # fmt: skip
    return folder
