"""TensorRT in its two flavours: found, told apart, and asked through one door.

``tensorrt`` (10.3 to 11, and what JetPack brings) and ``tensorrt_rtx`` have the same API; where
they differ, this file and the builder know.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edge.errors import ConfigError, EngineError, GpuMemoryError

log = logging.getLogger(__name__)

Flavor = Literal["auto", "tensorrt", "tensorrt_rtx"]
NAMES: tuple[Flavor, ...] = (
    "tensorrt",
    "tensorrt_rtx",
)  # the first chooses kernels by measuring them on the card


@dataclass(frozen=True, slots=True)
class Library:
    """A flavour of TensorRT.

    Attributes:
        name: of its module.
        version: of it.
        module: itself.
    """

    name: str
    version: str
    module: Any

    @property
    def is_rtx(self) -> bool:
        """TensorRT-RTX: builds without a GPU, compiles kernels where they run."""
        return self.name == "tensorrt_rtx"


def find_library(choice: Flavor = "auto") -> Library:
    """Import TensorRT.

    Raises:
        ConfigError: it is not installed, or broken.
    """
    reasons = []
    for name in NAMES if choice == "auto" else (choice,):
        try:
            module = importlib.import_module(name)
            return Library(name, str(module.__version__), module)
        except (ImportError, OSError, RuntimeError) as error:
            reasons.append(f"{name}: {str(error).partition(chr(10))[0]}")
    raise ConfigError(
        f"TensorRT cannot be imported ({'; '.join(reasons)}): install it with "
        "pip install 'edgewatch[tensorrt]', on a Jetson use JetPack's own"
    )


def create_logger(library: Library, said: list[str] | None = None) -> Any:  # noqa: ANN401 - TensorRT's
    """What TensorRT tells goes to our log; errors also to ``said``.

    Args:
        library: the flavour.
        said: takes errors, for messages.
    """
    base: Any = library.module.ILogger

    class Logger(base):  # type: ignore[misc]
        """Levels of TensorRT are those of ours."""

        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401
            if severity <= base.ERROR and said is not None:
                said.append(message.strip())
            level = logging.WARNING if severity <= base.WARNING else logging.DEBUG
            log.log(level, "%s: %s", library.name, message.strip())

    return Logger()


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output.

    Attributes:
        name: in the graph.
        shape: without the batch.
        dtype: of its values.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """Of one picture."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


class TensorRtEngine:
    """A deserialized engine.

    Args:
        library: the flavour that built it.
        plan: as it was serialized.
        name: for messages.

    Attributes:
        input: what it reads.
        outputs: what it gives.
        max_batch: largest batch.

    Raises:
        EngineError: this library, driver or card cannot run it.
        GpuMemoryError: its weights do not fit.
    """

    def __init__(self, library: Library, plan: bytes, name: str) -> None:
        trt = library.module
        said: list[str] = []
        self._library, self._logger = library, create_logger(library, said)
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            reason = said[-1] if said else "no reason given"
            if "out of memory" in "".join(said).lower():
                raise GpuMemoryError(f"{name}: {reason}")
            raise EngineError(f"{name}: {library.name} cannot load its engine ({reason})")
        self._how = _rtx_config(trt, self._engine) if library.is_rtx else _managed(trt)
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
        """A way to run batches of one size. Memory is the caller's, so that many can share it.

        Raises:
            GpuMemoryError: there is no room for it.
            EngineError: the engine takes no such batch.
        """
        context = self._engine.create_execution_context(self._how)
        if context is None:  # no shape was asked for yet
            raise GpuMemoryError(f"TensorRT has no memory to prepare batches of {rows}")
        if not context.set_input_shape(self.input.name, (rows, *self.input.shape)):
            raise EngineError(f"the engine takes no batch of {rows}: build it again")
        return Execution(context)


def _managed(trt: Any) -> Any:  # noqa: ANN401 - TensorRT's
    """Whoever makes contexts brings their memory."""
    return trt.ExecutionContextAllocationStrategy.USER_MANAGED


def _rtx_config(trt: Any, engine: Any) -> Any:  # noqa: ANN401 - TensorRT's
    """TensorRT-RTX compiles kernels where they run: at once, and once for all contexts."""
    config = engine.create_runtime_config()
    config.set_execution_context_allocation_strategy(_managed(trt))
    eager = trt.DynamicShapesKernelSpecializationStrategy.EAGER  # not while cameras wait
    config.dynamic_shapes_kernel_specialization_strategy = eager
    config.set_runtime_cache(config.create_runtime_cache())
    return config


class Execution:
    """Runs batches of one size."""

    def __init__(self, context: Any) -> None:  # noqa: ANN401 - TensorRT's
        self._context = context

    def memory_bytes(self) -> int:
        """What it needs while it runs."""
        return int(self._context.update_device_memory_size_for_shapes())

    def bind(self, addresses: Mapping[str, int], memory: int, size_bytes: int) -> None:
        """Say where tensors are, and the memory to work in."""
        if size_bytes:
            self._context.set_device_memory(memory, size_bytes)
        for name, address in addresses.items():
            self._context.set_tensor_address(name, address)

    def enqueue(self, stream: int) -> bool:
        """Begin; False when CUDA refused."""
        return bool(self._context.execute_async_v3(stream))

    def is_capturable(self, stream: int) -> bool:
        """Whether CUDA may record it; TensorRT without the question records what has no loop."""
        ask = getattr(self._context, "is_stream_capturable", None)
        return bool(ask(stream)) if ask else True
