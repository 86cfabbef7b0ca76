"""Averages: shown between epochs, gone while it trains."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from trainers.run.weight_averaging import SwapAverages


class Watch(keras.callbacks.Callback):
    """What the statistics are after each epoch, and when the next one begins."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[float] = []
        self.begun: list[float] = []

    def _mean(self) -> float:
        return float(keras.ops.convert_to_numpy(self.model.layers[-1].moving_mean)[0])

    def on_epoch_begin(self, epoch, logs=None):
        self.begun.append(self._mean())

    def on_epoch_end(self, epoch, logs=None):
        self.shown.append(self._mean())


def test_statistics_of_normalisation_are_averaged_like_the_weights():
    model = keras.Sequential([keras.Input((1,)), keras.layers.BatchNormalization(momentum=0.0)])
    optimizer = keras.optimizers.SGD(0.0, use_ema=True, ema_momentum=0.5)
    model.compile(optimizer, "mse")
    before, after = Watch(), Watch()
    inputs = np.repeat(np.float32([1, 3]), 16)[:, None]  # an epoch: one batch of 1, one of 3
    model.fit(
        inputs, inputs, batch_size=16, epochs=2, shuffle=False, verbose=0,
        callbacks=[before, SwapAverages(0.5), after],
    )  # fmt: skip
    assert before.shown == [3, 3]  # momentum 0: the last batch's own mean
    assert after.begun == [0, 3]  # the average is out again when it trains on
    first = 0.25 * 0 + 0.75 * 3  # both steps of the epoch at once
    assert after.shown == pytest.approx([first, 0.25 * first + 0.75 * 3])
