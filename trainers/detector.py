"""Training a detector: data, network, start, frozen parts, fit, figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from edge.errors import ConfigError
from edge.types import RgbPicture
from trainers import anchors, run, transfer
from trainers.augment import Augment
from trainers.data import Dataset
from trainers.likeness import grouped_by_look
from trainers.loader import Loader
from trainers.losses import LossConfig
from trainers.metrics import evaluate
from trainers.network import NetworkConfig, build
from trainers.pipeline import Batch, recipe
from trainers.predict import Finder
from trainers.reading import read_dataset
from trainers.recipes import detector_augments
from trainers.run import RunFolder, Settings
from trainers.task import YoloTask

FIGURE = "ap50"


@dataclass(frozen=True, slots=True)
class Job:
    """One training, whole.

    Attributes:
        data: data sets, in any format that is read; classes are united by name.
        out: the run folder.
        classes: which classes to learn, in this order; all unless given.
        hold: share held back by group; which, depends on ``split_seed`` and names alone.
        split_seed: of the split.
        start: a .keras, .h5 or .onnx file to start from.
        start_classes: what its class outputs mean; empty where the file says or it is YOLOX.
        network: what is built; its classes and anchors come from the data.
        head: ``free``, or ``anchor`` with anchors from the training part.
        loss: how the loss is weighed.
        settings: how it is trained.
        cache: folder of prepared pictures.
        devices: how many to train on.
    """

    data: tuple[Path, ...]
    out: Path
    classes: tuple[str, ...] = ()
    hold: float = 0.2
    split_seed: int = 0
    start: Path | None = None
    start_classes: tuple[str, ...] = ()
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(("object",)))
    head: Literal["free", "anchor"] = "free"
    loss: LossConfig = field(default_factory=LossConfig)
    settings: Settings = field(default_factory=Settings)
    cache: Path | None = None
    devices: int = 1


def read_parts(job: Job) -> tuple[Dataset, Dataset]:
    """The training part and the held-back part; pictures that look alike are on one side.

    Raises:
        ConfigError: empty, unreadable, or a class that the data lacks.
    """
    if not job.data:
        raise ConfigError("no data set was named")
    whole = read_dataset(job.data[0])
    for path in job.data[1:]:
        whole = whole + read_dataset(path)
    whole = (whole.select(job.classes) if job.classes else whole).require_examples()
    rest, held = split_of(whole, job.hold, job.split_seed)
    return rest.require_examples(), held


def split_of(dataset: Dataset, hold: float, seed: int = 0) -> tuple[Dataset, Dataset]:
    """The split that every trainer makes of a data set; fixed by names and looks alone."""
    return grouped_by_look(dataset).split(hold, seed)


def complete(job: Job, dataset: Dataset) -> NetworkConfig:
    """The network for this data: its classes, and anchors where the head wants them."""
    network = job.network
    if job.head != "anchor":
        return replace(network, classes=dataset.classes)
    sizes = []
    for example in dataset.examples:
        scale = min(a / b for a, b in zip(network.input_wh, example.size_wh, strict=True))
        sizes.append((example.xyxy[:, 2:] - example.xyxy[:, :2]) * scale)
    found = anchors.for_network(np.concatenate(sizes), job.settings.seed)
    return replace(network, classes=dataset.classes, head="anchor", anchors_wh=found)


def to_fit(batch: Batch) -> tuple[Any, dict[str, Any]]:
    """A batch as ``fit`` wants it: images and labels."""
    return batch["images"], {k: v for k, v in batch.items() if k != "images"}


def figures(network: keras.Model, config: NetworkConfig, held: Dataset) -> dict[str, float]:
    """Average precision on the held-back part."""
    finder = Finder(network, config)
    found = []
    for example in held.examples:  # one at a time: pictures are large
        found.append(finder(RgbPicture(example.load().image)))
    summary = evaluate(held.examples, found, held.classes).summary()
    return {name: value for name, value in summary.items() if np.isfinite(value)} | {
        FIGURE: float(np.nan_to_num(summary[FIGURE]))
    }


def prepare_network(job: Job, dataset: Dataset) -> tuple[keras.Model, NetworkConfig]:
    """Built, started from a file where asked, and frozen."""
    config = complete(job, dataset)
    network = build(config)
    if job.start is not None:
        transfer.start_from(network, config, job.start, job.start_classes)
    transfer.freeze(network, job.settings.freeze)
    return network, config


def fit(
    job: Job, kind: str, parts: tuple[Dataset, Dataset], augment: Sequence[Augment],
    validate: Callable[[keras.Model, NetworkConfig, Dataset], dict[str, float]],
    figure: str, *, resume: bool = False, verbose: int = 0,
) -> RunFolder:  # fmt: skip
    """Train on the first part, choose by the second: what detectors and faces share.

    Raises:
        EdgeError: bad settings or data, a loss that is no number, a full disk.
    """
    run.prepare(job.settings, job.devices)
    rest, held = parts
    network, config = prepare_network(job, rest)
    if resume:
        folder = RunFolder.open(job.out)
        _same_data(folder, rest)
    else:
        about = {"data_sha256": rest.sha256(), "pictures": len(rest), "held_back": len(held)}
        folder = RunFolder.create(job.out, _config(job, kind, config), about)
    made = recipe(
        rest, config.input_wh, job.settings.batch, augment, seed=job.settings.seed, cache=job.cache
    )
    loader = Loader(made, to_fit, threads=job.settings.threads, epoch=folder.last_epoch())
    try:
        run.train(
            folder, YoloTask(network, config, job.loss), job.settings, loader,
            lambda model: validate(model, config, held), figure, verbose,
        )  # fmt: skip
    finally:
        loader.close()
    return folder


def _config(job: Job, kind: str, config: NetworkConfig) -> run.Json:
    return run.config_of(
        kind, config, job.loss, job.settings, paths=[str(p) for p in job.data],
        hold=job.hold, split_seed=job.split_seed, start=str(job.start or ""),
        start_classes=list(job.start_classes),
    )  # fmt: skip


def _same_data(folder: RunFolder, rest: Dataset) -> None:
    if folder.read("about.json")["data_sha256"] != rest.sha256():
        raise ConfigError(
            f"{folder.path} was trained on other data: restore it, or begin a new run"
        )


def train_detector(job: Job, *, resume: bool = False, verbose: int = 0) -> RunFolder:
    """Train a detector; the best network by AP50 on the held-back part is kept.

    Raises:
        EdgeError: bad settings or data, a loss that is no number, a full disk.
    """
    return fit(
        job, "detect", read_parts(job), detector_augments(job.settings.strength), figures, FIGURE,
        resume=resume, verbose=verbose,
    )  # fmt: skip
