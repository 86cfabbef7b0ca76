"""A runtime whose engines are built by a small program: ``tests.support.engines:Options``.

It stands in for TensorRT where there is no GPU. Its engines are ONNX files in the engine cache,
which it loads into ONNX Runtime; its builder is a script that can be slow, fail, or build an engine
that finds something else.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from pydantic import BaseModel, ConfigDict

from edge.engines.cache import DEFAULT, EngineCache, EngineKey, EngineTarget
from edge.errors import EngineError, GpuLostError, GpuMemoryError

HERE = EngineTarget("tests", "1", "Fake 1000", ("sm86",))
ENGINES = []  # every session that was opened, for the tests to look at


class Options(BaseModel):
    """Where engines are, how the builder and the engine behave."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cache: Path
    waits: bool = False
    build_s: float = 0.3
    build_timeout_s: float = 30
    builds: str = "right"  # right, wrong, nothing, crash
    memory_after: int = -1  # after so many batches the GPU's memory is gone
    lost_after: int = -1
    too_big: int = 0  # so often an engine does not fit


class Runtime:
    workers = 2

    def __init__(self, options):
        self.options = options
        self.waits = options.waits
        self.build_timeout_s = options.build_timeout_s
        self.too_big = options.too_big
        self.build_options = DEFAULT
        self.cache = EngineCache(options.cache)

    def load(self, model, name):
        for entry in self.cache.find(EngineKey.for_model(model, HERE, self.build_options)):
            engine = self.cache.load(entry)
            if self.too_big:
                self.too_big -= 1
                raise GpuMemoryError("not even one picture fits")
            return Session(engine, self.options)
        raise EngineError(f"{name} has no engine")

    def build_command(self, name, sha256):
        script = [sys.executable, "-m", "tests.support.engines", str(self.options.cache), name]
        batch = str(self.build_options.max_batch)
        return [*script, str(self.options.build_s), self.options.builds, batch]

    def shrink(self):
        smaller = self.build_options.smaller()
        shrunk, self.build_options = smaller != self.build_options, smaller
        return shrunk


class Session:
    def __init__(self, engine, options):
        self.session = ort.InferenceSession(engine, providers=["CPUExecutionProvider"])
        self.metadata = self.session.get_modelmeta().custom_metadata_map
        self.options = options
        self.batches = 0
        self.running = 0
        self.closed = False
        ENGINES.append(self)

    def infer(self, batch):
        assert not self.closed, "an engine is used that was closed"
        self.running += 1
        self.batches += 1
        if 0 <= self.options.memory_after < self.batches:
            raise GpuMemoryError("the GPU has not enough memory left")
        if 0 <= self.options.lost_after < self.batches:
            raise GpuLostError("the GPU failed (cudaErrorIllegalAddress): this process must end")
        names = [output.name for output in self.session.get_outputs()]
        outputs = self.session.run(None, {self.session.get_inputs()[0].name: batch})
        self.running -= 1
        return dict(zip(names, outputs, strict=True))

    def close(self):
        assert self.running <= 0 or self.options.memory_after >= 0
        self.closed = True


def build(options):
    return Runtime(options)


def shifted(model):
    """A model whose every row has another score: what a bad quantisation does."""
    proto = onnx.load_model_from_string(model)
    for initializer in proto.graph.initializer:
        if initializer.name == "detections_rows":
            rows = onnx.numpy_helper.to_array(initializer).copy()
            rows[..., 4] = np.where(rows[..., 4] > 0, 0.2, 0)
            initializer.CopyFrom(onnx.numpy_helper.from_array(rows, initializer.name))
    return proto.SerializeToString()


def main(cache, name, build_s, builds, max_batch):
    """The builder."""
    model = Path(name).read_bytes()
    options = DEFAULT
    while options.max_batch > int(max_batch):
        options = options.smaller()
    print("50% timing tactics", flush=True)
    time.sleep(float(build_s))
    if builds == "crash":
        sys.exit("the builder ran out of luck")
    if builds != "nothing":
        engine = shifted(model) if builds == "wrong" else model
        EngineCache(Path(cache)).store(
            EngineKey.for_model(model, HERE, options), "m", engine, time.time(), 1.0
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
