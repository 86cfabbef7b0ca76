"""Foreign ONNX models to contract models."""
