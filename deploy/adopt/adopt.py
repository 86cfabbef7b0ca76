"""Adoption: a foreign ONNX file becomes a model of the contract."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper

from deploy.adopt.claims import Claims, read_claims
from deploy.adopt.dlib_dat import convert_dlib, is_dlib, take_aligned_faces
from deploy.adopt.families import (
    FAMILIES,
    NORMALIZATIONS,
    YOLO_LAYOUTS,
    Color,
    ForeignOutputs,
    Normalization,
    prepend_preprocessing,
)
from deploy.adopt.plausibility import refuse_not_finite
from deploy.graph.contract import finish_model
from deploy.graph.folding import fold
from deploy.graph.graph_builder import Graph, get_inputs
from deploy.graph.manifest import Provenance, build_manifest
from deploy.graph.model_proto import OPSET, declare_io, first_line, get_input_name, get_opset
from deploy.graph.nms import NAN_SCORE, Nms, RawOutputs, append_rows
from deploy.graph.session import open_session
from edge.engines.synthetic_images import draw_synthetic_images
from edge.errors import ModelError
from edge.manifest import KEY, Manifest
from edge.onnxfile import has_external_data
from edge.runtimes.onnx import BROKEN
from edge.types import F32
from trainers.data.coco import COCO


@dataclass(frozen=True, slots=True)
class Adoption:
    """How to adopt a foreign network.

    Attributes:
        family: One of `FAMILIES`.
        classes: The network's class names, in its order; empty takes those of its metadata.
        keep: Classes that the new model reports; empty is all.
        input_wh: Input size in pixels; (0, 0) takes it from the file.
        license: SPDX identifier of the weights.
        trained_on: The training data, in words.
        layout: Layout of a yolo output, one of `YOLO_LAYOUTS`; empty derives it from the shape.
        threshold: For an embedder, the similarity from which two faces are the same person.
        normalize: Values that the network takes, one of `NORMALIZATIONS`; empty derives them.
        color: Order of its channels, rgb or bgr; empty takes the family's.
    """

    family: str
    name: str
    classes: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    input_wh: tuple[int, int] = (0, 0)
    nms: Nms = field(default_factory=Nms)
    license: str = "unknown"
    trained_on: str = "unknown"
    threshold: float = 0.4
    layout: str = ""
    normalize: str = ""
    color: str = ""

    def check(self) -> None:
        """Check what can be checked without the file.

        Raises:
            ModelError: An option is unknown.
        """
        if self.family not in FAMILIES:
            raise ModelError(f"unknown family {self.family!r}: use one of {', '.join(FAMILIES)}")
        if self.layout and (self.family != "yolo" or self.layout not in YOLO_LAYOUTS):
            raise ModelError(f"layouts are {', '.join(YOLO_LAYOUTS)}, for the family yolo only")
        if self.normalize not in ("", *NORMALIZATIONS):
            raise ModelError(
                f"unknown normalization {self.normalize!r}: use one of {', '.join(NORMALIZATIONS)}"
            )
        if self.color not in ("", "rgb", "bgr"):
            raise ModelError(f"unknown color order {self.color!r}: use rgb or bgr")


@dataclass(frozen=True, slots=True)
class Convention:
    """What a network takes, and how that is known.

    Attributes:
        normalize: One of `NORMALIZATIONS`.
        color: Order of its channels.
        source: How both are known, a sentence.
        is_certain: Whether its maker's metadata says so.
    """

    normalize: str
    color: Color
    source: str
    is_certain: bool

    @property
    def normalization(self) -> Normalization:
        """Mean and scale."""
        return NORMALIZATIONS[self.normalize]


def choose_convention(options: Adoption, claims: Claims) -> Convention:
    """What the user says, else what the file says, else what its family usually takes."""
    family = FAMILIES[options.family]
    color: Color = "bgr" if (options.color or family.color) == "bgr" else "rgb"
    if options.normalize:
        return Convention(
            options.normalize, color, "pixel values: as given with --normalize", False
        )
    if family.task == "embed" and not family.normalize:
        inside = claims.normalizes
        why = (
            "pixel values: 0..255, because the network's first nodes normalize them"
            if inside
            else "pixel values: -1..1, because the network's first nodes do not normalize them"
        )
        return Convention("none" if inside else "signed", color, why, False)
    if options.family == "dlib":
        return Convention("dlib", "rgb", "pixel values and colors: from the file", True)
    known = claims.maker == "ultralytics" and options.family in ("yolo", "rtdetr")
    source = (
        "pixel values and colors: as ultralytics exports them"
        if known
        else f"pixel values: usual for the family {options.family}"
    )
    return Convention(family.normalize, color, source, known and not options.color)


def adopt(model: bytes, options: Adoption) -> bytes:
    """Wrap a foreign network into the contract.

    Its metadata and its outputs on drawn pictures must have the meaning that its family gives
    them; whether it finds anything is tried by `deploy.adopt.trial`.

    Raises:
        ModelError: The bytes are not an ONNX file of this family, or cannot be batched.
    """
    options.check()
    family = FAMILIES[options.family]
    proto = parse_foreign(convert_foreign(model, options.family))
    claims = read_claims(proto)
    claims.refuse_other_tasks(options.family)
    _refuse_suppression(proto.graph)
    convention = choose_convention(options, claims)
    _free_names(proto.graph)
    source, input_wh = _input(proto, options)
    outputs = _free_batch(proto, source, input_wh, convention)
    fold(proto.graph)
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    graph = Graph(proto.graph, get_opset(proto))
    prepend_preprocessing(graph, family.task, convention.color, convention.normalization, source)
    proto.graph.node.extend(nodes)
    head = YOLO_LAYOUTS[options.layout] if options.layout else family.head
    raw = head(graph, outputs)
    options = replace(options, classes=_name_classes(options, claims, raw))
    kept = _kept(options)
    declared = _finish(graph, options, raw, kept)
    declare_io(proto.graph, get_input_name(family.task), input_wh, declared)
    manifest = _manifest(
        model, options, convention, input_wh, tuple(options.classes[k] for k in kept), raw.layout
    )
    return finish_model(proto, manifest)


def convert_foreign(model: bytes, family: str) -> bytes:
    """A foreign file as ONNX, which most are already.

    Raises:
        ModelError: It is one and the family is another, or the other way round.
    """
    if family == "dlib":
        return take_aligned_faces(convert_dlib(model))
    if is_dlib(model):
        raise ModelError("this is a dlib network: adopt it with --family dlib")
    return model


def _name_classes(options: Adoption, claims: Claims, raw: RawOutputs) -> tuple[str, ...]:
    """The network's class names: given, of its metadata, ``face``, or COCO's where it has 80.

    Raises:
        ModelError: They are not known, or their number is not the network's.
    """
    if FAMILIES[options.family].task == "embed":
        return ()
    names = options.classes or claims.names
    if options.classes and claims.names and len(options.classes) != len(claims.names):
        raise ModelError(
            f"{len(options.classes)} names were given, but the file's metadata has "
            f"{len(claims.names)}: leave --classes out, or give them all in its order"
        )
    if not names and options.family in ("yunet", "scrfd", "ultraface"):
        return ("face",)
    if not names and raw.classes == len(COCO):
        return COCO
    if not names:
        why = claims.describe_names() or "the file does not tell its class names"
        raise ModelError(f"{why}: give them in its order with --classes")
    if raw.classes and raw.classes != len(names):
        raise ModelError(
            f"the model has {raw.classes} classes, but {len(names)} names were given: "
            "give its names in its order with --classes"
        )
    return names


def parse_foreign(model: bytes) -> onnx.ModelProto:
    """An ONNX file's bytes -> its proto, at our opset.

    Raises:
        ModelError: Not ONNX, or with weights outside the file.
    """
    if model.startswith(b"version https://git-lfs"):
        raise ModelError("this is a pointer of Git LFS, not the model: fetch it (git lfs pull)")
    try:
        proto = onnx.load_model_from_string(model)
        if has_external_data(model):
            raise ModelError("the model keeps weights outside its file: save it as one file")
        _refuse_newer(proto)
        _sort_nodes(proto.graph)
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


def _refuse_newer(proto: onnx.ModelProto) -> None:
    """Refuse a file of a later ONNX with the remedy that fits."""
    newest_ir, newest_opset = onnx.IR_VERSION, onnx.defs.onnx_opset_version()
    if proto.ir_version > newest_ir or get_opset(proto) > newest_opset:
        raise ModelError(
            f"the file was written by a newer ONNX (IR {proto.ir_version}, opset "
            f"{get_opset(proto)}; here IR {newest_ir}, opset {newest_opset}): export it with "
            f"opset {OPSET}, or install a newer onnx"
        )


def _sort_nodes(graph: onnx.GraphProto) -> None:
    """Bring nodes into the order of execution, which some converters to half precision lose."""
    made = {name for node in graph.node for name in node.output if name}
    ready: set[str] = set()
    ordered: list[onnx.NodeProto] = []
    waiting = list(graph.node)
    while waiting:
        later = []
        for node in waiting:
            if all(name in ready or name not in made for name in _reads(node)):
                ordered.append(node)
                ready.update(node.output)
            else:
                later.append(node)
        if len(later) == len(waiting):
            return  # a loop: the checker tells
        waiting = later
    if len(ordered) == len(graph.node) and any(
        a is not b for a, b in zip(ordered, graph.node, strict=True)
    ):
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
        del graph.node[:]
        graph.node.extend(copies)


def _reads(node: onnx.NodeProto) -> set[str]:
    """Values that a node needs, also those that its subgraphs take from outside."""
    names = set(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            inner = {name for one in graph.node for name in one.output}
            names |= {n for one in graph.node for n in _reads(one)} - inner
    return names


def _refuse_suppression(graph: onnx.GraphProto) -> None:
    """Refuse NMS inside the network: exporters unroll it for one picture, and add no way to check.

    A batch in which nothing is found equals its pictures, so the proof of batches would not tell.
    """
    if any(node.op_type == "NonMaxSuppression" for node in _walk(graph)):
        raise ModelError(
            "the network suppresses overlapping boxes itself, for one picture at a time: export "
            "it without NMS (ultralytics: nms=False), which adoption appends"
        )


def _walk(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of the graphs in them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _walk(inner)


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
    kind = inputs[0].type.tensor_type if inputs else onnx.TypeProto.Tensor()
    shape = [d.dim_value for d in kind.shape.dim]
    if len(inputs) != 1 or len(shape) != 4:
        raise ModelError(
            "an image network has one input of 4 dimensions (batch, 3, h, w), this one has the "
            f"inputs {[value.name for value in inputs]}: adopt another file"
        )
    if kind.elem_type != TensorProto.FLOAT:
        raise ModelError("the network takes no float32 pictures: export it with float32 inputs")
    if shape[1] not in (0, 3):
        last = "its channels last: export it with them first (NCHW)"
        raise ModelError(
            f"the network takes {shape}, " + (last if shape[3] == 3 else "not 3 channels")
        )
    if shape[0] > 1:
        raise ModelError(
            f"the network takes batches of {shape[0]} only: export it with batch=1 or a dynamic "
            "batch size"
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
    if not all(8 <= side <= 8192 for side in (width, height)):
        raise ModelError(f"the input must have sides of 8 to 8192 pixels, got {width}x{height}")
    return inputs[0].name, (width, height)


def _free_batch(
    proto: onnx.ModelProto, source: str, input_wh: tuple[int, int], convention: Convention
) -> ForeignOutputs:
    """Make the batch dynamic; outputs for drawn pictures, one at a time."""
    graph = proto.graph
    width, height = input_wh
    value = next(v for v in graph.input if v.name == source)
    for dimension, size in zip(
        value.type.tensor_type.shape.dim, (1, 3, height, width), strict=True
    ):
        dimension.Clear()
        dimension.dim_value = size
    del graph.value_info[:]
    outputs = _run_drawn(proto, source, input_wh, convention)
    refuse_not_finite(outputs)
    free_batch_of_reshapes(graph, source)
    return ForeignOutputs(outputs, input_wh)


def _run_drawn(
    proto: onnx.ModelProto, source: str, input_wh: tuple[int, int], convention: Convention
) -> dict[str, F32]:
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    width, height = input_wh
    drawn = draw_synthetic_images((height, width, 3), 2).astype(np.float32)
    normalization = convention.normalization
    values = (drawn - np.array(normalization.mean)) * np.array(normalization.scale)
    planes = np.ascontiguousarray(values.transpose(0, 3, 1, 2), np.float32)
    planes = planes[:, ::-1].copy() if convention.color == "bgr" else planes
    try:
        session = open_session(proto.SerializeToString())
        rows = [session.run(None, {source: one[None]}) for one in planes]
    except BROKEN as error:
        raise ModelError(
            f"the model cannot be run with input (1, 3, {height}, {width}) ({first_line(error)}): "
            "choose an --input-size that it takes, often multiples of 32"
        ) from error
    names = [output.name for output in session.get_outputs()]
    shapes = {name: [value.shape for value in columns]
              for name, columns in zip(names, zip(*rows, strict=True), strict=True)}  # fmt: skip
    if odd := [name for name, found in shapes.items() if len(set(found)) > 1 or not found[0]]:
        raise ModelError(
            f"the output {odd[0]} has another size for each picture ({shapes[odd[0]]}): export "
            "the network without NMS"
        )
    return {
        name: np.stack(columns).astype(np.float32)
        for name, columns in zip(names, zip(*rows, strict=True), strict=True)
    }


def free_batch_of_reshapes(graph: onnx.GraphProto, source: str) -> None:
    """A Reshape of pictures to (1, ...) keeps the batch instead: 0 copies the dimension."""
    pictures, targets = {source}, set()
    for node in graph.node:  # in the order of execution
        if pictures.intersection(node.input) and node.op_type not in ("Shape", "Size"):
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


def _kept(options: Adoption) -> list[int]:
    """Class ids of the network that the new model reports, in its order."""
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
    last = graph.constant(len(options.classes) - 1, np.int64)
    number = graph.add("Cast", label, to=TensorProto.INT64)
    inside = graph.add("Clip", number, graph.constant(0, np.int64), last)
    label = graph.add("Gather", graph.constant(new_id), inside, axis=0)
    # a class without a name gets an id without a name: whoever runs the model refuses and counts it
    label = graph.add(
        "Where", graph.add("Equal", number, inside), label, graph.constant(float(len(kept)))
    )
    score = graph.add("Where", graph.add("IsNaN", score), graph.constant(NAN_SCORE), score)
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
    convention: Convention,
    input_wh: tuple[int, int],
    classes: tuple[str, ...],
    layout: str,
) -> Manifest:
    family, normalization = FAMILIES[options.family], convention.normalization
    promised = {
        "task": family.task, "family": options.family, "input_wh": input_wh,
        "source_sha256": hashlib.sha256(model).hexdigest(), "layout": layout,
        "color": convention.color, "mean": normalization.mean, "scale": normalization.scale,
        "resampling": family.placement.resampling,
    }  # fmt: skip
    provenance = Provenance(options.name, options.license, options.trained_on)
    if family.task == "embed":
        return build_manifest(
            replace(provenance, metrics={"threshold": options.threshold}), **promised
        )
    return build_manifest(
        provenance, **promised, letterbox_align=family.placement.align,
        letterbox_fill=family.placement.fill, letterbox_rounding=family.placement.rounding,
        classes=classes, score_threshold=options.nms.score_threshold,
        iou_threshold=options.nms.iou_threshold, max_rows=options.nms.max_rows,
    )  # fmt: skip
