"""The package `cuda.bindings` with a fake card."""
