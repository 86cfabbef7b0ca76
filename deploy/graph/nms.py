"""Non-maximum suppression as a graph of fixed shapes, equal to `edge.vision.boxes.nms`.

Of every box the best class counts. The `candidates` boxes with the highest scores of at least the
threshold take part, equal scores in the network's order: raise it where crowds are cut. For these
the result is that of greedy NMS, whatever the scene (areas below 1e-38 square pixels, which
float32 rounds as each processor likes, excepted).

Let ``suppress[j, i]`` be 1 when box j comes before box i, has its class and overlaps it by more
than the threshold. Greedy NMS is the only solution of

    keep[i] = 1 - max_j(keep[j] * suppress[j, i])

because ``suppress`` is strictly triangular: the first box is right after the first sweep
``keep <- 1 - min(keep @ suppress, 1)``, and a box is right one sweep after all boxes before it
are. Sweeps therefore reach it in at most `candidates` steps, and once a sweep changes nothing
it is reached. The sweeps stand in an ONNX Loop that ends there: two to six sweeps on pictures,
as many as it takes on adversarial chains, so the result is exact always.
`sweeps` > 0 unrolls that many sweeps instead, for engines that are captured into CUDA graphs;
that is exact for chains of up to that many boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from deploy.graph.graph_builder import Graph
from edge.errors import ConfigError
from edge.manifest import Task

NAN_SCORE = 1e30  # instead of NaN, which no comparison would let through: whoever runs it refuses


@dataclass(frozen=True, slots=True)
class Nms:
    """How rows are chosen.

    Attributes:
        score_threshold: Boxes with a lower score are dropped.
        iou_threshold: A box that overlaps a better one of its class by more is dropped.
        max_rows: K, rows of the output.
        candidates: Number of boxes that take part, the best by score.
        sweeps: Number of unrolled sweeps; 0 is a loop that ends by itself.
    """

    score_threshold: float = 0.1
    iou_threshold: float = 0.65
    max_rows: int = 100
    candidates: int = 256
    sweeps: int = 0

    def __post_init__(self) -> None:
        for name in ("score_threshold", "iou_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        for name, least in (("max_rows", 1), ("candidates", 1), ("sweeps", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class NmsOverrides:
    """How rows are chosen, as far as the user says; see `Nms`. None takes what suits the task."""

    score: float | None = None
    iou: float | None = None
    rows: int = 100
    candidates: int = 256

    def nms(self, task: Task) -> Nms:
        """For a task: an object finder's weak rows feed the tracker, a face's row is a face."""
        score, iou = (0.5, 0.45) if task == "faces" else (0.1, 0.65)
        score = score if self.score is None else self.score
        return Nms(score, iou if self.iou is None else self.iou, self.rows, self.candidates)


@dataclass(frozen=True, slots=True)
class RawOutputs:
    """Outputs of a head, as names of values; empty where the network has none. See the module.

    Attributes:
        anchors: A.
        classes: C.
        objectness: ``(N, A, 1)``, multiplies the scores.
        finished: ``(N, R, 6)`` rows of a network with NMS of its own.
        embeddings: ``(N, D)`` of unit length.
        dimension: D.
        layout: Which of its family's layouts the network has, where there are several.
    """

    boxes: str = ""
    scores: str = ""
    anchors: int = 0
    classes: int = 0
    points: str = ""
    objectness: str = ""
    finished: str = ""
    embeddings: str = ""
    dimension: int = 0
    layout: str = ""


def append_corners(graph: Graph, center: str, size: str) -> str:
    """Append the conversion of ``(N, A, 2)`` centers and sizes to ``(N, A, 4)`` xyxy."""
    half = graph.add("Mul", size, graph.constant(0.5))
    low, high = graph.add("Sub", center, half), graph.add("Add", center, half)
    return graph.add("Concat", low, high, axis=2)


def append_rows(graph: Graph, nms: Nms, raw: RawOutputs) -> dict[str, list[int]]:
    """Append NMS; name and shape of each contract output, without the batch."""
    rows = nms.max_rows
    detections, points = append_nms(graph, nms, raw)
    graph.rename(detections, "detections")
    if not points:
        return {"detections": [rows, 6]}
    graph.rename(graph.add("Reshape", points, graph.integers(0, rows, 5, 2)), "landmarks")
    return {"detections": [rows, 6], "landmarks": [rows, 5, 2]}


def append_nms(graph: Graph, options: Nms, raw: RawOutputs) -> tuple[str, str]:
    """Append NMS: ``(N, K, 6)`` rows x1 y1 x2 y2 score class, ``(N, K, E)`` points or no name.

    The best score is searched before objectness is multiplied, 1/C of the work: rounding is
    monotone, so the best product is the product of the best.
    """
    best = graph.maximum(raw.scores, axis=2)  # (N, A, 1)
    best = graph.add("Mul", best, raw.objectness) if raw.objectness else best
    best = graph.add("Squeeze", best, graph.integers(2))  # (N, A)
    best = graph.add("Where", graph.add("IsNaN", best), graph.constant(NAN_SCORE), best)
    enough = graph.add("GreaterOrEqual", best, graph.constant(options.score_threshold))
    best = graph.add("Where", enough, best, graph.constant(0.0))
    count = min(options.candidates, raw.anchors)
    score, chosen = graph.add_many("TopK", 2, best, graph.integers(count), axis=1)  # (N, C)
    box = _rows(graph, raw.boxes, chosen)  # (N, C, 4)
    label = graph.add("ArgMax", _rows(graph, raw.scores, chosen), axis=2, keepdims=0)
    label = graph.add("Cast", label, to=TensorProto.FLOAT)  # (N, C)
    suppress = _suppress(graph, options, box, label, count)
    keep = _sweep_until_still(graph, options, score, suppress)  # (N, C)

    kept_score = graph.add("Mul", score, keep)
    rows = min(options.max_rows, count)
    score, order = graph.add_many("TopK", 2, kept_score, graph.integers(rows), axis=1)  # (N, K)
    column = graph.integers(2)
    zero = graph.constant(0.0)
    used = graph.add("Unsqueeze", graph.add("Greater", score, zero), column)
    columns = [graph.add("Unsqueeze", x, column) for x in (score, _rows(graph, label, order))]
    detections = graph.add("Concat", _rows(graph, box, order), *columns, axis=2)
    detections = _padded(graph, graph.add("Where", used, detections, zero), options.max_rows - rows)
    if not raw.points:
        return detections, ""
    anchor = _rows(graph, chosen, order)  # (N, K) into the anchors
    values = graph.add("Where", used, _rows(graph, raw.points, anchor), zero)
    return detections, _padded(graph, values, options.max_rows - rows)


def _rows(graph: Graph, values: str, rows: str) -> str:
    """``(N, A, ...)`` at ``(N, R)`` -> ``(N, R, ...)``."""
    rows = graph.add("Unsqueeze", rows, graph.integers(2))
    return graph.add("GatherND", values, rows, batch_dims=1)


def _padded(graph: Graph, rows: str, missing: int) -> str:
    """Zero rows appended, where there are fewer anchors than K."""
    if missing <= 0:
        return rows
    return graph.add("Pad", rows, graph.integers(0, 0, 0, 0, missing, 0))


def _suppress(graph: Graph, options: Nms, box: str, label: str, count: int) -> str:
    """``(N, C, 4)``, ``(N, C)`` -> ``(N, C, C)``: row j forbids column i."""
    ones = graph.integers(1, 1, 1, 1)
    x1, y1, x2, y2 = graph.add_many("Split", 4, box, ones, axis=2)  # (N, C, 1)

    def transposed(value: str) -> str:
        return graph.add("Transpose", value, perm=[0, 2, 1])

    zero = graph.constant(0.0)

    def extent(low: str, high: str) -> str:
        return graph.add("Max", graph.add("Sub", high, low), zero)

    def overlap(low: str, high: str) -> str:
        return extent(
            graph.add("Max", low, transposed(low)), graph.add("Min", high, transposed(high))
        )

    area = graph.add("Mul", extent(x1, x2), extent(y1, y2))
    both = graph.add("Mul", overlap(x1, x2), overlap(y1, y2))  # (N, C, C)
    union = graph.add("Sub", graph.add("Add", area, transposed(area)), both)
    iou = graph.add("Div", both, union)  # 0 / 0 is NaN, which is greater than nothing
    forbids = graph.add("Greater", iou, graph.constant(options.iou_threshold))
    label = graph.add("Unsqueeze", label, graph.integers(2))
    forbids = graph.add("And", forbids, graph.add("Equal", label, transposed(label)))
    rank = graph.constant(np.arange(count, dtype=np.float32).reshape(1, -1, 1))
    before = graph.add("Less", rank, transposed(rank))
    return graph.add("Cast", graph.add("And", forbids, before), to=TensorProto.FLOAT)


def _sweep_until_still(graph: Graph, options: Nms, score: str, suppress: str) -> str:
    """``(N, C)`` scores and ``(N, C, C)`` -> ``(N, C)`` of 1 (kept) and 0."""
    used = graph.add("Greater", score, graph.constant(0.0))
    keep = graph.add("Cast", used, to=TensorProto.FLOAT)
    keep = graph.add("Unsqueeze", keep, graph.integers(1))  # (N, 1, C)
    one = graph.constant(1.0)
    if options.sweeps:
        for _ in range(options.sweeps):
            keep = _sweep(graph, keep, suppress, one)
    else:
        max_sweeps = graph.constant(options.candidates + 1, np.int64)
        go = graph.constant(True, np.bool_)
        keep = graph.add("Loop", max_sweeps, go, keep, body=_loop_body(suppress, one))
    return graph.add("Squeeze", keep, graph.integers(1))


def _sweep(graph: Graph, keep: str, suppress: str, one: str) -> str:
    forbidden = graph.add("Min", graph.add("MatMul", keep, suppress), one)
    return graph.add("Sub", one, forbidden)


def _loop_body(suppress: str, one: str) -> onnx.GraphProto:
    """One sweep; goes on while it changed anything. Reads two values of the outer graph."""
    proto, value = onnx.GraphProto(name="sweep"), onnx.helper.make_tensor_value_info
    body = Graph(proto)
    before = "edge/keep_before"
    proto.input.append(value("edge/sweep", TensorProto.INT64, []))
    proto.input.append(value("edge/go", TensorProto.BOOL, []))
    proto.input.append(value(before, TensorProto.FLOAT, None))
    after = _sweep(body, before, suppress, one)
    moved = body.add("ReduceMax", body.add("Abs", body.add("Sub", after, before)), keepdims=0)
    go = body.add("Greater", moved, body.constant(0.5))
    for node in proto.node:  # names of a subgraph must differ from the outer ones
        for names in (node.input, node.output):
            names[:] = [f"body/{n}" if n not in (before, suppress, one) else n for n in names]
        node.name = f"body/{node.name}"
    for initializer in proto.initializer:
        initializer.name = f"body/{initializer.name}"
    proto.output.append(value(f"body/{go}", TensorProto.BOOL, []))
    proto.output.append(value(f"body/{after}", TensorProto.FLOAT, None))
    return proto
