"""Training an embedder: portraits, a teacher perhaps, an encoder, fit, figures across videos.

A fifth of the people is held back for measuring and never seen. Of the others a tenth chooses the
best epoch: their names are not learned, their faces serve as lessons only where a teacher asks for
no names.
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
from trainers.data.portraits import HOLD, Portraits, read_portraits
from trainers.input.distillation import Balanced, Lessons, Plan, lessons_of
from trainers.losses.embedding import EmbedTask, ObjectiveConfig
from trainers.metrics.verification import across_videos, auc, threshold_at
from trainers.networks.config import EncoderConfig
from trainers.networks.mobilefacenet import Fading, build, set_left
from trainers.run import train
from trainers.run.folder import Json, RunFolder, config_of
from trainers.run.settings import Settings
from trainers.weights import mobilefacenet

FIGURE = "score"
CHOOSE, CHOOSE_SEED = 0.1, 1  # share of the people who choose the epoch
THRESHOLD_FAR = 1e-3  # at which the threshold lets strangers pass for each other
_BATCH = 64


@dataclass(frozen=True, slots=True)
class Job:
    """One training of an embedder.

    Attributes:
        data: portraits with their videos; a fifth of their people is held back.
        out: the run folder.
        more: portraits nobody is measured on.
        hold: share of the people of ``data`` that is held back.
        network: the encoder.
        objective: its losses.
        settings: how it is trained; ``batch`` counts faces.
        each: pictures of a person in a batch.
        start: a MobileFaceNet's ONNX file to start from.
        teacher: an adopted embedder; needed by the loss of that name.
        lessons: with a teacher, how many faces it is asked about.
        pictures: an epoch's; 0 takes every lesson once.
        fade: epochs in which the slopes of the start's PReLU fade.
        finder: finds the faces whose points nobody labelled.
        cache: folder for the teacher's answers.
    """

    data: Path
    out: Path
    more: tuple[Path, ...] = ()
    hold: float = HOLD
    network: EncoderConfig = field(default_factory=EncoderConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    settings: Settings = field(default_factory=Settings)
    each: int = 4
    start: Path | None = None
    teacher: ContractEmbedder | None = None
    lessons: int = 20_000
    pictures: int = 0
    fade: float = 4.5
    finder: FaceFinder | None = None
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.objective.weight("teacher") and self.teacher is None:
            raise ConfigError("--loss teacher: needs --teacher, an adopted embedder")
        if self.needs_people and self.settings.batch < 2 * self.each:
            raise ConfigError(
                f"--batch must be at least {2 * self.each}, two people with --each {self.each} "
                f"pictures, got {self.settings.batch}"
            )

    @property
    def needs_people(self) -> bool:
        """Whether a loss learns from names."""
        return any(self.objective.weight(n) for n in ("triplet", "binary", "margin"))


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Who does what: shown as lessons, of whom some are learned by name, others choose."""

    shown: Portraits
    learners: set[int]
    choosers: list[int]

    @property
    def choosing(self) -> Portraits:
        """The portraits that choose."""
        return self.shown.of_people(self.choosers)

    def of_choosing(self, rows: np.ndarray) -> np.ndarray:
        """Their rows of something that begins with a row a portrait shown."""
        return rows[np.flatnonzero(np.isin(self.shown.person, self.choosers))]


def read_parts(job: Job) -> Parts:
    """Read the data and part the people.

    Raises:
        ConfigError: unreadable, or too few people.
    """
    rest, _ = read_portraits(job.data, job.finder).split(job.hold)
    _, choosing = rest.split(CHOOSE, CHOOSE_SEED)
    shown = rest
    for path in job.more:
        shown = shown + read_portraits(path, job.finder)
    choosers = [shown.names.index(name) for name in choosing.names]
    return Parts(shown, set(range(len(shown.names))) - set(choosers), choosers)


def prepare_network(job: Job, parts: Parts) -> tuple[keras.Model, EncoderConfig]:
    """Built, and started from the file where asked."""
    config = job.network
    if job.start is None:
        return build(config), config
    config = replace(config, norm="none", fading=True)
    network = build(config)
    rows = np.linspace(0, len(parts.shown) - 1, 96).astype(int)
    found = mobilefacenet.read_parts(job.start)
    mobilefacenet.put(network, mobilefacenet.thinned(found, config, parts.shown.crops[rows]))
    return network, config


def plan_of(job: Job, lessons: Lessons) -> Plan:
    """The batch: half of it people by name where a loss wants names beside the teacher."""
    batch = job.settings.batch
    named = 0
    if job.needs_people:
        named = batch // 2 if job.objective.weight("teacher") else batch
    people = named // job.each
    return Plan(
        people, job.each, batch - people * job.each, job.pictures or len(lessons),
        seed=job.settings.seed,
    )  # fmt: skip


