"""The MiniFASNet liveness network: wide crops of a face -> probability of a live person.

Each scale has a branch of MiniFASNet's topology (minivision-ai/Silent-Face-Anti-Spoofing, after
MobileFaceNet), which turns a crop ``(h, w, 3)`` into 128 features. For one frame, the three class
probabilities of each branch (the second is live, the others attacks) are averaged over the scales;
for T frames a convolution along time reads the features. Or there are no branches, and convolutions
over space and time read the crops themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import keras
import numpy as np
from keras import layers, ops

from trainers.networks.backbone import Tensor
from trainers.networks.config import BRANCH_BLOCKS, LivenessConfig

ALIVE = 1  # index of the live class
_CLASSES = 3
_FEATURES = 128
_STAGE_OUT = (64, 128, 128)
_DOWN = (103, 231, 308)


def build(config: LivenessConfig) -> keras.Model:
    """The network: float ``(N, T*S, h, w, 3)`` RGB 0..255 -> ``(N,)`` probability of life.

    Its parts can be found by name: ``scale0`` .. and ``over_time``.
    """
    width, height = config.input_wh
    clips = keras.Input((config.crops, height, width, 3), name="faces")
    if config.over_time == "conv3d":
        inner = over_space_time(config)
        live = inner(_stacked(clips, config))
    else:
        branches = [branch(config, row) for row in range(len(config.scales))]
        found = [part(_select_scale(clips, config, row)) for row, part in enumerate(branches)]
        live = _joined(found, config)
    return keras.Model(clips, ops.reshape(live, (-1,)), name="liveness")


def _select_scale(clips: Tensor, config: LivenessConfig, row: int) -> Tensor:
    """The crops of one scale: ``(N*T, h, w, 3)``."""
    width, height = config.input_wh
    return ops.reshape(clips[:, row :: len(config.scales)], (-1, height, width, 3))


def _stacked(clips: Tensor, config: LivenessConfig) -> Tensor:
    """The scales of each frame stacked as channels: ``(N, T, h, w, 3*S)``."""
    count = len(config.scales)
    return ops.concatenate([clips[:, row::count] for row in range(count)], axis=-1)


def _joined(found: list[Tensor], config: LivenessConfig) -> Tensor:
    """Combine the outputs of the branches, ``(N*T, 1, 1, C)`` each, into one probability."""
    if config.over_time == "none":
        alive = [x[..., ALIVE] for x in found]
        return sum(alive[1:], alive[0]) / len(alive)
    rows = [ops.reshape(x, (-1, config.frames, 1, _FEATURES)) for x in found]
    return over_features(config)(ops.concatenate(rows, axis=-1))


# --- the branches -----------------------------------------------------------------------------


def branch(config: LivenessConfig, row: int) -> keras.Model:
    """Build a branch: ``(h, w, 3)`` -> ``(1, 1, 3)`` class probabilities, or 128 features."""
    width, height = config.input_wh
    name = f"scale{row}"
    squeeze = config.branches[row] == "squeeze"
    images = keras.Input((height, width, 3), name=f"{name}_images")
    x = _conv(images, 32, f"{name}_stem", 3, 2)
    x = _depthwise(x, f"{name}_stem_dw", 3)
    blocks = BRANCH_BLOCKS[config.branches[row]]
    for stage, (hidden, channels) in enumerate(zip(blocks, _STAGE_OUT, strict=True)):
        x = _block(x, _DOWN[stage], channels, f"{name}_stage{stage}_down", 2)
        for i, width_px in enumerate(hidden):
            block = f"{name}_stage{stage}_m{i}"
            y = _block(x, width_px, channels, block, 1)
            if squeeze and i == len(hidden) - 1:
                y = _excited(y, channels, f"{block}_se")
            x = layers.Add(name=f"{block}_add")([x, y])
    x = _conv(x, 512, f"{name}_last", 1)
    x = layers.DepthwiseConv2D(x.shape[1:3], name=f"{name}_whole")(x)  # (1, 1, 512)
    x = layers.Conv2D(_FEATURES, 1, name=f"{name}_features")(x)
    if config.over_time == "none":
        x = layers.Conv2D(_CLASSES, 1, activation="softmax", name=f"{name}_answers")(x)
    return keras.Model(images, x, name=name)


def _act(x: Tensor, name: str) -> Tensor:
    return layers.PReLU(alpha_initializer="zeros", shared_axes=[1, 2], name=f"{name}_act")(x)


def _conv(x: Tensor, channels: int, name: str, kernel: int, stride: int = 1) -> Tensor:
    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    return _act(layers.Conv2D(channels, kernel, stride, name=name)(x), name)


def _depthwise(x: Tensor, name: str, kernel: int, stride: int = 1) -> Tensor:
    x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    return _act(layers.DepthwiseConv2D(kernel, stride, name=name)(x), name)


def _block(x: Tensor, hidden: int, channels: int, name: str, stride: int) -> Tensor:
    """Widen by 1x1, filter each channel by 3x3, narrow by 1x1 without activation."""
    x = _conv(x, hidden, f"{name}_wide", 1)
    x = _depthwise(x, f"{name}_dw", 3, stride)
    return layers.Conv2D(channels, 1, name=f"{name}_narrow")(x)


def _excited(x: Tensor, channels: int, name: str) -> Tensor:
    """Squeeze-and-excitation (Hu et al. 2018)."""
    y = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    y = layers.Conv2D(channels // 4, 1, activation="relu", name=f"{name}_squeeze")(y)
    y = layers.Conv2D(channels, 1, activation="sigmoid", name=f"{name}_excite")(y)
    return layers.Multiply(name=f"{name}_scale")([x, y])


def convolutions(name: str, kind: str) -> Iterator[str]:
    """Names of a branch's layers in the order in which MiniFASNet runs its convolutions."""
    yield from (f"{name}_stem", f"{name}_stem_dw")
    for stage, hidden in enumerate(BRANCH_BLOCKS[kind]):
        yield from (f"{name}_stage{stage}_down_{part}" for part in ("wide", "dw", "narrow"))
        for i in range(len(hidden)):
            block = f"{name}_stage{stage}_m{i}"
            yield from (f"{block}_{part}" for part in ("wide", "dw", "narrow"))
            if kind == "squeeze" and i == len(hidden) - 1:
                yield from (f"{block}_se_squeeze", f"{block}_se_excite")
    yield from (f"{name}_last", f"{name}_whole", f"{name}_features", f"{name}_answers")


