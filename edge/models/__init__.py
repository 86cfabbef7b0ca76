"""Contract models: preprocess, run, read the contract outputs."""
