"""NMS in the graph equals brute force: random and adversarial scenes, batch 1 to 16."""

from functools import cache

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from deploy.graph.graph_builder import Graph
from deploy.graph.nms import Nms, RawOutputs, append_nms
from edge.vision import boxes

ANCHORS, CLASSES = 48, 3
OPTIONS = Nms(score_threshold=0.25, iou_threshold=0.5, max_rows=20, candidates=32)


@cache
def session(options: Nms, anchors: int = ANCHORS, classes: int = CLASSES) -> ort.InferenceSession:
    model = nms_model(options, anchors, classes)
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"])


def nms_model(options: Nms, anchors: int = ANCHORS, classes: int = CLASSES) -> bytes:
    """NMS alone: boxes, scores and values that travel along in, rows and those values out."""
    proto = onnx.GraphProto(name="nms")
    graph = Graph(proto)
    value = onnx.helper.make_tensor_value_info
    proto.input.extend(
        [
            value("boxes", TensorProto.FLOAT, ["N", anchors, 4]),
            value("scores", TensorProto.FLOAT, ["N", anchors, classes]),
            value("extra", TensorProto.FLOAT, ["N", anchors, 2]),
        ]
    )
    found, extra = append_nms(
        graph, options, RawOutputs("boxes", "scores", anchors, points="extra")
    )
    graph.rename(found, "detections")
    graph.rename(extra, "points")
    proto.output.extend(
        [
            value("detections", TensorProto.FLOAT, ["N", options.max_rows, 6]),
            value("points", TensorProto.FLOAT, ["N", options.max_rows, 2]),
        ]
    )
    model = onnx.helper.make_model(proto, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return model.SerializeToString()


def brute_force(xyxy, scores, extra, options):
    """Rows and extras of one picture, by `boxes.nms` on the best class of each box."""
    score, label = scores.max(axis=1), scores.argmax(axis=1).astype(np.int32)
    best = np.argsort(-score, kind="stable")[: options.candidates]
    best = best[score[best] >= np.float32(options.score_threshold)]
    kept = best[boxes.nms(xyxy[best], score[best], label[best], options.iou_threshold)]
    kept = kept[: options.max_rows]
    rows = np.zeros((options.max_rows, 6), np.float32)
    rows[: len(kept)] = np.column_stack([xyxy[kept], score[kept], label[kept]])
    values = np.zeros((options.max_rows, 2), np.float32)
    values[: len(kept)] = extra[kept]
    return rows, values


def compare(xyxy, scores, options=OPTIONS):
    """Run a batch (B, A, 4), (B, A, C) both ways."""
    count = xyxy.shape[1]
    extra = np.tile(np.arange(2 * count, dtype=np.float32).reshape(1, count, 2), (len(xyxy), 1, 1))
    graph = session(options, count, scores.shape[2])
    rows, values = graph.run(None, {"boxes": xyxy, "scores": scores, "extra": extra})
    for n in range(len(xyxy)):
        want_rows, want_values = brute_force(xyxy[n], scores[n], extra[n], options)
        np.testing.assert_array_equal(rows[n], want_rows)
        np.testing.assert_array_equal(values[n], want_values)


def random_scene(rng, batch, crowd, grid):
    """Boxes around a few centres; coordinates on a grid give ties and identical boxes."""
    center = rng.uniform(0, 100, (batch, crowd, 2))[:, rng.integers(0, crowd, ANCHORS)]
    center = center + rng.normal(0, 4, center.shape)
    size = rng.uniform(-2, 40, center.shape)  # some are inverted
    xyxy = np.concatenate([center - size / 2, center + size / 2], axis=2)
    scores = rng.uniform(0, 1, (batch, ANCHORS, CLASSES))
    if grid:
        xyxy, scores = np.round(xyxy / 8) * 8, np.round(scores * 8) / 8
    return xyxy.astype(np.float32), scores.astype(np.float32)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 16), st.integers(1, 12), st.booleans())
def test_random_scenes_with_ties_and_degenerate_boxes(seed, batch, crowd, grid):
    compare(*random_scene(np.random.default_rng(seed), batch, crowd, grid))


@pytest.mark.parametrize("batch", range(1, 17))
def test_a_thousand_scenes_over_all_batch_sizes(batch):
    rng = np.random.default_rng(batch)
    for _ in range(8):
        compare(*random_scene(rng, batch, int(rng.integers(1, 12)), bool(rng.integers(2))))


@pytest.mark.parametrize("length", [2, 3, 16, 31, 32, 48])
def test_chains_in_which_each_box_overlaps_only_its_neighbours(length):
    """The longest dependence there is: who survives alternates down the whole chain."""
    left = np.arange(ANCHORS, dtype=np.float32) * 25  # 100 wide: IoU 0.6 with the next, 0.33 after
    xyxy = np.stack([left, 0 * left, left + 100, 0 * left + 100], axis=1)[None]
    scores = np.zeros((1, ANCHORS, CLASSES), np.float32)
    scores[0, :length, 1] = np.linspace(0.9, 0.3, length)
    compare(xyxy, scores)
    compare(xyxy[:, ::-1].copy(), scores[:, ::-1].copy())


