"""ONNX graphs: building, NMS, and the transformations that runtimes need."""
