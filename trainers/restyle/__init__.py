"""Restyling: day pictures as the same camera would see them at night, with their labels."""
