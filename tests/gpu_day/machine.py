"""The machine: card, driver, cores, versions."""

import os
import platform
import subprocess
from importlib import metadata

from tests.gpu_day.results import first_line

PACKAGES = (
    "av", "cuda-bindings", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu",
    "opencv-python-headless", "pydantic", "tensorrt", "tensorrt-cu12", "tensorrt-cu13",
    "tensorrt-rtx-cu12",
)  # fmt: skip
QUERY = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]


def measure(day):
    results = day.results
    results.measured("Python", platform.python_version())
    results.measured("cores", len(os.sched_getaffinity(0)))
    results.measured("packages", ", ".join(filter(None, map(find_version, PACKAGES))) or "none")
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, check=True, timeout=15)
        results.measured("card, driver, memory", first_line(done.stdout))
    except (OSError, subprocess.SubprocessError) as error:
        results.absent("card, driver, memory", error)
    from edge.engines.cuda import open_cuda
    from edge.engines.library import find_library

    gpu = open_cuda().get_gpu()
    results.measured("card by CUDA", f"{gpu.name}, {gpu.capability}")
    library = find_library()
    results.measured("TensorRT", f"{library.name} {library.version}")


def find_version(name):
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return ""
