"""Plots of data and models as PNG: contact sheets, curves, tables, the worst pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from edge.atomic_file import write_file
from edge.errors import ConfigError
from edge.types import F32, I64, U8, Detections, RgbPicture
from edge.vision import boxes
from edge.vision.preprocess import letterbox
from trainers.data.dataset import Dataset, Sample
from trainers.metrics.detection import Evaluation, evaluate_at

_COLORS = np.array(
    [[230, 60, 60], [60, 160, 230], [80, 190, 80], [240, 160, 40], [170, 90, 210], [50, 190, 190]]
)
_POINT_COLORS = np.array(
    [[255, 60, 60], [60, 120, 255], [60, 230, 60], [255, 220, 40], [255, 80, 255]]
)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GAP = 4


def _rgb(color: np.ndarray) -> tuple[int, int, int]:
    r, g, b = (int(v) for v in color)
    return r, g, b


def save_image(path: Path, rgb: U8) -> None:
    """Write an image as PNG.

    Raises:
        ConfigError: The folder cannot be written or the disk is full.
    """
    _, encoded = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    _write(path, encoded.tobytes())


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, content)
    except OSError as error:
        raise ConfigError(
            f"This file cannot be written ({error.strerror}): free some space or choose another "
            "folder.",
            file=path,
        ) from error


def save_text(path: Path, text: str) -> None:
    """Write a text.

    Raises:
        ConfigError: The folder cannot be written or the disk is full.
    """
    _write(path, text.encode())


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG.

    Raises:
        ConfigError: The folder is missing or the disk is full.
    """
    png = io.BytesIO()
    figure.savefig(png, dpi="figure", format="png")
    _write(path, png.getvalue())


def draw_boxes(image: U8, xyxy: F32, text: Sequence[str], color: Sequence[np.ndarray]) -> U8:
    """A copy of the image with labeled boxes."""
    canvas = image.copy()
    for box, label, c in zip(xyxy, text, color, strict=True):
        x1, y1, x2, y2 = (round(float(v)) for v in box)
        cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), _rgb(c), 1, cv2.LINE_AA)
        (w, h), _ = cv2.getTextSize(label, _FONT, 0.36, 1)
        top = max(y1, h + 4)
        cv2.rectangle(canvas, (x1, top - h - 4), (x1 + w + 2, top), _rgb(c), -1)
        cv2.putText(canvas, label, (x1 + 1, top - 3), _FONT, 0.36, (0, 0, 0), 1, cv2.LINE_AA)
    return canvas


def draw_sample(sample: Sample, classes: Sequence[str]) -> U8:
    """A copy of the picture with its labels; landmarks red, blue, green, yellow, pink."""
    names = [
        classes[c] if w == 1 else f"{classes[c]} {w:.2f}"
        for c, w in zip(sample.class_id, sample.weight, strict=True)
    ]
    color = [_COLORS[c % len(_COLORS)] for c in sample.class_id]
    canvas = draw_boxes(sample.image, sample.xyxy, names, color)
    for five in sample.landmarks:
        for point, c in zip(five, _POINT_COLORS, strict=True):
            if np.isfinite(point).all():
                cv2.circle(canvas, (int(point[0]), int(point[1])), 2, _rgb(c), -1, cv2.LINE_AA)
    return canvas


