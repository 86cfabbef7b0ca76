"""From trained or foreign models to contract models and engines."""
