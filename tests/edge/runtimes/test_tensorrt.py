"""The runtime `tensorrt`: engines from the cache, on a card and a TensorRT made of functions."""

import dataclasses
from contextlib import closing

import numpy as np
import pytest

from deploy.commands.app import app
from edge.engines.cache import EngineCache, EngineKey
from edge.engines.cuda import Cuda
from edge.errors import ConfigError, EngineError, GpuMemoryError, ModelError
from edge.manifest import KEY
from edge.ports import EngineRuntime
from edge.runtimes.tensorrt import Options, TensorRtRuntime, build
from tests.support.fake_tensorrt import fake_library
from tests.support.gpu import FakeGpu
from tests.support.models import constant_model
from tests.support.tensorrt_interface import RTX

ROWS = np.float32([[1, 2, 30, 31, 0.9, 0], [4, 5, 20, 27, 0.8, 0]])
MODEL = constant_model("detect", {"detections": ROWS}, ["person"])


@pytest.fixture
def gpu():
    return FakeGpu()


@pytest.fixture
def runtime(gpu, tmp_path):
    def make(name="tensorrt", complains="", fails="", **options):
        version = RTX if name == "tensorrt_rtx" else "10.16.1"
        library = fake_library(gpu, version, complains=complains, fails=fails)
        made = TensorRtRuntime(Options(cache=str(tmp_path), **options), Cuda(gpu.api), library)
        return made, EngineCache(tmp_path)

    return make


def key_of(made, model=MODEL):
    return EngineKey.for_model(model, made._target, made._build_options)


def store(made, cache, engine=MODEL, **changed):
    key = dataclasses.replace(key_of(made), **changed)
    return cache.store(key, "constant", engine, 1.0, 1.0)


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx"])
@pytest.mark.parametrize("count", [1, 7, 16, 33])
def test_an_engine_of_the_cache_gives_the_rows_of_its_model(runtime, gpu, name, count):
    made, cache = runtime(name)
    store(made, cache)
    with closing(made.load(MODEL, "m.onnx")) as session:
        found = session.infer(np.zeros((count, 32, 32, 3), np.uint8))["detections"]
        np.testing.assert_array_equal(found, np.stack([ROWS] * count))
        assert KEY in session.metadata
    assert not gpu.held


def test_it_is_an_engine_runtime_of_two_lanes(runtime):
    made, _ = runtime()
    assert isinstance(made, EngineRuntime)
    assert made.workers == 2
    assert not made.waits
    assert runtime(fallback="none")[0].waits


def test_a_model_without_engine_is_answered_with_the_command_that_builds_it(runtime):
    made, _ = runtime()
    with pytest.raises(
        EngineError,
        match=r"m\.onnx has no engine for .*Fake 1000 \(sm86\).*edge-deploy build m\.onnx",
    ):
        made.load(MODEL, "m.onnx")


@pytest.mark.parametrize("model", [b"", b"Once upon a time", MODEL[:-1]])
def test_what_is_no_model_is_refused_by_name(runtime, model):
    made, _ = runtime()
    with pytest.raises(ModelError, match=r"broken\.onnx"):
        made.load(model, "broken.onnx")


def test_after_an_upgrade_the_old_engine_is_not_even_looked_at(runtime):
    made, cache = runtime()
    store(made, cache, version="10.3.0")
    with pytest.raises(EngineError, match="has no engine"):
        made.load(MODEL, "m.onnx")


def test_an_engine_that_the_library_refuses_is_built_again_not_a_crash(runtime):
    made, cache = runtime(complains="The engine plan file is not compatible")
    store(made, cache)
    with pytest.raises(EngineError, match="not compatible"):
        made.load(MODEL, "m.onnx")


def test_weights_that_do_not_fit_are_no_reason_to_build_the_same_again(runtime):
    made, cache = runtime(complains="Out of memory allocating 9 GiB")
    store(made, cache)
    with pytest.raises(GpuMemoryError):
        made.load(MODEL, "m.onnx")


def test_a_changed_engine_is_refused_and_an_older_one_taken(runtime):
    made, cache = runtime()
    store(made, cache, gpu="")
    newer = store(made, cache)
    newer.path.write_bytes(newer.path.read_bytes() + b"x")
    with closing(made.load(MODEL, "m.onnx")):
        pass


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"version": "10.3.0"}, r"is of tensorrt 10\.3\.0, here is 10\.16\.1"),
        ({"gpu": "RTX 4090", "capabilities": ("sm89",)}, "is for RTX 4090, here is Fake 1000"),
        ({"gpu": "", "capabilities": ("sm80", "sm89")}, r"is for sm80\+sm89"),
    ],
)
def test_an_engine_for_another_box_is_not_opened(runtime, changed, says):
    made, cache = runtime()
    with pytest.raises(EngineError, match=says):
        made.open(store(made, cache, **changed), MODEL, "m.onnx")


def test_smaller_engines_are_another_key_until_there_are_none(runtime):
    made, _ = runtime()
    batches = [key_of(made).batch]
    while made.shrink():
        batches.append(key_of(made).batch)
    assert batches == [(1, 8, 16), (1, 4, 4), (1, 1, 1)]


def test_the_builder_understands_the_command_that_the_runtime_gives(runtime, tmp_path):
    """Its words must be those of `edge-deploy build`, for edge imports nothing of deploy."""
    made, _ = runtime(max_batch=4, workspace_mib=64)
    command = made.build_command("m.onnx", "0" * 64)
    assert command[1:4] == ["-m", "deploy", "build"]
    (build_command,) = [c for c in app.registered_commands if c.name == "build"]
    known = {
        word
        for value in build_command.callback.__annotations__.items()
        for word in options_of(*value)
    }
    words = [word for word in command if word.startswith("--")]
    assert set(words) <= known
    assert command[command.index("--max-batch") + 1] == "4"
    assert command[command.index("--cache") + 1] == str(tmp_path)


def options_of(name, annotation):
    text = str(annotation)
    yield "--" + name.replace("_", "-")
    yield from (part for part in text.replace("'", '"').split('"') if part.startswith("--"))


def test_a_tensorrt_that_cannot_use_the_driver_is_no_runtime(runtime):
    with pytest.raises(ConfigError, match=r"cannot start \(error: 35\): update NVIDIA's driver"):
        runtime(fails="error: 35")


def test_without_a_library_one_sentence_says_what_to_install(no_driver):
    with pytest.raises(ConfigError):
        build(Options(fallback="none", library="tensorrt"))
