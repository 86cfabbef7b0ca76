"""The structure of a network: shapes, weights, multiply-adds, receptive field and time by layer.

The receptive field of a layer is what one of its units reads of the input (Araujo et al. 2019,
"Computing Receptive Fields of Convolutional Neural Networks"). Behind layers with several inputs
it is what any of them reads. Multiply-adds are those of convolutions and dense layers, as papers
count them; normalization is folded into them when a network is exported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from trainers.evaluation.timing import time_in_turn
from trainers.networks.backbone import Tensor
from trainers.networks.graph import get_output, list_sources

_WHOLE = (
    layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D, layers.GlobalAveragePooling3D,
    layers.Dense, layers.Flatten,
)  # fmt: skip
_POOLS = (
    layers.MaxPooling2D, layers.AveragePooling2D, layers.MaxPooling3D, layers.AveragePooling3D,
)  # fmt: skip
_CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv3D)


@dataclass(frozen=True, slots=True)
class Axis:
    """What units read along one axis: unit ``n`` the input from ``n * step + low`` to ``+ high``.

    Attributes:
        step: Pixels of the input between two units.
        low: First pixel that unit 0 reads, negative where there is padding.
        high: Last one.
    """

    step: float = 1
    low: float = 0
    high: float = 0

    @property
    def size(self) -> float:
        """Pixels that a unit reads."""
        return self.high - self.low + 1

    def slide(self, kernel: int, stride: int, dilation: int, pad: int) -> Axis:
        """Behind a window of ``kernel`` units, the first of which begins ``pad`` units before."""
        last = (kernel - 1) * dilation - pad
        return Axis(
            self.step * stride, self.low - pad * self.step, self.high + last * self.step
        )  # fmt: skip

    def repeat(self, times: int) -> Axis:
        """Behind an enlargement, where the unit before is up to ``times - 1`` new ones away."""
        step = self.step / times
        return Axis(step, self.low - (times - 1) * step, self.high)


Field = tuple[Axis, ...]  # of each axis; empty: all of the input, or more than one part of it


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer.

    Attributes:
        name: With the name of its part before it, where the network has parts.
        kind: Name of the class.
        shape: Of its output, without the batch.
        weights: Their number, all of them.
        macs: Multiply-adds for one image.
        field: Receptive field in pixels of the part's input.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    weights: int
    macs: int
    field: Field


def describe_layers(network: keras.Model, prefix: str = "") -> Iterator[LayerRow]:
    """The layers in the order in which they run; parts that are networks are entered."""
    fields: dict[str, Field] = {}
    for operation in network.operations:
        sources = list_sources(operation)
        field = _find_field(operation, [fields.get(source.name, ()) for source in sources])
        fields[operation.name] = field
        shape = _get_shape(operation)
        if isinstance(operation, keras.Model):
            yield from describe_layers(operation, f"{prefix}{operation.name}/")
        elif isinstance(operation, layers.Layer):
            weights = sum(math.prod(weight.shape) for weight in operation.weights)
            yield LayerRow(
                prefix + operation.name, type(operation).__name__, shape, weights,
                count_macs(operation), field,
            )  # fmt: skip


def count_macs(layer: Any) -> int:  # noqa: ANN401 - Keras has no types
    """Multiply-adds of a layer for one image; 0 of what is no convolution or dense layer."""
    if not isinstance(layer, (*_CONVOLUTIONS, layers.Dense)):
        return 0
    return int(math.prod(layer.kernel.shape) * math.prod(_get_shape(layer)[:-1]))


def _get_shape(operation: Any) -> tuple[int, ...]:  # noqa: ANN401
    return tuple(int(side) for side in get_output(operation).shape[1:] if side is not None)


def _find_field(operation: Any, sources: Sequence[Field]) -> Field:  # noqa: ANN401
    if isinstance(operation, layers.InputLayer):
        return (Axis(),) * (len(operation.output.shape) - 2)
    axes = len(_get_shape(operation)) - 1
    if isinstance(operation, (*_WHOLE, keras.Model)) or not all(
        len(f) == axes > 0 for f in sources
    ):
        return ()
    field = tuple(_unite(parts) for parts in zip(*sources, strict=True))
    if isinstance(operation, _CONVOLUTIONS):
        return _slide(field, operation, operation.kernel_size, operation.dilation_rate)
    if isinstance(operation, _POOLS):
        return _slide(field, operation, operation.pool_size, (1,) * axes)
    if isinstance(operation, layers.ZeroPadding2D):
        near = [pads[0] for pads in operation.padding]
        return tuple(a.slide(1, 1, 1, pad) for a, pad in zip(field, near, strict=True))
    if isinstance(operation, layers.UpSampling2D):
        return tuple(a.repeat(n) for a, n in zip(field, operation.size, strict=True))
    return field if isinstance(operation, layers.Layer) and _keeps_place(operation) else ()


def _keeps_place(layer: Any) -> bool:  # noqa: ANN401
    """Whether a unit of the output reads the units at the same place alone."""
    return not isinstance(layer, layers.Reshape | layers.Permute)


def _unite(parts: Sequence[Axis]) -> Axis:
    """What any of several maps of the same size reads."""
    return Axis(parts[0].step, min(p.low for p in parts), max(p.high for p in parts))


def _slide(
    field: Field, layer: Any, kernel: Sequence[int], dilation: Sequence[int]  # noqa: ANN401
) -> Field:  # fmt: skip
    source = layer.input.shape[1:-1]
    found = []
    for axis, size, k, s, d in zip(field, source, kernel, layer.strides, dilation, strict=True):
        reach = (k - 1) * d + 1
        padding = max((math.ceil(size / s) - 1) * s + reach - size, 0)  # as TensorFlow pads
        pad = padding // 2 if layer.padding == "same" else 0
        found.append(axis.slide(k, s, d, pad))
    return tuple(found)


# --- time -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Group:
    """Neighboring layers whose names begin alike, as a network of their own.

    Attributes:
        entries: Tensors of the whole network that it reads.
        exits: Those that it gives.
        macs: Multiply-adds for one image.
    """

    name: str
    network: keras.Model
    entries: list[Tensor]
    exits: list[Tensor]
    macs: int


def name_group(name: str) -> str:
    """The group of a layer: ``backbone_dark2_csp_conv1`` -> ``backbone_dark2``."""
    first, second = (*name.split("_"), "")[:2]
    apart = first == "backbone" or (first == "head" and second.isdecimal())
    return f"{first}_{second}" if apart else first


def list_groups(network: keras.Model) -> list[Group]:
    """The groups of a network's layers, in the order in which they begin."""
    groups: dict[str, list[Any]] = {}
    every = [o for o in network.operations if not isinstance(o, layers.InputLayer)]
    known = dict.fromkeys(name_group(o.name) for o in every if getattr(o, "weights", ()))
    begun = next(iter(known), "layers")
    for operation in every:
        name = name_group(operation.name)
        begun = name if name in known else begun  # others belong to what stands before them
        groups.setdefault(begun, []).append(operation)
    found = []
    for name, members in groups.items():
        names = {operation.name for operation in members}
        entries = {
            source.name: get_output(source)
            for operation in members
            for source in list_sources(operation)
            if source.name not in names
        }
        leaving = {
            source.name: get_output(source)
            for operation in network.operations
            for source in list_sources(operation)
            if source.name in names and operation.name not in names
        }
        outputs = [get_output(operation) for operation in members]
        ends = [o for o in outputs if any(o is out for out in network.outputs)]
        given, exits = list(entries.values()), [*leaving.values(), *ends]
        macs = sum(_count_all(operation) for operation in members)
        found.append(Group(name, keras.Model(given, exits), given, exits, macs))
    return found


