"""The trunk of a contract model: from the picture to the last layer with weights.

What follows it is decoding and NMS, whose coordinates need all of float32. So precision may be
lowered in the trunk and nowhere else, whatever family a network is of.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import NodeProto, TensorProto, numpy_helper

from edge.errors import ModelError
from edge.runtimes.onnx import BROKEN

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True, slots=True)
class Trunk:
    """The trunk of a graph.

    Attributes:
        nodes: In the order of execution.
        layers: Names of the first outputs of the nodes with weights.
        exits: Float values that leave the trunk.
        weights: Constants of the whole graph, by name.
    """

    nodes: tuple[NodeProto, ...]
    layers: tuple[str, ...]
    exits: tuple[str, ...]
    weights: dict[str, TensorProto]

    def is_layer(self, node: NodeProto) -> bool:
        """Whether a node multiplies by weights."""
        return _is_layer(node, self.weights)


def find_trunk(graph: onnx.GraphProto) -> Trunk:
    """Find the trunk of a graph.

    Raises:
        ModelError: No layer has weights.
    """
    weights = {initializer.name: initializer for initializer in graph.initializer}
    wanted: set[str] = set()
    nodes: list[NodeProto] = []
    for node in reversed(graph.node):
        if _is_layer(node, weights) or wanted.intersection(node.output):
            wanted.update(name for name in node.input if name not in weights)
            nodes.insert(0, node)
    layers = tuple(node.output[0] for node in nodes if _is_layer(node, weights))
    if not layers:
        raise ModelError("the model has no layer with weights: there is nothing to make smaller")
    inside = {id(node) for node in nodes}
    read = {name for node in graph.node if id(node) not in inside for name in iterate_reads(node)}
    read |= {output.name for output in graph.output}
    exits = tuple(name for node in nodes for name in node.output if name in read)
    return Trunk(tuple(nodes), layers, exits, weights)


def iterate_reads(node: NodeProto) -> Iterator[str]:
    """Values that a node reads, those of its subgraphs included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from iterate_reads(inner)


def infer_types(proto: onnx.ModelProto) -> dict[str, int]:
    """Types of a graph's inner values by name, as far as they can be inferred."""
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    return {v.name: v.type.tensor_type.elem_type for v in inferred.graph.value_info}


def _is_layer(node: NodeProto, weights: dict[str, TensorProto]) -> bool:
    if node.op_type not in LAYERS or len(node.input) < 2 or node.input[1] not in weights:
        return False
    return weights[node.input[1]].data_type == TensorProto.FLOAT


def simplify(model: bytes) -> onnx.ModelProto:
    """A model with constants folded and normalization inside its convolutions.

    ONNX Runtime's basic optimizations, which stay within ONNX's own operators.

    Raises:
        ModelError: ONNX Runtime cannot load it.
    """
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    before = onnx.load_model_from_string(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plain.onnx"
        settings.optimized_model_filepath = str(path)
        try:
            ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        except BROKEN as error:
            raise ModelError("ONNX Runtime cannot run the model: export it again") from error
        after = onnx.load(path)
    del after.metadata_props[:]
    after.metadata_props.extend(before.metadata_props)
    used = {node.domain for node in after.graph.node}
    imports = [o for o in after.opset_import if o.domain in used or o.domain in ("", "ai.onnx")]
    del after.opset_import[:]
    after.opset_import.extend(imports)
    after.ir_version = before.ir_version
    return after


def drop_unused_constants(graph: onnx.GraphProto) -> None:
    """Take out the constants that no node reads any more."""
    read = {name for node in graph.node for name in iterate_reads(node)}
    read |= {output.name for output in graph.output}
    kept = [weight for weight in graph.initializer if weight.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def to_array(tensor: TensorProto) -> np.ndarray:
    """A constant's value."""
    array: np.ndarray = numpy_helper.to_array(tensor)
    return array
