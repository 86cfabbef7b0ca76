"""Keras networks and their configurations."""
