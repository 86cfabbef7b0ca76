"""The loader: batches of the input pipeline as a Keras ``PyDataset``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from edge.errors import EdgeError
from trainers.input.pipeline import BatchSource, identity, stream_batches


class Loader(keras.utils.PyDataset):
    """A stream of batches for ``fit`` that continues across epochs.

    Keras asks for batches by index from one thread. The order is decided here, and the threads
    of `stream_batches` work ahead, beyond the end of an epoch too; ``finish`` runs in them. A
    resumed run begins with a later ``epoch``. Keras wraps what its generators raise: the original
    error is in ``failure``.

    Attributes:
        failure: The error that stopped the stream.
    """

    def __init__(
        self, source: BatchSource, finish: Callable[[Any], object] = identity, *,
        threads: int = 2, epoch: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(workers=1, use_multiprocessing=False)
        self.failure: EdgeError | None = None
        self._steps = source.steps
        self._batches = stream_batches(
            source, workers=threads, epoch=epoch, epochs=None, finish=finish
        )

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: int) -> object:
        try:
            return next(self._batches)
        except EdgeError as error:
            self.failure = error
            raise

    def close(self) -> None:
        """Stop the workers."""
        self._batches.close()
