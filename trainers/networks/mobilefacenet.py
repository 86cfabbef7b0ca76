"""The MobileFaceNet encoder: aligned face -> embedding of unit length, made for CPUs.

Inverted residuals at strides 4, 8 and 16 and one depthwise convolution over the last map, which
weighs every position of a face differently (Chen et al. 2018). Where the original has PReLU this
one has ReLU by default, which runtimes fuse into the convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras import layers, ops

from edge.vision.face_crops import FACE_PX
from trainers.networks.backbone import Tensor
from trainers.networks.config import EncoderConfig, Norm


@keras.saving.register_keras_serializable("edgewatch")
class Fading(layers.Layer):
    """PReLU with fading slopes: ``max(x, 0) + left * slope * min(x, 0)``, ``left`` from 1 to 0.

    Weights of a network with PReLU stay useful while it learns to do without the slopes.
    """

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Create a slope per channel and the remaining fraction."""
        shape = (input_shape[-1],)
        self.slope = self.add_weight(
            name="slope", shape=shape, initializer="zeros", trainable=False
        )
        self.left = self.add_weight(name="left", shape=(), initializer="ones", trainable=False)

    def call(self, x: Tensor) -> Tensor:
        """Any shape, channels last."""
        return ops.where(x > 0, x, x * (self.left * self.slope))


@dataclass(frozen=True, slots=True)
class _LayerFactory:
    """Builds convolutions with the normalization and activation of the encoder."""

    norm: Norm
    fading: bool
    activation: str

    def conv(
        self, x: Tensor, channels: int, name: str, kernel: int = 1, stride: int = 1,
        *, act: bool = True, whole: bool = False,
    ) -> Tensor:  # fmt: skip
        """Convolution, normalization, activation; ``channels`` 0 is depthwise."""
        padding = "valid" if stride == 2 or whole else "same"
        if stride == 2:  # as torch pads: at the near edge
            x = layers.ZeroPadding2D(((1, 0), (1, 0)), name=f"{name}_pad")(x)
        bias = self.norm == "none"
        if channels:
            layer = layers.Conv2D(channels, kernel, stride, padding, use_bias=bias, name=name)
        else:
            layer = layers.DepthwiseConv2D(kernel, stride, padding, use_bias=bias, name=name)
        x = layer(x)
        if self.norm == "batch":
            x = layers.BatchNormalization(epsilon=1e-3, momentum=0.97, name=f"{name}_bn")(x)
        if not act:
            return x
        if self.activation == "prelu":
            return layers.PReLU("zeros", shared_axes=[1, 2], name=f"{name}_act")(x)
        if self.fading:
            return Fading(name=f"{name}_act")(x)
        return layers.Activation("relu", name=f"{name}_act")(x)

    def block(self, x: Tensor, inner: int, channels: int, name: str, stride: int = 1) -> Tensor:
        """Widen, 3x3 depthwise, narrow: ``(B, h, w, C)`` -> ``(B, h/s, w/s, channels)``."""
        y = self.conv(x, inner, f"{name}_widen")
        y = self.conv(y, 0, f"{name}_depth", 3, stride)
        return self.conv(y, channels, f"{name}_narrow", act=False)


def build(config: EncoderConfig) -> keras.Model:
    """The encoder: float ``(B, 112, 112, 3)`` RGB 0..255 -> ``(B, D)`` of unit length."""
    kit = _LayerFactory(config.norm, config.fading, config.activation)
    faces = keras.Input((FACE_PX, FACE_PX, 3), name="faces")
    x = layers.Rescaling(1 / 128, -127.5 / 128, name="rescale")(faces)
    x = kit.conv(x, config.stem, "stem", 3, 2)
    x = kit.conv(x, 0, "stem_depth", 3)
    stages = zip(config.widths, config.depths, config.inner, config.down, strict=True)
    for number, (width, depth, inner, down) in enumerate(stages, start=1):
        x = kit.block(x, down, width, f"stage{number}_down", 2)
        for index in range(depth):
            y = kit.block(x, inner, width, f"stage{number}_{index}")
            x = layers.Add(name=f"stage{number}_{index}_add")([x, y])
    x = kit.conv(x, config.last, "last")
    x = kit.conv(x, 0, "whole", FACE_PX // 16, act=False, whole=True)  # (B, 1, 1, last)
    x = layers.Conv2D(config.dimension, 1, name="embedding")(x)
    x = layers.Reshape((config.dimension,), name="row")(x)
    unit = layers.UnitNormalization(name="embeddings", dtype="float32")(x)
    return keras.Model(faces, unit, name="edge_encoder")


def convolutions(config: EncoderConfig) -> list[str]:
    """Names of the convolutions, in the order in which they run."""
    names = ["stem", "stem_depth"]
    for number, depth in enumerate(config.depths, start=1):
        for block in ("down", *map(str, range(depth))):
            names += [f"stage{number}_{block}_{part}" for part in ("widen", "depth", "narrow")]
    return [*names, "last", "whole", "embedding"]


def set_remaining_slope(encoder: keras.Model, left: float) -> None:
    """Set the fraction of the slopes that the fading activations keep."""
    for layer in encoder.layers:
        if isinstance(layer, Fading):
            layer.left.assign(left)
