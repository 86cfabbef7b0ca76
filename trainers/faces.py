"""Training a face finder: the same network with five points a face, and a teacher beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from edge.types import Faces, RgbPicture
from edge.vision import boxes
from trainers import detector
from trainers.augment.augment import Augment, Sometimes
from trainers.augment.colour import CheapCamera, ColourShift, Night, PcaColour
from trainers.augment.face_mosaic import FaceCanvas
from trainers.data.dataset import Dataset, Example
from trainers.data.read import read_negatives
from trainers.metrics import detection as metrics
from trainers.networks.config import NetworkConfig
from trainers.networks.predict import Finder, pictures_of
from trainers.pseudo_labels import Ask
from trainers.run.folder import RunFolder

FIGURE = "f1"
SCORE = 0.5  # at which recall and precision are told
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


@dataclass(frozen=True, slots=True)
class FacesJob:
    """A detector's job, and what faces need besides.

    Attributes:
        job: as for a detector; its data hold faces with points.
        negatives: folders of pictures without a face, or data sets that label people, of which
            the pictures without one are taken; half of them is held back.
        negative_share: of the training canvases.
        ask: a face finder that labels the faces nobody labelled; None for none.
        sure: the teacher's score that makes a whole label.
        perhaps: from here to ``sure`` it makes half a label.
    """

    job: detector.Job
    negatives: tuple[Path, ...] = ()
    negative_share: float = 0.25
    ask: Ask | None = None
    sure: float = 0.65
    perhaps: float = 0.45


def taught(dataset: Dataset, faces: FacesJob) -> Dataset:
    """Labels and teacher together: a face both know is their mean, others are added."""
    if faces.ask is None:
        return dataset
    return replace(dataset, examples=tuple(_blend(e, faces) for e in dataset.examples))


def _blend(example: Example, faces: FacesJob) -> Example:
    found = faces.ask(RgbPicture(example.load().image))  # type: ignore[misc]
    if not isinstance(found, Faces) or not len(found):
        return example
    found = found[found.score >= faces.perhaps]
    overlap = boxes.iou(example.xyxy, found.xyxy)  # (N, M)
    xyxy, landmarks = example.xyxy.copy(), example.landmarks.copy()
    for row in range(len(example)):
        met = int(overlap[row].argmax()) if len(found) else -1
        if met >= 0 and overlap[row, met] > 0.4:
            xyxy[row] = (xyxy[row] + found.xyxy[met]) / 2
            both = np.stack([landmarks[row], found.landmarks[met]])
            landmarks[row] = np.nanmean(both, 0)
    new = found[overlap.max(0, initial=0) <= 0.4]
    weight = np.where(new.score >= faces.sure, 1.0, 0.5).astype(np.float32)
    return replace(
        example,
        xyxy=np.concatenate([xyxy, new.xyxy]),
        class_id=np.zeros(len(xyxy) + len(new), np.int32),
        landmarks=np.concatenate([landmarks, new.landmarks]),
        weight=np.concatenate([example.weight, weight]),
    )


def read_parts(faces: FacesJob) -> tuple[Dataset, Dataset]:
    """Training part (taught, with negatives as often as asked) and held-back part (as labelled).

    Raises:
        ConfigError: empty or unreadable data.
    """
    rest, held = detector.read_parts(faces.job)
    rest = taught(rest, faces)
    negatives = read_negatives(faces.negatives)
    if not len(negatives):
        return rest, held
    mine, theirs = negatives.split(0.5, faces.job.split_seed)
    share = faces.negative_share
    times = max(1, round(len(rest) * share / (1 - share) / len(mine)))
    return (
        replace(rest, examples=rest.examples + mine.examples * times),
        replace(held, examples=held.examples + theirs.examples),
    )


def canvas_augments(size_px: int, strength: float = 1.0) -> list[Augment]:
    """Canvases, then the colours of cheap cameras."""
    return [
        FaceCanvas(size_px),
        Sometimes(0.7, ColourShift()),
        Sometimes(0.3, PcaColour()),
        Sometimes(0.1 * strength, Night()),
        Sometimes(0.4 * strength, CheapCamera()),
    ]


def figures(network: keras.Model, config: NetworkConfig, held: Dataset) -> dict[str, float]:
    """Recall, precision, points and false faces on the held-back part at ``SCORE``."""
    finder = Finder(network, config, score=0.05, iou=0.45)
    found = [f for pictures in pictures_of(held.examples) for f in finder.faces(pictures)]
    return measure(held, found)


def measure(held: Dataset, found: Sequence[Faces], score: float = SCORE) -> dict[str, float]:
    """Figures of a face finder.

    Args:
        held: labelled pictures, and pictures without a face.
        found: what was found in each.
        score: at which it counts.
    """
    shown = [(e, f[f.score >= score]) for e, f in zip(held.examples, found, strict=True)]
    true, objects, errors, false, empty = 0, 0, [], [], []
    for example, faces in shown:
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


def train_faces(faces: FacesJob, *, resume: bool = False, verbose: int = 0) -> RunFolder:
    """Train a face finder; the best network by F1 on unseen people is kept.

    Raises:
        EdgeError: bad settings or data, a loss that is no number, a full disk.
    """
    RunFolder.require_ready(faces.job.out, resume=resume)
    augment = canvas_augments(faces.job.network.input_wh[0], faces.job.settings.strength)
    return detector.fit(
        faces.job, "faces", read_parts(faces), augment, figures, FIGURE,
        resume=resume, verbose=verbose,
    )  # fmt: skip
