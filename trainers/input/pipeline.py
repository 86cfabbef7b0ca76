"""The input pipeline: from labeled images to batches, by threads, reproducibly.

Reading, augmentation and letterboxing run in threads (OpenCV and the file system release the
interpreter lock). Each sample of each epoch has a random generator of its own, and batches come in
order, so the number of workers affects speed only.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypedDict, TypeVar

import numpy as np

from edge.atomic_file import write_file
from edge.errors import ConfigError, WorkerError, translate_unexpected
from edge.types import F32, I32, U8, RgbPicture
from edge.vision.preprocess import letterbox, place_letterbox
from edge.vision.resize import resize
from trainers.augment.augment import Augment, apply, bind
from trainers.data.dataset import POINTS, Dataset, Example, Sample, unknown_points

_AHEAD = 2  # batches queued per worker: hides slow images, bounds memory
_OVERSAMPLE = 1.5  # cached images are larger than the network input, for crops


class Batch(TypedDict):
    """B images and their labels, padded to G rows.

    ``images`` (B, h, w, 3) uint8 RGB, letterboxed; ``boxes`` (B, G, 4) xyxy in network pixels,
    padded with 0; ``class_id`` (B, G), padded with -1; ``landmarks`` (B, G, 5, 2) in network
    pixels, NaN where unknown and in the padding; ``weight`` (B, G), padded with 0.
    """

    images: U8
    boxes: F32
    class_id: I32
    landmarks: F32
    weight: F32


@dataclass(eq=False)
class ImageCache:
    """Images of a data set, shrunk to the size that training needs and cached.

    Memory comes first, then the disk cache, then the file; each returns the same pixels.

    Attributes:
        size_wh: Input size of the network.
        oversample: Factor by which cached images exceed their size in the network; 1 caches
            what the letterbox would make.
        folder: Disk cache of raw pixels, keyed by a hash of file and size.
        ram_bytes: Limit of the images cached in memory.
    """

    size_wh: tuple[int, int]
    oversample: float
    folder: Path | None = None
    ram_bytes: int = 2 << 30
    _kept: dict[Path, U8] = field(default_factory=dict, repr=False)
    _kept_bytes: int = field(default=0, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def load(self, example: Example) -> Sample:
        """Load an image and its labels at the cached size.

        Raises:
            ConfigError: The image is missing, broken or of another size.
        """
        source_wh = example.size_wh
        _, (w, h) = place_letterbox(source_wh, self.size_wh)
        grow = min(self.oversample, source_wh[0] / w, source_wh[1] / h)  # never above the source
        kept_wh = (round(w * grow), round(h * grow))
        scale = np.array([kept_wh[0] / source_wh[0], kept_wh[1] / source_wh[1]], np.float32)
        return example.with_pixels(self._pixels(example, kept_wh)).move_labels(scale)

    def _pixels(self, example: Example, kept_wh: tuple[int, int]) -> U8:
        image = self._kept.get(example.path)
        if image is not None:
            return image
        file = self._file(example, kept_wh)
        image = _read_raw(file, kept_wh) if file else None
        if image is None:
            source = example.load().image
            image = source if example.size_wh == kept_wh else resize(source, kept_wh)
            if file:
                self._write_raw(file, image)
        with self._lock:
            if self._kept_bytes + image.nbytes <= self.ram_bytes and example.path not in self._kept:
                self._kept[example.path] = image
                self._kept_bytes += image.nbytes
        return image

    def _file(self, example: Example, kept_wh: tuple[int, int]) -> Path | None:
        folder = self.folder  # another thread may turn the cache off
        if folder is None:
            return None
        try:
            state = example.path.stat()
        except OSError as error:
            raise ConfigError(
                f"This picture cannot be read ({error.strerror}): restore it.", file=example.path
            ) from error
        key = f"{example.path.resolve()}\n{state.st_mtime_ns}\n{state.st_size}\n{kept_wh}"
        return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.rgb"

    def _write_raw(self, file: Path, image: U8) -> None:
        """Cache an image on disk; a full disk turns the disk cache off and training continues."""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_file(file, image.tobytes())
        except OSError:
            self.folder = None


def _read_raw(file: Path, kept_wh: tuple[int, int]) -> U8 | None:
    try:
        raw = np.fromfile(file, np.uint8)
    except OSError:
        return None
    w, h = kept_wh
    return raw.reshape(h, w, 3) if raw.size == w * h * 3 else None


def select_largest(sample: Sample, max_labels: int) -> Sample:
    """The largest labels, at most ``max_labels``."""
    if len(sample) <= max_labels:
        return sample
    size = (sample.xyxy[:, 2:] - sample.xyxy[:, :2]).prod(1)
    return sample[np.sort(np.argsort(-size, kind="stable")[:max_labels])]


def collate(samples: Sequence[Sample], size_wh: tuple[int, int], rows: int) -> Batch:
    """Letterbox images and pad labels to ``rows``; boxes are clipped to the image."""
    b = len(samples)
    batch = Batch(
        images=np.empty((b, size_wh[1], size_wh[0], 3), np.uint8),
        boxes=np.zeros((b, rows, 4), np.float32),
        class_id=np.full((b, rows), -1, np.int32),
        landmarks=unknown_points(b * rows).reshape(b, rows, POINTS, 2),
        weight=np.zeros((b, rows), np.float32),
    )
    for n, whole in enumerate(samples):
        sample = select_largest(whole.inside(), rows)
        placed = letterbox(RgbPicture(sample.image), batch["images"][n])
        sample = sample.move_labels(placed.scale_xy, placed.pad_xy)
        g = len(sample)
        batch["boxes"][n, :g] = sample.xyxy
        batch["class_id"][n, :g] = sample.class_id
        batch["landmarks"][n, :g] = sample.landmarks
        batch["weight"][n, :g] = sample.weight
    return batch


def default_rows(dataset: Dataset, augments: Sequence[Augment]) -> int:
    """G: the most labels of an image, or of four for a mosaic; a multiple of 8, at most 128."""
    max_labels = max((len(e) for e in dataset.examples), default=0)
    joined = 4 if any(getattr(a, "joins", False) for a in augments) else 1
    return min(128, max(8, -(-max_labels * joined // 8) * 8))


def plan_epoch(n: int, batch: int, seed: int, epoch: int, *, shuffle: bool) -> list[np.ndarray]:
    """Indices of the images in each batch of an epoch.

    Shuffled batches are always full: the remainder is left to other epochs, and fewer images
    than a batch repeat. Unshuffled batches hold every image once; the last one may be short.
    """
    if not shuffle:
        return [np.arange(start, min(start + batch, n)) for start in range(0, n, batch)]
    order = np.random.default_rng((seed, epoch)).permutation(n)
    steps = max(1, n // batch)
    return list(np.resize(order, steps * batch).reshape(steps, batch))


@dataclass(frozen=True, slots=True, eq=False)
class DatasetBatches:
    """Batches of a data set: a `BatchSource`. ``make`` is pure except for the cache.

    Attributes:
        size_wh: Input size of the network.
        batch: B.
        augment: Augmentations of a sample, in order.
        seed: Seed of every random choice.
        rows: G, labels per image.
        shuffle: Use a new order in each epoch, and full batches only.
    """

    dataset: Dataset
    size_wh: tuple[int, int]
    batch: int
    augment: tuple[Augment, ...]
    seed: int
    rows: int
    shuffle: bool
    pictures: ImageCache

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return len(plan_epoch(len(self.dataset), self.batch, 0, 0, shuffle=self.shuffle))

    def plan(self, epoch: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Epoch, step and image indices of each batch of an epoch."""
        order = plan_epoch(len(self.dataset), self.batch, self.seed, epoch, shuffle=self.shuffle)
        for step, chosen in enumerate(order):
            yield epoch, step, chosen

    def make(self, epoch: int, step: int, chosen: np.ndarray) -> Batch:
        """Make a batch.

        Raises:
            ConfigError: An image is missing or broken.
            WorkerError: Anything else went wrong; names the image.
        """
        samples = [
            self.sample(self.dataset.examples[int(which)], (self.seed, epoch, step, place))
            for place, which in enumerate(chosen)
        ]
        return collate(samples, self.size_wh, self.rows)

    def sample(self, example: Example, seed: tuple[int, ...]) -> Sample:
        """Load and augment an image with the random generator of ``seed``.

        Raises:
            ConfigError: The image is missing or broken.
            WorkerError: Anything else went wrong; names the image.
        """
        rng = np.random.default_rng(seed)
        with locate_picture(example.path):
            return apply(self.augment, self.pictures.load(example), rng)


