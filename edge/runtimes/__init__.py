"""What executes a model file: one plug-in per file, reached through `edge.plugins`."""