def _count_all(operation: Any) -> int:  # noqa: ANN401
    if isinstance(operation, keras.Model):
        return sum(row.macs for row in describe_layers(operation))
    return count_macs(operation)


def compile_call(network: keras.Model) -> Callable[[], object]:
    """A call of a network with noise that returns when it is done."""
    rng = np.random.default_rng(0)
    given: list[Tensor] = [
        keras.ops.convert_to_tensor(
            rng.uniform(0, 1, [1, *tensor.shape[1:]]).astype(np.float32)
        )
        for tensor in network.inputs
    ]  # fmt: skip

    def infer(x: Any) -> Any:  # noqa: ANN401 - one tensor or several
        return network(x, training=False)

    run = infer
    if (backend := keras.backend.backend()) == "tensorflow":
        import tensorflow as tf

        run = tf.function(infer)
    elif backend == "jax":
        import jax

        run = jax.jit(infer)

    def call() -> object:
        return [
            np.asarray(out)
            for out in keras.tree.flatten(
                run(given if isinstance(network.input, list) else given[0])
            )
        ]

    return call


def measure_groups(network: keras.Model, rounds: int) -> list[tuple[str, int, float]]:
    """Name, multiply-adds and median seconds of each group, and of the whole network at the end."""
    groups = list_groups(network)
    calls = [compile_call(group.network) for group in groups]
    times = time_in_turn([*calls, compile_call(network)], rounds)
    named = [*((g.name, g.macs) for g in groups), (network.name, sum(g.macs for g in groups))]
    return [(name, macs, times.median_s(n)) for n, (name, macs) in enumerate(named)]
