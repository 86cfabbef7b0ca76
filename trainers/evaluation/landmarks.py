"""Evaluation of a model of 68 points: as the daemon would ask it, beside the mean shape.

A face is found by a face detector, its five points again in a close-up, and aligned by those. The
baseline is the mean of the labeled points in aligned faces, laid where the five points are. What
rounding alone adds to the labels is measured, too: no model can be found better than that.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from edge.models.landmarks import ContractLandmarks
from edge.people.recognition.close_up import FoundFace, refine_landmarks
from edge.ports import FaceFinder
from edge.types import F32, Frame, RgbPicture
from edge.vision import boxes
from edge.vision.face_crops import fit_alignment
from trainers.data.face_points import FacePoints
from trainers.data.points68 import measure_turns, mirror_points, select_five
from trainers.metrics.interval import Interval
from trainers.metrics.points import FAILED, OUTER_CORNERS, mean_over_people, measure_nme

_SAME_FACE_IOU = 0.5
_MEAN_OF_SQUARE = 0.3826  # distance of the points of a square from its middle, in its side
_TURNS = {"ahead": (0.0, 0.15), "between": (0.15, 0.35), "turned": (0.35, np.inf)}


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkResult:
    """What was found in the pictures whose face was found.

    Attributes:
        faces: Those pictures.
        five: ``(N, 5, 2)`` points of the face detector.
        points: ``(N, 68, 2)`` of the model.
        mean_shape: ``(N, 68, 2)`` of the baseline.
        figures: Metrics with intervals, by name.
        seconds: For one face, with reading its picture and finding its five points.
    """

    faces: FacePoints
    five: F32
    points: F32
    mean_shape: F32
    figures: dict[str, Interval]
    seconds: float


def find_fives(faces: FacePoints, finder: FaceFinder) -> tuple[list[int], F32]:
    """The pictures whose face is found, and its five points ``(N, 5, 2)``, as by the daemon.

    Raises:
        ConfigError: A picture is missing, broken or of another size.
    """
    rows, fives = list[int](), list[F32]()
    for row, example in enumerate(faces.examples):
        frame = Frame("", 0, 0, 0.0, 0.0, RgbPicture(example.load().image))
        [found] = finder.find([frame])
        overlap = boxes.iou(example.xyxy, found.xyxy)[0]
        if len(overlap) and overlap.max() >= _SAME_FACE_IOU:
            best = int(overlap.argmax())
            face = FoundFace(frame, found.xyxy[best], found.landmarks[best])
            fives.append(refine_landmarks(finder, [face])[0])
            rows.append(row)
    return rows, np.array(fives, np.float32).reshape(-1, 5, 2)


def compute_mean_shape(faces: FacePoints) -> F32:
    """``(68, 2)`` mean of the points in faces aligned by their own five, and mirrored."""
    placed = []
    for points in faces.points:
        if fitted := fit_alignment(select_five(points)):
            crop = fitted.to_crop(points)
            placed += [crop, mirror_points(crop, 2 * 56.0)]
    return np.asarray(np.mean(placed, axis=0), np.float32)


def evaluate_landmarks(
    model: ContractLandmarks, faces: FacePoints, finder: FaceFinder, mean_shape: F32
) -> LandmarkResult:
    """Evaluate a model on faces it was not trained on.

    ``mean_shape`` is of the faces it was trained on, see `compute_mean_shape`.

    Raises:
        ConfigError: A picture is missing, broken or of another size.
    """
    began_s = time.monotonic()
    rows, fives = find_fives(faces, finder)
    found_in = faces.select(rows)
    points, shapes = [], []
    for example, five in zip(found_in.examples, fives, strict=True):
        points.append(model.find_in(RgbPicture(example.load().image), five[None])[0])
        fitted = fit_alignment(five)
        shapes.append(fitted.to_picture(mean_shape) if fitted else np.full((68, 2), np.nan))
    found, shape = (np.array(x, np.float32).reshape(-1, 68, 2) for x in (points, shapes))
    figures = _measure(found_in, found, shape)
    figures["faces found"] = Interval(
        len(rows) / max(len(faces), 1), float("nan"), float("nan"), len(faces)
    )
    seconds = (time.monotonic() - began_s) / max(len(faces), 1)
    return LandmarkResult(found_in, fives, found, shape, figures, seconds)


def _measure(faces: FacePoints, found: F32, shape: F32) -> dict[str, Interval]:
    people = [e.group for e in faces.examples]
    nme, base = measure_nme(found, faces.points), measure_nme(shape, faces.points)
    turn = np.abs(measure_turns(faces.points))
    figures = {
        "NME": mean_over_people(nme, people),
        f"faces with an NME above {FAILED:g}": mean_over_people((nme > FAILED) * 1.0, people),
        "NME of the mean shape": mean_over_people(base, people),
        "NME of the labels' rounding": mean_over_people(measure_rounding(faces.points), people),
    }
    for name, (low, high) in _TURNS.items():
        rows = (turn >= low) & (turn < high)
        figures[f"NME, heads {name}"] = mean_over_people(nme, people, rows)
        figures[f"NME of the mean shape, heads {name}"] = mean_over_people(base, people, rows)
    return figures


def measure_rounding(points: F32) -> F32:
    """``(N, 68, 2)`` -> ``(N,)`` NME of labels that were rounded to a grid, by that alone.

    Programs that find points in a shrunk picture leave a grid of several pixels. Its step is the
    most usual gap between coordinates of a face.
    """
    left, right = OUTER_CORNERS
    eyes = np.linalg.norm(points[:, right] - points[:, left], axis=1)
    steps = np.array([_find_step(face) for face in points], np.float32)
    return np.asarray(_MEAN_OF_SQUARE * steps / np.maximum(eyes, 1e-6), np.float32)


def _find_step(points: F32) -> float:
    gaps = np.concatenate([np.diff(np.unique(points[:, axis])) for axis in (0, 1)])
    steps, count = np.unique(gaps, return_counts=True)
    return float(steps[count.argmax()]) if len(steps) else 0.0
