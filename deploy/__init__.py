"""From trained or foreign models to contract models and engines."""

import edge  # noqa: F401 - before onnxruntime, whose telemetry it turns off
