"""Training a liveness network on live faces and simulated attacks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from edge.errors import ConfigError
from edge.printable import format_count
from edge.types import F32, U8
from trainers.data.boxes_inside import require_inside
from trainers.data.dataset import Dataset, describe_split
from trainers.data.near_duplicates import drop_near_duplicates, split_dataset
from trainers.data.read import read_face_dataset
from trainers.metrics import pad
from trainers.networks.backbone import Tensor
from trainers.networks.config import LivenessConfig
from trainers.networks.minifasnet import ALIVE, build, build_blank_clip, index_layers
from trainers.pseudo_labels import Predict, Teacher, label_into_run
from trainers.run import train
from trainers.run.folder import RunFolder, build_run_config
from trainers.run.job import Job
from trainers.run.tell import tell, tell_notes
from trainers.spoofing.attacks import HELD_OUT, KINDS
from trainers.spoofing.clips import (
    ClipBatch,
    ClipBatches,
    ClipScorer,
    LiveFaces,
    PadSet,
    build_pad_set,
    read_scenes,
    score_pad_set,
)
from trainers.weights.minifasnet import start_from

METRIC = "accuracy"
KIND = "liveness"
_VAL_TRACKS = 40  # per kind
_BATCH = 64
_EPSILON = 1e-4  # keeps logarithms finite


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessJob(Job):
    """One training of a liveness network, complete.

    Attributes:
        data: Data sets whose boxes are faces of live people.
        people: Images and videos of live people without boxes; ``predict`` detects the faces.
        predict: A face detector; required with ``people``.
        scenes: Folders of images used as backgrounds of attacks.
        turn_heads: Make clips of one picture, as a head that turns, see `LiveFaces`.
        teacher: Scores clips with another network.
        trust: Weight of the teacher's scores in the targets of live clips, 0 to 1.
        keep: Fraction of the starting weights mixed into the best network at the end, see
            `mix_weights`.
    """

    data: tuple[Path, ...]
    people: tuple[Path, ...] = ()
    predict: Predict | None = None
    scenes: tuple[Path, ...] = ()
    turn_heads: bool = False
    config: LivenessConfig = field(default_factory=LivenessConfig)
    teacher: ClipScorer | None = None
    trust: float = 0.8
    keep: float = 0.0

    def __post_init__(self) -> None:
        self.settings.require_preset("a liveness network")
        if not 0 <= self.keep < 1 or not 0 <= self.trust <= 1:
            raise ConfigError(
                f"--keep must be in [0, 1) and --trust in [0, 1], got {self.keep} and {self.trust}."
            )
        if self.keep and self.start is None:
            raise ConfigError(
                "--keep mixes in weights of --start: name a network there, or leave --keep out."
            )
        if self.people and self.predict is None:
            raise ConfigError("--people needs a face detector that labels the faces.")


class LivenessTask(keras.Model):
    """Wraps a network; ``x`` is uint8 ``(B, C, h, w, 3)``, ``y`` is ``(B,)`` in 0..1."""

    def __init__(self, network: keras.Model, config: LivenessConfig) -> None:
        super().__init__(name="liveness_task")
        self.network = network
        self.config = config

    def call(self, clips: Tensor, training: bool = False) -> Tensor:
        """uint8 clips -> ``(B,)`` probability of life."""
        return self.network(ops.cast(clips, "float32"), training=training)

    def compute_loss(self, x: Any, y: Any, y_pred: Any, *_: Any, **__: Any) -> Tensor:  # noqa: ANN401, ARG002
        """Binary cross-entropy."""
        live = ops.clip(y_pred, _EPSILON, 1 - _EPSILON)
        return -ops.mean(y * ops.log(live) + (1 - y) * ops.log(1 - live))

    def example(self) -> np.ndarray:
        """An input of one clip, to build with."""
        return build_blank_clip(self.config)


def to_keras_batch(batch: ClipBatch) -> tuple[U8, F32]:
    """A batch as ``fit`` takes it."""
    return batch["clips"], batch["live"]


def read_people(job: LivenessJob, *, resume: bool = False) -> tuple[Dataset, Dataset]:
    """Read the training and the validation data; no person is in both.

    Faces detected in ``people`` are written into the run folder; near-duplicates of validation
    images are left out.

    Raises:
        ConfigError: The data is empty or unreadable, or has a class besides faces.
    """
    if not job.data:
        raise ConfigError("No data set was given: name at least one.")
    training, validation = Dataset(("face",), ()), Dataset(("face",), ())
    for path in job.data:
        rest, held_out = split_dataset(read_face_dataset(path), job.val_fraction)
        training, validation = training + rest, validation + held_out
    new = Dataset(("face",), ())
    if job.predict is not None:
        teacher = Teacher(job.predict, ("face",), 0.7)
        for n, path in enumerate(job.people):
            target = job.out / "people" / str(n)
            new = new + label_into_run(path, target, teacher, 2, resume=resume)
    fresh = drop_near_duplicates(new.examples, validation.examples)
    return training + replace(new, examples=fresh), validation


def wrap_network(network: keras.Model) -> ClipScorer:
    """A Keras network as a function of clips."""

    def score(clips: U8) -> F32:
        scores: F32 = network.predict(clips, _BATCH, verbose=0)
        return scores

    return score


def compute_metrics(
    score_clips: ClipScorer, validation: PadSet, threshold: float = 0.5
) -> dict[str, float]:
    """BPCER, APCER per kind and ACER of clips and tracks; ``accuracy`` is 1 - the mean error."""
    score = score_clips(validation.clips)
    clips, tracks = score_pad_set(score, validation, threshold)
    mean = float(np.mean([rate.value for rate in clips.apcer.values()]))
    return {
        METRIC: 1 - (mean + clips.bpcer.value) / 2,
        "bpcer": clips.bpcer.value,
        **{f"apcer {kind}": rate.value for kind, rate in clips.apcer.items()},
        "acer": clips.acer.value,
        "bpcer of tracks": tracks.bpcer.value,
        "acer of tracks": tracks.acer.value,
    }


def freeze(network: keras.Model, prefixes: str) -> None:
    """Freeze the layers whose names start with one of these prefixes; ``none`` freezes nothing.

    Raises:
        ConfigError: No layer's name starts with a prefix.
    """
    by_name = index_layers(network)
    chosen = [p.strip() for p in prefixes.split(",") if p.strip() and prefixes != "none"]
    for prefix in chosen:
        if not any(name.startswith(prefix) for name in by_name):
            raise ConfigError(f"--freeze: no layer's name begins with {prefix!r}; try scale0_stem.")
    for name, layer in by_name.items():
        layer.trainable = not name.startswith(tuple(chosen)) if chosen else True


def train_liveness(job: LivenessJob, *, resume: bool = False, verbose: int = 0) -> RunFolder:
    """Train; the network with the best accuracy on held-out people and known attacks is kept.

    Raises:
        EdgeError: Bad settings or data, a loss that is not finite, a full disk.
    """
    RunFolder.require_ready(job.out, resume=resume)
    scenes, kinds = read_scenes(job.scenes), tuple(KINDS)
    train.prepare(job.settings)
    tell(f"reading {', '.join(map(str, (*job.data, *job.people)))}", verbose)
    training, held_out = read_people(job, resume=resume)
    tell_notes((*scenes.notes, *training.notes, *require_inside(training)), verbose)
    tell(
        f"{format_count(len(training), 'picture')} to learn from, {len(held_out)} held back",
        verbose,
    )
    tell(f"building the network: {job.settings.epochs} epochs", verbose)
    network = build(job.config)
    if job.start is not None:
        start_from(network, job.config, job.start)
    freeze(network, job.settings.freeze)
    source = ClipBatches(
        LiveFaces(training, job.turn_heads), job.config, job.settings.batch, kinds,
        job.settings.seed, scenes, job.teacher, job.trust, job.settings.strength,
    )  # fmt: skip
    tell("simulating the attacks of the validation part", verbose)
    validation = build_pad_set(
        LiveFaces(held_out, job.turn_heads), job.config, kinds, scenes, _VAL_TRACKS
    )
    config_json = build_run_config(
        KIND, job.config, None, job.settings, paths=[str(p) for p in (*job.data, *job.people)],
        scenes=[str(p) for p in job.scenes], hold=job.val_fraction, start=str(job.start or ""),
        taught=job.teacher is not None, turn_heads=job.turn_heads, trust=job.trust,
        keep=job.keep, kinds=list(KINDS),
        held_out_kinds=list(HELD_OUT),
    )  # fmt: skip
    about = describe_split(training, held_out)
    folder = RunFolder.begin(job.out, config_json, about, resume=resume)
    train.train(
        folder, LivenessTask(network, job.config), job.settings, source,
        lambda model: compute_metrics(wrap_network(model), validation), METRIC,
        finish=to_keras_batch, verbose=verbose,
    )  # fmt: skip
    if job.start is not None and job.keep:
        _keep_start(folder, job, job.start, validation)
    return folder


def mix_weights(trained: keras.Model, start: keras.Model, keep: float) -> None:
    """Move trained weights back towards where they started, by the fraction ``keep``.

    What simulated attacks teach is learned at the cost of what real ones taught before. Between
    the two lies a network that has most of both (Wortsman et al. 2022, "Robust fine-tuning").
    """
    pairs = zip(trained.get_weights(), start.get_weights(), strict=True)
    trained.set_weights([(1 - keep) * new + keep * old for new, old in pairs])


def match_bpcer(network: keras.Model, start: keras.Model, validation: PadSet) -> float:
    """Move a network's operating point until it refuses no more of the living than ``start``.

    The bias of the live class of each branch is raised, never lowered, so that 0.5 lies where the
    validation's BPCER is the starting network's.

    Returns:
        What was added, in log-odds.
    """
    before = wrap_network(start)(validation.clips)
    bpcer = pad.compute_pad_metrics(before, validation.kind).bpcer.value
    score = wrap_network(network)(validation.clips)
    threshold = pad.find_threshold(score, validation.kind, bpcer)
    threshold = min(max(threshold, _EPSILON), 0.5)
    shift = float(np.log((1 - threshold) / threshold))
    shift_live(network, shift)
    return shift


def shift_live(network: keras.Model, shift: float) -> None:
    """Add to the log-odds of life of each branch of a network without convolutions over time."""
    for name, layer in index_layers(network).items():
        if name.endswith("_answers"):
            bias = ops.convert_to_numpy(layer.bias).copy()
            bias[ALIVE] += shift
            layer.bias.assign(bias)


def _keep_start(folder: RunFolder, job: LivenessJob, start: Path, validation: PadSet) -> None:
    """Mix the starting weights into the best network and validate it again, once per run."""
    metrics = folder.read("metrics.json")
    if "kept" in metrics:
        return
    network, original = folder.load(), build(job.config)
    start_from(original, job.config, start)
    mix_weights(network, original, job.keep)
    shift = match_bpcer(network, original, validation) if job.config.over_time == "none" else 0.0
    folder.save(network)
    mixed = compute_metrics(wrap_network(network), validation)
    kept = {"epoch": metrics["epoch"], "kept": job.keep, "shift": shift}
    folder.write("metrics.json", {**kept, **mixed})
