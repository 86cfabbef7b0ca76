"""Small foreign networks with the output layouts of well-known ones, their batch fixed at 1."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, CLASSES = 64, 3
ANCHORS = (SIDE // 8) ** 2


def network(channels, scale, transpose, opset=17):
    """Conv of stride 8, Reshape to (1, channels, A), sigmoid, a factor for each channel.

    Args:
        channels: of the output.
        scale: ``(channels,)`` factors after the sigmoid.
        transpose: (1, A, channels) when true, else (1, channels, A).
        opset: version of its operators.
    """
    rng = np.random.default_rng(channels)
    weight = rng.normal(0, 1, (channels, 3, 8, 8)).astype(np.float32)
    constants = {
        "weight": weight - weight.mean(axis=(1, 2, 3), keepdims=True),  # contrast, not brightness
        "shape": np.array([1, channels, -1], np.int64),
        "flat_scale": np.asarray(scale, np.float32),
        "scale_shape": np.array([1, channels, 1], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["images", "weight"], ["grid"], strides=[8, 8]),
        helper.make_node("Reshape", ["grid", "shape"], ["columns"]),
        helper.make_node("Sigmoid", ["columns"], ["share"]),
        helper.make_node("Reshape", ["flat_scale", "scale_shape"], ["scale"]),  # no batch here
        helper.make_node("Mul", ["share", "scale"], ["detections"]),
    ]
    shape = [1, channels, ANCHORS]
    if transpose:
        nodes[-1].output[0] = "turned"
        nodes.append(helper.make_node("Transpose", ["turned"], ["detections"], perm=[0, 2, 1]))
        shape = [1, ANCHORS, channels]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "foreign",
        [value("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [value("detections", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return model.SerializeToString()


def objectness(opset=17, classes=CLASSES):
    """(1, A, 5 + C): centre, size, objectness, classes."""
    return network(5 + classes, [SIDE] * 2 + [SIDE / 2] * 2 + [1] * (1 + classes), True, opset)


def plain(opset=17):
    """(1, 4 + C, A): centre, size, classes."""
    return network(4 + CLASSES, [SIDE] * 2 + [SIDE / 2] * 2 + [1] * CLASSES, False, opset)


def finished(opset=17):
    """(1, K, 6): corners, score, class."""
    return network(6, [SIDE] * 4 + [1, CLASSES], True, opset)