def test_identical_boxes_and_scores_keep_the_first():
    xyxy = np.tile(np.float32([10, 10, 50, 50]), (4, ANCHORS, 1))
    compare(xyxy, np.full((4, ANCHORS, CLASSES), 0.5, np.float32))


def test_equal_boxes_of_different_classes_all_survive():
    xyxy = np.tile(np.float32([10, 10, 50, 50]), (1, ANCHORS, 1))
    scores = np.zeros((1, ANCHORS, CLASSES), np.float32)
    scores[0, np.arange(ANCHORS), np.arange(ANCHORS) % CLASSES] = 0.9
    compare(xyxy, scores)


def test_nothing_above_the_threshold_gives_zero_rows():
    rng = np.random.default_rng(1)
    xyxy, scores = random_scene(rng, 3, 4, grid=False)
    compare(xyxy, scores * 0.2)


def test_an_overlap_exactly_at_the_threshold_survives():
    xyxy = np.zeros((1, ANCHORS, 4), np.float32)
    xyxy[0, :2] = [[0, 0, 100, 100], [0, 0, 100, 50]]  # IoU exactly 0.5
    scores = np.zeros((1, ANCHORS, CLASSES), np.float32)
    scores[0, :2, 0] = 0.9, 0.8
    compare(xyxy, scores)


def test_a_nan_is_never_a_row():
    rng = np.random.default_rng(2)
    xyxy, scores = random_scene(rng, 1, 4, grid=False)
    scores[0, 5] = np.nan
    graph = session(OPTIONS)
    extra = np.zeros((1, ANCHORS, 2), np.float32)
    rows = graph.run(None, {"boxes": xyxy, "scores": scores, "extra": extra})[0]
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("anchors", [4, 19, 20, 33])
def test_fewer_anchors_than_rows_are_padded(anchors):
    rng = np.random.default_rng(anchors)
    xyxy, scores = random_scene(rng, 2, 4, grid=False)
    compare(xyxy[:, :anchors].copy(), scores[:, :anchors].copy())


@pytest.mark.parametrize("candidates", [1, 4, 32, 256])
def test_ties_among_thousands_of_boxes_keep_the_order_of_the_network(candidates):
    """TopK has several algorithms; each must put the lower index first."""
    rng = np.random.default_rng(candidates)
    low = rng.integers(0, 40, (2, 3549, 2)) * 8
    xyxy = np.concatenate([low, low + rng.integers(1, 6, low.shape) * 8], axis=2)
    scores = rng.integers(0, 5, (2, 3549, CLASSES)) / np.float32(4)
    options = Nms(0.25, 0.5, 100, candidates)
    compare(xyxy.astype(np.float32), scores.astype(np.float32), options)


@pytest.mark.parametrize("size", [0, 1e-30, 1e-15, 1e-3, 1e6, 1e18, 1e25])
def test_boxes_beyond_all_measure_are_suppressed_like_the_reference(size):
    """Areas that vanish or overflow make unions of 0, infinity or NaN."""
    rng = np.random.default_rng(3)
    low = rng.uniform(0, size, (2, ANCHORS, 2))
    xyxy = np.concatenate([low, low + rng.uniform(0, 3 * size, low.shape)], axis=2)
    scores = rng.uniform(0, 1, (2, ANCHORS, CLASSES)).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        compare(xyxy.astype(np.float32), scores)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 16))
def test_objectness_multiplies_the_best_class(seed, batch):
    rng = np.random.default_rng(seed)
    xyxy, scores = random_scene(rng, batch, 5, grid=False)
    seen = rng.uniform(0, 1, (batch, ANCHORS, 1)).astype(np.float32)
    proto = onnx.GraphProto(name="nms")
    graph = Graph(proto)
    value = onnx.helper.make_tensor_value_info
    for name, width in (("boxes", 4), ("scores", CLASSES), ("seen", 1)):
        proto.input.append(value(name, TensorProto.FLOAT, ["N", ANCHORS, width]))
    found, _ = append_nms(graph, OPTIONS, RawOutputs("boxes", "scores", ANCHORS, objectness="seen"))
    proto.output.append(value(found, TensorProto.FLOAT, ["N", OPTIONS.max_rows, 6]))
    model = onnx.helper.make_model(proto, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    run = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (rows,) = run.run(None, {"boxes": xyxy, "scores": scores, "seen": seen})
    extra = np.zeros((ANCHORS, 2), np.float32)
    for n in range(batch):
        want, _ = brute_force(xyxy[n], scores[n] * seen[n], extra, OPTIONS)
        np.testing.assert_array_equal(rows[n], want)


def test_unrolled_sweeps_equal_brute_force_on_chains_up_to_their_number():
    left = np.arange(ANCHORS, dtype=np.float32) * 25
    xyxy = np.stack([left, 0 * left, left + 100, 0 * left + 100], axis=1)[None]
    scores = np.zeros((1, ANCHORS, CLASSES), np.float32)
    scores[0, :16, 1] = np.linspace(0.9, 0.3, 16)
    compare(xyxy, scores, Nms(0.25, 0.5, 20, 32, sweeps=16))
