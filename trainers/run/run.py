"""A training run: its folder, its callbacks, and what happens when something goes wrong.

A run folder holds::

    config.json    the network, the loss, the settings, the data
    about.json     git revision, hash of the data, versions, when
    log.csv        one line an epoch;  curves.png draws it;  tensorboard/ too, where it is installed
    best.keras     the averaged weights of the best epoch so far
    state/         the last finished epoch, to go on from after a kill
    metrics.json   figures of best.keras on the held-back part
"""

from __future__ import annotations

import contextlib
import csv
import errno
import importlib.util
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from edge.errors import ConfigError, EdgeError
from trainers.networks.yolo import NetworkConfig
from trainers.run.weight_averaging import SwapAverages
from trainers.weights.archive import read_arrays, read_network

Json = dict[str, Any]
Validate = Callable[[keras.Model], dict[str, float]]


class Network(Protocol):
    """What a network was built from; a frozen dataclass."""

    def to_json(self) -> Json:
        """As plain JSON values."""
        ...


class Task(Protocol):
    """A network with its loss: a ``keras.Model`` of which only ``network`` is kept."""

    network: keras.Model

    def example(self) -> Any:  # noqa: ANN401
        """An input of one picture, to build with."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """How a network is trained.

    Attributes:
        epochs: passes over the training part; 0 keeps the weights it starts from.
        batch: pictures a step.
        learning_rate: at its peak; a transferred network wants a tenth of the default.
        warmup_epochs: the rate rises so long, then falls along a cosine.
        weight_decay: of AdamW.
        clip_norm: longest gradient; lowering it calms a loss that jumps.
        ema: share of the old average kept at each step; 0 averages nothing. A short run keeps
            less, so that the average spans a thirtieth of it at most: longer ones lag behind.
        patience: epochs without a better figure before the run stops; 0 never stops.
        validate_every: epochs between looks at the held-back part.
        freeze: see ``transfer.freeze``.
        seed: of weights, order and augmentation.
        strength: of the augmentation.
        mixed_precision: float16 arithmetic with float32 weights; for GPUs.
        threads: of the input pipeline.
        cache_features: keep the frozen part's features of so many views of each picture on
            disk and train on them; 0 augments anew each epoch. See ``features``.
    """

    epochs: int = 60
    batch: int = 16
    learning_rate: float = 1e-3
    warmup_epochs: float = 1.0
    weight_decay: float = 5e-4
    clip_norm: float = 10.0
    ema: float = 0.998
    patience: int = 0
    validate_every: int = 1
    freeze: str = "none"
    seed: int = 0
    strength: float = 1.0
    mixed_precision: bool = False
    threads: int = 2
    cache_features: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ConfigError(f"epochs must not be negative, got {self.epochs}")
        for name in ("batch", "learning_rate", "validate_every"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"ema must be in [0, 1), got {self.ema}")


# --- the folder -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run keeps everything.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def best(self) -> Path:
        """The network to export."""
        return self.path / "best.keras"

    @property
    def state(self) -> Path:
        """What a resumed run goes on from."""
        return self.path / "state"

    @classmethod
    def create(cls, path: Path, config: Json, about: Json) -> RunFolder:
        """A fresh folder.

        Raises:
            ConfigError: it holds a run already.
        """
        cls.require_fresh(path)
        path.mkdir(parents=True, exist_ok=True)
        run = cls(path)
        run.write("config.json", config)
        run.write("about.json", {**environment(), **about})
        return run

    @classmethod
    def require_ready(cls, path: Path, *, resume: bool) -> None:
        """Say no before anything is read or learnt.

        Raises:
            ConfigError: there is no run to go on with, or one already where another is to begin.
        """
        if resume:
            cls.open(path)
        else:
            cls.require_fresh(path)

    @staticmethod
    def require_fresh(path: Path) -> None:
        """Say no to a folder that is in use.

        Raises:
            ConfigError: it holds a run already.
        """
        if (path / "config.json").exists():
            raise ConfigError(f"{path} holds a run: go on with --resume, or name another folder")

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run.

        Raises:
            ConfigError: there is none.
        """
        if not (path / "config.json").is_file():
            raise ConfigError(f"{path} holds no run (no config.json): check the path")
        return cls(path)

    def read(self, name: str) -> Json:
        """A JSON file of the folder.

        Raises:
            ConfigError: missing or broken.
        """
        try:
            return json.loads((self.path / name).read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise ConfigError(f"{self.path / name} cannot be read: {error}") from error

    def require_data(self, sha256: str) -> RunFolder:
        """Itself, to go on with.

        Raises:
            ConfigError: it was trained on other data than those of this hash.
        """
        if self.read("about.json")["data_sha256"] != sha256:
            raise ConfigError(
                f"{self.path} was trained on other data: restore it, or begin a new run"
            )
        return self

    def write(self, name: str, values: Json) -> None:
        """A JSON file, whole or not at all."""
        part = self.path / f"{name}.part"
        with removing(part):
            part.write_text(json.dumps(values, indent=2) + "\n")
            part.replace(self.path / name)

    def save(self, network: keras.Model) -> None:
        """The best network, whole or not at all."""
        part = self.path / "part.keras"
        with removing(part):
            network.save(part)
            part.replace(self.best)

    @property
    def kind(self) -> str:
        """What was trained: detect, faces, embed .."""
        return str(self.read("config.json").get("task", ""))

    def load(self) -> keras.Model:
        """The best network.

        Raises:
            ConfigError: no epoch has finished yet.
            ModelError: its file is broken.
        """
        if not self.best.is_file():
            raise ConfigError(f"{self.path} has no best.keras yet: train at least one epoch")
        return read_network(
            self.best, "delete it and go on with --resume and more epochs, or begin a new run"
        )

    def network(self) -> tuple[keras.Model, NetworkConfig]:
        """The best network of a detector or face finder and its configuration.

        Raises:
            ConfigError: no epoch has finished yet.
            ModelError: its file is broken.
        """
        best = self.load()
        return best, NetworkConfig.from_json(self.read("config.json")["network"])

    def last_epoch(self) -> int:
        """How many epochs are finished and saved."""
        saved = [int(p.name.split("-")[1].split(".")[0]) for p in self._states()]
        return max(saved, default=0)

    def _states(self) -> list[Path]:
        return sorted(self.state.glob("epoch-*.npz"))


def environment() -> Json:
    """Git revision, versions and the time: what a result cannot be repeated without."""
    return {
        "git": git_revision(),
        "python": sys.version.split()[0],
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def git_revision() -> str:
    """The commit this code is at, ``+`` behind it when files differ; empty outside git."""
    git = shutil.which("git")
    if git is None:
        return ""

    def ask(*words: str) -> str:
        done = subprocess.run(  # noqa: S603 - fixed words
            [git, *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    revision = ask("rev-parse", "HEAD")
    return f"{revision}{'+' if ask('status', '--porcelain', '.') else ''}"


# --- callbacks --------------------------------------------------------------------------------


class StopOnNan(keras.callbacks.Callback):
    """A loss that is no number any more ends the run before it spoils a checkpoint."""

    def __init__(self, run: RunFolder) -> None:
        super().__init__()
        self._run = run
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Json | None = None) -> None:  # noqa: ARG002
        """Note where we are."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Json | None = None) -> None:
        """Look at the loss."""
        loss = (logs or {}).get("loss", 0.0)
        if not np.isfinite(loss):
            raise EdgeError(
                f"the loss became {loss} in epoch {self._epoch + 1}, step {batch + 1}: lower the "
                f"learning rate or clip_norm, and check the labels; {last_good(self._run)}"
            )


def last_good(run: RunFolder) -> str:
    """Where the last good weights are, for messages."""
    if run.best.is_file():
        return f"the last good checkpoint is kept: {run.best}"
    return "no epoch was finished before"


class KeepState(keras.callbacks.Callback):
    """Saves everything after each epoch: weights, optimizer, averages. Whole or not at all.

    As plain arrays in the order of the variables: Keras's own format takes a second for a small
    network, as long as an epoch of a small data set.
    """

    def __init__(self, run: RunFolder) -> None:
        super().__init__()
        self._run = run

    def on_epoch_end(self, epoch: int, logs: Json | None = None) -> None:  # noqa: ARG002
        """Save, then drop the epoch before."""
        self._run.state.mkdir(exist_ok=True)
        old = sorted(self._run.state.glob("epoch-*.npz"))
        path = self._run.state / f"epoch-{epoch + 1:05d}.npz"
        part = self._run.state / "part.npz"
        with removing(part):
            with part.open("wb") as file:
                np.savez(file, *map(keras.ops.convert_to_numpy, state_of(self.model)))
            part.replace(path)
        for file in old:
            if file != path:
                file.unlink()


def state_of(task: keras.Model) -> list[Any]:
    """Everything that training changes, always in the same order."""
    if hasattr(task, "jax_state_sync"):  # JAX trains on copies
        task.jax_state_sync()
    return [*task.trainable_variables, *task.non_trainable_variables, *task.optimizer.variables]


def load_state(run: RunFolder, task: keras.Model, epoch: int) -> None:
    """Put the state after ``epoch`` epochs into a task that was built and compiled.

    Raises:
        ConfigError: broken, or of another network or optimizer.
    """
    path = run.state / f"epoch-{epoch:05d}.npz"
    variables = state_of(task)
    values = [*read_arrays(path, "begin a new run").values()]
    if [v.shape for v in values] != [tuple(v.shape) for v in variables]:
        raise ConfigError(
            f"{path} is of a run with other options: resume with those of config.json"
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class KeepBest(keras.callbacks.Callback):
    """Validates, and saves the network when the figure is the best so far."""

    def __init__(
        self, run: RunFolder, validate: Validate, figure: str, every: int, last: int
    ) -> None:
        super().__init__()
        self._run, self._validate, self._figure = run, validate, figure
        self._every, self._last = every, last
        self._best = float("-inf")
        if run.best.is_file() and (run.path / "metrics.json").is_file():
            self._best = run.read("metrics.json").get(figure, self._best)
        self._known: dict[str, float] = {}

    def on_epoch_end(self, epoch: int, logs: Json | None = None) -> None:
        """Validate every few epochs and after the last."""
        if (epoch + 1) % self._every == 0 or epoch + 1 == self._last or not self._known:
            self._known = self._validate(self.model.network)
            self._keep(epoch + 1)
        if logs is not None:  # the other callbacks see the figures too
            logs.update({f"val_{name}": value for name, value in self._known.items()})

    def _keep(self, epoch: int) -> None:
        value = self._known[self._figure]
        if value <= self._best and self._run.best.is_file():
            return
        self._best = value
        self._run.save(self.model.network)
        self._run.write("metrics.json", {"epoch": epoch, **self._known})


class WriteLog(keras.callbacks.Callback):
    """log.csv: a line an epoch, closed after each, so that a kill leaves whole lines."""

    def __init__(self, run: RunFolder, *, resumed: bool) -> None:
        super().__init__()
        self._path = run.path / "log.csv"
        if not resumed:
            self._path.unlink(missing_ok=True)

    def on_epoch_end(self, epoch: int, logs: Json | None = None) -> None:
        """Append a line; the first one brings the header."""
        row = {"epoch": epoch, **{name: float(value) for name, value in (logs or {}).items()}}
        fresh, columns = not self._path.is_file(), self._columns(row)
        with self._path.open("a", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            if fresh:
                writer.writeheader()
            writer.writerow(row)

    def _columns(self, row: Json) -> list[str]:
        if not self._path.is_file():
            return list(row)
        with self._path.open(newline="") as file:
            return next(csv.reader(file))


@contextlib.contextmanager
def removing(part: Path) -> Iterator[None]:
    """A half-written file does not stay behind."""
    try:
        yield
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def is_full_disk(error: BaseException) -> bool:
    """Whether an error, or what caused it, says that the disk is full."""
    seen: BaseException | None = error
    while seen is not None:
        if getattr(seen, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        if isinstance(seen, OSError) and "No space left" in str(seen):  # h5py gives no errno
            return True
        seen = seen.__cause__ or seen.__context__
    return False


# --- training ---------------------------------------------------------------------------------


def prepare(settings: Settings, devices: int = 1) -> None:
    """Seeds, precision and devices; before the network is built.

    Args:
        settings: how it is trained.
        devices: 1, or how many to spread each batch over (Keras's distribution API).
    """
    keras.utils.set_random_seed(settings.seed)
    keras.config.set_dtype_policy("mixed_float16" if settings.mixed_precision else "float32")
    if devices > 1:
        found = keras.distribution.list_devices()
        if len(found) < devices:
            raise ConfigError(f"{devices} devices were asked for, found {len(found)}: {found}")
        mesh = keras.distribution.DataParallel(devices=found[:devices], auto_shard_dataset=False)
        keras.distribution.set_distribution(mesh)


def compile_task(task: Task, settings: Settings, steps: int) -> None:
    """AdamW with warm-up, cosine and averaged weights."""
    total = max(settings.epochs, 1) * steps
    warmup = min(int(settings.warmup_epochs * steps), max(total - 1, 0))
    rate = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / 100, max(total - warmup, 1), alpha=0.01,
        warmup_target=settings.learning_rate, warmup_steps=warmup,
    )  # fmt: skip
    optimizer = keras.optimizers.AdamW(
        rate, weight_decay=settings.weight_decay, clipnorm=settings.clip_norm,
        use_ema=settings.ema > 0, ema_momentum=momentum_of(settings, total),
    )  # fmt: skip
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    task.compile(optimizer, jit_compile=False)


def momentum_of(settings: Settings, total: int) -> float:
    """Of the averages in a run of ``total`` steps."""
    return min(settings.ema or 0.99, max(0.1, 1 - 30 / total))


def train(
    run: RunFolder, task: Task, settings: Settings, batches: Any,  # noqa: ANN401
    validate: Validate, figure: str, verbose: int = 0,
    extra: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, float]:  # fmt: skip
    """Fit, from the start or from the last finished epoch.

    Args:
        run: its folder.
        task: the network with its loss; not compiled yet.
        settings: how.
        batches: a ``PyDataset`` of ``(images, labels)`` with a length.
        validate: figures of a network on the held-back part.
        figure: which of them decides what is best; higher is better.
        verbose: 1 shows a progress bar, 2 a line an epoch, 0 nothing.
        extra: callbacks that run before the others.

    Returns:
        The figures of the best epoch.

    Raises:
        EdgeError: the loss is no number, the disk is full; the last good checkpoint is kept.
    """
    compile_task(task, settings, len(batches))
    if not settings.epochs:  # nothing to learn: the start as it is
        best = KeepBest(run, validate, figure, 1, 0)
        best.set_model(task)
        best.on_epoch_end(-1)
        return run.read("metrics.json")
    done = run.last_epoch()
    if done:
        task(task.example())
        task.optimizer.build(task.trainable_variables)
        load_state(run, task, done)
    try:
        task.fit(
            batches, epochs=settings.epochs, initial_epoch=done, verbose=verbose, shuffle=False,
            callbacks=[
                *extra,
                *_callbacks(run, settings, validate, figure, len(batches), resumed=done > 0),
            ],
        )  # fmt: skip
    except EdgeError:
        raise
    except Exception as error:
        cause = getattr(batches, "failure", None)
        if isinstance(cause, EdgeError):
            raise type(cause)(f"{cause}; {last_good(run)}") from error
        if is_full_disk(error):
            raise EdgeError(
                f"the disk of {run.path} is full: make room and go on with --resume; "
                f"{last_good(run)}"
            ) from error
        raise
    draw_curves(run)
    return run.read("metrics.json") if (run.path / "metrics.json").is_file() else {}


def _callbacks(
    run: RunFolder, settings: Settings, validate: Validate, figure: str, steps: int, *,
    resumed: bool,
) -> list[keras.callbacks.Callback]:  # fmt: skip
    """In this order: the state holds the raw weights, everything after it the averaged ones."""
    callbacks: list[keras.callbacks.Callback] = [StopOnNan(run), KeepState(run)]
    if settings.ema:
        callbacks.append(SwapAverages(momentum_of(settings, settings.epochs * steps)))
    callbacks.append(KeepBest(run, validate, figure, settings.validate_every, settings.epochs))
    callbacks.append(WriteLog(run, resumed=resumed))
    if importlib.util.find_spec("tensorboard"):
        callbacks.append(keras.callbacks.TensorBoard(run.path / "tensorboard", write_graph=False))
    if settings.patience:
        callbacks.append(
            keras.callbacks.EarlyStopping(f"val_{figure}", mode="max", patience=settings.patience)
        )
    return callbacks


def read_log(run: RunFolder) -> dict[str, list[float]]:
    """Columns of log.csv; empty before the first epoch."""
    path = run.path / "log.csv"
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name] or "nan") for row in rows] for name in (rows[0] if rows else ())}


def draw_curves(run: RunFolder) -> None:
    """curves.png: the parts of the loss, and the figures on the held-back part."""
    from matplotlib.figure import Figure

    columns = read_log(run)
    epochs = [e + 1 for e in columns.pop("epoch", [])]
    if not epochs:
        return
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, values in columns.items():
        axis = right if name.startswith("val_") else left
        axis.plot(epochs, values, label=name.removeprefix("val_"))
    left.set_title("training loss")
    right.set_title("held-back part")
    for axis in (left, right):
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
        if axis.get_lines():
            axis.legend(fontsize="small")
    figure.savefig(run.path / "curves.png", dpi=110)


def config_of(
    kind: str,
    network: Network,
    loss: Any,  # noqa: ANN401
    settings: Settings,
    **data: object,
) -> Json:
    """What config.json holds."""
    return {
        "task": kind, "network": network.to_json(), "loss": asdict(loss),
        "settings": asdict(settings), "data": data,
    }  # fmt: skip
