"""The network of 68 points: an aligned face -> where its points lie, made for CPUs.

A slim backbone, whose last two maps are squeezed to a few numbers each; one layer makes points of
them. The backbone sees where things are, so that no map of each point is needed.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from edge.models.landmarks import POINTS68
from edge.types import F32
from trainers.networks.backbone import LayerFactory, backbone
from trainers.networks.config import LandmarkConfig

_UNIT = 1 / 24  # of the side, for the last layer: about how far faces differ from the mean one


def build(config: LandmarkConfig) -> keras.Model:
    """The network: float ``(B, h, w, 3)`` RGB 0..255 -> points ``(B, 68, 2)``, network pixels."""
    kit = LayerFactory("relu", config.norm, depthwise=True)
    side = config.input_wh[0]
    images = keras.Input((side, side, 3), name="images")
    x = layers.Rescaling(1 / 127.5, -1, name="head_rescale")(images)
    parts = []
    for stride, features in zip((16, 32), backbone("slim")(x, kit, config.width)[1:], strict=True):
        narrow = kit.conv(features, config.shape // 2, f"head_narrow{stride}")
        x = layers.Conv2D(config.shape, side // stride, name=f"head_squeeze{stride}")(narrow)
        parts.append(layers.Activation("relu", name=f"head_squeeze{stride}_act")(x))
    x = layers.Concatenate(name="head_concat")(parts)
    x = layers.Conv2D(2 * POINTS68, 1, name="head_points")(x)
    x = layers.Rescaling(side * _UNIT, side / 2, name="head_pixels")(x)
    points = layers.Reshape((POINTS68, 2), name="points", dtype="float32")(x)
    return keras.Model(images, points, name="edge_landmarks")


def begin_with(network: keras.Model, mean: F32) -> None:
    """Let an untrained network give about the mean ``(68, 2)`` points, network pixels."""
    layer, side = network.get_layer("head_points"), network.input.shape[1]
    kernel, _ = layer.get_weights()
    bias = (mean.reshape(-1) / side - 0.5) / _UNIT
    layer.set_weights([kernel * 0.1, np.asarray(bias, np.float32)])
