"""Where messages go: one plug-in per file, reached through `edge.plugins`."""
