"""Batches as Keras wants them: a ``PyDataset`` over the input pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from trainers.input.pipeline import Maker, as_it_is, stream


class Loader(keras.utils.PyDataset):
    """A stream of batches for ``fit``, going on across epochs.

    Keras asks for batches by number from one thread; the order is decided here, and the
    threads of ``stream`` work ahead, past the end of an epoch too. Keras wraps what its
    generators raise: the original error is in ``failure``.

    Attributes:
        failure: what stopped the stream, None while all is well.
    """

    def __init__(
        self,
        made: Maker,
        finish: Callable[[Any], object] = as_it_is,
        *,
        threads: int = 2,
        epoch: int = 0,
    ) -> None:
        """Start at ``epoch``.

        Args:
            made: what a batch looks like.
            finish: done to each batch in its worker: what ``fit`` is to get.
            threads: workers.
            epoch: the first epoch, ``initial_epoch`` of a resumed run.
        """
        super().__init__(workers=1, use_multiprocessing=False)
        self.failure: Exception | None = None
        self._steps = made.steps
        self._batches = stream(made, workers=threads, epoch=epoch, epochs=None, finish=finish)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self._steps

    def __getitem__(self, index: int) -> object:
        """The next batch; which one is asked for does not matter."""
        try:
            return next(self._batches)
        except Exception as error:
            self.failure = error
            raise

    def close(self) -> None:
        """Stop the workers."""
        self._batches.close()
