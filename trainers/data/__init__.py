"""Data sets: readers, checks and splits."""
