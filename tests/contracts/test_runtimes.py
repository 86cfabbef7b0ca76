"""What every runtime promises, run over each module of `edge.runtimes`.

A new runtime is found by itself. One that needs hardware says so with a ConfigError and is skipped.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from pydantic import ValidationError

from edge import plugins
from edge.errors import ConfigError, ModelError
from edge.manifest import KEY, Manifest
from tests.support import triton_server
from tests.support.fake_tensorrt import runtime_of_functions, runtime_of_this_box
from tests.support.models import constant_model, echo_model

ROWS = np.float32([[1, 2, 30, 31, 0.9, 1], [4, 5, 6, 7, 0.5, 0], [0, 0, 0, 0, 0, 0]])
POINTS = np.arange(30, dtype=np.float32).reshape(3, 5, 2)
FACES = constant_model("faces", {"detections": ROWS, "landmarks": POINTS})


@pytest.fixture(params=plugins.kinds("runtimes"))
def kind(request):
    return request.param


@pytest.fixture
def options(kind):
    """What a runtime needs beside its kind; Triton a server, which we start."""
    if kind != "triton":
        yield {}
        return
    service = triton_server.Service({"constant": FACES, "echo": echo_model()})
    with triton_server.serving(service) as port:
        yield {"url": f"127.0.0.1:{port}"}


@pytest.fixture
def runtime(kind, options, tmp_path):
    if kind == "tensorrt":
        return tensorrt(tmp_path)
    try:
        return plugins.create("runtimes", {"kind": kind, **options})
    except (ConfigError, ValidationError) as error:
        pytest.skip(f"runtime {kind} cannot work here: {error}")


def tensorrt(cache):
    """With an engine of every model; without a GPU, on one made of functions."""
    try:
        return runtime_of_this_box(cache)
    except ConfigError:
        return runtime_of_functions(cache)


def test_options_are_frozen_and_refuse_unknown_keys(kind):
    options = plugins.load("runtimes", kind).options
    assert options.model_config["frozen"]
    with pytest.raises(ValidationError, match="surprise"):
        options.model_validate({"surprise": 1})


def test_the_manifest_can_be_read_from_a_loaded_model(runtime):
    with closing(runtime.load(FACES, "faces.onnx")) as session:
        assert KEY in session.metadata
        assert Manifest.from_metadata(session.metadata, "faces.onnx", "faces").name == "constant"


@pytest.mark.parametrize("count", [1, 2, 7, 16])
def test_a_batch_gives_float32_rows_for_every_picture(runtime, count):
    with closing(runtime.load(FACES, "faces.onnx")) as session:
        outputs = session.infer(np.zeros((count, 32, 32, 3), np.uint8))
    assert set(outputs) == {"detections", "landmarks"}
    for name, rows in (("detections", ROWS), ("landmarks", POINTS)):
        assert outputs[name].dtype == np.float32
        np.testing.assert_array_equal(outputs[name], np.stack([rows] * count))


def test_as_many_threads_as_there_are_lanes_may_infer_at_once(runtime):
    echo = echo_model()
    pictures = [np.full((1, 32, 32, 3), value, np.uint8) for value in range(64)]
    with (
        closing(runtime.load(echo, "echo.onnx")) as session,
        ThreadPoolExecutor(runtime.workers) as lanes,
    ):
        outputs = list(lanes.map(session.infer, pictures))
    assert [int(found["detections"][0, 0, 0]) for found in outputs] == list(range(64))


def test_outputs_outlive_the_next_call(runtime):
    with closing(runtime.load(FACES, "faces.onnx")) as session:
        first = session.infer(np.zeros((1, 32, 32, 3), np.uint8))["detections"]
        first[:] = 7
        session.infer(np.zeros((1, 32, 32, 3), np.uint8))
        assert (first == 7).all()


@pytest.mark.parametrize(
    "model",
    [b"", b"Once upon a time\n" * 50, FACES[: len(FACES) // 2], FACES[:-1], bytes(500)],
    ids=["empty", "text", "half", "one byte short", "zeros"],
)
def test_what_is_no_model_is_refused_by_name(runtime, model):
    with pytest.raises(ModelError, match=r"broken\.onnx"):
        runtime.load(model, "broken.onnx")
