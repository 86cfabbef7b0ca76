"""Arithmetic on boxes, pictures and tracks: numpy in, numpy out."""
