"""`edge-train restyle`: day pictures become night pictures with their labels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.drawn_data import drawn_dataset, face, write_example
from tests.trainers.run.test_stages import write_yolo
from trainers.augment.conditions import Condition
from trainers.commands import restyle as command
from trainers.commands.app import app
from trainers.data.read import read_dataset


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    write_yolo(tmp_path / "day", drawn_dataset(tmp_path / "day" / "images", 4))
    for n in range(2):
        write_example(tmp_path / "style", f"n{n}", Condition("night", 1.0)(face(50 + n)))
    return tmp_path / "day", tmp_path / "style"


def restyle(day: Path, style: Path, *words: object):
    return CliRunner().invoke(app, ["restyle", str(day), "--style", str(style), *map(str, words)])


def test_a_data_set_of_the_same_labels_is_written(folders, tmp_path):
    day, style = folders
    words = ("--size", 64, "--steps", 4, "--sheet", tmp_path / "sheet.png")
    result = restyle(day, style, "--out", tmp_path / "night", *words)
    assert result.exit_code == 0, result.output
    assert "4 images, 4 objects; style loss" in result.stdout
    assert "4 of 4 pictures, " in result.stderr
    before, after = read_dataset(day), read_dataset(tmp_path / "night")
    assert after.classes == before.classes
    for one, other in zip(before.examples, after.examples, strict=True):
        assert other.group == one.group
        np.testing.assert_allclose(other.xyxy, one.xyxy, atol=1e-3)
        np.testing.assert_allclose(other.landmarks, one.landmarks, atol=1e-3)
        assert other.load().image.mean() < 0.8 * one.load().image.mean()
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[1] == 3 * (320 + 4) + 4


def test_the_same_seed_gives_the_same_pictures_and_some_may_be_enough(folders, tmp_path):
    day, style = folders
    words = ("--size", 64, "--steps", 2, "--max-images", 2)
    for name in ("a", "b"):
        assert restyle(day, style, "--out", tmp_path / name, *words).exit_code == 0
    one, two = (read_dataset(tmp_path / name) for name in ("a", "b"))
    assert len(one) == 2
    for first, second in zip(one.examples, two.examples, strict=True):
        differ = first.load().image.astype(int) - second.load().image
        assert np.abs(differ).mean() < 0.5


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--size", 100), "--size must be a multiple of 32 from 64 on, got 100"),
        (("--features", "zoo:nothing"), "the zoo has no model zoo:nothing"),
        (("--features", "nowhere.h5"), "--features must be zoo:NAME, a run folder, or a .onnx"),
        (("--features", "{day}"), "this folder holds no trained run (no best.keras)"),
        (("--features", "{day}/classes.txt"), "--features must be zoo:NAME"),
        (("--backbone", "vgg19"), "--backbone must be"),
        (("--out", "{day}/night"), "--out lies inside the data"),
        (("--out", "{style}"), "This exists already: choose a new folder"),
        (("--style", "{empty}"), "holds no picture: put some there"),
        (("--style", "{day}/nowhere"), "does not exist: check the path"),
        (("--val-fraction", 0.999), "leaves one side empty"),
        (("--style-weight", "inf"), "--style-weight must be a finite number"),
    ],
)
def test_a_mistake_is_one_line_before_keras_is_loaded(words, says, folders, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "load_keras", lambda: pytest.fail("Keras was loaded"))
    day, style = folders
    (tmp_path / "empty").mkdir()
    given = [str(w).format(day=day, style=style, empty=tmp_path / "empty") for w in words]
    result = restyle(day, style, "--out", tmp_path / "night", *given)
    assert result.exit_code == 78, result.output
    assert says in result.stderr
    assert len([line for line in result.stderr.splitlines() if "note:" not in line]) <= 2
    assert not (tmp_path / "night").exists()


def test_a_broken_picture_is_told_before_keras_is_loaded(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "load_keras", lambda: pytest.fail("Keras was loaded"))
    day, style = folders
    cut = day / "images" / "p001.png"
    cut.write_bytes(cut.read_bytes()[:60])
    result = restyle(day, style, "--out", tmp_path / "night")
    assert result.exit_code == 78
    assert str(cut) in result.stderr
