"""Weights of an ONNX file: its convolutions in the order of execution, in Keras's layout.

Files of MobileFaceNet and its relatives keep a normalization as a multiplication and an addition
behind the convolution, and the slope of a PReLU behind those. Once adopted, normalizations are in
the weights, and a PReLU is two depthwise convolutions (`deploy.graph.folding`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from edge.errors import ModelError, translate_unexpected
from edge.types import F32


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """A convolution or matrix with scale and shift folded in.

    Attributes:
        kernel: ``(kh, kw, in, out)``; depthwise ``(kh, kw, C, 1)``.
        bias: ``(out,)``.
        slope: ``(out,)`` of the activation behind it below zero, zeros without one.
    """

    kernel: F32
    bias: F32
    slope: F32


def read_graph(path: Path) -> onnx.GraphProto:
    """Read the graph of an ONNX file.

    Raises:
        ModelError: It is not an ONNX file.
    """
    try:
        return onnx.load(path, load_external_data=False).graph
    except (DecodeError, OSError) as error:
        raise ModelError(f"This is not an ONNX file: {error}", file=path) from error


def read_initializers(graph: onnx.GraphProto) -> dict[str, F32]:
    """The weights of the graph, by name.

    Raises:
        ModelError: One has another size than it declares, no type, or lies in another file.
    """
    with translate_unexpected(
        lambda error: ModelError(f"A weight of the ONNX file cannot be read: {error}")
    ):
        return {i.name: numpy_helper.to_array(i).astype(np.float32) for i in graph.initializer}


def to_keras_layout(kernel: F32, node: onnx.NodeProto) -> F32:
    """A node's kernel ``(out, in, kh, kw)`` as Keras lays it out."""
    depthwise = any(a.name == "group" and a.i > 1 for a in node.attribute)
    return kernel.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))


def convolutions(graph: onnx.GraphProto) -> Iterator[Convolution]:
    """All convolutions and matrices, with what follows folded in."""
    value = read_initializers(graph)
    users = {name: node for node in graph.node for name in node.input}  # the last user suffices
    bends = _read_bends(graph, value)
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm") or node.input[1] not in value:
            continue
        if node.output[0].endswith(("/bend", "/below")):
            continue
        kernel = value[node.input[1]]  # (out, in, kh, kw) or (out, in)
        kernel = kernel.reshape(*kernel.shape, *(1,) * (4 - kernel.ndim))
        bias = value[node.input[2]] if len(node.input) > 2 else np.zeros(len(kernel), np.float32)
        slope = bends.get(node.output[0], np.zeros(len(kernel), np.float32))
        for kind, number in _behind(node, users, value):
            if kind == "Mul":
                kernel, bias = kernel * number[:, None, None, None], bias * number
            elif kind == "Add":
                bias = bias + number
            else:
                slope = number
        yield Convolution(to_keras_layout(kernel, node), bias, slope)


def _read_bends(graph: onnx.GraphProto, value: dict[str, F32]) -> dict[str, F32]:
    """Slopes of the PReLU that were folded, by the value that they bend.

    Raises:
        ModelError: A slope is above 1, whose sign went into the weights behind it.
    """
    slopes = {}
    for node in graph.node:
        if node.op_type == "Conv" and node.output[0].endswith("/below"):
            below = value[node.input[1]].ravel()
            bend = value[f"{node.output[0].removesuffix('below')}bend/factor"].ravel()
            if (below + bend < 0).any():
                raise ModelError(
                    "this model has slopes above 1: start from the file it was made of"
                )
            slopes[node.input[0]] = below
    return slopes


def _behind(
    node: onnx.NodeProto, users: dict[str, onnx.NodeProto], value: dict[str, F32]
) -> Iterator[tuple[str, F32]]:
    """Constants applied to the output of a node: factors, summands, a PReLU slope."""
    after = users.get(node.output[0])
    while after is not None and after.op_type in ("Mul", "Add", "PRelu"):
        known = [value[name] for name in after.input if name in value]
        if not known:
            return
        yield after.op_type, known[0].ravel()
        if after.op_type == "PRelu":
            return
        after = users.get(after.output[0])
