"""What a server of a fleet tells of the shared store, beside the metrics of every node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from fastmarket.fleet.dht import FleetDht


class FleetState(Collector):
    """Read at each scrape."""

    def __init__(self, fleet: FleetDht) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        """Gauges, then counters."""
        fleet = self._fleet
        gauges = (
            ("up", "Whether the shared store answered the last look.", int(bool(fleet.upkeep.reachable))),
            ("unwritten_offers", "Own offers that the shared store does not have yet.", len(fleet.writer)),
            ("cached_contents", "Contents whose view is kept in memory.", len(fleet.offers.views)),
            ("cached_offers", "Offers in those views.", fleet.offers.views.offers),
        )
        for name, about, value in gauges:
            yield GaugeMetricFamily(f"fastmarket_shared_store_{name}", about, value)
        operations = CounterMetricFamily(
            "fastmarket_shared_store_operations",
            "Calls to the shared store by what they did and how they ended.",
            labels=("operation", "outcome"),
        )
        for labels, count in sorted(fleet.store.operations.items()):
            operations.add_metric(labels, count)
        yield operations
        answers = CounterMetricFamily(
            "fastmarket_shared_store_views",
            "Views of contents, by where they came from: memory, the store, or neither (away).",
            labels=("source",),
        )
        for source, count in sorted(fleet.offers.views.answers.items()):
            answers.add_metric((source,), count)
        yield answers
