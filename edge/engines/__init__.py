"""Engines: models compiled for one kind of GPU; their cache, CUDA, TensorRT, a session."""
