"""Families of foreign networks: what input each takes and how its outputs become boxes.

A head turns a network's own outputs into ``boxes (N, A, 4)`` xyxy in network pixels, ``scores
(N, A, C)`` and, for faces, ``points (N, A, 10)``; NMS is the same for all. The head of an embedder
gives ``embeddings (N, D)`` and needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from deploy.graph.graph_builder import Graph
from deploy.graph.model_proto import get_input_name
from deploy.graph.nms import RawOutputs, append_corners
from edge.errors import ModelError
from edge.manifest import Task
from edge.vision.face_crops import FACE_PX

Shapes = dict[str, list[int]]  # of the outputs for one picture; the batch is 1


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of foreign network.

    Attributes:
        bgr: Whether its input has blue first.
        mean: Subtracted from the input 0..255.
        scale: Factor of the difference.
        center: Whether it was trained with the picture in the middle of the letterbox.
        head: Appends its decoding to a graph.
    """

    task: Task
    bgr: bool
    mean: float
    scale: float
    center: bool
    head: Callable[[Graph, Shapes, tuple[int, int]], RawOutputs]


def _only(shapes: Shapes, family: str) -> tuple[str, list[int]]:
    if len(shapes) != 1 or len(next(iter(shapes.values()))) != 3:
        raise ModelError(
            f"a {family} network has one output with 3 dimensions, this file has {shapes}: "
            "choose the family that fits"
        )
    return next(iter(shapes.items()))


def build_grid(input_wh: tuple[int, int], strides: Sequence[int] = (8, 16, 32)) -> np.ndarray:
    """Column, row and stride of every grid cell, ``(A, 3)``, row by row, stride by stride."""
    width, height = input_wh
    grids = []
    for stride in strides:
        row, column = np.mgrid[: height // stride, : width // stride].reshape(2, -1)
        grids.append(np.stack([column, row, np.full_like(row, stride)], axis=1))
    return np.concatenate(grids).astype(np.float32)


def _yolox(graph: Graph, shapes: Shapes, input_wh: tuple[int, int]) -> RawOutputs:
    """(1, A, 5 + C): xy = (p + cell) * stride, wh = exp(p) * stride, score = object * class."""
    output, (_, anchors, width) = _only(shapes, "yolox")
    grid = build_grid(input_wh)
    if len(grid) != anchors:
        raise ModelError(
            f"a yolox network for {input_wh[0]}x{input_wh[1]} has {len(grid)} cells, this file "
            f"has {anchors}: give its --input-size"
        )
    split = graph.integers(2, 2, 1, width - 5)
    xy, wh, objectness, classes = graph.add_many("Split", 4, output, split, axis=2)
    stride = graph.constant(grid[None, :, 2:])
    center = graph.add("Mul", graph.add("Add", xy, graph.constant(grid[None, :, :2])), stride)
    size = graph.add("Mul", graph.add("Exp", wh), stride)
    return RawOutputs(
        append_corners(graph, center, size), classes, anchors, width - 5, objectness=objectness
    )


def _yolo(graph: Graph, shapes: Shapes, input_wh: tuple[int, int], layout: str = "") -> RawOutputs:  # noqa: ARG001
    """The three common layouts; boxes are decoded, center and size in pixels."""
    output, (_, a, b) = _only(shapes, "yolo")
    layout = layout or _yolo_layout(a, b)
    columns, least = (a, 5) if layout == "plain" else (b, 6)
    if columns < least or (layout == "finished" and columns != 6):
        raise ModelError(
            f"the output (1, {a}, {b}) does not have the {layout} layout of yolo: "
            "choose another --layout"
        )
    if layout == "finished":
        return RawOutputs(finished=output)
    if layout == "plain":  # (1, 4 + C, A)
        output = graph.add("Transpose", output, perm=[0, 2, 1])
        split = graph.integers(2, 2, a - 4)
        center, size, scores = graph.add_many("Split", 3, output, split, axis=2)
        return RawOutputs(append_corners(graph, center, size), scores, b, a - 4)
    split = graph.integers(2, 2, 1, b - 5)  # (1, A, 5 + C)
    center, size, objectness, classes = graph.add_many("Split", 4, output, split, axis=2)
    return RawOutputs(append_corners(graph, center, size), classes, a, b - 5, objectness=objectness)


def _yolo_layout(a: int, b: int) -> str:
    """``(1, a, b)`` -> the layout that is meant; one class with objectness looks like finished."""
    if b == 6 and a <= 1000:
        return "finished"
    return "plain" if a < b else "objectness"


def _yunet(graph: Graph, shapes: Shapes, input_wh: tuple[int, int]) -> RawOutputs:
    """Twelve maps; score = sqrt(cls * obj), points = (k + cell) * stride."""
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


def _ultraface(graph: Graph, shapes: Shapes, input_wh: tuple[int, int]) -> RawOutputs:
    """Scores (1, A, 2), boxes (1, A, 4) xyxy in 0..1; no landmarks, so it detects `face`."""
    if {name: shape[2:] for name, shape in shapes.items()} != {"scores": [2], "boxes": [4]}:
        raise ModelError(
            f"an ultraface network has outputs scores (1, A, 2) and boxes (1, A, 4), this file "
            f"has {shapes}: choose the family that fits"
        )
    size = graph.constant(np.array([[[*input_wh, *input_wh]]]))
    _, face = graph.add_many("Split", 2, "scores", graph.integers(1, 1), axis=2)
    return RawOutputs(graph.add("Mul", "boxes", size), face, shapes["boxes"][1], 1)


def _arcface(graph: Graph, shapes: Shapes, input_wh: tuple[int, int]) -> RawOutputs:
    """(1, D) of any length, for faces aligned to the five points of ArcFace."""
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

FAMILIES = {
    "yolox": Family("detect", bgr=True, mean=0, scale=1, center=False, head=_yolox),
    "yolo": Family("detect", bgr=False, mean=0, scale=1 / 255, center=True, head=_yolo),
    "yunet": Family("faces", bgr=True, mean=0, scale=1, center=False, head=_yunet),
    "ultraface": Family("detect", bgr=False, mean=127, scale=1 / 128, center=False,
                        head=_ultraface),
    "arcface": Family("embed", bgr=False, mean=0, scale=1, center=False, head=_arcface),
}  # fmt: skip


def prepend_preprocessing(graph: Graph, family: Family, source: str) -> None:
    """Turn the contract input (N, h, w, 3) uint8 RGB into ``source`` (N, 3, h, w) float.

    Only for a graph that holds no nodes yet.
    """
    value = graph.add_pictures(get_input_name(family.task))
    if family.bgr:
        value = graph.add("Gather", value, graph.integers(2, 1, 0), axis=1)
    if family.mean:
        value = graph.add("Sub", value, graph.constant(family.mean))
    if family.scale != 1:
        value = graph.add("Mul", value, graph.constant(family.scale))
    graph.proto.node[-1].output[0] = source
