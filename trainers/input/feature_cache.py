"""Features of a frozen part: computed once, kept on disk, trained on instead of pictures.

Augmentation changes pixels, so what it makes cannot be computed once. Instead each picture
gets a fixed number of *views*, each augmented once and for all, which epochs take in turn:
more views are more variety and more disk. A view is the same whenever it is made, so features
of an earlier run with the same weights, data and augmentation are found again.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edge.errors import ConfigError
from edge.types import F32
from trainers.input.pipeline import Batch, Recipe, collate, stream
from trainers.run.folder import removing
from trainers.weights.archive import read_arrays

_BATCH = 8
Labels = dict[str, np.ndarray]


def split(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """The part before anything that is trained (images -> maps), and the rest (maps -> raw rows).

    Both share their layers with ``model``.

    Raises:
        ConfigError: nothing is frozen at the network's beginning, or everything is.
    """
    fixed: set[str] = set()
    for operation in model.operations:  # each after those it hears from
        known = {source.name for source in _sources(operation)} <= fixed
        if known and not getattr(operation, "trainable_weights", []):
            fixed.add(operation.name)
    edges: dict[str, Any] = {}
    for operation in model.operations:
        for source in _sources(operation) if operation.name not in fixed else ():
            if source.name in fixed:
                edges[source.name] = source.output
    weights = [w for o in model.operations if o.name in fixed for w in getattr(o, "weights", [])]
    if not weights or not edges:
        raise ConfigError(
            "features can be kept only where the network's beginning is frozen and its end is "
            "not: use --freeze backbone or --freeze all"
        )
    kept = list(edges.values())
    return keras.Model(model.inputs, kept), keras.Model(kept, model.output)


def _sources(operation: Any) -> list[Any]:  # noqa: ANN401
    """What a layer hears from; our layers are each called once."""
    tensors = operation._inbound_nodes[0].input_tensors  # noqa: SLF001
    return [tensor._keras_history.operation for tensor in tensors]  # noqa: SLF001


@dataclass(frozen=True, slots=True)
class Spared:
    """What keeping features cost and spares.

    Attributes:
        views: of each picture.
        computed: how many were computed now, the others lay on disk.
        seconds: that took.
        mebibytes: of disk, all of them.
        epoch_s: what an epoch no longer has to do: augmentation and the frozen part; 0 when
            nothing was computed, for then nobody knows.
    """

    views: int
    computed: int
    seconds: float
    mebibytes: float
    epoch_s: float

    def __str__(self) -> str:
        """One line to print."""
        told = f"features of {self.views} views a picture: {self.mebibytes:.0f} MB on disk, "
        if not self.computed:
            return f"{told}all from an earlier run"
        return (
            f"{told}{self.computed} computed in {self.seconds:.1f} s; an epoch is spared "
            f"{self.epoch_s:.1f} s of augmentation and frozen layers"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Batches of a recipe as the frozen part leaves them.

    Attributes:
        made: what the pictures would be.
        front: the frozen part.
        views: of each picture.
        folder: where they lie.
    """

    made: Recipe
    front: keras.Model
    views: int
    folder: Path

    @classmethod
    def of(cls, made: Recipe, front: keras.Model, views: int, folder: Path) -> Features:
        """In a folder of their own for these weights, data and augmentation."""
        whole = hashlib.sha256(made.dataset.sha256().encode())
        for weight in front.weights:
            whole.update(keras.ops.convert_to_numpy(weight).tobytes())
        changes = re.sub(r" at 0x[0-9a-f]+", "", repr(made.augment))
        whole.update(f"{made.size_wh} {made.seed} {made.rows} {changes}".encode())
        return cls(made, front, views, folder / whole.hexdigest()[:16])

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return self.made.steps

    def plan(self, epoch: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Epoch, step and pictures of each batch of an epoch."""
        return self.made.plan(epoch)

    def make(self, epoch: int, step: int, chosen: np.ndarray) -> tuple[tuple[F32, ...], Labels]:  # noqa: ARG002
        """Feature maps and labels of one batch, as ``fit`` wants them.

        Raises:
            ConfigError: some are broken, or somebody took them away.
        """
        kept = [self._read(int(which), epoch % self.views) for which in chosen]
        maps = tuple(
            np.stack([one[f"map{k}"] for one in kept]).astype(np.float32)
            for k in range(len(self.front.outputs))
        )
        labels = [name for name in kept[0] if not name.startswith("map")]
        return maps, {name: np.stack([one[name] for one in kept]) for name in labels}

    def compute(self, verbose: int = 0) -> Spared:
        """Whatever is not on disk yet.

        Raises:
            ConfigError: a picture cannot be read, or the disk is full.
        """
        count = len(self.made.dataset)
        todo = [
            (which, view)
            for view in range(self.views)
            for which in range(count)
            if not self._file(which, view).is_file()
        ]
        started_s = time.perf_counter()
        bar = keras.utils.Progbar(len(todo), unit_name="view", verbose=verbose)
        parts = [todo[i : i + _BATCH] for i in range(0, len(todo), _BATCH)]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for part, batch in zip(parts, stream(_Views(self.made, parts)), strict=True):
                self._keep(part, batch)
                bar.add(len(part))
            size = sum(p.stat().st_size for p in self.folder.iterdir())
        except OSError as error:
            raise ConfigError(
                f"{self.folder}: {error.strerror}: free some space, or keep fewer views "
                "(--cache-features)"
            ) from error
        seconds = time.perf_counter() - started_s
        spared = seconds / len(todo) * count if todo else 0.0
        return Spared(self.views, len(todo), seconds, size / 2**20, spared)

    def _keep(self, part: Sequence[tuple[int, int]], batch: Batch) -> None:
        images = batch["images"].astype(np.float32)
        full = np.resize(images, (_BATCH, *images.shape[1:]))  # always full: one graph
        maps = [np.asarray(x, np.float16) for x in _listed(self.front.predict_on_batch([full]))]
        for n, (which, view) in enumerate(part):
            columns = {f"map{k}": x[n] for k, x in enumerate(maps)}
            columns |= {k: v[n] for k, v in batch.items() if k != "images"}  # type: ignore[index]
            file = self._file(which, view)
            half = file.with_suffix(".part")
            with removing(half):
                with half.open("wb") as out:
                    np.savez(out, **columns)
                half.replace(file)

    def _file(self, which: int, view: int) -> Path:
        return self.folder / f"{which:06d}-{view:03d}.npz"

    def _read(self, which: int, view: int) -> Labels:
        return read_arrays(
            self._file(which, view), "delete the file and go on with --resume, which makes it anew"
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Views:
    """The views that are to be computed, as batches for ``stream``."""

    made: Recipe
    parts: Sequence[Sequence[tuple[int, int]]]

    @property
    def steps(self) -> int:
        return len(self.parts)

    def plan(self, epoch: int) -> Iterator[tuple[int, int, Sequence[tuple[int, int]]]]:
        for step, part in enumerate(self.parts):
            yield epoch, step, part

    def make(self, epoch: int, step: int, part: Sequence[tuple[int, int]]) -> Batch:  # noqa: ARG002
        examples, seed = self.made.dataset.examples, self.made.seed
        samples = [self.made.sample(examples[which], (seed, view, which)) for which, view in part]
        return collate(samples, self.made.size_wh, self.made.rows)


def _listed(maps: Any) -> list[np.ndarray]:  # noqa: ANN401
    return maps if isinstance(maps, list) else [maps]
