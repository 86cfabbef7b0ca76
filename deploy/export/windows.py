"""Export of a classifier as a detector: the picture at each scale, windows, NMS."""

from __future__ import annotations

import json

import keras
import numpy as np

from deploy.export.keras_layers import Writer, digest
from deploy.graph.contract import finish_model
from deploy.graph.folding import fold
from deploy.graph.graph_builder import Graph
from deploy.graph.manifest import Provenance, build_manifest
from deploy.graph.model_proto import create_model, declare_io
from deploy.graph.nms import Nms, RawOutputs, append_rows
from trainers.networks.config import ClassifierConfig
from trainers.networks.windows import WindowClassifier, WindowConfig, check, list_objects

FAMILY = "edge-windows"
WINDOWS = "edge.windows"  # metadata: which windows are judged, as JSON


def export_windows(
    network: keras.Model, config: ClassifierConfig, windows: WindowConfig, nms: Nms,
    provenance: Provenance,
) -> bytes:  # fmt: skip
    """A network of ``trainers.networks.classifier`` as a model of the contract's `detect`.

    Raises:
        ConfigError: No class is the background, or a side does not fit.
        ModelError: A layer cannot be exported, or the name is not allowed.
    """
    windows = check(config, windows)
    classes = list_objects(config, windows)
    manifest = build_manifest(
        provenance, task="detect", family=FAMILY, input_wh=windows.input_wh, classes=classes,
        score_threshold=nms.score_threshold, iou_threshold=nms.iou_threshold,
        max_rows=nms.max_rows, source_sha256=digest(network),
    )  # fmt: skip
    proto, graph = create_model()
    whole = WindowClassifier.of(network, config, windows)
    images = graph.add_pictures("images")
    found = [_append_logits(graph, images, part, windows) for part in whole.networks]
    logits = graph.add("Concat", *found, axis=1) if len(found) > 1 else found[0]
    logits = graph.add("Mul", logits, graph.constant(1 / config.temperature))
    scores = (
        graph.add("Sigmoid", logits) if config.independent else graph.add("Softmax", logits, axis=2)
    )
    chosen = graph.integers(*(config.classes.index(name) for name in classes))
    scores, boxes = graph.add("Gather", scores, chosen, axis=2), whole.boxes()
    batch = graph.add("Shape", scores, start=0, end=1)
    shape = graph.add("Concat", batch, graph.integers(*boxes.shape), axis=0)
    raw = RawOutputs(
        boxes=graph.add("Expand", graph.constant(boxes[None]), shape),
        scores=scores, anchors=len(boxes), classes=len(classes),
    )  # fmt: skip
    outputs = append_rows(graph, nms, raw)
    fold(proto.graph)
    declare_io(proto.graph, "images", windows.input_wh, outputs)
    return finish_model(proto, manifest, {WINDOWS: json.dumps(windows.to_json())})


def _append_logits(graph: Graph, images: str, network: keras.Model, windows: WindowConfig) -> str:
    """The picture at the network's scale -> ``(N, A, K)`` logits of its windows."""
    height, width, _ = network.input.shape[1:]
    if (width, height) != windows.input_wh:
        scales = np.array([height, width], np.float32) / np.array(windows.input_wh[::-1])
        scales = np.nextafter(scales.astype(np.float32), np.float32(np.inf))  # sides round down
        images = graph.add(
            "Resize", images, "", graph.constant([1, 1, *scales]), mode="linear",
            coordinate_transformation_mode="half_pixel",
        )  # fmt: skip
    logits = Writer(graph, network).write(images)
    rows, columns, classes = logits.shape
    flat = graph.add("Transpose", logits.name, perm=[0, 2, 3, 1])
    return graph.add("Reshape", flat, graph.integers(0, rows * columns, classes))
