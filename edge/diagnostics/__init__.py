"""What this machine can do: host diagnostics and the benchmark."""
