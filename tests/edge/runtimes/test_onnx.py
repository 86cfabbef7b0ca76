"""ONNX Runtime: what it must refuse, and who owns what it returns."""

import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx.external_data_helper import convert_model_to_external_data

from edge.errors import ConfigError, ModelError
from edge.runtimes.onnx import CUDA, TENSORRT, Options, build, refuse_absent
from tests.support.models import constant_model

ROWS = np.float32([[1, 2, 3, 4, 0.5, 0]] * 60)


@pytest.fixture
def model():
    return constant_model("detect", {"detections": ROWS}, classes=["thing"])


def test_an_unknown_provider_is_refused_with_those_that_exist():
    with pytest.raises(ConfigError, match="CPUExecutionProvider") as caught:
        build(Options(providers=("WarpDriveExecutionProvider",)))
    assert "WarpDriveExecutionProvider" in str(caught.value)


@pytest.mark.parametrize(
    ("threads", "largest"),
    [(1, 1), (0, 0), (4, 0)],  # several threads share what a batch has to do
)
def test_on_one_thread_of_a_processor_a_batch_does_not_pay(threads, largest):
    assert build(Options(threads=threads)).max_batch_size == largest


def test_weights_in_the_working_directory_are_refused(model, tmp_path, monkeypatch):
    """ONNX Runtime itself would load them: nobody has hashed that file."""
    proto = onnx.load_model_from_string(model)
    convert_model_to_external_data(proto, location="weights.bin", size_threshold=100)
    onnx.save(proto, tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    split = (tmp_path / "model.onnx").read_bytes()
    assert (tmp_path / "weights.bin").stat().st_size >= ROWS.nbytes
    with pytest.raises(ModelError, match="save it as one file"):
        build(Options(threads=1)).load(split, "split.onnx")


def test_a_batch_of_the_wrong_size_names_the_model(model):
    session = build(Options(threads=1)).load(model, "small.onnx")
    with pytest.raises(ModelError, match=r"small\.onnx") as caught:
        session.infer(np.zeros((1, 99, 99, 3), np.uint8))
    assert "\n" not in str(caught.value)


def test_outputs_belong_to_the_caller(model):
    session = build(Options(threads=1)).load(model, "small.onnx")
    images = np.zeros((2, 32, 32, 3), np.uint8)
    first = session.infer(images)["detections"]
    first[:] = -1
    second = session.infer(images)["detections"]
    np.testing.assert_array_equal(second, [ROWS, ROWS])
    assert (first == -1).all()


def test_the_serialized_form_of_onnx_runtime_itself_is_refused(model, tmp_path):
    settings = ort.SessionOptions()
    settings.optimized_model_filepath = str(tmp_path / "model.ort")
    settings.add_session_config_entry("session.save_model_format", "ORT")
    settings.log_severity_level = 4
    ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    with pytest.raises(ModelError, match="not an ONNX model"):
        build(Options(threads=1)).load((tmp_path / "model.ort").read_bytes(), "model.ort")


def int8_errors(*processor):
    """Errors of INT8 sums by ``tests.support.int8_sums`` on a processor: (ours, plain session)."""
    command = [*processor, sys.executable, "-m", "tests.support.int8_sums"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    ours, plain = map(float, result.stdout.split())
    return ours, plain


def test_int8_sums_are_exact_on_this_processor():
    ours, _ = int8_errors()
    assert ours == 0


@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="needs qemu-user")
def test_int8_sums_are_exact_on_a_processor_without_vnni():
    ours, plain = int8_errors("qemu-x86_64", "-cpu", "Haswell")
    assert ours == 0
    assert plain > 0  # the settings make the difference


def test_providers_of_a_card_are_told_which_and_where_engines_lie():
    options = Options(providers=(TENSORRT, CUDA), device=1, fp16=True, cache="/var/cache/edge")
    tensorrt = options.get_provider_options(TENSORRT)
    assert tensorrt["device_id"] == options.get_provider_options(CUDA)["device_id"] == "1"
    assert tensorrt["trt_fp16_enable"] == "1"
    assert tensorrt["trt_engine_cache_path"] == "/var/cache/edge"
    assert not options.get_provider_options("CPUExecutionProvider")


def test_a_provider_that_is_not_here_is_refused_with_what_to_install():
    if CUDA in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(ConfigError, match="onnxruntime-gpu"):
        build(Options(providers=(CUDA,)))


def test_a_provider_that_did_not_start_is_no_silent_cpu():
    with pytest.raises(ConfigError, match="did not start"):
        refuse_absent((CUDA, "CPUExecutionProvider"), ["CPUExecutionProvider"])


@pytest.mark.gpu
@pytest.mark.skipif(CUDA not in ort.get_available_providers(), reason="ONNX Runtime without CUDA")
def test_a_card_gives_the_rows_of_the_processor(model):
    images = np.zeros((2, 32, 32, 3), np.uint8)
    session = build(Options(providers=(CUDA,))).load(model, "small.onnx")
    np.testing.assert_array_equal(session.infer(images)["detections"], [ROWS, ROWS])
