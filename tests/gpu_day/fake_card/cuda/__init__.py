"""The package `cuda` with a fake card."""
