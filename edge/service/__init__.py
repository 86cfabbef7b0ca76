"""The threaded shell around the pipeline: slots, workers, metrics, HTTP, the daemon."""
