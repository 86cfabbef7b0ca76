"""Bad input ends with 78, as the reference of exit codes says, whichever command it is given to."""

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.models import brightness_classifier, constant_liveness, constant_model
from trainers.commands.app import app


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "broken", "classes/a", "data/images", "data/labels", "run", "new-run"):
        (tmp_path / name).mkdir(parents=True)
    for path in ("classes/a/1.png", "data/images/1.png"):
        cv2.imwrite(path, np.zeros((64, 64, 3), np.uint8))
    for path, text in {
        "data/labels/1.txt": "0 0.5 0.5 0.5 0.5\n", "data/classes.txt": "person\n",
        "broken/1.png": "text", "text.onnx": "text", "video.mp4": "text", "bad.toml": "a =",
        "run/config.json": "{", "new-run/config.json": '{"task": "detect", "network": {}}',
    }.items():  # fmt: skip
        (tmp_path / path).write_text(text)
    rows = np.array([[4, 2, 12, 10, 0.9, 0]], np.float32)
    models = {
        "detect": constant_model("detect", {"detections": rows}, ("person",)),
        "live": constant_liveness(0.5),
        "class": brightness_classifier(),
    }
    for name, model in models.items():
        (tmp_path / f"{name}.onnx").write_bytes(model)


@pytest.mark.parametrize(
    "line",
    [
        "label nowhere --teacher detect.onnx --out new",
        "label data --teacher class.onnx --out new",
        "label broken --teacher detect.onnx --out new",
        "label video.mp4 --teacher detect.onnx --out new",
        "label data --teacher detect.onnx --out new --score nan",
        "crops video.mp4 --of person --detector detect.onnx --out new",
        "crops data --of person --detector live.onnx --out new",
        "check nowhere",
        "check broken",
        "augment nowhere --sheet a.png",
        "augment data --sheet a.png --settings bad.toml",
        "augment data --sheet a.png --for faces --input-size -3",
        "augment data --sheet a.png --for nobody",
        "evaluate nowhere.onnx --data data",
        "evaluate text.onnx --data data",
        "evaluate live.onnx --data data",
        "evaluate detect.onnx --data nowhere",
        "evaluate detect.onnx --data data --score 2",
        "evaluate detect.onnx --data data --val-fraction nan",
        "evaluate detect.onnx --data data --under moon",
        "evaluate detect.onnx --data data --under night --strengths nan",
        "evaluate zoo:faces-nano --data data --faces --shrink-to nan",
        "evaluate class.onnx --data classes",
        "attacks detect.onnx --data data",
        "attacks zoo:liveness-nano --data nowhere",
        "verification detect.onnx --data data",
        "verification zoo:embed-nano --data empty",
        "summary run",
        "summary new-run",
        "explain run --data data",
        "explain new-run --data nowhere",
        "restyle data --style nowhere --out new",
        "restyle data --style data --out data/new",
        "bench nowhere",
    ],
)
@pytest.mark.usefixtures("here")
def test_bad_input_ends_with_78(line):
    done = CliRunner().invoke(app, line.split())
    assert done.exit_code == 78, done.output
    assert "root: " in done.stderr
    assert "Traceback" not in done.output
