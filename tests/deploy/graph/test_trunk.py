"""What is left of a graph when its trunk was written anew."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from deploy.graph.trunk import drop_unused_constants


def test_constants_stay_that_are_outputs_or_read_by_a_graph_inside():
    inner = helper.make_graph([helper.make_node("Neg", ["inside"], ["y"])], "inner", [], [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    ])  # fmt: skip
    node = helper.make_node("If", ["read"], ["z"], then_branch=inner, else_branch=inner)
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("z", "output")]
    constants = [
        numpy_helper.from_array(np.ones(1, np.float32), name)
        for name in ("read", "inside", "output", "nobody")
    ]
    graph = helper.make_graph([node], "outer", [], outputs, constants)
    drop_unused_constants(graph)
    assert [constant.name for constant in graph.initializer] == ["read", "inside", "output"]
