"""Weight averaging: the mean of the last steps is validated and saved, not the last step."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

_EVERY = 8  # steps between updates: cheap, and the statistics move slowly


class SwapAverages(keras.callbacks.SwapEMAWeights):
    """Swaps the averages in after each epoch, for the callbacks behind it, and out again.

    The optimizer averages trained weights, but not the statistics of batch normalization. Those of
    the last step do not fit averaged weights, so that early in a run nothing is detected. So they
    are averaged here over the same span, with the momentum of the optimizer.
    """

    def __init__(self, momentum: float) -> None:
        super().__init__(swap_on_epoch=True)
        self._momentum = momentum
        self._steps = 0
        self._average: list[np.ndarray] = []
        self._own: list[np.ndarray] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Start from the current statistics."""
        self._average = self._now()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Update the averages every few steps."""
        self._steps += 1
        if self._steps % _EVERY == 0:
            self._blend(_EVERY)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Restore the trained statistics."""
        super().on_epoch_begin(epoch, logs)
        if self._own is not None:
            self._put(self._own)
            self._own = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Swap the averages in."""
        self._blend(self._steps % _EVERY)
        self._steps = 0
        super().on_epoch_end(epoch, logs)
        self._own = self._now()
        self._put(self._average)

    def _statistics(self) -> list[Any]:
        if hasattr(self.model, "jax_state_sync"):  # JAX trains on copies
            self.model.jax_state_sync()
        return [v for v in self.model.non_trainable_variables if "/moving_" in v.path]

    def _now(self) -> list[np.ndarray]:
        return [np.array(keras.ops.convert_to_numpy(v)) for v in self._statistics()]

    def _put(self, values: list[np.ndarray]) -> None:
        for variable, value in zip(self._statistics(), values, strict=True):
            variable.assign(value)

    def _blend(self, steps: int) -> None:
        if not steps:
            return
        kept = self._momentum**steps
        for average, now in zip(self._average, self._now(), strict=True):
            average *= kept
            average += (1 - kept) * now