class Fade(keras.callbacks.Callback):
    """Takes the slopes away step by step; the last part of the training goes without."""

    def __init__(self, steps: int, epoch_steps: int) -> None:
        """Args: in how many steps they fade, and how many an epoch has."""
        super().__init__()
        self._steps, self._epoch_steps, self._done = max(steps, 1), epoch_steps, 0

    def on_epoch_begin(self, epoch: int, logs: Json | None = None) -> None:  # noqa: ARG002
        """Where a resumed run stands."""
        self._done = epoch * self._epoch_steps
        self._set()

    def on_train_batch_end(self, batch: int, logs: Json | None = None) -> None:  # noqa: ARG002
        """A little less."""
        self._done += 1
        if self._done % 10 == 0 or self._done == self._steps:
            self._set()

    def _set(self) -> None:
        set_left(self.model.network, max(0.0, 1 - self._done / self._steps))


def embed(network: keras.Model, portraits: Portraits) -> np.ndarray:
    """``(N, D)`` of unit length."""
    return network.predict(portraits.crops, _BATCH, verbose=0)


def figures(
    network: keras.Model, choosing: Portraits, taught: np.ndarray | None = None
) -> dict[str, float]:
    """How well the people who choose are told apart, and how near the teacher is.

    The nearness decides where there is a teacher, for it hardly depends on who happens to be
    among so few people; an unfinished network counts for less.

    Args:
        network: the encoder.
        choosing: portraits.
        taught: ``(N, D)`` what the teacher says of them.
    """
    embeddings = embed(network, choosing)
    pairs = across_videos(embeddings, choosing.person, choosing.video)
    found = {"auc": auc(pairs.genuine, pairs.impostor)}
    if taught is not None:
        found["cosine"] = float(np.mean(np.sum(embeddings * taught, 1)))
    return {**found, FIGURE: [*found.values()][-1] - slopes_left(network)}


def slopes_left(network: keras.Model) -> float:
    """How much of the slopes is left, 0 without any."""
    found = [layer.left for layer in network.layers if isinstance(layer, Fading)]
    return float(keras.ops.convert_to_numpy(found[0])) if found else 0.0


def settled(network: keras.Model, config: EncoderConfig) -> tuple[keras.Model, EncoderConfig]:
    """The same encoder without fading activations, once their slopes are gone."""
    if not any(isinstance(layer, Fading) for layer in network.layers):
        return network, replace(config, fading=False)
    if slopes_left(network):
        raise ConfigError("the slopes have not faded yet: train to the end (--resume)")
    plain = replace(config, fading=False)
    bare = build(plain)
    for layer in bare.layers:
        if layer.weights:
            layer.set_weights(network.get_layer(layer.name).get_weights())
    return bare, plain


def train_embedder(job: Job, *, resume: bool = False, verbose: int = 0) -> RunFolder:
    """Train an embedder; the best network across videos of the choosing people is kept.

    Raises:
        EdgeError: bad settings or data, a loss that is no number, a full disk.
    """
    RunFolder.require_ready(job.out, resume=resume)
    train.prepare(job.settings)
    parts = read_parts(job)
    lessons = lessons_of(
        parts.shown, parts.learners, job.teacher, job.lessons, job.settings.seed, job.cache
    )
    network, config = prepare_network(job, parts)
    folder = _folder(job, parts, config, resume=resume)
    batches = Balanced(lessons, plan_of(job, lessons), folder.last_epoch())
    task = EmbedTask(network, job.objective, len(parts.shown.names))
    fading = int(job.fade * len(batches))
    extra: Sequence[keras.callbacks.Callback] = (
        [Fade(fading, len(batches))] if config.fading else []
    )
    choosing = parts.choosing
    taught = parts.of_choosing(lessons.taught) if job.objective.weight("teacher") else None
    train.train(
        folder, task, job.settings, batches, lambda made: figures(made, choosing, taught), FIGURE,
        verbose, extra,
    )  # fmt: skip
    finish(folder, choosing)
    return folder


def finish(folder: RunFolder, choosing: Portraits) -> None:
    """Write the best network without fading activations, and its threshold for two pictures."""
    values = folder.read("config.json")
    config = EncoderConfig.from_json(values["network"])
    best = folder.load()
    pairs = across_videos(embed(best, choosing), choosing.person, choosing.video)
    threshold = threshold_at(pairs.impostor, THRESHOLD_FAR)
    folder.write("metrics.json", {**folder.read("metrics.json"), "threshold": threshold})
    if not slopes_left(best):
        network, plain = settled(best, config)
        folder.save(network)
        folder.write("config.json", {**values, "network": plain.to_json()})


def _folder(job: Job, parts: Parts, config: EncoderConfig, *, resume: bool) -> RunFolder:
    digest = parts.shown.sha256()
    if resume:
        return RunFolder.open(job.out).require_data(digest)
    teacher = job.teacher.name if job.teacher else ""
    values = config_of(
        "embed", config, job.objective, job.settings, paths=[str(job.data), *map(str, job.more)],
        hold=job.hold, start=str(job.start or ""), teacher=teacher, lessons=job.lessons,
        each=job.each, fade=job.fade,
    )  # fmt: skip
    about = {
        "data_sha256": digest, "pictures": len(parts.shown), "people": len(parts.shown.names),
        "objective": asdict(job.objective),
    }  # fmt: skip
    return RunFolder.create(job.out, values, about)
