"""A server of Triton's protocol that computes with ONNX Runtime, for tests.

It answers what a client of ours asks of the real one: live, ready, metadata, configuration, infer.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from edge.runtimes.triton import SHA256

KINDS = {"tensor(uint8)": "UINT8", "tensor(float)": "FP32"}


class Service(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A repository of models.

    Attributes:
        hashes: of the files that models were made from; change it to run another.
        max_batch: `max_batch_size` of every model.
        batches: size of each batch that was computed.
    """

    def __init__(self, models: Mapping[str, bytes], max_batch: int = 8) -> None:
        self.hashes = {name: hashlib.sha256(file).hexdigest() for name, file in models.items()}
        self.max_batch = max_batch
        self.batches: list[int] = []
        self._sessions = {
            name: ort.InferenceSession(file, providers=["CPUExecutionProvider"])
            for name, file in models.items()
        }

    def ServerLive(self, request, context):
        return service_pb2.ServerLiveResponse(live=True)

    def ServerReady(self, request, context):
        return service_pb2.ServerReadyResponse(ready=True)

    def ModelReady(self, request, context):
        return service_pb2.ModelReadyResponse(ready=request.name in self._sessions)

    def ModelMetadata(self, request, context):
        session = self._session(request.name, context)
        answer = service_pb2.ModelMetadataResponse(name=request.name, versions=["1"])
        for values, told in (
            (session.get_inputs(), answer.inputs),
            (session.get_outputs(), answer.outputs),
        ):
            for value in values:
                shape = [d if isinstance(d, int) else -1 for d in value.shape]
                told.add(name=value.name, datatype=KINDS[value.type], shape=shape)
        return answer

    def ModelConfig(self, request, context):
        self._session(request.name, context)
        config = model_config_pb2.ModelConfig(name=request.name, max_batch_size=self.max_batch)
        if self.hashes.get(request.name):
            config.parameters[SHA256].string_value = self.hashes[request.name]
        return service_pb2.ModelConfigResponse(config=config)

    def ModelInfer(self, request, context):
        session = self._session(request.model_name, context)
        shape = list(request.inputs[0].shape)
        if shape[0] > self.max_batch:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"batch of {shape[0]} is too large")
        self.batches.append(shape[0])
        batch = np.frombuffer(request.raw_input_contents[0], np.uint8).reshape(shape)
        names = [output.name for output in request.outputs]
        try:
            found = session.run(names, {request.inputs[0].name: batch})
        except InvalidArgument as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        for name, value in zip(names, found, strict=True):
            answer.outputs.add(name=name, datatype="FP32", shape=value.shape)
            answer.raw_output_contents.append(value.tobytes())
        return answer

    def _session(self, name, context):
        if name not in self._sessions:
            context.abort(grpc.StatusCode.NOT_FOUND, f"unknown model {name}")
        return self._sessions[name]


@contextlib.contextmanager
def serving(service, port: int = 0, credentials=None) -> Iterator[int]:
    """A server on a loopback port, which is given; port 0 takes a free one."""
    server = grpc.server(ThreadPoolExecutor(4))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(service, server)
    address = f"127.0.0.1:{port}"
    if credentials:
        port = server.add_secure_port(address, credentials)
    else:
        port = server.add_insecure_port(address)
    server.start()
    try:
        yield port
    finally:
        server.stop(grace=None).wait()
