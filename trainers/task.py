"""A training task: the network with its loss, ready for compile, fit and evaluate."""

from __future__ import annotations

from typing import Any, Protocol

import keras
import numpy as np
from keras import ops

from trainers.backbone import Tensor
from trainers.losses import LossConfig, yolo_loss
from trainers.network import NetworkConfig


class Task(Protocol):
    """What ``run.train`` asks of a task beside being a Keras model."""

    network: keras.Model

    def blank(self) -> np.ndarray:
        """One input of nothing, to build the task with."""
        ...

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """All that a ``keras.Model`` has."""
        ...


class YoloTask(keras.Model):
    """Wraps a network; ``x`` is uint8 ``(B, h, w, 3)`` RGB, ``y`` the labels of the batch.

    Only ``network`` is saved: the task itself has no weights.
    """

    def __init__(self, network: keras.Model, config: NetworkConfig, loss: LossConfig) -> None:
        """Args: the network, what it was built from, and how its loss is weighed."""
        super().__init__(name="yolo_task")
        self.network = network
        self.network_config = config
        self.loss_config = loss
        names = ["box", "object", "class", *(["points"] if config.landmarks else [])]
        self._parts = {name: keras.metrics.Mean(name=name) for name in names}

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        """uint8 ``(B, h, w, 3)`` -> raw rows ``(B, A, 5 + C [+ 10])``."""
        return self.network(ops.cast(images, "float32"), training=training)

    def compute_loss(self, x: Any, y: Any, y_pred: Any, *_: Any, **__: Any) -> Tensor:  # noqa: ANN401, ARG002
        """The sum of the parts; each part is also a metric."""
        parts = yolo_loss(y_pred, y, self.network_config, self.loss_config)
        for name, part in parts.items():
            self._parts[name].update_state(part)
        return sum(parts.values())

    def blank(self) -> np.ndarray:
        """One picture of nothing: ``(1, h, w, 3)`` uint8."""
        width, height = self.network_config.input_wh
        return np.zeros((1, height, width, 3), np.uint8)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Loss and its parts."""
        return [*super().metrics, *self._parts.values()]
