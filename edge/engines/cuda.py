"""CUDA: memory, streams and graphs of one GPU; its errors become ours at one place.

The functions of ``cuda.bindings.runtime``, which return ``(status, ...)``, are passed in, so that
tests can pass their own.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import ConfigError, EngineError, GpuLostError, GpuMemoryError
from edge.extra import advise_extra

_OUT_OF_MEMORY = 2
_NO_DRIVER = frozenset({3, 34, 35, 36, 100, 803, 804})  # of cudaGetDeviceCount
# Errors that break the process's context: every later call fails alike, only a new process helps.
_STICKY = frozenset(
    {
        4,  # cudaErrorCudartUnloading
        46,  # cudaErrorDevicesUnavailable
        101,  # cudaErrorInvalidDevice: it was there, so it fell off the bus
        214,  # cudaErrorECCUncorrectable
        220,  # cudaErrorNvlinkUncorrectable
        226,  # cudaErrorContained
        700,  # cudaErrorIllegalAddress
        702,  # cudaErrorLaunchTimeout
        709,  # cudaErrorContextIsDestroyed
        710,  # cudaErrorAssert
        *range(714, 720),  # hardware stack, illegal instruction .. cudaErrorLaunchFailure
        721,  # cudaErrorTensorMemoryLeak
        999,  # cudaErrorUnknown
    }
)


@dataclass(frozen=True, slots=True)
class Gpu:
    """The driver's name of a GPU, and its compute capability, such as ``sm86``."""

    name: str
    capability: str


