"""Folding: what scales and shifts a convolution's channels goes into its weights, PReLU with it.

Files of MobileFaceNet, MiniFASNet and their relatives keep each normalization as a multiplication
and an addition behind the convolution, and a PReLU behind those. Processors run such layers one by
one, each through memory. Folded, the network gives the same numbers, apart from rounding, in about
half the time: constants go into weights, and a PReLU of slope ``a`` is written as

    prelu(x) =   a x + relu((1 - a) x)     where a <= 1
    prelu(x) = -(-a x + relu((a - 1) x))   where a > 1

with one 1x1 depthwise convolution for each summand: runtimes compute the second with its ReLU and
add it while they compute the first. The minus goes into the weights of the convolutions behind.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from deploy.graph.trunk import drop_unused_constants, iterate_reads, to_array
from edge.types import F32

_F64 = NDArray[np.float64]
_AFFINE = frozenset({"Mul", "Add", "Sub", "Div", "BatchNormalization"})


def fold(graph: onnx.GraphProto) -> None:
    """Fold constants behind convolutions and matrices into them, and rewrite PReLU, in place."""
    _fold_constants(graph)
    _rewrite_prelu(graph)
    drop_unused_constants(graph)


# --- scales and shifts ----------------------------------------------------------------------------


def _fold_constants(graph: onnx.GraphProto) -> None:
    constants = _read_constants(graph)
    reads = Counter(name for node in graph.node for name in iterate_reads(node))
    reads.update(output.name for output in graph.output)
    reader = {name: node for node in graph.node for name in node.input}
    folded: set[str] = set()  # first outputs of nodes that are gone
    for node in graph.node:
        if node.output[0] in folded or not _has_weights(node, constants):
            continue
        weight = to_array(constants[node.input[1]]).astype(np.float64)
        bias = np.zeros(_count_channels(node, weight))
        if len(node.input) > 2 and node.input[2]:
            bias = bias + to_array(constants[node.input[2]]).astype(np.float64).ravel()
        inside = 0
        while reads[node.output[0]] == 1 and (after := reader.get(node.output[0])) is not None:
            affine = _read_affine(after, node, constants, len(bias))
            if affine is None:
                break
            scale, shift = affine
            weight = weight * _spread(scale, node, weight.ndim)
            bias = bias * scale + shift
            folded.add(after.output[0])
            node.output[0] = after.output[0]
            inside += 1
        if inside:
            names = f"{node.output[0]}/weight", f"{node.output[0]}/bias"
            for name, value in zip(names, (weight, bias), strict=True):
                graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
            node.input[:] = [node.input[0], *names]
    kept = [node for node in graph.node if node.output[0] not in folded or _is_layer(node)]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(kept)


def _read_constants(graph: onnx.GraphProto) -> dict[str, TensorProto]:
    """Float32 constants of a graph by name, those in nodes included."""
    constants = {i.name: i for i in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    return {n: t for n, t in constants.items() if t.data_type == TensorProto.FLOAT}


def _is_layer(node: onnx.NodeProto) -> bool:
    return node.op_type in ("Conv", "Gemm")


def _has_weights(node: onnx.NodeProto, constants: dict[str, TensorProto]) -> bool:
    if not _is_layer(node) or any(n not in constants for n in node.input[1:] if n):
        return False
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Conv":
        return True
    bias = constants.get(node.input[2]) if len(node.input) > 2 else None
    plain = attributes.get("alpha", 1) == attributes.get("beta", 1) == 1
    return plain and not attributes.get("transA") and (bias is None or len(bias.dims) == 1)


def _is_transposed(node: onnx.NodeProto) -> bool:
    """Whether a matrix's outputs are its rows, as a convolution's are."""
    return node.op_type == "Conv" or any(a.name == "transB" and a.i for a in node.attribute)


def _count_channels(node: onnx.NodeProto, weight: _F64) -> int:
    return int(weight.shape[0 if _is_transposed(node) else 1])


def _spread(scale: _F64, node: onnx.NodeProto, rank: int) -> _F64:
    """``(C,)`` along the outputs of a node's weights."""
    return scale.reshape(-1, *(1,) * (rank - 1)) if _is_transposed(node) else scale


def _read_affine(
    after: onnx.NodeProto, node: onnx.NodeProto, constants: dict[str, TensorProto], channels: int
) -> tuple[_F64, _F64] | None:
    """What a node does to the channels of the layer before it: ``(C,)`` scale and shift."""
    if after.op_type not in _AFFINE:
        return None
    if after.op_type == "BatchNormalization":
        return _read_normalization(after, constants)
    value = node.output[0]
    first = after.input[0] == value
    number = constants.get(after.input[1 if first else 0])
    if number is None:
        return None
    array = _by_channel(to_array(number).astype(np.float64), node, channels)
    if array is None:
        return None
    one, zero = np.ones(channels), np.zeros(channels)
    if after.op_type == "Mul":
        return array, zero
    if after.op_type == "Add":
        return one, array
    if after.op_type == "Sub":
        return (one, -array) if first else (-one, array)
    return (1 / array, zero) if first and array.all() else None


