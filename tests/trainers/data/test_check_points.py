"""The five points of faces: exchanged, stray, or not mirrored with their picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.drawn_data import face, shared, write_example
from trainers.data.check import check, check_path
from trainers.data.check_points import compute_fingerprint, find_point_problems, find_unmirrored
from trainers.data.dataset import Dataset, Example
from trainers.data.read import read_dataset

MIRRORED = [1, 0, 2, 4, 3]


def textured_face(folder: Path, name: str, seed: int, *, mirror: bool = False) -> Example:
    """A face on a ground of its own, mirrored or not; its points stay those of the original."""
    noise = np.random.default_rng(seed).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    sample = face(seed)
    image = (sample.image // 2 + cv2.resize(noise, sample.size_wh) // 2).astype(np.uint8)
    image = np.ascontiguousarray(image[:, ::-1]) if mirror else image
    return write_example(folder, name, replace(sample, image=image))


def exchange(example: Example, order: list[int]) -> Example:
    """The same picture with its points in another order."""
    return replace(example, landmarks=example.landmarks[:, order])


def rotate(example: Example, degrees: float) -> Example:
    """The points turned about the middle of their box."""
    center = example.xyxy.reshape(2, 2).mean(axis=0)
    turn, _ = cv2.Rodrigues(np.array([0, 0, np.radians(degrees)]))
    turned = (example.landmarks - center) @ turn[:2, :2].T + center
    return replace(example, landmarks=turned.astype(np.float32))


@pytest.mark.parametrize("degrees", [0, 40, 90, 180, 300])
@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([0, 1, 2, 3, 4], ""),
        ([1, 0, 2, 3, 4], "the eyes of the face"),
        ([0, 1, 2, 4, 3], "the mouth corners of the face"),
        (MIRRORED, "left and right points of the face"),
    ],
)
def test_exchanged_points_are_told_however_the_face_is_turned(
    tmp_path: Path, order: list[int], expected: str, degrees: float
):
    example = rotate(exchange(write_example(tmp_path, "x", face(1)), order), degrees)
    problems = list(find_point_problems(replace(example, xyxy=np.float32([[-50, -50, 250, 250]]))))
    assert len(problems) == bool(expected)
    assert all(p.startswith(expected) and "exchange" in p for p in problems)


def test_points_that_are_not_known_are_no_problem(tmp_path: Path):
    example = write_example(tmp_path, "x", face(1))
    points = example.landmarks[:, [1, 0, 2, 3, 4]].copy()
    points[0, 2] = np.nan
    assert not list(find_point_problems(replace(example, landmarks=points)))


def test_points_beside_their_box_are_told(tmp_path: Path):
    example = write_example(tmp_path, "x", face(1))
    [problem] = find_point_problems(replace(example, landmarks=example.landmarks + 90))
    assert "lie outside its box: if the picture was mirrored or cut" in problem


def test_a_mirrored_copy_with_the_points_of_its_original_is_told(tmp_path: Path):
    examples = [textured_face(tmp_path, f"p{n}", n) for n in range(6)]
    examples.append(textured_face(tmp_path, "p4_flip", 4, mirror=True))
    report = check(Dataset(("face",), tuple(examples)))
    [problem] = report.problems
    assert str(problem) == (
        f"{tmp_path}/p4_flip.txt: p4_flip shows p4 mirrored, but its points are not: mirror them "
        "and exchange left and right"
    )


def test_a_mirrored_copy_with_mirrored_points_is_fine(tmp_path: Path):
    original = textured_face(tmp_path, "p", 4)
    copy = textured_face(tmp_path, "p_flip", 4, mirror=True)
    width = np.float32([copy.size_wh[0], 0])
    copy = replace(
        copy,
        landmarks=copy.landmarks[:, MIRRORED] * np.float32([-1, 1]) + width,
        xyxy=copy.xyxy[:, [2, 1, 0, 3]] * np.float32([-1, 1, -1, 1]) + np.tile(width, 2),
    )
    assert check(Dataset(("face",), (original, copy))).ok


def test_the_command_finds_exchanged_eyes_in_a_table(tmp_path: Path):
    example = write_example(tmp_path / "images", "x", face(3))
    points = example.landmarks[0]
    names = ("leye", "reye", "nose", "lmouth", "rmouth")
    header = ["file", "identity", "width", "height", "x1", "y1", "x2", "y2"]
    header += [f"{n}_{axis}" for n in names for axis in "xy"]
    row = ["x.png", "Ann", *example.size_wh, *example.xyxy[0], *points[[1, 0, 2, 3, 4]].ravel()]
    table = "\n".join(",".join(map(str, line)) for line in (header, row))
    (tmp_path / "labels.csv").write_text(table, encoding="utf-8")
    _, report = check_path(tmp_path)
    [problem] = map(str, report.problems)
    assert problem.startswith(f"{tmp_path / 'labels.csv'}: x: the eyes of the face at [")
    assert problem.endswith("exchange leye and reye (left and right are as seen in the image)")


def test_exchanged_and_unmirrored_points_of_real_faces_are_found_without_a_false_alarm():
    examples = read_dataset(shared("ytf_dev")).examples[::12]
    told = [p for e in examples for p in find_point_problems(e)]
    assert not told
    for order in ([1, 0, 2, 3, 4], MIRRORED):
        assert all(list(find_point_problems(exchange(e, order))) for e in examples)
    images = [e.load().image for e in examples]
    prints = [compute_fingerprint(image) for image in images]
    assert not list(find_unmirrored(examples, prints))
    copies = [replace(e, name=f"{e.name}-flip") for e in examples]
    flipped = [compute_fingerprint(np.ascontiguousarray(image[:, ::-1])) for image in images]
    found = list(find_unmirrored([*examples, *copies], [*prints, *flipped]))
    clear = [_differ(e) > 0.1 for e in examples]  # the others are nearly symmetric
    assert len(found) >= 0.98 * sum(clear)


def _differ(example: Example) -> float:
    """How far the points lie from their mirror image, in sides of the face's box."""
    points = example.landmarks[0]
    mirrored = points[MIRRORED] * [-1, 1] + [example.size_wh[0], 0]
    side = (example.xyxy[0, 2:] - example.xyxy[0, :2]).max()
    return float(np.abs(points - mirrored).max() / side)