# --- over time --------------------------------------------------------------------------------


def over_features(config: LivenessConfig) -> keras.Model:
    """Convolutions along time over the branches' features: ``(T, 1, 128*S)`` -> ``(1, 1, 1)``.

    They are 1-D, written as 2-D with a width of 1.
    """
    rows = keras.Input((config.frames, 1, _FEATURES * len(config.scales)), name="rows")
    x = rows
    for i, channels in enumerate((64, 32)):
        x = layers.Conv2D(
            channels, (3, 1), padding="same", activation="relu", name=f"over_time_conv{i}"
        )(x)
    x = layers.GlobalAveragePooling2D(keepdims=True, name="over_time_pool")(x)
    x = layers.Conv2D(1, 1, activation="sigmoid", name="over_time_answer")(x)
    return keras.Model(rows, x, name="over_time")


def over_space_time(config: LivenessConfig) -> keras.Model:
    """Convolutions over space and time: ``(T, h, w, 3*S)`` -> ``(1, 1, 1, 1)``."""
    width, height = config.input_wh
    clip = keras.Input((config.frames, height, width, 3 * len(config.scales)), name="clip")
    x = layers.Rescaling(1 / 127.5, -1, name="over_time_rescale")(clip)
    widths = (12, 24, 48, 64)
    for i, (_, channels) in enumerate(pairwise((0, *widths))):
        time = 2 if i >= 2 and config.frames > 2 else 1
        x = layers.Conv3D(
            channels, 3, (time, 2, 2), padding="same", activation="relu", name=f"over_time_conv{i}"
        )(x)
    x = layers.GlobalAveragePooling3D(keepdims=True, name="over_time_pool")(x)
    x = layers.Conv3D(1, 1, activation="sigmoid", name="over_time_answer")(x)
    return keras.Model(clip, x, name="over_time")


def index_layers(network: keras.Model) -> dict[str, keras.layers.Layer]:
    """The layers of all parts by name."""
    parts = [layer for layer in network.layers if isinstance(layer, keras.Model)]
    return {layer.name: layer for part in parts for layer in part.layers}


def build_blank_clip(config: LivenessConfig) -> np.ndarray:
    """A clip of zeros: ``(1, T*S, h, w, 3)`` uint8."""
    width, height = config.input_wh
    return np.zeros((1, config.crops, height, width, 3), np.uint8)
