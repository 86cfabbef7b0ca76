"""Contract models: preprocess, run and read the outputs that the contract defines."""
