"""Metrics of AutoNAT, in addition to those of every node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fastmarket.libp2p.autonat.client import DialOutcome
from fastmarket.libp2p.autonat.reachability import Reachability

if TYPE_CHECKING:
    from fastmarket.net.autonat import Autonat


class AutonatState(Collector):
    """What servers say of our addresses, and what we say of others', collected at each scrape."""

    def __init__(self, autonat: Autonat) -> None:
        self._autonat = autonat

    def collect(self) -> Iterator[Metric]:
        """A gauge, then counters."""
        states = Counter(self._autonat.tracker.states().values())
        addresses = GaugeMetricFamily(
            "fastmarket_addresses",
            "Public addresses by whether others can connect.",
            labels=("reachability",),
        )
        for state in Reachability:
            addresses.add_metric((state.value,), states[state])
        yield addresses
        tests = CounterMetricFamily(
            "fastmarket_address_tests", "Tests of our addresses by others.", labels=("outcome",)
        )
        for outcome in DialOutcome:
            tests.add_metric((outcome.value,), self._autonat.outcomes[outcome])
        yield tests
        served = CounterMetricFamily(
            "fastmarket_autonat_requests", "Tests of others' addresses asked of us.", labels=("outcome",)
        )
        for name, count in asdict(self._autonat.server.counts).items():
            if name != "requests":
                served.add_metric((name,), count)
        yield served
