"""A graphics card made of functions: what `cuda.bindings.runtime` and an engine do, in memory.

Memory has real addresses, and a stream does nothing before somebody waits for it: what is read too
early is wrong, as on a card.
"""

import ctypes
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort

from edge.engines.library import Tensor

OUT_OF_MEMORY, ILLEGAL_ADDRESS, INSUFFICIENT_DRIVER = 2, 700, 35
NAMES = {
    0: "cudaSuccess",
    1: "cudaErrorInvalidValue",
    2: "cudaErrorMemoryAllocation",
    35: "cudaErrorInsufficientDriver",
    700: "cudaErrorIllegalAddress",
}


class FakeGpu:
    """The functions, and what happened to them.

    Args:
        memory_bytes: of the card.
        cards: how many there are.
        fails: function name -> status it returns, as long as it is in there.

    ``full`` names functions that find no memory until some is freed.
    """

    def __init__(self, memory_bytes=2**40, fails=None, cards=1):
        self.fails = {} if fails is None else fails
        self.full = set()
        self.waited = []  # at each wait, the streams that had work
        self.calls = defaultdict(int)
        self.memory_bytes = memory_bytes
        self.held = {}  # address -> buffer of the card
        self.pinned = {}
        self.streams = defaultdict(list)
        self.graphs = {}
        self.capturing = None
        self.last_error = 0
        self._cards = cards
        self.api = SimpleNamespace(
            cudaMemcpyKind=SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2),
            cudaStreamCaptureMode=SimpleNamespace(cudaStreamCaptureModeThreadLocal=1),
            **{
                name: self._counted(name, function)
                for name, function in {
                    "cudaGetDeviceCount": lambda: self._cards,
                    "cudaSetDevice": lambda device: None,
                    "cudaGetDeviceProperties": lambda device: SimpleNamespace(
                        name=b"Fake 1000\0\0", major=8, minor=6
                    ),
                    "cudaMalloc": self._allocate,
                    "cudaFree": self._free,
                    "cudaHostAlloc": self._pin,
                    "cudaFreeHost": self.pinned.pop,
                    "cudaMemcpyAsync": self._copy,
                    "cudaStreamCreateWithFlags": lambda flags: len(self.streams) + 1,
                    "cudaStreamDestroy": lambda stream: None,
                    "cudaStreamSynchronize": self._wait,
                    "cudaStreamBeginCapture": self._begin,
                    "cudaStreamEndCapture": self._end,
                    "cudaGraphInstantiate": lambda graph, flags: graph,
                    "cudaGraphDestroy": lambda graph: None,
                    "cudaGraphExecDestroy": self.graphs.pop,
                    "cudaGraphLaunch": self._launch,
                }.items()
            },
            cudaGetLastError=lambda: (self.last_error,),
            cudaGetErrorName=lambda status: (0, NAMES.get(status, "cudaError").encode()),
        )

    def _counted(self, name, function):
        def call(*arguments):
            self.calls[name] += 1
            if name in self.full:
                return (OUT_OF_MEMORY, None)
            status = self.fails.get(name, 0)
            if status and name != "cudaStreamEndCapture":  # which ends it even so
                return (status, None)
            value = function(*arguments)
            return (OUT_OF_MEMORY, None) if value is NotImplemented else (status, value)

        return call

    def _allocate(self, size_bytes):
        held = sum(len(buffer) for buffer in self.held.values())
        if held + size_bytes > self.memory_bytes:
            return NotImplemented
        return self._new(self.held, size_bytes)

    def _free(self, address):
        self.held.pop(address)
        self.full.clear()

    def _pin(self, size_bytes, flags):
        return self._new(self.pinned, size_bytes)

    def _new(self, where, size_bytes):
        buffer = (ctypes.c_uint8 * size_bytes)(*[0xAA] * min(size_bytes, 64))
        where[ctypes.addressof(buffer)] = buffer
        return ctypes.addressof(buffer)

    def enqueue(self, stream, work):
        if self.capturing == stream:
            self._recorded.append(work)
        else:
            self.streams[stream].append(work)

    def _copy(self, to, source, size_bytes, kind, stream):
        self.enqueue(stream, lambda: ctypes.memmove(to, source, size_bytes))

    def _wait(self, stream):
        assert self.capturing is None, "a stream that is recorded must not be waited for"
        self.waited.append(sum(bool(works) for works in self.streams.values()))
        todo, self.streams[stream] = self.streams[stream], []
        for work in todo:
            work()

    def _begin(self, stream, mode):
        self.capturing = stream
        self._recorded = []

    def _end(self, stream):
        self.capturing = None
        number = 1 + max(self.graphs, default=0)
        self.graphs[number] = self._recorded
        return number

    def _launch(self, graph, stream):
        for work in self.graphs[graph]:
            self.enqueue(stream, work)


class FakeEngine:
    """An ONNX file that runs on a fake card, as TensorRT would.

    Args:
        gpu: the card.
        model: bytes of the file.
        max_batch: largest batch.
        capturable: whether it can be recorded.
        work_bytes: a picture's share of working memory.
    """

    def __init__(self, gpu, model, max_batch=16, capturable=True, work_bytes=1000):
        self.gpu = gpu
        self.session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        (source,) = self.session.get_inputs()
        self.input = Tensor(source.name, tuple(source.shape[1:]), np.dtype(np.uint8))
        self.outputs = tuple(
            Tensor(o.name, tuple(o.shape[1:]), np.dtype(np.float32))
            for o in self.session.get_outputs()
        )
        self.max_batch = max_batch
        self.capturable = capturable
        self.work_bytes = work_bytes
        self.ran = []  # rows of each execution
        self.refuses = False

    def execution(self, rows):
        return FakeExecution(self, rows)


class FakeExecution:
    def __init__(self, engine, rows):
        self.engine, self.rows = engine, rows

    def memory_bytes(self):
        return self.rows * self.engine.work_bytes

    def bind(self, addresses, memory, size_bytes):
        self.addresses, self.memory, self.size_bytes = addresses, memory, size_bytes

    def is_capturable(self, stream):
        return self.engine.capturable

    def enqueue(self, stream):
        if self.engine.refuses:
            return False
        self.engine.gpu.enqueue(stream, self._run)
        return True

    def _run(self):
        engine = self.engine
        assert self.size_bytes >= self.memory_bytes()
        assert not self.memory or self.memory in engine.gpu.held
        engine.ran.append(self.rows)
        batch = self._at(engine.input)
        names = [output.name for output in engine.outputs]
        for output, value in zip(
            engine.outputs, engine.session.run(names, {engine.input.name: batch}), strict=True
        ):
            self._at(output)[:] = value

    def _at(self, tensor):
        size_bytes = self.rows * tensor.row_bytes
        raw = (ctypes.c_uint8 * size_bytes).from_address(self.addresses[tensor.name])
        return np.ctypeslib.as_array(raw).view(tensor.dtype).reshape(self.rows, *tensor.shape)
