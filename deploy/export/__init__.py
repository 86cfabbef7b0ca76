"""Keras networks to contract models."""
