"""Input pipeline: batches, workers and caches."""
