"""Small networks of the contract, drawn by hand: layers, what stands between them, decoding."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from deploy.graph.graph_builder import Graph
from deploy.graph.model_proto import declare_io
from edge.manifest import Manifest

SIDE = 32


def network(between=("silu", "silu", ""), groups=(1, 1, 8), channels=8, offset=0.0, seed=0):
    """Three layers on pictures of 32x32 and a decoding that adds ``offset``.

    Args:
        between: what follows each layer: silu, relu or nothing.
        groups: of each layer; the third is depthwise.
        channels: of each layer.
        offset: that is added where the trunk has ended.
        seed: of the weights.
    """
    proto = helper.make_model(
        onnx.GraphProto(name="drawn"),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=10,
    )
    graph, rng = Graph(proto.graph), np.random.default_rng(seed)
    value = graph.add("Cast", "images", to=TensorProto.FLOAT)
    value = graph.add("Transpose", value, perm=[0, 3, 1, 2])
    value = graph.add("Mul", value, graph.constant(1 / 255))
    inputs = 3
    for kind, count in zip(between, groups, strict=True):
        weight = rng.normal(0, (inputs / count * 9) ** -0.5, (channels, inputs // count, 3, 3))
        bias = graph.constant(rng.normal(0, 0.2, channels))
        value = graph.add(
            "Conv", value, graph.constant(weight), bias, pads=[1] * 4, strides=[2, 2], group=count
        )
        if kind == "silu":
            value = graph.add("Mul", value, graph.add("Sigmoid", value))
        elif kind:
            value = graph.add("Relu", value)
        inputs = channels
    return finished(proto, graph, graph.add("Add", value, graph.constant(offset)), channels)


def finished(proto, graph, value, channels):
    """``(N, channels, h, w)`` -> rows of the contract's rank; the model's bytes."""
    value = graph.add("Reshape", value, graph.integers(0, channels, -1))
    graph.rename(value, "detections")
    declare_io(proto.graph, "images", (SIDE, SIDE), {"detections": [channels, -1]})
    proto.graph.output[0].type.tensor_type.shape.dim[2].Clear()
    manifest = Manifest(task="detect", name="drawn", input_wh=(SIDE, SIDE), classes=("thing",))
    helper.set_model_props(proto, manifest.to_metadata())
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


def pictures(count=4, seed=0):
    """``(count, 32, 32, 3)``: coarse noise."""
    coarse = np.random.default_rng(seed).integers(0, 255, (count, 8, 8, 3), np.uint8)
    return coarse.repeat(4, 1).repeat(4, 2)
