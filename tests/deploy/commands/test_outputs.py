"""What a command cannot write to is told before its work; bad input ends with 78."""

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.commands import app as app_module
from deploy.commands import bench as bench_module
from deploy.commands.app import app
from tests.support.models import constant_model


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = np.array([[4, 2, 12, 10, 0.9, 0]], np.float32)
    detector = constant_model("detect", {"detections": rows}, ("person",))
    (tmp_path / "model.onnx").write_bytes(detector)
    (tmp_path / "text.onnx").write_text("Once upon a time")
    (tmp_path / "file").touch()
    for name in ("empty", "pictures", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "run" / "config.json").write_text('{"task": "detect", "network": {}}')
    cv2.imwrite("pictures/a.png", np.zeros((32, 32, 3), np.uint8))
    return tmp_path


def run(line):
    return CliRunner().invoke(app, line.split())


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("adopt model.onnx --family yolox --out no/a.onnx", "create the folder, or choose another"),
        ("adopt model.onnx --family yolox --out model.onnx", "--out is the input itself"),
        ("adopt model.onnx --family yolox --out empty", "this is a folder: name a file in it"),
        ("export model.onnx --out model.onnx", "--out is the input itself"),
        ("export model.onnx --out file/a.onnx", "--out cannot be written"),
        ("export run --out file/a.onnx", "--out cannot be written"),
        ("bench model.onnx --png no/a.png", "--png cannot be written"),
        ("quantize model.onnx --int8 --data pictures --out no/a.onnx", "--out cannot be written"),
        ("quantize model.onnx --fp16 --data pictures --out model.onnx", "is the input itself"),
        ("triton model.onnx --out file", "--out: this is a file: name a folder"),
        ("build model.onnx --cache file", "--cache: this is a file: name a folder"),
    ],
)
def test_outputs_are_checked_before_the_work(here, line, says, monkeypatch):
    monkeypatch.setattr(app_module, "load_keras", lambda: pytest.fail("Keras was loaded"))
    monkeypatch.setattr(app_module, "adopt_tried", lambda *_: pytest.fail("it was adopted"))
    monkeypatch.setattr(bench_module, "measure", lambda *_: pytest.fail("it was measured"))
    before = (here / "model.onnx").read_bytes()
    done = run(line)
    assert done.exit_code == 78, done.output
    assert says in done.stderr
    assert (here / "model.onnx").read_bytes() == before


@pytest.mark.parametrize(
    "line",
    [
        "adopt nowhere.onnx --family yolox",
        "adopt text.onnx --family yolox",
        "adopt model.onnx --family yolox",
        "adopt model.onnx --family yolo --score nan",
        "adopt model.onnx --family yolo --pictures nowhere",
        "export nowhere",
        "export nowhere.onnx",
        "export empty",
        "export text.onnx",
        "export run",
        "export model.onnx --as-detector",
        "quantize nowhere.onnx --int8 --data pictures",
        "quantize model.onnx --int8 --data nowhere",
        "quantize model.onnx --int8 --data empty",
        "quantize model.onnx --int8 --fp16 --data pictures",
        "verify model.onnx --pictures nowhere",
        "verify model.onnx --pictures pictures --run nowhere",
        "verify model.onnx --pictures pictures --run empty",
        "verify model.onnx --pictures pictures --run run",
        "bench nowhere.onnx",
        "bench model.onnx --batches 0",
        "triton text.onnx --out new",
        "build nowhere.onnx",
        "build model.onnx --library x",
        "engines trust nowhere",
    ],
)
@pytest.mark.usefixtures("here")
def test_bad_input_ends_with_78(line):
    done = run(line)
    assert done.exit_code == 78, done.output
    assert done.stderr.startswith("root")
    assert "Traceback" not in done.output
