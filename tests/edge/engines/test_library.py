"""TensorRT by the recorded interfaces of its versions: which are taken, and what engines call."""

import sys
from contextlib import closing
from types import ModuleType

import numpy as np
import pytest

from edge.engines.cuda import Cuda
from edge.engines.library import TensorRtEngine, check_start, create_logger, find_library
from edge.engines.session import EngineSession
from edge.errors import ConfigError, EngineError, GpuMemoryError
from tests.support.fake_tensorrt import fake_library
from tests.support.gpu import FakeGpu
from tests.support.models import summing_model
from tests.support.tensorrt_interface import RTX, TENSORRT, load, record

MODEL = summing_model()
OLDEST, *NEWER = TENSORRT
TENS, ELEVENS = TENSORRT[:2], TENSORRT[2:]


@pytest.fixture
def gpu():
    return FakeGpu()


@pytest.mark.parametrize("version", [*TENSORRT, RTX])
def test_an_engine_runs_with_the_calls_that_a_version_has(gpu, version):
    engine = TensorRtEngine(fake_library(gpu, version), MODEL, "m.onnx")
    assert (engine.input.name, engine.input.shape, engine.input.dtype) == ("faces", (8, 8, 3), "u1")
    assert [(t.name, t.shape, t.dtype) for t in engine.outputs] == [("live", (), np.float32)]
    batch = np.random.default_rng(0).integers(0, 255, (21, 8, 8, 3), np.uint8)
    with closing(EngineSession(Cuda(gpu.api), engine, {}, "m.onnx")) as session:
        found = session.infer(batch)["live"]
    np.testing.assert_array_equal(found, batch.sum(axis=(1, 2, 3), dtype=np.float32))
    assert not gpu.held


# --- differences -------------------------------------------------------------------------------


def members(version, name):
    return {
        *load(version)["classes"][name]["methods"],
        *load(version)["classes"][name]["properties"],
    }


def test_only_rtx_is_asked_whether_a_stream_can_be_recorded(gpu):
    for version in TENSORRT:
        assert "is_stream_capturable" not in members(version, "IExecutionContext")
        assert execution(gpu, version).is_capturable(1)
    assert "is_stream_capturable" in members(RTX, "IExecutionContext")
    assert execution(gpu, RTX).is_capturable(1)


def test_working_memory_is_asked_for_without_what_11_removed(gpu):
    for name in ("device_memory_size", "create_execution_context_without_device_memory"):
        assert all(name in members(version, "ICudaEngine") for version in TENS)
        assert not any(name in members(version, "ICudaEngine") for version in ELEVENS)
    for version in TENSORRT:
        assert execution(gpu, version, rows=4).memory_bytes() == 4000


def test_contexts_need_no_runtime_configuration_which_10_3_lacks(gpu):
    assert "IRuntimeConfig" not in load(OLDEST)["classes"]
    assert all("IRuntimeConfig" in load(version)["classes"] for version in (*NEWER, RTX))
    for version in TENSORRT:
        assert execution(gpu, version)


def test_engines_are_read_from_bytes_not_from_streams_of_which_11_lacks_the_first_kind(gpu):
    def readers(version):
        return load(version)["classes"]["Runtime"]["methods"]["deserialize_cuda_engine"]

    first = "(stream_reader: IStreamReader) -> ICudaEngine"
    assert all(first in readers(version) for version in TENS)
    assert not any(first in readers(version) for version in ELEVENS)
    for version in TENSORRT:
        assert TensorRtEngine(fake_library(gpu, version), MODEL, "m.onnx").max_batch == 16


def execution(gpu, version, rows=1):
    return TensorRtEngine(fake_library(gpu, version), MODEL, "m.onnx").execution(rows)


# --- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("version", [*TENSORRT, RTX])
@pytest.mark.parametrize(
    ("complains", "error", "says"),
    [
        ("The engine plan file is not compatible", EngineError, "plan file is not compatible"),
        ("Out of memory allocating 9 GiB", GpuMemoryError, "9 GiB"),
    ],
)
def test_an_engine_that_is_refused_says_why(gpu, version, complains, error, says):
    with pytest.raises(error, match=says):
        TensorRtEngine(fake_library(gpu, version, complains=complains), MODEL, "m.onnx")


