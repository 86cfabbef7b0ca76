"""A Keras network as an ONNX graph, layer by layer: the graph that one would draw by hand.

Keras computes on ``(N, h, w, C)``, ONNX on ``(N, C, h, w)``. tf2onnx translates TensorFlow's
operators one by one; its graph keeps paddings as nodes of their own, builds upsampling from tiles
and computes shapes that are known. Our networks consist of a dozen kinds of layers, so each is
written as what it means: padding and normalization go into the convolution, shapes are constants.
This needs no TensorFlow, whichever backend trained, and weights keep their layer's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import layers
from onnx import numpy_helper

from deploy.graph.graph_builder import Graph
from edge.errors import ModelError
from trainers.networks.yolo import FoldAnchors
from trainers.weights.transfer import Weights, read_convolutions

Sides = tuple[int, int, int, int]  # top, left, bottom, right
NONE: Sides = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the ONNX graph that stands for a Keras tensor.

    Attributes:
        name: Of maps ``(N, C, h, w)`` or rows ``(N, A, R)``.
        shape: Keras's, without the batch: ``(h, w, C)`` or ``(A, R)``.
        padding: Zeros that the next convolution adds around it.
    """

    name: str
    shape: tuple[int, ...]
    padding: Sides = NONE


class Writer:
    """Writes the layers of a network into a graph."""

    def __init__(self, graph: Graph, network: keras.Model) -> None:
        self._graph = graph
        self._network = network
        self._weights = dict(read_convolutions(network))
        self._values: dict[int, Value] = {}  # by id of the Keras tensor
        self._kinds: dict[type, Callable[..., Value]] = {
            layers.DepthwiseConv2D: self._convolution,
            layers.Conv2D: self._convolution,
            layers.Conv3D: self._convolution,
            layers.ZeroPadding2D: self._padding,
            layers.BatchNormalization: self._normalization,
            layers.Activation: self._activation,
            layers.Dropout: self._pass,
            layers.PReLU: self._slope,
            layers.Rescaling: self._rescaling,
            layers.MaxPooling2D: self._pool,
            layers.AveragePooling2D: self._average,
            layers.GlobalAveragePooling2D: self._mean,
            layers.GlobalAveragePooling3D: self._mean,
            layers.UpSampling2D: self._upsampling,
            layers.Add: self._add,
            layers.Multiply: self._multiply,
            layers.Concatenate: self._concatenate,
            layers.Reshape: self._rows,
            layers.UnitNormalization: self._unit,
            FoldAnchors: self._fold_anchors,
        }

    def write(self, images: str) -> Value:
        """Append everything; ``images`` is a value ``(N, 3, h, w)``. The network's output."""
        source, output = self._network.inputs[0], self._network.outputs[0]
        self._values[id(source)] = Value(images, tuple(source.shape[1:]))
        for layer in self._in_order():
            inputs = layer.input if isinstance(layer.input, list) else [layer.input]
            given = [self._values[id(tensor)] for tensor in inputs]
            takes = layer.name in self._weights or isinstance(layer, layers.MaxPooling2D)
            if any(x.padding != NONE for x in given) and not takes:
                raise ModelError(
                    f"layer {layer.name} is padded: only convolutions and max pooling can be"
                )
            value = self._layer(layer, given)
            self._values[id(layer.output)] = replace(value, shape=tuple(layer.output.shape[1:]))
        return self._values[id(output)]

    def _in_order(self) -> list[keras.layers.Layer]:
        """Layers by execution; Keras sorts them so."""
        return [x for x in self._network.layers if not isinstance(x, layers.InputLayer)]

    def _layer(self, layer: keras.layers.Layer, given: list[Value]) -> Value:
        for kind in type(layer).__mro__:
            if kind in self._kinds:
                return self._kinds[kind](layer, *given)
        raise ModelError(
            f"layer {layer.name} is a {type(layer).__name__}, which cannot be exported: build the "
            "network with trainers.networks.yolo, or write the layer in deploy/layers.py"
        )

    # --- convolutions and what stands around them ---

    def _convolution(self, layer: Any, x: Value) -> Value:  # noqa: ANN401
        weights: Weights = self._weights[layer.name]
        depthwise, rank = isinstance(layer, layers.DepthwiseConv2D), len(layer.kernel_size)
        order = (2, 3, 0, 1) if depthwise else (rank + 1, rank, *range(rank))
        kernel, bias = weights.kernel.transpose(order), weights.bias
        names = [self._named(f"{layer.name}/kernel", kernel)]
        names.append(self._named(f"{layer.name}/bias", bias))
        name = self._graph.add(
            "Conv", x.name, *names, kernel_shape=list(layer.kernel_size),
            strides=list(layer.strides), dilations=list(layer.dilation_rate),
            pads=_pads(x, layer.kernel_size, layer.strides, layer.padding),
            group=x.shape[-1] if depthwise else layer.groups,
        )  # fmt: skip
        return Value(self._activated(layer, name), ())

    def _padding(self, layer: layers.ZeroPadding2D, x: Value) -> Value:
        (top, bottom), (left, right) = layer.padding
        return replace(x, padding=(top, left, bottom, right))

    def _normalization(self, layer: layers.BatchNormalization, x: Value) -> Value:
        if layer.name.removesuffix("_bn") not in self._weights:
            raise ModelError(f"layer {layer.name} does not normalize the convolution of its name")
        return x  # it is in the convolution's weights

    def _pass(self, layer: layers.Dropout, x: Value) -> Value:  # noqa: ARG002
        return x  # it does something in training alone

    def _activation(self, layer: layers.Activation, x: Value) -> Value:
        return Value(self._activated(layer, x.name), ())

    def _activated(self, layer: keras.layers.Layer, x: str) -> str:
        """What a layer's activation makes of a value."""
        kind = keras.activations.serialize(layer.activation)
        if kind == "linear":
            return x
        if kind == "silu":
            return self._graph.add("Mul", x, self._graph.add("Sigmoid", x))
        if kind == "softmax":
            return self._graph.add("Softmax", x, axis=1)
        operators = {"relu": "Relu", "sigmoid": "Sigmoid"}
        if kind not in operators:
            raise ModelError(f"layer {layer.name}: the activation {kind} cannot be exported")
        return self._graph.add(operators[kind], x)

    def _slope(self, layer: layers.PReLU, x: Value) -> Value:
        slope = keras.ops.convert_to_numpy(layer.alpha)
        if slope.shape != (1, 1, x.shape[-1]):
            raise ModelError(f"layer {layer.name}: can only be exported with a slope a channel")
        name = self._named(f"{layer.name}/slope", slope.reshape(-1, 1, 1))
        return Value(self._graph.add("PRelu", x.name, name), ())

    def _rescaling(self, layer: layers.Rescaling, x: Value) -> Value:
        """One number for all channels, or one a channel."""
        name, shape = x.name, (-1, 1, 1)
        for operator, value in (("Mul", layer.scale), ("Add", layer.offset)):
            values = np.asarray(value, np.float32)
            constant = self._graph.constant(values.reshape(shape) if values.ndim else value)
            name = self._graph.add(operator, name, constant)
        return Value(name, ())

    # --- maps ---

    def _pool(self, layer: layers.MaxPooling2D, x: Value) -> Value:
        if x.padding != NONE:  # with zeros; MaxPool itself would pad with the lowest number
            pads = self._graph.integers(0, 0, *x.padding[:2], 0, 0, *x.padding[2:])
            x = Value(self._graph.add("Pad", x.name, pads), x.shape)
        name = self._graph.add(
            "MaxPool", x.name, kernel_shape=list(layer.pool_size), strides=list(layer.strides),
            pads=_pads(x, layer.pool_size, layer.strides, layer.padding),
        )  # fmt: skip
        return Value(name, ())

    def _average(self, layer: layers.AveragePooling2D, x: Value) -> Value:
        if layer.padding != "valid":
            raise ModelError(f"layer {layer.name}: can only be exported without padding")
        name = self._graph.add(
            "AveragePool", x.name, kernel_shape=list(layer.pool_size), strides=list(layer.strides)
        )
        return Value(name, ())

    def _mean(self, layer: Any, x: Value) -> Value:  # noqa: ANN401
        if not layer.keepdims:
            raise ModelError(f"layer {layer.name}: must keep its dimensions (keepdims=True)")
        return Value(self._graph.add("GlobalAveragePool", x.name), ())

    def _upsampling(self, layer: layers.UpSampling2D, x: Value) -> Value:
        scales = self._graph.constant([1, 1, *layer.size])
        name = self._graph.add(
            "Resize", x.name, "", scales, mode="nearest", nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )  # fmt: skip
        return Value(name, ())

    def _add(self, layer: layers.Add, *given: Value) -> Value:  # noqa: ARG002
        name = given[0].name
        for other in given[1:]:
            name = self._graph.add("Add", name, other.name)
        return Value(name, ())

    def _multiply(self, layer: layers.Multiply, one: Value, other: Value) -> Value:  # noqa: ARG002
        return Value(self._graph.add("Mul", one.name, other.name), ())

    def _concatenate(self, layer: layers.Concatenate, *given: Value) -> Value:
        rank = len(given[0].shape) + 1
        axis = layer.axis % rank
        if rank == 4:  # (N, h, w, C) -> (N, C, h, w)
            axis = (0, 2, 3, 1)[axis]
        return Value(self._graph.add("Concat", *(x.name for x in given), axis=axis), ())

    # --- rows ---

    def _rows(self, layer: layers.Reshape, x: Value) -> Value:
        name = (
            self._graph.add("Transpose", x.name, perm=[0, 2, 3, 1]) if len(x.shape) == 3 else x.name
        )
        shape = self._graph.integers(0, *layer.output.shape[1:])
        return Value(self._graph.add("Reshape", name, shape), ())

    def _unit(self, layer: layers.UnitNormalization, x: Value) -> Value:  # noqa: ARG002
        length = self._graph.add("ReduceL2", x.name, axes=[1], keepdims=1)
        length = self._graph.add("Max", length, self._graph.constant(1e-6))  # a row of zeros stays
        return Value(self._graph.add("Div", x.name, length), ())

    def _fold_anchors(self, layer: FoldAnchors, x: Value) -> Value:
        graph = self._graph
        count = x.shape[0] // len(layer.log_wh)
        parts = graph.integers(2, 2, x.shape[1] - 4)
        xy, wh, rest = graph.add_many("Split", 3, x.name, parts, axis=2)
        wh = graph.add("Clip", wh, graph.constant(-4.0), graph.constant(4.0))
        log_wh = np.tile(np.asarray(layer.log_wh, np.float32), (count, 1))[None]
        wh = graph.add("Add", wh, graph.constant(log_wh))
        return Value(graph.add("Concat", graph.add("Sigmoid", xy), wh, rest, axis=2), ())

    def _named(self, name: str, array: np.ndarray) -> str:
        array, known = np.ascontiguousarray(array, np.float32), self._graph.proto.initializer
        if any(tensor.name == name for tensor in known):  # the network is written once more
            return name
        self._graph.proto.initializer.append(numpy_helper.from_array(array, name))
        return name


def _pads(x: Value, kernel: tuple[int, ...], strides: tuple[int, ...], padding: str) -> list[int]:
    """ONNX's pads: what a padding layer asked for, and Keras's ``same``."""
    rank = len(kernel)
    before, after = (list(x.padding[:2]), list(x.padding[2:])) if rank == 2 else ([0] * rank,) * 2
    if padding == "same":
        more = [*map(_same_padding, x.shape[:rank], kernel, strides)]
        before = [a + near for a, (near, _) in zip(before, more, strict=True)]
        after = [a + far for a, (_, far) in zip(after, more, strict=True)]
    return [*before, *after]


def _same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Keras pads so that ``ceil(side / stride)`` come out, the odd one at the far edge."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def digest(network: keras.Model) -> str:
    """Hash of the weights that are exported."""
    whole = hashlib.sha256()
    for weight in network.weights:
        whole.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)).tobytes())
    return whole.hexdigest()
