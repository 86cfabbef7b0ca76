"""Initial weights from MobileFaceNet: its ONNX file, pruned to the size of our encoder.

The encoder has the layers of the file with fewer channels inside; of each group those channels are
kept that affect the output of the group most on real faces.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from keras import layers

from edge.errors import ModelError
from edge.types import I64, U8
from trainers.networks.config import EncoderConfig
from trainers.networks.mobilefacenet import Fading, build, convolutions
from trainers.weights import onnx as onnxweights
from trainers.weights.onnx import Convolution
from trainers.weights.transfer import assign_layer

ORIGINAL = EncoderConfig(
    stem=64, inner=(128, 256, 256), down=(128, 256, 512), norm="none", fading=True
)


def read_parts(path: Path) -> dict[str, Convolution]:
    """The file's convolutions under the encoder's names.

    Raises:
        ModelError: It is not an ONNX file, or not of this layout.
    """
    found = list(onnxweights.convolutions(onnxweights.read_graph(path)))
    names = convolutions(ORIGINAL)
    original = build(ORIGINAL)
    shapes = [tuple(original.get_layer(name).kernel.shape) for name in names]
    if [part.kernel.shape for part in found] != shapes:
        raise ModelError(
            "This file does not have the layers of MobileFaceNet: start from another.", file=path
        )
    return dict(zip(names, found, strict=True))


def assign_weights(encoder: keras.Model, parts: dict[str, Convolution]) -> None:
    """Assign weights to the layers of the encoder; shapes must fit."""
    by_name = {layer.name: layer for layer in encoder.layers}
    for name, part in parts.items():
        assign_layer(by_name[name], by_name.get(f"{name}_bn"), part.kernel, part.bias)
        act = by_name.get(f"{name}_act")
        if isinstance(act, Fading):
            act.slope.assign(part.slope)
        elif isinstance(act, layers.PReLU):
            act.alpha.assign(part.slope.reshape(1, 1, -1))


def prune_channels(
    parts: dict[str, Convolution], config: EncoderConfig, faces: U8
) -> dict[str, Convolution]:
    """Prune the convolutions to the inner channels of ``config``, otherwise sized like the file.

    Some dozens of faces ``(N, 112, 112, 3)`` uint8 show which channels matter.
    """
    original = build(ORIGINAL)
    assign_weights(original, parts)
    thin = dict(parts)
    for names, reader, count in _groups(config):
        before = parts[names[0]]
        if count == before.kernel.shape[-1]:
            continue
        keep = _strongest(original, names[-1], parts[reader], faces, count)
        for name in names:
            thin[name] = _outputs(thin[name], keep)
        read = thin[reader]
        thin[reader] = replace(read, kernel=read.kernel[:, :, keep])
    return thin


def _groups(config: EncoderConfig) -> list[tuple[list[str], str, int]]:
    """Convolutions that share channels, the one that reads them, and how many to keep."""
    groups = [(["stem", "stem_depth"], "stage1_down_widen", config.stem)]
    for number, depth in enumerate(config.depths, start=1):
        for block in ("down", *map(str, range(depth))):
            name = f"stage{number}_{block}"
            count = (config.down if block == "down" else config.inner)[number - 1]
            groups.append(([f"{name}_widen", f"{name}_depth"], f"{name}_narrow", count))
    return groups


def _strongest(encoder: keras.Model, name: str, reader: Convolution, faces: U8, count: int) -> I64:
    """Channels of the activation of ``name`` that affect the output of ``reader`` most."""
    front = keras.Model(encoder.inputs, encoder.get_layer(f"{name}_act").output)
    activations = front.predict(faces.astype(np.float32), batch_size=32, verbose=0)
    effect = activations.std(axis=(0, 1, 2)) * np.linalg.norm(reader.kernel[0, 0], axis=1)
    return np.sort(np.argsort(-effect)[:count])


def _outputs(part: Convolution, keep: I64) -> Convolution:
    """The convolution with these output channels only."""
    depthwise = part.kernel.shape[:2] != (1, 1) and part.kernel.shape[3] == 1
    kernel = part.kernel[:, :, keep] if depthwise else part.kernel[..., keep]
    return Convolution(kernel, part.bias[keep], part.slope[keep])
