"""Lower precision: FP16 and INT8, accepted only if accuracy is kept."""
