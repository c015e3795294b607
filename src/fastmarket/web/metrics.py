"""What a node does, as Prometheus reads it. The names are an interface: docs/operations.md lists them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client import Counter as Counted
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fastmarket._version import __version__
from fastmarket.config import WebConfig
from fastmarket.faults import Faults
from fastmarket.kad.lookup.lookup import Lookup
from fastmarket.log_writer import dropped_lines
from fastmarket.net.dht_node import DhtNode
from fastmarket.repeating import Repeating
from fastmarket.trace import Trace
from fastmarket.web.hosts import UNKNOWN_HOST, asked_host, is_ours

# A node answers in fractions of a millisecond on its own machine, a lookup across the world takes a second.
CALL_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
JOB_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LAG_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
HOP_BUCKETS = tuple(map(float, (0, 1, 2, 3, 4, 5, 6, 8, 10, 15)))
ASKED_BUCKETS = tuple(map(float, (0, 1, 2, 5, 10, 20, 30, 40, 60, 80, 120, 200)))
LAG_INTERVAL_S = 0.5  # from one measurement of the event loop's lag to the next
HEALTH_HEADERS = {"Cache-Control": "no-store"}


class CountingTrace(Trace):
    """How often each event of the protocol objects happened; their names are few and ours."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def event(self, name: str, **fields: object) -> None:
        """One more of them."""
        self.counts[name] += 1


class NodeMetrics:
    """One registry for one node. What has a state is read when asked for; what happens is recorded."""

    def __init__(self, dht: DhtNode, trace: CountingTrace) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.registry.register(_NodeState(dht, trace))
        self._calls = Histogram(
            "fastmarket_grpc_call_seconds",
            "gRPC calls by method and status code, and how long they took.",
            ("method", "code"),
            buckets=CALL_BUCKETS_S,
            registry=self.registry,
        )
        self._calls_by_kind: dict[tuple[str, str], Histogram] = {}  # few: our methods and gRPC's codes
        self._jobs = Histogram(
            "fastmarket_job_seconds",
            "Lookups and announcements that ended, by kind, and how long they took.",
            ("kind",),
            buckets=JOB_BUCKETS_S,
            registry=self.registry,
        )
        self._hops = Histogram(
            "fastmarket_lookup_hops",
            "Lookups that ended, by kind, and how many hops away the farthest peer was that answered.",
            ("kind",),
            buckets=HOP_BUCKETS,
            registry=self.registry,
        )
        self._asked = Histogram(
            "fastmarket_lookup_asked_peers",
            "Peers that one lookup asked, by kind.",
            ("kind",),
            buckets=ASKED_BUCKETS,
            registry=self.registry,
        )
        self._failures = Counted(
            "fastmarket_lookup_failed_requests",
            "Requests of lookups that failed, by kind.",
            ("kind",),
            registry=self.registry,
        )
        self._lag = Histogram(
            "fastmarket_event_loop_lag_seconds",
            "How late the event loop is: time until a callback that was due ran.",
            buckets=LAG_BUCKETS_S,
            registry=self.registry,
        )
        self._due = 0.0
        self._measuring = Repeating(
            "measuring the event loop", lambda: LAG_INTERVAL_S, self._measure_lag, Faults()
        )

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """An observer of the gRPC server (`market.guard.Observer`)."""
        calls = self._calls_by_kind.get((method, code))
        if calls is None:
            calls = self._calls_by_kind[method, code] = self._calls.labels(method.removeprefix("/"), code)
        calls.observe(seconds)

    def job_ended(self, kind: str, lookup: Lookup | None, seconds: float) -> None:
        """An observer of the node's jobs (`net.driver.JobObserver`)."""
        self._jobs.labels(kind).observe(seconds)
        if lookup is not None:
            self._hops.labels(kind).observe(lookup.hops)
            self._asked.labels(kind).observe(lookup.queried_count)
            self._failures.labels(kind).inc(lookup.failed_count)

    def start(self) -> None:
        """Begins to measure the event loop."""
        self._due = asyncio.get_running_loop().time() + LAG_INTERVAL_S
        self._measuring.start()

    async def stop(self) -> None:
        """Ends it."""
        await self._measuring.stop()

    def _measure_lag(self) -> None:
        now = asyncio.get_running_loop().time()
        late, self._due = now - self._due, now + LAG_INTERVAL_S
        self._lag.observe(max(late, 0.0))