def _read_normalization(
    node: onnx.NodeProto, constants: dict[str, TensorProto]
) -> tuple[_F64, _F64] | None:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    inputs = [constants.get(name) for name in node.input[1:]]
    if attributes.get("training_mode") or len(node.output) > 1 or None in inputs:
        return None
    gain, offset, mean, variance = (
        to_array(tensor).astype(np.float64) for tensor in inputs if tensor is not None
    )
    scale = gain / np.sqrt(variance + attributes.get("epsilon", 1e-5))
    return scale, offset - mean * scale


def _by_channel(array: _F64, node: onnx.NodeProto, channels: int) -> _F64 | None:
    """A constant as ``(C,)``, or None if it differs within a channel."""
    behind = 2 if node.op_type == "Conv" else 0  # dimensions after the channels
    shape = (1,) * (behind + 1 - array.ndim) + array.shape
    here = len(shape) - 1 - behind
    if len(shape) > behind + 2 or any(s != 1 for at, s in enumerate(shape) if at != here):
        return None
    return np.broadcast_to(array.ravel(), channels) if shape[here] in (1, channels) else None


# --- PReLU ----------------------------------------------------------------------------------------


def _rewrite_prelu(graph: onnx.GraphProto) -> None:
    constants = _read_constants(graph)
    readers: dict[str, list[onnx.NodeProto]] = {output.name: [] for output in graph.output}
    for node in graph.node:
        for name in iterate_reads(node):
            readers.setdefault(name, []).append(node)
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        slope = _read_slope(node, constants)
        if slope is None:
            graph.node.append(node)
            continue
        sign = np.where(slope > 1, -1, 1).astype(np.float32)
        _add_prelu(graph, node, slope, sign)
        result = node.output[0]
        behind = readers.get(result, [])
        if (sign > 0).all():
            continue
        if behind and all(after.op_type == "Conv" and _has_weights(after, constants)
                          and after.input[0] == result for after in behind):  # fmt: skip
            for after in behind:
                _turn(graph, after, sign, constants)
        else:
            turned = f"{result}/turned"
            graph.node[-1].name = graph.node[-1].output[0] = turned
            _add_factor(graph, turned, sign, result)


def _read_slope(node: onnx.NodeProto, constants: dict[str, TensorProto]) -> F32 | None:
    """The slope of a PReLU of maps ``(N, C, h, w)``, one a channel: ``(C,)``."""
    if node.op_type != "PRelu" or node.input[1] not in constants:
        return None
    slope = np.asarray(to_array(constants[node.input[1]]), np.float32)
    by_channel = slope.ndim > 2 and slope.shape[-3] == slope.size > 1
    return slope.ravel() if by_channel else None


def _add_prelu(graph: onnx.GraphProto, node: onnx.NodeProto, slope: F32, sign: F32) -> None:
    """Append a PReLU times ``sign``, ``(C,)``."""
    x, result = node.input[0], node.output[0]
    bend, below, relu = f"{result}/bend", f"{result}/below", f"{result}/relu"
    _add_factor(graph, x, sign * (1 - slope), bend)
    _add_factor(graph, x, sign * slope, below)
    graph.node.append(helper.make_node("Relu", [bend], [relu], relu))
    graph.node.append(helper.make_node("Add", [below, relu], [result], result))


def _add_factor(graph: onnx.GraphProto, x: str, factor: F32, result: str) -> None:
    """Append a factor a channel, as a depthwise convolution."""
    kernel = numpy_helper.from_array(factor.reshape(-1, 1, 1, 1), f"{result}/factor")
    graph.initializer.append(kernel)
    inputs = [x, kernel.name]
    graph.node.append(
        helper.make_node("Conv", inputs, [result], result, kernel_shape=[1, 1], group=len(factor))
    )


def _turn(
    graph: onnx.GraphProto, node: onnx.NodeProto, sign: F32, constants: dict[str, TensorProto]
) -> None:
    """Multiply a convolution's weights by the sign of each channel that it reads."""
    weight = to_array(constants[node.input[1]])  # (O, I / groups, kh, kw)
    groups = len(sign) // weight.shape[1]
    rows = sign.reshape(groups, 1, weight.shape[1]).repeat(len(weight) // groups, axis=1)
    turned = weight * rows.reshape(*weight.shape[:2], *(1,) * (weight.ndim - 2))
    tensor = numpy_helper.from_array(turned.astype(np.float32), f"{node.output[0]}/turned_weight")
    graph.initializer.append(tensor)
    constants[tensor.name] = tensor
    node.input[1] = tensor.name
