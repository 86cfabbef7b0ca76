"""The contract's frame: rows and manifest of any model, and the proof that it can be batched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError
from onnx import TensorProto
from pydantic import ValidationError

from deploy.adopt.families import Raw
from deploy.graph.graph_builder import Graph
from deploy.graph.nms import Nms, append_nms
from edge import __version__
from edge.errors import ModelError
from edge.manifest import Manifest, Task
from edge.onnxfile import metadata_of
from edge.runtimes.onnx import BROKEN, session_settings
from edge.types import F32, U8

Outputs = Mapping[str, F32]  # by name
Infer = Callable[[U8], Outputs]  # contract inputs (B, ...) -> the contract's outputs
OPSET = 17  # the least; a newer one stays
IR_VERSIONS = range(8, 11)  # what goes with it, and the newest that every runtime reads


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a manifest tells beside the network.

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


@dataclass(frozen=True, slots=True)
class Choice:
    """How rows are chosen, as far as somebody said so; see ``Nms``.

    Attributes:
        score: None takes what suits the task.
        iou: None takes what suits the task.
        rows: of the output.
        candidates: boxes that take part.
    """

    score: float | None = None
    iou: float | None = None
    rows: int = 100
    candidates: int = 256

    def nms(self, task: Task) -> Nms:
        """For a task: an object finder's weak rows feed the tracker, a face's row is a face."""
        score, iou = (0.5, 0.45) if task == "faces" else (0.1, 0.65)
        score = score if self.score is None else self.score
        return Nms(score, iou if self.iou is None else self.iou, self.rows, self.candidates)


def opset(proto: onnx.ModelProto) -> int:
    """Version of ONNX's own operators that a model uses."""
    return next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 0)


def append_rows(graph: Graph, nms: Nms, raw: Raw) -> dict[str, list[int]]:
    """Append NMS; name and shape of each contract output, without the batch."""
    rows = nms.max_rows
    found, points = append_nms(graph, nms, raw.boxes, raw.scores, raw.anchors, raw.points, raw.seen)
    graph.rename(found, "detections")
    if not points:
        return {"detections": [rows, 6]}
    graph.rename(graph.add("Reshape", points, graph.integers(0, rows, 5, 2)), "landmarks")
    return {"detections": [rows, 6], "landmarks": [rows, 5, 2]}


def declare(
    graph: onnx.GraphProto, source: str, input_wh: tuple[int, int], outputs: dict[str, list[int]]
) -> None:
    """Say which values are input and outputs; the batch is dynamic."""
    del graph.input[:], graph.output[:], graph.value_info[:]
    value = onnx.helper.make_tensor_value_info
    graph.input.append(value(source, TensorProto.UINT8, ["N", input_wh[1], input_wh[0], 3]))
    for name, shape in outputs.items():
        graph.output.append(value(name, TensorProto.FLOAT, ["N", *shape]))


def finished(
    proto: onnx.ModelProto, manifest: Manifest, more: Mapping[str, str] | None = None
) -> bytes:
    """Write the manifest, check the whole model, prove that a batch equals single pictures.

    Args:
        proto: its metadata are replaced.
        manifest: what it promises.
        more: other metadata.
    """
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, manifest.to_metadata() | dict(more or {}))
    proto.producer_name, proto.producer_version = "edgewatch", __version__
    proto.graph.name = manifest.name
    proto.ir_version = min(max(proto.ir_version, IR_VERSIONS[0]), IR_VERSIONS[-1])
    onnx.checker.check_model(proto)
    model: bytes = proto.SerializeToString()
    _prove_batches(model, manifest)
    return model


def empty() -> tuple[onnx.ModelProto, Graph]:
    """A model without nodes, and its graph to write into."""
    proto = onnx.helper.make_model(
        onnx.GraphProto(), opset_imports=[onnx.helper.make_opsetid("", OPSET)]
    )
    return proto, Graph(proto.graph, OPSET)


def named(provenance: Provenance, **promised: Any) -> Manifest:  # noqa: ANN401
    """The manifest of what is promised, with what is told of the model.

    Raises:
        ModelError: its name is none.
    """
    try:
        return Manifest(
            name=provenance.name, license=provenance.license, trained_on=provenance.trained_on,
            metrics=dict(provenance.metrics), **promised,
        )  # fmt: skip
    except ValidationError as error:
        raise ModelError(
            f"cannot be named {provenance.name!r}: take 1 to 64 letters, digits, dots, _ or - "
            "(--name)"
        ) from error


def proto_of(model: bytes) -> onnx.ModelProto:
    """A model file, to be looked into.

    Raises:
        ModelError: the bytes are no ONNX file.
    """
    try:
        return onnx.load_model_from_string(model)
    except DecodeError as error:
        raise ModelError("is no ONNX file: export it again") from error


def any_manifest(model: bytes, name: str) -> Manifest:
    """What a model of any task promises.

    Raises:
        ModelError: no ONNX file, or no model of the contract.
    """
    try:
        metadata = metadata_of(model)
    except ValueError as error:
        raise ModelError(f"{name} is no ONNX file: export it again") from error
    return Manifest.from_metadata(metadata, name)


def first_line(error: Exception) -> str:
    """What a library's long message begins with."""
    return str(error).strip().partition("\n")[0][:120]


def session_of(model: bytes, threads: int = 0) -> ort.InferenceSession:
    """A silent session of ONNX Runtime on the CPU; 0 threads are one per core."""
    settings = session_settings(threads)
    return ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def _prove_batches(model: bytes, manifest: Manifest) -> None:
    """A batch of three must give what three single pictures give."""
    width, height = manifest.input_wh
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 255, (3, height // 8 + 1, width // 8 + 1, 3), np.uint8)
    pictures = np.repeat(np.repeat(noise, 8, 1), 8, 2)[:, :height, :width]
    if manifest.task == "liveness":
        pictures = np.stack([pictures] * manifest.crops, axis=1)
    session = session_of(model)
    source = session.get_inputs()[0].name
    try:
        together = session.run(None, {source: pictures})
        singles = [session.run(None, {source: picture[None]}) for picture in pictures]
    except BROKEN as error:
        raise ModelError(
            f"cannot be run on a batch: export it with a dynamic batch size ({first_line(error)})"
        ) from error
    for batched, *single in zip(together, *singles, strict=True):
        if not np.allclose(batched, np.concatenate(single), atol=1e-2):
            raise ModelError("gives other results in a batch: export it with a dynamic batch size")
