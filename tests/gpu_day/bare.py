"""ONNX Runtime alone on the card: needs nothing of Edgewatch, so there is at least this figure."""

import statistics
import time

import numpy as np
import onnxruntime as ort

from edge.errors import ConfigError
from tests.gpu_day.day import ZOO


def measure(day):
    (provider,) = day.providers
    if provider not in ort.get_available_providers():
        raise ConfigError(f"ONNX Runtime {ort.__version__} here has no {provider}")
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # CUDA and cuDNN that came with Python packages
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    session = ort.InferenceSession(ZOO / "detect-nano.onnx", settings, providers=[provider])
    if provider not in session.get_providers():
        raise ConfigError(f"{provider} did not start: ONNX Runtime fell back to the processor")
    source = session.get_inputs()[0]
    for batch in day.batches:
        shape = (batch, *source.shape[1:])
        pictures = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        took_s = statistics.median(time_calls(session, {source.name: pictures}, day.seconds))
        day.results.measured(f"detect-nano fp32, batch {batch}", batch / took_s, "pictures/s")


def time_calls(session, feed, seconds):
    for _ in range(3):
        session.run(None, feed)
    end_s = time.perf_counter() + seconds
    while (started_s := time.perf_counter()) < end_s:
        session.run(None, feed)
        yield time.perf_counter() - started_s
