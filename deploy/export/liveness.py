"""Export of a liveness network: clips in, a probability out, everything between in one graph."""

from __future__ import annotations

import keras
from onnx import TensorProto

from deploy.export.keras_layers import Writer, digest
from deploy.graph.contract import finish_model
from deploy.graph.folding import fold
from deploy.graph.graph_builder import Graph
from deploy.graph.manifest import Provenance, build_manifest
from deploy.graph.model_proto import create_model, declare_io
from trainers.networks.config import LivenessConfig
from trainers.networks.minifasnet import ALIVE

FAMILY = "edge-fasnet"
CLIP_S = 3.0  # a clip must not span more


def export_liveness(network: keras.Model, config: LivenessConfig, provenance: Provenance) -> bytes:
    """A network of ``trainers.networks.minifasnet`` as a model of the liveness contract.

    Raises:
        ModelError: A layer cannot be exported, or the name is not allowed.
    """
    manifest = build_manifest(
        provenance, task="liveness", family=FAMILY, input_wh=config.input_wh,
        crop_scales=config.scales, clip_frames=config.frames, clip_s=CLIP_S,
        resampling=config.resampling,
        source_sha256=digest(network),
    )  # fmt: skip
    proto, graph = create_model()
    clips = graph.add("Cast", "faces", to=TensorProto.FLOAT)  # all that TensorRT does with uint8
    live = _over_space_time if config.over_time == "conv3d" else _branched
    flat = graph.add("Reshape", live(graph, network, config, clips), graph.integers(-1))
    graph.rename(flat, "live")
    fold(proto.graph)
    declare_io(proto.graph, "faces", config.input_wh, {"live": []}, config.crops)
    return finish_model(proto, manifest)


def _select_scale(graph: Graph, clips: str, config: LivenessConfig, row: int) -> str:
    """The crops of one scale: ``(N, T, h, w, 3)``."""
    if config.crops == 1:
        return clips
    rows = graph.integers(*range(row, config.crops, len(config.scales)))
    return graph.add("Gather", clips, rows, axis=1)


def _branched(graph: Graph, network: keras.Model, config: LivenessConfig, clips: str) -> str:
    width, height = config.input_wh
    outputs = []
    for row in range(len(config.scales)):
        crops = _select_scale(graph, clips, config, row)
        crops = graph.add("Reshape", crops, graph.integers(-1, height, width, 3))
        crops = graph.add("Transpose", crops, perm=[0, 3, 1, 2])
        outputs.append(Writer(graph, network.get_layer(f"scale{row}")).write(crops).name)
    if config.over_time == "none":  # probabilities (N, 3, 1, 1)
        total = graph.add("Sum", *outputs) if len(outputs) > 1 else outputs[0]
        alive = graph.add("Gather", total, graph.integers(ALIVE), axis=1)
        return graph.add("Mul", alive, graph.constant(1 / len(outputs)))
    rows = []
    for value in outputs:  # features (N*T, 128, 1, 1) -> (N, 128, T, 1)
        shape = graph.integers(-1, config.frames, 128, 1)
        rows.append(graph.add("Transpose", graph.add("Reshape", value, shape), perm=[0, 2, 1, 3]))
    joined = graph.add("Concat", *rows, axis=1) if len(rows) > 1 else rows[0]
    return Writer(graph, network.get_layer("over_time")).write(joined).name


def _over_space_time(graph: Graph, network: keras.Model, config: LivenessConfig, clips: str) -> str:
    parts = [_select_scale(graph, clips, config, row) for row in range(len(config.scales))]
    stacked = graph.add("Concat", *parts, axis=4) if len(parts) > 1 else parts[0]
    stacked = graph.add("Transpose", stacked, perm=[0, 4, 1, 2, 3])
    return Writer(graph, network.get_layer("over_time")).write(stacked).name
