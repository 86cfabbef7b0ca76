"""Export: a network trained by us becomes a model of the contract."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path, PurePath

import keras
import numpy as np

from deploy.export.classifier import export_classifier
from deploy.export.keras_layers import Writer, digest
from deploy.export.landmarks import export_landmarks
from deploy.export.liveness import export_liveness
from deploy.export.side import AsDetector
from deploy.export.windows import export_windows
from deploy.graph.contract import finish_model
from deploy.graph.folding import fold
from deploy.graph.graph_builder import Graph
from deploy.graph.manifest import Provenance, build_manifest
from deploy.graph.model_proto import create_model, declare_io, get_input_name
from deploy.graph.nms import Nms, NmsOverrides, RawOutputs, append_corners, append_rows
from edge.errors import ConfigError, ModelError
from edge.manifest import Manifest, Task
from edge.onnxfile import metadata_of
from edge.types import Resampling
from trainers import landmarks, liveness
from trainers.networks.config import (
    ClassifierConfig,
    EncoderConfig,
    LandmarkConfig,
    LivenessConfig,
    NetworkConfig,
)
from trainers.networks.windows import WindowConfig
from trainers.networks.yolo import POINTS, build, cells, resize_network
from trainers.run.folder import RunFolder
from trainers.weights.transfer import assign_weights, read_onnx

_PICTURE_WH = (416, 416)  # of a classifier as a detector, as of our detectors
NETWORK = "edge.network"  # metadata: from what to build the network again, as JSON


def export_run(
    run: RunFolder,
    overrides: NmsOverrides,
    provenance: Provenance,
    input_wh: tuple[int, int] = (0, 0),
    as_detector: AsDetector | None = None,
) -> tuple[bytes, Task]:
    """Export the best network of a run as a contract model; also returns its task.

    The provenance is completed from the run: metrics, and ``trained_on`` where it is empty.
    ``input_wh`` is another input than the trained one, multiples of 32; (0, 0) keeps it.
    ``as_detector`` makes a detector of a classifier.

    Raises:
        ConfigError: No epoch has finished, or a file of the run is broken.
        ModelError: A layer cannot be exported.
    """
    kind = run.kind if run.best.is_file() else ""
    if as_detector is not None:
        return _export_as_detector(run, overrides, provenance, input_wh, as_detector), "detect"
    if kind == liveness.KIND:
        live, live_config = run.load_with_config(LivenessConfig)
        return export_liveness(live, live_config, _complete(run, provenance)), "liveness"
    if kind == landmarks.KIND:
        points, points_config = run.load_with_config(LandmarkConfig)
        return export_landmarks(points, points_config, _complete(run, provenance)), "landmarks"
    if kind == "classify":
        classifier, classifier_config = run.load_with_config(ClassifierConfig)
        whole = _complete(run, provenance)
        return export_classifier(classifier, classifier_config, whole), "classify"
    if kind == "embed":
        encoder, encoder_config = run.load_with_config(EncoderConfig)
        resampling = encoder_config.resampling
        return export_encoder(encoder, _complete(run, provenance), resampling), "embed"
    network, config = run.load_with_config(NetworkConfig)
    try:
        network, config = resize_network(
            network, config, input_wh if all(input_wh) else config.input_wh
        )
    except ValueError as error:
        raise ConfigError(f"--input-size: {error}") from error
    task = get_task(config)
    return export_detector(network, config, overrides.nms(task), _complete(run, provenance)), task


def _export_as_detector(
    run: RunFolder, overrides: NmsOverrides, provenance: Provenance, input_wh: tuple[int, int],
    asked: AsDetector,
) -> bytes:  # fmt: skip
    if run.kind != "classify":
        raise ConfigError(
            f"--as-detector is for a run of `edge-train classifier`, {run.path} was trained for "
            f"{run.kind}: leave it out"
        )
    network, config = run.load_with_config(ClassifierConfig)
    sides_wh = tuple(side.fit(config.input_wh) for side in asked.sides)
    windows = WindowConfig(input_wh if all(input_wh) else _PICTURE_WH, sides_wh, asked.background)
    score = 0.5 if overrides.score is None else overrides.score
    iou = 0.3 if overrides.iou is None else overrides.iou
    nms = Nms(score, iou, overrides.rows, overrides.candidates)
    return export_windows(network, config, windows, nms, _complete(run, provenance))


def export_again(
    path: Path, manifest: Manifest, overrides: NmsOverrides, name: str, input_wh: tuple[int, int]
) -> tuple[bytes, Task]:
    """Export a model that ``edge-deploy export`` wrote, for another input or with other rows.

    What ``overrides`` leave open is taken from the manifest; ``input_wh`` (0, 0) is the same size.

    Raises:
        ConfigError: The input size is impossible.
        ModelError: This is not an exported detector in float32.
    """
    description = metadata_of(path.read_bytes()).get(NETWORK)
    if description is None:
        raise ModelError(
            f"{path} does not say how to build its network again: export a run folder, or a model "
            "with boxes that `edge-deploy export` wrote"
        )
    config = replace(NetworkConfig.from_json(json.loads(description)), norm="none")
    try:
        config = replace(config, input_wh=input_wh if all(input_wh) else config.input_wh)
    except ValueError as error:
        raise ConfigError(f"--input-size: {error}") from error
    network = build(config)
    if left := assign_weights(network, config, read_onnx(path), ()).left:
        raise ModelError(
            f"{path} lacks weights in float32 of {len(left)} layers, {next(iter(left))} the first: "
            "export the model it was quantized from"
        )
    task = get_task(config)
    overrides = replace(
        overrides,
        score=manifest.score_threshold if overrides.score is None else overrides.score,
        iou=manifest.iou_threshold if overrides.iou is None else overrides.iou,
    )
    provenance = Provenance(name, manifest.license, manifest.trained_on)
    return export_detector(network, config, overrides.nms(task), provenance), task


def _complete(run: RunFolder, provenance: Provenance) -> Provenance:
    """The provenance with what it leaves open taken from the run."""
    metrics = _metrics(run) | dict(provenance.metrics)
    trained_on = provenance.trained_on or _describe_data(run)
    return replace(provenance, trained_on=trained_on, metrics=metrics)


def get_task(config: NetworkConfig) -> Task:
    """The task of the contract."""
    return "faces" if config.landmarks else "detect"


def export_detector(
    network: keras.Model, config: NetworkConfig, nms: Nms, provenance: Provenance
) -> bytes:
    """A network of ``trainers.networks.yolo`` as a contract model: decoding and NMS inside.

    Raises:
        ModelError: A layer cannot be exported, or the name is not allowed.
    """
    manifest = build_manifest(
        provenance, task=get_task(config), family=f"edge-{config.backbone}",
        input_wh=config.input_wh, classes=config.classes, score_threshold=nms.score_threshold,
        iou_threshold=nms.iou_threshold, max_rows=nms.max_rows, source_sha256=digest(network),
    )  # fmt: skip
    proto, graph = create_model()
    source = get_input_name(get_task(config))
    rows = Writer(graph, network).write(graph.add_pictures(source)).name
    outputs = append_rows(graph, nms, append_decoding(graph, rows, config))
    declare_io(proto.graph, source, config.input_wh, outputs)
    return finish_model(proto, manifest, {NETWORK: json.dumps(config.to_json())})


def export_encoder(
    network: keras.Model, provenance: Provenance, resampling: Resampling = "halved_bilinear"
) -> bytes:
    """A network of ``trainers.networks.mobilefacenet`` as a contract model for the task ``embed``.

    The provenance's metrics hold the threshold.

    Raises:
        ModelError: A layer cannot be exported, or the name is not allowed.
    """
    height, width, _ = network.input.shape[1:]
    manifest = build_manifest(
        provenance, task="embed", family="edge-encoder", input_wh=(width, height),
        resampling=resampling, source_sha256=digest(network),
    )  # fmt: skip
    proto, graph = create_model()
    source = get_input_name("embed")
    graph.rename(Writer(graph, network).write(graph.add_pictures(source)).name, "embeddings")
    fold(proto.graph)
    declare_io(proto.graph, source, (width, height), {"embeddings": [network.output.shape[-1]]})
    return finish_model(proto, manifest)


def append_decoding(graph: Graph, rows: str, config: NetworkConfig) -> RawOutputs:
    """Append what ``trainers.networks.yolo.decode`` computes: raw rows -> boxes, scores, points."""
    grid = cells(config.input_wh, config.num_anchors)
    cell, stride = (graph.constant(x[None]) for x in grid)
    parts = [2, 2, 1, len(config.classes)] + [2 * POINTS] * config.landmarks
    xy, wh, objectness, scores, *points = graph.add_many(
        "Split", len(parts), rows, graph.integers(*parts), axis=2
    )
    center = graph.add("Mul", graph.add("Add", xy, cell), stride)
    wh = graph.add("Clip", wh, graph.constant(-8.0), graph.constant(8.0))
    size = graph.add("Mul", graph.add("Exp", wh), stride)
    return RawOutputs(
        boxes=append_corners(graph, center, size),
        scores=graph.add("Sigmoid", scores),
        objectness=graph.add("Sigmoid", objectness),
        anchors=len(grid[0]),
        classes=len(config.classes),
        points=_points(graph, points[0], config, center, size) if points else "",
    )


def _points(graph: Graph, points: str, config: NetworkConfig, center: str, size: str) -> str:
    """``(N, A, 10)`` in sizes of the face, or in strides from the cell -> network pixels."""
    if config.points_in == "strides":
        cell, stride = cells(config.input_wh, config.num_anchors)
        moved = graph.add("Add", points, graph.constant(np.tile(cell[None], POINTS)))
        return graph.add("Mul", moved, graph.constant(stride[None]))
    repeat = graph.integers(1, 1, POINTS)
    moved = graph.add("Mul", points, graph.add("Tile", size, repeat))
    return graph.add("Add", moved, graph.add("Tile", center, repeat))


def _describe_data(run: RunFolder) -> str:
    """What a run was trained on, without the paths of the machine that did it."""
    about, data = run.read("about.json"), run.read("config.json").get("data", {})
    names = ", ".join(PurePath(path).name for path in data.get("paths", ())) or "unknown"
    start = f", started from {PurePath(data['start']).name}" if data.get("start") else ""
    taught = f", taught by {data['teacher']}" if data.get("teacher") else ""
    digest = str(about.get("data_sha256", ""))[:12]
    return f"{names} ({about.get('pictures', '?')} pictures, sha256 {digest}){start}{taught}"


def _metrics(run: RunFolder) -> dict[str, float]:
    """Metrics of the best network on the validation data."""
    return {
        name: float(value)
        for name, value in run.read("metrics.json").items()
        if name != "epoch" and isinstance(value, int | float) and math.isfinite(value)
    }
