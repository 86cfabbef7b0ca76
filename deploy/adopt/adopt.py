"""Adoption: a foreign ONNX file becomes a model of the contract."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper

from deploy.adopt.families import FAMILIES, YOLO_LAYOUTS, Family, Shapes, prepend_preprocessing
from deploy.graph.contract import finish_model
from deploy.graph.graph_builder import Graph, get_inputs
from deploy.graph.manifest import Provenance, build_manifest
from deploy.graph.model_proto import OPSET, declare_io, first_line, get_input_name, get_opset
from deploy.graph.nms import Nms, RawOutputs, append_rows
from deploy.graph.session import open_session
from edge.errors import ModelError
from edge.manifest import KEY, Manifest
from edge.onnxfile import has_external_data
from edge.runtimes.onnx import BROKEN


@dataclass(frozen=True, slots=True)
class Adoption:
    """How to adopt a foreign network.

    Attributes:
        family: One of `FAMILIES`.
        classes: The network's class names, in its order.
        keep: Classes that the new model reports; empty is all.
        input_wh: Input size in pixels; (0, 0) takes it from the file.
        license: SPDX identifier of the weights.
        trained_on: The training data, in words.
        layout: Layout of a yolo output, one of `YOLO_LAYOUTS`; empty derives it from the shape.
        threshold: For an embedder, the similarity from which two faces are the same person.
    """

    family: str
    name: str
    classes: tuple[str, ...]
    keep: tuple[str, ...] = ()
    input_wh: tuple[int, int] = (0, 0)
    nms: Nms = field(default_factory=Nms)
    license: str = "unknown"
    trained_on: str = "unknown"
    threshold: float = 0.4
    layout: str = ""


def adopt(model: bytes, options: Adoption) -> bytes:
    """Wrap a foreign network into the contract.

    Raises:
        ModelError: The bytes are not an ONNX file of this family, or cannot be batched.
    """
    if options.family not in FAMILIES:
        raise ModelError(f"unknown family {options.family!r}: use one of {', '.join(FAMILIES)}")
    family = FAMILIES[options.family]
    if options.layout and (options.family != "yolo" or options.layout not in YOLO_LAYOUTS):
        raise ModelError(f"layouts are {', '.join(YOLO_LAYOUTS)}, for the family yolo only")
    head = YOLO_LAYOUTS[options.layout] if options.layout else family.head
    proto = parse_foreign(model)
    _free_names(proto.graph)
    source, input_wh = _input(proto, options)
    shapes = _free_batch(proto, source, input_wh)
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    graph = Graph(proto.graph, get_opset(proto))
    prepend_preprocessing(graph, family, source)
    proto.graph.node.extend(nodes)
    raw = head(graph, shapes, input_wh)
    kept = _kept(options, raw)
    outputs = _finish(graph, options, raw, kept)
    declare_io(proto.graph, get_input_name(family.task), input_wh, outputs)
    manifest = _manifest(model, options, family, input_wh, tuple(options.classes[k] for k in kept))
    return finish_model(proto, manifest)


def parse_foreign(model: bytes) -> onnx.ModelProto:
    """An ONNX file's bytes -> its proto, at our opset.

    Raises:
        ModelError: Not ONNX, or with weights outside the file.
    """
    try:
        proto = onnx.load_model_from_string(model)
        if has_external_data(model):
            raise ModelError("the model keeps weights outside its file: save it as one file")
        onnx.checker.check_model(proto)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(
            f"this is not a complete ONNX file ({first_line(error)}): download or export it again"
        ) from error
    if KEY in (entry.key for entry in proto.metadata_props):
        raise ModelError("this is a contract model already: use it as it is")
    if not proto.graph.node:
        raise ModelError("the file holds no network: download or export it again")
    current = get_opset(proto)
    if current < OPSET:
        try:
            proto = onnx.version_converter.convert_version(proto, OPSET)
        except RuntimeError as error:
            raise ModelError(
                f"the model cannot be converted from opset {current} to {OPSET}: export it with "
                f"opset {OPSET}"
            ) from error
    return proto


def _free_names(graph: onnx.GraphProto) -> None:
    """Rename values that bear a name of the contract."""
    ours = {"images", "faces", "detections", "landmarks", "embeddings"}
    for value in (*graph.input, *graph.output):
        value.name = f"foreign/{value.name}" if value.name in ours else value.name
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [f"foreign/{name}" if name in ours else name for name in names]


def _input(proto: onnx.ModelProto, options: Adoption) -> tuple[str, tuple[int, int]]:
    """The network's picture input and its size."""
    inputs = get_inputs(proto.graph)
    shape = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim] if inputs else []
    if len(inputs) != 1 or len(shape) != 4:
        raise ModelError(
            "an image network has one input of 4 dimensions (batch, 3, h, w), this one has the "
            f"inputs {[value.name for value in inputs]}: adopt another file"
        )
    width, height = options.input_wh
    file_wh = (shape[3], shape[2])
    if all(file_wh) and (width, height) not in ((0, 0), file_wh):
        raise ModelError(
            f"the model takes {file_wh[0]}x{file_wh[1]} pictures only: leave --input-size out"
        )
    width, height = file_wh if all(file_wh) else (width, height)
    if not (width and height):
        raise ModelError(
            "the model takes pictures of any size: choose one with --input-size, say 320x320"
        )
    return inputs[0].name, (width, height)


