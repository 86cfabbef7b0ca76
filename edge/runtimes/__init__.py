"""What executes a model file: one plug-in a file, reached through `edge.plugins`."""
