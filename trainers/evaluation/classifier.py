"""Evaluation of classifiers on labeled samples: metrics, views averaged, and PNGs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from edge.errors import ModelError
from edge.models.classifier import ContractClassifier
from edge.types import F32, U8, RgbPicture
from edge.vision.resize import resize
from trainers.augment.conditions import Change, unchanged
from trainers.data.class_data import encode, list_crops, take_classes
from trainers.data.dataset import Dataset
from trainers.evaluation.figures import confusion_png, save_figure, save_image, tile
from trainers.metrics.classes import ClassMetrics, compute_calibration_curve, compute_metrics
from trainers.metrics.interval import Interval

_SHIFT = 1 / 14  # of a side: 224 pixels in each corner of 256, beside 224 in the middle
_TOWARDS = np.array([[0, 0], [-1, -1], [1, -1], [-1, 1], [1, 1]], np.float32)
_WORST, _SHOWN_WH = 24, (160, 160)
_NAN = float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class ClassifierResult:
    """Result of an evaluation.

    Attributes:
        figures: Metrics by name, with the interval of balanced accuracy by drawing groups.
        metrics: The same of one view per sample.
        probabilities: ``(N, K)``, of one view per sample.
        labels: ``(N, K)``, 0 or 1.
        seconds: Time per sample.
        passes: Inferences per sample.
    """

    figures: dict[str, Interval]
    metrics: ClassMetrics
    probabilities: F32
    labels: F32
    seconds: float
    passes: int


def evaluate_classifier(
    dataset: Dataset, model: ContractClassifier, *, ten_crop: bool = False,
    change: Change = unchanged,
) -> ClassifierResult:  # fmt: skip
    """Balanced accuracy, accuracy, calibration error and AUROC of the classes.

    With ``ten_crop`` the mean of five views, and of these and their mirror images, is judged too:
    the box, and the box moved by a fourteenth of its sides towards each corner, which is what
    Krizhevsky et al. (2012) cut out of pictures of 256 pixels. What is judged is what ``change``
    makes of the pictures.

    Raises:
        ConfigError: The data and the model have no class in common, or a picture is broken.
        ModelError: The model gives what cannot be true.
    """
    independent = model.independent
    judged = take_classes(dataset, model.classes, independent=independent)
    crops = list_crops(judged)
    groups = [judged.examples[crop.example].group for crop in crops]
    labels = encode(crops, len(model.classes))
    started_s = time.perf_counter()
    views = _classify(judged, model, change, ten_crop=ten_crop)  # (V, N, K)
    seconds = (time.perf_counter() - started_s) / len(crops)

    def judge(probabilities: F32) -> ClassMetrics:
        return compute_metrics(
            probabilities, labels, model.classes, groups, independent=independent
        )

    metrics = judge(views[0])
    figures = _list_figures(metrics, len(crops), len(set(groups)))
    if ten_crop:
        for name, count in (("five crops", 5), ("ten crops", 10)):
            mean = judge(views[:count].mean(0))
            several = _list_figures(mean, len(crops), len(set(groups)))
            figures |= {f"{figure}, {name}": value for figure, value in several.items()}
    return ClassifierResult(figures, metrics, views[0], labels, seconds, len(views))


def _classify(
    dataset: Dataset, model: ContractClassifier, change: Change, *, ten_crop: bool
) -> F32:
    """``(V, N, K)`` probabilities of each view of each sample."""
    found = []
    for index, crops in groupby(list_crops(dataset), key=lambda crop: crop.example):
        picture = RgbPicture(change(dataset.examples[index].load()).image)
        seen = [
            _cut_views(model, picture, crop.xyxy) if ten_crop
            else model.cut(picture, crop.xyxy)[None]
            for crop in crops
        ]  # fmt: skip
        stacked = np.stack(seen)  # (n, V, h, w, 3)
        rows = model.classify(stacked.reshape(-1, *stacked.shape[2:]))
        found.append(rows.reshape(*stacked.shape[:2], -1))
    every = np.concatenate(found).swapaxes(0, 1)
    if not np.isfinite(every).all():
        raise ModelError(f"{model.name} gives what are no probabilities: export it again.")
    return every


def _cut_views(model: ContractClassifier, picture: RgbPicture, xyxy: F32) -> U8:
    """``(10, h, w, 3)``: the box first, moved towards each corner, then all of them mirrored."""
    moved = np.tile(_TOWARDS * _SHIFT * (xyxy[2:] - xyxy[:2]), 2) + xyxy  # (5, 4)
    mirrored = RgbPicture(np.ascontiguousarray(picture.rgb[:, ::-1]))
    across = moved.copy()
    across[:, [0, 2]] = picture.size_wh[0] - moved[:, [2, 0]]
    five = [model.cut(picture, box) for box in moved]
    return np.stack([*five, *(model.cut(mirrored, box) for box in across)])


def _list_figures(metrics: ClassMetrics, samples: int, groups: int) -> dict[str, Interval]:
    figures = {
        "balanced accuracy": Interval(metrics.balanced_accuracy, *metrics.interval, groups),
        "accuracy": Interval(metrics.accuracy, _NAN, _NAN, samples),
        "calibration error": Interval(metrics.calibration_error, _NAN, _NAN, samples),
    }
    for name, value in metrics.auroc.items():
        figures[f"AUROC {name}"] = Interval(value, _NAN, _NAN, samples)
    return figures


def draw(
    dataset: Dataset, model: ContractClassifier, result: ClassifierResult, folder: Path
) -> list[Path]:
    """Draw the calibration curve, the worst samples and, of exclusive classes, the confusion table.

    Raises:
        ConfigError: The folder cannot be written.
    """
    calibration, worst, confusion = (
        folder / f"{name}.png" for name in ("calibration", "worst", "confusion")
    )
    _calibration_png(result, calibration, independent=model.independent)
    _worst_png(dataset, model, result, worst)
    if model.independent:
        return [calibration, worst]
    confusion_png(result.metrics.confusion, model.classes, confusion)
    return [calibration, worst, confusion]


def _calibration_png(result: ClassifierResult, path: Path, *, independent: bool) -> None:
    confidence, share, _ = compute_calibration_curve(
        result.probabilities, result.labels, independent=independent
    )
    figure = Figure(figsize=(5, 5), dpi=110)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="gray", linewidth=1)
    axes.plot(confidence, share, marker="o", linewidth=1.5)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="share that is right")
    axes.set_title(f"calibration error {result.metrics.calibration_error:.3f}")
    axes.grid(alpha=0.3)
    save_figure(path, figure)


def _worst_png(
    dataset: Dataset, model: ContractClassifier, result: ClassifierResult, path: Path
) -> None:
    """The samples whose labels were thought least likely, with what was said instead."""
    judged = take_classes(dataset, model.classes, independent=model.independent)
    crops = list_crops(judged)
    truth = np.where(result.labels > 0, result.probabilities, 1)
    likely = np.minimum(truth, np.where(result.labels > 0, 1, 1 - result.probabilities)).min(1)
    images, titles = [], []
    for row in np.argsort(likely, kind="stable")[:_WORST].tolist():
        example = judged.examples[crops[row].example]
        picture = RgbPicture(example.load().image)
        images.append(resize(model.cut(picture, crops[row].xyxy), _SHOWN_WH))
        said = result.probabilities[row]
        named = "+".join(model.classes[n] for n in np.flatnonzero(result.labels[row])) or "none"
        titles.append(f"{named}: {model.classes[said.argmax()]} {said.max():.2f}")
    save_image(path, tile(images, 6, titles))
