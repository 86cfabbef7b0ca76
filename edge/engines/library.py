"""TensorRT in its two flavors, behind one interface.

``tensorrt`` (10.3 to 11, and what JetPack brings) and ``tensorrt_rtx`` have the same API; only
this file and the builder know where they differ. Both use no call that one of the versions lacks:
tests run them against the recorded interfaces. Other versions are refused.
"""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edge.errors import ConfigError, EngineError, GpuMemoryError
from edge.extra import advise_extra

log = logging.getLogger(__name__)

Flavor = Literal["auto", "tensorrt", "tensorrt_rtx"]
NAMES: tuple[Flavor, ...] = ("tensorrt", "tensorrt_rtx")  # the first measures kernels on the GPU
REMEDY = (
    f"TensorRT 10.3 to 11 is needed: {advise_extra('tensorrt')}; on a Jetson use that of JetPack "
    "6.2 or newer"
)
_FIRST, _LAST = (10, 3), 11  # the first version of tensorrt, the last major version


@dataclass(frozen=True, slots=True)
class Library:
    """A flavor of TensorRT: name and version of its module, and the module itself."""

    name: str
    version: str
    module: Any

    @property
    def is_rtx(self) -> bool:
        """Whether this is TensorRT-RTX, which builds without a GPU and compiles kernels later."""
        return self.name == "tensorrt_rtx"


def find_library(choice: Flavor = "auto") -> Library:
    """Import TensorRT.

    Raises:
        ConfigError: It is not installed, broken, or of an untested version.
    """
    reasons = []
    for name in NAMES if choice == "auto" else (choice,):
        try:
            module = importlib.import_module(name)
            version = str(module.__version__)
        except (ImportError, OSError, RuntimeError) as error:
            reasons.append(f"{name}: {str(error).partition(chr(10))[0]}")
            continue
        if is_supported(name, version):
            return Library(name, version, module)
        reasons.append(f"{name}: version {version} is not supported")
    raise ConfigError(f"TensorRT cannot be used ({'; '.join(reasons)}). {REMEDY}")


def is_supported(name: str, version: str) -> bool:
    """Whether a version has an interface that is tested; every TensorRT-RTX counts as such."""
    number = re.match(r"(\d+)\.(\d+)", version)
    if name == "tensorrt_rtx" or number is None:
        return name == "tensorrt_rtx"
    major, minor = int(number[1]), int(number[2])
    return (major, minor) >= _FIRST and major <= _LAST


