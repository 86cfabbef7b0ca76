"""Simulated presentation attacks."""
