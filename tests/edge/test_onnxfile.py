"""External data is found wherever a tensor can hide it."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edge.onnxfile import has_external_data, metadata_of, precision_of
from tests.support.models import constant_model


def weight(external=True):
    tensor = numpy_helper.from_array(np.ones(64, np.float32), "weight")
    if external:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def graph(*nodes, initializer=()):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [64])
    return helper.make_graph(list(nodes), "g", [value], [value], list(initializer))


def constant(tensor):
    return helper.make_node("Constant", [], ["weight"], value=tensor)


def branch(tensor):
    inner = helper.make_graph([constant(tensor)], "inner", [], [])
    return helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)


def sparse(tensor):
    made = graph()
    made.sparse_initializer.add().values.CopyFrom(tensor)
    return made


def function(tensor):
    made = helper.make_model(graph())
    made.functions.add().node.append(constant(tensor))
    return made


def listed(tensor):
    node = helper.make_node("Custom", [], ["y"], domain="acme", tensors=[tensor, tensor])
    return graph(node)


PLACES = {
    "initializer": lambda t: graph(initializer=[t]),
    "constant": lambda t: graph(constant(t)),
    "branch": lambda t: graph(branch(t)),
    "sparse": sparse,
    "list of an attribute": listed,
    "function": function,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("external", [True, False])
def test_a_tensor_in_another_file_is_found(place, external):
    made = PLACES[place](weight(external))
    model = made if isinstance(made, onnx.ModelProto) else helper.make_model(made)
    assert has_external_data(model.SerializeToString()) is external


def judged(model):
    """True or False, or None for what is no protobuf."""
    try:
        return has_external_data(model)
    except ValueError:
        return None


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_judged_or_refused(garbage):
    assert judged(garbage) in (True, False, None)


def test_a_truncated_model_is_refused_or_judged_by_what_is_there():
    model = helper.make_model(graph(branch(weight()))).SerializeToString()
    verdicts = [judged(model[:length]) for length in range(len(model))]
    assert verdicts[0] is False
    assert None in verdicts
    assert judged(model) is True


# --- what else is read ---------------------------------------------------------------------------


def test_metadata_is_that_of_the_file():
    model = constant_model("detect", {"detections": np.zeros((3, 6), np.float32)}, ["a"])
    proto = onnx.load_model_from_string(model)
    helper.set_model_props(proto, {"edge.manifest": "{}", "ümlaut": "日本", "empty": ""})
    want = {"edge.manifest": "{}", "ümlaut": "日本", "empty": ""}
    assert metadata_of(proto.SerializeToString()) == want
    assert metadata_of(helper.make_model(graph()).SerializeToString()) == {}


@pytest.mark.parametrize(
    ("nodes", "dtype", "precision"),
    [
        (["Relu"], np.float32, "fp32"),
        (["Relu"], np.float16, "fp16"),
        (["Relu", "QuantizeLinear"], np.float32, "int8"),
        (["QuantizeLinear"], np.float16, "int8"),
    ],
)
def test_precision_is_what_the_graph_computes_in(nodes, dtype, precision):
    made = [helper.make_node(kind, ["x"], ["x"]) for kind in nodes]
    weights = numpy_helper.from_array(np.ones(4, dtype), "w")
    model = helper.make_model(graph(*made, initializer=[weights])).SerializeToString()
    assert precision_of(model) == precision
