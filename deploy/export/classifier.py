"""Export of a classifier: crops in, probabilities out, the temperature in the graph."""

from __future__ import annotations

import keras
from onnx import TensorProto

from deploy.export.keras_layers import Writer, digest
from deploy.graph.contract import finish_model
from deploy.graph.folding import fold
from deploy.graph.graph_builder import Graph
from deploy.graph.manifest import Provenance, build_manifest
from deploy.graph.model_proto import create_model, declare_io
from trainers.networks.config import ClassifierConfig

FAMILY = "edge-classifier"


def export_classifier(
    network: keras.Model, config: ClassifierConfig, provenance: Provenance
) -> bytes:
    """A network of ``trainers.networks.classifier`` as a model of the contract's `classify`.

    Raises:
        ModelError: A layer cannot be exported, or the name is not allowed.
    """
    manifest = build_manifest(
        provenance, task="classify", family=FAMILY, input_wh=config.input_wh,
        classes=config.classes, crop_margin=config.margin, independent=config.independent,
        source_sha256=digest(network),
    )  # fmt: skip
    proto, graph = create_model()
    images = graph.add("Cast", "images", to=TensorProto.FLOAT)
    images = graph.add("Transpose", images, perm=[0, 3, 1, 2])
    logits = Writer(graph, keras.Model(network.input, network.get_layer("head_classes").output))
    graph.rename(_decide(graph, logits.write(images).name, config), "probabilities")
    fold(proto.graph)
    declare_io(proto.graph, "images", config.input_wh, {"probabilities": [len(config.classes)]})
    return finish_model(proto, manifest)


def _decide(graph: Graph, logits: str, config: ClassifierConfig) -> str:
    flat = graph.add("Reshape", logits, graph.integers(-1, len(config.classes)))
    calm = graph.add("Mul", flat, graph.constant(1 / config.temperature))
    return graph.add("Sigmoid", calm) if config.independent else graph.add("Softmax", calm, axis=1)
