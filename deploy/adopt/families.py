"""Families of foreign networks: what input each takes and how its outputs become boxes.

A head turns a network's own outputs into ``boxes (N, A, 4)`` xyxy in network pixels, ``scores
(N, A, C)`` and, for faces, ``points (N, A, 10)``; NMS is the same for all. The head of an embedder
gives ``embeddings (N, D)`` and needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from deploy.adopt import plausibility
from deploy.adopt.plausibility import Outputs
from deploy.graph.graph_builder import Graph
from deploy.graph.model_proto import get_input_name
from deploy.graph.nms import RawOutputs, append_corners
from edge.compat import Self
from edge.errors import ModelError
from edge.manifest import Task
from edge.types import F32, Placement
from edge.vision.face_crops import FACE_PX

Color = Literal["rgb", "bgr"]
Rgb = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Normalization:
    """The values that a network takes: ``(x - mean) * scale`` of red, green and blue 0..255."""

    mean: Rgb
    scale: Rgb

    @classmethod
    def gray(cls, mean: float, scale: float) -> Self:
        """The same for all three colors."""
        return cls((mean,) * 3, (scale,) * 3)


NORMALIZATIONS: Mapping[str, Normalization] = {
    "none": Normalization.gray(0, 1),  # 0..255
    "unit": Normalization.gray(0, 1 / 255),  # 0..1
    "signed": Normalization.gray(127.5, 1 / 127.5),  # -1..1
    "signed-128": Normalization.gray(127.5, 1 / 128),
    "ultraface": Normalization.gray(127, 1 / 128),
    "dlib": Normalization((122.782, 117.001, 104.298), (1 / 256,) * 3),
    "imagenet": Normalization(
        (0.485 * 255, 0.456 * 255, 0.406 * 255),
        (1 / (0.229 * 255), 1 / (0.224 * 255), 1 / (0.225 * 255)),
    ),
}


@dataclass(frozen=True, slots=True)
class ForeignOutputs:
    """What a network gave for some pictures.

    Attributes:
        values: By name, the pictures along the first axis.
        input_wh: Its input in pixels.
    """

    values: Outputs
    input_wh: tuple[int, int]

    @property
    def shapes(self) -> dict[str, list[int]]:
        """The outputs' shapes for one picture; the batch is 1."""
        return {name: list(value[0].shape) for name, value in self.values.items()}

    def only(self, name: str) -> F32:
        """All rows of an output ``(P, 1, A, C)`` as ``(P * A, C)``."""
        value = self.values[name]
        return value.reshape(-1, value.shape[-1])


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of foreign network.

    Attributes:
        color: Order of its input's channels.
        normalize: Its values, one of `NORMALIZATIONS`; empty for embedders, see `Claims`.
        placement: How its makers place a picture into its input; all resize with OpenCV's plain
            ``INTER_LINEAR``.
        head: Appends its decoding to a graph.
    """

    task: Task
    color: Color
    normalize: str
    placement: Placement
    head: Callable[[Graph, ForeignOutputs], RawOutputs]


def _only(outputs: ForeignOutputs, family: str) -> tuple[str, list[int]]:
    shapes = outputs.shapes
    _refuse_known(shapes)
    if len(shapes) != 1 or len(next(iter(shapes.values()))) != 3:
        raise ModelError(
            f"a {family} network has one output with 3 dimensions, this file has {shapes}: "
            "choose the family that fits"
        )
    return next(iter(shapes.items()))


# Networks that cannot be adopted, by their outputs: what each is, and what is missing.
REFUSED = {
    frozenset({"dets", "labels"}): "an RF-DETR: its class ids follow no rule that the file tells",
    frozenset({"labels", "boxes", "scores"}): "a D-FINE or RT-DETR of its authors, which takes "
    "the picture's size as a second input (RT-DETR can be exported by ultralytics)",
    frozenset({"loc", "conf", "landms"}): "a RetinaFace, whose prior boxes are not in the file",
}


def _refuse_known(shapes: Mapping[str, list[int]]) -> None:
    """Refuse by name what is known and has no family."""
    what = REFUSED.get(frozenset(shapes), "")
    if not what and sorted(shape[2:3] for shape in shapes.values() if len(shape) == 3)[:1] == [[4]]:
        what = "a YOLO-NAS: its boxes and scores are two outputs" if len(shapes) == 2 else ""
    if what:
        raise ModelError(f"this looks like {what}: there is no family for it, use another network")


def build_grid(input_wh: tuple[int, int], strides: Sequence[int] = (8, 16, 32)) -> np.ndarray:
    """Column, row and stride of every grid cell, ``(A, 3)``, row by row, stride by stride."""
    width, height = input_wh
    grids = []
    for stride in strides:
        row, column = np.mgrid[: height // stride, : width // stride].reshape(2, -1)
        grids.append(np.stack([column, row, np.full_like(row, stride)], axis=1))
    return np.concatenate(grids).astype(np.float32)


def _yolox(graph: Graph, outputs: ForeignOutputs) -> RawOutputs:
    """(1, A, 5 + C): xy = (p + cell) * stride, wh = exp(p) * stride, score = object * class."""
    output, (_, anchors, width) = _only(outputs, "yolox")
    input_wh = outputs.input_wh
    grid = build_grid(input_wh)
    if len(grid) != anchors:
        raise ModelError(
            f"a yolox network for {input_wh[0]}x{input_wh[1]} has {len(grid)} cells, this file "
            f"has {anchors}: give its --input-size"
        )
    if width < 6:
        raise ModelError(f"a yolox network gives at least 6 values per cell, this file {width}")
    values = outputs.only(output)
    plausibility.check_coded(values[:, :4], values[:, 4:])
    split = graph.integers(2, 2, 1, width - 5)
    xy, wh, objectness, classes = graph.add_many("Split", 4, output, split, axis=2)
    stride = graph.constant(grid[None, :, 2:])
    center = graph.add("Mul", graph.add("Add", xy, graph.constant(grid[None, :, :2])), stride)
    size = graph.add("Mul", graph.add("Exp", wh), stride)
    return RawOutputs(
        append_corners(graph, center, size), classes, anchors, width - 5, objectness=objectness
    )


def _yolo(graph: Graph, outputs: ForeignOutputs, layout: str = "") -> RawOutputs:
    """The three common layouts; boxes are decoded, center and size in pixels."""
    output, (_, a, b) = _only(outputs, "yolo")
    layout = layout or _yolo_layout(a, b)
    columns, least = (a, 5) if layout == "plain" else (b, 6)
    if columns < least or (layout == "finished" and columns != 6):
        raise ModelError(
            f"the output (1, {a}, {b}) does not have the {layout} layout of yolo: "
            "choose another --layout"
        )
    values = outputs.values[output]
    if layout == "finished":
        plausibility.check_finished(outputs.only(output))
        return RawOutputs(finished=output, layout=layout)
    if layout == "plain":  # (1, 4 + C, A)
        columns_last = np.moveaxis(values, 2, 3).reshape(-1, a)
        plausibility.check_decoded(columns_last[:, :4], columns_last[:, 4:], outputs.input_wh)
        output = graph.add("Transpose", output, perm=[0, 2, 1])
        split = graph.integers(2, 2, a - 4)
        center, size, scores = graph.add_many("Split", 3, output, split, axis=2)
        corners = append_corners(graph, center, size)
        return RawOutputs(corners, scores, b, a - 4, layout=layout)
    rows = outputs.only(output)
    plausibility.check_decoded(rows[:, :4], rows[:, 4:], outputs.input_wh)
    split = graph.integers(2, 2, 1, b - 5)  # (1, A, 5 + C)
    center, size, objectness, classes = graph.add_many("Split", 4, output, split, axis=2)
    corners = append_corners(graph, center, size)
    return RawOutputs(corners, classes, a, b - 5, objectness=objectness, layout=layout)


def _yolo_layout(a: int, b: int) -> str:
    """``(1, a, b)`` -> the layout that is meant; one class with objectness looks like finished."""
    if b == 6 and a <= 1000:
        return "finished"
    return "plain" if a < b else "objectness"


def _rtdetr(graph: Graph, outputs: ForeignOutputs) -> RawOutputs:
    """(1, Q, 4 + C) center and size in 0..1, scores; or (1, Q, 6) with the best score and class.

    The first is what ultralytics exported until 8.3, the second what it exports since; NMS finds
    nothing to remove, for the network gives an object once.
    """
    output, (_, queries, width) = _only(outputs, "rtdetr")
    rows = outputs.only(output)
    if width < 5:
        raise ModelError(f"an rtdetr network gives at least 5 values per query, this file {width}")
    finished = width == 6 and bool((np.rint(rows[:, 5]) == rows[:, 5]).all())
    plausibility.check_shares(rows[:, :4], rows[:, 4:5] if finished else rows[:, 4:])
    size_wh = graph.constant(np.array([[[*outputs.input_wh]]]))
    parts = graph.integers(2, 2, *((1, 1) if finished else (width - 4,)))
    center, size, *scores = graph.add_many("Split", 4 if finished else 3, output, parts, axis=2)
    center, size = graph.add("Mul", center, size_wh), graph.add("Mul", size, size_wh)
    corners = append_corners(graph, center, size)
    if finished:
        joined = graph.add("Concat", corners, *scores, axis=2)
        return RawOutputs(finished=joined, layout="finished")
    return RawOutputs(corners, scores[0], queries, width - 4, layout="plain")


def _scrfd(graph: Graph, outputs: ForeignOutputs) -> RawOutputs:
    """Scores, distances to the sides and five points of each anchor, for three strides.

    Insightface's SCRFD: nine outputs ``(A, 1)``, ``(A, 4)``, ``(A, 10)``, two anchors in each cell,
    box = cell * stride -+ distance * stride, points = cell * stride + offset * stride.
    """
    by_width: dict[int, list[tuple[int, str]]] = {1: [], 4: [], 10: []}
    for name, shape in outputs.shapes.items():
        by_width.setdefault(shape[-1], []).append((-shape[-2] if len(shape) > 1 else 0, name))
    if sorted(map(len, by_width.values())) != [3, 3, 3] or len(by_width) != 3:
        raise ModelError(
            "an scrfd network with landmarks has three outputs (A, 1), three (A, 4) and three "
            f"(A, 10), this file has {outputs.shapes}: choose the family that fits"
        )
    grid = build_grid(outputs.input_wh)
    each = -sum(count for count, _ in by_width[1]) // len(grid)
    if each < 1 or any(-sum(c for c, _ in v) != each * len(grid) for v in by_width.values()):
        raise ModelError(
            f"an scrfd network for {outputs.input_wh[0]}x{outputs.input_wh[1]} has a multiple of "
            f"{len(grid)} anchors, this file has {-sum(count for count, _ in by_width[1])}"
        )

    def join(width: int) -> str:
        parts = [
            graph.add("Reshape", name, graph.integers(-1, -count, width))
            for count, name in sorted(by_width[width])  # the finest stride has most anchors
        ]
        return graph.add("Concat", *parts, axis=1)

    plausibility.check_shares(
        np.zeros((1, 4), np.float32),
        np.concatenate([outputs.values[name].reshape(-1, 1) for _, name in by_width[1]]),
    )
    cells = np.repeat(grid, each, axis=0)
    stride = graph.constant(cells[None, :, 2:])
    center = graph.constant((cells[:, :2] * cells[:, 2:])[None])
    distance = graph.add("Mul", join(4), stride)
    low, high = graph.add_many("Split", 2, distance, graph.integers(2, 2), axis=2)
    corners = graph.add(
        "Concat", graph.add("Sub", center, low), graph.add("Add", center, high), axis=2
    )
    center5 = graph.constant(np.tile(cells[:, :2] * cells[:, 2:], (1, 5))[None])
    points = graph.add("Add", graph.add("Mul", join(10), stride), center5)
    return RawOutputs(corners, join(1), len(cells), 1, points)


def _yunet(graph: Graph, outputs: ForeignOutputs) -> RawOutputs:
    """Twelve maps; score = sqrt(cls * obj), points = (k + cell) * stride."""
    shapes, input_wh = outputs.shapes, outputs.input_wh
    _refuse_known(shapes)
    strides = (8, 16, 32)
    expected = {f"{noun}_{s}" for noun in ("cls", "obj", "bbox", "kps") for s in strides}
    if set(shapes) != expected:
        raise ModelError(
            f"a yunet network has the outputs {', '.join(sorted(expected))}, this file has "
            f"{', '.join(sorted(shapes))}: choose the family that fits"
        )

    def join(noun: str) -> str:
        return graph.add("Concat", *(f"{noun}_{s}" for s in strides), axis=1)

    grid = build_grid(input_wh)
    stride = graph.constant(grid[None, :, 2:])
    cell = graph.constant(grid[None, :, :2])
    xy, wh = graph.add_many("Split", 2, join("bbox"), graph.integers(2, 2), axis=2)
    center = graph.add("Mul", graph.add("Add", xy, cell), stride)
    size = graph.add("Mul", graph.add("Exp", wh), stride)
    scores = graph.add("Sqrt", graph.add("Mul", join("cls"), join("obj")))
    cells5 = graph.constant(np.tile(grid[None, :, :2], (1, 1, 5)))
    points = graph.add("Mul", graph.add("Add", join("kps"), cells5), stride)
    return RawOutputs(append_corners(graph, center, size), scores, len(grid), 1, points)


def _ultraface(graph: Graph, outputs: ForeignOutputs) -> RawOutputs:
    """Scores (1, A, 2), boxes (1, A, 4) xyxy in 0..1; no landmarks, so it detects `face`."""
    shapes, input_wh = outputs.shapes, outputs.input_wh
    if {name: shape[2:] for name, shape in shapes.items()} != {"scores": [2], "boxes": [4]}:
        raise ModelError(
            f"an ultraface network has outputs scores (1, A, 2) and boxes (1, A, 4), this file "
            f"has {shapes}: choose the family that fits"
        )
    plausibility.check_shares(outputs.only("boxes"), outputs.only("scores"))
    size = graph.constant(np.array([[[*input_wh, *input_wh]]]))
    _, face = graph.add_many("Split", 2, "scores", graph.integers(1, 1), axis=2)
    return RawOutputs(graph.add("Mul", "boxes", size), face, shapes["boxes"][1], 1)


def _arcface(graph: Graph, outputs: ForeignOutputs) -> RawOutputs:
    """(1, D) of any length, for faces aligned to the five points of ArcFace."""
    shapes, input_wh = outputs.shapes, outputs.input_wh
    shape = next(iter(shapes.values()))
    if len(shapes) != 1 or len(shape) != 2 or input_wh != (FACE_PX, FACE_PX):
        raise ModelError(
            f"an arcface network has one output (1, D) for {FACE_PX}x{FACE_PX} pictures, this file "
            f"has {shapes} for {input_wh[0]}x{input_wh[1]}: choose the family that fits"
        )
    output = next(iter(shapes))
    length = graph.add("ReduceL2", output, axes=[1], keepdims=1)
    length = graph.add("Max", length, graph.constant(1e-6))
    return RawOutputs(embeddings=graph.add("Div", output, length), dimension=shape[1])


YOLO_LAYOUTS = {
    "objectness": partial(_yolo, layout="objectness"),  # (1, A, 5 + C)
    "plain": partial(_yolo, layout="plain"),  # (1, 4 + C, A)
    "finished": partial(_yolo, layout="finished"),  # (1, K, 6), end to end
}

_INSIGHTFACE = Placement("top_left", 0, "down", "bilinear")
_LIBFACEDETECTION = Placement("top_left", 0, "nearest", "bilinear")
_MEGVII = Placement("top_left", 114, "down", "bilinear")
_STRETCHED = Placement("stretch", resampling="bilinear")
_ULTRALYTICS = Placement("center", 114, "nearest", "bilinear")

FAMILIES = {
    "yolox": Family("detect", "bgr", "none", _MEGVII, _yolox),
    "yolo": Family("detect", "rgb", "unit", _ULTRALYTICS, _yolo),
    "rtdetr": Family("detect", "rgb", "unit", _STRETCHED, _rtdetr),
    "yunet": Family("faces", "bgr", "none", _LIBFACEDETECTION, _yunet),
    "scrfd": Family("faces", "rgb", "signed-128", _INSIGHTFACE, _scrfd),
    "ultraface": Family("detect", "rgb", "ultraface", _STRETCHED, _ultraface),
    "arcface": Family("embed", "rgb", "", _INSIGHTFACE, _arcface),  # aligned by a plain warp
    "dlib": Family("embed", "rgb", "dlib", _INSIGHTFACE, _arcface),  # see `dlib_dat`
}


def prepend_preprocessing(
    graph: Graph, task: Task, color: Color, normalization: Normalization, source: str
) -> None:
    """Turn the contract input (N, h, w, 3) uint8 RGB into ``source`` (N, 3, h, w) float.

    Only for a graph that holds no nodes yet.
    """
    value = graph.add_pictures(get_input_name(task))
    if color == "bgr":
        value = graph.add("Gather", value, graph.integers(2, 1, 0), axis=1)
    mean, scale = normalization.mean, normalization.scale
    if color == "bgr":
        mean, scale = mean[::-1], scale[::-1]
    if any(mean):
        value = graph.add("Sub", value, graph.constant(_channels(mean)))
    if set(scale) != {1}:
        value = graph.add("Mul", value, graph.constant(_channels(scale)))
    graph.proto.node[-1].output[0] = source


def _channels(values: Rgb) -> np.ndarray:
    """A factor for each channel of (N, 3, h, w); one number where all are equal."""
    return np.array(values[0]) if len(set(values)) == 1 else np.reshape(values, (1, 3, 1, 1))
