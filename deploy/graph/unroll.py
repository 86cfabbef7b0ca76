"""Unrolling: the loop of NMS becomes a fixed number of sweeps, as CUDA graphs want it.

Our models end NMS by a Loop that stops when a sweep changes nothing (see `deploy.graph.nms`).
Engines can run it, but the processor then decides about every further sweep, and such an execution
cannot be captured. A sweep that changes nothing may be repeated, so a fixed number gives the same
rows wherever the loop would have ended by then. It is even: where a chain of boxes is longer, even
sweeps keep a box too many, odd ones lose a box that is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy

import onnx
from onnx import helper

from deploy.graph.model_proto import parse_model
from deploy.graph.trunk import drop_unused_constants

SWEEPS = 16  # real pictures need two to six
# deploy.graph.nms._loop_body
_SWEEP = ["MatMul", "Min", "Sub", "Sub", "Abs", "ReduceMax", "Greater"]
_ASIDE = frozenset({"Cast", "Constant", "Identity"})  # what converters add


def unroll_nms(model: bytes, sweeps: int = SWEEPS) -> bytes:
    """A model with each loop of `deploy.graph.nms` as that many sweeps; other loops stay.

    With ``sweeps`` 0 the model stays as it is.

    Raises:
        ModelError: The bytes are not an ONNX file.
    """
    proto = parse_model(model)
    if not sweeps or not any(_is_ours(node) for node in proto.graph.node):
        return model
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    for node in nodes:
        proto.graph.node.extend(_sweeps(node, sweeps) if _is_ours(node) else [node])
    drop_unused_constants(proto.graph)  # parsers warn of what only the loop read
    unrolled: bytes = proto.SerializeToString()
    return unrolled


def _body(node: onnx.NodeProto) -> onnx.GraphProto:
    body: onnx.GraphProto = next(a.g for a in node.attribute if a.name == "body")
    return body


def _is_ours(node: onnx.NodeProto) -> bool:
    """A sweep may be repeated once nothing changes; of other loops that is not known."""
    if node.op_type != "Loop" or len(node.input) != 3 or len(node.output) != 1:
        return False
    kinds = [inner.op_type for inner in _body(node).node]
    return [kind for kind in kinds if kind not in _ASIDE] == _SWEEP


def _sweeps(loop: onnx.NodeProto, count: int) -> Iterator[onnx.NodeProto]:
    """The nodes of a Loop's body, that many times, each copy with names of its own."""
    body = _body(loop)
    _, _, state = (value.name for value in body.input)
    result = body.output[1].name
    constants = [
        helper.make_node("Constant", [], [i.name], i.name, value=i) for i in body.initializer
    ]
    needed = _leading_to(result, [*constants, *body.node])
    inside = {name for node in needed for name in node.output}
    before = loop.input[2]
    for sweep in range(count):
        names = {name: f"{loop.name}/{sweep}/{name}" for name in inside} | {state: before}
        if sweep == count - 1:
            names[result] = loop.output[0]
        for node in needed:
            copy = deepcopy(node)
            copy.name = f"{loop.name}/{sweep}/{node.name}"
            copy.input[:] = [names.get(name, name) for name in node.input]
            copy.output[:] = [names.get(name, name) for name in node.output]
            yield copy
        before = names[result]


def _leading_to(value: str, nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Those of some nodes in order of execution that a value is computed from."""
    wanted, needed = {value}, []
    for node in reversed(nodes):
        if wanted & set(node.output):
            needed.append(node)
            wanted |= set(node.input)
    return needed[::-1]
