"""Training a detector: data, network, initial weights, frozen layers, fit, metrics."""

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
from trainers.data.boxes_inside import require_inside, tell_dark
from trainers.data.dataset import Dataset, describe_split
from trainers.data.near_duplicates import drop_near_duplicates
from trainers.data.parts import Parts, split_parts
from trainers.data.read import read_dataset
from trainers.input import feature_cache
from trainers.input.feature_cache import FeatureCache
from trainers.input.pipeline import Batch, BatchSource, build_batches, identity
from trainers.losses.detection import LossConfig
from trainers.losses.detection_task import YoloTask
from trainers.metrics.detection import evaluate
from trainers.networks import anchors
from trainers.networks.config import NetworkConfig
from trainers.networks.predict import Predictor, load_pictures
from trainers.networks.yolo import build
from trainers.pseudo_labels import Teacher, add_teacher_labels, label_into_run
from trainers.run import train
from trainers.run.folder import RunFolder, build_run_config
from trainers.run.job import Job
from trainers.run.tell import tell, tell_notes
from trainers.weights import transfer

METRIC = "ap50"
_MIN_OBJECT_PX = 48  # longer side of an object in the network, where the input size is chosen
_INPUT_SIDES = (160, 416)
_MANY_IMAGES = 300  # from which all of a network is trained
AUTO = "auto"  # of the frozen part: by the size of the data
_STEPS_FROM_SCRATCH, _STEPS_TRANSFERRED = 2400, 640


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorJob(Job):
    """One training of a detector, complete.

    Attributes:
        data: Data sets in any known format; classes are united by name.
        classes: Classes to learn, in this order; all unless given.
        start_classes: Classes of the outputs of ``start``; empty where the file names them or is
            YOLOX.
        start_only: Prefixes of the layers that take weights from ``start``; all unless given.
        start_partial: Accept a ``start`` of which less than half of the layers fit.
        network: The network to build; its classes and anchors come from the data.
        choose_size: Choose the input size from the data, see `choose_input_size`.
        choose_epochs: Choose the number of epochs from the data, see `choose_epoch_count`.
        head: ``free``, or ``anchor`` with anchors fitted to the training data.
        cache: Folder of cached images.
        devices: Number of devices to train on.
        teacher: Completes the labels of the training data and labels ``unlabeled``.
        unlabeled: Images, videos or folders of them that only the teacher labels.
    """

    data: tuple[Path, ...]
    classes: tuple[str, ...] = ()
    split_seed: int = 0
    start_classes: tuple[str, ...] = ()
    start_only: tuple[str, ...] = ()
    start_partial: bool = False
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(("object",)))
    head: Literal["free", "anchor"] = "free"
    loss: LossConfig = field(default_factory=LossConfig)
    cache: Path | None = None
    devices: int = 1
    choose_size: bool = False
    choose_epochs: bool = False
    teacher: Teacher | None = None
    unlabeled: tuple[Path, ...] = ()


def read_parts(job: DetectorJob, verbose: int = 0) -> Parts:
    """Read the data and split them; near-duplicates are on one side.

    What was read in another way than written, or is not learned, is told unless ``verbose`` is 0.

    Raises:
        ConfigError: The data is empty or unreadable, or lacks a class.
    """
    if not job.data:
        raise ConfigError("No data set was given: name at least one.")
    tell(f"reading {', '.join(map(str, job.data))}", verbose)
    whole = read_dataset(job.data[0])
    for path in job.data[1:]:
        whole = whole + read_dataset(path)
    if job.teacher is not None and job.classes:  # the teacher may know classes the data lacks
        whole = whole + Dataset(job.teacher.classes, ())
    whole = (whole.select(job.classes) if job.classes else whole).require_examples()
    tell(f"{len(whole)} pictures with {sum(map(len, whole.examples))} objects: splitting", verbose)
    parts = split_parts(whole, job.val_fraction, job.test_fraction, job.split_seed)
    training, validation, test = parts
    lost = [*require_inside(training.require_examples()), *tell_dark(whole.examples)]
    tell_notes((*training.notes, *lost), verbose)
    left_out = len(whole) - len(training) - len(validation) - len(test or ())
    others = parts.describe_test() + (f", {left_out} on neither side" if left_out else "")
    tell(f"{len(training)} to learn from, {len(validation)} held back{others}", verbose)
    return parts


