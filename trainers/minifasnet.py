"""Starting from MiniFASNet: the weights of its ONNX file in the layout of ``fasnet``.

Its file keeps each normalisation as a multiplication and an addition behind the convolution, and
takes blue-green-red pictures. Both are folded into the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from edge.errors import ConfigError, ModelError
from edge.types import F32
from trainers.archive import read_network
from trainers.fasnet import LivenessConfig, convolutions, layers_of


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """One convolution or matrix of a file, in Keras's layout.

    Attributes:
        kernel: ``(kh, kw, in, out)``; depthwise ``(kh, kw, in, 1)``.
        bias: ``(out,)``.
        slope: ``(out,)`` of the activation behind it below zero, or empty without one.
    """

    kernel: F32
    bias: F32
    slope: F32


def start_from(network: keras.Model, config: LivenessConfig, path: Path) -> int:
    """Load what fits from a ``.keras`` run of ours or an adopted MiniFASNet; how many layers.

    Raises:
        ConfigError: of another kind, or nothing fits.
        ModelError: unreadable.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist: check the path")
    if path.suffix == ".keras":
        count = _from_keras(network, path)
    elif path.suffix == ".onnx":
        count = _from_onnx(network, config, path)
    else:
        raise ConfigError(f"{path}: expected .keras or .onnx to start from")
    if not count:
        raise ConfigError(f"no weight of {path} fits this network: choose its scales and branches")
    return count


def _from_keras(network: keras.Model, path: Path) -> int:
    given = layers_of(read_network(path, "start from another file"))
    count = 0
    for name, layer in layers_of(network).items():
        weights = given[name].get_weights() if name in given else []
        if weights and [w.shape for w in weights] == [w.shape for w in layer.get_weights()]:
            layer.set_weights(weights)
            count += 1
    return count


def _from_onnx(network: keras.Model, config: LivenessConfig, path: Path) -> int:
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except (DecodeError, OSError) as error:
        raise ModelError(f"{path} is not an ONNX file: {error}") from error
    found = list(read(graph))
    names = [
        [*convolutions(f"scale{row}", kind)] for row, kind in enumerate(config.branches)
    ]  # the networks lie in the file one after the other
    if len(found) != sum(map(len, names)):
        raise ConfigError(
            f"{path} holds {len(found)} convolutions, this network {sum(map(len, names))}: start "
            "from the adopted pair (edge-deploy adopt FILE --family minifasnet --second FILE)"
        )
    by_name = layers_of(network)
    count = 0
    for name, source in zip((n for part in names for n in part), found, strict=True):
        count += name in by_name and _put(by_name, name, source)
    return count


def _put(by_name: dict[str, keras.layers.Layer], name: str, source: Convolution) -> bool:
    layer, kernel = by_name[name], source.kernel
    if name.endswith("_stem"):
        kernel = kernel[:, :, ::-1]  # it was trained on blue, green, red
    if tuple(layer.kernel.shape) != kernel.shape:
        return False
    layer.kernel.assign(kernel)
    layer.bias.assign(source.bias)
    if len(source.slope):
        by_name[f"{name}_act"].alpha.assign(source.slope.reshape(1, 1, -1))
    return True


def read(graph: onnx.GraphProto) -> Iterator[Convolution]:
    """Every convolution and matrix in the order of execution, what follows folded in."""
    value = {i.name: numpy_helper.to_array(i).astype(np.float32) for i in graph.initializer}
    users = {name: node for node in graph.node for name in node.input}  # the last one is enough
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm") or node.input[1] not in value:
            continue
        kernel = value[node.input[1]]  # (out, in, kh, kw) or (out, in)
        kernel = kernel.reshape(*kernel.shape, *(1,) * (4 - kernel.ndim))
        bias = value[node.input[2]] if len(node.input) > 2 else np.zeros(len(kernel), np.float32)
        slope = np.zeros(0, np.float32)
        after = users.get(node.output[0])
        while after is not None and len(after.input) == 2 and after.input[1] in value:
            factor = value[after.input[1]].ravel()
            if after.op_type == "Mul":
                kernel, bias = kernel * factor[:, None, None, None], bias * factor
            elif after.op_type == "Add":
                bias = bias + factor
            elif after.op_type == "PRelu":
                slope = factor
                break
            else:
                break
            after = users.get(after.output[0])
        depthwise = any(a.name == "group" and a.i > 1 for a in node.attribute)
        order = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
        yield Convolution(kernel.transpose(order), bias, slope)
