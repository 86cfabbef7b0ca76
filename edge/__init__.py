"""Edgewatch: many cameras in, detections and named faces out."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # must precede any import of onnxruntime

__version__ = "0.1.0"
