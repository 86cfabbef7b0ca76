"""A Triton inference server over gRPC, for boxes that share one machine with a GPU.

The server holds the model in its repository (`edge-deploy triton MODEL --out REPOSITORY` writes
it), the box holds the same file: from it come the manifest and the hash, which must be that of
the server's. Every call has a deadline. A server that is away is retried for `retry_s`,
which bridges a restart; after that the error ends the process, systemd starts it again, and it is
not ready until the server is there.
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
from edge.onnxfile import has_external_data, metadata_of

SHA256 = "edge.sha256"  # parameter of the server's model: the file that it was made from
PAUSE_S = 0.1  # between two attempts
_AWAY = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "NOT_FOUND", "CANCELLED")  # may be better soon
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

    renamed: ClassVar = {
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
        server: asks it.
        metadata: of the local file.
        source: name of its input.
        outputs: names of its outputs.
        max_batch: pictures of a batch that it takes, 0 is any number.
    """

    def __init__(
        self, server: _Server, metadata: Mapping[str, str], source: str,
        outputs: tuple[str, ...], max_batch: int,
    ) -> None:  # fmt: skip
        self._server = server
        self._source, self._outputs, self._max_batch = source, outputs, max_batch
        self.metadata = metadata

    def infer(self, batch: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        """``(B, ...)`` uint8 -> output name to array, owned by the caller.

        Raises:
            ModelError: the model takes no such batch.
            EdgeError: the server stayed away.
        """
        step = self._max_batch or max(len(batch), 1)
        parts = [self._part(batch[n : n + step]) for n in range(0, max(len(batch), 1), step)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def _part(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        sent = triton.InferInput(self._source, list(batch.shape), "UINT8")
        sent.set_data_from_numpy(np.ascontiguousarray(batch))
        wanted = [triton.InferRequestedOutput(name) for name in self._outputs]
        result = self._server.ask(
            lambda client, timeout_s: client.infer(
                self._server.model,
                [sent],
                self._server.version,
                outputs=wanted,
                client_timeout=timeout_s,
            )
        )
        return {name: result.as_numpy(name) for name in self._outputs}  # read-only views

    def close(self) -> None:
        """Hang up."""
        self._server.close()


class _Server:
    """One connection; every question has a deadline and is asked again while nobody answers."""

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

    def ask(self, question: Callable[[Any, float], Any], retry_s: float | None = None) -> Any:  # noqa: ANN401 - the library has no types
        """Ask until it answers.

        Args:
            question: from the client and a deadline in seconds to an answer.
            retry_s: How long to retry; None uses the option's.

        Raises:
            ModelError: the server refuses the question.
            EdgeError: it was away for too long, or failed.
        """
        retry_s = self._options.retry_s if retry_s is None else retry_s
        give_up_s = time.monotonic() + retry_s
        while True:
            try:
                return question(self._client, self._options.timeout_s)
            except triton.InferenceServerException as error:
                status = str(error.status()).removeprefix("StatusCode.")
                reason = str(error.message()).partition("\n")[0]
                where = f"{self.model} on the Triton server {self._options.url}"
                if status == "INVALID_ARGUMENT":
                    raise ModelError(f"{where} refuses the batch: {reason}") from error
                if status not in _AWAY:
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
                raise ConfigError(f"runtime.{key}: {file} is no file: check the path")
        self._options = options

    @property
    def workers(self) -> int:
        """Batches that may be on their way side by side."""
        return self._options.workers

    def load(self, model: bytes, name: str) -> TritonSession:
        """Find a model on the server that is the same as these bytes.

        Raises:
            ModelError: the bytes are no model of the contract, or the server's is another one.
            EdgeError: the server is away.
        """
        metadata, manifest = _read(model, name)
        server = _Server(self._options, self._options.model or manifest.name)
        try:
            asked = (server.model, server.version)
            server.ask(lambda c, t: _ready(c, asked, t), self._options.connect_timeout_s)
            offer = server.ask(lambda c, t: c.get_model_metadata(*asked, client_timeout=t))
            config = server.ask(lambda c, t: c.get_model_config(*asked, client_timeout=t)).config
            self._check_hash(config, model, name)
            source, outputs = _check_offer(offer, manifest, name)
        except EdgeError:
            server.close()
            raise
        return TritonSession(server, metadata, source, outputs, int(config.max_batch_size))

    def _check_hash(self, config: Any, model: bytes, name: str) -> None:  # noqa: ANN401
        """The gallery and every message name our file: the server must run no other."""
        digest = hashlib.sha256(model).hexdigest()
        known = config.parameters[SHA256].string_value if SHA256 in config.parameters else ""
        if self._options.pin and known != digest:
            says = f"is of sha256 {known[:12]}" if known else f"has no parameter {SHA256}"
            raise ModelError(
                f"{name} has sha256 {digest[:12]}, {config.name} on {self._options.url} {says}: "
                f"write it anew with `edge-deploy triton {name} --out REPOSITORY` (or pin = false)"
            )


def _ready(client: Any, asked: tuple[str, str], timeout_s: float) -> None:  # noqa: ANN401
    if not client.is_model_ready(*asked, client_timeout=timeout_s):
        raise triton.InferenceServerException("the model is not loaded", status="UNAVAILABLE")


def _read(model: bytes, name: str) -> tuple[dict[str, str], Manifest]:
    """Metadata and manifest of the local file."""
    try:
        whole = bool(model) and not has_external_data(model)
        metadata = metadata_of(model)
    except ValueError as error:
        raise ModelError(f"{name} is no ONNX model: export it again") from error
    if not whole:
        raise ModelError(f"{name} is empty or keeps weights outside its file: export it again")
    try:
        return metadata, Manifest.model_validate_json(metadata.get(KEY, ""))
    except ValueError as error:
        raise ModelError(f"{name} carries no {KEY}: adopt it first (edge-deploy adopt)") from error


def _check_offer(offer: Any, manifest: Manifest, name: str) -> tuple[str, tuple[str, ...]]:  # noqa: ANN401
    """The server's input and outputs; they must be those of the contract."""
    width, height = manifest.input_wh
    tail = [height, width, 3]
    inputs = [(i.name, i.datatype, list(i.shape)) for i in offer.inputs]
    if len(inputs) != 1 or inputs[0][1] != "UINT8" or inputs[0][2][-3:] != tail:
        raise ModelError(
            f"{name} takes one uint8 input (N, {height}, {width}, 3), the server's {offer.name} "
            f"takes {inputs}: put this file into its repository"
        )
    if not offer.outputs or any(o.datatype != "FP32" for o in offer.outputs):
        raise ModelError(f"the server's {offer.name} gives no float32 rows: it is another model")
    return inputs[0][0], tuple(o.name for o in offer.outputs)


def build(options: Options) -> TritonRuntime:
    """The runtime that ``options`` describe."""
    return TritonRuntime(options)
