"""`edge-train evaluate --under`: the figure by condition and strength, beside the clean one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from edge.models.classifier import ContractClassifier
from edge.types import Detections, Faces, RgbPicture
from tests.support.drawn_data import drawn_dataset
from tests.trainers.evaluation.test_classifier import MANIFEST, Brighter, draw_sides
from tests.trainers.run.test_stages import write_yolo
from trainers.augment.conditions import list_conditions
from trainers.commands.app import app
from trainers.evaluation.classifier import evaluate_classifier
from trainers.evaluation.conditions import (
    evaluate_under,
    measure_classifier,
    measure_detector,
    measure_faces,
)
from trainers.evaluation.detector import evaluate_detector, evaluate_faces

NIGHTS = list_conditions(["night"], [0.25, 1.0])


class DayOnly:
    """Knows where the objects are, but sees nothing where it is dark; asked in order."""

    def __init__(self, dataset, darkest=40):
        self.dataset, self.darkest, self.asked = dataset, darkest, 0

    def __call__(self, picture: RgbPicture) -> Detections:
        example = self.dataset.examples[self.asked % len(self.dataset)]
        self.asked += 1
        n = len(example) if picture.rgb.mean() > self.darkest else 0
        return Detections(example.xyxy[:n], np.ones(n, np.float32), np.zeros(n, np.int32))


def test_ap50_falls_where_the_detector_is_blind_and_the_change_is_certain(tmp_path):
    dataset = drawn_dataset(tmp_path, 5)
    detect = DayOnly(dataset)
    clean = evaluate_detector(dataset, detect)
    steps = []
    measure = measure_detector(dataset, detect, clean)
    light, dark = evaluate_under(measure, NIGHTS, lambda: steps.append(1))
    assert (measure.name, measure.clean.value, len(steps)) == ("AP50", 1, 2)
    assert (light.figure.value, light.change.value) == (1, 0)
    assert (dark.figure.value, dark.change.value) == (0, -1)
    assert (dark.change.low, dark.change.high) == (-1, -1)
    assert dark.condition.strength == 1


def test_the_change_draws_the_same_pictures_for_both(tmp_path):
    """A detector that misses the same pictures before and after has changed nothing, surely."""
    dataset = drawn_dataset(tmp_path, 8)

    class Half(DayOnly):
        def __call__(self, picture):
            found = super().__call__(picture)
            return found if self.asked % 2 else found[:0]

    detect = Half(dataset, darkest=0)
    clean = evaluate_detector(dataset, detect)
    (row,) = evaluate_under(measure_detector(dataset, detect, clean), NIGHTS[:1])
    assert row.figure.low < row.figure.value < row.figure.high
    assert (row.change.low, row.change.value, row.change.high) == (0, 0, 0)


def test_recall_of_faces_is_followed(tmp_path):
    dataset = drawn_dataset(tmp_path, 4)
    day_only = DayOnly(dataset)

    def ask(picture):
        found = day_only(picture)
        n = len(found)
        points, unknown = np.zeros((n, 5, 2), np.float32), np.full(n, -1, np.int32)
        return Faces(found.xyxy, found.score, points, unknown, np.zeros(n, np.float32))

    clean = evaluate_faces(dataset, ask)
    rows = evaluate_under(measure_faces(dataset, ask, clean, 0.5), NIGHTS)
    assert [row.figure.value for row in rows] == [1, 0]
    assert rows[1].change.value == -1
    assert math.isnan(rows[1].change.low)


def test_balanced_accuracy_of_a_classifier_is_followed(tmp_path):
    dataset = draw_sides(tmp_path)
    model = ContractClassifier(Brighter(), MANIFEST, "")
    clean = evaluate_classifier(dataset, model)
    conditions = list_conditions(["blur", "infrared"], [1.0])
    measure = measure_classifier(dataset, model, clean)
    rows = evaluate_under(measure, conditions)
    assert measure.clean.value == 1
    assert all(0 <= row.figure.value <= 1 for row in rows)
    assert rows[0].change.value == rows[0].figure.value - 1


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_yolo(tmp_path / "data", drawn_dataset(tmp_path / "data" / "images", 3))
    (tmp_path / "data" / "classes.txt").write_text("person\n")
    return tmp_path / "data"


def evaluate(*words: object):
    return CliRunner().invoke(app, ["evaluate", "zoo:detect-nano", *map(str, words)])


def test_the_table_and_the_json_hold_a_row_for_each(data, tmp_path):
    words = ("--data", data, "--under", "night,rain", "--strengths", "0.5,1")
    shown = evaluate(*words, "--draw", tmp_path / "drawn")
    assert shown.exit_code == 0, shown.output
    assert [shown.stdout.count(word) for word in ("clean", "night", "rain")] == [1, 2, 2]
    assert str(tmp_path / "drawn" / "under.png") in shown.stdout
    sheet = cv2.imread(str(tmp_path / "drawn" / "under.png"))
    assert sheet.shape[1] == 2 * (320 + 4) + 4
    answer = json.loads(evaluate(*words, "--json").stdout)
    assert [(row["condition"], row["strength"]) for row in answer["under"]] == [
        ("night", 0.5), ("night", 1), ("rain", 0.5), ("rain", 1),
    ]  # fmt: skip
    row = answer["under"][0]
    assert set(row["AP50"]) == {"value", "low", "high", "n"}
    difference = row["AP50"]["value"] - answer["figures"]["AP50"]["value"]
    assert row["change"]["value"] == pytest.approx(difference)


def test_json_without_conditions_has_the_figures(data):
    answer = json.loads(evaluate("--data", data, "--json").stdout)
    assert answer["model"] == "zoo:detect-nano"
    assert answer["figures"]["AP50"]["n"] == 3
    assert "under" not in answer


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--under", "fog"), "there is no condition 'fog': use some of night, infrared, blur"),
        (("--under", ","), "name conditions, some of night"),
        (("--under", "rain", "--strengths", "0"), "the strength of a condition is in (0, 1]"),
        (("--under", "rain", "--strengths", "2"), "in (0, 1], got 2"),
        (("--under", "rain", "--strengths", "x"), "--strengths must be numbers, got 'x'"),
        (
            ("--faces", "--under", "rain", "--shrink-to", "32"),
            "--shrink-to and --under are two measurements",
        ),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_read(words, says, tmp_path):
    result = evaluate("--data", tmp_path / "nowhere", *words)
    assert result.exit_code == 78
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
