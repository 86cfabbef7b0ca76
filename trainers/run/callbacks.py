"""What happens beside the steps of a run: checks, checkpoints, validation, the log."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from edge.atomic_file import replace_file
from edge.errors import ConfigError, EdgeError
from trainers.run.folder import Json, RunFolder
from trainers.run.settings import Settings, compute_ema_momentum
from trainers.run.weight_averaging import SwapAverages
from trainers.weights.archive import read_arrays

Validate = Callable[[keras.Model], dict[str, float]]


class StopOnNan(keras.callbacks.Callback):
    """Ends the run when the loss is not finite, before a checkpoint is spoiled."""

    def __init__(self, run: RunFolder) -> None:
        super().__init__()
        self._run = run
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Json | None = None) -> None:  # noqa: ARG002
        """Remember the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Json | None = None) -> None:
        """Check the loss."""
        loss = (logs or {}).get("loss", 0.0)
        if not np.isfinite(loss):
            raise EdgeError(
                f"The loss became {loss} in epoch {self._epoch + 1}, step {batch + 1}: lower the "
                "learning rate or clip_norm, and check the labels; "
                f"{describe_checkpoint(self._run)}"
            )


def describe_checkpoint(run: RunFolder) -> str:
    """Where the last good weights are, as the end of a message."""
    if run.best.is_file():
        return f"the last good checkpoint is kept: {run.best}"
    return "no epoch was finished before"


class SaveState(keras.callbacks.Callback):
    """Saves weights, optimizer and averages after each epoch.

    They are plain arrays in the order of the variables: Keras's own format takes a second for a
    small network, as long as an epoch of a small data set.
    """

    def __init__(self, run: RunFolder) -> None:
        super().__init__()
        self._run = run

    def on_epoch_end(self, epoch: int, logs: Json | None = None) -> None:  # noqa: ARG002
        """Save, then delete the epoch before."""
        self._run.state.mkdir(exist_ok=True)
        old = sorted(self._run.state.glob("epoch-*.npz"))
        path = self._run.state / f"epoch-{epoch + 1:05d}.npz"
        with replace_file(path, suffix=".npz") as part, part.open("wb") as file:
            np.savez(file, *map(keras.ops.convert_to_numpy, get_state(self.model)))
        for earlier in old:
            if earlier != path:
                earlier.unlink()


def get_state(task: keras.Model) -> list[Any]:
    """All variables that training changes, always in the same order."""
    if hasattr(task, "jax_state_sync"):  # JAX trains on copies
        task.jax_state_sync()
    return [*task.trainable_variables, *task.non_trainable_variables, *task.optimizer.variables]


def load_state(run: RunFolder, task: keras.Model, epoch: int) -> None:
    """Restore the state after ``epoch`` epochs into a task that was built and compiled.

    Raises:
        ConfigError: The file is broken, or of another network or optimizer.
    """
    path = run.state / f"epoch-{epoch:05d}.npz"
    variables = get_state(task)
    values = [*read_arrays(path, "begin a new run").values()]
    if [v.shape for v in values] != [tuple(v.shape) for v in variables]:
        raise ConfigError(
            "This state is of a run with other options: resume with those of config.json.",
            file=path,
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class SaveBest(keras.callbacks.Callback):
    """Validates, and saves the network whose metric is the best so far."""

    def __init__(
        self, run: RunFolder, validate: Validate, metric: str, every: int, last: int
    ) -> None:
        super().__init__()
        self._run, self._validate, self._metric = run, validate, metric
        self._every, self._last = every, last
        self._best = float("-inf")
        if run.best.is_file() and (run.path / "metrics.json").is_file():
            self._best = run.read("metrics.json").get(metric, self._best)
        self._metrics: dict[str, float] = {}

    def on_epoch_end(self, epoch: int, logs: Json | None = None) -> None:
        """Validate every few epochs and after the last."""
        if (epoch + 1) % self._every == 0 or epoch + 1 == self._last or not self._metrics:
            self._metrics = self._validate(self.model.network)
            self._keep(epoch + 1)
        if logs is not None:  # for the callbacks behind this one
            logs.update({f"val_{name}": value for name, value in self._metrics.items()})

    def _keep(self, epoch: int) -> None:
        value = self._metrics[self._metric]
        if value <= self._best and self._run.best.is_file():
            return
        self._best = value
        self._run.save(self.model.network)
        self._run.write("metrics.json", {"epoch": epoch, **self._metrics})


class WriteLog(keras.callbacks.Callback):
    """Writes log.csv, a line per epoch; closed after each, so that a kill leaves whole lines."""

    def __init__(self, run: RunFolder, *, resumed: bool) -> None:
        super().__init__()
        self._path = run.path / "log.csv"
        if not resumed:
            self._path.unlink(missing_ok=True)

    def on_epoch_end(self, epoch: int, logs: Json | None = None) -> None:
        """Append a line, with a header before the first."""
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


def build_callbacks(
    run: RunFolder, settings: Settings, validate: Validate, metric: str, steps: int, *,
    resumed: bool,
) -> list[keras.callbacks.Callback]:  # fmt: skip
    """Callbacks in order: the state is saved with raw weights, the rest sees averaged ones."""
    callbacks: list[keras.callbacks.Callback] = [StopOnNan(run), SaveState(run)]
    if settings.ema:
        callbacks.append(SwapAverages(compute_ema_momentum(settings, settings.epochs * steps)))
    callbacks.append(SaveBest(run, validate, metric, settings.validate_every, settings.epochs))
    callbacks.append(WriteLog(run, resumed=resumed))
    if importlib.util.find_spec("tensorboard"):
        callbacks.append(keras.callbacks.TensorBoard(run.path / "tensorboard", write_graph=False))
    if settings.patience:
        callbacks.append(
            keras.callbacks.EarlyStopping(f"val_{metric}", mode="max", patience=settings.patience)
        )
    return callbacks
