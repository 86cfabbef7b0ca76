"""Faces with 68 points are read, and what is wrong with their table is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.errors import ConfigError
from tests.support.drawn_data import shared
from tests.support.drawn_faces import draw_points, write_faces
from trainers.data.face_points import read_face_points
from trainers.data.points68 import (
    MIRRORED,
    measure_eye_openings,
    measure_turns,
    mirror_points,
    select_five,
)


def change(folder: Path, edit: Callable[[list[str]], list[str]]) -> None:
    """Edit the lines of landmarks68.csv."""
    file = folder / "landmarks68.csv"
    file.write_text("\n".join(edit(file.read_text().splitlines())) + "\n", encoding="utf-8")


def test_faces_are_read_with_their_people(tmp_path: Path):
    faces = read_face_points(write_faces(tmp_path, 10, 2))
    assert len(faces) == 20
    five = np.stack([e.landmarks[0] for e in faces.examples])
    np.testing.assert_allclose(select_five(faces.points), five, atol=1e-3)
    shown, held = faces.split(0.3, 0)
    assert len(shown) + len(held) == 20
    assert not {e.group for e in shown.examples} & {e.group for e in held.examples}
    assert shown.sha256() != held.sha256()


def drop_last(lines: list[str]) -> list[str]:
    return lines[:-2]


def shorten(lines: list[str]) -> list[str]:
    return [*lines[:3], lines[3].rpartition(",")[0], *lines[4:]]


def move_far(lines: list[str]) -> list[str]:
    name, _, *rest = lines[1].split(",")
    return [lines[0], ",".join([name, "900", *rest]), *lines[2:]]


def write_text(lines: list[str]) -> list[str]:
    name, _, *rest = lines[1].split(",")
    return [lines[0], ",".join([name, "left", *rest]), *lines[2:]]


def rename(lines: list[str]) -> list[str]:
    return [lines[0].replace("x0", "left"), *lines[1:]]


def repeat(lines: list[str]) -> list[str]:
    return [*lines[:2], lines[1], *lines[2:]]


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (drop_last, r"landmarks68.csv: has no row for 2 of 6 faces .*p2/4.png, p2/5.png.*: add"),
        (shorten, r"landmarks68.csv:4: a row must have 137 columns, this has 136: correct or drop"),
        (move_far, r"csv:2: point 0 of p0/0 at 900, .* far outside its picture of 160x160: give"),
        (repeat, r"landmarks68.csv:3: p0/0.png has a row in line 2 already: correct or drop the"),
        (write_text, r"landmarks68.csv:2: could not convert .*: correct or drop the row"),
        (rename, r"landmarks68.csv:1: must have the columns file, x0, y0 to x67, y67, 137 in all"),
    ],
)
def test_a_wrong_table_is_told_with_the_remedy(
    tmp_path: Path, edit: Callable[[list[str]], list[str]], expected: str
):
    folder = write_faces(tmp_path, 3, 2)
    change(folder, edit)
    with pytest.raises(ConfigError, match=expected):
        read_face_points(folder)


def test_a_folder_without_points_is_told(tmp_path: Path):
    (write_faces(tmp_path, 2, 1) / "landmarks68.csv").unlink()
    with pytest.raises(ConfigError, match=r"has no landmarks68.csv: give a folder with"):
        read_face_points(tmp_path)


def test_too_few_people_cannot_be_split(tmp_path: Path):
    faces = read_face_points(write_faces(tmp_path, 1, 2))
    with pytest.raises(ConfigError, match="Holding out 20% of 1 people empties one side"):
        faces.split(0.2, 0)


def test_the_mirror_image_exchanges_left_and_right():
    assert sorted(MIRRORED) == list(range(68))
    points = draw_points(np.random.default_rng(1))
    mirrored = mirror_points(points, 160)
    np.testing.assert_allclose(mirror_points(mirrored, 160), points, atol=1e-4)
    left, right, *_ = select_five(mirrored)
    assert left[0] < right[0]
    assert np.diff(mirrored[:17, 0]).min() > 0  # the jaw still runs from left to right
    turns = measure_turns(np.stack([points, mirrored]))
    assert turns[0] == pytest.approx(-turns[1], abs=1e-4)


def test_an_eye_is_as_open_as_it_is_high():
    eye = np.float32([[0, 0], [1, -1], [2, -1], [3, 0], [2, 1], [1, 1]])
    points = np.zeros((68, 2), np.float32)
    points[36:42], points[42:48] = eye, eye * [1, 0.1]
    np.testing.assert_allclose(measure_eye_openings(points), [2 / 3, 0.2 / 3], atol=1e-6)


def test_the_shared_faces_are_read_and_mirrored_as_they_look():
    faces = read_face_points(shared("ytf_dev"))
    assert len(faces) == 3059
    mean = faces.points.mean(axis=0) - faces.points.mean(axis=(0, 1))
    mirrored = mirror_points(mean, 0.0)
    eyes = mean[45, 0] - mean[36, 0]
    assert np.abs(mirrored - mean).max() < 0.15 * eyes  # a wrong pair would be off by more