PROBES = frozenset({"/healthz", "/readyz"})
"""Answered to everybody, by whatever name, and before anything else."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """What /readyz says: `missing`, why the node is of no use, "" when it is; `note`, what it lacks then."""

    missing: Callable[[], str]
    note: Callable[[], str] = lambda: ""


def metrics_routes(metrics: NodeMetrics, ready: Readiness, config: WebConfig) -> list[Route]:
    """/metrics, /healthz and /readyz."""

    async def show(request: Request) -> Response:
        if not is_ours(asked_host(request), config.metrics_host, config.names):
            return PlainTextResponse(UNKNOWN_HOST, 421)
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n", headers=HEALTH_HEADERS)

    async def readyz(request: Request) -> Response:
        missing = ready.missing()
        lacks = "" if missing else ready.note()
        text, status = (f"{missing}\n", 503) if missing else (f"ready{lacks and f', but {lacks}'}\n", 200)
        return PlainTextResponse(text, status_code=status, headers=HEALTH_HEADERS)

    pages = (("/metrics", show), ("/healthz", healthz), ("/readyz", readyz))
    return [Route(path, page, methods=("GET",)) for path, page in pages]


class _NodeState(Collector):
    """Read at each scrape."""

    def __init__(self, dht: DhtNode, trace: CountingTrace) -> None:
        self._dht = dht
        self._trace = trace

    def collect(self) -> Iterator[Metric]:
        """Gauges, then counters."""
        dht = self._dht
        info = GaugeMetricFamily(
            "fastmarket_node_info", "This node; always 1.", labels=("peer_id", "version")
        )
        info.add_metric((str(dht.peer_id), __version__), 1)
        yield info
        offers = dht.offers
        gauges = (
            ("routing_table_peers", "Peers in the routing table.", dht.engine.table_size),
            ("connections", "Connections with other nodes, open or opening.", dht.host.connection_count),
            (
                "connections_held_bytes",
                "Bytes that connections hold for their peers: output not taken, requests not answered.",
                dht.host.held_bytes,
            ),
            ("connected_peers", "Peers with an open connection.", len(dht.host.peers)),
            ("jobs_running", "Lookups and announcements under way.", len(dht.engine.jobs)),
            ("offers_stored", "Offers kept here, own ones and tombstones included.", len(offers.store)),
            ("offers_stored_bytes", "Bytes of their envelopes.", offers.store.stored_bytes),
            ("offers_own", "Own offers that are announced.", len(offers.own)),
            ("records_stored", "Values kept for others.", len(dht.engine.handlers.records)),
            (
                "clock_offset_seconds",
                "How far this clock is ahead of the peers', by what they say; 0: nothing is known.",
                offers.clock.offset_s(dht.now()),
            ),
            ("provider_records_stored", "Provider records kept.", len(dht.engine.handlers.providers)),
            ("storage_up", "Whether own offers can be written to disk.", int(not dht.disk_trouble)),
        )
        for name, about, value in gauges:
            yield GaugeMetricFamily(f"fastmarket_{name}", about, value)
        yield from self._counters()
        yield CounterMetricFamily(
            "fastmarket_log_lines_dropped", "Log lines that nobody read in time.", dropped_lines()
        )

    def _counters(self) -> Iterator[Metric]:
        dht = self._dht
        for name, count in (("received", dht.host.traffic.received), ("sent", dht.host.traffic.sent)):
            yield CounterMetricFamily(
                f"fastmarket_network_{name}_bytes", f"Bytes {name} over TCP by the network half.", count
            )
        yield CounterMetricFamily(
            "fastmarket_connections_dropped",
            "Connections ended for what they held: their peers did not read what they had asked for.",
            dht.host.links.dropped_count,
        )
        acks = {ack.name.lower(): count for ack, count in dht.offers.acks.items()}
        refusals = {reason.value: count for reason, count in dht.offers.refusals.items()}
        families = (
            (
                "offer_stores",
                "Offers that others wanted stored here, by what became of them.",
                "outcome",
                acks,
            ),
            (
                "offer_refusals",
                "Offers not taken, those in answers to us included, by why.",
                "reason",
                refusals,
            ),
            (
                "connection_refusals",
                "Connections not taken, by why.",
                "reason",
                {reason.value: count for reason, count in dht.host.links.refusals.items()},
            ),
            ("events", "What the protocol objects report, by name.", "event", self._trace.counts),
        )
        for name, about, label, counts in families:
            family = CounterMetricFamily(f"fastmarket_{name}", about, labels=(label,))
            for value, count in sorted(counts.items()):
                family.add_metric((value,), count)
            yield family
