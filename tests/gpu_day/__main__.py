"""A step of the GPU day: ``python -m tests.gpu_day STEP FOLDER WORK``; see ``tests/gpu_day.sh``.

A step is a module with a function ``measure(day)``. What it lacks is a row `not measured`; any
other error ends the process, and the script makes a row `failed` of it.
"""

import importlib
import signal
import sys
from importlib.util import find_spec

from tests.gpu_day.day import open_day

_MODELS = ("numpy", "onnxruntime", "pydantic", "cv2")
NEEDS = {  # step -> modules, in the order in which they run
    "machine": (),
    "bare": ("numpy", "onnxruntime"),
    "precisions": (*_MODELS, "onnx"),
    "engines": (*_MODELS, "onnx", "cuda.bindings"),
    "compare": _MODELS,
    "service": (
        *_MODELS, "av", "cryptography", "msgspec", "prometheus_client", "rich", "starlette",
        "typer", "uvicorn", "zmq",
    ),
    "throughput": _MODELS,
    "decode": ("numpy", "pydantic", "cv2", "av"),
}  # fmt: skip


def is_missing(name):
    try:
        return find_spec(name) is None
    except ModuleNotFoundError:  # of the package it lies in
        return True


def main(step, out, work):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # end children when the step is cut off
    day = open_day(step, out, work)
    missing = [name for name in NEEDS[step] if is_missing(name)]
    if missing:
        day.results.absent("the step", f"this Python lacks {', '.join(missing)}")
        return
    with day.attempt("the step"):
        importlib.import_module(f"tests.gpu_day.{step}").measure(day)


if __name__ == "__main__":
    main(*sys.argv[1:])
