"""The command line of the trainers: `edge-train`."""