def apply_data_defaults(job: DetectorJob, training: Dataset) -> DetectorJob:
    """The job with what its settings file says of the network, and what the data decide.

    Raises:
        ConfigError: The settings file names an activation, and the run starts from weights.
    """
    network, settings = job.network, job.settings
    if settings.activation:
        settings.require_new(transferred=job.start is not None)
        network = replace(network, activation=settings.activation)
    if job.choose_size:
        side = choose_input_size(training)
        network = replace(network, input_wh=(side, side))
    if job.choose_epochs:
        steps = len(training) // settings.batch
        epochs = choose_epoch_count(steps, transferred=job.start is not None)
        settings = replace(settings, epochs=epochs)
    if settings.freeze == AUTO:
        settings = replace(
            settings, freeze=choose_freeze(len(training), transferred=job.start is not None)
        )
    return replace(job, network=network, settings=settings)


def choose_input_size(dataset: Dataset) -> int:
    """The smallest input side at which nine of ten objects are ``_MIN_OBJECT_PX`` long.

    A step costs as much as the area of the input, and many cheap steps teach more than a few
    expensive ones: 200 photographs of raccoons are learned at 160 pixels, and hardly at 416.
    """
    ratios = [
        (e.xyxy[:, 2:] - e.xyxy[:, :2]).max(1) / max(e.size_wh) for e in dataset.examples if len(e)
    ]
    side = _MIN_OBJECT_PX / max(float(np.quantile(np.concatenate(ratios), 0.1)), 1e-6)
    return int(np.clip(np.ceil(side / 32) * 32, *_INPUT_SIDES))


def choose_epoch_count(steps: int, *, transferred: bool) -> int:
    """Epochs of ``steps`` steps after which a run has learned what the data offers."""
    total = _STEPS_TRANSFERRED if transferred else _STEPS_FROM_SCRATCH
    return int(np.clip(round(total / max(steps, 1)), 10 if transferred else 30, 300))


def choose_freeze(images: int, *, transferred: bool) -> str:
    """What stays as it was, by the size of the data: few images change little without harm."""
    return "backbone" if transferred and images < _MANY_IMAGES else "none"


def complete_config(job: DetectorJob, training: Dataset) -> NetworkConfig:
    """The network for this data: its classes, and anchors for an anchor head."""
    network = job.network
    if job.head != "anchor":
        return replace(network, classes=training.classes)
    sizes = []
    for example in training.examples:
        scale = min(a / b for a, b in zip(network.input_wh, example.size_wh, strict=True))
        sizes.append((example.xyxy[:, 2:] - example.xyxy[:, :2]) * scale)
    anchors_wh = anchors.fit_anchors(np.concatenate(sizes), job.settings.seed)
    return replace(network, classes=training.classes, head="anchor", anchors_wh=anchors_wh)


def to_keras_batch(batch: Batch) -> tuple[Any, dict[str, Any]]:
    """A batch as ``fit`` takes it: images and labels."""
    return batch["images"], {k: v for k, v in batch.items() if k != "images"}


def compute_metrics(
    network: keras.Model, config: NetworkConfig, validation: Dataset
) -> dict[str, float]:
    """Average precision on the validation data."""
    predictor = Predictor(network, config)
    detections = [
        d for pictures in load_pictures(validation.examples) for d in predictor.detect(pictures)
    ]
    summary = evaluate(validation.examples, detections, validation.classes).summary()
    return {name: value for name, value in summary.items() if np.isfinite(value)} | {
        METRIC: float(np.nan_to_num(summary[METRIC]))
    }


def prepare_network(
    job: DetectorJob, training: Dataset, verbose: int = 0
) -> tuple[keras.Model, NetworkConfig]:
    """Build the network, give it initial weights and freeze layers."""
    config = complete_config(job, training)
    network = build(config)
    if job.start is not None:
        report = transfer.start_from(
            network, config, job.start, job.start_classes, job.start_only,
            partial=job.start_partial,
        )  # fmt: skip
        tell(report.describe(job.start), verbose)
        refuse_frozen_chance(report, job.settings.freeze)
    trained = transfer.freeze(network, job.settings.freeze)
    if job.start is not None:
        tell(describe_regime(job.settings.freeze, trained, len(training)), verbose)
    return network, config


def refuse_frozen_chance(report: transfer.TransferReport, freeze: str) -> None:
    """Raise a `ConfigError` if layers would stay as chance made them."""
    anew = [name for name in report.left if not name.endswith("_pred")]
    if freeze == "all" and 2 * len(anew) > len(report.loaded):
        raise ConfigError(
            f"--freeze all would keep {len(anew)} layers as chance made them ({anew[0]}): use "
            "--freeze backbone."
        )


