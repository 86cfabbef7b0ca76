"""The training task of a detector: a network with its loss."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from trainers.losses.detection import LossConfig, yolo_loss
from trainers.networks.backbone import Tensor
from trainers.networks.config import NetworkConfig


class YoloTask(keras.Model):
    """Wraps a network; ``x`` is uint8 ``(B, h, w, 3)`` RGB, ``y`` the labels of the batch.

    Only ``network`` is saved: the task itself has no weights. Where ``x`` holds cached features,
    ``trained`` are the layers behind the frozen ones.
    """

    def __init__(
        self, network: keras.Model, config: NetworkConfig, loss: LossConfig,
        trained: keras.Model | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name="yolo_task")
        self.network = network
        self.trained = network if trained is None else trained
        self.network_config = config
        self.loss_config = loss
        names = ["box", "object", "class", *(["points"] if config.landmarks else [])]
        self._parts = {name: keras.metrics.Mean(name=name) for name in names}

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        """uint8 ``(B, h, w, 3)``, or features -> raw rows ``(B, A, 5 + C [+ 10])``."""
        images = keras.tree.map_structure(lambda x: ops.cast(x, "float32"), images)
        return self.trained(images, training=training)

    def example(self) -> Any:  # noqa: ANN401
        """An ``x`` of one picture, to build with."""
        zeros = [np.zeros((1, *x.shape[1:]), np.float32) for x in self.trained.inputs]
        return zeros if self.trained is not self.network else zeros[0]

    def compute_loss(self, x: Any, y: Any, y_pred: Any, *_: Any, **__: Any) -> Tensor:  # noqa: ANN401, ARG002
        """The sum of the parts; each part is also a metric."""
        parts = yolo_loss(y_pred, y, self.network_config, self.loss_config)
        for name, part in parts.items():
            self._parts[name].update_state(part)
        return sum(parts.values())

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Loss and its parts."""
        return [*super().metrics, *self._parts.values()]
