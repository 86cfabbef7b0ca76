"""Calibration: the range of every value of a trunk, seen on real pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto

from deploy.graph.session import open_session
from deploy.graph.trunk import Trunk, infer_types
from edge.types import F32, U8

SAMPLE = 512  # values of each picture and tensor that the clipping is chosen on
SHARES = np.linspace(1.0, 0.2, 17)  # of the whole range to either side that are tried


@dataclass(frozen=True, slots=True)
class Range:
    """The observed range of a value.

    Attributes:
        low: Lower end of what INT8 is to represent.
        high: Upper end.
        mean: Of each channel, ``(C,)`` of ``(N, C, ...)``.
    """

    low: float
    high: float
    mean: F32


Ranges = Mapping[str, Range]


def observe_ranges(
    proto: onnx.ModelProto,
    trunk: Trunk,
    batches: Iterable[U8],
    advance: Callable[[int], None] = lambda _: None,
    seed: int = 0,
) -> Ranges:
    """Run the float model and choose a range for each float value of its trunk.

    The ranges minimize the squared error of 255 steps on a sample: clipping a few outliers buys
    finer steps for everything else. What SiLU reads is judged by the output of SiLU. ``batches``
    are contract inputs ``(B, ...)`` uint8; ``advance`` receives the number of inputs of each.
    """
    names = _float_values(proto, trunk)
    session = open_session(with_outputs(proto, names))
    source = session.get_inputs()[0].name
    rng = np.random.default_rng(seed)
    samples: dict[str, list[F32]] = {name: [] for name in names}
    means: dict[str, list[F32]] = {name: [] for name in names}
    for batch in batches:
        for name, value in zip(names, session.run(names, {source: batch}), strict=True):
            flat = value.reshape(-1)
            chosen = rng.integers(0, flat.size, min(flat.size, SAMPLE * len(batch)))
            samples[name].append(np.append(flat[chosen], [flat.min(), flat.max()]))
            means[name].append(value.mean(axis=(0, *range(2, value.ndim))))
        advance(len(batch))
    gated = _silu_inputs(trunk)
    return {
        name: Range(
            *_best_range(np.concatenate(parts), _silu if name in gated else lambda x: x),
            mean=np.mean(means[name], axis=0),
        )
        for name, parts in samples.items()
    }


def _float_values(proto: onnx.ModelProto, trunk: Trunk) -> list[str]:
    kinds = infer_types(proto)
    inside = [name for node in trunk.nodes for name in node.output if name]
    return [name for name in inside if kinds.get(name, TensorProto.FLOAT) == TensorProto.FLOAT]


def _best_range(values: F32, function: Callable[[F32], F32]) -> tuple[float, float]:
    """Cut the lower end, then the upper one, where that makes the error smaller."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if low == high:
        return low, low + 1.0
    truth = function(values)

    def error(low: float, high: float) -> float:
        step = (high - low) / 255
        rounded = (np.round(np.clip(values, low, high) / step) * step).astype(np.float32)
        difference: np.ndarray = truth - function(rounded)
        return float(np.square(difference, dtype=np.float64).mean())

    low = min((low * share for share in SHARES), key=lambda end: error(end, high))
    high = min((high * share for share in SHARES), key=lambda end: error(low, end))
    return low, high


def _silu(x: F32) -> F32:
    result: F32 = x / (1 + np.exp(-np.clip(x, -80, 80)))
    return result


def _silu_inputs(trunk: Trunk) -> set[str]:
    """Values that are read by SiLU only, which does not tell very negative ones apart."""
    readers: dict[str, list[NodeProto]] = {}
    for node in trunk.nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    inputs = set()
    for node in trunk.nodes:
        if node.op_type == "Sigmoid":
            kinds = sorted(reader.op_type for reader in readers[node.input[0]])
            gates = readers.get(node.output[0], [])
            if kinds == ["Mul", "Sigmoid"] and all(node.input[0] in gate.input for gate in gates):
                inputs.add(node.input[0])
    return inputs


def with_outputs(proto: onnx.ModelProto, exits: Sequence[str]) -> bytes:
    """The model with other outputs, such as the exits of its trunk."""
    cut = deepcopy(proto)
    del cut.graph.output[:]
    cut.graph.output.extend(onnx.ValueInfoProto(name=name) for name in exits)
    model: bytes = cut.SerializeToString()
    return model
