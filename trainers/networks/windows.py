"""A classifier over a whole picture at once: every window's classes in one pass.

The mean over the last map becomes a mean over the part of it that belongs to a window, and the
layer behind it a convolution (Sermanet et al. 2014, OverFeat), so that windows share what they have
in common. A window of another side is a window of the picture at another scale.

A window so sees what is around it. Its logits are those of the window cut out together with its
surroundings as far as the network's receptive field reaches; cut out alone it would have zeros
there, since convolutions pad with them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import keras
import numpy as np
from keras import layers

from edge.errors import ConfigError
from edge.types import F32
from trainers.networks.backbone import Tensor
from trainers.networks.classifier import build
from trainers.networks.config import STRIDES, ClassifierConfig, Config

BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class WindowConfig(Config):
    """Which windows a classifier judges.

    Attributes:
        input_wh: Of the whole picture, multiples of 32.
        sides_wh: Of the windows, in pixels of that input.
        background: The class that is no object; empty where labels are independent.
    """

    input_wh: tuple[int, int]
    sides_wh: tuple[tuple[int, int], ...]
    background: str = ""


def check(config: ClassifierConfig, windows: WindowConfig) -> WindowConfig:
    """The windows with their background class, which may be called so.

    Raises:
        ConfigError: No class is the background, or no object; a side does not fit.
    """
    names = ", ".join(config.classes)
    background = windows.background or BACKGROUND * (BACKGROUND in config.classes)
    if background and background not in config.classes:
        raise ConfigError(f"--background {background} is no class of the run: use one of {names}")
    if not background and not config.independent:
        raise ConfigError(
            f"the classifier says of everything that it is one of {names}: name the class that is "
            "no object with --background, or train with a folder of what is not to be found, or "
            "with --independent"
        )
    if config.classes == (background,):
        raise ConfigError(f"{background} is the only class: train with one that is to be found")
    if any(side <= 0 or side % STRIDES[-1] for side in windows.input_wh):
        raise ConfigError(f"--input-size: must be multiples of {STRIDES[-1]}")
    stride = config.input_wh[0] // _last_map(build(config)).shape[2]
    for side_wh in windows.sides_wh:
        shown = "x".join(map(str, side_wh))
        if min(side_wh) < stride:
            raise ConfigError(
                f"--side {shown} is smaller than the {stride} pixels of a cell of the network's "
                f"last map: use {stride} and more, with a larger --input-size if objects are small"
            )
        if any(side > whole for side, whole in zip(side_wh, windows.input_wh, strict=True)):
            whole = "x".join(map(str, windows.input_wh))
            raise ConfigError(f"--side {shown} is larger than the picture, {whole}: use less")
    return replace(windows, background=background)


def list_objects(config: ClassifierConfig, windows: WindowConfig) -> tuple[str, ...]:
    """The classes without the background."""
    return tuple(name for name in config.classes if name != windows.background)


def choose_scaled_wh(
    config: ClassifierConfig, windows: WindowConfig, side_wh: tuple[int, int]
) -> tuple[int, int]:
    """Size of the picture at which a window of that side is as large as the classifier's input."""
    width, height = (
        max(own, round(whole * own / side / STRIDES[-1]) * STRIDES[-1])
        for whole, own, side in zip(windows.input_wh, config.input_wh, side_wh, strict=True)
    )
    return width, height


def _last_map(network: keras.Model) -> keras.KerasTensor:
    return network.get_layer("head_pool").input


def build_windows(
    network: keras.Model, config: ClassifierConfig, input_wh: tuple[int, int]
) -> keras.Model:
    """A classifier with its weights over a larger picture.

    Float ``(B, h, w, 3)`` RGB 0..255 -> ``(B, rows, columns, K)`` logits of the windows.
    """
    large = build(replace(config, input_wh=input_wh))
    for layer in large.layers:
        layer.set_weights(network.get_layer(layer.name).get_weights())
    window_hw = cast("tuple[int, int]", _last_map(network).shape[1:3])
    x = layers.AveragePooling2D(window_hw, 1, "valid", name="window_pool")(_last_map(large))
    head = network.get_layer("head_classes")
    logits = layers.Conv2D(len(config.classes), 1, name=head.name)
    whole = keras.Model(large.input, logits(x), name="edge_windows")
    logits.set_weights(head.get_weights())
    return whole


def list_boxes(
    config: ClassifierConfig, windows: WindowConfig, scaled_wh: tuple[int, int],
    grid_wh: tuple[int, int],
) -> F32:  # fmt: skip
    """``(A, 4)`` xyxy in pixels of the input, row by row: windows without the crops' margin."""
    own, grid = np.array(config.input_wh), np.array(grid_wh)
    stride = (np.array(scaled_wh) - own) / np.maximum(grid - 1, 1)
    column, row = np.meshgrid(np.arange(grid_wh[0]), np.arange(grid_wh[1]))
    center = np.stack([column.ravel(), row.ravel()], 1) * stride + own / 2
    half = np.broadcast_to(own / (1 + config.margin) / 2, center.shape)
    scale = np.tile(np.array(windows.input_wh) / np.array(scaled_wh), 2)
    return np.asarray(np.concatenate([center - half, center + half], 1) * scale, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class WindowClassifier:
    """A classifier over whole pictures, one network for each side.

    Attributes:
        networks: Of `build_windows`, by side.
    """

    config: ClassifierConfig
    windows: WindowConfig
    networks: tuple[keras.Model, ...]

    @classmethod
    def of(
        cls, network: keras.Model, config: ClassifierConfig, windows: WindowConfig
    ) -> WindowClassifier:
        """Of a trained classifier and windows that `check` has seen."""
        sizes = [choose_scaled_wh(config, windows, side) for side in windows.sides_wh]
        return cls(config, windows, tuple(build_windows(network, config, s) for s in sizes))

    def boxes(self) -> F32:
        """``(A, 4)`` xyxy in pixels of the input, side by side of the windows."""
        return np.concatenate([
            list_boxes(
                self.config, self.windows, network.input.shape[2:0:-1],
                network.output.shape[2:0:-1],
            )
            for network in self.networks
        ])  # fmt: skip

    def scores(self, images: Tensor) -> Tensor:
        """Float ``(B, h, w, 3)`` -> ``(B, A, C)`` probabilities of the classes but background."""
        count, found = len(self.config.classes), []
        for network in self.networks:
            size_hw = tuple(network.input.shape[1:3])
            scaled = keras.ops.image.resize(images, size_hw, "bilinear", antialias=False)
            found.append(keras.ops.reshape(network(scaled), (len(images), -1, count)))
        logits = keras.ops.concatenate(found, 1) / self.config.temperature
        each = keras.ops.sigmoid if self.config.independent else keras.ops.softmax
        chosen = [self.config.classes.index(n) for n in list_objects(self.config, self.windows)]
        return keras.ops.take(each(logits), np.array(chosen), axis=2)
