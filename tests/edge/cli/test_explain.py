"""`edge explain` writes a picture and says its figures, and refuses with the remedy."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from edge.cli import app
from edge.cli.explain import describe_weakness
from edge.models import occlusion
from edge.models.contract import read_task_manifest
from edge.models.paths import resolve_model
from tests.support.models import brightness_classifier, constant_liveness, constant_model

ROWS = np.array([[4, 2, 12, 10, 0.9, 1], [0, 0, 8, 8, 0.4, 0]], np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24] = 255
    cv2.imwrite(str(tmp_path / "a.png"), image)
    (tmp_path / "classes.onnx").write_bytes(brightness_classifier())
    detector = constant_model("detect", {"detections": ROWS}, ("person", "dog"))
    (tmp_path / "detector.onnx").write_bytes(detector)
    (tmp_path / "liveness.onnx").write_bytes(constant_liveness(0.5))
    (tmp_path / "text.png").write_text("no picture")
    return tmp_path


def explain(folder, *arguments):
    runner = CliRunner(env={"COLUMNS": "300"})
    named = [str(folder / a) if a.endswith((".png", ".onnx", ".jpg")) else a for a in arguments]
    return runner.invoke(app, ["explain", *named])


def test_a_classifier_is_explained(folder):
    result = explain(folder, "a.png", "--model", "classes.onnx", "--class", "bright", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["label"] == "bright"
    assert said["patches"] == said["planned"]
    assert said["picture"] == "a-why.jpg"  # in the current folder, not among the pictures
    assert not (folder / "a-why.jpg").exists()
    drawn = cv2.imread("a-why.jpg")
    assert drawn.shape == (48, 64, 3)
    colored = np.ptp(drawn.astype(int), axis=2)
    assert colored[:16].mean() > colored[32:].mean() + 20  # what is white speaks for bright


def test_a_detection_is_explained(folder):
    out = ("--out", "b.jpg")
    result = explain(folder, "a.png", "--model", "detector.onnx", "--object", "2", *out)
    assert result.exit_code == 0, result.output
    assert "person 0.40: a patch lowers it by up to 0.00; nothing lowers it" in result.stdout
    assert (folder / "b.jpg").is_file()


@pytest.mark.parametrize(
    ("task", "score", "says"),
    [
        ("detect", 0.49, "this find is weak: cameras start a track at 0.5 (tracking.high_score)"),
        ("detect", 0.5, ""),
        ("faces", 0.65, "this find is weak: the model reports none below 0.6"),
        ("faces", 0.75, ""),
        ("classify", 0.1, ""),
    ],
)
def test_a_weak_find_is_told(task, score, says):
    shipped = "zoo:faces-nano" if task == "faces" else "zoo:detect-nano"
    manifest = read_task_manifest(resolve_model(shipped, Path()))
    assert describe_weakness(manifest.model_copy(update={"task": task}), score) == says


def test_a_weak_find_is_told_in_text_and_json(folder):
    weak = ("a.png", "--model", "detector.onnx", "--object", "2")
    assert "this find is weak" in explain(folder, *weak).stdout
    assert json.loads(explain(folder, *weak, "--json").stdout)["weak"] is True
    sure = json.loads(explain(folder, *weak[:3], "--json").stdout)
    assert (sure["score"], sure["weak"]) == (0.9, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.png", "--model", "detector.onnx", "--object", "3"), "is no number 3"),
        (("a.png", "--model", "detector.onnx", "--class", "cat"), "the model knows person, dog"),
        (("a.png", "--model", "classes.onnx", "--class", "cat"), "the model knows dark, bright"),
        (("a.png", "--model", "liveness.onnx"), "a model of the task liveness"),
        (("text.png", "--model", "classes.onnx"), "not a picture that OpenCV can decode"),
        (("nothing.png", "--model", "classes.onnx"), "No such file"),
        (("a.png", "--model", "text.png"), "not a contract model"),
        (("a.png", "--model", "detector.onnx", "--out", "./a.png"), "is the input itself"),
        (("a.png", "--model", "detector.onnx", "--at", "2", "nan"), "from 0 to 1, got 2 nan"),
        (
            ("a.png", "--model", "detector.onnx", "--at", "1", "1", "--object", "1"),
            "--object and --at both choose a find: give one of them",
        ),
        (("a.png", "--model", "classes.onnx", "--at", "1", "1"), "leave --object and --at out"),
        (("a.png", "--model", "classes.onnx", "--object", "1"), "leave --object and --at out"),
        (("a.png", "--model", "detector.onnx", "--out", "no/b.png"), "create the folder, or"),
        (("a.png", "--model", "detector.onnx", "--out", "."), "this is a folder: name a file"),
        (("a.png", "--model", "detector.onnx", "--out", "b.abc"), "use .png or .jpg"),
    ],
)
def test_what_cannot_be_explained_is_refused(folder, arguments, message, monkeypatch):
    monkeypatch.setattr(occlusion, "explain", lambda *_, **__: pytest.fail("the work was done"))
    before = (folder / "a.png").read_bytes()
    result = explain(folder, *arguments)
    assert (folder / "a.png").read_bytes() == before
    assert result.exit_code == 78, result.output
    assert message in result.stderr
    assert not list(folder.rglob("*-why.jpg"))
