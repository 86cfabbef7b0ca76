"""Export: a network trained by us becomes a model of the contract."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import keras
import numpy as np
import onnx
from onnx import TensorProto
from pydantic import ValidationError

from deploy.contract import OPSET, append_rows, declare, finished
from deploy.families import Raw, input_name
from deploy.graph import Graph
from deploy.layers import Writer
from deploy.nms import Nms
from edge.errors import ModelError
from edge.manifest import Manifest, Task
from trainers.network import POINTS, NetworkConfig, cells


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the manifest tells beside the network.

    Attributes:
        name: of the model.
        license: SPDX identifier of the weights.
        trained_on: in words.
        metrics: measured quality.
    """

    name: str
    license: str = "unknown"
    trained_on: str = "unknown"
    metrics: Mapping[str, float] = field(default_factory=dict)


def export(network: keras.Model, config: NetworkConfig, nms: Nms, provenance: Provenance) -> bytes:
    """A network of ``trainers.network`` as a contract model: decoding and NMS inside.

    Args:
        network: float ``(N, h, w, 3)`` RGB 0..255 -> raw rows.
        config: what it was built from.
        nms: how rows are chosen.
        provenance: for the manifest.

    Raises:
        ModelError: a layer that cannot be exported, or a bad name.
    """
    task: Task = "faces" if config.landmarks else "detect"
    manifest = _manifest(network, config, nms, provenance, task)
    proto = onnx.helper.make_model(
        onnx.GraphProto(), opset_imports=[onnx.helper.make_opsetid("", OPSET)]
    )
    graph = Graph(proto.graph, OPSET)
    source = input_name(task)
    picture = graph.add("Transpose", source, perm=[0, 3, 1, 2])  # a quarter of float's bytes
    picture = graph.add("Cast", picture, to=TensorProto.FLOAT)
    rows = Writer(graph, network).write(picture).name
    outputs = append_rows(graph, nms, decoded(graph, rows, config))
    declare(proto.graph, source, config.input_wh, outputs)
    return finished(proto, manifest)


def decoded(graph: Graph, rows: str, config: NetworkConfig) -> Raw:
    """Append what ``trainers.network.decode`` computes: raw rows -> boxes, scores, points."""
    place, stride = (graph.constant(x[None]) for x in cells(config.input_wh, config.per_cell))
    anchors, classes = len(cells(config.input_wh, config.per_cell)[0]), len(config.classes)
    parts = [2, 2, 1, classes] + [2 * POINTS] * config.landmarks
    xy, wh, seen, scores, *points = graph.add_many(
        "Split", len(parts), rows, graph.integers(*parts), axis=2
    )
    center = graph.add("Mul", graph.add("Add", xy, place), stride)
    wh = graph.add("Clip", wh, graph.constant(-8.0), graph.constant(8.0))
    size = graph.add("Mul", graph.add("Exp", wh), stride)
    half = graph.add("Mul", size, graph.constant(0.5))
    low, high = graph.add("Sub", center, half), graph.add("Add", center, half)
    return Raw(
        boxes=graph.add("Concat", low, high, axis=2),
        scores=graph.add("Sigmoid", scores),
        seen=graph.add("Sigmoid", seen),
        anchors=anchors,
        classes=classes,
        points=_points(graph, points[0], center, size) if points else "",
    )


def _points(graph: Graph, points: str, center: str, size: str) -> str:
    """``(N, A, 10)`` in sizes of the face -> network pixels."""
    repeat = graph.integers(1, 1, POINTS)
    moved = graph.add("Mul", points, graph.add("Tile", size, repeat))
    return graph.add("Add", moved, graph.add("Tile", center, repeat))


def _manifest(
    network: keras.Model, config: NetworkConfig, nms: Nms, provenance: Provenance, task: Task
) -> Manifest:
    try:
        return Manifest(
            task=task,
            name=provenance.name,
            family=f"edge-{config.backbone}",
            input_wh=config.input_wh,
            classes=config.classes,
            score_threshold=nms.score_threshold,
            iou_threshold=nms.iou_threshold,
            max_rows=nms.max_rows,
            license=provenance.license,
            trained_on=provenance.trained_on,
            source_sha256=_digest(network),
            metrics=dict(provenance.metrics),
        )
    except ValidationError as error:
        raise ModelError(
            f"cannot be named {provenance.name!r}: take 1 to 64 letters, digits, dots, _ or - "
            "(--name)"
        ) from error


def _digest(network: keras.Model) -> str:
    """Hash of the weights that were exported."""
    whole = hashlib.sha256()
    for weight in network.weights:
        whole.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)).tobytes())
    return whole.hexdigest()
