"""FP16 in the graph: the trunk computes in FP16, decoding and NMS in float32.

FP16 has 11 bits: above 2048 it holds whole numbers only, above 65504 none. So coordinates stay
in float32, which is all that follows the trunk, and so do sums over many values within it, up to
the next layer.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from deploy.graph.trunk import Trunk, drop_unused_constants, find_trunk, infer_types, to_array
from edge.errors import ModelError

PREFIX = "half/"
SUMS = frozenset({
    "CumSum", "Exp", "GlobalAveragePool", "InstanceNormalization", "LayerNormalization", "Log",
    "LpNormalization", "Pow", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMean", "ReduceProd",
    "ReduceSum", "ReduceSumSquare", "Softmax",
})  # fmt: skip
NOT_FLOAT = {"Resize": (1, 2), "Upsample": (1,), "QuantizeLinear": (), "DequantizeLinear": ()}
LARGEST = float(np.finfo(np.float16).max)


def convert_to_fp16(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a float model whose trunk runs in FP16.

    Raises:
        ModelError: A weight is too large for FP16.
    """
    result = deepcopy(proto)
    _Fp16Writer(result.graph, find_trunk(result.graph), infer_types(result)).write()
    return result


class _Fp16Writer:
    def __init__(self, graph: onnx.GraphProto, trunk: Trunk, kinds: dict[str, int]) -> None:
        self._graph, self._trunk, self._kinds = graph, trunk, kinds
        self._nodes: list[NodeProto] = []
        self._fp16: set[str] = set()  # values of the graph that are FP16 now
        self._floats: set[str] = set()  # values of the trunk that stay floats, from sums on
        self._cast: dict[tuple[str, int], str] = {}

    def write(self) -> None:
        inside = {id(node) for node in self._trunk.nodes}
        for node in list(self._graph.node):
            copy = deepcopy(node)
            if id(node) in inside and self._may_be_fp16(node):
                self._convert(copy)
            else:
                self._keep_float(copy)
                self._floats.update(node.output if id(node) in inside else ())
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        drop_unused_constants(self._graph)

    def _may_be_fp16(self, node: NodeProto) -> bool:
        """A sum stays in float up to the next layer, for it may be too large for FP16."""
        if node.op_type in SUMS or not self._is_float(node):
            return False
        return self._trunk.is_layer(node) or not self._floats.intersection(node.input)

    def _is_float(self, node: NodeProto) -> bool:
        """Whether a node of the trunk computes floats, not shapes."""
        return self._kinds.get(node.output[0], TensorProto.FLOAT) == TensorProto.FLOAT

    def _convert(self, node: NodeProto) -> None:
        skipped = NOT_FLOAT.get(node.op_type, ())
        if node.op_type == "Cast":  # of the pictures
            node.attribute[0].i = TensorProto.FLOAT16
        elif node.op_type == "Constant":
            array = numpy_helper.to_array(node.attribute[0].t).astype(np.float16)
            node.attribute[0].t.CopyFrom(numpy_helper.from_array(array))
        else:
            node.input[:] = [
                x if n in skipped else self._as(x, TensorProto.FLOAT16)
                for n, x in enumerate(node.input)
            ]
        self._nodes.append(node)
        self._fp16.update(node.output)

    def _keep_float(self, node: NodeProto) -> None:
        node.input[:] = [self._as(x, TensorProto.FLOAT) for x in node.input]
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                for inner in graph.node:
                    inner.input[:] = [self._as(x, TensorProto.FLOAT) for x in inner.input]
        self._nodes.append(node)

    def _as(self, name: str, kind: int) -> str:
        """A value in FP16 or FP32, with a cast where it is the other."""
        weight = self._trunk.weights.get(name)
        if weight is not None:
            return self._weight(weight) if kind == TensorProto.FLOAT16 else name
        is_fp16 = name in self._fp16
        is_floating = is_fp16 or self._kinds.get(name, 0) == TensorProto.FLOAT
        if not is_floating or is_fp16 == (kind == TensorProto.FLOAT16):
            return name
        if (name, kind) not in self._cast:
            cast = f"{PREFIX}{name}/{'half' if kind == TensorProto.FLOAT16 else 'float'}"
            self._nodes.append(helper.make_node("Cast", [name], [cast], cast, to=kind))
            self._cast[name, kind] = cast
        return self._cast[name, kind]

    def _weight(self, weight: TensorProto) -> str:
        if weight.data_type != TensorProto.FLOAT:
            return weight.name
        name = f"{PREFIX}{weight.name}"
        if (name, TensorProto.FLOAT16) not in self._cast:
            array = to_array(weight)
            if np.abs(array).max(initial=0) > LARGEST:
                raise ModelError(
                    f"the model has a weight of {np.abs(array).max():.0f} in {weight.name}, but "
                    f"FP16 ends at {LARGEST:.0f}: it cannot be converted to FP16"
                )
            self._graph.initializer.append(numpy_helper.from_array(array.astype(np.float16), name))
            self._cast[name, TensorProto.FLOAT16] = name
        return name
