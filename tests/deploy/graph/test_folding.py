"""Folding changes how a network is written, not what it says."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy.graph.folding import fold
from deploy.graph.session import open_session

RNG = np.random.default_rng(5)


class Network:
    """A network that takes ``(N, 3, 8, 8)``, written node by node."""

    def __init__(self):
        self.nodes, self.weights, self.value = [], [], "data"
        self.rank = 4  # of the output

    def constant(self, array):
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array, np.float32), name))
        return name

    def then(self, kind, *constants, first=True, **attributes):
        names = [self.constant(c) for c in constants]
        inputs = [self.value, *names] if first else [*names, self.value]
        self.value = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [self.value], **attributes))
        return self

    def model(self):
        return helper.make_model(
            helper.make_graph(
                self.nodes,
                "network",
                [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["n", 3, 8, 8])],
                [helper.make_tensor_value_info(self.value, TensorProto.FLOAT, [None] * self.rank)],
                self.weights,
            ),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=10,
        )


def conv(network, out=4, into=3, group=1, bias=True):
    """A 3x3 convolution."""
    weights = [RNG.normal(size=(out, into // group, 3, 3))] + [RNG.normal(size=out)] * bias
    return network.then("Conv", *weights, pads=[1, 1, 1, 1], group=group)


def say(model):
    session = open_session(model.SerializeToString())
    pictures = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    return session.run(None, {"data": pictures})[0]


def check_same(network, kinds):
    """Folding leaves nodes of these kinds, and what they say; the folded graph."""
    before, after = network.model(), network.model()
    fold(after.graph)
    onnx.checker.check_model(after)
    assert sorted(node.op_type for node in after.graph.node) == sorted(kinds)
    said = say(before)
    assert say(after) == pytest.approx(said, abs=2e-6 * float(np.abs(said).max()))
    return after


CHANNELS = RNG.normal(size=(4, 1, 1)) + 2


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kind", "number", "first"),
    [
        ("Mul", CHANNELS, True),
        ("Mul", CHANNELS[None], False),
        ("Mul", 0.5, True),
        ("Add", CHANNELS, False),
        ("Sub", CHANNELS, True),
        ("Sub", CHANNELS, False),
        ("Div", CHANNELS, True),
    ],
)
def test_what_scales_and_shifts_channels_goes_into_the_convolution(kind, number, first, bias):
    check_same(conv(Network(), bias=bias).then(kind, number, first=first), ["Conv"])


def test_a_chain_of_them_goes_into_it_at_once():
    network = conv(Network())
    for kind in ("Mul", "Add", "Mul", "Add"):
        network.then(kind, CHANNELS)
    check_same(network.then("Relu"), ["Conv", "Relu"])


def test_normalization_goes_into_it():
    gain, offset, mean, variance = RNG.uniform(0.5, 2, (4, 4))
    check_same(conv(Network()).then("BatchNormalization", gain, offset, mean, variance), ["Conv"])


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_matrix_is_folded_along_its_outputs(transposed):
    weight = RNG.normal(size=(5, 192) if transposed else (192, 5))
    network = Network().then("Flatten").then("Gemm", weight, RNG.normal(size=5), transB=transposed)
    network.rank = 2
    check_same(network.then("Mul", RNG.normal(size=(1, 5))).then("Add", RNG.normal(size=5)),
               ["Flatten", "Gemm"])  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "number", "first"),
    [
        ("Mul", RNG.normal(size=(8, 8)), True),  # differs within a channel
        ("Mul", RNG.normal(size=8), True),  # along the columns
        ("Div", CHANNELS, False),  # no scale
    ],
)
def test_what_differs_within_a_channel_stays(kind, number, first):
    check_same(conv(Network()).then(kind, number, first=first), ["Conv", kind])


def test_a_value_that_others_read_too_stays():
    network = conv(Network())
    both = network.value
    network.then("Mul", CHANNELS)
    network.nodes.append(helper.make_node("Add", [network.value, both], ["sum"]))
    network.value = "sum"
    check_same(network, ["Add", "Conv", "Mul"])


PRELU = ["Add", "Conv", "Conv", "Relu"]
SLOPES = {
    "usual": [0.1, 0.25, 0.5, 0.9],
    "below zero": [-1.6, -0.3, 0, 0.2],
    "steep": [2.4, 1, 1.0001, 0.9999],
}


@pytest.mark.parametrize("slope", SLOPES.values(), ids=SLOPES)
@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1)])
def test_prelu_before_a_convolution(slope, shape):
    network = conv(Network()).then("PRelu", np.reshape(slope, shape))
    check_same(conv(network, 6, 4, group=2), ["Conv", "Conv", *PRELU])


@pytest.mark.parametrize("slope", SLOPES.values(), ids=SLOPES)
def test_prelu_before_anything_else(slope):
    network = conv(Network()).then("PRelu", np.reshape(slope, (4, 1, 1)))
    turns = ["Conv"] * (max(slope) > 1)
    check_same(network.then("GlobalAveragePool"), ["Conv", "GlobalAveragePool", *PRELU, *turns])


def test_prelu_that_is_the_output():
    network = conv(Network()).then("PRelu", np.reshape(SLOPES["steep"], (4, 1, 1)))
    check_same(network, ["Conv", *PRELU, "Conv"])


@pytest.mark.parametrize("slope", [[[[0.3]]], [0.3], RNG.normal(size=(4, 8, 8))])
def test_prelu_of_another_shape_stays(slope):
    check_same(conv(Network()).then("PRelu", slope), ["Conv", "PRelu"])


def test_weights_that_two_convolutions_share_are_folded_in_one():
    network = conv(Network(), 3)
    shared = network.nodes[0].input[1:]
    network.then("Mul", RNG.normal(size=(3, 1, 1)))
    network.nodes.append(
        helper.make_node("Conv", [network.value, *shared], ["again"], pads=[1, 1, 1, 1])
    )
    network.value = "again"
    check_same(network, ["Conv", "Conv"])
