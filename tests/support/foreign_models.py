"""Small foreign networks with the output layouts of well-known ones, their batch fixed at 1."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, CLASSES = 64, 3
ANCHORS = (SIDE // 8) ** 2


def network(channels, scale, transpose, opset=17, offset=None):
    """Conv of stride 8, Reshape to (1, channels, A), sigmoid, a factor for each channel.

    Args:
        channels: of the output.
        scale: ``(channels,)`` factors after the sigmoid.
        transpose: (1, A, channels) when true, else (1, channels, A).
        opset: version of its operators.
        offset: ``(channels,)`` added at the end; the last channel is then a whole number.
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
    if offset is not None:
        constants |= {
            "offset": np.asarray(offset, np.float32),
            "cut": np.array([channels - 1, 1], np.int64),
        }
        nodes[-1].output[0] = "scaled"
        nodes += [
            helper.make_node("Reshape", ["offset", "scale_shape"], ["shift"]),
            helper.make_node("Add", ["scaled", "shift"], ["shifted"]),
            helper.make_node("Split", ["shifted", "cut"], ["box", "share_of_class"], axis=1),
            helper.make_node("Floor", ["share_of_class"], ["class"]),
            helper.make_node("Concat", ["box", "class"], ["detections"], axis=1),
        ]
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
    scale, offset = [SIDE / 2] * 4 + [1, CLASSES], [0, 0, SIDE / 2, SIDE / 2, 0, 0]
    return network(6, scale, True, opset, offset)


def with_metadata(model, **metadata):
    """The same network with its maker's words, as ultralytics writes them."""
    proto = onnx.load_model_from_string(model)
    helper.set_model_props(proto, {"author": "Ultralytics", **metadata})
    return proto.SerializeToString()


def any_size():
    """(1, 4 + 2, A) of pictures of any size: each cell of 8 px is a box, red and green its scores.

    Its cells are counted from the picture's shape while it runs, as in ``dynamic=True`` exports.
    """
    node = helper.make_node
    nodes = [
        node("AveragePool", ["images"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        node("Shape", ["cells"], ["height_width"], start=2),
        node("Split", ["height_width"], ["height", "width"], axis=0),
    ]
    for side, across in (("height", "column"), ("width", "row")):
        nodes += [
            node("Squeeze", [side], [f"{side}_0"]),
            node("Range", ["none", f"{side}_0", "one"], [f"{side}_each"]),
            node("Cast", [f"{side}_each"], [f"{side}_float"], to=TensorProto.FLOAT),
            node("Mul", [f"{side}_float", "stride"], [f"{side}_low"]),
            node("Add", [f"{side}_low", "half"], [f"{side}_center"]),
            node("Reshape", [f"{side}_center", f"as_{across}"], [f"{side}_line"]),
            node("Expand", [f"{side}_line", "height_width"], [f"{side}_grid"]),
            node("Reshape", [f"{side}_grid", "flat"], [f"{side}_list"]),
            node("Unsqueeze", [f"{side}_list", "leading"], [f"{side}_flat"]),
        ]
    nodes += [
        node("Concat", ["width_flat", "height_flat"], ["centers"], axis=1),
        node("Reshape", ["cells", "as_colors"], ["colors"]),
        node("Split", ["colors", "two_one"], ["scores", "blue"], axis=1),
        node("Mul", ["scores", "zero"], ["nothing"]),
        node("Add", ["centers", "nothing"], ["center"]),
        node("Add", ["nothing", "stride"], ["size"]),
        node("Concat", ["center", "size", "scores"], ["output0"], axis=1),
    ]
    constants = {
        "none": np.array(0), "one": np.array(1), "stride": np.float32(8), "half": np.float32(4),
        "zero": np.float32(0), "as_column": np.array([-1, 1]), "as_row": np.array([1, -1]),
        "flat": np.array([-1]), "as_colors": np.array([1, 3, -1]),
        "two_one": np.array([2, 1]), "leading": np.array([0, 1]),
    }  # fmt: skip
    return _model(nodes, constants, {"output0": ["b", 6, "a"]}, "side")


def fixed_rows(rows, metadata=None, side=SIDE):
    """A network of any batch that gives the same ``(R, C)`` rows for each picture."""
    rows = np.asarray(rows, np.float32)[None]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Squeeze", ["nothing", "axis"], ["of_each"]),
        helper.make_node("Add", ["rows", "of_each"], ["output0"]),
    ]
    constants = {"zero": np.zeros((1, 1, 1, 1), np.float32), "axis": np.array([3]), "rows": rows}
    model = _model(nodes, constants, {"output0": ["b", *rows.shape[1:]]}, side)
    return with_metadata(model, **metadata) if metadata else model


def rtdetr(classes=CLASSES, finished=False):
    """(1, Q, 4 + C): center and size in 0..1, scores; finished (1, Q, 6): best score and class."""
    if finished:
        scale, offset = [1] * 5 + [classes], [0] * 6
        return network(6, scale, True, offset=offset)
    return network(4 + classes, [1] * (4 + classes), True)


def scrfd(side=SIDE, anchors=2):
    """Insightface's nine outputs without a batch: scores, distances, points of three strides."""
    rng = np.random.default_rng(6)
    nodes, constants, outputs = [], {}, {}
    number = 448
    for width, act in ((1, "Sigmoid"), (4, "Relu"), (10, "Identity")):
        for stride in (8, 16, 32):
            name, channels = str(number), anchors * width
            weight = rng.normal(0, 0.02, (channels, 3, stride, stride)).astype(np.float32)
            constants[f"w{name}"] = weight
            constants[f"s{name}"] = np.array([-1, width])
            nodes += [
                helper.make_node(
                    "Conv", ["images", f"w{name}"], [f"c{name}"], strides=[stride] * 2
                ),
                helper.make_node("Transpose", [f"c{name}"], [f"t{name}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"t{name}", f"s{name}"], [f"r{name}"]),
                helper.make_node(act, [f"r{name}"], [name]),
            ]
            outputs[name] = [(side // stride) ** 2 * anchors, width]
            number += 23
    return _model(nodes, constants, outputs, side)


def _model(nodes, constants, outputs, side):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "foreign",
        [value("images", TensorProto.FLOAT, ["b", 3, side, side])],
        [value(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return model.SerializeToString()
