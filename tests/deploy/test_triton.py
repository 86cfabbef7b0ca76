"""What a Triton server reads: the text of a config.pbtxt, parsed by Triton's own schema."""

import hashlib

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from typer.testing import CliRunner

from deploy.commands.app import app
from edge.manifest import KEY, Manifest
from edge.models.paths import resolve_model
from edge.runtimes.triton import SHA256, Options, build
from tests.support.models import constant_model
from tests.support.triton_server import Service, serving


@pytest.fixture
def written(tmp_path):
    """Folder and parsed configuration of detect-nano."""
    output = CliRunner().invoke(app, ["triton", "zoo:detect-nano", "--out", str(tmp_path)])
    assert output.exit_code == 0, output.output
    text = (tmp_path / "detect-nano" / "config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    return tmp_path / "detect-nano", config


def test_the_configuration_tells_the_contract(written):
    _, config = written
    assert config.backend == "onnxruntime"
    assert config.max_batch_size == 32
    assert [(i.name, list(i.dims)) for i in config.input] == [("images", [416, 416, 3])]
    assert [(o.name, list(o.dims)) for o in config.output] == [("detections", [100, 6])]
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000
    manifest = Manifest.model_validate_json(config.parameters[KEY].string_value)
    assert manifest.name == "detect-nano"


def test_a_box_accepts_what_was_written_by_its_hash(written):
    folder, config = written
    file = (folder / "1" / "model.onnx").read_bytes()
    assert file == resolve_model("zoo:detect-nano", folder).read_bytes()
    service = Service({config.name: file})
    service.hashes[config.name] = config.parameters[SHA256].string_value
    assert service.hashes[config.name] == hashlib.sha256(file).hexdigest()
    with serving(service) as port:
        build(Options(url=f"127.0.0.1:{port}")).load(file, "detect-nano").close()


def test_tensorrt_is_an_accelerator_of_the_server(tmp_path):
    model = tmp_path / "model.onnx"
    rows = np.zeros((2, 6), np.float32)
    model.write_bytes(constant_model("detect", {"detections": rows}, ["thing"]))
    arguments = ["triton", str(model), "--out", str(tmp_path), "--tensorrt", "--batch", "4"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    text = (tmp_path / "constant" / "config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert [a.name for a in accelerators] == ["tensorrt"]


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    output = CliRunner().invoke(app, ["triton", "zoo:detect-nano", "--out", str(tmp_path / "file")])
    assert output.exit_code == 78
    assert "this is a file: name a folder" in output.output
