"""ONNX Runtime: the embedded default, on the CPU or any execution provider it was built with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from pydantic import Field

from edge.config import Table
from edge.errors import ConfigError, ModelError
from edge.onnxfile import read_metadata

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
BROKEN = (  # what ONNX Runtime raises about a model
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    ValueError,
)


class Options(Table):
    """ONNX Runtime in this process.

    Attributes:
        providers: Execution providers in order of preference.
        workers: Batches that run side by side, one thread each; 0 is one per core. Raising it
            serves more cameras at once; a single camera gains nothing.
        threads: Threads per worker; 0 is one per core. Raising it (and lowering `workers`) makes
            a large network faster on one frame, at the price of more CPU time per frame.
        spinning: Let idle threads spin: slightly faster, at the price of whole cores.
        device: Number of the GPU.
        fp16: Allow the TensorRT provider to compute in FP16; for models that are not quantized.
        cache: Folder in which the TensorRT provider keeps its engines; empty builds them at every
            start. Their origin is not verified: no other user may be able to write to it.
    """

    renamed: ClassVar[dict[str, str]] = {"lanes": "workers"}

    providers: tuple[str, ...] = Field(default=("CPUExecutionProvider",), min_length=1)
    workers: int = Field(default=0, ge=0, le=256)
    threads: int = Field(default=1, ge=0, le=256)
    spinning: bool = False
    device: int = Field(default=0, ge=0, le=255)
    fp16: bool = False
    cache: str = ""

    def get_provider_options(self, provider: str) -> dict[str, str]:
        """The options to start a provider with."""
        if provider == CUDA:
            return {"device_id": str(self.device), "cudnn_conv_algo_search": "HEURISTIC"}
        if provider != TENSORRT:
            return {}
        options = {"device_id": str(self.device), "trt_fp16_enable": str(int(self.fp16))}
        if self.cache:
            folder = str(Path(self.cache).expanduser())
            options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": folder}
            options |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": folder}
        return options


class OnnxSession:
    """A loaded model.

    Several threads may use it at once. ONNX Runtime splits each operator over its own threads and
    waits for all at its end, which for small networks costs more than it gains: two threads did
    1.1 times the work of one with 1.3 times the CPU time. So a session has one thread of its own,
    and the cores are kept busy by workers, which do not wait for each other.
    """

    def __init__(self, session: ort.InferenceSession, name: str) -> None:
        self._session = session
        self._name = name
        self._input = session.get_inputs()[0].name
        self._outputs = [output.name for output in session.get_outputs()]
        self.metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map

    def infer(self, batch: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        """``(B, ...)`` uint8 -> output name to array, owned by the caller.

        Raises:
            ModelError: The model does not take such a batch.
        """
        try:
            outputs = self._session.run(None, {self._input: batch})
        except BROKEN as error:
            reason = str(error).partition("\n")[0]
            raise ModelError(
                f"{self._name} cannot be run on {batch.dtype} {batch.shape}: {reason}"
            ) from error
        return dict(zip(self._outputs, outputs, strict=True))

    def close(self) -> None:
        """Free the model."""
        del self._session


class OnnxRuntime:
    """Loads models into ONNX Runtime."""

    def __init__(self, options: Options) -> None:
        unknown = set(options.providers) - set(ort.get_available_providers())
        if unknown:
            raise ConfigError(
                f"ONNX Runtime here has no {', '.join(sorted(unknown))}: "
                f"use {', '.join(ort.get_available_providers())}, or install a build of it that "
                "has them (onnxruntime-gpu for CUDA and TensorRT)",
                key="runtime.providers",
            )
        if {CUDA, TENSORRT} & set(options.providers):
            ort.preload_dlls()  # those of CUDA and cuDNN that came with Python packages
        self._options = options

    @property
    def workers(self) -> int:
        """Batches that may run side by side; a device that is shared anyhow gets whole ones."""
        if self._options.providers[0] != "CPUExecutionProvider":
            return 1
        return self._options.workers or len(os.sched_getaffinity(0))

    @property
    def max_batch_size(self) -> int:
        """One on one thread, where a batch gains nothing and its first frame waits for the last."""
        alone = self._options.providers[0] == "CPUExecutionProvider" and self._options.threads == 1
        return 1 if alone else 0

    def load(self, model: bytes, name: str) -> OnnxSession:
        """Load a model from its bytes.

        Raises:
            ModelError: The bytes are not a model that can be executed.
        """
        read_metadata(model, name)
        settings = session_settings(self._options.threads)
        spinning = "1" if self._options.spinning else "0"
        settings.add_session_config_entry("session.intra_op.allow_spinning", spinning)
        settings.add_session_config_entry("session.load_model_format", "ONNX")
        names = self._options.providers
        providers = [(key, self._options.get_provider_options(key)) for key in names]
        try:
            session = ort.InferenceSession(model, settings, providers=providers)
        except BROKEN as error:
            problem = f"{name} is not an ONNX model that can be run: export it again"
            raise ModelError(problem) from error
        refuse_absent(names, session.get_providers())
        return OnnxSession(session, name)


def session_settings(threads: int) -> ort.SessionOptions:
    """Settings that all sessions share: silence, and the same INT8 results on every processor.

    Without VNNI, ONNX Runtime adds two products of uint8 and int8 in 16 bits, which overflow when
    weights have eight bits. The entry converts such weights to uint8, whose sums are exact: it
    costs 2 to 6 % of the time there, nothing with VNNI or with weights of seven bits.

    Args:
        threads: Threads of a session; 0 is one per core.
    """
    settings = ort.SessionOptions()
    settings.log_severity_level = 4  # errors are raised
    settings.intra_op_num_threads = threads
    settings.add_session_config_entry("session.x64quantprecision", "1")
    return settings


def refuse_absent(wanted: Sequence[str], given: Sequence[str]) -> None:
    """Check that all providers started: ONNX Runtime silently falls back to the CPU.

    Raises:
        ConfigError: A requested provider did not start.
    """
    absent = [name for name in wanted if name not in given]
    if absent:
        raise ConfigError(
            f"{', '.join(absent)} did not start: look at `edge doctor` for the "
            "driver, and for CUDA and cuDNN libraries of the versions that ONNX Runtime names",
            key="runtime.providers",
        )


def build(options: Options) -> OnnxRuntime:
    """The runtime that ``options`` describe."""
    return OnnxRuntime(options)
