"""Contract models of a few hundred bytes that find the same in every picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deploy.adopt.adopt import Adoption, adopt
from edge.manifest import Manifest, Task

NOTHING = np.zeros((1, 6), np.float32)
NOBODY = np.zeros((1, 5, 2), np.float32)


def constant_model(
    task: Task,
    outputs: Mapping[str, np.ndarray],
    classes: Sequence[str] = (),
    input_wh: tuple[int, int] = (32, 32),
) -> bytes:
    """A model that gives ``outputs``, name to ``(K, ..)`` float32, for each picture."""
    nodes = [helper.make_node("Shape", ["images"], ["n"], start=0, end=1)]
    initializers = []
    for name, rows in outputs.items():
        one = np.asarray(rows, np.float32)[None]
        tail = np.array(one.shape[1:], np.int64)
        initializers += [
            numpy_helper.from_array(one, f"{name}_rows"),
            numpy_helper.from_array(tail, f"{name}_tail"),
        ]
        nodes += [
            helper.make_node("Concat", ["n", f"{name}_tail"], [f"{name}_shape"], axis=0),
            helper.make_node("Expand", [f"{name}_rows", f"{name}_shape"], [name]),
        ]
    width, height = input_wh
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", height, width, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *rows.shape])
            for name, rows in outputs.items()
        ],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    manifest = Manifest(task=task, name="constant", input_wh=input_wh, classes=tuple(classes))
    helper.set_model_props(model, manifest.to_metadata())
    return model.SerializeToString()


def echo_model() -> bytes:
    """A detector of one row whose x1 is the largest byte of the picture."""
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["pixels"], ["most"], axes=[1, 2, 3]),  # (n, 1, 1, 1)
        helper.make_node("Reshape", ["most", "shape"], ["x1"]),
        helper.make_node("Pad", ["x1", "pads"], ["detections"]),
    ]
    graph = helper.make_graph(
        nodes,
        "echo",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 32, 32, 3])],
        [helper.make_tensor_value_info("detections", TensorProto.FLOAT, ["n", 1, 6])],
        [
            numpy_helper.from_array(np.array([-1, 1, 1], np.int64), "shape"),
            numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 5], np.int64), "pads"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    manifest = Manifest(task="detect", name="echo", input_wh=(32, 32), classes=("person",))
    helper.set_model_props(model, manifest.to_metadata())
    return model.SerializeToString()


def without_manifest(model: bytes) -> bytes:
    """The same network as a stranger would deliver it."""
    proto = onnx.load_model_from_string(model)
    del proto.metadata_props[:]
    return proto.SerializeToString()


def summing_model(size: int = 8) -> bytes:
    """``(N, size, size, 3)`` -> ``live`` (N,): the sum of a picture's values, one row a picture."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["faces"], ["values"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["values", "axes"], ["live"], keepdims=0),
        ],
        "sum",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, ["n", size, size, 3])],
        [helper.make_tensor_value_info("live", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes")],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def constant_liveness(score: float, input_wh: tuple[int, int] = (8, 8)) -> bytes:
    """A liveness model that says ``score`` of every face."""
    width, height = input_wh
    graph = helper.make_graph(
        [
            helper.make_node("Shape", ["faces"], ["n"], start=0, end=1),
            helper.make_node("Expand", ["score", "n"], ["live"]),
        ],
        "constant",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, ["n", 1, height, width, 3])],
        [helper.make_tensor_value_info("live", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.float32([score]), "score")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    manifest = Manifest(task="liveness", name="constant", input_wh=input_wh)
    helper.set_model_props(model, manifest.to_metadata())
    return model.SerializeToString()


def color_embedder() -> bytes:
    """An embedder for which people differ by their mean color."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["mean"]),
        helper.make_node("Reshape", ["mean", "shape"], ["flat"]),
        helper.make_node("Sub", ["flat", "gray"], ["color"]),
    ]
    graph = helper.make_graph(
        nodes,
        "color",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("color", TensorProto.FLOAT, [1, 3])],
        [
            numpy_helper.from_array(np.array([1, 3], np.int64), "shape"),
            numpy_helper.from_array(np.float32(107), "gray"),
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    return adopt(
        model.SerializeToString(), Adoption("arcface", "color", threshold=0.5, normalize="none")
    )


def brightness_classifier(
    classes: Sequence[str] = ("dark", "bright"),
    size: int = 16,
    *,
    independent: bool = False,
    name: str = "brightness",
    steepness: float = 0.05,
) -> bytes:
    """A classifier that says by a crop's mean whether it is bright, surer the farther from 128.

    With ``independent`` labels the first holds in a dark crop, the second in a bright one.
    """
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3]),  # (n, 1, 1, 1)
        helper.make_node("Reshape", ["mean", "shape"], ["column"]),  # (n, 1)
        helper.make_node("Sub", ["column", "middle"], ["above"]),
        helper.make_node("Mul", ["above", "slopes"], ["logits"]),  # (n, 2)
        helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", size, size, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])],
        [
            numpy_helper.from_array(np.array([-1, 1], np.int64), "shape"),
            numpy_helper.from_array(np.array([128], np.float32), "middle"),
            numpy_helper.from_array(np.array([-steepness, steepness], np.float32), "slopes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    manifest = Manifest(
        task="classify", name=name, input_wh=(size, size), classes=tuple(classes),
        independent=independent, letterbox_align="stretch",
    )  # fmt: skip
    helper.set_model_props(model, manifest.to_metadata())
    return model.SerializeToString()
