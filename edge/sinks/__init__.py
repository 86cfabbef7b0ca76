"""Where messages go: one plug-in a file, reached through `edge.plugins`."""
