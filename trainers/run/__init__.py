"""One training run: folder, settings, loop and callbacks."""
