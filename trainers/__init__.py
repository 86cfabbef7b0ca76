"""Training in Keras: data, augmentation, networks, losses, metrics."""

import edge  # noqa: F401 - before onnxruntime, whose telemetry it turns off
