"""The reference: the outputs of a run's Keras network, boxes after greedy NMS."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial

import keras
import numpy as np

from deploy.graph.session import Infer, Outputs
from edge.errors import ConfigError
from edge.manifest import Manifest
from edge.types import F32, U8
from edge.vision import boxes
from trainers.data.picture_folder import list_some
from trainers.metrics.classes import to_probabilities
from trainers.networks.backbone import Tensor
from trainers.networks.config import ClassifierConfig, NetworkConfig
from trainers.networks.windows import WindowClassifier, WindowConfig, list_objects
from trainers.networks.yolo import decode, resize_network
from trainers.run.folder import RunFolder

OUTPUTS = {  # of networks that have one
    "embed": "embeddings", "liveness": "live", "landmarks": "points",
    "classify": "probabilities",
}  # fmt: skip


def load_reference(run: RunFolder, manifest: Manifest, candidates: int, windows: str = "") -> Infer:
    """Load the network of a run as a function with the outputs of its exported model.

    ``windows`` is what a model that was exported from a classifier as a detector says of them.

    Raises:
        ConfigError: No epoch has finished, or the run is not that of the model.
    """
    if windows and run.kind == "classify":
        network, of_crops = run.load_with_config(ClassifierConfig)
        chosen = WindowConfig.from_json(json.loads(windows))
        if list_objects(of_crops, chosen) != manifest.classes:
            raise _another(run, _describe_classes(list_objects(of_crops, chosen), manifest))
        whole = WindowClassifier.of(network, of_crops, chosen)
        return Reference(partial(_read_windows, whole), manifest, candidates)
    if run.kind != manifest.task:
        raise _another(run, f"was trained for {run.kind}, the model is for {manifest.task}")
    if manifest.task not in OUTPUTS:
        network, config = run.load_with_config(NetworkConfig)
        if manifest.task == "detect" and config.classes != manifest.classes:
            raise _another(run, _describe_classes(config.classes, manifest))
        trained = resize_network(network, config, manifest.input_wh)
        return Reference(partial(_read_rows, *trained), manifest, candidates)
    if manifest.task == "classify":
        return _load_classifier(run, manifest)
    network, output = run.load(), OUTPUTS[manifest.task]
    shape = network.input.shape[1:]
    if shape != manifest.input_shape:
        raise _another(run, f"takes {shape}, the model {manifest.input_shape}")

    def infer(inputs: U8) -> Outputs:
        outputs = network(inputs.astype(np.float32), training=False)
        return {output: keras.ops.convert_to_numpy(outputs)}

    return infer


def _load_classifier(run: RunFolder, manifest: Manifest) -> Infer:
    """The network gives logits; its temperature is in the run's configuration."""
    network, config = run.load_with_config(ClassifierConfig)
    if config.classes != manifest.classes:
        raise _another(run, _describe_classes(config.classes, manifest))

    def infer(images: U8) -> Outputs:
        logits = keras.ops.convert_to_numpy(network(images.astype(np.float32), training=False))
        found = to_probabilities(logits, config.temperature, independent=config.independent)
        return {OUTPUTS["classify"]: found}

    return infer


def _describe_classes(classes: Sequence[str], manifest: Manifest) -> str:
    return f"knows {list_some(classes)}, the model {list_some(manifest.classes)}"


def _another(run: RunFolder, what: str) -> ConfigError:
    return ConfigError(f"--run {run.path}: {what}: name the run that it was exported from")


Read = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


def _read_rows(
    network: keras.Model, config: NetworkConfig, images: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    decoded = decode(network(images, training=False), config)
    return decoded.xyxy, decoded.score, decoded.points


def _read_windows(whole: WindowClassifier, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    score, xyxy = whole.scores(images), whole.boxes()
    count = (len(images), *xyxy.shape)
    return np.broadcast_to(xyxy, count), score, np.zeros((*count[:2], 5, 2), np.float32)


class Reference:
    """Runs a network as its exported model is meant to, with ``candidates`` boxes in NMS."""

    def __init__(self, read: Read, manifest: Manifest, candidates: int) -> None:
        """``read`` gives ``(B, A, 4)`` boxes, ``(B, A, C)`` scores, ``(B, A, 5, 2)`` points."""
        self._read, self._manifest, self._candidates = read, manifest, candidates

    def __call__(self, images: U8) -> Outputs:
        """``(B, h, w, 3)`` uint8 -> the contract's outputs."""
        columns = self._read(images.astype(np.float32))
        xyxy, score, points = map(keras.ops.convert_to_numpy, columns)
        rows = np.zeros((len(images), self._manifest.max_rows, 16), np.float32)
        for one, *picture in zip(rows, xyxy, score, points, strict=True):
            kept = self._rows(*picture)
            one[: len(kept)] = kept
        outputs = {"detections": rows[..., :6]}
        if self._manifest.task == "faces":
            outputs["landmarks"] = rows[..., 6:].reshape(*rows.shape[:2], 5, 2)
        return outputs

    def _rows(self, xyxy: F32, score: F32, points: F32) -> F32:
        """One picture: ``(A, 4)``, ``(A, C)``, ``(A, 5, 2)`` -> ``(R, 16)``."""
        kind, best = score.argmax(1).astype(np.int32), score.max(1)
        enough = np.flatnonzero(best >= self._manifest.score_threshold)
        enough = enough[np.argsort(-best[enough], kind="stable")][: self._candidates]
        kept = boxes.nms(xyxy[enough], best[enough], kind[enough], self._manifest.iou_threshold)
        chosen = enough[kept][: self._manifest.max_rows]
        flat = points[chosen].reshape(len(chosen), 10)
        columns = (xyxy[chosen], best[chosen, None], kind[chosen, None], flat)
        return np.concatenate(columns, axis=1)
