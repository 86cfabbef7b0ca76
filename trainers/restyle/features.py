"""Frozen features: the maps of a trained backbone at strides 1 to 8, from a run or a file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
from keras import layers

from edge.errors import ConfigError
from trainers.networks.backbone import LayerFactory, backbone, published
from trainers.networks.config import ClassifierConfig, NetworkConfig
from trainers.networks.graph import get_output
from trainers.run.folder import RunFolder
from trainers.weights.transfer import start_from

_KINDS = (layers.Activation, layers.Add, layers.Concatenate)
_DEEPEST = 8  # stride; beyond it a small picture has few places left


@dataclass(frozen=True, slots=True)
class Features:
    """A network whose weights stay: float ``(B, side, side, 3)`` RGB 0..255 -> maps.

    Attributes:
        names: Of the layers of its maps, by rising stride; the last one holds the content.
    """

    network: keras.Model
    names: tuple[str, ...]


def load_features(path: Path, name: str, side_px: int) -> Features:
    """The features of a run folder, or of a .onnx, .keras or .h5 file.

    Args:
        path: Published files are those that ``edge-train detector --start`` takes.
        name: Backbone of the file; a run knows its own.
        side_px: Of the pictures, a multiple of 32.

    Raises:
        ConfigError: The file or run is another than that, or lacks weights of the backbone.
    """
    config, file = _find_config(path, name)
    kit = LayerFactory(config.activation, "none", config.depthwise)
    images = keras.Input((side_px, side_px, 3), name="images")
    own = published(config.backbone) if config.convention == "published" else None
    whole = keras.Model(images, backbone(config.backbone)(images, kit, config.width or None, own))
    maps = _choose_maps(whole, side_px)
    network = keras.Model(images, list(maps.values()), name="features")
    report = start_from(network, config, file, partial=True)
    if report.left:
        layer, why = next(iter(report.left.items()))
        raise ConfigError(
            f"{len(report.left)} layers of the backbone {config.backbone} have no weights here "
            f"({layer}: {why}): name the backbone of the file with --backbone.",
            file=path,
        )
    network.trainable = False
    return Features(network, tuple(maps))


def _find_config(path: Path, name: str) -> tuple[NetworkConfig, Path]:
    """What the backbone is built like, and the file of its weights."""
    if not path.is_dir():
        convention: Any = "published" if published(name) else "plain"
        return NetworkConfig(("object",), backbone=name, convention=convention), path
    run = RunFolder.open(path)
    values = run.read("config.json")["network"]
    if run.kind == "classify":
        of = ClassifierConfig.from_json(values)
        config = NetworkConfig(
            ("object",), backbone=of.backbone, width=of.width, activation=of.activation,
            convention=of.convention,
        )  # fmt: skip
    elif run.kind in ("detect", "faces"):
        config = NetworkConfig.from_json(values)
    else:
        raise ConfigError(
            f"A run of the task {run.kind or 'unknown'} has no backbone: name one of a detector, "
            "face detector or classifier.",
            file=path,
        )
    return replace(config, norm="none"), run.best


def _choose_maps(whole: keras.Model, side_px: int) -> dict[str, Any]:
    """The last map at each stride to 8, by the name of its layer."""
    found: dict[int, tuple[str, Any]] = {}
    for operation in whole.operations:
        if isinstance(operation, _KINDS):
            tensor = get_output(operation)
            found[side_px // tensor.shape[1]] = operation.name, tensor
    return dict(found[stride] for stride in sorted(found) if stride <= _DEEPEST)
