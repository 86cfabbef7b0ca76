"""NMS without its loop: equal to greedy NMS wherever chains are no longer than there are sweeps."""

from functools import cache

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from deploy.graph.nms import Nms
from deploy.graph.unroll import SWEEPS, unroll_nms
from edge.errors import ModelError
from edge.models.paths import get_zoo_folder, resolve_model
from edge.vision.image_file import read_picture
from edge.vision.preprocess import letterbox
from tests.deploy.graph.test_nms import (
    ANCHORS,
    CLASSES,
    OPTIONS,
    brute_force,
    nms_model,
    random_scene,
)
from tests.support.tiny_networks import run


@cache
def count_loops(model):
    return sum(node.op_type == "Loop" for node in onnx.load_model_from_string(model).graph.node)


def session(options: Nms = OPTIONS, sweeps: int = SWEEPS) -> ort.InferenceSession:
    model = unroll_nms(nms_model(options), sweeps)
    assert count_loops(model) == 0
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"])


def compare(xyxy, scores, sweeps=SWEEPS):
    extra = np.tile(
        np.arange(2.0 * ANCHORS, dtype=np.float32).reshape(1, ANCHORS, 2), (len(xyxy), 1, 1)
    )
    rows, values = session(OPTIONS, sweeps).run(
        None, {"boxes": xyxy, "scores": scores, "extra": extra}
    )
    for n in range(len(xyxy)):
        want_rows, want_values = brute_force(xyxy[n], scores[n], extra[n], OPTIONS)
        np.testing.assert_array_equal(rows[n], want_rows)
        np.testing.assert_array_equal(values[n], want_values)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 16), st.integers(1, 12), st.booleans())
def test_random_scenes_with_ties_and_degenerate_boxes(seed, batch, crowd, grid):
    compare(*random_scene(np.random.default_rng(seed), batch, crowd, grid))


def chain(length):
    """Boxes of which each overlaps only its neighbours."""
    left = np.arange(ANCHORS, dtype=np.float32) * 25  # 100 wide: IoU 0.6 with the next, 0.33 after
    xyxy = np.stack([left, 0 * left, left + 100, 0 * left + 100], axis=1)[None]
    scores = np.zeros((1, ANCHORS, CLASSES), np.float32)
    scores[0, :length, 1] = np.linspace(0.9, 0.3, length)
    return xyxy, scores


@pytest.mark.parametrize("length", [2, 3, SWEEPS, SWEEPS + 1])
def test_chains_as_long_as_there_are_sweeps_are_exact(length):
    compare(*chain(length))


def test_a_longer_chain_keeps_a_box_too_many_and_loses_none():
    xyxy, scores = chain(24)
    extra = np.zeros((1, ANCHORS, 2), np.float32)
    rows, _ = session().run(None, {"boxes": xyxy, "scores": scores, "extra": extra})
    want, _ = brute_force(xyxy[0], scores[0], extra[0], OPTIONS)
    wanted = {tuple(row) for row in want.tolist() if row[4]}
    found = {tuple(row) for row in rows[0].tolist() if row[4]}
    assert wanted < found


@pytest.mark.parametrize(
    ("name", "pictures"), [("detect-nano", "coco_dev"), ("faces-nano", "gallery_video")]
)
def test_a_shipped_model_finds_the_same_on_real_pictures(name, pictures, shared_data):
    model = resolve_model(f"zoo:{name}", get_zoo_folder()).read_bytes()
    (shape,) = [
        [d.dim_value for d in v.type.tensor_type.shape.dim] for v in parsed(model).graph.input
    ]
    files = sorted((shared_data / pictures).rglob("*.jpg"))[:12]
    images = np.empty((len(files), *shape[1:]), np.uint8)
    for file, image in zip(files, images, strict=True):
        letterbox(read_picture(file), image)
    want, found = run(model, images), run(unroll_nms(model), images)
    assert (want["detections"][..., 4] > 0).sum() >= 4
    for output, value in want.items():
        np.testing.assert_array_equal(found[output], value)


def parsed(model):
    return onnx.load_model_from_string(model)


def test_metadata_stays_and_no_sweeps_change_nothing():
    model = resolve_model("zoo:faces-nano", get_zoo_folder()).read_bytes()
    assert parsed(unroll_nms(model)).metadata_props == parsed(model).metadata_props
    onnx.checker.check_model(parsed(unroll_nms(model)))
    assert unroll_nms(model, sweeps=0) == model
    assert count_loops(model) == 1


def test_a_loop_that_is_not_ours_is_left_alone():
    """Repeating its body would count on."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Add", ["before", "one"], ["after"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "count",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []),
         value("before", TensorProto.FLOAT, [1])],
        [value("on", TensorProto.BOOL, []), value("after", TensorProto.FLOAT, [1])],
    )  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node("Loop", ["most", "", "x"], ["y"], body=body)],
        "foreign",
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
        [helper.make_tensor("most", TensorProto.INT64, [], [3]),
         helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    data = model.SerializeToString()
    assert unroll_nms(data) == data


def test_what_is_no_model_is_refused():
    with pytest.raises(ModelError, match="not an ONNX file"):
        unroll_nms(b"Once upon a time")
