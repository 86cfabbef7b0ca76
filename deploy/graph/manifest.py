"""Manifests: written for a new model, read from a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from edge.errors import ModelError
from edge.manifest import Manifest, describe_invalid
from edge.onnxfile import metadata_of


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a model comes from, for its manifest.

    Attributes:
        name: Name of the model.
        license: SPDX identifier of the weights.
        trained_on: The training data, in words.
        metrics: Measured quality, by name.
    """

    name: str
    license: str = "unknown"
    trained_on: str = "unknown"
    metrics: Mapping[str, float] = field(default_factory=dict)


def build_manifest(provenance: Provenance, **promised: Any) -> Manifest:  # noqa: ANN401
    """The manifest of a new model.

    Raises:
        ModelError: The name, a class name or another value is not allowed.
    """
    try:
        return Manifest(
            name=provenance.name, license=provenance.license, trained_on=provenance.trained_on,
            metrics={name: x for name, x in provenance.metrics.items() if math.isfinite(x)},
            **promised,
        )  # fmt: skip
    except ValidationError as error:
        wrong = describe_invalid(error)
        if wrong.startswith("name:"):
            raise ModelError(
                f"a model cannot be named {provenance.name!r}: use 1 to 64 letters, digits, dots, "
                "_ or - (--name)"
            ) from error
        raise ModelError(f"the model cannot be described ({wrong}): correct it") from error


def read_manifest(model: bytes, name: str) -> Manifest:
    """Read the manifest of a contract model of any task.

    Raises:
        ModelError: The bytes are not an ONNX file, or not a contract model.
    """
    try:
        metadata = metadata_of(model)
    except ValueError as error:
        raise ModelError("this is not an ONNX file: export it again", file=name) from error
    return Manifest.from_metadata(metadata, name)
