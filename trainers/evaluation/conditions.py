"""Evaluation under night and weather: one figure by condition and strength, beside the clean one.

The same pictures are judged under each condition, so the change is more certain than either figure:
its interval draws pictures once for both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.models.classifier import ContractClassifier
from edge.types import I64
from trainers.augment.conditions import Change, Condition
from trainers.data.dataset import Dataset, Example
from trainers.evaluation.classifier import ClassifierResult, evaluate_classifier
from trainers.evaluation.detector import DetectorResult, detect_all, evaluate_faces
from trainers.evaluation.figures import draw_sample, letterbox_sample, save_image, tile
from trainers.metrics import detection as metrics
from trainers.metrics.box_fusion import Detect
from trainers.metrics.interval import Interval
from trainers.pseudo_labels import Predict

_SHOWN_WH = (320, 320)
_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Measure:
    """The figure of a model that is followed from condition to condition.

    Attributes:
        name: Of the figure.
        clean: On the pictures as they are.
        judge: The figure on changed pictures, and that less ``clean``; NaN bounds where no
            interval of the difference is known.
    """

    name: str
    clean: Interval
    judge: Callable[[Change], tuple[Interval, Interval]]


@dataclass(frozen=True, slots=True)
class ConditionRow:
    """A condition, the figure under it, and that less the clean one."""

    condition: Condition
    figure: Interval
    change: Interval


def measure_detector(dataset: Dataset, detect: Detect, clean: DetectorResult) -> Measure:
    """AP50 of a detector, the mean over the classes."""
    before = metrics.evaluate(dataset.examples, clean.detections, dataset.classes)

    def judge(change: Change) -> tuple[Interval, Interval]:
        found = detect_all(dataset, detect, change)
        after = metrics.evaluate(dataset.examples, found, dataset.classes)

        def subtract(draws: I64) -> float:
            return after.ap(iou=_IOU, draws=draws) - before.ap(iou=_IOU, draws=draws)

        figure = after.interval(lambda draws: after.ap(iou=_IOU, draws=draws))
        return figure, after.interval(subtract)

    return Measure("AP50", clean.figures["AP50"], judge)


def measure_faces(dataset: Dataset, ask: Predict, clean: DetectorResult, score: float) -> Measure:
    """Recall of a face detector, whose pictures must show one."""
    dataset.require_examples()
    before = clean.figures["recall"]

    def judge(change: Change) -> tuple[Interval, Interval]:
        after = evaluate_faces(dataset, ask, score, change).figures["recall"]
        return after, _subtract(after, before)

    return Measure("recall", before, judge)


def measure_classifier(
    dataset: Dataset, model: ContractClassifier, clean: ClassifierResult
) -> Measure:
    """Balanced accuracy of a classifier, of one view per sample."""
    name = "balanced accuracy"
    before = clean.figures[name]

    def judge(change: Change) -> tuple[Interval, Interval]:
        after = evaluate_classifier(dataset, model, change=change).figures[name]
        return after, _subtract(after, before)

    return Measure(name, before, judge)


def _subtract(after: Interval, before: Interval) -> Interval:
    return Interval(after.value - before.value, math.nan, math.nan, after.n)


def evaluate_under(
    measure: Measure,
    conditions: Sequence[Condition],
    progress: Callable[[], object] = lambda: None,
) -> list[ConditionRow]:
    """Judge a model under each condition; ``progress`` is called after each of them."""
    rows = []
    for condition in conditions:
        rows.append(ConditionRow(condition, *measure.judge(condition)))
        progress()
    return rows


def draw_conditions(dataset: Dataset, conditions: Sequence[Condition], path: Path) -> None:
    """Draw what the conditions make of the picture with the largest object, as PNG.

    Raises:
        ConfigError: The data set is empty, the picture is broken, or the PNG cannot be written.
    """
    shown = max(dataset.require_examples().examples, key=_measure_largest).load()
    titles = [f"{c.name} {c.strength:g}" for c in conditions]
    images = [
        draw_sample(letterbox_sample(condition(shown), _SHOWN_WH), dataset.classes)
        for condition in conditions
    ]
    save_image(path, tile(images, len({c.strength for c in conditions}), titles))


def _measure_largest(example: Example) -> float:
    """The area of the largest box over that of the picture."""
    areas = (example.xyxy[:, 2:] - example.xyxy[:, :2]).prod(1)
    return float(areas.max(initial=0) / np.prod(example.size_wh))
