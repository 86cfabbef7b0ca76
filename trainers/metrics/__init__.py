"""Metrics: mAP, verification, PAD and box fusion."""
