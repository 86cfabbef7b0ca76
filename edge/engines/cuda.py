"""CUDA: memory, streams and graphs of one card; its errors become ours at one place.

Everything goes through the functions of ``cuda.bindings.runtime``, which are given: they return
``(status, ...)``, and a test hands in its own.
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

_OUT_OF_MEMORY = 2
_NO_DRIVER = frozenset({3, 34, 35, 36, 100, 803, 804})  # of cudaGetDeviceCount
# What spoils the process's context: every later call fails alike, and only a new process helps.
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
class Card:
    """A GPU.

    Attributes:
        name: as the driver calls it.
        capability: as ``sm86``.
    """

    name: str
    capability: str


class Cuda:
    """One card.

    Args:
        api: ``cuda.bindings.runtime``, or functions like its own.
        device: number of the card.

    Raises:
        ConfigError: there is no driver, or no such card.
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
            raise ConfigError(f"device {device}: this box has {count}, the first is 0")
        self.enter()

    def enter(self) -> None:
        """Make this card the calling thread's."""
        self._call("cudaSetDevice", self._device)

    def card(self) -> Card:
        """What it is."""
        found = self._call("cudaGetDeviceProperties", self._device)
        name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
        return Card(name.rstrip("\0"), f"sm{found.major}{found.minor}")

    # --- memory -------------------------------------------------------------------------------

    def allocate(self, size_bytes: int) -> int:
        """Memory of the card; its address.

        Raises:
            GpuMemoryError: there is not so much.
        """
        return int(self._call("cudaMalloc", max(size_bytes, 1)))

    def free(self, address: int) -> None:
        """Give memory back."""
        self._call("cudaFree", address)

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Pinned:
        """Memory of the processor that the card reads and writes by itself.

        Raises:
            GpuMemoryError: there is not so much.
        """
        size_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        address = int(self._call("cudaHostAlloc", max(size_bytes, 1), 0))
        raw = (ctypes.c_uint8 * max(size_bytes, 1)).from_address(address)
        array = np.ctypeslib.as_array(raw)[:size_bytes].view(dtype).reshape(shape)
        return Pinned(array, lambda: self._call("cudaFreeHost", address))

    def upload(self, address: int, rows: NDArray[Any], stream: Any) -> None:  # noqa: ANN401
        """Begin to copy pinned rows to the card."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, rows.ctypes.data, rows.nbytes, kind, stream)

    def download(self, rows: NDArray[Any], address: int, stream: Any) -> None:  # noqa: ANN401
        """Begin to copy from the card into pinned rows."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", rows.ctypes.data, address, rows.nbytes, kind, stream)

    # --- work ---------------------------------------------------------------------------------

    def stream(self) -> Any:  # noqa: ANN401 - CUDA's
        """A queue of work that waits for no other."""
        return self._call("cudaStreamCreateWithFlags", 1)

    def drop_stream(self, stream: Any) -> None:  # noqa: ANN401
        """Free a queue."""
        self._call("cudaStreamDestroy", stream)

    def wait(self, stream: Any) -> None:  # noqa: ANN401
        """Until everything in a queue is done.

        Raises:
            GpuLostError: something in there broke the context.
        """
        self._call("cudaStreamSynchronize", stream)

    def check(self, what: str, *, fine: bool) -> None:
        """Raise what CUDA says when TensorRT only says that something failed.

        Raises:
            GpuMemoryError, GpuLostError, EngineError: see ``_check``.
        """
        if fine:
            return
        (status,) = self._api.cudaGetLastError()
        self._check(what, status)
        raise EngineError(f"{what} failed without a CUDA error: see the log above")

    def capture(self, stream: Any, work: Callable[[], bool]) -> Any:  # noqa: ANN401
        """Record what ``work`` enqueues; the graph, or None where that cannot be recorded."""
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)
        done = work()
        status, graph = self._api.cudaStreamEndCapture(stream)
        if int(status) in _STICKY:
            self._check("cudaStreamEndCapture", status)
        if not done or int(status):
            self._api.cudaGetLastError()  # forget it: this batch size runs without a graph
            return None
        ready = self._call("cudaGraphInstantiate", graph, 0)
        self._call("cudaGraphDestroy", graph)
        return ready

    def launch(self, graph: Any, stream: Any) -> None:  # noqa: ANN401
        """Begin what was recorded."""
        self._call("cudaGraphLaunch", graph, stream)

    def drop_graph(self, graph: Any) -> None:  # noqa: ANN401
        """Free a graph."""
        self._call("cudaGraphExecDestroy", graph)

    # --- errors -------------------------------------------------------------------------------

    def _call(self, function: str, *arguments: Any) -> Any:  # noqa: ANN401
        """The value of a CUDA function.

        Raises:
            GpuMemoryError, GpuLostError, EngineError: see ``_check``.
        """
        status, *values = getattr(self._api, function)(*arguments)
        self._check(function, status)
        return values[0] if values else None

    def _check(self, function: str, status: Any) -> None:  # noqa: ANN401
        """Raise what a status means.

        Raises:
            GpuMemoryError: out of memory.
            GpuLostError: the process must end.
            EngineError: anything else, which is this call's own trouble.
        """
        number = int(status)
        if not number:
            return
        told = f"{self._name(status)} in {function}"
        if number == _OUT_OF_MEMORY:
            raise GpuMemoryError(f"the GPU has not enough memory left ({told})")
        if number in _STICKY:
            raise GpuLostError(f"the GPU failed ({told}): this process must end")
        raise EngineError(f"CUDA failed ({told}): build the engine again")

    def _name(self, status: Any) -> str:  # noqa: ANN401
        _, name = self._api.cudaGetErrorName(status)
        return name.decode() if isinstance(name, bytes) else str(name)


@dataclass(frozen=True, slots=True)
class Pinned:
    """Pinned memory.

    Attributes:
        array: it as an array; not to be used after ``free``.
        free: gives it back.
    """

    array: NDArray[Any]
    free: Callable[[], None]


def open_cuda(device: int = 0) -> Cuda:
    """The card of this box.

    Raises:
        ConfigError: no driver, no card, or the package is not installed.
    """
    try:
        api = importlib.import_module("cuda.bindings.runtime")
    except (ImportError, OSError, RuntimeError) as error:
        raise ConfigError(
            f"cuda-bindings cannot be imported ({str(error).partition(chr(10))[0]}): "
            "pip install 'edgewatch[tensorrt]'"
        ) from error
    return Cuda(api, device)
