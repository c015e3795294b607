"""Metrics of what a node sells and fetches, in addition to those of every node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from fastmarket.content.catalogue import Catalogue
    from fastmarket.content.port.tally import PortTally
    from fastmarket.content.shop import Shop
    from fastmarket.net.bitswap.exchange import BitswapExchange
    from fastmarket.net.fetching.fetcher import Fetcher


class SellingState(Collector):
    """The content port and the goods, collected at each scrape."""

    def __init__(self, shop: Shop, catalogue: Catalogue, tally: PortTally) -> None:
        self._shop = shop
        self._catalogue = catalogue
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        """Gauges, then counters."""
        port = self._tally
        gauges = (
            ("goods", "Contents sold, those included that are not served now.", self._catalogue.count()),
            ("content_connections", "Open connections to the content port.", port.open_connections),
            ("content_answers_running", "Answers of the content port under way.", port.running),
        )
        for name, about, value in gauges:
            yield GaugeMetricFamily(f"fastmarket_{name}", about, value)
        counters = (
            ("goods_changed", "Goods found not to be as they were imported.", self._shop.changed_count),
            ("content_sent_bytes", "Sent by the content port, headers included.", port.bytes_sent),
            ("content_aborted", "Answers of the content port cut off, by either side.", port.aborted),
            ("content_refused", "Connections to the content port turned away.", port.turned_away),
        )
        for name, about, value in counters:
            yield CounterMetricFamily(f"fastmarket_{name}", about, value)
        requests = CounterMetricFamily(
            "fastmarket_content_requests", "Requests to the content port by status.", labels=("status",)
        )
        for status, count in sorted(port.requests.items()):
            requests.add_metric((str(status),), count)
        yield requests


class FetchingState(Collector):
    """Fetches, and Bitswap in both directions."""

    def __init__(self, fetcher: Fetcher, bitswap: BitswapExchange) -> None:
        self._fetcher = fetcher
        self._bitswap = bitswap

    def collect(self) -> Iterator[Metric]:
        """Counters."""
        totals, served = self._fetcher.totals, self._bitswap.server.totals
        fetches = CounterMetricFamily(
            "fastmarket_fetches", "Fetches that ended, by outcome.", labels=("outcome",)
        )
        fetches.add_metric(("whole",), totals.whole)
        fetches.add_metric(("ended",), totals.ended - totals.whole)
        yield fetches
        counters = (
            ("fetched_bytes", "Verified bytes that holders sent.", totals.fetched_bytes),
            ("fetch_cost", "What they cost, in whole units.", totals.cost),
            ("bitswap_sent_blocks", "Blocks given away over Bitswap.", served.blocks),
            ("bitswap_sent_bytes", "Bytes of those blocks.", served.block_bytes),
            ("bitswap_dropped_wants", "Wants beyond what one peer may want at once.", served.dropped_wants),
            ("bitswap_dropped_peers", "Peers that took nothing while others waited.", served.dropped_peers),
        )
        for name, about, value in counters:
            yield CounterMetricFamily(f"fastmarket_{name}", about, value)
