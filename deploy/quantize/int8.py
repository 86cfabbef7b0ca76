"""INT8 in the graph: QuantizeLinear and DequantizeLinear around what is to run in integers.

Weights are int8, symmetric, one scale per channel. Activations depend on who runs the model:

- ONNX Runtime on a CPU has fast kernels for uint8 activations with a zero point and int32 biases,
  and wants every operator between two layers quantized too, or it converts there and back.
- TensorRT wants symmetric int8, floats as biases, and pairs at the inputs of layers only: it
  computes what stands behind a layer, such as SiLU, in the same kernel.
"""

from __future__ import annotations

from collections.abc import Collection
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from deploy.graph.trunk import Trunk, drop_unused_constants, find_trunk, to_array
from deploy.quantize.ranges import Ranges

Target = Literal["cpu", "tensorrt"]
MAX_BIAS = 1 << 30  # steps of a bias, with room for what rounding adds
PREFIX = "int8/"
SAME = frozenset({"MaxPool", "Resize", "Reshape", "Transpose", "Slice", "Squeeze", "Flatten",
                  "SpaceToDepth", "DepthToSpace"})  # fmt: skip
FLOWS = frozenset({"Add", "Mul", "Sigmoid", "Concat", "AveragePool", "GlobalAveragePool",
                   "LeakyRelu"})  # fmt: skip
FOLDED = frozenset({"Relu", "Clip"})  # what clips at the ends of a range costs nothing


@dataclass(frozen=True, slots=True)
class Int8Options:
    """How a trunk is quantized.

    Attributes:
        target: The runtime.
        kept: Layers (names of their outputs) that stay in float.
        flowing: Operators between layers that are quantized for a CPU.
        weight_steps: Largest int8 weight; 63 where the model runs without VNNI in a program that
            does not ask ONNX Runtime for exact sums, see ``session_settings``.
    """

    target: Target
    kept: Collection[str] = ()
    flowing: Collection[str] = field(default=SAME | FLOWS)
    weight_steps: int = 127


def quantize_trunk(proto: onnx.ModelProto, ranges: Ranges, options: Int8Options) -> onnx.ModelProto:
    """A copy of a float model (opset 13 or later) whose trunk runs in INT8."""
    result = deepcopy(proto)
    _Int8Writer(result.graph, find_trunk(result.graph), ranges, options).write()
    return result


