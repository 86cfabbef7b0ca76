"""Training an embedder: portraits, an encoder, perhaps a teacher, metrics across videos.

A fifth of the people is held out for the final evaluation and never seen. Of the others a tenth
chooses the best epoch: their identities are not learned, their faces are used only where a teacher
needs no identities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import keras
import numpy as np

from edge.errors import ConfigError
from edge.models.embedder import ContractEmbedder
from edge.ports import FaceFinder
from edge.printable import format_count
from trainers.data.portraits import Portraits, read_portraits
from trainers.input.distillation import (
    BalancedBatches,
    BatchPlan,
    DistillationSet,
    build_distillation_set,
)
from trainers.losses.embedding import EmbedTask, ObjectiveConfig
from trainers.metrics.verification import across_videos, auc, threshold_at
from trainers.networks.config import EncoderConfig
from trainers.networks.mobilefacenet import Fading, build, set_remaining_slope
from trainers.run import train
from trainers.run.folder import Json, RunFolder, build_run_config
from trainers.run.job import Job
from trainers.run.tell import tell, tell_notes
from trainers.weights import mobilefacenet

METRIC = "score"
VAL_FRACTION, VAL_SEED = 0.1, 1  # of the training people, who choose the best epoch
THRESHOLD_FAR = 1e-3  # false accept rate of the threshold
_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderJob(Job):
    """One training of an embedder, complete; ``settings.batch`` counts faces.

    Attributes:
        data: Portraits with videos; ``val_fraction`` of their people is held out.
        more: More portraits to train on, of which none are held out.
        images_per_person: Images of a person in a batch.
        teacher: An adopted embedder; required by the loss of that name.
        distillation_images: Number of faces the teacher embeds.
        max_images: Images per epoch; 0 is the whole set.
        fade: Epochs in which the PReLU slopes of ``start`` fade to 0; 0 keeps PReLU.
        finder: Detects the faces in portraits without landmarks.
        cache: Folder of the teacher's embeddings.
    """

    data: Path
    more: tuple[Path, ...] = ()
    network: EncoderConfig = field(default_factory=EncoderConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    images_per_person: int = 4
    teacher: ContractEmbedder | None = None
    distillation_images: int = 20_000
    max_images: int = 0
    fade: float = 4.5
    finder: FaceFinder | None = None
    cache: Path | None = None

    def __post_init__(self) -> None:
        self.settings.require_preset("an embedder")
        if self.objective.weight("teacher") and self.teacher is None:
            raise ConfigError("--loss teacher needs --teacher, an adopted embedder.")
        least = 2 * self.images_per_person
        if self.needs_people and self.settings.batch < least:
            raise ConfigError(
                f"--batch must be at least {least}, two people with {self.images_per_person} "
                f"images each (--images-per-person), got {self.settings.batch}."
            )

    @property
    def needs_people(self) -> bool:
        """Whether a loss learns from identities."""
        return any(self.objective.weight(n) for n in ("triplet", "binary", "margin"))


@dataclass(frozen=True, slots=True, eq=False)
class EmbedderSplit:
    """The training portraits and the roles of their people.

    Attributes:
        portraits: Everything that may be shown.
        train_people: People whose identities are learned.
        val_people: People who choose the best epoch.
    """

    portraits: Portraits
    train_people: set[int]
    val_people: list[int]

    @property
    def val_portraits(self) -> Portraits:
        """Portraits of the validation people."""
        return self.portraits.select_people(self.val_people)

    def select_val_rows(self, rows: np.ndarray) -> np.ndarray:
        """The validation people's rows of an array that begins with a row per portrait."""
        return rows[np.flatnonzero(np.isin(self.portraits.person, self.val_people))]


def read_parts(job: EmbedderJob) -> EmbedderSplit:
    """Read the portraits and split their people.

    Raises:
        ConfigError: The data is unreadable, or has too few people.
    """
    resampling = job.network.resampling
    portraits, _ = read_portraits(job.data, job.finder, resampling).split(job.val_fraction)
    _, validation = portraits.split(VAL_FRACTION, VAL_SEED)
    for path in job.more:
        portraits = portraits + read_portraits(path, job.finder, resampling)
    val_people = [portraits.names.index(name) for name in validation.names]
    return EmbedderSplit(portraits, set(range(len(portraits.names))) - set(val_people), val_people)


def prepare_network(job: EmbedderJob, split: EmbedderSplit) -> tuple[keras.Model, EncoderConfig]:
    """Build the encoder and give it initial weights."""
    config = job.network
    if job.start is None:
        return build(config), config
    fades = job.fade > 0
    config = replace(config, norm="none", fading=fades, activation="relu" if fades else "prelu")
    network = build(config)
    rows = np.linspace(0, len(split.portraits) - 1, 96).astype(int)
    original = mobilefacenet.read_parts(job.start)
    pruned = mobilefacenet.prune_channels(original, config, split.portraits.crops[rows])
    mobilefacenet.assign_weights(network, pruned)
    return network, config


def build_batch_plan(job: EmbedderJob, faces: DistillationSet) -> BatchPlan:
    """The batch: half of it known people where a loss needs identities beside the teacher."""
    batch, each = job.settings.batch, job.images_per_person
    known = 0
    if job.needs_people:
        known = batch // 2 if job.objective.weight("teacher") else batch
    people = known // each
    return BatchPlan(
        people, each, batch - people * each, job.max_images or len(faces), seed=job.settings.seed
    )


