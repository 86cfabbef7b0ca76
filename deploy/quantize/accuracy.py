"""An exam: how good a contract model of any task is on labelled pictures, in points of 100.

Objects and faces: average precision at IoU 0.5 and over 0.5 to 0.95 (one face a picture is
labelled, the others count as mistakes before and after). Embedders, on pictures of one face: the
share of pairs of one person that are recognised where one in a thousand pairs of strangers is, TAR
at FAR 1e-3.
Liveness, for which no labels may be at hand: the share of decisions that are as before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from deploy.graph.session import Infer, Outputs
from edge.errors import ConfigError
from edge.manifest import Manifest
from edge.models.detector import drop_unused_rows
from edge.types import F32, I32, U8, Detections, Letterbox, RgbPicture
from edge.vision.face_crops import align_face, crop_wide
from edge.vision.preprocess import letterbox
from trainers.data.dataset import Dataset, Example
from trainers.metrics import detection as metrics
from trainers.metrics.verification import across_videos, tar_at

Figures = dict[str, float]  # name -> points of 100
AP_POINTS, TAR_POINTS = 1.0, 0.5  # that may be lost
FALSE_ACCEPTS = 1e-3
BATCH = 4


@dataclass(frozen=True, slots=True)
class AccuracyCheck:
    """Contract inputs and how answers to them are marked.

    Attributes:
        inputs: ``(P, ...)`` uint8, as the daemon makes them.
        mark: outputs of all inputs -> figures.
        limit: points that a figure may lose.
    """

    inputs: U8
    mark: Callable[[Outputs], Figures]
    limit: float

    def answers(self, infer: Infer) -> Outputs:
        """A model's outputs for all inputs."""
        parts: list[Outputs] = []
        for start in range(0, len(self.inputs), BATCH):
            parts.append(infer(self.inputs[start : start + BATCH]))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def prepare_inputs(manifest: Manifest, examples: Sequence[Example]) -> U8:
    """``(P, ...)`` uint8: what the daemon would hand to the model for labelled pictures.

    Raises:
        ConfigError: a picture cannot be read, or lacks the labels that this task cuts by.
    """
    made = [array for example in examples for array in _inputs(manifest, example)]
    if not made:
        what = {"embed": "five points of a face", "liveness": "boxes of faces"}
        raise ConfigError(
            f"--data: no picture has {what.get(manifest.task, 'anything')}: use a labels.csv"
        )
    return np.stack(made)


def _inputs(manifest: Manifest, example: Example) -> Iterator[U8]:
    if manifest.task == "embed":
        for points in example.landmarks:
            if np.isfinite(points).all():
                yield align_face(RgbPicture(example.load().image), points)
    elif manifest.task == "liveness":
        for box in example.xyxy:
            picture = RgbPicture(example.load().image)
            crops = [crop_wide(picture, box, s, manifest.input_wh) for s in manifest.crop_scales]
            yield np.stack(crops * manifest.clip_frames)
    else:
        width, height = manifest.input_wh
        image = np.empty((height, width, 3), np.uint8)
        _placed(manifest, example, image)
        yield image


def _placed(manifest: Manifest, example: Example, image: U8) -> Letterbox:
    picture = RgbPicture(example.load().image)
    return letterbox(picture, image, manifest.letterbox_align, manifest.letterbox_fill)


def build_accuracy_check(manifest: Manifest, dataset: Dataset, model: Infer) -> AccuracyCheck:
    """The exam that a model's task asks for.

    Args:
        manifest: of the model.
        dataset: labelled pictures.
        model: the float model, whose decisions are right where there are no labels.

    Raises:
        ConfigError: the data have no class of the model's, or no labels that the task needs.
    """
    if manifest.task == "embed":
        return _of_embedder(manifest, dataset)
    if manifest.task == "liveness":
        inputs = prepare_inputs(manifest, dataset.examples)
        exam = AccuracyCheck(inputs, lambda _: {}, AP_POINTS)
        before = exam.answers(model)["live"] >= 0.5
        return AccuracyCheck(inputs, lambda given: _agreement(before, given["live"]), AP_POINTS)
    return _of_finder(manifest, dataset)


def _agreement(before: np.ndarray, live: F32) -> Figures:
    return {"same decisions": 100 * float(np.mean(before == (live >= 0.5)))}


def _of_finder(manifest: Manifest, dataset: Dataset) -> AccuracyCheck:
    known = [name for name in dataset.classes if name in manifest.classes]
    if manifest.task == "faces":
        known = [name for name in dataset.classes if name == "face"]
    if not known:
        raise ConfigError(
            f"the model knows {', '.join(manifest.classes)}, the data "
            f"{', '.join(dataset.classes)}: nothing in common, name other data"
        )
    dataset = dataset.select(known)
    if not any(map(len, dataset.examples)):
        raise ConfigError(f"the exam's pictures show no {', '.join(known)}: name others (--exam)")
    width, height = manifest.input_wh
    images = np.empty((len(dataset.examples), height, width, 3), np.uint8)
    placed = [
        _placed(manifest, e, image) for e, image in zip(dataset.examples, images, strict=True)
    ]
    names = manifest.classes if manifest.task == "detect" else ("face",)
    ids = np.array([known.index(name) if name in known else -1 for name in names], np.int32)

    def mark(outputs: Outputs) -> Figures:
        rows = zip(outputs["detections"], placed, strict=True)
        found = [_detections(drop_unused_rows(given), ids, box) for given, box in rows]
        result = metrics.evaluate(dataset.examples, found, dataset.classes)
        return {"AP50": 100 * result.ap(iou=0.5), "AP": 100 * result.ap()}

    return AccuracyCheck(images, mark, AP_POINTS)


def _detections(rows: F32, ids: I32, placed: Letterbox) -> Detections:
    class_id = ids[rows[:, 5].astype(np.int32)] if len(rows) else np.zeros(0, np.int32)
    found = Detections(placed.to_source(rows[:, :4]), rows[:, 4].copy(), class_id)
    return found[class_id >= 0]


def _of_embedder(manifest: Manifest, dataset: Dataset) -> AccuracyCheck:
    used = [e for e in dataset.examples if len(e) == 1 and np.isfinite(e.landmarks).all()]
    groups = [e.group for e in used]
    _, people, counts = np.unique(groups, return_inverse=True, return_counts=True)
    genuine, pairs = int(np.sum(counts * (counts - 1) // 2)), len(used) * (len(used) - 1) // 2
    if not genuine or pairs - genuine < 1 / FALSE_ACCEPTS:
        raise ConfigError(
            "an embedder is examined on several pictures each of many people with five points, "
            "one face a picture: name such a labels.csv with --exam, or raise --most"
        )

    def mark(outputs: Outputs) -> Figures:
        videos = np.arange(len(people))  # nobody says which: every two pictures are a pair
        found = across_videos(outputs["embeddings"], people, videos)
        return {"TAR at FAR 1e-3": 100 * tar_at(found.genuine, found.impostor, FALSE_ACCEPTS)}

    return AccuracyCheck(prepare_inputs(manifest, used), mark, TAR_POINTS)
