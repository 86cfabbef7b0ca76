"""The accuracy check: how good a contract model of any task is on labeled pictures, in percent.

Objects and faces: average precision at IoU 0.5 and over 0.5 to 0.95. Where only one face per
picture is labeled, the others count as false positives before and after. Embedders, on pictures
of one face: the true accept rate (TAR) at a false accept rate (FAR) of 1e-3. Liveness, for which
there may be no labels: the share of decisions that stay the same. Classifiers: balanced accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deploy.graph.session import Infer, Outputs
from deploy.quantize.calibration_set import letterbox_example, prepare_inputs
from edge.errors import ConfigError
from edge.manifest import Manifest
from edge.models.detector import drop_unused_rows
from edge.types import F32, I32, U8, Detections, Letterbox
from trainers.data.class_data import encode, list_crops, take_classes
from trainers.data.dataset import Dataset
from trainers.metrics import detection as metrics
from trainers.metrics.classes import compute_balanced_accuracy
from trainers.metrics.verification import across_videos, tar_at

Figures = dict[str, float]  # name -> percent
AP_POINTS, TAR_POINTS, CLASS_POINTS = 1.0, 0.5, 1.0  # percentage points that may be lost
FALSE_ACCEPTS = 1e-3
BATCH = 4


@dataclass(frozen=True, slots=True)
class AccuracyCheck:
    """Contract inputs, and how the outputs for them are scored.

    Attributes:
        inputs: ``(P, ...)`` uint8, as the daemon makes them.
        score: Turns the outputs for all inputs into figures.
        max_loss: Percentage points that a figure may lose.
    """

    inputs: U8
    score: Callable[[Outputs], Figures]
    max_loss: float

    def run(self, infer: Infer) -> Outputs:
        """A model's outputs for all inputs."""
        parts: list[Outputs] = []
        for start in range(0, len(self.inputs), BATCH):
            parts.append(infer(self.inputs[start : start + BATCH]))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def build_accuracy_check(manifest: Manifest, dataset: Dataset, model: Infer) -> AccuracyCheck:
    """The accuracy check for a model's task on labeled pictures.

    For liveness, the decisions of the float ``model`` stand in for labels.

    Raises:
        ConfigError: The data share no class with the model, or lack the labels that are needed.
    """
    if manifest.task == "embed":
        return _check_embedder(manifest, dataset)
    if manifest.task == "liveness":
        inputs = prepare_inputs(manifest, dataset.examples)
        check = AccuracyCheck(inputs, lambda _: {}, AP_POINTS)
        before = check.run(model)["live"] >= 0.5
        return AccuracyCheck(inputs, lambda outputs: _agreement(before, outputs["live"]), AP_POINTS)
    if manifest.task == "classify":
        return _check_classifier(manifest, dataset)
    return _check_detector(manifest, dataset)


def _check_classifier(manifest: Manifest, dataset: Dataset) -> AccuracyCheck:
    independent = manifest.independent
    judged = take_classes(dataset, manifest.classes, independent=independent)
    labels = encode(list_crops(judged), len(manifest.classes))

    def score(outputs: Outputs) -> Figures:
        found = outputs["probabilities"]
        value = compute_balanced_accuracy(found, labels, independent=independent)
        return {"balanced accuracy": 100 * value}

    return AccuracyCheck(prepare_inputs(manifest, judged.examples), score, CLASS_POINTS)


def _agreement(before: np.ndarray, live: F32) -> Figures:
    return {"same decisions": 100 * float(np.mean(before == (live >= 0.5)))}


def _check_detector(manifest: Manifest, dataset: Dataset) -> AccuracyCheck:
    shared = [name for name in dataset.classes if name in manifest.classes]
    if manifest.task == "faces":
        shared = [name for name in dataset.classes if name == "face"]
    if not shared:
        raise ConfigError(
            f"the model and the data have no class in common: the model detects "
            f"{', '.join(manifest.classes)}, the data label {', '.join(dataset.classes)}; use "
            "other data"
        )
    dataset = dataset.select(shared)
    if not any(map(len, dataset.examples)):
        raise ConfigError(
            f"the pictures to check on show no {', '.join(shared)}: name others with --val-data"
        )
    width, height = manifest.input_wh
    images = np.empty((len(dataset.examples), height, width, 3), np.uint8)
    letterboxes = [
        letterbox_example(manifest, example, image)
        for example, image in zip(dataset.examples, images, strict=True)
    ]
    names = manifest.classes if manifest.task == "detect" else ("face",)
    ids = np.array([shared.index(name) if name in shared else -1 for name in names], np.int32)

    def score(outputs: Outputs) -> Figures:
        rows = zip(outputs["detections"], letterboxes, strict=True)
        detections = [_to_detections(drop_unused_rows(given), ids, box) for given, box in rows]
        result = metrics.evaluate(dataset.examples, detections, dataset.classes)
        return {"AP50": 100 * result.ap(iou=0.5), "AP": 100 * result.ap()}

    return AccuracyCheck(images, score, AP_POINTS)


def _to_detections(rows: F32, ids: I32, box: Letterbox) -> Detections:
    class_id = ids[rows[:, 5].astype(np.int32)] if len(rows) else np.zeros(0, np.int32)
    detections = Detections(box.to_source(rows[:, :4]), rows[:, 4].copy(), class_id)
    return detections[class_id >= 0]


def _check_embedder(manifest: Manifest, dataset: Dataset) -> AccuracyCheck:
    used = [e for e in dataset.examples if len(e) == 1 and np.isfinite(e.landmarks).all()]
    groups = [e.group for e in used]
    _, people, counts = np.unique(groups, return_inverse=True, return_counts=True)
    genuine, pairs = int(np.sum(counts * (counts - 1) // 2)), len(used) * (len(used) - 1) // 2
    if not genuine or pairs - genuine < 1 / FALSE_ACCEPTS:
        raise ConfigError(
            "an embedder is checked on many people with several pictures each, one face per "
            "picture and its five points: name such a labels.csv with --val-data, or raise "
            "--max-images"
        )

    def score(outputs: Outputs) -> Figures:
        videos = np.arange(len(people))  # unknown, so any two pictures are a pair
        scores = across_videos(outputs["embeddings"], people, videos)
        return {"TAR at FAR 1e-3": 100 * tar_at(scores.genuine, scores.impostor, FALSE_ACCEPTS)}

    return AccuracyCheck(prepare_inputs(manifest, used), score, TAR_POINTS)