class _Int8Writer:
    def __init__(
        self, graph: onnx.GraphProto, trunk: Trunk, ranges: Ranges, options: Int8Options
    ) -> None:
        self._graph, self._trunk, self._ranges, self._options = graph, trunk, ranges, options
        self._cpu = options.target == "cpu"
        self._steps: dict[str, tuple[float, int]] = {}  # value -> scale, zero point
        self._pairs: dict[str, str] = {}  # value -> the same value behind its pair
        self._clipped: set[str] = set()  # values whose clipping a layer does in INT8
        self._whole: set[str] = set()  # values that are read only behind their pair
        self._nodes: list[NodeProto] = []
        self._readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def write(self) -> None:
        inside = {id(node): node for node in self._trunk.nodes}
        for node in list(self._graph.node):
            copy = deepcopy(node)
            if self._trunk.is_layer(node) and id(node) in inside:
                self._layer(copy)
            elif self._cpu and node.op_type in self._options.flowing and id(node) in inside:
                self._flow(copy)
            else:
                self._float(copy)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        drop_unused_constants(self._graph)

    # --- layers ---

    def _layer(self, node: NodeProto) -> None:
        name = node.output[0]
        if name in self._options.kept or node.op_type == "ConvTranspose":
            self._float(node)
            return
        value = node.input[0]
        scale = self._through(value)
        node.input[0] = self._pairs[value]
        has_bias = len(node.input) > 2 and bool(node.input[2])
        bias = to_array(self._trunk.weights[node.input[2]]) if has_bias else None
        weight, scales, rounding = self._weight(node, bias, scale)
        if bias is not None:
            shift = _mean_output(node, rounding, self._ranges[value].mean)
            node.input[2] = self._bias(name, bias - shift, scales * scale)
        node.input[1] = weight
        self._nodes.append(node)
        if self._cpu and self._folds(name):
            self._clipped.add(self._readers[name][0].output[0])
        elif self._cpu:
            self._out(name)

    def _folds(self, name: str) -> bool:
        """Whether the only reader clips, so that the pair belongs behind it."""
        readers = self._readers.get(name, [])
        if len(readers) == 1 and readers[0].op_type in FOLDED and name not in self._trunk.exits:
            clipped = readers[0].output[0]
            return clipped in self._ranges and id(readers[0]) in map(id, self._trunk.nodes)
        return False

    def _weight(
        self, node: NodeProto, bias: np.ndarray | None, input_scale: float
    ) -> tuple[str, np.ndarray, np.ndarray]:
        """Weights behind a DequantizeLinear, one scale per channel; scales; what rounding added.

        A channel of next to no weights, as pruning leaves them, has a scale by which its bias
        still fits into an int32.
        """
        array = to_array(self._trunk.weights[node.input[1]])
        axis = _channel_axis(node)
        others = tuple(n for n in range(array.ndim) if n != axis)
        scales = np.abs(array).max(axis=others) / self._options.weight_steps
        scales = np.maximum(scales, 1e-12)
        if bias is not None:
            scales = np.maximum(scales, np.abs(bias) / (MAX_BIAS * input_scale))
        scales = scales.astype(np.float32)
        shape = [-1 if n == axis else 1 for n in range(array.ndim)]
        steps = np.round(array / scales.reshape(shape)).astype(np.int8)
        name = f"{PREFIX}{node.output[0]}/weight"
        self._constant(name, steps)
        self._constant(f"{name}_scale", scales)
        self._constant(f"{name}_zero", np.zeros(len(scales), np.int8))
        inputs = [name, f"{name}_scale", f"{name}_zero"]
        self._append("DequantizeLinear", inputs, f"{name}_float", axis=axis)
        return f"{name}_float", scales, steps * scales.reshape(shape) - array

    def _bias(self, layer: str, bias: np.ndarray, scales: np.ndarray) -> str:
        """ONNX Runtime adds an int32 bias to its int32 sums, TensorRT a float."""
        name = f"{PREFIX}{layer}/bias"
        if not self._cpu:
            self._constant(name, bias.astype(np.float32))
            return name
        limit = np.iinfo(np.int32)
        exact = np.round(bias.astype(np.float64) / scales)  # float32 cannot hold the limit
        steps = np.clip(exact, limit.min, limit.max)
        self._constant(name, steps.astype(np.int32))
        self._constant(f"{name}_scale", scales.astype(np.float32))
        self._constant(f"{name}_zero", np.zeros(len(scales), np.int32))
        inputs = [name, f"{name}_scale", f"{name}_zero"]
        return self._append("DequantizeLinear", inputs, f"{name}_float", axis=0)

    # --- between layers ---

    def _flow(self, node: NodeProto) -> None:
        """Quantize an operator whose inputs all are; one that copies keeps its input's steps."""
        inputs = [n for n, name in enumerate(node.input) if name in self._ranges]
        if node.op_type in SAME:
            inputs = inputs[:1]
        ready = [n for n in inputs if node.input[n] in self._pairs]
        min_inputs = 2 if node.op_type in ("Add", "Mul") else 1
        if len(ready) < max(len(inputs), 1) or len(inputs) < min_inputs:
            self._float(node)
            return
        source = node.input[0]
        for n in inputs:
            node.input[n] = self._pairs[node.input[n]]
        self._nodes.append(node)
        if node.op_type in SAME:
            self._steps[node.output[0]] = self._steps[source]
        self._out(node.output[0])

    def _out(self, name: str) -> None:
        """Add a pair behind a value that is read only through it, so that its node runs in INT8."""
        self._through(name)
        self._whole.add(name)

    def _float(self, node: NodeProto) -> None:
        node.input[:] = [self._pairs[x] if x in self._whole else x for x in node.input]
        self._nodes.append(node)
        if node.op_type in FOLDED and node.output[0] in self._clipped:
            self._out(node.output[0])

    def _through(self, value: str) -> float:
        """Make sure that a value has its pair; its scale."""
        if value not in self._pairs:
            if value not in self._steps:
                self._steps[value] = self._chosen(value)
            scale, zero = self._steps[value]
            name = f"{PREFIX}{value}"
            kind = np.uint8 if self._cpu else np.int8
            self._constant(f"{name}_scale", np.array(scale, np.float32))
            self._constant(f"{name}_zero", np.array(zero, kind))
            steps = [f"{name}_scale", f"{name}_zero"]
            self._append("QuantizeLinear", [value, *steps], f"{name}_steps")
            self._pairs[value] = self._append(
                "DequantizeLinear", [f"{name}_steps", *steps], f"{name}_float"
            )
        return self._steps[value][0]

    def _chosen(self, value: str) -> tuple[float, int]:
        low, high = self._ranges[value].low, self._ranges[value].high
        if not self._cpu:
            return max(-low, high, 1e-9) / 127, 0
        scale = max(high - low, 1e-9) / 255
        return scale, int(np.clip(round(-low / scale), 0, 255))

    # --- writing ---

    def _constant(self, name: str, array: np.ndarray) -> None:
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))

    def _append(self, operator: str, inputs: list[str], output: str, **attributes: int) -> str:
        node = helper.make_node(operator, inputs, [output], output)
        node.attribute.extend(helper.make_attribute(key, n) for key, n in attributes.items())
        self._nodes.append(node)
        return output


def _mean_output(node: NodeProto, weight: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """What a layer with ``weight`` gives for the mean input, one number per channel of its output.

    The bias takes it back: rounded weights shift what a layer gives, and shifts add up through a
    network (Nagel et al., Data-Free Quantization, 2019).
    """
    if node.op_type != "Conv":
        return np.zeros(1, np.float32)
    groups = weight.shape[0] // max(1, len(mean) // weight.shape[1])
    columns = np.arange(weight.shape[0]) // groups  # (O,) group of each output
    inputs = columns[:, None] * weight.shape[1] + np.arange(weight.shape[1])  # (O, I)
    sums: np.ndarray = weight.sum(axis=tuple(range(2, weight.ndim))) * mean[inputs]
    result: np.ndarray = sums.sum(axis=1)
    return result


def _channel_axis(node: NodeProto) -> int:
    transposed = any(a.name == "transB" and a.i for a in node.attribute)  # Gemm (N, K)
    return 0 if node.op_type == "Conv" or transposed else 1  # MatMul (K, N)
