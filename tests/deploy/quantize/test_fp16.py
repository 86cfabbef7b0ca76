"""FP16: halves in the trunk, floats behind it and in sums."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deploy.graph.graph_builder import Graph
from deploy.graph.trunk import find_trunk, simplify
from deploy.quantize.fp16 import convert_to_fp16
from edge.errors import ModelError
from edge.models.paths import resolve_model
from tests.support.quantizable_networks import finished, network, pictures
from tests.support.tiny_networks import run


def half(model):
    result = convert_to_fp16(simplify(model))
    onnx.checker.check_model(result, full_check=True)
    return result


@pytest.mark.parametrize("name", ["zoo:detect-nano", "zoo:faces-nano"])
def test_decoding_and_nms_of_the_zoo_hold_no_halves(name, tmp_path):
    model = resolve_model(name, tmp_path).read_bytes()
    trunk = find_trunk(simplify(model).graph)
    inside = {node.op_type for node in trunk.nodes}
    assert not inside & {"TopK", "Loop", "GatherND", "Exp"}
    result = half(model)
    kinds = {w.name: w.data_type for w in result.graph.initializer}
    layers = [node for node in result.graph.node if node.op_type == "Conv"]
    assert len(layers) == len(trunk.layers)
    assert all(kinds[node.input[1]] == TensorProto.FLOAT16 for node in layers)
    last = max(n for n, node in enumerate(result.graph.node) if node.op_type == "Conv")
    behind = {name for node in result.graph.node[last + 1 :] for name in node.input}
    assert not [name for name in behind if kinds.get(name) == TensorProto.FLOAT16]
    assert len(result.SerializeToString()) < 0.75 * len(model)


def test_coordinates_beyond_what_a_half_knows_are_kept():
    model = network(offset=3001.25)
    batch = pictures()
    before = run(model, batch)["detections"]
    after = run(half(model).SerializeToString(), batch)["detections"]
    assert before.min() > 2900
    np.testing.assert_allclose(after, before, atol=0.02)  # halves are 2 apart there
    assert np.abs(after - before).max() > 0


def test_a_sum_that_overflows_a_half_is_made_in_float():
    proto = helper.make_model(
        onnx.GraphProto(name="sum"), opset_imports=[helper.make_opsetid("", 17)], ir_version=10
    )
    graph = Graph(proto.graph)
    value = graph.add("Cast", "images", to=TensorProto.FLOAT)
    value = graph.add("Transpose", value, perm=[0, 3, 1, 2])
    value = graph.add("ReduceSum", value, graph.integers(2, 3), keepdims=1)
    value = graph.add("Mul", value, graph.constant(1e-3))
    value = graph.add("Conv", value, graph.constant(np.ones((2, 3, 1, 1))))
    model = finished(proto, graph, value, 2)
    batch = np.full((1, 32, 32, 3), 255, np.uint8)
    before = run(model, batch)["detections"]
    assert before[0, 0, 0] == pytest.approx(3 * 32 * 32 * 255e-3)  # each sum is 261,120
    after = run(half(model).SerializeToString(), batch)["detections"]
    np.testing.assert_allclose(after, before, rtol=2e-3)


def test_a_weight_that_no_half_can_hold_is_refused_by_name():
    proto = onnx.load_model_from_string(network())
    weight = next(w for w in proto.graph.initializer if len(w.dims) == 4)
    array = onnx.numpy_helper.to_array(weight).copy()
    array[0, 0, 0, 0] = 1e6
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    with pytest.raises(ModelError, match="1000000"):
        convert_to_fp16(proto)