def _free_batch(proto: onnx.ModelProto, source: str, input_wh: tuple[int, int]) -> Shapes:
    """Make the batch dynamic; output shapes for one picture."""
    graph = proto.graph
    width, height = input_wh
    value = next(v for v in graph.input if v.name == source)
    for dimension, size in zip(
        value.type.tensor_type.shape.dim, (1, 3, height, width), strict=True
    ):
        dimension.Clear()
        dimension.dim_value = size
    del graph.value_info[:]
    shapes = _run_once(proto, source, (1, 3, height, width))
    free_batch_of_reshapes(graph, source)
    return shapes


def _run_once(proto: onnx.ModelProto, source: str, shape: Sequence[int]) -> Shapes:
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        session = open_session(proto.SerializeToString())
        outputs = session.run(None, {source: np.zeros(shape, np.float32)})
    except BROKEN as error:
        raise ModelError(
            f"the model cannot be run with input {tuple(shape)} ({first_line(error)}): choose an "
            "--input-size that it takes, often multiples of 32"
        ) from error
    names = [output.name for output in session.get_outputs()]
    return {name: list(value.shape) for name, value in zip(names, outputs, strict=True)}


def free_batch_of_reshapes(graph: onnx.GraphProto, source: str) -> None:
    """A Reshape of pictures to (1, ...) keeps the batch instead: 0 copies the dimension."""
    pictures, targets = {source}, set()
    for node in graph.node:  # in the order of execution
        if pictures.intersection(node.input):
            pictures.update(node.output)
            if node.op_type == "Reshape" and node.input[0] in pictures:
                targets.add(node.input[1])
    for initializer in graph.initializer:
        if initializer.name in targets:
            _free_shape(initializer)
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in targets:
            _free_shape(node.attribute[0].t)


def _free_shape(tensor: TensorProto) -> None:
    shape = numpy_helper.to_array(tensor).copy()
    if shape.ndim == 1 and len(shape) > 1 and shape[0] == 1:
        shape[0] = 0
        tensor.CopyFrom(numpy_helper.from_array(shape, tensor.name))


def _kept(options: Adoption, raw: RawOutputs) -> list[int]:
    """Class ids of the network that the new model reports, in its order."""
    if raw.classes and raw.classes != len(options.classes):
        raise ModelError(
            f"the model has {raw.classes} classes, but {len(options.classes)} names were given: "
            "give its names in its order with --classes"
        )
    if len(set(options.keep)) < len(options.keep):
        raise ModelError("--keep names a class twice: name each once")
    unknown = [name for name in options.keep if name not in options.classes]
    if unknown:
        raise ModelError(
            f"the model has no class {unknown[0]!r}: choose from {', '.join(options.classes)}"
        )
    if not options.keep:
        return list(range(len(options.classes)))
    return [options.classes.index(name) for name in options.keep]


def _finish(
    graph: Graph, options: Adoption, raw: RawOutputs, kept: list[int]
) -> dict[str, list[int]]:
    """Append NMS; name and shape of each contract output, without the batch."""
    if raw.embeddings:
        graph.rename(raw.embeddings, "embeddings")
        return {"embeddings": [raw.dimension]}
    if raw.finished:
        graph.rename(_reorder(graph, options, raw.finished, kept), "detections")
        return {"detections": [options.nms.max_rows, 6]}
    if len(kept) < raw.classes:
        raw = replace(raw, scores=graph.add("Gather", raw.scores, graph.integers(*kept), axis=2))
    return append_rows(graph, options.nms, raw)


def _reorder(graph: Graph, options: Adoption, rows: str, kept: list[int]) -> str:
    """``(N, R, 6)`` of a network with NMS of its own: threshold, sort, renumber, pad."""
    box, score, label = graph.add_many("Split", 3, rows, graph.integers(4, 1, 1), axis=2)
    new_id = np.full(len(options.classes), -1, np.float32)
    new_id[kept] = np.arange(len(kept))
    index = graph.add("Clip", graph.add("Cast", label, to=TensorProto.INT64),
                      graph.constant(0, np.int64),
                      graph.constant(len(options.classes) - 1, np.int64))  # fmt: skip
    label = graph.add("Gather", graph.constant(new_id), index, axis=0)
    zero = graph.constant(0.0)
    good = graph.add("And",
        graph.add("GreaterOrEqual", score, graph.constant(options.nms.score_threshold)),
        graph.add("GreaterOrEqual", label, zero))  # fmt: skip
    score = graph.add("Where", good, score, zero)
    rows = graph.add("Concat", box, score, label, axis=2)
    rows = graph.add("Where", good, rows, zero)
    padding = graph.integers(0, 0, 0, 0, options.nms.max_rows, 0)
    rows = graph.add("Pad", rows, padding)
    flat = graph.add("Squeeze", graph.add("Pad", score, padding), graph.integers(2))
    _, order = graph.add_many("TopK", 2, flat, graph.integers(options.nms.max_rows), axis=1)
    order = graph.add("Unsqueeze", order, graph.integers(2))
    return graph.add("GatherND", rows, order, batch_dims=1)


def _manifest(
    model: bytes,
    options: Adoption,
    family: Family,
    input_wh: tuple[int, int],
    classes: tuple[str, ...],
) -> Manifest:
    promised = {
        "task": family.task, "family": options.family, "input_wh": input_wh,
        "source_sha256": hashlib.sha256(model).hexdigest(),
    }  # fmt: skip
    provenance = Provenance(options.name, options.license, options.trained_on)
    if family.task == "embed":
        return build_manifest(
            replace(provenance, metrics={"threshold": options.threshold}), **promised
        )
    return build_manifest(
        provenance, **promised, letterbox_align="center" if family.center else "top_left",
        classes=classes, score_threshold=options.nms.score_threshold,
        iou_threshold=options.nms.iou_threshold, max_rows=options.nms.max_rows,
    )  # fmt: skip
