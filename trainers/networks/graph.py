"""The graph of a functional network: which operations feed which.

Our layers are each called once, so that an operation has one node.
"""

from __future__ import annotations

from typing import Any

from trainers.networks.backbone import Tensor


def list_sources(operation: Any) -> list[Any]:  # noqa: ANN401 - Keras has no types
    """The operations that feed an operation."""
    tensors = operation._inbound_nodes[0].input_tensors  # noqa: SLF001
    return [tensor._keras_history.operation for tensor in tensors]  # noqa: SLF001


def get_output(operation: Any) -> Tensor:  # noqa: ANN401
    """The tensor that an operation gives; a network within another has an output of its own."""
    return operation._inbound_nodes[0].output_tensors[0]  # noqa: SLF001
