"""Evaluation of detectors and face detectors on labeled pictures: metrics and PNGs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from edge.errors import ConfigError
from edge.types import F32, I64, Detections, Faces, RgbPicture
from edge.vision import boxes
from trainers.augment.augment import FILL
from trainers.augment.conditions import Change, unchanged
from trainers.augment.mixing import scaled
from trainers.data.dataset import Dataset, Sample
from trainers.evaluation import figures as report
from trainers.metrics import box_fusion as fusion
from trainers.metrics import detection as metrics
from trainers.metrics.interval import Interval
from trainers.pseudo_labels import Predict

SCORE = 0.5  # threshold of recall, precision and false positives


@dataclass(frozen=True, slots=True)
class DetectorResult:
    """Result of an evaluation.

    Attributes:
        figures: Metrics with bootstrap intervals, by name.
        detections: Detections in each picture, with the classes of the data set.
        seconds: Time per picture.
        passes: Inferences per picture.
    """

    figures: dict[str, Interval]
    detections: tuple[Detections, ...]
    seconds: float
    passes: int


def build_detect(detects: Sequence[fusion.Detect], *, flip: bool, crops: int) -> fusion.Detect:
    """Combine detectors, mirror images and crops into one detector."""
    looks = [fusion.MultiCrop(detect, crops) if crops > 1 else detect for detect in detects]
    looks = [fusion.Flip(look) if flip else look for look in looks]
    return looks[0] if len(looks) == 1 else fusion.Ensemble(tuple(looks))


def detect_all(
    dataset: Dataset, detect: fusion.Detect, change: Change = unchanged
) -> tuple[Detections, ...]:
    """Detections in what ``change`` makes of each picture."""
    return tuple(detect(RgbPicture(change(e.load()).image)) for e in dataset.examples)


def evaluate_detector(
    dataset: Dataset, detect: fusion.Detect, score: float = SCORE
) -> DetectorResult:
    """Average precision, and recall and precision at a score threshold."""
    started_s = time.perf_counter()
    detections = detect_all(dataset, detect)
    seconds = (time.perf_counter() - started_s) / max(len(detections), 1)
    result = metrics.evaluate(dataset.examples, detections, dataset.classes)
    figures = {
        "AP": result.interval(lambda draws: result.ap(draws=draws)),
        "AP50": result.interval(lambda draws: result.ap(iou=0.5, draws=draws)),
    }
    for class_id, name in enumerate(dataset.classes):
        figures[f"AP50 {name}"] = result.interval(partial(_ap50, result, class_id))
    point = metrics.evaluate_at(dataset.examples, detections, score)
    figures |= {f"recall@{score}": point.recall(), f"precision@{score}": point.precision()}
    return DetectorResult(figures, detections, seconds, fusion.passes(detect))


def _ap50(result: metrics.Evaluation, class_id: int, draws: I64) -> float:
    return result.ap(iou=0.5, class_id=class_id, draws=draws)


def evaluate_faces(
    dataset: Dataset, ask: Predict, score: float = SCORE, change: Change = unchanged
) -> DetectorResult:
    """Recall, precision, landmark error and false faces in what ``change`` makes of the pictures.

    Unlabeled pictures have no face.
    """
    started_s = time.perf_counter()
    faces: list[Faces] = []
    for example in dataset.examples:
        detections = ask(RgbPicture(change(example.load()).image))
        if not isinstance(detections, Faces):
            raise ConfigError("The model does not detect faces: evaluate it without --faces.")
        faces.append(detections[detections.score >= score])
    seconds = (time.perf_counter() - started_s) / max(len(faces), 1)
    plain = tuple(Detections(f.xyxy, f.score, np.zeros(len(f), np.int32)) for f in faces)
    shown = [(e, d) for e, d in zip(dataset.examples, plain, strict=True) if len(e)]
    empty = [(e, d) for e, d in zip(dataset.examples, plain, strict=True) if not len(e)]
    figures: dict[str, Interval] = {}
    if shown:
        point = metrics.evaluate_at([e for e, _ in shown], [d for _, d in shown], score)
        figures |= {"recall": point.recall(), "precision": point.precision()}
        figures["point error"] = metrics.mean_interval(*_point_errors(dataset, faces))
    if empty:
        point = metrics.evaluate_at([e for e, _ in empty], [d for _, d in empty], score)
        figures["false faces a picture"] = point.false_per_picture()
    return DetectorResult(figures, plain, seconds, 1)


def evaluate_small_faces(
    dataset: Dataset,
    ask: Predict,
    longest_px: float,
    input_wh: tuple[int, int],
    score: float = SCORE,
) -> DetectorResult:
    """Recall of labeled faces that are shrunk to ``longest_px`` in the input of the network.

    The picture is shrunk (never enlarged) and cropped around the face to the input size; beyond
    the picture it is padded with gray.
    """
    started_s = time.perf_counter()
    hits: list[float] = []
    groups: list[str] = []
    for example in dataset.examples:
        if not len(example):
            continue
        sample = example.load()
        for row in range(len(example)):
            picture, box = shrink_object(sample, row, longest_px, input_wh)
            detections = ask(picture)
            overlap = boxes.iou(box[None], detections.xyxy[detections.score >= score])
            hits.append(float(overlap.max(initial=0) >= 0.5))
            groups.append(example.group)
    seconds = (time.perf_counter() - started_s) / max(len(hits), 1)
    recall = metrics.mean_interval(hits, groups)
    return DetectorResult({f"recall of faces of {longest_px:g} px": recall}, (), seconds, 1)


def shrink_object(
    sample: Sample, row: int, longest_px: float, input_wh: tuple[int, int]
) -> tuple[RgbPicture, F32]:
    """A picture of ``input_wh`` in which one object is ``longest_px`` long, and its box (4,)."""
    box = sample.xyxy[row]
    scale = min(1.0, longest_px / float((box[2:] - box[:2]).max()))
    w, h = (max(1, round(side * scale)) for side in sample.size_wh)
    small = scaled(sample, (w, h))
    middle = (small.xyxy[row, :2] + small.xyxy[row, 2:]) / 2
    wide, high = input_wh
    x, y = (  # corner of the crop, inside the picture where that is large enough
        int(np.clip(round(float(m) - side / 2), min(0, full - side), max(0, full - side)))
        for m, side, full in zip(middle, input_wh, (w, h), strict=True)
    )
    canvas = np.full((high, wide, 3), FILL, np.uint8)
    part = small.image[max(y, 0) : y + high, max(x, 0) : x + wide]
    canvas[max(-y, 0) : max(-y, 0) + len(part), max(-x, 0) : max(-x, 0) + part.shape[1]] = part
    return RgbPicture(canvas), small.xyxy[row] - np.array([x, y, x, y], np.float32)


def _point_errors(dataset: Dataset, faces: Sequence[Faces]) -> tuple[list[float], list[str]]:
    """Landmark error of each detected face over the eye distance, and its group."""
    errors: list[float] = []
    groups: list[str] = []
    for example, detections in zip(dataset.examples, faces, strict=True):
        overlap = boxes.iou(example.xyxy, detections.xyxy)
        hit = overlap.max(axis=1, initial=0) >= 0.5
        if hit.any():
            points = detections.landmarks[overlap[hit].argmax(axis=1)]
            error = metrics.landmark_errors(example.landmarks[hit], points)
            errors += error.tolist()
            groups += [example.group] * len(error)
    return errors, groups


def draw(
    dataset: Dataset, examined: DetectorResult, folder: Path, score: float = SCORE
) -> list[Path]:
    """Draw precision-recall curves, confusion matrix and the worst pictures as PNG.

    Raises:
        ConfigError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png" for name in ("precision_recall", "confusion", "worst")]
    result = metrics.evaluate(dataset.examples, examined.detections, dataset.classes)
    report.precision_recall_png(result, paths[0])
    table = metrics.confusion(dataset.examples, examined.detections, len(dataset.classes), score)
    report.confusion_png(table, dataset.classes, paths[1])
    report.worst_pictures(dataset, examined.detections, paths[2], score)
    return paths
