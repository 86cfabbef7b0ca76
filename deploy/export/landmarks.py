"""Export of a network of 68 points: aligned faces in, points in pixels of the crop out."""

from __future__ import annotations

import keras
from onnx import TensorProto

from deploy.export.keras_layers import Writer, digest
from deploy.graph.contract import finish_model
from deploy.graph.folding import fold
from deploy.graph.graph_builder import Graph
from deploy.graph.manifest import Provenance, build_manifest
from deploy.graph.model_proto import create_model, declare_io
from edge.models.landmarks import POINTS68
from trainers.networks.config import LandmarkConfig

FAMILY = "edge-landmarks"


def export_landmarks(network: keras.Model, config: LandmarkConfig, provenance: Provenance) -> bytes:
    """A network of ``trainers.networks.landmarks`` as a model of the contract's `landmarks`.

    Raises:
        ModelError: A layer cannot be exported, or the name is not allowed.
    """
    manifest = build_manifest(
        provenance, task="landmarks", family=FAMILY, input_wh=config.input_wh,
        crop_margin=config.margin, resampling="halved_bilinear", source_sha256=digest(network),
        color="rgb", mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0),
    )  # fmt: skip
    proto, graph = create_model()
    images = graph.add(
        "Transpose", graph.add("Cast", "faces", to=TensorProto.FLOAT), perm=[0, 3, 1, 2]
    )
    pixels = keras.Model(network.input, network.get_layer("head_pixels").output)
    graph.rename(_shape(graph, Writer(graph, pixels).write(images).name), "points")
    fold(proto.graph)
    declare_io(proto.graph, "faces", config.input_wh, {"points": [POINTS68, 2]})
    return finish_model(proto, manifest)


def _shape(graph: Graph, pixels: str) -> str:
    return graph.add("Reshape", pixels, graph.integers(-1, POINTS68, 2))