class Cuda:
    """CUDA on one GPU.

    Raises:
        ConfigError: There is no driver, or no such GPU.
    """

    def __init__(self, api: Any, device: int = 0) -> None:  # noqa: ANN401 - a module
        self._api = api
        self._device = device
        status, count = api.cudaGetDeviceCount()
        if int(status) in _NO_DRIVER or (not int(status) and not count):
            raise ConfigError(
                f"no NVIDIA driver answers ({self._name(status)}): install NVIDIA's driver, "
                'see `edge doctor`, or take runtime.kind = "onnx"'
            )
        self._check("cudaGetDeviceCount", status)
        if device >= count:
            raise ConfigError(f"device {device}: this machine has {count}, the first is 0")
        self.enter()

    def enter(self) -> None:
        """Make this GPU the current one of the calling thread."""
        self._call("cudaSetDevice", self._device)

    def get_gpu(self) -> Gpu:
        """Name and capability of the GPU."""
        properties = self._call("cudaGetDeviceProperties", self._device)
        name = properties.name
        name = name.decode() if isinstance(name, bytes) else str(name)
        return Gpu(name.rstrip("\0"), f"sm{properties.major}{properties.minor}")

    # --- memory -------------------------------------------------------------------------------

    def allocate(self, size_bytes: int) -> int:
        """Allocate GPU memory; returns its address.

        Raises:
            GpuMemoryError: There is not enough.
        """
        return int(self._call("cudaMalloc", max(size_bytes, 1)))

    def free(self, address: int) -> None:
        """Free GPU memory."""
        self._call("cudaFree", address)

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Pinned:
        """Allocate page-locked memory of the host, which the GPU reads and writes directly.

        Raises:
            GpuMemoryError: There is not enough.
        """
        size_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        address = int(self._call("cudaHostAlloc", max(size_bytes, 1), 0))
        raw = (ctypes.c_uint8 * max(size_bytes, 1)).from_address(address)
        array = np.ctypeslib.as_array(raw)[:size_bytes].view(dtype).reshape(shape)
        return Pinned(array, lambda: self._call("cudaFreeHost", address))

    def upload(self, address: int, rows: NDArray[Any], stream: Any) -> None:  # noqa: ANN401
        """Begin to copy pinned rows to the GPU."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, rows.ctypes.data, rows.nbytes, kind, stream)

    def download(self, rows: NDArray[Any], address: int, stream: Any) -> None:  # noqa: ANN401
        """Begin to copy from the GPU into pinned rows."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", rows.ctypes.data, address, rows.nbytes, kind, stream)

    # --- work ---------------------------------------------------------------------------------

    def stream(self) -> Any:  # noqa: ANN401 - CUDA's
        """Create a stream that does not wait for the default one."""
        return self._call("cudaStreamCreateWithFlags", 1)

    def drop_stream(self, stream: Any) -> None:  # noqa: ANN401
        """Free a stream."""
        self._call("cudaStreamDestroy", stream)

    def wait(self, stream: Any) -> None:  # noqa: ANN401
        """Wait until everything in a stream is done.

        Raises:
            GpuLostError: Something in it broke the context.
        """
        self._call("cudaStreamSynchronize", stream)

    def check(self, what: str, *, fine: bool) -> None:
        """Raise CUDA's error when TensorRT only reports that something failed.

        Raises:
            GpuMemoryError, GpuLostError, EngineError: See ``_check``.
        """
        if fine:
            return
        (status,) = self._api.cudaGetLastError()
        self._check(what, status)
        raise EngineError(f"{what} failed without a CUDA error: see the log above")

    def capture(self, stream: Any, work: Callable[[], bool]) -> Any:  # noqa: ANN401
        """Record what ``work`` enqueues as a graph; None where that cannot be recorded."""
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)
        done = work()
        status, graph = self._api.cudaStreamEndCapture(stream)
        if int(status) in _STICKY:
            self._check("cudaStreamEndCapture", status)
        if not done or int(status):
            self._api.cudaGetLastError()  # clears it: this batch size runs without a graph
            return None
        ready = self._call("cudaGraphInstantiate", graph, 0)
        self._call("cudaGraphDestroy", graph)
        return ready

    def launch(self, graph: Any, stream: Any) -> None:  # noqa: ANN401
        """Begin to run a graph."""
        self._call("cudaGraphLaunch", graph, stream)

    def drop_graph(self, graph: Any) -> None:  # noqa: ANN401
        """Free a graph."""
        self._call("cudaGraphExecDestroy", graph)

    # --- errors -------------------------------------------------------------------------------

    def _call(self, function: str, *arguments: Any) -> Any:  # noqa: ANN401
        status, *values = getattr(self._api, function)(*arguments)
        self._check(function, status)
        return values[0] if values else None

    def _check(self, function: str, status: Any) -> None:  # noqa: ANN401
        """Raise the error that a status stands for.

        Raises:
            GpuMemoryError: Out of memory.
            GpuLostError: The process must end.
            EngineError: Anything else, which concerns this call alone.
        """
        number = int(status)
        if not number:
            return
        detail = f"{self._name(status)} in {function}"
        if number == _OUT_OF_MEMORY:
            raise GpuMemoryError(f"the GPU has not enough memory left ({detail})")
        if number in _STICKY:
            raise GpuLostError(f"the GPU failed ({detail}): this process must end")
        raise EngineError(f"CUDA failed ({detail}): build the engine again")

    def _name(self, status: Any) -> str:  # noqa: ANN401
        _, name = self._api.cudaGetErrorName(status)
        return name.decode() if isinstance(name, bytes) else str(name)


@dataclass(frozen=True, slots=True)
class Pinned:
    """Page-locked memory as an array, which must not be used after ``free``."""

    array: NDArray[Any]
    free: Callable[[], None]


def open_cuda(device: int = 0) -> Cuda:
    """Open a GPU of this machine.

    Raises:
        ConfigError: There is no driver or no such GPU, or the package is not installed.
    """
    try:
        api = importlib.import_module("cuda.bindings.runtime")
    except (ImportError, OSError, RuntimeError) as error:
        raise ConfigError(
            f"cuda-bindings cannot be imported ({str(error).partition(chr(10))[0]}): "
            f"{advise_extra('tensorrt')}"
        ) from error
    return Cuda(api, device)
