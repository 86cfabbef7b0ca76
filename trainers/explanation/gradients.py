"""Gradients of a network's output with respect to the map of one of its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np

from edge.errors import ConfigError
from edge.types import F32
from trainers.networks.backbone import Tensor
from trainers.networks.graph import get_output, list_sources

Score = Callable[[Tensor], Tensor]  # output of the network -> (B,), what is explained


def split_behind(network: keras.Model, name: str) -> tuple[keras.Model, keras.Model]:
    """Split into all that does not read a layer, and all that does; both share their layers.

    Returns:
        images -> the layer's map and the other tensors that are read behind it; a list of these
        -> output.

    Raises:
        ConfigError: No layer has that name, or the output does not depend on it.
    """
    every = network.operations  # in topological order
    layer = next((operation for operation in every if operation.name == name), None)
    behind: set[str] = set()
    for operation in every:
        if any(source is layer or source.name in behind for source in list_sources(operation)):
            behind.add(operation.name)
    if layer is None or not behind:
        raise ConfigError(f"no layer before the output is called {name!r}: see edge-train summary")
    edges = {name: get_output(layer)}
    for operation in every:
        for source in list_sources(operation) if operation.name in behind else ():
            if source.name not in behind:
                edges[source.name] = get_output(source)
    tensors = list(edges.values())
    return keras.Model(network.input, tensors), keras.Model(tensors, network.output)


def compute_gradient(network: keras.Model, name: str, images: F32, score: Score) -> tuple[F32, F32]:
    """The map of a layer and the gradient of a score with respect to it, both ``(B, h, w, C)``."""
    head, tail = split_behind(network, name)
    maps = keras.tree.flatten(head(keras.ops.convert_to_tensor(images), training=False))
    gradient = _differentiate(lambda first: score(tail([first, *maps[1:]], training=False)), maps)
    return np.asarray(maps[0], np.float32), np.asarray(gradient, np.float32)


def _differentiate(function: Score, maps: Sequence[Tensor]) -> Tensor:
    """The gradient of a function's sum with respect to the first map, on the backend in use."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(maps[0])
            total = keras.ops.sum(function(maps[0]))
        return tape.gradient(total, maps[0])
    if backend == "jax":
        import jax

        return jax.grad(lambda first: keras.ops.sum(function(first)))(maps[0])
    raise ConfigError(
        f"gradients need the backend tensorflow or jax, not {backend}: set KERAS_BACKEND"
    )
