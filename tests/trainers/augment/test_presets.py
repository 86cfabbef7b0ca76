"""Augmentations by name: a run changes or leaves out some, and can see what they do."""

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from edge.errors import ConfigError
from tests.support.drawn_data import drawn_dataset, face
from tests.trainers.run.test_stages import write_yolo
from trainers.augment import presets
from trainers.augment.augment import apply, bind
from trainers.augment.color import Night
from trainers.commands.app import app


def test_one_is_left_out_and_one_is_made_stronger():
    changed = presets.change(
        presets.name_detector_augments(),
        {"mosaic": {"chance": 0}, "night": {"chance": 1, "darkest": 0.05, "infrared": 1}},
    )
    assert "mosaic" not in [type(a.change).__name__.lower() for a in presets.choose(changed)]
    assert changed["night"].chance == 1
    assert changed["night"].change == Night(darkest=0.05, infrared=1.0)
    same = presets.name_detector_augments()
    assert [changed[name] == same[name] for name in same].count(False) == 2


def test_strength_0_only_mirrors():
    assert [type(a.change).__name__ for a in presets.detector_augments(0)] == ["Mirror"]
    assert presets.class_augments(0, mirror=False) == []


def test_a_mirrored_picture_is_as_frequent_as_it_says():
    mirror = presets.detector_augments(0, {"mirror": {"chance": 0.25}})
    before = face(0)
    rng = np.random.default_rng(0)
    assert 20 < sum(apply(mirror, before, rng) is not before for _ in range(160)) < 60


def test_each_can_be_used_alone():
    for preset in (
        presets.name_detector_augments(),
        presets.name_face_augments(64),
        presets.name_class_augments(),
    ):
        for name in preset:
            alone = {other: {"chance": float(other == name)} for other in preset}
            (one,) = bind(presets.choose(presets.change(preset, alone)), lambda _: face(1))
            assert one(face(0), np.random.default_rng(0)).image.dtype == np.uint8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"nigth": {"chance": 1}},
            "augment.nigth: there is no such augmentation here, only mosaic",
        ),
        (
            {"night": {"dark": 1}},
            "augment.night.dark: there is no such value, only chance, darkest",
        ),
        ({"night": {"chance": 1.5}}, "augment.night.chance must be at most 1, got 1.5"),
        ({"night": {"chance": -1}}, "must be a number from 0, got -1"),
        ({"night": {"chance": True}}, "must be a number from 0, got True"),
        ({"night": {"noise": "much"}}, "must be a number from 0, got 'much'"),
        ({"night": {"noise": float("nan")}}, "must be a number from 0, got nan"),
    ],
)
def test_a_mistake_is_said(changes, words):
    with pytest.raises(ConfigError, match=words):
        presets.detector_augments(1.0, changes)


def test_a_sheet_shows_a_row_for_each(tmp_path):
    write_yolo(tmp_path / "data", drawn_dataset(tmp_path / "data" / "images", 4))
    (tmp_path / "s.toml").write_text("[augment.mosaic]\nchance = 0\n[augment.warp]\nchance = 1\n")
    run = CliRunner().invoke(
        app,
        ["augment", str(tmp_path / "data"), "--sheet", str(tmp_path / "sheet.png"),
         "--settings", str(tmp_path / "s.toml")],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    assert "crop, mirror, affine, warp, color, pca, night, camera" in run.output
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    rows = 1 + 8 + 1  # without any, each alone, and all
    assert sheet.shape[:2] == (rows * (200 + 14 + 4) + 4, 6 * 204 + 4)


def test_a_sheet_of_nothing_is_one_message(tmp_path):
    (tmp_path / "data").mkdir()
    run = CliRunner().invoke(
        app, ["augment", str(tmp_path / "data"), "--sheet", str(tmp_path / "sheet.png")]
    )
    assert run.exit_code == 78
    assert not (tmp_path / "sheet.png").exists()
