"""Training a face detector: the detector's network with five landmarks, and a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras
import numpy as np

from edge.types import Faces, RgbPicture
from edge.vision import boxes
from trainers import detector
from trainers.augment.presets import face_augments
from trainers.data.dataset import Dataset, Example
from trainers.data.parts import Parts
from trainers.data.read import read_negatives
from trainers.detector import DetectorJob
from trainers.metrics import detection as metrics
from trainers.networks.config import NetworkConfig
from trainers.networks.predict import Predictor, load_pictures
from trainers.pseudo_labels import Predict
from trainers.run.folder import RunFolder
from trainers.run.tell import tell_notes

METRIC = "f1"
SCORE = 0.5  # threshold of recall and precision
NETWORKS = {
    "yunet": NetworkConfig(
        ("face",), (256, 256), "yunet", activation="relu", norm="none", landmarks=True,
        points_in="strides",
    ),
    "slim": NetworkConfig(
        ("face",), (256, 256), "slim", 0.25, activation="relu", neck_channels=(64, 64, 64),
        head_channels=64, head_depth=1, shared_head=True, landmarks=True,
    ),
}  # fmt: skip
_SAME_FACE_IOU = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceJob(DetectorJob):
    """One training of a face detector; its data holds faces with landmarks.

    Attributes:
        negatives: Folders of images without faces, or data sets that label people, of which the
            images without people are taken; half of them is held out.
        negative_fraction: Fraction of the training images without a face.
        predict: A face detector that completes the labels, or None.
        full_score: Score from which its faces count as full labels.
        half_score: Score from which they count as half labels.
    """

    network: NetworkConfig = field(default_factory=lambda: NETWORKS["yunet"])
    negatives: tuple[Path, ...] = ()
    negative_fraction: float = 0.25
    predict: Predict | None = None
    full_score: float = 0.65
    half_score: float = 0.45


def blend_teacher_labels(dataset: Dataset, job: FaceJob) -> Dataset:
    """Labels and teacher together: a face of both becomes their mean, others are added."""
    if job.predict is None:
        return dataset
    blended = (_blend(example, job.predict, job) for example in dataset.examples)
    return replace(dataset, examples=tuple(blended))


def _blend(example: Example, predict: Predict, job: FaceJob) -> Example:
    faces = predict(RgbPicture(example.load().image))
    if not isinstance(faces, Faces) or not len(faces):
        return example
    faces = faces[faces.score >= job.half_score]
    overlap = boxes.iou(example.xyxy, faces.xyxy)  # (N, M)
    xyxy, landmarks = example.xyxy.copy(), example.landmarks.copy()
    for row in range(len(example) if len(faces) else 0):
        best = int(overlap[row].argmax())
        if overlap[row, best] > _SAME_FACE_IOU:
            xyxy[row] = (xyxy[row] + faces.xyxy[best]) / 2
            landmarks[row] = np.nanmean(np.stack([landmarks[row], faces.landmarks[best]]), 0)
    new = faces[overlap.max(0, initial=0) <= _SAME_FACE_IOU]
    weight = np.where(new.score >= job.full_score, 1.0, 0.5).astype(np.float32)
    return replace(
        example,
        xyxy=np.concatenate([xyxy, new.xyxy]),
        class_id=np.zeros(len(xyxy) + len(new), np.int32),
        landmarks=np.concatenate([landmarks, new.landmarks]),
        weight=np.concatenate([example.weight, weight]),
    )


def read_parts(job: FaceJob, verbose: int = 0) -> Parts:
    """Read training data (with teacher labels and negatives) and the others (as labeled).

    Raises:
        ConfigError: The data is empty or unreadable.
    """
    training, validation, test = detector.read_parts(job, verbose)
    training = blend_teacher_labels(training, job)
    negatives = read_negatives(job.negatives)
    tell_notes(negatives.notes, verbose)
    if not len(negatives):
        return Parts(training, validation, test)
    shown, held_out = negatives.split(0.5, job.split_seed)
    fraction = job.negative_fraction
    times = max(1, round(len(training) * fraction / (1 - fraction) / len(shown)))
    return Parts(
        replace(training, examples=training.examples + shown.examples * times),
        replace(validation, examples=validation.examples + held_out.examples),
        test,
    )


def compute_metrics(
    network: keras.Model, config: NetworkConfig, validation: Dataset
) -> dict[str, float]:
    """Recall, precision, landmark error and false faces on the validation data at ``SCORE``."""
    predictor = Predictor(network, config, score=0.05, iou=0.45)
    faces = [f for images in load_pictures(validation.examples) for f in predictor.faces(images)]
    return score_faces(validation, faces)


def score_faces(
    validation: Dataset, detected: Sequence[Faces], score: float = SCORE
) -> dict[str, float]:
    """Metrics of the faces that were detected in each image; some images may have no face."""
    true, objects, errors, false, empty = 0, 0, [], [], []
    for example, every in zip(validation.examples, detected, strict=True):
        faces = every[every.score >= score]
        if not len(example):
            empty.append(len(faces))
            continue
        overlap = boxes.iou(example.xyxy, faces.xyxy)
        hit = overlap.max(1, initial=0) >= 0.5
        true, objects = true + int(hit.sum()), objects + len(example)
        false.append(len(faces) - int(hit.sum()))
        if hit.any():
            points = faces.landmarks[overlap[hit].argmax(1)]
            errors += list(metrics.landmark_errors(example.landmarks[hit], points))
    recall = true / max(objects, 1)
    precision = true / max(true + sum(false), 1)
    known = [e for e in errors if np.isfinite(e)]
    return {
        "recall": recall,
        "precision": precision,
        "f1": 2 * recall * precision / max(recall + precision, 1e-9),
        "points": float(np.mean(known)) if known else 1.0,
        "false_per_picture": float(np.mean(empty)) if empty else 0.0,
    }


def train_faces(job: FaceJob, *, resume: bool = False, verbose: int = 0) -> RunFolder:
    """Train a face detector; the network with the best F1 on the validation data is kept.

    Raises:
        EdgeError: Bad settings or data, a loss that is not finite, a full disk.
    """
    RunFolder.require_ready(job.out, resume=resume)
    settings = job.settings
    augment = face_augments(job.network.input_wh[0], settings.strength, settings.augment)
    return detector.fit(
        job, "faces", read_parts(job, verbose), augment, compute_metrics, METRIC,
        resume=resume, verbose=verbose,
    )  # fmt: skip
