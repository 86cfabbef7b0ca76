"""`edge-train summary` and `edge-train explain`, as they are typed."""

import re

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.tiny_networks import NANO, untrained
from trainers.commands.app import app
from trainers.networks import classifier
from trainers.networks.config import ClassifierConfig
from trainers.run.folder import RunFolder


def run(*arguments):
    return CliRunner(env={"COLUMNS": "400"}).invoke(app, list(map(str, arguments)))


@pytest.fixture
def classes(tmp_path):
    """A run of a classifier, and class folders."""
    config = ClassifierConfig(("green", "red"), (32, 32), width=0.2, norm="none")
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.write("config.json", {"task": "classify", "network": config.to_json()})
    folder.save(classifier.build(config))
    for n in range(6):
        for kind, color in (("red", (0, 0, 255)), ("green", (0, 255, 0))):
            path = tmp_path / "data" / kind / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(
                str(path), cv2.circle(np.full((40, 40, 3), 90, np.uint8), (20, 20), 8 + n, color)
            )
    return tmp_path


def test_a_summary_lists_layers_and_times(classes):
    result = run("summary", classes / "run", "--rounds", 1)
    assert result.exit_code == 0, result.output
    for said in ("backbone_stem", "Conv2D", "16x16x", "3x3", "in one"):
        assert said in result.stdout


def test_a_summary_without_times(classes):
    result = run("summary", classes / "run", "--rounds", 0)
    assert result.exit_code == 0, result.output
    assert "in one" not in result.stdout


def test_a_report_is_written_beside_the_run(classes):
    result = run("explain", classes / "run", "--data", classes / "data", "--max-images", 5)
    assert result.exit_code == 0, result.output
    assert re.search(r"explain\.html: [\d.]+ kB", result.stdout)
    html = (classes / "run" / "explain.html").read_text()
    assert "4 pictures" in html  # every third of twelve


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("summary", "data"), "holds no run"),
        (("summary", "nothing"), "does not exist"),
        (("explain", "run", "--data", "nothing"), "does not exist"),
        (("explain", "run", "--data", "data", "--part", "train"), "must be val or test"),
        (("explain", "other", "--data", "data"), "of the task embed: explain takes detectors"),
    ],
)
def test_what_cannot_be_done_is_refused(classes, arguments, message):
    other = RunFolder(classes / "other")
    other.path.mkdir()
    other.write("config.json", {"task": "embed", "network": {}})
    named = [classes / a if (classes / a).exists() or a == "nothing" else a for a in arguments]
    result = run(*named)
    assert result.exit_code != 0
    assert message in f"{result.exception} {result.output}"


def test_a_detector_has_a_summary(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.write("config.json", {"task": "detect", "network": NANO.to_json()})
    folder.save(untrained(NANO))
    result = run("summary", folder.path, "--rounds", 1)
    assert result.exit_code == 0, result.output
    assert "head_0" in result.stdout