@pytest.mark.parametrize("version", [*TENSORRT, RTX])
def test_a_batch_that_is_too_large_is_refused(gpu, version):
    with pytest.raises(EngineError, match="does not take a batch of 17"):
        execution(gpu, version, rows=17)


@pytest.mark.parametrize("version", [*TENSORRT, RTX])
def test_a_tensorrt_that_cannot_use_the_driver_says_so_with_the_remedy(gpu, version):
    library = fake_library(gpu, version, fails="CUDA initialization failure with error: 35")
    with pytest.raises(ConfigError) as caught:
        check_start(library)
    assert str(caught.value) == (
        f"{library.name} {library.version} cannot start (CUDA initialization failure with error: "
        "35): update NVIDIA's driver, or install a TensorRT that supports this driver and GPU"
    )


@pytest.mark.parametrize(
    ("version", "fine"),
    [
        ("8.6.2", False),
        ("10.2.0.post1", False),
        ("10.3.0", True),
        ("10.16.1.11", True),
        ("11.4.0.106", True),
        ("12.0.0", False),
        ("unknown", False),
    ],
)
def test_only_versions_whose_interface_is_tested_are_taken(monkeypatch, version, fine):
    monkeypatch.setitem(sys.modules, "tensorrt", module_of(version))
    if fine:
        assert find_library("tensorrt").version == version
        return
    with pytest.raises(ConfigError) as caught:
        find_library("tensorrt")
    assert str(caught.value) == (
        f"TensorRT cannot be used (tensorrt: version {version} is not supported). TensorRT 10.3 to "
        f"11 is needed: in a clone of Edgewatch, {sys.executable} -m pip install '.[tensorrt]'; on "
        "a Jetson use that of JetPack 6.2 or newer"
    )


def test_beside_an_unsupported_tensorrt_the_other_flavor_is_taken(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", module_of("12.0.0"))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module_of("2.0.0"))
    assert find_library().name == "tensorrt_rtx"


def module_of(version):
    module = ModuleType("tensorrt")
    module.__version__ = version
    return module


# --- the fake itself ---------------------------------------------------------------------------


def test_the_record_of_tensorrt_rtx_is_what_its_bindings_say():
    trt = pytest.importorskip("tensorrt_rtx")
    recorded = load(RTX)
    assert record(trt) == recorded, "record it again: see tests/support/tensorrt_interface.py"


@pytest.mark.parametrize("version", ["real", *TENSORRT, RTX])
@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda trt, logger: trt.BuilderFlag.FP64, AttributeError, "FP64"),
        (lambda trt, logger: trt.Builder(None), TypeError, "incompatible"),
        (lambda trt, logger: trt.Builder(logger, 1), TypeError, "incompatible"),
        (lambda trt, logger: trt.IBuilderConfig(), TypeError, "No constructor defined"),
        (lambda trt, logger: logger.ERROR <= 3, TypeError, "matching type"),
        (lambda trt, logger: builder(trt, logger).create_network("0"), TypeError, "incompatible"),
        (lambda trt, logger: builder(trt, logger).create_network(flag=0), TypeError, "incompat"),
        (lambda trt, logger: builder(trt, logger).create_net(), AttributeError, "create_net"),
        (lambda trt, logger: set_speed(config(trt, logger)), AttributeError, "speed"),
        (lambda trt, logger: config(trt, logger).set_flag(6), TypeError, "incompatible"),
        (lambda trt, logger: trt.nptype(trt.DataType.BF16), TypeError, "numpy"),
        (lambda trt, logger: half_made(trt), TypeError, "must be called when overriding __init__"),
    ],
)
def test_a_recorded_interface_refuses_what_the_real_one_refuses(gpu, version, call, error, says):
    """``real`` is TensorRT-RTX itself."""
    if version == "real":
        pytest.importorskip("tensorrt_rtx")
        library = find_library("tensorrt_rtx")
    else:
        library = fake_library(gpu, version)
    with pytest.raises(error, match=says):
        call(library.module, create_logger(library))


def builder(trt, logger):
    return trt.Builder(logger)


def config(trt, logger):
    return builder(trt, logger).create_builder_config()


def set_speed(config):
    config.speed = 1


def half_made(trt):
    class Monitor(trt.IProgressMonitor):
        def __init__(self):
            pass

    Monitor()
