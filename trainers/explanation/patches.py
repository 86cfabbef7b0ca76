"""Patches: the parts of pictures that drive the units of a layer most (Zeiler & Fergus 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from edge.types import F32, U8, RgbPicture
from edge.vision.box_crops import cut_box
from trainers.explanation.structure import Axis, LayerRow, describe_layers

PATCHES = 9
_BATCH = 16
_LAYERS = 3
_PATCH_WH = (56, 56)


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """One channel of a map and what drives it.

    Attributes:
        layer: The row of the layer.
        channel: Its index.
        patches: ``(N, h, w, 3)`` uint8, N <= 9, by falling activation, each of another picture.
        activations: ``(N,)``.
    """

    layer: LayerRow
    channel: int
    patches: U8
    activations: F32


def choose_layers(network: keras.Model, count: int = _LAYERS) -> list[LayerRow]:
    """Activations early, in the middle and late in a network whose receptive field is known."""
    kinds = {"Activation", "PReLU", "Fading", "ReLU"}
    rows = [row for row in describe_layers(network) if row.kind in kinds and len(row.field) == 2]
    rows = [row for row in rows if row.name in {layer.name for layer in network.layers}]
    picked = np.linspace(0, len(rows) - 1, count + 1)[1:] if rows else ()
    return [rows[int(index)] for index in picked]


def find_patches(
    network: keras.Model, rows: Sequence[LayerRow], images: U8, units: int = 4
) -> list[Unit]:
    """The units of layers that differ most from picture to picture, and their nine best patches.

    Args:
        network: float ``(B, H, W, 3)`` -> anything.
        rows: Layers of it.
        images: ``(N, H, W, 3)`` uint8.
        units: Of each layer.
    """
    outputs = [network.get_layer(row.name).output for row in rows]
    observer = keras.Model(network.input, outputs)
    tops: list[list[Any]] = [[] for _ in rows]
    for start in range(0, len(images), _BATCH):
        batch = ops.convert_to_tensor(images[start : start + _BATCH].astype(np.float32))
        found = observer(batch, training=False)
        for kept, one in zip(tops, found if len(rows) > 1 else [found], strict=True):
            maps = ops.convert_to_numpy(one)  # (B, h, w, C)
            flat = maps.reshape(len(maps), -1, maps.shape[-1])
            kept.append((flat.max(1), flat.argmax(1)))
    result = []
    for row, kept in zip(rows, tops, strict=True):
        most, places = (np.concatenate(column) for column in zip(*kept, strict=True))  # (N, C)
        spread = most.std(0) / (np.abs(most).mean(0) + 1e-6)
        for channel in np.argsort(-spread, kind="stable")[:units].tolist():
            best = np.argsort(-most[:, channel], kind="stable")[:PATCHES]
            width = row.shape[1]
            cuts = [
                _cut(images[n], row.field, *divmod(int(places[n, channel]), width)) for n in best
            ]
            result.append(Unit(row, channel, np.stack(cuts), most[best, channel]))
    return result


def _cut(image: U8, field: Sequence[Axis], y: int, x: int) -> U8:
    """What a unit reads of an image, as far as that goes, letterboxed."""
    (top, bottom), (left, right) = (
        (axis.low + n * axis.step, axis.high + n * axis.step + 1)
        for axis, n in zip(field, (y, x), strict=True)
    )
    size = np.array([*image.shape[1::-1]] * 2, np.float32)
    read = np.clip(np.array([left, top, right, bottom], np.float32), 0, size)
    return cut_box(RgbPicture(image), read, _PATCH_WH)


def draw_filters(network: keras.Model, side_px: int = 48) -> U8 | None:
    """The weights of the first convolution on colors, ``(h, w, 3)``; None where there is none.

    Zero is gray; each filter is scaled by its largest weight. They are enlarged, never smoothed.
    """
    first = next(
        (
            layer for layer in network.layers
            if isinstance(layer, layers.Conv2D) and not isinstance(layer, layers.DepthwiseConv2D)
            and layer.kernel.shape[2] == 3
        ), None,
    )  # fmt: skip
    if first is None:
        return None
    kernel = ops.convert_to_numpy(first.kernel).transpose(3, 0, 1, 2)  # (C, k, k, 3)
    scale = np.abs(kernel).max((1, 2, 3), keepdims=True) + 1e-12
    tiles = np.asarray(np.round(127.5 + 127.5 * kernel / scale), np.uint8)
    times = max(1, side_px // kernel.shape[1])
    large = tiles.repeat(times, 1).repeat(times, 2)
    columns = min(len(large), 16)
    gap = 4
    height, width = large.shape[1] + gap, large.shape[2] + gap
    sheet = np.full((-(-len(large) // columns) * height, columns * width, 3), 255, np.uint8)
    for n, tile in enumerate(large):
        y, x = divmod(n, columns)
        sheet[y * height : y * height + tile.shape[0], x * width : x * width + tile.shape[1]] = tile
    return sheet
