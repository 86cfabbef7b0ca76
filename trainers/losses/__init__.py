"""Losses and label assignment."""
