"""Training a classifier of pictures or of parts of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from edge.compat import Self
from edge.errors import ConfigError
from edge.types import F32, U8
from trainers.augment.presets import class_augments
from trainers.data.class_data import (
    encode,
    list_crops,
    read_class_data,
    require_classes,
    require_one_class_each,
)
from trainers.data.dataset import Dataset, describe_split
from trainers.data.parts import Parts, split_parts
from trainers.detector import AUTO, choose_epoch_count, choose_freeze, describe_regime
from trainers.input.crops import ClassBatch, ClassBatches, load_crops
from trainers.metrics.classes import compute_metrics, find_temperature, to_probabilities
from trainers.networks.backbone import Tensor
from trainers.networks.classifier import build
from trainers.networks.config import ClassifierConfig, NetworkConfig
from trainers.run import train
from trainers.run.folder import RunFolder, build_run_config
from trainers.run.job import Job
from trainers.run.tell import tell, tell_notes
from trainers.weights import transfer

METRIC = "balanced_accuracy"
KIND = "classify"
_SMOOTHING = 0.05  # of labels: what people label is not certain
_MOST_WEIGHT = 10.0  # of a rare class
_BATCH = 64
_RATES = {"new": 2e-3, "transferred": 5e-4, "frozen": 1e-2}
_JITTER = 0.08  # of boxes: detectors draw them a little beside


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierJob(Job):
    """One training of a classifier, complete.

    Attributes:
        data: Class folders, tables or data sets of boxes; classes are united by name.
        classes: Classes to learn, in this order; all unless given.
        config: The network; its classes come from the data.
        choose_epochs: Choose the number of epochs from the data.
        choose_rate: Choose the learning rate by what is frozen.
        mirror: Whether a mirrored picture has the same class.
        start_partial: Accept a ``start`` of which less than half of the layers fit.
    """

    data: tuple[Path, ...]
    classes: tuple[str, ...] = ()
    config: ClassifierConfig = field(default_factory=lambda: ClassifierConfig(("a", "b")))
    choose_epochs: bool = False
    choose_rate: bool = False
    mirror: bool = True
    start_partial: bool = False


class ClassifierTask(keras.Model):
    """Wraps a network; ``x`` is uint8 ``(B, h, w, 3)``, ``y`` is ``(B, K)`` 0 or 1."""

    def __init__(self, network: keras.Model, config: ClassifierConfig, weight: F32) -> None:
        super().__init__(name="classifier_task")
        self.network = network
        self.config = config
        self._weight = weight  # (K,) of each class

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        """uint8 images -> ``(B, K)`` logits."""
        return self.network(ops.cast(images, "float32"), training=training)

    def compute_loss(self, x: Any, y: Any, y_pred: Any, *_: Any, **__: Any) -> Tensor:  # noqa: ANN401, ARG002
        """Cross-entropy, in which each class counts by its weight."""
        weight = ops.convert_to_tensor(self._weight)
        if self.config.independent:
            smooth = y * (1 - _SMOOTHING) + _SMOOTHING / 2
            each = ops.binary_crossentropy(smooth, y_pred, from_logits=True)
            return ops.mean(each * (1 + y * (weight - 1)))
        smooth = y * (1 - _SMOOTHING) + _SMOOTHING / y.shape[-1]
        each = ops.categorical_crossentropy(smooth, y_pred, from_logits=True)
        of_sample = ops.sum(y * weight, -1)
        return ops.sum(each * of_sample) / ops.sum(of_sample)

    def example(self) -> np.ndarray:
        """An input of one picture, to build with."""
        width, height = self.config.input_wh
        return np.zeros((1, height, width, 3), np.uint8)


def to_keras_batch(batch: ClassBatch) -> tuple[U8, F32]:
    """A batch as ``fit`` takes it."""
    return batch["images"], batch["labels"]


def weigh_classes(labels: F32, *, independent: bool) -> F32:
    """``(K,)`` weights that let rare classes count as much as frequent ones, up to a bound."""
    count = np.maximum(labels.sum(0), 1)
    weight = (len(labels) - count) / count if independent else len(labels) / (len(count) * count)
    return np.asarray(np.clip(weight, 1 / _MOST_WEIGHT, _MOST_WEIGHT), np.float32)


def read_parts(job: ClassifierJob, verbose: int = 0) -> Parts:
    """Read the data and split them; groups and near-duplicates are on one side.

    Raises:
        ConfigError: The data is empty or unreadable, or a class cannot be learned.
    """
    if not job.data:
        raise ConfigError("No data was given: name at least one folder or table.")
    tell(f"reading {', '.join(map(str, job.data))}", verbose)
    whole = read_class_data(job.data[0])
    for path in job.data[1:]:
        whole = whole + read_class_data(path)
    whole = whole.select(job.classes) if job.classes else whole
    if not job.config.independent:  # what shows none of the classes teaches nothing
        whole = require_one_class_each(whole)
    require_classes(whole.require_examples())
    parts = split_parts(whole, job.val_fraction, job.test_fraction)
    training, validation, test = parts
    require_classes(training)
    tell_notes(training.notes, verbose)
    tested = f", {len(list_crops(test))} for the test" if test else ""
    tell(
        f"{len(list_crops(training))} samples to learn from, {len(list_crops(validation))} held "
        f"back{tested}, {len(whole.classes)} classes",
        verbose,
    )
    return parts


def prepare_network(
    job: ClassifierJob, config: ClassifierConfig, samples: int, verbose: int = 0
) -> keras.Model:
    """Build the network, give it initial weights and freeze layers.

    Raises:
        ConfigError: Too little of ``start`` fits, or there is no such layer.
    """
    network = build(config)
    if job.start is not None:
        report = transfer.start_from(
            network, NetworkConfig(config.classes), job.start, partial=job.start_partial
        )
        tell(report.describe(job.start), verbose)
    trained = transfer.freeze(network, job.settings.freeze)
    if job.start is not None:
        tell(describe_regime(job.settings.freeze, trained, samples), verbose)
    return network


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Samples that a network is judged by, and the groups that they belong to."""

    images: U8
    labels: F32
    groups: Sequence[str]

    @classmethod
    def of(cls, part: Dataset, config: ClassifierConfig) -> Self:
        """The samples of a part."""
        images, labels = load_crops(part, config)
        return cls(images, labels, [part.examples[c.example].group for c in list_crops(part)])


