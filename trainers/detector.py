"""Training a detector: data, network, start, frozen parts, fit, figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from edge.errors import ConfigError
from trainers.augment.augment import Augment
from trainers.augment.presets import detector_augments
from trainers.data.dataset import Dataset
from trainers.data.near_duplicates import split_dataset, unlike
from trainers.data.read import read_dataset
from trainers.input import feature_cache as features
from trainers.input.feature_cache import Features
from trainers.input.loader import Loader
from trainers.input.pipeline import Batch, recipe
from trainers.losses.detection import LossConfig
from trainers.losses.detection_task import YoloTask
from trainers.metrics.detection import evaluate
from trainers.networks import anchors
from trainers.networks.config import NetworkConfig
from trainers.networks.predict import Finder, pictures_of
from trainers.networks.yolo import build
from trainers.pseudo_labels import Teacher, relabel, teach
from trainers.run import train
from trainers.run.folder import Json, RunFolder, config_of
from trainers.run.settings import Settings
from trainers.weights import transfer

FIGURE = "ap50"
_LEAST_PX = 48  # of an object's longer side, where the input's size is chosen
_SIDES = (160, 416)
_STEPS_FROM_NOTHING, _STEPS_STARTED = 2400, 640


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
        start_only: prefixes of the layers that take weights from it; all unless given.
        network: what is built; its classes and anchors come from the data.
        choose_size: the input's size comes from the data too, see ``fitting_size``.
        choose_epochs: and so do the epochs, see ``fitting_epochs``.
        head: ``free``, or ``anchor`` with anchors from the training part.
        loss: how the loss is weighed.
        settings: how it is trained.
        cache: folder of prepared pictures.
        devices: how many to train on.
        teacher: labels what the training part lacks, and ``unlabelled``.
        unlabelled: pictures, videos or folders of them that only the teacher labels.
    """

    data: tuple[Path, ...]
    out: Path
    classes: tuple[str, ...] = ()
    hold: float = 0.2
    split_seed: int = 0
    start: Path | None = None
    start_classes: tuple[str, ...] = ()
    start_only: tuple[str, ...] = ()
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(("object",)))
    head: Literal["free", "anchor"] = "free"
    loss: LossConfig = field(default_factory=LossConfig)
    settings: Settings = field(default_factory=Settings)
    cache: Path | None = None
    devices: int = 1
    choose_size: bool = False
    choose_epochs: bool = False
    teacher: Teacher | None = None
    unlabelled: tuple[Path, ...] = ()


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
    if job.teacher is not None and job.classes:  # may know what the data lack
        whole = whole + Dataset(job.teacher.classes, ())
    whole = (whole.select(job.classes) if job.classes else whole).require_examples()
    rest, held = split_dataset(whole, job.hold, job.split_seed)
    return rest.require_examples(), held