class FadeSlopes(keras.callbacks.Callback):
    """Fades the PReLU slopes in ``steps`` steps; the last part of the training has none."""

    def __init__(self, steps: int, epoch_steps: int) -> None:
        super().__init__()
        self._steps, self._epoch_steps, self._done = max(steps, 1), epoch_steps, 0

    def on_epoch_begin(self, epoch: int, logs: Json | None = None) -> None:  # noqa: ARG002
        """Start where a resumed run stands."""
        self._done = epoch * self._epoch_steps
        self._set()

    def on_train_batch_end(self, batch: int, logs: Json | None = None) -> None:  # noqa: ARG002
        """Fade every few steps."""
        self._done += 1
        if self._done % 10 == 0 or self._done == self._steps:
            self._set()

    def _set(self) -> None:
        set_remaining_slope(self.model.network, max(0.0, 1 - self._done / self._steps))


def embed(network: keras.Model, portraits: Portraits) -> np.ndarray:
    """``(N, D)`` embeddings of unit length."""
    embeddings: np.ndarray = network.predict(portraits.crops, _BATCH, verbose=0)
    return embeddings


def compute_metrics(
    network: keras.Model, portraits: Portraits, teacher: np.ndarray | None = None
) -> dict[str, float]:
    """How well people are told apart, and the similarity to the teacher's ``(N, D)`` embeddings.

    With a teacher the similarity decides, because it hardly depends on which few people were
    chosen. Slopes that have not faded yet count against a network.
    """
    embeddings = embed(network, portraits)
    pairs = across_videos(embeddings, portraits.person, portraits.video)
    metrics = {"auc": auc(pairs.genuine, pairs.impostor)}
    if teacher is not None:
        metrics["cosine"] = float(np.mean(np.sum(embeddings * teacher, 1)))
    return {**metrics, METRIC: [*metrics.values()][-1] - get_remaining_slope(network)}


def get_remaining_slope(network: keras.Model) -> float:
    """The remaining fraction of the slopes, 0 without any."""
    remaining = [layer.left for layer in network.layers if isinstance(layer, Fading)]
    return float(keras.ops.convert_to_numpy(remaining[0])) if remaining else 0.0


def remove_fading(network: keras.Model, config: EncoderConfig) -> tuple[keras.Model, EncoderConfig]:
    """The same encoder without fading activations, once their slopes are gone.

    Raises:
        ConfigError: They are not gone yet.
    """
    if not any(isinstance(layer, Fading) for layer in network.layers):
        return network, replace(config, fading=False)
    if get_remaining_slope(network):
        raise ConfigError("The slopes have not faded yet: train to the end (--resume).")
    plain = replace(config, fading=False)
    bare = build(plain)
    for layer in bare.layers:
        if layer.weights:
            layer.set_weights(network.get_layer(layer.name).get_weights())
    return bare, plain


def train_embedder(job: EmbedderJob, *, resume: bool = False, verbose: int = 0) -> RunFolder:
    """Train an embedder; the network that is best across videos of validation people is kept.

    Raises:
        EdgeError: Bad settings or data, a loss that is not finite, a full disk.
    """
    RunFolder.require_ready(job.out, resume=resume)
    train.prepare(job.settings)
    tell(f"reading {', '.join(map(str, (job.data, *job.more)))}", verbose)
    split = read_parts(job)
    learned, held = len(split.train_people), len(split.val_portraits.names)
    tell_notes(split.portraits.notes, verbose)
    tell(f"{format_count(learned, 'person', 'people')} to learn from, {held} held back", verbose)
    tell(f"{'embedding with the teacher, ' if job.teacher else ''}aligning faces", verbose)
    faces = build_distillation_set(
        split.portraits, split.train_people, job.teacher, job.distillation_images,
        job.settings.seed, job.cache,
    )  # fmt: skip
    tell(f"building the network: {job.settings.epochs} epochs", verbose)
    network, config = prepare_network(job, split)
    config_json = build_run_config(
        "embed", config, job.objective, job.settings, paths=[str(job.data), *map(str, job.more)],
        hold=job.val_fraction, start=str(job.start or ""),
        teacher=job.teacher.name if job.teacher else "", lessons=job.distillation_images,
        each=job.images_per_person, fade=job.fade,
    )  # fmt: skip
    about = {
        "data_sha256": split.portraits.sha256(), "pictures": len(split.portraits),
        "people": len(split.portraits.names), "objective": asdict(job.objective),
    }  # fmt: skip
    folder = RunFolder.begin(job.out, config_json, about, resume=resume)
    source = BalancedBatches(faces, build_batch_plan(job, faces))
    extra: Sequence[keras.callbacks.Callback] = (
        [FadeSlopes(int(job.fade * source.steps), source.steps)] if config.fading else []
    )
    portraits = split.val_portraits
    teacher = split.select_val_rows(faces.teacher) if job.objective.weight("teacher") else None
    train.train(
        folder, EmbedTask(network, job.objective, len(split.portraits.names)), job.settings,
        source, lambda model: compute_metrics(model, portraits, teacher), METRIC,
        verbose=verbose, extra=extra,
    )  # fmt: skip
    finish(folder, portraits)
    return folder


def finish(folder: RunFolder, portraits: Portraits) -> None:
    """Save the best network without fading activations, and its threshold for two images."""
    values = folder.read("config.json")
    best, config = folder.load_with_config(EncoderConfig)
    pairs = across_videos(embed(best, portraits), portraits.person, portraits.video)
    threshold = threshold_at(pairs.impostor, THRESHOLD_FAR)
    folder.write("metrics.json", {**folder.read("metrics.json"), "threshold": threshold})
    if not get_remaining_slope(best):
        network, plain = remove_fading(best, config)
        folder.save(network)
        folder.write("config.json", {**values, "network": plain.to_json()})
