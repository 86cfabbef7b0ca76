"""Drawn faces with 68 points in the layout that `read_face_points` reads."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

from trainers.data.points68 import select_five

_NAMES = ("leye", "reye", "nose", "lmouth", "rmouth")


def draw_points(rng: np.random.Generator) -> np.ndarray:
    """``(68, 2)`` of a face about 100 pixels wide in a picture of 160 x 160, turned a little."""

    def ring(count: int, x: float, y: float, wide: float, high: float, start: float) -> np.ndarray:
        angle = np.radians(start) + np.arange(count) * 2 * np.pi / count
        return np.stack([x + wide * np.cos(angle), y + high * np.sin(angle)], axis=1)

    turn, opening = rng.uniform(-8, 8), rng.uniform(1, 5)
    jaw = np.radians(np.linspace(180, 0, 17))
    parts = [
        np.stack([80 + 50 * np.cos(jaw), 70 + 60 * np.sin(jaw)], axis=1),
        *(np.stack([np.linspace(x, x + 26, 5), np.full(5, 52.0)], axis=1) for x in (44, 90)),
        np.stack([np.full(4, 80.0), np.linspace(68, 92, 4)], axis=1),
        np.stack([np.linspace(72, 88, 5), np.full(5, 96.0)], axis=1),
        *(ring(6, x, 68, 9, opening, 180) for x in (58, 102)),
        ring(12, 80, 112, 18, 7, 180),
        ring(8, 80, 112, 13, 3, 180),
    ]
    points = np.concatenate(parts)
    points[27:] += [turn, 0]  # what lies before the jaw moves with the head
    return points.astype(np.float32)


def draw_face(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``(160, 160, 3)`` BGR."""
    image = rng.integers(60, 90, (160, 160, 3)).astype(np.uint8)
    cv2.fillPoly(image, [points[:27].astype(np.int32)], (150, 170, 200))
    for eye in (points[36:42], points[42:48]):
        cv2.fillPoly(image, [eye.astype(np.int32)], (20, 20, 20))
    cv2.fillPoly(image, [points[48:60].astype(np.int32)], (60, 60, 180))
    cv2.polylines(image, [points[27:36].astype(np.int32)], isClosed=False, color=(90, 100, 120))
    return image


def write_faces(folder: Path, people: int = 10, each: int = 3) -> Path:
    """A folder with ``labels.csv``, ``landmarks68.csv`` and pictures."""
    rng = np.random.default_rng(0)
    axes = [f"{name}_{axis}" for name in _NAMES for axis in "xy"]
    labels = [["file", "identity", "width", "height", "x1", "y1", "x2", "y2", *axes]]
    landmarks = [["file", *(f"{axis}{n}" for n in range(68) for axis in "xy")]]
    for number in range(people * each):
        person, name = f"p{number // each}", f"p{number // each}/{number}.png"
        points = draw_points(rng)
        (folder / "images" / person).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / "images" / name), draw_face(points, rng))
        box = [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]
        labels.append([name, person, 160, 160, *box, *select_five(points).ravel().tolist()])
        landmarks.append([name, *points.ravel().tolist()])
    for file, rows in (("labels.csv", labels), ("landmarks68.csv", landmarks)):
        with (folder / file).open("w", newline="", encoding="utf-8") as opened:
            csv.writer(opened).writerows(rows)
    return folder
