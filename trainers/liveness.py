"""Training a liveness network on living people and simulated attacks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from edge.errors import ConfigError
from edge.types import F32, U8
from trainers.data.dataset import Dataset
from trainers.data.near_duplicates import split_dataset, unlike
from trainers.data.read import read_face_dataset
from trainers.input.loader import Loader
from trainers.metrics import pad
from trainers.networks.backbone import Tensor
from trainers.networks.config import LivenessConfig
from trainers.networks.minifasnet import blank, build, layers_of
from trainers.pseudo_labels import Ask as AskFaces
from trainers.pseudo_labels import Teacher, relabel
from trainers.run import train
from trainers.run.folder import Json, RunFolder
from trainers.run.settings import Settings
from trainers.spoofing.attacks import HELD_OUT, KINDS
from trainers.spoofing.clips import Ask, ClipRecipe, Clips, Exam, People, exam, read_scenes
from trainers.weights.minifasnet import start_from

FIGURE = "accuracy"
KIND = "liveness"
_EACH = 40  # tracks a kind in validation
_BATCH = 64
_ALMOST = 1e-4  # no logarithm of 0


@dataclass(frozen=True, slots=True)
class LivenessJob:
    """One training, whole.

    Attributes:
        data: data sets whose boxes are faces of living people.
        out: the run folder.
        people: pictures and videos of living people without boxes; ``find`` finds their faces.
        find: a face finder, wherever there are such people.
        scenes: folders of pictures to hold attacks before.
        config: the network.
        teacher: another network's opinion, or None.
        trust: share of the teacher in what is said of the living.
        start: a ``.keras`` of ours or an adopted MiniFASNet to start from.
        keep: share of the starting weights that is mixed into the best network at the end; see
            `mix`.
        hold: share of the people held back; which, depends on names and looks alone.
        settings: how it is trained.
    """

    data: tuple[Path, ...]
    out: Path
    people: tuple[Path, ...] = ()
    find: AskFaces | None = None
    scenes: tuple[Path, ...] = ()
    config: LivenessConfig = field(default_factory=LivenessConfig)
    teacher: Ask | None = None
    trust: float = 0.8
    start: Path | None = None
    keep: float = 0.0
    hold: float = 0.2
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        if not 0 <= self.keep < 1 or not 0 <= self.trust <= 1:
            raise ConfigError(f"keep and trust are shares, got {self.keep} and {self.trust}")
        if self.keep and self.start is None:
            raise ConfigError(
                "--keep mixes in weights of --start: name a network there, or leave --keep out"
            )
        if self.people and self.find is None:
            raise ConfigError("--people needs a face finder, for nobody has labelled their faces")


class LivenessTask(keras.Model):
    """Wraps a network; ``x`` is uint8 ``(B, C, h, w, 3)``, ``y`` is ``(B,)`` in 0..1."""

    def __init__(self, network: keras.Model, config: LivenessConfig) -> None:
        """Args: the network, and what it was built from."""
        super().__init__(name="liveness_task")
        self.network = network
        self.config = config

    def call(self, clips: Tensor, training: bool = False) -> Tensor:
        """uint8 clips -> ``(B,)``."""
        return self.network(ops.cast(clips, "float32"), training=training)

    def compute_loss(self, x: Any, y: Any, y_pred: Any, *_: Any, **__: Any) -> Tensor:  # noqa: ANN401, ARG002
        """Binary cross-entropy."""
        alive = ops.clip(y_pred, _ALMOST, 1 - _ALMOST)
        return -ops.mean(y * ops.log(alive) + (1 - y) * ops.log(1 - alive))

    def example(self) -> np.ndarray:
        """An input of one clip, to build with."""
        return blank(self.config)


def to_fit(batch: Clips) -> tuple[U8, F32]:
    """A batch as ``fit`` wants it."""
    return batch["clips"], batch["live"]


def read_people(job: LivenessJob, *, resume: bool = False) -> tuple[Dataset, Dataset]:
    """The training part and the held-back part; nobody is in both.

    Faces found in ``people`` are written into the run folder; pictures that look like one held
    back are left out.

    Raises:
        ConfigError: empty, unreadable, or a class besides faces.
    """
    if not job.data:
        raise ConfigError("no data set was named")
    rest, held = split_dataset(read_face_dataset(job.data[0]), job.hold)
    for path in job.data[1:]:
        more, other = split_dataset(read_face_dataset(path), job.hold)
        rest, held = rest + more, held + other
    new = Dataset(("face",), ())
    if job.find is not None:
        teacher = Teacher(job.find, ("face",), 0.7)
        for n, path in enumerate(job.people):
            new = new + relabel(path, job.out / "people" / str(n), teacher, 2, resume=resume)
    return rest + replace(new, examples=unlike(new.examples, held.examples)), held


def ask_of(network: keras.Model) -> Ask:
    """A Keras network as a function of clips."""
    return lambda clips: network.predict(clips, _BATCH, verbose=0)


def figures(ask: Ask, held: Exam, threshold: float = 0.5) -> dict[str, float]:
    """BPCER, APCER by kind and ACER, a clip and a track; ``accuracy`` is 1 - the mean error."""
    score = ask(held.clips)
    told = pad.judge(score, held.kind, threshold)
    together, names = pad.fused(score, held.track)
    tracks = pad.judge(together, [name.partition("/")[0] for name in names], threshold)
    mean = float(np.mean([rate.value for rate in told.apcer.values()]))
    return {
        FIGURE: 1 - (mean + told.bpcer.value) / 2,
        "bpcer": told.bpcer.value,
        **{f"apcer {kind}": rate.value for kind, rate in told.apcer.items()},
        "acer": told.acer.value,
        "bpcer of tracks": tracks.bpcer.value,
        "acer of tracks": tracks.acer.value,
    }


def freeze(network: keras.Model, regime: str) -> None:
    """Fix layers whose names begin with one of these prefixes; ``none`` fixes nothing.

    Raises:
        ConfigError: a prefix fits no layer.
    """
    known = layers_of(network)
    chosen = [p.strip() for p in regime.split(",") if p.strip() and regime != "none"]
    for prefix in chosen:
        if not any(name.startswith(prefix) for name in known):
            raise ConfigError(f"--freeze: no layer's name begins with {prefix!r}: try scale0_stem")
    for name, layer in known.items():
        layer.trainable = not name.startswith(tuple(chosen)) if chosen else True


def train_liveness(job: LivenessJob, *, resume: bool = False, verbose: int = 0) -> RunFolder:
    """Train; the best network on held-back people, by attacks of the kinds trained on, is kept.

    Raises:
        EdgeError: bad settings or data, a loss that is no number, a full disk.
    """
    RunFolder.require_ready(job.out, resume=resume)
    scenes, kinds = read_scenes(job.scenes), tuple(KINDS)
    train.prepare(job.settings)
    rest, held = read_people(job, resume=resume)
    network = build(job.config)
    if job.start is not None:
        start_from(network, job.config, job.start)
    freeze(network, job.settings.freeze)
    recipe = ClipRecipe(
        People(rest), job.config, job.settings.batch, kinds, job.settings.seed, scenes,
        job.teacher, job.trust, job.settings.strength,
    )  # fmt: skip
    fixed = exam(People(held), job.config, kinds, scenes, _EACH)
    if resume:
        folder = RunFolder.open(job.out).require_data(rest.sha256())
    else:
        about = {"data_sha256": rest.sha256(), "pictures": len(rest), "held_back": len(held)}
        folder = RunFolder.create(job.out, _config(job), about)
    loader = Loader(recipe, to_fit, threads=job.settings.threads, epoch=folder.last_epoch())
    try:
        train.train(
            folder, LivenessTask(network, job.config), job.settings, loader,
            lambda model: figures(ask_of(model), fixed), FIGURE, verbose,
        )  # fmt: skip
    finally:
        loader.close()
    if job.start is not None and job.keep:
        _keep_start(folder, job, fixed)
    return folder


def mix(trained: keras.Model, start: keras.Model, keep: float) -> None:
    """Move trained weights back towards where they started, by a share.

    What simulated attacks teach is learnt at the cost of what real ones taught before. Between the
    two lies a network that has most of both (Wortsman et al. 2022, "Robust fine-tuning").

    Args:
        trained: changed in place.
        start: of the same layout.
        keep: share of ``start``, 0 to 1.
    """
    pairs = zip(trained.get_weights(), start.get_weights(), strict=True)
    trained.set_weights([(1 - keep) * new + keep * old for new, old in pairs])


def _keep_start(folder: RunFolder, job: LivenessJob, fixed: Exam) -> None:
    """Mix, save and measure again; once."""
    metrics = folder.read("metrics.json")
    if job.start is None or "kept" in metrics:
        return
    network, start = folder.load(), build(job.config)
    start_from(start, job.config, job.start)
    mix(network, start, job.keep)
    folder.save(network)
    found = figures(ask_of(network), fixed)
    folder.write("metrics.json", {"epoch": metrics["epoch"], "kept": job.keep, **found})


def _config(job: LivenessJob) -> Json:
    return {
        "task": KIND,
        "network": job.config.to_json(),
        "settings": asdict(job.settings),
        "data": {
            "paths": [str(p) for p in (*job.data, *job.people)],
            "scenes": [str(p) for p in job.scenes],
            "hold": job.hold,
            "start": str(job.start or ""),
            "taught": job.teacher is not None,
            "trust": job.trust,
            "keep": job.keep,
            "kinds": list(KINDS),
            "held_out_kinds": list(HELD_OUT),
        },
    }
