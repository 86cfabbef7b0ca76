"""Evaluation of trained models on labeled data."""
