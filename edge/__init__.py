"""Edgewatch: many cameras in, detections and named faces out."""

__version__ = "0.1.0"
