"""The loop of a run: fit, from the start or from the last finished epoch."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any, Protocol

import keras

from edge.errors import ConfigError, EdgeError
from trainers.run.callbacks import KeepBest, Validate, build_callbacks, last_good, load_state
from trainers.run.curves import draw_curves
from trainers.run.folder import RunFolder
from trainers.run.settings import Settings, momentum_of


class Task(Protocol):
    """A network with its loss: a ``keras.Model`` of which only ``network`` is kept."""

    network: keras.Model

    def example(self) -> Any:  # noqa: ANN401
        """An input of one picture, to build with."""
        ...


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
                *build_callbacks(run, settings, validate, figure, len(batches), resumed=done > 0),
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
