"""ONNX Runtime as the reference that models are checked with."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnxruntime as ort

from edge.runtimes.onnx import session_settings
from edge.types import F32, U8

Outputs = Mapping[str, F32]  # by name
Infer = Callable[[U8], Outputs]  # contract inputs (B, ...) -> the contract's outputs


def open_session(model: bytes, threads: int = 0) -> ort.InferenceSession:
    """A silent session of ONNX Runtime on the CPU; 0 threads are one per core."""
    settings = session_settings(threads)
    return ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def open_infer(model: bytes, threads: int = 0) -> Infer:
    """A function that runs a model in ONNX Runtime: contract inputs -> outputs by name."""
    session = open_session(model, threads)
    source = session.get_inputs()[0].name
    names = [output.name for output in session.get_outputs()]

    def infer(batch: U8) -> Outputs:
        return dict(zip(names, session.run(names, {source: batch}), strict=True))

    return infer
