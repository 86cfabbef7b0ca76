"""Adopting MiniFASNet: one network, or several that look at a face at different scales.

Each network takes a picture (1, 3, h, w), BGR 0..255, and gives softmax (1, 3) whose second
column is alive (minivision-ai/Silent-Face-Anti-Spoofing). Its makers resize crops with OpenCV's
plain ``INTER_LINEAR``, and the texture that this leaves is what it reads. All go into one graph,
each gets the crop of its own scale, and the output is the mean of their probabilities.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import onnx
from onnx import TensorProto

from deploy.adopt.adopt import free_batch_of_reshapes, parse_foreign
from deploy.graph.contract import finish_model
from deploy.graph.folding import fold
from deploy.graph.graph_builder import Graph, get_inputs
from deploy.graph.manifest import Provenance, build_manifest
from deploy.graph.model_proto import declare_io, get_opset
from edge.errors import ModelError

FAMILY = "minifasnet"
SCALES = (2.7, 4.0)  # of the pair that is published
ALIVE = 1  # column


def adopt_minifasnet(
    models: Sequence[bytes],
    name: str,
    scales: Sequence[float] = SCALES,
    license: str = "unknown",  # noqa: A002 - the manifest's word
    trained_on: str = "unknown",
) -> bytes:
    """Wrap S networks into one model of the liveness contract.

    The side of network n's crop is ``scales[n]`` sides of the face's box; more scales than networks
    are ignored.

    Raises:
        ModelError: The bytes are not such networks, or there are fewer scales than networks.
    """
    if not 0 < len(models) <= len(scales):
        raise ModelError(f"each of {len(models)} networks needs a scale, {len(scales)} were given")
    protos = [parse_foreign(model) for model in models]
    if len({get_opset(proto) for proto in protos}) > 1:
        raise ModelError("the two networks have different opsets: export both with the same")
    sizes = {_size_wh(proto) for proto in protos}
    if len(sizes) > 1:
        raise ModelError(f"the two networks take pictures of different sizes: {sizes}")
    input_wh = sizes.pop()
    whole = onnx.helper.make_model(
        onnx.GraphProto(name=name), opset_imports=list(protos[0].opset_import)
    )
    graph = Graph(whole.graph, get_opset(whole))
    alive = [_append(graph, proto, row, f"{row}/") for row, proto in enumerate(protos)]
    mean = alive[0]
    if len(alive) > 1:
        mean = graph.add("Mul", graph.add("Sum", *alive), graph.constant(1 / len(alive)))
    graph.rename(graph.add("Squeeze", mean, graph.integers(1)), "live")
    declare_io(whole.graph, "faces", input_wh, {"live": []}, crops=len(models))
    manifest = build_manifest(
        Provenance(name, license, trained_on), task="liveness", family=FAMILY, input_wh=input_wh,
        crop_scales=tuple(scales[: len(models)]), resampling="bilinear",
        source_sha256=hashlib.sha256(b"".join(models)).hexdigest(),
    )  # fmt: skip
    return finish_model(whole, manifest)


def _size_wh(proto: onnx.ModelProto) -> tuple[int, int]:
    inputs = get_inputs(proto.graph)
    shape = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim] if inputs else []
    outputs = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in proto.graph.output]
    if len(inputs) != 1 or len(shape) != 4 or [o[1:] for o in outputs] != [[3]]:
        raise ModelError(
            f"a {FAMILY} network takes (1, 3, h, w) and returns (1, 3), this file takes "
            f"{shape} and returns {outputs}: choose the family that fits"
        )
    return shape[3], shape[2]


def _append(graph: Graph, proto: onnx.ModelProto, row: int, prefix: str) -> str:
    """Append a network that looks at crop ``row`` of (N, T, h, w, 3); its ``(N, 1)`` alive."""
    network = onnx.compose.add_prefix_graph(proto.graph, prefix)
    del network.value_info[:]
    source = get_inputs(network)[0].name
    free_batch_of_reshapes(network, source)
    fold(network)
    value = graph.add("Cast", "faces", to=TensorProto.FLOAT)  # all that TensorRT does with uint8
    value = graph.add("Gather", value, graph.constant(row, "int64"), axis=1)
    value = graph.add("Transpose", value, perm=[0, 3, 1, 2])
    value = graph.add("Gather", value, graph.integers(2, 1, 0), axis=1)
    graph.proto.node[-1].output[0] = source
    graph.proto.initializer.extend(network.initializer)
    graph.proto.node.extend(network.node)
    return graph.add("Gather", network.output[0].name, graph.integers(ALIVE), axis=1)
