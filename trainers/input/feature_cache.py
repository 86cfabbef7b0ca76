"""Features of the frozen layers: computed once, kept on disk, trained on instead of images.

Augmentation changes pixels, so its results cannot be computed once. Instead each image gets a
fixed number of *views*, each augmented once and for all, which epochs use in turn: more views are
more variety and more disk space. A view is the same whenever it is made, so features of an earlier
run with the same weights, data and augmentation are reused.
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

from edge.atomic_file import replace_file
from edge.errors import ConfigError
from edge.types import F32
from trainers.input.pipeline import Batch, DatasetBatches, collate, stream_batches
from trainers.networks.graph import list_sources
from trainers.weights.archive import read_arrays

_BATCH = 8
Labels = dict[str, np.ndarray]


def split_at_frozen(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Split into frozen layers (images -> feature maps) and the rest (feature maps -> output).

    Both share their layers with ``model``.

    Raises:
        ConfigError: No layer at the input is frozen, or all layers are.
    """
    fixed: set[str] = set()
    for operation in model.operations:  # in topological order
        known = {source.name for source in list_sources(operation)} <= fixed
        if known and not getattr(operation, "trainable_weights", []):
            fixed.add(operation.name)
    edges: dict[str, Any] = {}
    for operation in model.operations:
        for source in list_sources(operation) if operation.name not in fixed else ():
            if source.name in fixed:
                edges[source.name] = source.output
    weights = [w for o in model.operations if o.name in fixed for w in getattr(o, "weights", [])]
    if not weights or not edges:
        raise ConfigError(
            "--cache-features needs frozen layers at the input and trained ones at the output: "
            "use --freeze backbone or --freeze all."
        )
    kept = list(edges.values())
    return keras.Model(model.inputs, kept), keras.Model(kept, model.output)


@dataclass(frozen=True, slots=True)
class FeatureCacheReport:
    """What a feature cache costs and saves.

    Attributes:
        views: Views per image.
        computed: Views computed now; the others were on disk.
        seconds: Time of the computation.
        mebibytes: Disk space of all views.
        epoch_s: Time saved per epoch, of augmentation and frozen layers; 0 when nothing was
            computed and so nothing was measured.
    """

    views: int
    computed: int
    seconds: float
    mebibytes: float
    epoch_s: float

    def __str__(self) -> str:
        summary = f"features of {self.views} views per image: {self.mebibytes:.0f} MB on disk, "
        if not self.computed:
            return f"{summary}all from an earlier run"
        return (
            f"{summary}{self.computed} computed in {self.seconds:.1f} s; each epoch saves "
            f"{self.epoch_s:.1f} s of augmentation and frozen layers"
        )


@dataclass(frozen=True, slots=True, eq=False)
class FeatureCache:
    """Batches of features: a `BatchSource`.

    Attributes:
        images: The batches of images that the features stand for.
        front: The frozen layers.
        views: Views per image.
    """

    images: DatasetBatches
    front: keras.Model
    views: int
    folder: Path

    @classmethod
    def create(
        cls, images: DatasetBatches, front: keras.Model, views: int, folder: Path
    ) -> FeatureCache:
        """A cache in a subfolder for these weights, data and augmentation."""
        whole = hashlib.sha256(images.dataset.sha256().encode())
        for weight in front.weights:
            whole.update(keras.ops.convert_to_numpy(weight).tobytes())
        changes = re.sub(r" at 0x[0-9a-f]+", "", repr(images.augment))
        whole.update(f"{images.size_wh} {images.seed} {images.rows} {changes}".encode())
        return cls(images, front, views, folder / whole.hexdigest()[:16])

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return self.images.steps

    def plan(self, epoch: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Epoch, step and image indices of each batch of an epoch."""
        return self.images.plan(epoch)

    def make(self, epoch: int, step: int, chosen: np.ndarray) -> tuple[tuple[F32, ...], Labels]:  # noqa: ARG002
        """Feature maps and labels of one batch, as ``fit`` takes them.

        Raises:
            ConfigError: A file of the cache is missing or broken.
        """
        kept = [self._read(int(which), epoch % self.views) for which in chosen]
        maps = tuple(
            np.stack([one[f"map{k}"] for one in kept]).astype(np.float32)
            for k in range(len(self.front.outputs))
        )
        labels = [name for name in kept[0] if not name.startswith("map")]
        return maps, {name: np.stack([one[name] for one in kept]) for name in labels}

    def compute(self, verbose: int = 0) -> FeatureCacheReport:
        """Compute the views that are not on disk yet.

        Raises:
            ConfigError: An image cannot be read, or the disk is full.
        """
        count = len(self.images.dataset)
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
            batches: Iterator[Batch] = stream_batches(_Views(self.images, parts))
            for part, batch in zip(parts, batches, strict=True):
                self._keep(part, batch)
                bar.add(len(part))
            size = sum(p.stat().st_size for p in self.folder.iterdir())
        except OSError as error:
            raise ConfigError(
                f"Features cannot be written ({error.strerror}): free some space, or cache fewer "
                "views (--cache-features).",
                file=self.folder,
            ) from error
        seconds = time.perf_counter() - started_s
        spared = seconds / len(todo) * count if todo else 0.0
        return FeatureCacheReport(self.views, len(todo), seconds, size / 2**20, spared)

    def _keep(self, part: Sequence[tuple[int, int]], batch: Batch) -> None:
        images = batch["images"].astype(np.float32)
        full = np.resize(images, (_BATCH, *images.shape[1:]))  # always full: one graph
        maps = [np.asarray(x, np.float16) for x in _listed(self.front.predict_on_batch([full]))]
        for n, (which, view) in enumerate(part):
            columns = {f"map{k}": x[n] for k, x in enumerate(maps)}
            columns |= {k: np.asarray(v)[n] for k, v in batch.items() if k != "images"}
            file = self._file(which, view)
            with replace_file(file) as path, path.open("wb") as out:
                np.savez(out, **columns)

    def _file(self, which: int, view: int) -> Path:
        return self.folder / f"{which:06d}-{view:03d}.npz"

    def _read(self, which: int, view: int) -> Labels:
        return read_arrays(
            self._file(which, view),
            "delete the file and continue with --resume, which computes it again",
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Views:
    """The views to compute, as a `BatchSource`."""

    images: DatasetBatches
    parts: Sequence[Sequence[tuple[int, int]]]

    @property
    def steps(self) -> int:
        return len(self.parts)

    def plan(self, epoch: int) -> Iterator[tuple[int, int, Sequence[tuple[int, int]]]]:
        for step, part in enumerate(self.parts):
            yield epoch, step, part

    def make(self, epoch: int, step: int, part: Sequence[tuple[int, int]]) -> Batch:  # noqa: ARG002
        examples, seed = self.images.dataset.examples, self.images.seed
        samples = [self.images.sample(examples[which], (seed, view, which)) for which, view in part]
        return collate(samples, self.images.size_wh, self.images.rows)


def _listed(maps: Any) -> list[np.ndarray]:  # noqa: ANN401
    return maps if isinstance(maps, list) else [maps]
