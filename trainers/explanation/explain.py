"""What a trained network looks at: filters, patches, and class maps of its worst answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from edge.errors import ConfigError
from edge.types import F32, U8, Detections, Letterbox, RgbPicture
from edge.vision import boxes
from edge.vision.draw import draw
from edge.vision.heat_map import overlay
from edge.vision.preprocess import letterbox
from edge.vision.resize import resize
from trainers.data.class_data import list_crops, take_classes
from trainers.data.dataset import Dataset, Example
from trainers.evaluation.figures import tile
from trainers.explanation import class_maps, patches
from trainers.explanation.report import Panel, Section, write_html
from trainers.input.crops import load_crops
from trainers.metrics.classes import to_probabilities
from trainers.networks.config import ClassifierConfig, NetworkConfig
from trainers.networks.predict import Predictor, load_pictures
from trainers.run.folder import RunFolder

KINDS = ("detect", "faces", "classify")
_WORST = 8  # of misses, and of false alarms
_SHOWN_PX = 260
_OVERLAP = 0.5  # IoU from which a detection has met an object
_SAID = 0.5  # probability from which a class was said
_MISSED = (
    "Labeled objects without a detection, large ones of a low score first. The map shows what "
    "speaks for the class in the row of the network that came nearest (Grad-CAM)."
)
_FALSE = (
    "Detections without a labeled object, by falling score, and what speaks for them (Grad-CAM). "
    "An object that nobody has labeled is none."
)
_UNLIKELY = "Samples whose class was thought unlikely, and what speaks for it after all"
_OTHER = "Samples of another class, and what spoke for the one that was said."
_NO_POINTS = np.zeros((0, 5, 2), np.float32)
_NO_BOXES = np.zeros((0, 4), np.float32)


def explain_run(run: RunFolder, dataset: Dataset, data: Path, score: float = 0.5) -> str:
    """The report about a run and a data set, HTML.

    Args:
        run: Of a detector, face detector or classifier.
        dataset: Labeled pictures; of a classifier as `read_class_data` reads them.
        data: Their path, for the report.
        score: From which an object counts as detected.

    Raises:
        ConfigError: The run is of another kind or has no network, or the data do not fit.
    """
    require_kind(run)
    if run.kind == "classify":
        network, classifier = run.load_with_config(ClassifierConfig)
        images, sections = _explain_classifier(network, classifier, dataset)
    else:
        network, config = run.load_with_config(NetworkConfig)
        images, sections = _explain_detector(network, config, dataset, score)
    facts = [
        ("run", str(run.path)), ("task", run.kind), ("data", f"{data}, {len(dataset)} pictures"),
        ("classes", ", ".join(dataset.classes)), ("weights", f"{network.count_params():,}"),
    ]  # fmt: skip
    inside = [*_show_filters(network), *_show_patches(network, images)]
    return write_html(f"What {run.path.name} looks at", facts, [*sections, *inside])


def require_kind(run: RunFolder) -> None:
    """Raise a `ConfigError` unless a run is of a kind that can be explained."""
    if run.kind not in KINDS:
        raise ConfigError(
            f"this run is of the task {run.kind or 'unknown'}: explain takes detectors, face "
            "detectors and classifiers; edge-train summary takes every run",
            file=run.path,
        )


# --- detectors --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """An object that was missed, or a detection without an object."""

    example: int
    xyxy: F32
    class_id: int
    severity: float


def _explain_detector(
    network: keras.Model, config: NetworkConfig, dataset: Dataset, score: float
) -> tuple[U8, list[Section]]:
    shared = [name for name in config.classes if name in dataset.classes]
    if not shared:
        raise ConfigError(
            f"the run knows {', '.join(config.classes)} and the data {', '.join(dataset.classes)}: "
            "no class in common"
        )
    dataset = dataset.select(shared)
    predictor = Predictor(network, config)
    pictures = [p for part in load_pictures(dataset.examples) for p in part]
    found = [_rename(f, config.classes, shared) for f in predictor.detect(pictures)]
    images = np.stack([_letterbox(picture, config.input_wh)[0] for picture in pictures])
    missed, false = list[_Case](), list[_Case]()
    for n, (example, detections) in enumerate(zip(dataset.examples, found, strict=True)):
        missed += _list_missed(n, example, detections, score)
        false += _list_false(n, example, detections, score)
    sections = []
    for title, text, cases in (
        ("Worst misses", _MISSED, missed),
        ("Worst false alarms", _FALSE, false),
    ):  # fmt: skip
        cases = sorted(cases, key=lambda case: -case.severity)
        panels = [
            _show_case(network, config, shared, pictures, case, dataset.examples[case.example].name)
            for case in cases[:_WORST]
        ]
        told = f"{len(cases)} at a score of {score:g}. {text}"
        sections.append(Section(title, told if cases else "None.", panels, heated=True))
    return images, sections


def _rename(found: Detections, classes: Sequence[str], shared: Sequence[str]) -> Detections:
    """Only detections of the shared classes, with their ids."""
    ids = np.array([shared.index(c) if c in shared else -1 for c in classes], np.int32)
    class_id = ids[found.class_id]
    keep = class_id >= 0
    return Detections(found.xyxy[keep], found.score[keep], class_id[keep])


def _list_missed(n: int, example: Example, found: Detections, score: float) -> Iterator[_Case]:
    overlap = boxes.iou(example.xyxy, found.xyxy)  # (G, D)
    same = example.class_id[:, None] == found.class_id[None]
    said = np.where((overlap >= _OVERLAP) & same, found.score[None], 0).max(1, initial=0)
    area = np.prod(example.xyxy[:, 2:] - example.xyxy[:, :2], axis=1) / np.prod(example.size_wh)
    for row in np.flatnonzero(said < score).tolist():
        severity = float((1 - said[row]) * np.sqrt(area[row]))
        yield _Case(n, example.xyxy[row], int(example.class_id[row]), severity)


def _list_false(n: int, example: Example, found: Detections, score: float) -> Iterator[_Case]:
    overlap = boxes.iou(found.xyxy, example.xyxy)  # (D, G)
    same = found.class_id[:, None] == example.class_id[None]
    true = ((overlap >= _OVERLAP) & same).any(1)
    for row in np.flatnonzero(~true & (found.score >= score)).tolist():
        yield _Case(n, found.xyxy[row], int(found.class_id[row]), float(found.score[row]))


def _show_case(
    network: keras.Model, config: NetworkConfig, classes: Sequence[str],
    pictures: Sequence[RgbPicture], case: _Case, file: str,
) -> Panel:  # fmt: skip
    picture, name = pictures[case.example], classes[case.class_id]
    image, placed = _letterbox(picture, config.input_wh)
    batch = image[None].astype(np.float32)
    raw = keras.ops.convert_to_numpy(network(batch, training=False))
    box = placed.to_network(case.xyxy[None])[0]
    at = class_maps.find_row(raw, config, box, config.classes.index(name))
    cam = class_maps.compute_grad_cam(network, at.layer, batch, class_maps.score_row(config, at))
    heat = class_maps.crop_to_picture(class_maps.enlarge_map(cam[0], config.input_wh), placed)
    small, scale = _shrink(picture)
    drawn = draw(overlay(small, heat), case.xyxy[None] * scale, [name], _NO_BOXES, _NO_POINTS)
    told = f"{name} {at.score:.2f}, map of stride {8 << int(at.layer[5])}, in {file}"
    return Panel(drawn, told)


def _letterbox(picture: RgbPicture, input_wh: tuple[int, int]) -> tuple[U8, Letterbox]:
    image = np.empty((input_wh[1], input_wh[0], 3), np.uint8)
    return image, letterbox(picture, image)


def _shrink(picture: RgbPicture) -> tuple[U8, float]:
    return resize(picture.rgb, _fit(picture.size_wh)), _SHOWN_PX / max(picture.size_wh)


# --- classifiers ------------------------------------------------------------------------------


def _explain_classifier(
    network: keras.Model, config: ClassifierConfig, dataset: Dataset
) -> tuple[U8, list[Section]]:
    dataset = take_classes(dataset, config.classes, independent=config.independent)
    crops = list_crops(dataset)
    images, labels = load_crops(dataset, config)
    logits = network.predict(images.astype(np.float32), 64, verbose=0)
    said = to_probabilities(logits, config.temperature, independent=config.independent)
    layer = class_maps.name_last_map(network)

    def show(row: int, class_id: int) -> Panel:
        batch = images[row : row + 1].astype(np.float32)
        cam = class_maps.compute_cam(network, config, batch, class_id)[0]
        heat = class_maps.enlarge_map(cam, config.input_wh)
        truth = "+".join(config.classes[n] for n in np.flatnonzero(labels[row])) or "none"
        large = resize(images[row], _fit(config.input_wh))
        file = dataset.examples[crops[row].example].name
        told = f"evidence of {config.classes[class_id]} {said[row, class_id]:.2f}"
        return Panel(overlay(large, heat), f"{told}, is {truth}, in {file}")

    misses = _rank(np.where(labels > 0, 1 - said, 0))
    alarms = _rank(np.where(labels > 0, 0, said))
    right = [
        (row, class_id)
        for class_id in range(len(config.classes))
        for row in np.argsort(-said[:, class_id] * labels[:, class_id], kind="stable")[:3].tolist()
        if labels[row, class_id] and said[row, class_id] >= _SAID
    ]
    sections = []
    for title, text, pairs in (
        ("Worst misses", f"{_UNLIKELY} (class activation maps of {layer}).", misses),
        ("Worst false alarms", _OTHER, alarms),
        ("Clearest answers", "The surest right answers of each class.", right),
    ):  # fmt: skip
        panels = [show(row, class_id) for row, class_id in pairs[:_WORST]]
        told = f"{len(pairs)} of {len(crops)} samples. " if pairs is not right else ""
        sections.append(Section(title, told + text if pairs else "None.", panels, heated=True))
    return images, sections


def _rank(wrong: F32) -> list[tuple[int, int]]:
    """Row and class of what is wrong by more than half, the worst first."""
    order = np.argsort(-wrong, axis=None, kind="stable")
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [(int(row), int(column)) for row, column in pairs if wrong[row, column] > 1 - _SAID]


def _fit(size_wh: tuple[int, int]) -> tuple[int, int]:
    scale = _SHOWN_PX / max(size_wh)
    return max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))


# --- what is inside ---------------------------------------------------------------------------


def _show_filters(network: keras.Model) -> Iterator[Section]:
    sheet = patches.draw_filters(network)
    if sheet is not None:
        yield Section(
            "First-layer filters",
            "The weights of the first convolution on red, green and blue. Gray is zero. Edges and "
            "color blobs are what a trained network has; noise is what it began with.",
            [Panel(sheet, sharp=True)],
        )


def _show_patches(network: keras.Model, images: U8) -> Iterator[Section]:
    rows = patches.choose_layers(network)
    found = patches.find_patches(network, rows, images) if rows else []
    for row in rows:
        panels = [_show_unit(unit) for unit in found if unit.layer is row]
        read = "x".join(f"{axis.size:g}" for axis in row.field)
        yield Section(
            f"Strongest patches of {row.name}",
            f"The units that differ most from picture to picture, and the {patches.PATCHES} "
            f"patches that drive each most. A unit reads {read} pixels of the input.",
            panels,
        )


def _show_unit(unit: patches.Unit) -> Panel:
    told = f"unit {unit.channel}, up to {unit.activations[0]:.2g}"
    return Panel(tile(list(unit.patches), 3), told)