def create_logger(library: Library, errors: list[str] | None = None) -> Any:  # noqa: ANN401 - TensorRT's
    """Create a logger that passes TensorRT's messages to our log, and its errors to ``errors``."""
    base: Any = library.module.ILogger

    class Logger(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401
            if severity <= base.ERROR and errors is not None:
                errors.append(message.strip())
            level = logging.WARNING if severity <= base.WARNING else logging.DEBUG
            log.log(level, "%s: %s", library.name, message.strip())

    return Logger()


def create(library: Library, name: str, logger: Any, errors: list[str]) -> Any:  # noqa: ANN401 - TensorRT's
    """Create a ``Runtime`` or ``Builder``, with the logger that fills ``errors``.

    Raises:
        ConfigError: TensorRT cannot use this driver or GPU.
    """
    try:
        return getattr(library.module, name)(logger)
    except TypeError as error:  # all that the bindings make of a null pointer
        reason = errors[-1] if errors else "no reason given"
        raise ConfigError(
            f"{library.name} {library.version} cannot start ({reason}): update NVIDIA's driver, or "
            "install a TensorRT that supports this driver and GPU"
        ) from error


def check_start(library: Library) -> None:
    """Check that engines can be loaded at all.

    Raises:
        ConfigError: TensorRT cannot use this driver or GPU.
    """
    errors: list[str] = []
    create(library, "Runtime", create_logger(library, errors), errors)


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output; ``shape`` is without the batch."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """Size of one row of a batch."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


class TensorRtEngine:
    """A deserialized engine.

    Raises:
        EngineError: This library, driver or GPU cannot run it.
        ConfigError: This library cannot use this driver or GPU at all.
        GpuMemoryError: Its weights do not fit.
    """

    def __init__(self, library: Library, plan: bytes, name: str) -> None:
        trt = library.module
        errors: list[str] = []
        self._library, self._logger = library, create_logger(library, errors)
        self._runtime = create(library, "Runtime", self._logger, errors)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            reason = errors[-1] if errors else "no reason given"
            if "out of memory" in "".join(errors).lower():
                raise GpuMemoryError(f"{name}: {reason}")
            raise EngineError(f"{name}: {library.name} cannot load its engine ({reason})")
        managed = trt.ExecutionContextAllocationStrategy.USER_MANAGED  # the caller brings memory
        self._context_config = (
            _configure_rtx(trt, self._engine, managed) if library.is_rtx else managed
        )
        names = [self._engine.get_tensor_name(n) for n in range(self._engine.num_io_tensors)]
        inputs = [n for n in names if self._engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        self.input = self._tensor(inputs[0])
        self.outputs = tuple(self._tensor(n) for n in names if n not in inputs)
        self.max_batch = int(self._engine.get_tensor_profile_shape(inputs[0], 0)[2][0])

    def _tensor(self, name: str) -> Tensor:
        dtype = self._library.module.nptype(self._engine.get_tensor_dtype(name))
        shape = tuple(int(n) for n in tuple(self._engine.get_tensor_shape(name))[1:])
        return Tensor(name, shape, np.dtype(dtype))

    def execution(self, rows: int) -> Execution:
        """Prepare to run batches of one size, in the caller's memory, which several can share.

        Raises:
            GpuMemoryError: The GPU is full.
            EngineError: The engine does not take such a batch.
        """
        context = self._engine.create_execution_context(self._context_config)
        if context is None:  # not because of the shape, which is set next
            raise GpuMemoryError(f"TensorRT has no memory to prepare batches of {rows}")
        if not context.set_input_shape(self.input.name, (rows, *self.input.shape)):
            raise EngineError(f"the engine does not take a batch of {rows}: build it again")
        return Execution(context)


def _configure_rtx(trt: Any, engine: Any, managed: Any) -> Any:  # noqa: ANN401 - TensorRT's
    """TensorRT-RTX compiles kernels on the GPU that runs them, once for all contexts."""
    config = engine.create_runtime_config()
    config.set_execution_context_allocation_strategy(managed)
    eager = trt.DynamicShapesKernelSpecializationStrategy.EAGER  # now, not while cameras wait
    config.dynamic_shapes_kernel_specialization_strategy = eager
    config.set_runtime_cache(config.create_runtime_cache())
    return config


class Execution:
    """Runs batches of one size."""

    def __init__(self, context: Any) -> None:  # noqa: ANN401 - TensorRT's
        self._context = context

    def memory_bytes(self) -> int:
        """GPU memory that it needs while it runs."""
        return int(self._context.update_device_memory_size_for_shapes())

    def bind(self, addresses: Mapping[str, int], memory: int, size_bytes: int) -> None:
        """Set the addresses of the tensors and of the working memory."""
        if size_bytes:
            self._context.set_device_memory(memory, size_bytes)
        for name, address in addresses.items():
            self._context.set_tensor_address(name, address)

    def enqueue(self, stream: int) -> bool:
        """Begin to run; False when CUDA refused."""
        return bool(self._context.execute_async_v3(stream))

    def is_capturable(self, stream: int) -> bool:
        """Whether CUDA can record it; True for a TensorRT that cannot tell."""
        is_capturable = getattr(self._context, "is_stream_capturable", None)
        return bool(is_capturable(stream)) if is_capturable else True
