"""INT8: what runs in integers, for whom, and how near it stays."""

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from deploy.graph.trunk import find_trunk, simplify
from deploy.quantize.int8 import Int8Options, quantize_trunk
from deploy.quantize.ranges import observe_ranges
from tests.support.quantizable_networks import network, pictures
from tests.support.tiny_networks import run


def small(model, **options):
    """The model in INT8 and its float graph's trunk."""
    proto = simplify(model)
    trunk = find_trunk(proto.graph)
    ranges = observe_ranges(proto, trunk, [pictures(8)])
    result = quantize_trunk(proto, ranges, Int8Options(**{"target": "cpu", **options}))
    onnx.checker.check_model(result, full_check=True)
    return result, trunk


def operators(proto):
    """Operators that ONNX Runtime executes in the end."""
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        settings.optimized_model_filepath = str(Path(folder) / "best.onnx")
        ort.InferenceSession(
            proto.SerializeToString(), settings, providers=["CPUExecutionProvider"]
        )
        best = onnx.load(settings.optimized_model_filepath)
    return Counter(node.op_type for node in best.graph.node)


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
@pytest.mark.parametrize("kind", ["silu", "relu"])
def test_rows_stay_near_those_of_the_float_model(target, kind):
    model = network((kind, kind, ""))
    proto, _ = small(model, target=target)
    batch = pictures(4, seed=5)
    before, after = (run(m, batch)["detections"] for m in (model, proto.SerializeToString()))
    assert np.square(after - before).mean() < 5e-3 * before.var()
    assert np.abs(after - before).max() > 0


@pytest.mark.parametrize(
    ("between", "others"),
    [
        (("silu", "silu", ""), {"QLinearSigmoid": 2, "QLinearMul": 2}),
        (("relu", "relu", ""), {}),  # clipping is in the layers
    ],
)
def test_a_processor_runs_all_of_the_trunk_in_integers(between, others):
    proto, trunk = small(network(between))
    found = operators(proto)
    assert found["QLinearConv"] == len(trunk.layers) == 3
    assert {name: found[name] for name in others} == others
    assert not {"Conv", "Sigmoid", "Relu", "QuickGelu"} & set(found)


def test_layers_that_are_kept_run_in_float():
    _, trunk = small(network())
    proto, _ = small(network(), kept=trunk.layers[:1])
    assert operators(proto)["QLinearConv"] == 2


def test_tensorrt_gets_symmetric_steps_and_float_biases():
    proto, _ = small(network(), target="tensorrt")
    constants = {w.name: numpy_helper.to_array(w) for w in proto.graph.initializer}
    pairs = [n for n in proto.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(pairs) == 3 * 3  # input and weights of each layer
    for node in pairs:
        assert constants[node.input[2]].dtype == np.int8
        assert not constants[node.input[2]].any()
    layers = [node for node in proto.graph.node if node.op_type == "Conv"]
    assert all(constants[layer.input[2]].dtype == np.float32 for layer in layers)


@pytest.mark.parametrize("steps", [127, 63])
def test_weights_have_a_scale_a_channel_and_use_all_of_their_steps(steps):
    proto, _ = small(network(), weight_steps=steps)
    weights = [
        numpy_helper.to_array(w) for w in proto.graph.initializer
        if w.name.endswith("/weight") and len(w.dims) == 4
    ]  # fmt: skip
    assert len(weights) == 3
    for weight in weights:
        assert weight.dtype == np.int8
        assert (np.abs(weight.astype(int)).max(axis=(1, 2, 3)) == steps).all()


def test_the_bias_takes_back_what_rounded_weights_add_on_average():
    """With very coarse weights, a layer's mean output stays where it was."""
    model = network(("", "", ""), channels=8)
    proto, trunk = small(model, target="tensorrt", weight_steps=3)
    constants = {w.name: numpy_helper.to_array(w) for w in proto.graph.initializer}
    bias = {n.output[0]: constants[n.input[2]] for n in proto.graph.node if n.op_type == "Conv"}
    before = {n.output[0]: trunk.weights[n.input[2]] for n in trunk.nodes if n.op_type == "Conv"}
    assert all(np.abs(bias[k] - numpy_helper.to_array(v)).max() > 0 for k, v in before.items())
    batch = pictures(8)
    truth, coarse = (run(m, batch)["detections"] for m in (model, proto.SerializeToString()))
    for layer, old in before.items():
        initializer = next(w for w in proto.graph.initializer if w.name == f"int8/{layer}/bias")
        initializer.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(old), initializer.name))
    shifted = run(proto.SerializeToString(), batch)["detections"]
    drift, without = (np.abs((x - truth).mean(axis=(0, 2))).sum() for x in (coarse, shifted))
    assert drift < without / 2


def test_what_silu_cannot_tell_apart_is_cut_off():
    model = network(("silu", "", ""))
    proto = onnx.load_model_from_string(model)
    layer = next(node for node in proto.graph.node if node.op_type == "Conv")
    bias = next(w for w in proto.graph.initializer if w.name == layer.input[2])
    array = numpy_helper.to_array(bias).copy()
    array[0] = -60.0  # one channel that SiLU makes zero
    bias.CopyFrom(numpy_helper.from_array(array, bias.name))
    seen = observe_ranges(proto, find_trunk(proto.graph), [pictures(8)])[layer.output[0]]
    assert seen.low > -25
    assert seen.high > 1


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_channel_without_weights_keeps_its_bias():
    """As pruning leaves them: scales of its weights alone would overflow the bias."""
    model = onnx.load_model_from_string(network(("relu", "relu", "")))
    layer = next(node for node in model.graph.node if node.op_type == "Conv")
    arrays = {tensor.name: tensor for tensor in model.graph.initializer}
    weight = numpy_helper.to_array(arrays[layer.input[1]]).copy()
    bias = numpy_helper.to_array(arrays[layer.input[2]]).copy()
    weight[:2], bias[:2] = 0, (1, -1)
    arrays[layer.input[1]].CopyFrom(numpy_helper.from_array(weight, layer.input[1]))
    arrays[layer.input[2]].CopyFrom(numpy_helper.from_array(bias, layer.input[2]))
    proto, trunk = small(model.SerializeToString())
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    name = next(name for name in tensors if name.endswith("/bias") and trunk.layers[0] in name)
    kept = tensors[name].astype(np.float64) * tensors[f"{name}_scale"]
    np.testing.assert_allclose(kept[:2], [1, -1], atol=1e-3)
