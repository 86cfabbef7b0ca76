"""ONNX files as bytes: what must be checked before a library opens one.

Runtimes follow references from a model's bytes to other files, even from the working directory;
what was hashed would then not be what runs. So the protobuf is walked here, down to its tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from edge.errors import ModelError

_VARINT, _FIXED64, _MESSAGE, _FIXED32 = 0, 1, 2, 5

# Field numbers of onnx.proto that lead to a tensor: message -> field -> message.
_CHILDREN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}  # fmt: skip
_EXTERNAL_DATA, _DATA_LOCATION, _EXTERNAL = 13, 14, 1
_METADATA, _GRAPH, _NODE, _INITIALIZER = 14, 7, 1, 5
_OPERATOR, _DATA_TYPE, _FLOAT16 = 4, 2, 10


def has_external_data(model: bytes) -> bool:
    """Whether any tensor of an ONNX file is stored in another file.

    Raises:
        ValueError: The bytes are not a protobuf.
    """
    todo = [("model", memoryview(model))]
    while todo:
        kind, message = todo.pop()
        children = _CHILDREN[kind]
        for field, value in _fields(message):
            if isinstance(value, memoryview):
                if kind == "tensor" and field == _EXTERNAL_DATA:
                    return True
                if field in children:
                    todo.append((children[field], value))
            elif kind == "tensor" and field == _DATA_LOCATION and value == _EXTERNAL:
                return True
    return False


def metadata_of(model: bytes) -> dict[str, str]:
    """The metadata entries of an ONNX file.

    Raises:
        ValueError: The bytes are not a protobuf, or an entry is not text.
    """
    entries = {}
    for field, entry in _fields(memoryview(model)):
        if field == _METADATA and isinstance(entry, memoryview):
            texts = {at: bytes(v).decode() for at, v in _fields(entry) if not isinstance(v, int)}
            entries[texts.get(1, "")] = texts.get(2, "")
    return entries


def read_metadata(model: bytes, name: str) -> dict[str, str]:
    """The metadata entries of a model that is one whole file; ``name`` is for messages.

    Raises:
        ModelError: The bytes are not an ONNX file, or keep weights in another one.
    """
    try:
        if has_external_data(model):
            raise ModelError(
                f"{name} keeps weights outside its file, where no hash guards them: "
                "save it as one file"
            )
        if model:
            return metadata_of(model)
    except ValueError as error:
        raise ModelError(f"{name} is not an ONNX model: export it again") from error
    raise ModelError(f"{name} is empty: export it again")


def precision_of(model: bytes) -> Literal["fp32", "fp16", "int8"]:
    """What an ONNX file mostly computes in: int8 if it quantizes, fp16 if any weight is.

    Raises:
        ValueError: The bytes are not a protobuf.
    """
    halves = False
    for graph in _children(memoryview(model), _GRAPH):
        for node in _children(graph, _NODE):
            if any(bytes(name) == b"QuantizeLinear" for name in _children(node, _OPERATOR)):
                return "int8"
        for tensor in _children(graph, _INITIALIZER):
            halves |= any(at == _DATA_TYPE and v == _FLOAT16 for at, v in _fields(tensor))
    return "fp16" if halves else "fp32"


def _children(message: memoryview, wanted: int) -> Iterator[memoryview]:
    for field, value in _fields(message):
        if field == wanted and isinstance(value, memoryview):
            yield value


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Field numbers and values of one protobuf message; numbers of fixed width are skipped."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        field, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield field, value
            continue
        if wire == _MESSAGE:
            size, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"not a protobuf: wire type {wire}")
        if at + size > len(message):
            raise ValueError("not a complete protobuf: a field ends after the file")
        if wire == _MESSAGE:
            yield field, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at an offset and the offset after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        value, at = value | (byte & 0x7F) << shift, at + 1
        if byte < 0x80:
            return value & (1 << 64) - 1, at
    raise ValueError("not a protobuf: a number does not end")
