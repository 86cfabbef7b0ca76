"""Manifests: written for a new model, read from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from edge.errors import ModelError
from edge.manifest import Manifest
from edge.onnxfile import metadata_of


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


def build_manifest(provenance: Provenance, **promised: Any) -> Manifest:  # noqa: ANN401
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


def read_manifest(model: bytes, name: str) -> Manifest:
    """What a model of any task promises.

    Raises:
        ModelError: no ONNX file, or no model of the contract.
    """
    try:
        metadata = metadata_of(model)
    except ValueError as error:
        raise ModelError(f"{name} is no ONNX file: export it again") from error
    return Manifest.from_metadata(metadata, name)