def validate(
    network: keras.Model, config: ClassifierConfig, samples: Judged, temperature: float = 0.0
) -> dict[str, float]:
    """Metrics on samples; the temperature is found on them unless it is given."""
    logits = network.predict(samples.images.astype(np.float32), _BATCH, verbose=0)
    labels, independent = samples.labels, config.independent
    temperature = temperature or find_temperature(logits, labels, independent=independent)
    probabilities = to_probabilities(logits, temperature, independent=independent)
    found = compute_metrics(
        probabilities, labels, config.classes, samples.groups, independent=independent
    ).summary()
    finite = {name: value for name, value in found.items() if np.isfinite(value)}
    return {**finite, "temperature": temperature}


def train_classifier(job: ClassifierJob, *, resume: bool = False, verbose: int = 0) -> RunFolder:
    """Train; the network with the best balanced accuracy on held-out groups is kept.

    Raises:
        EdgeError: Bad settings or data, a loss that is not finite, a full disk.
    """
    RunFolder.require_ready(job.out, resume=resume)
    settings, transferred = job.settings, job.start is not None
    settings.require_new(transferred=transferred)
    augments = class_augments(settings.strength, settings.augment, mirror=job.mirror)
    training, validation, test = read_parts(job, verbose)
    activation = settings.activation or job.config.activation
    config = replace(job.config, classes=training.classes, activation=activation)
    samples = len(list_crops(training))
    if job.choose_epochs:
        epochs = choose_epoch_count(samples // settings.batch, transferred=transferred)
        settings = replace(settings, epochs=epochs)
    if settings.freeze == AUTO:
        settings = replace(settings, freeze=choose_freeze(samples, transferred=transferred))
    if job.choose_rate:
        rate = _RATES["frozen" if settings.freeze != "none" else "transferred"]
        settings = replace(settings, learning_rate=rate if transferred else _RATES["new"])
    job = replace(job, settings=settings)
    train.prepare(settings)
    side = "x".join(map(str, config.input_wh))
    tell(f"building the network: input {side}, {settings.epochs} epochs", verbose)
    network = prepare_network(job, config, samples, verbose)
    source = ClassBatches.of(
        training, config, settings.batch, augments, settings.seed, _JITTER * settings.strength
    )
    held = Judged.of(validation, config)
    learned = encode(source.crops, len(config.classes))
    config_json = build_run_config(
        KIND, config, None, settings, paths=[str(p) for p in job.data], hold=job.val_fraction,
        test=job.test_fraction, start=str(job.start or ""), mirror=job.mirror,
    )  # fmt: skip
    folder = RunFolder.begin(
        job.out, config_json, describe_split(training, validation), resume=resume
    )
    weight = weigh_classes(learned, independent=config.independent)
    train.train(
        folder, ClassifierTask(network, config, weight), settings, source,
        lambda model: validate(model, config, held), METRIC,
        finish=to_keras_batch, verbose=verbose,
    )  # fmt: skip
    temperature = _keep_temperature(folder, config_json)
    if test:
        judged = Judged.of(test, config)
        train.test(folder, lambda network: validate(network, config, judged, temperature))
    return folder


def _keep_temperature(folder: RunFolder, config_json: dict[str, Any]) -> float:
    """The temperature of the best epoch belongs to the network."""
    temperature: float = folder.read("metrics.json").get("temperature", 1.0)
    network = {**config_json["network"], "temperature": temperature}
    folder.write("config.json", {**config_json, "network": network})
    return temperature