@contextlib.contextmanager
def locate_picture(path: Path) -> Iterator[None]:
    """Name the image in errors raised inside.

    Raises:
        WorkerError: In place of any error that is not an `EdgeError`.
    """
    with translate_unexpected(
        lambda error: WorkerError(f"{type(error).__name__}: {error}", file=path)
    ):
        yield


def build_batches(
    dataset: Dataset,
    size_wh: tuple[int, int],
    batch: int,
    augment: Sequence[Augment] = (),
    *,
    seed: int = 0,
    shuffle: bool = True,
    rows: int | None = None,
    cache: Path | None = None,
    ram_bytes: int = 2 << 30,
) -> DatasetBatches:
    """Batches of a data set with an image cache; see `DatasetBatches` and `ImageCache`.

    Raises:
        ConfigError: The data set is empty.
    """
    if not dataset.examples:
        raise ConfigError("The data set holds no picture: check the folder and its format.")
    pictures = ImageCache(size_wh, _OVERSAMPLE if augment else 1.0, cache, ram_bytes)

    def draw(rng: np.random.Generator) -> Sample:
        return pictures.load(dataset.examples[int(rng.integers(len(dataset)))])

    return DatasetBatches(
        dataset, size_wh, batch, tuple(bind(augment, draw)), seed,
        rows or default_rows(dataset, augment), shuffle, pictures,
    )  # fmt: skip


