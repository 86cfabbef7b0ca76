"""Where frames come from: one plug-in per file, reached through `edge.plugins`."""
