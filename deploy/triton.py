"""A model repository for Triton: the folder that a server reads a model and its settings from.

::

    REPOSITORY/NAME/config.pbtxt
    REPOSITORY/NAME/1/model.onnx
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import onnx

from edge.atomic_file import write_file
from edge.errors import ConfigError
from edge.manifest import KEY, Manifest

SHA256 = "edge.sha256"  # as edge.runtimes.triton compares it
KINDS: dict[int, str] = {onnx.TensorProto.UINT8: "TYPE_UINT8", onnx.TensorProto.FLOAT: "TYPE_FP32"}
TENSORRT = """
optimization {
  execution_accelerators {
    gpu_execution_accelerator: [ { name: "tensorrt" } ]
  }
}
"""


def render_config(
    model: bytes, manifest: Manifest, batch: int, wait_us: int, *, tensorrt: bool = False
) -> str:
    """The text of config.pbtxt.

    The server batches at most ``batch`` pictures across all clients and waits ``wait_us``
    microseconds for them. With ``tensorrt`` it builds an engine at the first call.
    """
    graph = onnx.load_model_from_string(model).graph
    values = {SHA256: hashlib.sha256(model).hexdigest(), KEY: manifest.model_dump_json()}
    parameters = "\n".join(
        f"parameters {{ key: {json.dumps(key)} value {{ string_value: {json.dumps(value)} }} }}"
        for key, value in values.items()
    )
    return (
        f'name: "{manifest.name}"\n'
        'backend: "onnxruntime"\n'
        'default_model_filename: "model.onnx"\n'
        f"max_batch_size: {batch}\n"
        f"input [ {_tensor(graph.input[0])} ]\n"
        f"output [ {', '.join(map(_tensor, graph.output))} ]\n"
        f"dynamic_batching {{ max_queue_delay_microseconds: {wait_us} }}\n"
        "instance_group [ { kind: KIND_AUTO } ]\n"
        f"{parameters}\n{TENSORRT if tensorrt else ''}"
    )


def _tensor(value: onnx.ValueInfoProto) -> str:
    kind = value.type.tensor_type
    dims = ", ".join(str(d.dim_value) for d in kind.shape.dim[1:])  # the first is the batch
    dims = f"dims: [ {dims} ]" if dims else "dims: [ 1 ] reshape: { shape: [ ] }"
    return f'{{ name: "{value.name}" data_type: {KINDS[kind.elem_type]} {dims} }}'


def write_repository(repository: Path, model: bytes, manifest: Manifest, config: str) -> Path:
    """Write a model's folder; the model first, so that a server that polls sees it whole.

    Raises:
        ConfigError: The folder cannot be written.
    """
    folder = repository / manifest.name
    try:
        (folder / "1").mkdir(parents=True, exist_ok=True)
        write_file(folder / "1" / "model.onnx", model)
        write_file(folder / "config.pbtxt", config)
    except OSError as error:
        raise ConfigError(f"--out {folder}: {error.strerror}: choose another place") from error
    return folder
