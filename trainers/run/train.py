"""The loop of a run: fit, from the start or from the last finished epoch."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import keras

from edge.errors import ConfigError, EdgeError, translate_unexpected
from trainers.input.loader import Loader
from trainers.input.pipeline import BatchSource, identity
from trainers.run.callbacks import (
    SaveBest,
    Validate,
    build_callbacks,
    describe_checkpoint,
    load_state,
)
from trainers.run.curves import draw_curves
from trainers.run.folder import RunFolder
from trainers.run.settings import Settings, compute_ema_momentum
from trainers.run.tell import tell

# A task is a ``keras.Model`` that computes the loss of its attribute ``network``, the only part
# that is saved; ``example()`` returns an input of one picture to build with.
Task = Any


def prepare(settings: Settings, devices: int = 1) -> None:
    """Set seed, precision and devices (Keras's distribution API), before the network is built.

    Raises:
        ConfigError: The machine has fewer devices.
    """
    keras.utils.set_random_seed(settings.seed)
    keras.config.set_dtype_policy("mixed_float16" if settings.mixed_precision else "float32")
    if devices > 1:
        present = keras.distribution.list_devices()
        if len(present) < devices:
            raise ConfigError(
                f"--devices asks for {devices} devices, this machine has {len(present)}: {present}"
            )
        mesh = keras.distribution.DataParallel(devices=present[:devices], auto_shard_dataset=False)
        keras.distribution.set_distribution(mesh)


def compile_task(task: Task, settings: Settings, steps: int) -> None:
    """Compile for epochs of ``steps`` steps: AdamW, warm-up, cosine decay and averaged weights."""
    total = max(settings.epochs, 1) * steps
    warmup = min(int(settings.warmup_epochs * steps), max(total - 1, 0))
    rate = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / 100, max(total - warmup, 1), alpha=0.01,
        warmup_target=settings.learning_rate, warmup_steps=warmup,
    )  # fmt: skip
    optimizer = keras.optimizers.AdamW(
        rate, beta_1=settings.momentum, weight_decay=settings.weight_decay,
        clipnorm=settings.clip_norm,
        use_ema=settings.ema > 0, ema_momentum=compute_ema_momentum(settings, total),
    )  # fmt: skip
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    task.compile(optimizer, jit_compile=False)


def train(
    folder: RunFolder, task: Task, settings: Settings, source: BatchSource,
    validate: Validate, metric: str, *, finish: Callable[[Any], object] = identity,
    verbose: int = 0, extra: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, float]:  # fmt: skip
    """Fit, from the start or from the last finished epoch; return the metrics of the best one.

    Args:
        folder: The folder of the run.
        task: The network with its loss; not compiled yet.
        settings: How it is trained.
        source: Training batches.
        validate: Computes the metrics of a network on the validation data.
        metric: The one that decides which epoch is best; higher is better.
        finish: Applied to each batch in its worker: returns inputs and labels for ``fit``.
        verbose: 1 shows a progress bar, 2 a line per epoch, 0 nothing.
        extra: Callbacks that run before the others.

    Raises:
        EdgeError: The loss is not finite, or the disk is full; the last good checkpoint is kept.
    """
    compile_task(task, settings, source.steps)
    if not settings.epochs:  # nothing to learn: keep the network as it starts
        best = SaveBest(folder, validate, metric, 1, 0)
        best.set_model(task)
        best.on_epoch_end(-1)
        return folder.read("metrics.json")
    done = folder.last_epoch()
    if done:
        task(task.example())
        task.optimizer.build(task.trainable_variables)
        load_state(folder, task, done)
    tell(f"tracing: {source.steps} steps an epoch; the first step takes longest", verbose)
    callbacks = build_callbacks(folder, settings, validate, metric, source.steps, resumed=done > 0)
    with (
        closing(Loader(source, finish, threads=settings.threads, epoch=done)) as batches,
        translate_unexpected(lambda error: _explain_failure(error, batches, folder)),
    ):
        task.fit(
            batches, epochs=settings.epochs, initial_epoch=done, verbose=verbose,
            shuffle=False, callbacks=[*extra, *callbacks],
        )  # fmt: skip
    draw_curves(folder)
    return folder.read("metrics.json") if (folder.path / "metrics.json").is_file() else {}


def test(folder: RunFolder, compute: Callable[[keras.Model], dict[str, float]]) -> None:
    """Write the metrics of the finished network on the test part, which chose nothing."""
    folder.write("test.json", compute(folder.load()))


def _explain_failure(error: Exception, batches: Loader, folder: RunFolder) -> Exception:
    """The error to report when ``fit`` failed, which wraps what its generators raise."""
    if batches.failure:
        batches.failure.problem += f"; {describe_checkpoint(folder)}"
        return batches.failure
    if is_full_disk(error):
        return EdgeError(
            "The disk is full: free some space and continue with --resume; "
            f"{describe_checkpoint(folder)}",
            file=folder.path,
        )
    return error


def is_full_disk(error: BaseException) -> bool:
    """Whether an error, or what caused it, says that the disk is full."""
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        if isinstance(cause, OSError) and "No space left" in str(cause):  # h5py sets no errno
            return True
        cause = cause.__cause__ or cause.__context__
    return False
