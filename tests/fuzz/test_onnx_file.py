"""An ONNX file: read before a library opens it, and opened by the runtime itself."""

import numpy as np

from edge.errors import ModelError
from edge.onnxfile import precision_of, read_metadata
from edge.runtimes.onnx import Options, build
from tests.support.fuzzing import expect, fuzz, mutate
from tests.support.models import constant_model

ROWS = np.float32([[1, 2, 3, 4, 0.5, 0]] * 3)
MODEL = constant_model("detect", {"detections": ROWS}, classes=["thing"])
WORDS = (
    b"\x80" * 10,
    b"\xff\xff\xff\xff\x0f",
    b"\x3a\xff\xff\xff\xff\x07",
    b"\x72\x00",
    b"edge.manifest",
)


@fuzz(200, content=mutate([MODEL], WORDS) | mutate([MODEL], most=3, edits=("flip",)))
def test_what_is_read_before_a_library_opens_it(content):
    with expect(ModelError, ValueError):
        read_metadata(content, "net.onnx")
        assert precision_of(content) in ("fp32", "fp16", "int8")


@fuzz(100, content=mutate([MODEL], most=3, edits=("flip",)))
def test_what_the_runtime_opens(content):
    with expect(ModelError):
        build(Options(threads=1)).load(content, "net.onnx").close()
