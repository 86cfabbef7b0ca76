"""ONNX files as protobuf: parsed, begun anew, inputs and outputs declared."""

from __future__ import annotations

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from deploy.graph.graph_builder import Graph
from edge.errors import ModelError
from edge.manifest import Task

OPSET = 17  # of new models, and the oldest that is kept
IR_VERSIONS = range(8, 11)  # from the one of that opset to the newest that every runtime reads


def parse_model(model: bytes) -> onnx.ModelProto:
    """Parse the bytes of an ONNX file.

    Raises:
        ModelError: The bytes are not an ONNX file.
    """
    try:
        return onnx.load_model_from_string(model)
    except DecodeError as error:
        raise ModelError("this is not an ONNX file: export it again") from error


def create_model() -> tuple[onnx.ModelProto, Graph]:
    """A model without nodes, and its graph to write into."""
    proto = onnx.helper.make_model(
        onnx.GraphProto(), opset_imports=[onnx.helper.make_opsetid("", OPSET)]
    )
    return proto, Graph(proto.graph, OPSET)


def get_opset(proto: onnx.ModelProto) -> int:
    """Version of ONNX's own operators that a model uses."""
    return next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 0)


def declare_io(
    graph: onnx.GraphProto, source: str, input_wh: tuple[int, int], outputs: dict[str, list[int]],
    crops: int = 0,
) -> None:  # fmt: skip
    """Declare inputs and outputs; the batch is dynamic. Liveness models take ``crops`` per face."""
    del graph.input[:], graph.output[:], graph.value_info[:]
    value, (width, height) = onnx.helper.make_tensor_value_info, input_wh
    pictures: list[str | int | None] = ["N", *([crops] if crops else ()), height, width, 3]
    graph.input.append(value(source, TensorProto.UINT8, pictures))
    for name, shape in outputs.items():
        graph.output.append(value(name, TensorProto.FLOAT, ["N", *shape]))


def get_input_name(task: Task) -> str:
    """Name of the contract input of a task."""
    return "faces" if task in ("embed", "liveness", "landmarks") else "images"


def first_line(error: Exception) -> str:
    """What a library's long message begins with."""
    return str(error).strip().partition("\n")[0][:120]
