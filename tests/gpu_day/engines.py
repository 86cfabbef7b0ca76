"""Engines of TensorRT, built for this card as the daemon builds them."""

from deploy.engine.build import BuildRequest, build, find_target
from edge.engines.cache import EngineCache

TIMEOUT_S = 120  # of one engine


def measure(day):
    cache, request = EngineCache(day.engines), BuildRequest(timeout_s=TIMEOUT_S)
    find_target(request)  # or nothing can be built here
    for label, path in day.models():
        with day.attempt(label):
            result = build(path.read_bytes(), str(path), request, cache, lambda what, share: None)
            day.results.measured(f"{label}, build time", result.entry.took_s, "s")
            day.results.measured(f"{label}, size", result.entry.size_bytes / 1e6, "MB")
