"""TensorRT and TensorRT-RTX: engines that `edge-deploy build` has built, on the GPU."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from edge import plugins
from edge.config import Table
from edge.engines.cache import (
    BuildOptions,
    EngineCache,
    EngineEntry,
    EngineKey,
    EngineTarget,
    default_root,
)
from edge.engines.cuda import Cuda, open_cuda
from edge.engines.library import (
    Flavor,
    Library,
    TensorRtEngine,
    check_start,
    find_library,
)
from edge.engines.session import EngineSession
from edge.errors import ConfigError, EngineError, GpuLostError, GpuMemoryError
from edge.onnxfile import read_metadata
from edge.ports import Runtime

log = logging.getLogger(__name__)


class Options(Table):
    """TensorRT or TensorRT-RTX on an NVIDIA GPU.

    Attributes:
        library: Flavor of TensorRT; `auto` prefers `tensorrt` to `tensorrt_rtx`.
        device: Number of the GPU.
        max_batch: Largest batch of an engine; larger ones are run in parts. Raising it takes
            memory.
        opt_batch: Batch size that kernels are optimized for.
        workspace_mib: Scratch memory that a layer may use, in MiB.
        sweeps: Number of unrolled NMS sweeps; 0 keeps the loop and disables CUDA graphs.
        graphs: Record CUDA graphs.
        workers: Batches side by side: while one is on the GPU, the next is prepared.
        cache: Folder of engines; empty is `$CACHE_DIRECTORY`, else the user's cache.
        fallback: What to do without a GPU, and until an engine is there: `onnx` runs models on
            the CPU; `none` refuses to start, or is not ready until then.
        build_timeout_s: Abandon a build that takes longer, in seconds.
    """

    renamed: ClassVar[dict[str, str]] = {"lanes": "workers", "usual_batch": "opt_batch"}

    library: Flavor = "auto"
    device: int = Field(default=0, ge=0, le=255)
    max_batch: int = Field(default=16, ge=1, le=256)
    opt_batch: int = Field(default=8, ge=1, le=256)
    workspace_mib: int = Field(default=1024, ge=1)
    sweeps: int = Field(default=16, ge=0, le=256)
    graphs: bool = True
    workers: int = Field(default=2, ge=1, le=64)
    cache: str = ""
    fallback: Literal["onnx", "none"] = "onnx"
    build_timeout_s: float = Field(default=3600, gt=0)

    @property
    def build_options(self) -> BuildOptions:
        """The options to build engines with."""
        opt_batch = min(self.opt_batch, self.max_batch)
        return BuildOptions(opt_batch, self.max_batch, self.workspace_mib, self.sweeps)

    @property
    def root(self) -> Path:
        """The folder of the engine cache."""
        return Path(self.cache).expanduser() if self.cache else default_root()


class TensorRtRuntime:
    """Loads engines from the cache; see `edge.ports.EngineRuntime`.

    Raises:
        ConfigError: This version of TensorRT cannot use the driver or GPU.
    """

    def __init__(self, options: Options, cuda: Cuda, library: Library) -> None:
        self.waits = options.fallback == "none"
        self.build_timeout_s = options.build_timeout_s
        self._options, self._cuda, self._library = options, cuda, library
        self._build_options = options.build_options
        self._cache = EngineCache(options.root)
        check_start(library)
        gpu = cuda.get_gpu()
        self._target = EngineTarget(library.name, library.version, gpu.name, (gpu.capability,))

    @property
    def workers(self) -> int:
        """Batches that are worth running side by side."""
        return self._options.workers

    def load(self, model: bytes, name: str) -> EngineSession:
        """Load the engine of a model from the cache.

        Raises:
            ModelError: The bytes are not a model.
            EngineError: There is no engine for it, or none that can be trusted.
            GpuMemoryError: Not even one picture fits the GPU.
        """
        read_metadata(model, name)
        key = EngineKey.for_model(model, self._target, self._build_options)
        refused = []
        for entry in self._cache.find(key):
            try:
                return self.open(entry, model, name)
            except EngineError as error:
                refused.append(str(error))
        raise EngineError(
            "; ".join(refused) or f"{name} has no engine for {key}: edge-deploy build {name}"
        )

    def open(self, entry: EngineEntry, model: bytes, name: str) -> EngineSession:
        """Load one engine of a model.

        Raises:
            ModelError: The bytes are not a model.
            EngineError: It cannot run here, or cannot be trusted.
            GpuMemoryError: Not even one picture fits the GPU.
        """
        metadata = read_metadata(model, name)
        if problem := self._find_mismatch(entry.key):
            raise EngineError(f"{name}: {problem}")
        self._cuda.enter()
        engine = TensorRtEngine(self._library, self._cache.load(entry), name)
        return EngineSession(self._cuda, engine, metadata, name, graphs=self._options.graphs)

    def _find_mismatch(self, key: EngineKey) -> str:
        """Why an engine is not for this machine; empty when it is."""
        here = self._target
        if (key.library, key.version) != (here.library, here.version):
            return f"its engine is of {key.library} {key.version}, here is {here.version}"
        if key.gpu not in ("", here.gpu) or not set(here.capabilities) <= set(key.capabilities):
            gpus = key.gpu or "+".join(key.capabilities)
            return f"its engine is for {gpus}, here is {here.gpu} ({here.capabilities[0]})"
        return ""

    def build_command(self, name: str, sha256: str) -> list[str]:
        """The command that builds the engine that ``load`` looks for."""
        options = self._build_options
        return [
            sys.executable, "-m", "deploy", "build", name,
            "--sha256", sha256,
            "--library", self._library.name,
            "--device", str(self._options.device),
            "--max-batch", str(options.max_batch),
            "--opt-batch", str(options.opt_batch),
            "--workspace", str(options.workspace_mib),
            "--sweeps", str(options.sweeps),
            "--cache", str(self._options.root),
            "--timeout", str(self.build_timeout_s),
        ]  # fmt: skip

    def shrink(self) -> bool:
        """From here on use engines of smaller batches; False when there are none."""
        smaller = self._build_options.smaller()
        shrunk, self._build_options = smaller != self._build_options, smaller
        return shrunk


def build(options: Options) -> Runtime:
    """Create the runtime that options describe; ONNX Runtime without a GPU if `fallback` is onnx.

    Raises:
        ConfigError: There is no driver, GPU or TensorRT that can be used, and `fallback` is none.
        GpuMemoryError: The GPU is full, and `fallback` is none.
        GpuLostError: The GPU is busy or hangs, and `fallback` is none.
    """
    try:
        return TensorRtRuntime(options, open_cuda(options.device), find_library(options.library))
    except (ConfigError, GpuMemoryError, GpuLostError) as error:
        if options.fallback == "none":
            raise type(error)(f"runtime: {error}") from error
        log.warning("runtime: %s. Models run on the processor until then", error)
    runtime: Runtime = plugins.create("runtimes", {"kind": "onnx"})
    return runtime
