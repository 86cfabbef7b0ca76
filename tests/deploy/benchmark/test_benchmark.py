"""The benchmark: every runtime that is here has figures, the others a reason."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.benchmark.benchmark import RUNTIMES, measure
from deploy.commands.app import app
from edge.errors import ConfigError, ModelError
from edge.vision.image_file import read_picture
from tests.support.models import constant_model, echo_model
from tests.support.triton_server import Service, serving

ECHO = echo_model()


def test_figures_of_each_batch_and_runtime_and_reasons_for_the_rest():
    with serving(Service({"echo": ECHO})) as port:
        options = {**RUNTIMES, "triton": {"kind": "triton", "url": f"127.0.0.1:{port}"}}
        report = measure({"echo.onnx": ECHO}, [1, 4], 0.05, options)
    shown = [(row.runtime, row.batch) for row in report.rows]
    assert shown[:2] == [("onnx", 1), ("onnx", 4)]
    assert shown[-2:] == [("triton", 1), ("triton", 4)]
    assert all(0 < row.p50_ms <= row.p99_ms for row in report.rows)
    assert all(row.fps == pytest.approx(1e3 * row.batch / row.p50_ms) for row in report.rows)
    measured = {row.runtime for row in report.rows}
    assert measured | set(report.skipped) == set(RUNTIMES)
    assert not measured & set(report.skipped)


def test_two_files_of_one_name_stay_apart():
    report = measure({"a.onnx": ECHO, "b.onnx": ECHO}, [4, 1], 0.01, {"onnx": RUNTIMES["onnx"]})
    assert [row.batch for row in report.rows] == [4, 1, 4, 1]


def test_the_precision_is_that_of_the_graph():
    report = measure({"echo.onnx": ECHO}, [1], 0.01, {"onnx": RUNTIMES["onnx"]})
    assert [row.precision for row in report.rows] == ["fp32"]


def test_bytes_that_are_no_model_are_an_error():
    with pytest.raises(ModelError, match=r"text\.onnx"):
        measure({"text.onnx": b"Once upon a time"}, [1], 0.01)


def test_the_command_prints_json_and_draws(tmp_path):
    model = tmp_path / "model.onnx"
    rows = np.zeros((2, 6), np.float32)
    model.write_bytes(constant_model("detect", {"detections": rows}, ["thing"]))
    arguments = ["bench", str(model), "--batches", "1,2", "--seconds", "0.01", "--json"]
    output = CliRunner().invoke(app, [*arguments, "--png", str(tmp_path / "speed.png")])
    assert output.exit_code == 0, output.output
    told = json.loads(output.stdout)
    assert {row["batch"] for row in told["rows"]} == {1, 2}
    assert "triton" in told["skipped"]
    width, height = read_picture(tmp_path / "speed.png").size_wh
    assert width > height > 100


def test_batches_must_be_numbers():
    output = CliRunner().invoke(app, ["bench", "zoo:detect-nano", "--batches", "many"])
    assert output.exit_code == ConfigError.exit_code
    assert "1,8,32" in output.output