def describe_regime(freeze: str, trained: int, images: int) -> str:
    """What is frozen, and what the size of the data would have it be."""
    proposed = choose_freeze(images, transferred=True)
    said = f"--freeze {freeze}: {trained:,} weights are trained"
    if proposed == freeze:
        return said
    return f"{said}; for {images} images --freeze {proposed} is usual, or auto, which chooses it"


def fit(
    job: DetectorJob, kind: str, parts: Parts, augment: Sequence[Augment],
    validate: Callable[[keras.Model, NetworkConfig, Dataset], dict[str, float]],
    metric: str, *, resume: bool = False, verbose: int = 0,
) -> RunFolder:  # fmt: skip
    """Train, validate and test on the parts; shared by detectors and face detectors.

    Raises:
        EdgeError: Bad settings or data, a loss that is not finite, a full disk.
    """
    training, validation, test = parts
    job = apply_data_defaults(job, training)
    train.prepare(job.settings, job.devices)
    side = "x".join(map(str, job.network.input_wh))
    tell(f"building the network: input {side}, {job.settings.epochs} epochs", verbose)
    network, config = prepare_network(job, training, verbose)
    split = feature_cache.split_at_frozen(network) if job.settings.cache_features else None
    config_json = build_run_config(
        kind, config, job.loss, job.settings, paths=[str(p) for p in job.data],
        hold=job.val_fraction, test=job.test_fraction, split_seed=job.split_seed,
        start=str(job.start or ""), start_classes=list(job.start_classes),
        start_only=list(job.start_only),
    )  # fmt: skip
    about = describe_split(training, validation)
    folder = RunFolder.begin(job.out, config_json, about, resume=resume)
    images = build_batches(
        training, config.input_wh, job.settings.batch, augment, seed=job.settings.seed,
        cache=job.cache,
    )  # fmt: skip
    source: BatchSource = images
    finish: Callable[[Any], object] = to_keras_batch
    trained = None
    if split:
        frozen, trained = split
        source = FeatureCache.create(
            images, frozen, job.settings.cache_features, job.cache or folder.path / "features"
        )
        finish = identity
        folder.write("features.json", asdict(source.compute(verbose)))
    train.train(
        folder, YoloTask(network, config, job.loss, trained), job.settings, source,
        lambda model: validate(model, config, validation), metric, finish=finish, verbose=verbose,
    )  # fmt: skip
    if test:
        train.test(folder, lambda network: validate(network, config, test))
    return folder


def train_detector(job: DetectorJob, *, resume: bool = False, verbose: int = 0) -> RunFolder:
    """Train a detector; the network with the best AP50 on the validation data is kept.

    Raises:
        EdgeError: Bad settings or data, a loss that is not finite, a full disk.
    """
    RunFolder.require_ready(job.out, resume=resume)
    augments = detector_augments(job.settings.strength, job.settings.augment)
    parts = add_pseudo_labels(job, read_parts(job, verbose), resume=resume)
    return fit(
        job, "detect", parts, augments, compute_metrics, METRIC, resume=resume, verbose=verbose
    )


def add_pseudo_labels(job: DetectorJob, parts: Parts, *, resume: bool = False) -> Parts:
    """The training data with the teacher's labels; the other parts keep human labels only.

    Only classes that are learned are labeled. The labels of ``unlabeled`` are written into the
    run folder; near-duplicates of validation and test images are left out.

    Raises:
        ConfigError: The teacher knows none of the classes, a picture cannot be read, or the disk
            is full.
    """
    training, validation, test = parts
    if job.teacher is None:
        return parts
    if not set(job.teacher.classes) & set(training.classes):
        raise ConfigError(
            f"The teacher knows {', '.join(job.teacher.classes)}; the classes to learn are "
            f"{', '.join(training.classes)}: choose classes that both know (--classes)."
        )
    training = add_teacher_labels(training, job.teacher).select(training.classes)
    if job.unlabeled:
        labeled = label_into_run(job.unlabeled, job.out / "taught", job.teacher, resume=resume)
        new = (Dataset(training.classes, ()) + labeled).select(training.classes)
        held = (*validation.examples, *(test.examples if test else ()))
        fresh = drop_near_duplicates(new.examples, held)
        training = training + replace(new, examples=fresh)
    return parts._replace(training=training)
