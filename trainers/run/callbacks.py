"""What happens beside the steps of a run: checks, checkpoints, validation, the log."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from edge.errors import ConfigError, EdgeError
from trainers.run.folder import Json, RunFolder, removing
from trainers.run.settings import Settings, momentum_of
from trainers.run.weight_averaging import SwapAverages
from trainers.weights.archive import read_arrays

Validate = Callable[[keras.Model], dict[str, float]]


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


def build_callbacks(
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
