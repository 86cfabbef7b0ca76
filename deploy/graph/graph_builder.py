"""A graph under construction: nodes and constants appended to an ONNX graph, names kept unique."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import DTypeLike
from onnx import TensorProto, numpy_helper

PREFIX = "edge/"
Attribute = int | float | str | list[int] | onnx.GraphProto


def get_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Inputs of a graph without its constants, which old files list too."""
    constants = {initializer.name for initializer in graph.initializer}
    return [value for value in graph.input if value.name not in constants]


class Graph:
    """Appends to an ONNX graph (in place) in the order of execution; values are handled by name."""

    def __init__(self, proto: onnx.GraphProto, opset: int = 17) -> None:
        self.proto = proto
        self.opset = opset
        self._count = 0

    def constant(
        self, value: np.ndarray | Sequence[float] | float, dtype: DTypeLike = np.float32
    ) -> str:
        """A constant of ``dtype``; its name."""
        name = self._name("constant")
        self.proto.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def integers(self, *value: int) -> str:
        """A constant ``(len(value),)`` int64; its name."""
        return self.constant(value, np.int64)

    def add(self, operator: str, *inputs: str, **attributes: Attribute) -> str:
        """Append a node with one output; the output's name."""
        return self.add_many(operator, 1, *inputs, **attributes)[0]

    def add_many(
        self, operator: str, outputs: int, *inputs: str, **attributes: Attribute
    ) -> list[str]:
        """Append a node with several outputs; their names."""
        names = [self._name(operator) for _ in range(outputs)]
        node = onnx.helper.make_node(operator, list(inputs), names, names[0])
        node.attribute.extend(
            onnx.helper.make_attribute(key, value) for key, value in sorted(attributes.items())
        )
        self.proto.node.append(node)
        return names

    def add_pictures(self, source: str) -> str:
        """Append the conversion of ``(N, h, w, 3)`` uint8 to ``(N, 3, h, w)`` float."""
        value = self.add("Cast", source, to=TensorProto.FLOAT)  # all TensorRT does with uint8
        return self.add("Transpose", value, perm=[0, 3, 1, 2])

    def maximum(self, value: str, axis: int) -> str:
        """Append a maximum that keeps its axis; opset 18 made the axes an input."""
        if self.opset < 18:
            return self.add("ReduceMax", value, axes=[axis], keepdims=1)
        return self.add("ReduceMax", value, self.integers(axis), keepdims=1)

    def rename(self, old: str, new: str) -> None:
        """Give a value a public name, such as that of a graph output."""
        self.proto.node.append(onnx.helper.make_node("Identity", [old], [new], PREFIX + new))

    def _name(self, noun: str) -> str:
        self._count += 1
        return f"{PREFIX}{noun.lower()}_{self._count}"
