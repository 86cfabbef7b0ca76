"""Metrics of a classifier: balanced accuracy, confusion, AUROC, calibration.

Balanced accuracy is the mean recall of the classes, so that the rare ones count as much (Brodersen
et al. 2010). The expected calibration error compares confidence with accuracy in bins of equal
width (Guo et al. 2017, "On Calibration of Modern Neural Networks", as is the temperature).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from edge.types import F32

_BINS = 15
_DRAWS = 1000
_TEMPERATURES = np.exp(np.linspace(np.log(0.25), np.log(8), 141))


@dataclass(frozen=True, slots=True, eq=False)
class ClassMetrics:
    """How well probabilities agree with labels.

    Attributes:
        balanced_accuracy: 0..1; of independent labels the mean of both recalls of each, at 0.5.
        interval: Of 95 %, by drawing groups.
        accuracy: 0..1, of samples; of independent labels of all answers.
        calibration_error: 0..1, expected.
        auroc: By class, one against the others; NaN where all samples agree.
        confusion: ``(K, K)``, rows are the truth; of independent labels ``(K, 2, 2)``.
    """

    balanced_accuracy: float
    interval: tuple[float, float]
    accuracy: float
    calibration_error: float
    auroc: dict[str, float]
    confusion: np.ndarray

    def summary(self) -> dict[str, float]:
        """The figures by name."""
        low, high = self.interval
        return {
            "balanced_accuracy": self.balanced_accuracy,
            "balanced_accuracy low": low,
            "balanced_accuracy high": high,
            "accuracy": self.accuracy,
            "calibration_error": self.calibration_error,
            **{f"auroc/{name}": value for name, value in self.auroc.items()},
        }


def compute_metrics(
    probabilities: F32, labels: F32, classes: Sequence[str], groups: Sequence[str],
    *, independent: bool = False, seed: int = 0,
) -> ClassMetrics:  # fmt: skip
    """Compare probabilities ``(N, K)`` with labels ``(N, K)``; ``groups`` are never parted."""
    compute = partial(compute_balanced_accuracy, independent=independent)
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    rows_of = [np.flatnonzero(member == n) for n in range(len(names))]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(_DRAWS):
        rows = np.concatenate([rows_of[n] for n in rng.integers(len(names), size=len(names))])
        drawn.append(compute(probabilities[rows], labels[rows]))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    if independent:
        accuracy = float(((probabilities >= 0.5) == (labels > 0)).mean())
        confusion = np.stack([
            [[np.sum(~t & ~p), np.sum(~t & p)], [np.sum(t & ~p), np.sum(t & p)]]
            for t, p in zip((labels > 0).T, (probabilities >= 0.5).T, strict=True)
        ])  # fmt: skip
    else:
        truth, said = labels.argmax(1), probabilities.argmax(1)
        accuracy = float((truth == said).mean())
        confusion = np.zeros((len(classes), len(classes)), int)
        np.add.at(confusion, (truth, said), 1)
    return ClassMetrics(
        compute(probabilities, labels), (float(low), float(high)), accuracy,
        compute_calibration_error(probabilities, labels, independent=independent),
        {name: compute_auroc(probabilities[:, n], labels[:, n] > 0)
         for n, name in enumerate(classes)},
        confusion,
    )  # fmt: skip


def compute_balanced_accuracy(
    probabilities: F32, labels: F32, *, independent: bool = False
) -> float:
    """Mean recall of the classes; of independent labels the mean of both recalls of each."""
    if independent:
        said, truth = probabilities >= 0.5, labels > 0
        recalls = [
            (column[t == kind] == kind).mean()
            for column, t in zip(said.T, truth.T, strict=True)
            for kind in (False, True)
            if (t == kind).any()
        ]
    else:
        chosen, right = probabilities.argmax(1), labels.argmax(1)
        recalls = [(chosen[right == n] == n).mean() for n in np.unique(right)]
    return float(np.mean(recalls))


def compute_auroc(scores: F32, positive: np.ndarray) -> float:
    """Area under the ROC curve: how often a positive scores above a negative, ties half."""
    count = int(positive.sum())
    if not 0 < count < len(positive):
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    above = ranks[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(positive) - count)))


def compute_calibration_error(
    probabilities: F32, labels: F32, *, independent: bool = False
) -> float:
    """Expected calibration error of the most likely class, or of every independent label."""
    confidence, right, count = compute_calibration_curve(
        probabilities, labels, independent=independent
    )
    return float(np.sum(count * np.abs(confidence - right)) / count.sum())


def compute_calibration_curve(
    probabilities: F32, labels: F32, *, independent: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, share that is right, and count of answers, of each bin that has some."""
    if independent:
        confidence, right = probabilities.ravel(), labels.ravel()
    else:
        said = probabilities.argmax(1)
        confidence = probabilities.max(1)
        right = np.take_along_axis(labels, said[:, None], 1)[:, 0]
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    _, member, count = np.unique(bins, return_inverse=True, return_counts=True)
    confident, correct = (np.bincount(member, each) / count for each in (confidence, right))
    return confident, correct, count


def to_probabilities(logits: F32, temperature: float = 1.0, *, independent: bool = False) -> F32:
    """``(N, K)`` logits -> probabilities."""
    scaled = np.asarray(logits, np.float64) / temperature
    if independent:
        return np.asarray(1 / (1 + np.exp(-np.clip(scaled, -60, 60))), np.float32)
    powers = np.exp(scaled - scaled.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)


def find_temperature(logits: F32, labels: F32, *, independent: bool = False) -> float:
    """The temperature of the least negative log-likelihood of held-back samples."""

    def loss(temperature: float) -> float:
        p = np.clip(to_probabilities(logits, temperature, independent=independent), 1e-7, 1 - 1e-7)
        if independent:
            return float(-(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean())
        return float(-(labels * np.log(p)).sum(1).mean())

    return float(min(_TEMPERATURES, key=loss))
