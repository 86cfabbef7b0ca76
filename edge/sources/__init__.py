"""Where frames come from: one plug-in a file, reached through `edge.plugins`."""