def tile(images: Sequence[U8], columns: int, titles: Sequence[str] = ()) -> U8:
    """Images of one size in rows, a title under each."""
    h, w = images[0].shape[:2]
    foot = 14 if titles else 0
    rows = -(-len(images) // columns)
    shape = (rows * (h + foot + _GAP) + _GAP, columns * (w + _GAP) + _GAP, 3)
    sheet = np.full(shape, 245, np.uint8)
    for n, image in enumerate(images):
        y, x = _GAP + n // columns * (h + foot + _GAP), _GAP + n % columns * (w + _GAP)
        sheet[y : y + h, x : x + w] = image
        if titles:
            at = (x, y + h + 11)
            cv2.putText(sheet, titles[n][: w // 6], at, _FONT, 0.36, (0, 0, 0), 1, cv2.LINE_AA)
    return sheet


def letterbox_sample(sample: Sample, size_wh: tuple[int, int]) -> Sample:
    """The sample letterboxed."""
    image = np.empty((size_wh[1], size_wh[0], 3), np.uint8)
    placed = letterbox(RgbPicture(sample.image), image)
    return replace(sample, image=image).move_labels(placed.scale_xy, placed.pad_xy)


def contact_sheet(dataset: Dataset, path: Path, count: int = 24, seed: int = 0,
                  size_wh: tuple[int, int] = (240, 240)) -> None:  # fmt: skip
    """Draw some pictures of a data set with their labels; broken ones are left out.

    Raises:
        ConfigError: The data set is empty or the PNG cannot be written.
    """
    dataset.require_examples()
    order = np.random.default_rng(seed).permutation(len(dataset))
    images: list[U8] = []
    titles: list[str] = []
    for n in order:
        if len(images) == count:
            break
        try:
            sample = dataset.examples[int(n)].load()
        except ConfigError:
            continue
        images.append(draw_sample(letterbox_sample(sample, size_wh), dataset.classes))
        titles.append(sample.name)
    if not images:
        raise ConfigError(f"None of the {len(dataset)} pictures can be read: run edge-train check.")
    save_image(path, tile(images, 6, titles))


def precision_recall_png(evaluation: Evaluation, path: Path) -> None:
    """Draw precision over recall at IoU 0.5, a line per class."""
    figure = Figure(figsize=(7, 5), dpi=110)
    axes = figure.add_subplot()
    for c, name in enumerate(evaluation.classes):
        precision, recall, _ = evaluation.precision_recall(c)
        ap50 = evaluation.ap(iou=0.5, class_id=c)
        if len(recall) and not np.isnan(ap50):
            axes.plot(recall, precision, label=f"{name} AP50 {ap50:.3f}", linewidth=1.5)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.set_title(f"mean AP50 {evaluation.ap(iou=0.5):.3f}, AP {evaluation.ap():.3f}")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=8, loc="lower left")
    save_figure(path, figure)


def confusion_png(table: I64, classes: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix: counts, colored by their fraction of the row.

    A table of detections has a row and a column more than there are classes.
    """
    names = [*classes, "nothing"][: len(table)]
    size = 2 + 0.55 * len(names)
    figure = Figure(figsize=(size + 1, size), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="said to be", ylabel="labeled as")
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    if len(names) <= 25:
        for y, x in np.ndindex(table.shape):
            color = "white" if share[y, x] > 0.5 else "black"
            axes.text(x, y, str(table[y, x]), ha="center", va="center", fontsize=7, color=color)
    save_figure(path, figure)


def worst_pictures(dataset: Dataset, found: Sequence[Detections], path: Path, score: float = 0.25,
                   count: int = 12, size_wh: tuple[int, int] = (320, 320)) -> None:  # fmt: skip
    """Draw the pictures with the most misses and false positives.

    Green is a detected object, yellow a missed one, red a false positive.
    """
    point = evaluate_at(dataset.examples, found, score)
    wrong = point.false + point.missed
    chosen = [int(n) for n in np.argsort(-wrong, kind="stable")[:count] if wrong[n]]
    images: list[U8] = []
    titles: list[str] = []
    for n in chosen:
        sample = dataset.examples[n].load()
        image = _draw_errors(sample, found[n][found[n].score >= score], dataset.classes, size_wh)
        images.append(image)
        titles.append(f"{sample.name}: {point.missed[n]} missed, {point.false[n]} false")
    if not images:
        images = [np.full((size_wh[1], size_wh[0], 3), 245, np.uint8)]
        titles = ["nothing went wrong"]
    save_image(path, tile(images, min(4, len(images)), titles))


_DETECTED, _MISSED, _FALSE = np.array([[70, 200, 70], [250, 210, 40], [240, 60, 60]])


def _draw_errors(sample: Sample, found: Detections, classes: Sequence[str],
                 size_wh: tuple[int, int]) -> U8:  # fmt: skip
    placed = letterbox_sample(sample, size_wh)
    frame = np.empty((size_wh[1], size_wh[0], 3), np.uint8)
    xyxy = letterbox(RgbPicture(sample.image), frame).to_network(found.xyxy)
    same = np.equal(placed.class_id[:, None], found.class_id[None])
    met = np.logical_and(boxes.iou(placed.xyxy, xyxy) >= 0.5, same)  # (G, D)
    truth_color = [_DETECTED if hit else _MISSED for hit in np.any(met, axis=1)]
    canvas = draw_boxes(
        placed.image, placed.xyxy, [classes[c] for c in placed.class_id], truth_color
    )
    false = ~np.any(met, axis=0)
    text = [
        f"{classes[c]} {s:.2f}"
        for c, s in zip(found.class_id[false], found.score[false], strict=True)
    ]
    return draw_boxes(canvas, xyxy[false], text, [_FALSE] * int(false.sum()))