class BatchSource(Protocol):
    """What ``stream_batches`` takes: batches of images, of cached features, or of clips."""

    @property
    def steps(self) -> int:
        """Batches per epoch."""

    def plan(self, epoch: int) -> Iterator[tuple[int, int, Any]]:
        """Epoch, step and contents of each batch of an epoch."""

    def make(self, epoch: int, step: int, chosen: Any) -> Any:  # noqa: ANN401
        """Make a batch."""


T = TypeVar("T")


def identity(batch: Any) -> Any:  # noqa: ANN401
    """The batch as it is."""
    return batch


def stream_batches(
    source: BatchSource,
    *,
    workers: int = 2,
    epoch: int = 0,
    epochs: int | None = 1,
    finish: Callable[[Any], T] = identity,
) -> Generator[T, None, None]:
    """Yield the batches of ``epochs`` epochs (None: endlessly), prepared ahead across epochs.

    A resumed run begins with a later ``epoch``. ``finish`` is applied to each batch in its worker;
    0 workers make each batch when it is requested.

    Raises:
        ConfigError: An image is missing or broken.
        WorkerError: A worker failed.
    """
    rounds = itertools.count(epoch) if epochs is None else range(epoch, epoch + epochs)
    plan = itertools.chain.from_iterable(source.plan(e) for e in rounds)
    if not workers:
        for task in plan:
            yield finish(source.make(*task))
        return

    def work(epoch: int, step: int, chosen: Any) -> T:  # noqa: ANN401 - of the source
        return finish(source.make(epoch, step, chosen))

    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
    try:
        for task in plan:
            waiting.append(pool.submit(work, *task))
            if len(waiting) >= workers * _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # also when the consumer stops early or a worker failed
        pool.shutdown(wait=True, cancel_futures=True)
