"""Engine sessions: two channels that copy and compute at the same time, batches split to fit.

::

    channel 0   copy in | compute | copy out
    channel 1             copy in | compute | copy out

A channel has a stream, pinned buffers and GPU memory, allocated once for the largest batch. Per
batch size (1, 2, 4 .. the largest; others are run as the next of these) it has an execution
context and, where CUDA can record it, a graph; all of them share the channel's memory. Two threads
use a channel each; a thread that is alone splits a large batch in two and uses both.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.engines.cuda import Cuda
from edge.engines.library import Execution, TensorRtEngine
from edge.errors import EdgeError, GpuLostError, GpuMemoryError, ModelError

log = logging.getLogger(__name__)

CHANNELS = 2
SPLIT_FROM = 8  # rows from which a batch is split in two, to copy one half beside the other


class Channel:
    """Buffers, memory and contexts for one batch at a time; ``graphs`` records CUDA graphs.

    Raises:
        GpuMemoryError: There is not enough memory; nothing stays allocated.
    """

    def __init__(self, cuda: Cuda, engine: TensorRtEngine, max_batch: int, *, graphs: bool) -> None:
        self.max_batch = max_batch
        self._cuda, self._engine, self._graphs = cuda, engine, graphs
        self._free: list[Callable[[], None]] = []
        self._runs: dict[int, tuple[Execution, Any]] = {}
        self._pending: tuple[int, int] | None = None  # first and last row of the batch in progress
        try:
            self._open(max_batch)
        except EdgeError:
            with suppress(GpuLostError):
                self.close()
            raise

    def _open(self, max_batch: int) -> None:
        cuda = self._cuda
        self._stream = cuda.stream()
        self._free.append(lambda: cuda.drop_stream(self._stream))
        self._host: dict[str, NDArray[Any]] = {}
        self._address: dict[str, int] = {}
        for tensor in (self._engine.input, *self._engine.outputs):
            pinned = cuda.pinned((max_batch, *tensor.shape), tensor.dtype)
            self._free.append(pinned.free)
            self._host[tensor.name] = pinned.array
            self._address[tensor.name] = self._allocate(max_batch * tensor.row_bytes)
        self._host[self._engine.input.name][:] = 0
        executions = {rows: self._engine.execution(rows) for rows in prepared_sizes(max_batch)}
        need = max(execution.memory_bytes() for execution in executions.values())
        memory = self._allocate(need) if need else 0
        for rows, execution in executions.items():
            execution.bind(self._address, memory, need)
            self._runs[rows] = execution, self._record(execution)

    def _allocate(self, size_bytes: int) -> int:
        address = self._cuda.allocate(size_bytes)
        self._free.append(lambda: self._cuda.free(address))
        return address

    def _record(self, execution: Execution) -> Any:  # noqa: ANN401 - CUDA's graph, or None
        """Run once, so that everything is allocated and compiled; then record a graph."""
        self._cuda.check("TensorRT's first batch", fine=execution.enqueue(self._stream))
        self._cuda.wait(self._stream)
        if not (self._graphs and execution.is_capturable(self._stream)):
            return None
        graph = self._cuda.capture(self._stream, lambda: execution.enqueue(self._stream))
        if graph is not None:
            self._free.append(lambda: self._cuda.drop_graph(graph))
        return graph

    @property
    def graphs(self) -> int:
        """Number of batch sizes that have a graph."""
        return sum(graph is not None for _, graph in self._runs.values())

    def start(self, rows: NDArray[np.uint8], first: int) -> None:
        """Begin to run the rows of a batch from ``first`` on."""
        count, source = len(rows), self._engine.input.name
        self._pending = first, first + count
        np.copyto(self._host[source][:count], rows)
        self._cuda.upload(self._address[source], self._host[source][:count], self._stream)
        execution, graph = self._runs[next(size for size in self._runs if size >= count)]
        if graph is not None:
            self._cuda.launch(graph, self._stream)
        else:
            self._cuda.check("TensorRT", fine=execution.enqueue(self._stream))
        for tensor in self._engine.outputs:
            into = self._host[tensor.name][:count]
            self._cuda.download(into, self._address[tensor.name], self._stream)

    def finish(self, outputs: Mapping[str, NDArray[np.float32]]) -> None:
        """Wait for the rows in progress, and copy their results into ``outputs``."""
        if self._pending is None:
            return
        (first, last), self._pending = self._pending, None
        self._cuda.wait(self._stream)
        for name, whole in outputs.items():
            whole[first:last] = self._host[name][: last - first]

    def abandon(self) -> None:
        """Discard the rows in progress after an error, once the GPU is done with them."""
        if self._pending is not None:
            self._pending = None
            with suppress(EdgeError):  # the first error is being raised already
                self._cuda.wait(self._stream)

    def close(self) -> None:
        """Free everything, the latest first."""
        self._runs.clear()
        for free in reversed(self._free):
            free()
        self._free.clear()


def prepared_sizes(max_batch: int) -> list[int]:
    """Batch sizes that are prepared: powers of two, and the largest."""
    return [*(1 << n for n in range((max_batch - 1).bit_length())), max_batch]


class EngineSession:
    """An engine as a session; several threads may use it at once.

    When the GPU is short of memory, the largest batch is halved until it fits; longer batches are
    then run in parts.

    Raises:
        GpuMemoryError: Not even one picture fits.
    """

    def __init__(
        self, cuda: Cuda, engine: TensorRtEngine, metadata: Mapping[str, str], name: str,
        *, graphs: bool = True,
    ) -> None:  # fmt: skip
        self.metadata = metadata
        self._cuda, self._engine, self._name, self._graphs = cuda, engine, name, graphs
        self._max_batch = engine.max_batch
        self._free: queue.LifoQueue[Channel | None] = queue.LifoQueue()  # None: no memory for one
        self._resizing = threading.Lock()
        self._open()

    @property
    def max_batch(self) -> int:
        """Largest batch that fits the GPU's memory."""
        return self._max_batch

    def infer(self, batch: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        """``(B, ...)`` uint8, any B -> output name to array, owned by the caller.

        Raises:
            ModelError: The engine does not take such pictures.
            GpuMemoryError: Not even one picture fits any more.
            GpuLostError: The process must end.
        """
        want = self._engine.input
        if batch.shape[1:] != want.shape or batch.dtype != want.dtype:
            raise ModelError(
                f"{self._name} cannot be run on {batch.dtype} {batch.shape}: it takes {want.dtype} "
                f"(N, {', '.join(map(str, want.shape))})"
            )
        self._cuda.enter()
        while True:
            max_batch = self._max_batch
            try:
                with self._borrow_channels(len(batch)) as channels:
                    return self._run(batch, channels)
            except GpuMemoryError as error:
                self._shrink(max_batch, error)

    def close(self) -> None:
        """Free the GPU's memory; a lost GPU has nothing left to free."""
        with suppress(GpuLostError):
            self._cuda.enter()
            for _ in range(CHANNELS):
                channel = self._free.get()
                if channel:
                    channel.close()

    def _run(
        self, batch: NDArray[np.uint8], channels: Sequence[Channel]
    ) -> Mapping[str, NDArray[np.float32]]:
        outputs = {
            tensor.name: np.empty((len(batch), *tensor.shape), np.float32)
            for tensor in self._engine.outputs
        }
        for turn, (first, last) in enumerate(
            split_batch(len(batch), channels[0].max_batch, len(channels))
        ):
            channel = channels[turn % len(channels)]
            channel.finish(outputs)
            channel.start(batch[first:last], first)
        for channel in channels:
            channel.finish(outputs)
        return outputs

    @contextmanager
    def _borrow_channels(self, count: int) -> Iterator[list[Channel]]:
        """A channel for a batch of ``count`` rows; a second one where it pays and is free."""
        channels = [self._free.get()]
        if count >= SPLIT_FROM:
            with suppress(queue.Empty):
                channels.append(self._free.get_nowait())
        open_ones = [channel for channel in channels if channel]
        try:
            if not open_ones:
                raise GpuMemoryError(f"{self._name}: not even one picture fits the GPU")
            yield open_ones
        finally:
            for channel in channels:
                if channel:
                    channel.abandon()
                self._free.put(channel)

    def _open(self) -> None:
        """Open channels for the largest batch that fits."""
        while True:
            channels: list[Channel] = []
            try:
                for _ in range(CHANNELS):
                    parts = (self._cuda, self._engine, self._max_batch)
                    channels.append(Channel(*parts, graphs=self._graphs))
            except EdgeError as error:
                with suppress(GpuLostError):
                    for channel in channels:
                        channel.close()
                if not isinstance(error, GpuMemoryError):
                    for _ in range(CHANNELS):  # threads that wait for one must not wait for ever
                        self._free.put(None)
                    raise
                self._halve(error)
                continue
            for channel in channels:
                self._free.put(channel)
            log.info(
                "%s: batches up to %d on the GPU, %d of %d sizes are CUDA graphs",
                self._name, self._max_batch, channels[0].graphs,
                len(prepared_sizes(self._max_batch)),
            )  # fmt: skip
            return

    def _halve(self, error: GpuMemoryError) -> None:
        if self._max_batch == 1:
            for _ in range(CHANNELS):
                self._free.put(None)
            raise GpuMemoryError(f"{self._name}: not even one picture fits: {error}") from error
        self._max_batch //= 2
        log.warning("%s: %s: batches of %d from here on", self._name, error, self._max_batch)

    def _shrink(self, max_batch: int, error: GpuMemoryError) -> None:
        """Open smaller channels, unless another thread has done so; see `_halve` for errors."""
        with self._resizing:
            if self._max_batch != max_batch:
                return
            channels = [self._free.get() for _ in range(CHANNELS)]  # once they are not in use
            for channel in channels:
                if channel:
                    channel.close()
            if any(channels):  # else it was not their size: try the same again
                self._halve(error)
            self._open()


def split_batch(count: int, max_batch: int, channels: int = CHANNELS) -> list[tuple[int, int]]:
    """Parts of a batch, equal but for one row: one per channel where splitting pays."""
    parts = max(-(-count // max_batch), channels if count >= SPLIT_FROM else 1)
    edges = [count * n // parts for n in range(parts + 1)]
    return [(edges[n], edges[n + 1]) for n in range(parts)] if count else []
