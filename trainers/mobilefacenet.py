"""MobileFaceNet's layers as a start: read from an ONNX file, thinned to the encoder's size.

The file's layout is MXNet's: each convolution is followed by a scale and a shift (its folded
normalisation), and most by a PReLU. The encoder has the same layers with fewer channels inside;
of each group of channels those are kept that move the group's output most on real faces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from edge.errors import ModelError
from edge.types import F32, I64, U8
from trainers.encoder import EncoderConfig, Fading, build, convolutions

ORIGINAL = EncoderConfig(
    stem=64, inner=(128, 256, 256), down=(128, 256, 512), norm="none", fading=True
)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One convolution of the file, its scale and shift folded in.

    Attributes:
        kernel: Keras layout; depthwise ``(kh, kw, C, 1)``.
        bias: ``(out,)``.
        slope: ``(out,)`` of its PReLU, zeros without one.
    """

    kernel: F32
    bias: F32
    slope: F32


def read_parts(path: Path) -> dict[str, Part]:
    """The file's convolutions under the encoder's names.

    Raises:
        ModelError: no ONNX file, or not of this layout.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    try:
        graph = onnx.load(path, load_external_data=False).graph
    except (DecodeError, OSError) as error:
        raise ModelError(f"{path} is not an ONNX file: {error}") from error
    value = {i.name: numpy_helper.to_array(i).astype(np.float32) for i in graph.initializer}
    found: list[Part] = []
    for node in graph.node:
        known = [value[name] for name in node.input if name in value]
        if node.op_type == "Conv":
            depthwise = any(a.name == "group" and a.i > 1 for a in node.attribute)
            kernel = known[0].transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
            count = len(known[0])
            bias = known[1] if len(known) > 1 else np.zeros(count, np.float32)
            found.append(Part(kernel, bias, np.zeros(count, np.float32)))
        elif node.op_type == "Gemm":
            found.append(
                Part(known[0].T[None, None], known[1], np.zeros(len(known[0]), np.float32))
            )
        elif node.op_type in ("Mul", "Add", "PRelu") and found and known:
            found[-1] = _dressed(found[-1], node.op_type, known[0].ravel())
    names = convolutions(ORIGINAL)
    shapes = [tuple(layer.kernel.shape) for layer in _layers(build(ORIGINAL), names)]
    if [part.kernel.shape for part in found] != shapes:
        raise ModelError(f"{path} has not the layers of MobileFaceNet: start from another file")
    return dict(zip(names, found, strict=True))


def _dressed(part: Part, kind: str, value: F32) -> Part:
    """The part with the scale, shift or slope that follows it."""
    if kind == "PRelu":
        return replace(part, slope=value)
    if kind == "Add":
        return replace(part, bias=part.bias + value)
    depthwise = part.kernel.shape[3] == 1 and part.kernel.shape[2] == len(value)
    scale = value[:, None] if depthwise else value
    return replace(part, kernel=part.kernel * scale, bias=part.bias * value)


def _layers(encoder: keras.Model, names: list[str]) -> list[keras.layers.Layer]:
    by_name = {layer.name: layer for layer in encoder.layers}
    return [by_name[name] for name in names]


def put(encoder: keras.Model, parts: dict[str, Part]) -> None:
    """Give the encoder's layers their weights; shapes must fit."""
    by_name = {layer.name: layer for layer in encoder.layers}
    for name, part in parts.items():
        layer = by_name[name]
        layer.kernel.assign(part.kernel)
        if layer.use_bias:
            layer.bias.assign(part.bias)
        else:  # a normalisation that does nothing but add the bias
            norm = by_name[f"{name}_bn"]
            one, none = np.ones(len(part.bias)), np.zeros(len(part.bias))
            norm.set_weights([one * np.sqrt(1 + norm.epsilon), part.bias, none, one])
        act = by_name.get(f"{name}_act")
        if isinstance(act, Fading):
            act.slope.assign(part.slope)


def thinned(parts: dict[str, Part], config: EncoderConfig, faces: U8) -> dict[str, Part]:
    """The parts with as many channels as ``config`` has inside.

    Args:
        parts: of the file.
        config: same widths, depths, last and dimension as the file's; fewer channels inside.
        faces: ``(N, 112, 112, 3)`` uint8, some dozens: they tell which channels matter.
    """
    original = build(ORIGINAL)
    put(original, parts)
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
    """Convolutions that share channels, who reads them, and how many there are to be."""
    groups = [(["stem", "stem_depth"], "stage1_down_widen", config.stem)]
    for number, depth in enumerate(config.depths, start=1):
        for block in ("down", *map(str, range(depth))):
            name = f"stage{number}_{block}"
            count = (config.down if block == "down" else config.inner)[number - 1]
            groups.append(([f"{name}_widen", f"{name}_depth"], f"{name}_narrow", count))
    return groups


def _strongest(encoder: keras.Model, name: str, reader: Part, faces: U8, count: int) -> I64:
    """Channels of ``name``'s activation that move what ``reader`` makes of it most."""
    layer = next(x for x in encoder.layers if x.name == f"{name}_act")
    seen = keras.Model(encoder.inputs, layer.output).predict(
        faces.astype(np.float32), batch_size=32, verbose=0
    )
    moved = seen.std(axis=(0, 1, 2)) * np.linalg.norm(reader.kernel[0, 0], axis=1)
    return np.sort(np.argsort(-moved)[:count])


def _outputs(part: Part, keep: I64) -> Part:
    """Only these output channels."""
    depthwise = part.kernel.shape[:2] != (1, 1) and part.kernel.shape[3] == 1
    kernel = part.kernel[:, :, keep] if depthwise else part.kernel[..., keep]
    return Part(kernel, part.bias[keep], part.slope[keep])