def settled(job: Job, dataset: Dataset) -> Job:
    """The job with what was left to the data."""
    network, settings = job.network, job.settings
    if job.choose_size:
        side = fitting_size(dataset)
        network = replace(network, input_wh=(side, side))
    if job.choose_epochs:
        epochs = fitting_epochs(len(dataset) // settings.batch, started=job.start is not None)
        settings = replace(settings, epochs=epochs)
    return replace(job, network=network, settings=settings)


def fitting_size(dataset: Dataset) -> int:
    """The smallest input in which nine of ten objects are ``_LEAST_PX`` long.

    A step costs as much as the input's area, and many cheap steps teach more than a few dear
    ones: 200 photographs of raccoons are learnt at 160 pixels, and hardly at 416.
    """
    share = [
        (e.xyxy[:, 2:] - e.xyxy[:, :2]).max(1) / max(e.size_wh) for e in dataset.examples if len(e)
    ]
    side = _LEAST_PX / max(float(np.quantile(np.concatenate(share), 0.1)), 1e-6)
    return int(np.clip(np.ceil(side / 32) * 32, *_SIDES))


def fitting_epochs(steps: int, *, started: bool) -> int:
    """As many epochs of ``steps`` steps as make a run that has learnt what the data give."""
    wanted = _STEPS_STARTED if started else _STEPS_FROM_NOTHING
    return int(np.clip(round(wanted / max(steps, 1)), 10 if started else 30, 300))


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
    found = [d for pictures in pictures_of(held.examples) for d in finder.detect(pictures)]
    summary = evaluate(held.examples, found, held.classes).summary()
    return {name: value for name, value in summary.items() if np.isfinite(value)} | {
        FIGURE: float(np.nan_to_num(summary[FIGURE]))
    }


def prepare_network(job: Job, dataset: Dataset) -> tuple[keras.Model, NetworkConfig]:
    """Built, started from a file where asked, and frozen."""
    config = complete(job, dataset)
    network = build(config)
    if job.start is not None:
        transfer.start_from(network, config, job.start, job.start_classes, job.start_only)
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
    rest, held = parts
    job = settled(job, rest)
    train.prepare(job.settings, job.devices)
    network, config = prepare_network(job, rest)
    ends = features.split(network) if job.settings.cache_features else None
    if resume:
        folder = RunFolder.open(job.out).require_data(rest.sha256())
    else:
        about = {"data_sha256": rest.sha256(), "pictures": len(rest), "held_back": len(held)}
        folder = RunFolder.create(job.out, _config(job, kind, config), about)
    made = recipe(
        rest, config.input_wh, job.settings.batch, augment, seed=job.settings.seed, cache=job.cache
    )
    options = {"threads": job.settings.threads, "epoch": folder.last_epoch()}
    if ends:
        front, trained = ends
        kept = Features.of(
            made, front, job.settings.cache_features, job.cache or folder.path / "features"
        )
        folder.write("features.json", asdict(kept.compute(verbose)))
        task, loader = YoloTask(network, config, job.loss, trained), Loader(kept, **options)
    else:
        task, loader = YoloTask(network, config, job.loss), Loader(made, to_fit, **options)
    try:
        train.train(
            folder, task, job.settings, loader, lambda model: validate(model, config, held),
            figure, verbose,
        )  # fmt: skip
    finally:
        loader.close()
    return folder


def _config(job: Job, kind: str, config: NetworkConfig) -> Json:
    return config_of(
        kind, config, job.loss, job.settings, paths=[str(p) for p in job.data],
        hold=job.hold, split_seed=job.split_seed, start=str(job.start or ""),
        start_classes=list(job.start_classes), start_only=list(job.start_only),
    )  # fmt: skip


def train_detector(job: Job, *, resume: bool = False, verbose: int = 0) -> RunFolder:
    """Train a detector; the best network by AP50 on the held-back part is kept.

    Raises:
        EdgeError: bad settings or data, a loss that is no number, a full disk.
    """
    RunFolder.require_ready(job.out, resume=resume)
    parts = taught(job, read_parts(job), resume=resume)
    return fit(
        job, "detect", parts, detector_augments(job.settings.strength), figures, FIGURE,
        resume=resume, verbose=verbose,
    )  # fmt: skip


def taught(
    job: Job, parts: tuple[Dataset, Dataset], *, resume: bool = False
) -> tuple[Dataset, Dataset]:
    """The training part with what the teacher knows; the held-back part stays a person's.

    The teacher speaks of the classes that are learnt only. What it is given unlabelled is
    written into the run folder; pictures that look like one held back are left out.

    Raises:
        ConfigError: the teacher knows nothing of it, a picture cannot be read, or the disk is
            full.
    """
    rest, held = parts
    if job.teacher is None:
        return parts
    if not set(job.teacher.classes) & set(rest.classes):
        raise ConfigError(
            f"the teacher knows {', '.join(job.teacher.classes)}, and {', '.join(rest.classes)} "
            "is to be learnt: choose classes that both know (--classes)"
        )
    rest = teach(rest, job.teacher).select(rest.classes)
    if job.unlabelled:
        found = relabel(job.unlabelled, job.out / "taught", job.teacher, resume=resume)
        new = (Dataset(rest.classes, ()) + found).select(rest.classes)
        rest = rest + replace(new, examples=unlike(new.examples, held.examples))
    return rest, held
