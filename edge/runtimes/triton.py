"""A Triton inference server over gRPC, for machines that share one with a GPU.

The server holds the model in its repository (`edge-deploy triton MODEL --out REPOSITORY` writes
it). This machine holds the same file: the manifest is read from it, and its hash must be that of
the server's. Every call has a deadline. An unreachable server is retried for `retry_s`, which
bridges a restart; after that the error ends the process, systemd starts it again, and it is not
ready until the server answers.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from pydantic import Field

from edge.config import Table
from edge.errors import ConfigError, EdgeError, ModelError
from edge.manifest import KEY, Manifest
from edge.onnxfile import read_metadata

SHA256 = "edge.sha256"  # parameter of the server's model: hash of the file that it was made from
PAUSE_S = 0.1  # between two attempts
_TRANSIENT = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "NOT_FOUND", "CANCELLED")
_CHANNEL = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)


class Options(Table):
    """A Triton inference server over gRPC.

    Attributes:
        url: Host and port of the gRPC service, such as `10.0.0.9:8001`.
        model: Name of the model on the server; empty is the name in the manifest.
        version: Version of the model on the server; empty lets the server choose.
        timeout_s: Deadline of one call, in seconds. Raising it tolerates a busier server.
        retry_s: How long to retry while the server is away, in seconds; below the 10 s after
            which the watchdog takes a silent stage for dead.
        connect_timeout_s: How long to retry at the start, in seconds.
        workers: Requests in flight side by side. Raising it hides network latency.
        tls: Encrypt the connection.
        ca_file: Certificates to verify the server with; empty uses the system's.
        cert_file: Client certificate, for servers that require one.
        key_file: Private key of the client certificate.
        pin: Refuse a server that does not prove that it runs the same model file.
    """

    renamed: ClassVar[dict[str, str]] = {
        "lanes": "workers",
        "patience_s": "retry_s",
        "connect_s": "connect_timeout_s",
    }

    url: str = ""
    model: str = ""
    version: str = ""
    timeout_s: float = Field(default=2.0, gt=0, le=60)
    retry_s: float = Field(default=6.0, ge=0, le=60)
    connect_timeout_s: float = Field(default=10.0, ge=0, le=600)
    workers: int = Field(default=2, ge=1, le=64)
    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    pin: bool = True


class TritonSession:
    """A model on the server.

    Args:
        server: The connection.
        metadata: Metadata of the local file.
        source: Name of the model's input.
        outputs: Names of its outputs.
        max_batch: Largest batch of the model; 0 is any size.
    """

    def __init__(
        self, server: _TritonServer, metadata: Mapping[str, str], source: str,
        outputs: tuple[str, ...], max_batch: int,
    ) -> None:  # fmt: skip
        self._server = server
        self._source, self._outputs, self._max_batch = source, outputs, max_batch
        self.metadata = metadata

    def infer(self, batch: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        """``(B, ...)`` uint8 -> output name to array, owned by the caller.

        Raises:
            ModelError: The model does not take such a batch.
            EdgeError: The server does not answer.
        """
        step = self._max_batch or max(len(batch), 1)
        parts = [self._infer_part(batch[n : n + step]) for n in range(0, max(len(batch), 1), step)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def _infer_part(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        source = triton.InferInput(self._source, list(batch.shape), "UINT8")
        source.set_data_from_numpy(np.ascontiguousarray(batch))
        outputs = [triton.InferRequestedOutput(name) for name in self._outputs]
        model, version = self._server.model, self._server.version
        result = self._server.call(
            lambda client, timeout_s: client.infer(
                model, [source], version, outputs=outputs, client_timeout=timeout_s
            )
        )
        return {name: result.as_numpy(name) for name in self._outputs}  # read-only views

    def close(self) -> None:
        """Disconnect."""
        self._server.close()


class _TritonServer:
    """One connection; every call has a deadline and is retried while the server does not answer."""

    def __init__(self, options: Options, model: str) -> None:
        self._options = options
        self.model, self.version = model, options.version
        self._client = triton.InferenceServerClient(
            options.url,
            ssl=options.tls,
            root_certificates=options.ca_file or None,
            private_key=options.key_file or None,
            certificate_chain=options.cert_file or None,
            channel_args=list(_CHANNEL),
        )

    def call(self, request: Callable[[Any, float], Any], retry_s: float | None = None) -> Any:  # noqa: ANN401 - the library has no types
        """Call ``request`` with the client and a timeout in seconds, and retry for ``retry_s``.

        Raises:
            ModelError: The server refuses the request.
            EdgeError: It did not answer for too long, or failed.
        """
        retry_s = self._options.retry_s if retry_s is None else retry_s
        give_up_s = time.monotonic() + retry_s
        while True:
            try:
                return request(self._client, self._options.timeout_s)
            except triton.InferenceServerException as error:
                status = str(error.status()).removeprefix("StatusCode.")
                reason = str(error.message()).partition("\n")[0]
                where = f"{self.model} on the Triton server {self._options.url}"
                if status == "INVALID_ARGUMENT":
                    raise ModelError(f"{where} refuses the batch: {reason}") from error
                if status not in _TRANSIENT:
                    raise EdgeError(f"{where} fails: {reason}: look into its log") from error
                if time.monotonic() + PAUSE_S > give_up_s:
                    raise EdgeError(
                        f"{where} gave no answer for {retry_s:g} s ({status}: {reason}): "
                        "start the server, or correct runtime.url and runtime.model"
                    ) from error
            time.sleep(PAUSE_S)

    def close(self) -> None:
        self._client.close()


class TritonRuntime:
    """Runs models on a Triton server."""

    def __init__(self, options: Options) -> None:
        if not options.url:
            raise ConfigError(
                "name the Triton server's gRPC port, say 10.0.0.9:8001", key="runtime.url"
            )
        for key in ("ca_file", "cert_file", "key_file"):
            file = getattr(options, key)
            if file and not Path(file).is_file():
                raise ConfigError(f"runtime.{key}: {file} is not a file: check the path")
        self._options = options

    @property
    def workers(self) -> int:
        """Requests in flight side by side."""
        return self._options.workers

    def load(self, model: bytes, name: str) -> TritonSession:
        """Find a model on the server that is the same as these bytes.

        Raises:
            ModelError: The bytes are not a contract model, or the server's model is another one.
            EdgeError: The server does not answer.
        """
        metadata = read_metadata(model, name)
        try:
            manifest = Manifest.model_validate_json(metadata.get(KEY, ""))
        except ValueError as error:
            problem = f"{name} carries no {KEY}: adopt it first (edge-deploy adopt)"
            raise ModelError(problem) from error
        server = _TritonServer(self._options, self._options.model or manifest.name)
        try:
            of = (server.model, server.version)
            server.call(lambda c, t: _require_ready(c, of, t), self._options.connect_timeout_s)
            found = server.call(lambda c, t: c.get_model_metadata(*of, client_timeout=t))
            config = server.call(lambda c, t: c.get_model_config(*of, client_timeout=t)).config
            self._check_hash(config, model, name)
            source, outputs = _check_tensors(found, manifest, name)
        except EdgeError:
            server.close()
            raise
        return TritonSession(server, metadata, source, outputs, int(config.max_batch_size))

    def _check_hash(self, config: Any, model: bytes, name: str) -> None:  # noqa: ANN401
        """Galleries and messages name the local file, so the server must run no other one."""
        digest = hashlib.sha256(model).hexdigest()
        known = config.parameters[SHA256].string_value if SHA256 in config.parameters else ""
        if self._options.pin and known != digest:
            actual = f"has sha256 {known[:12]}" if known else f"has no parameter {SHA256}"
            raise ModelError(
                f"{name} has sha256 {digest[:12]}, {config.name} on {self._options.url} {actual}: "
                f"write it anew with `edge-deploy triton {name} --out REPOSITORY` (or pin = false)"
            )


def _require_ready(client: Any, model: tuple[str, str], timeout_s: float) -> None:  # noqa: ANN401
    if not client.is_model_ready(*model, client_timeout=timeout_s):
        raise triton.InferenceServerException("the model is not loaded", status="UNAVAILABLE")


def _check_tensors(found: Any, manifest: Manifest, name: str) -> tuple[str, tuple[str, ...]]:  # noqa: ANN401
    """Names of the server's input and outputs, which must be those of the contract."""
    width, height = manifest.input_wh
    inputs = [(i.name, i.datatype, list(i.shape)) for i in found.inputs]
    if len(inputs) != 1 or inputs[0][1] != "UINT8" or inputs[0][2][-3:] != [height, width, 3]:
        raise ModelError(
            f"{name} takes one uint8 input (N, {height}, {width}, 3), the server's {found.name} "
            f"takes {inputs}: put this file into its repository"
        )
    if not found.outputs or any(o.datatype != "FP32" for o in found.outputs):
        raise ModelError(f"the server's {found.name} gives no float32 rows: it is another model")
    return inputs[0][0], tuple(o.name for o in found.outputs)


def build(options: Options) -> TritonRuntime:
    """Create the runtime that options describe."""
    return TritonRuntime(options)
