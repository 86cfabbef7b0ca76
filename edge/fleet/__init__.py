"""Fleets: many boxes that take their configuration from one place, and work alone meanwhile."""
