"""Latency and throughput of models by runtime, precision and batch size."""
