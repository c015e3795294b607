"""Metrics of a fleet's server about the shared store, in addition to those of every node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from fastmarket.fleet.dht import FleetDht


class FleetState(Collector):
    """Collected at each scrape."""

    def __init__(self, fleet: FleetDht) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        """Gauges, then counters."""
        fleet = self._fleet
        gauges = (
            ("up", "Whether the shared store answered the last check.", int(bool(fleet.upkeep.reachable))),
            ("unwritten_offers", "Own offers not yet written to the shared store.", len(fleet.writer)),
            ("cached_contents", "Contents whose view is cached in memory.", len(fleet.offers.views)),
            ("cached_offers", "Offers in those views.", fleet.offers.views.offers),
        )
        for name, about, value in gauges:
            yield GaugeMetricFamily(f"fastmarket_shared_store_{name}", about, value)
        operations = CounterMetricFamily(
            "fastmarket_shared_store_operations",
            "Calls to the shared store by operation and outcome.",
            labels=("operation", "outcome"),
        )
        for labels, count in sorted(fleet.store.operations.items()):
            operations.add_metric(labels, count)
        yield operations
        answers = CounterMetricFamily(
            "fastmarket_shared_store_views",
            "Views of contents by source: memory, the store, or neither (away).",
            labels=("source",),
        )
        for source, count in sorted(fleet.offers.views.answers.items()):
            answers.add_metric((source,), count)
        yield answers
