"""Export: a network trained by us becomes a model of the contract."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path, PurePath

import keras
import numpy as np
from onnx import TensorProto

from deploy.export.keras_layers import Writer, digest
from deploy.export.liveness import export_liveness
from deploy.graph.contract import finish_model
from deploy.graph.graph_builder import Graph
from deploy.graph.manifest import Provenance, build_manifest
from deploy.graph.model_proto import create_model, declare_io, get_input_name
from deploy.graph.nms import Nms, NmsOverrides, RawOutputs, append_rows
from edge.errors import ConfigError, ModelError
from edge.manifest import Manifest, Task
from edge.onnxfile import metadata_of
from trainers import liveness
from trainers.networks.config import LivenessConfig, NetworkConfig
from trainers.networks.yolo import POINTS, build, cells, resize_network
from trainers.run.folder import RunFolder
from trainers.weights.transfer import assign_weights, read_onnx

NETWORK = "edge.network"  # metadata: from what to build the network again, as JSON


def export_run(
    run: RunFolder,
    choice: NmsOverrides,
    provenance: Provenance,
    input_wh: tuple[int, int] = (0, 0),
) -> tuple[bytes, Task]:
    """The best network of a run as a contract model, and its task.

    Args:
        run: its folder.
        choice: how rows are chosen.
        provenance: ``trained_on`` may be empty, ``metrics`` are those of the run.
        input_wh: another input than it was trained with, multiples of 32; (0, 0) is the same.

    Raises:
        ConfigError: no epoch has finished, or a file of the run is broken.
        ModelError: see ``export``.
    """
    kind = run.kind if run.best.is_file() else ""
    if kind == liveness.KIND:
        live, seen = run.load_with_config(LivenessConfig)
        return export_liveness(live, seen, _told(run, provenance)), "liveness"
    if kind == "embed":
        return export_encoder(run.load(), _told(run, provenance)), "embed"
    network, config = run.load_with_config(NetworkConfig)
    try:
        wanted = input_wh if all(input_wh) else config.input_wh
        network, config = resize_network(network, config, wanted)
    except ValueError as error:
        raise ConfigError(f"--input: {error}") from error
    task = get_task(config)
    return export_detector(network, config, choice.nms(task), _told(run, provenance)), task


def export_again(
    path: Path, manifest: Manifest, choice: NmsOverrides, name: str, input_wh: tuple[int, int]
) -> tuple[bytes, Task]:
    """A model that ``export`` wrote, for another input or with another choice of rows.

    Args:
        path: the model, in float32.
        manifest: of it; what the choice leaves open stays.
        choice: how rows are chosen.
        name: of the new one.
        input_wh: multiples of 32; (0, 0) is the same.

    Raises:
        ConfigError: an impossible input.
        ModelError: no exported detector or face finder, or none in float32.
    """
    described = metadata_of(path.read_bytes()).get(NETWORK)
    if described is None:
        raise ModelError(
            f"{path} does not say how to build its network again: export a run folder, or a model "
            "with boxes that `edge-deploy export` wrote"
        )
    config = replace(NetworkConfig.from_json(json.loads(described)), norm="none")
    try:
        config = replace(config, input_wh=input_wh if all(input_wh) else config.input_wh)
    except ValueError as error:
        raise ConfigError(f"--input: {error}") from error
    network = build(config)
    if left := assign_weights(network, config, read_onnx(path), ()).left:
        raise ModelError(
            f"{path} lacks weights in float32 of {len(left)} layers, {next(iter(left))} the first: "
            "export the model it was quantized from"
        )
    task = get_task(config)
    kept = replace(
        choice,
        score=manifest.score_threshold if choice.score is None else choice.score,
        iou=manifest.iou_threshold if choice.iou is None else choice.iou,
    )
    provenance = Provenance(name, manifest.license, manifest.trained_on)
    return export_detector(network, config, kept.nms(task), provenance), task


def _told(run: RunFolder, provenance: Provenance) -> Provenance:
    """With what the run itself knows, where nobody said otherwise."""
    return replace(
        provenance,
        trained_on=provenance.trained_on or _data(run),
        metrics=_metrics(run) | dict(provenance.metrics),
    )


def get_task(config: NetworkConfig) -> Task:
    """Of the contract."""
    return "faces" if config.landmarks else "detect"


def export_detector(
    network: keras.Model, config: NetworkConfig, nms: Nms, provenance: Provenance
) -> bytes:
    """A network of ``trainers.networks.yolo`` as a contract model: decoding and NMS inside.

    Args:
        network: float ``(N, h, w, 3)`` RGB 0..255 -> raw rows.
        config: what it was built from.
        nms: how rows are chosen.
        provenance: for the manifest.

    Raises:
        ModelError: a layer that cannot be exported, or a bad name.
    """
    manifest = _manifest(network, config, nms, provenance)
    proto, graph = create_model()
    source = get_input_name(get_task(config))
    rows = Writer(graph, network).write(_floats(graph, source)).name
    outputs = append_rows(graph, nms, append_decoding(graph, rows, config))
    declare_io(proto.graph, source, config.input_wh, outputs)
    return finish_model(proto, manifest, {NETWORK: json.dumps(config.to_json())})


def export_encoder(network: keras.Model, provenance: Provenance) -> bytes:
    """A network of ``trainers.networks.mobilefacenet`` as a contract model for the task ``embed``.

    Args:
        network: float ``(N, 112, 112, 3)`` RGB 0..255 -> ``(N, D)`` of unit length.
        provenance: for the manifest; its metrics tell the threshold.

    Raises:
        ModelError: a layer that cannot be exported, or a bad name.
    """
    height, width, _ = network.input.shape[1:]
    manifest = build_manifest(
        provenance, task="embed", family="edge-encoder", input_wh=(width, height),
        source_sha256=digest(network),
    )  # fmt: skip
    proto, graph = create_model()
    source = get_input_name("embed")
    row = Writer(graph, network).write(_floats(graph, source)).name
    graph.rename(row, "embeddings")
    declare_io(proto.graph, source, (width, height), {"embeddings": [network.output.shape[-1]]})
    return finish_model(proto, manifest)


def _floats(graph: Graph, source: str) -> str:
    """``(N, h, w, 3)`` uint8 -> ``(N, 3, h, w)`` float."""
    picture = graph.add("Cast", source, to=TensorProto.FLOAT)  # all that TensorRT does with uint8
    return graph.add("Transpose", picture, perm=[0, 3, 1, 2])


def append_decoding(graph: Graph, rows: str, config: NetworkConfig) -> RawOutputs:
    """Append what ``trainers.networks.yolo.decode`` computes: raw rows -> boxes, scores, points."""
    place, stride = (graph.constant(x[None]) for x in cells(config.input_wh, config.num_anchors))
    anchors, classes = len(cells(config.input_wh, config.num_anchors)[0]), len(config.classes)
    parts = [2, 2, 1, classes] + [2 * POINTS] * config.landmarks
    xy, wh, seen, scores, *points = graph.add_many(
        "Split", len(parts), rows, graph.integers(*parts), axis=2
    )
    center = graph.add("Mul", graph.add("Add", xy, place), stride)
    wh = graph.add("Clip", wh, graph.constant(-8.0), graph.constant(8.0))
    size = graph.add("Mul", graph.add("Exp", wh), stride)
    half = graph.add("Mul", size, graph.constant(0.5))
    low, high = graph.add("Sub", center, half), graph.add("Add", center, half)
    return RawOutputs(
        boxes=graph.add("Concat", low, high, axis=2),
        scores=graph.add("Sigmoid", scores),
        seen=graph.add("Sigmoid", seen),
        anchors=anchors,
        classes=classes,
        points=_points(graph, points[0], config, center, size) if points else "",
    )


def _points(graph: Graph, points: str, config: NetworkConfig, center: str, size: str) -> str:
    """``(N, A, 10)`` in sizes of the face, or in strides from the cell -> network pixels."""
    if config.points_in == "strides":
        place, stride = cells(config.input_wh, config.num_anchors)
        moved = graph.add("Add", points, graph.constant(np.tile(place[None], POINTS)))
        return graph.add("Mul", moved, graph.constant(stride[None]))
    repeat = graph.integers(1, 1, POINTS)
    moved = graph.add("Mul", points, graph.add("Tile", size, repeat))
    return graph.add("Add", moved, graph.add("Tile", center, repeat))


def _manifest(
    network: keras.Model, config: NetworkConfig, nms: Nms, provenance: Provenance
) -> Manifest:
    return build_manifest(
        provenance, task=get_task(config), family=f"edge-{config.backbone}",
        input_wh=config.input_wh, classes=config.classes, score_threshold=nms.score_threshold,
        iou_threshold=nms.iou_threshold, max_rows=nms.max_rows, source_sha256=digest(network),
    )  # fmt: skip


def _data(run: RunFolder) -> str:
    """What a run was trained on, without the paths of the machine that did it."""
    about, data = run.read("about.json"), run.read("config.json").get("data", {})
    names = ", ".join(PurePath(path).name for path in data.get("paths", ())) or "unknown"
    start = f", started from {PurePath(data['start']).name}" if data.get("start") else ""
    taught = f", taught by {data['teacher']}" if data.get("teacher") else ""
    digest = str(about.get("data_sha256", ""))[:12]
    return f"{names} ({about.get('pictures', '?')} pictures, sha256 {digest}){start}{taught}"


def _metrics(run: RunFolder) -> dict[str, float]:
    """Figures of the best network on the part that was held back."""
    found = run.read("metrics.json")
    return {
        name: float(value)
        for name, value in found.items()
        if name != "epoch" and isinstance(value, int | float) and math.isfinite(value)
    }
