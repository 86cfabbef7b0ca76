"""Bytes are cast before they are moved: the same results, in an order TensorRT takes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deploy.graph.uint8 import cast_first
from tests.support.tiny_networks import run


def model(nodes, shape=("n", 2, 3), out=TensorProto.FLOAT):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "bytes",
        [value("x", TensorProto.UINT8, shape)],
        [value("y", out, ["a", "b", "c"])],
        [helper.make_tensor("one", TensorProto.INT64, [], [1])],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


GATHER = helper.make_node("Gather", ["x", "one"], ["part"], axis=1)
FLIP = helper.make_node("Transpose", ["part"], ["flipped"], perm=[1, 0])
CAST = helper.make_node("Cast", ["flipped"], ["y"], to=TensorProto.FLOAT)


def kinds(data):
    return [node.op_type for node in onnx.load_model_from_string(data).graph.node]


def test_the_cast_moves_before_what_only_moves_bytes():
    late = model([GATHER, FLIP, CAST])
    early = cast_first(late)
    assert kinds(early) == ["Cast", "Gather", "Transpose", "Cast"]
    onnx.checker.check_model(onnx.load_model_from_string(early))
    x = np.arange(18, dtype=np.uint8).reshape(3, 2, 3)
    np.testing.assert_array_equal(run(early, x)["y"], run(late, x)["y"])


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
        [GATHER, helper.make_node("Max", ["part", "part"], ["y"])],  # reckons with bytes
    ],
    ids=["cast already", "needs bytes"],
)
def test_what_is_right_or_needs_bytes_is_left_alone(nodes):
    data = model(nodes)
    assert cast_first(data) == data


def test_bytes_that_are_an_output_stay_bytes():
    data = model([helper.make_node("Gather", ["x", "one"], ["y"], axis=1)], out=TensorProto.UINT8)
    assert cast_first(data) == data
