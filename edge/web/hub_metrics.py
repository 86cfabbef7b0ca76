"""Hub metrics: what boxes owe of people, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from edge.fleet.people_hub import PeopleAtBox


class HubMetrics(Collector):
    """How far boxes are with the hub's people."""

    def __init__(self, people: Mapping[str, PeopleAtBox]) -> None:
        self._people = people

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every series."""
        owed = GaugeMetricFamily(
            "edge_hub_people_owed",
            "People whom the box has not confirmed to have forgotten.",
            labels=["box"],
        )
        since = GaugeMetricFamily(
            "edge_hub_people_owed_since_timestamp_seconds",
            "Unix time since when the box owes the oldest of that; 0 if it owes nothing.",
            labels=["box"],
        )
        until = GaugeMetricFamily(
            "edge_hub_lease_end_timestamp_seconds",
            "Unix time at which the box stops naming people unless it hears from the hub.",
            labels=["box"],
        )
        for name, box in self._people.items():
            owed.add_metric([name], len(box.owed))
            since.add_metric([name], box.since_s)
            until.add_metric([name], box.until_s)
        yield from (owed, since, until)

    def render(self) -> bytes:
        """The text of /metrics."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)
