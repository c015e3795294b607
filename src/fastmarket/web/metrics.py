"""A node's metrics for Prometheus. The names are a public interface: docs/operations.md lists them."""

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

# A node answers local calls in fractions of a millisecond; a lookup across the world takes a second.
CALL_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
JOB_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LAG_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
HOP_BUCKETS = tuple(map(float, (0, 1, 2, 3, 4, 5, 6, 8, 10, 15)))
ASKED_BUCKETS = tuple(map(float, (0, 1, 2, 5, 10, 20, 30, 40, 60, 80, 120, 200)))
LAG_INTERVAL_S = 0.5  # between measurements of the event loop's lag
HEALTH_HEADERS = {"Cache-Control": "no-store"}


class CountingTrace(Trace):
    """Counts the events of protocol objects by name; the names are few and fixed."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def event(self, name: str, **fields: object) -> None:
        """Counts one event."""
        self.counts[name] += 1


class NodeMetrics:
    """One registry for one node. State is read at each scrape; events are recorded as they happen."""

    def __init__(self, dht: DhtNode, trace: CountingTrace) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.registry.register(_NodeState(dht, trace))
        self._calls = Histogram(
            "fastmarket_grpc_call_seconds",
            "Duration of gRPC calls by method and status code.",
            ("method", "code"),
            buckets=CALL_BUCKETS_S,
            registry=self.registry,
        )
        self._calls_by_kind: dict[tuple[str, str], Histogram] = {}  # few: our methods and gRPC's codes
        self._jobs = Histogram(
            "fastmarket_job_seconds",
            "Duration of finished lookups and announcements by kind.",
            ("kind",),
            buckets=JOB_BUCKETS_S,
            registry=self.registry,
        )
        self._hops = Histogram(
            "fastmarket_lookup_hops",
            "Hops to the farthest peer that answered a finished lookup, by kind.",
            ("kind",),
            buckets=HOP_BUCKETS,
            registry=self.registry,
        )
        self._asked = Histogram(
            "fastmarket_lookup_asked_peers",
            "Peers queried per lookup, by kind.",
            ("kind",),
            buckets=ASKED_BUCKETS,
            registry=self.registry,
        )
        self._failures = Counted(
            "fastmarket_lookup_failed_requests",
            "Failed requests of lookups, by kind.",
            ("kind",),
            registry=self.registry,
        )
        self._lag = Histogram(
            "fastmarket_event_loop_lag_seconds",
            "Event loop lag: delay of a callback beyond its due time.",
            buckets=LAG_BUCKETS_S,
            registry=self.registry,
        )
        self._due = 0.0
        self._measuring = Repeating(
            "measuring the event loop", lambda: LAG_INTERVAL_S, self._measure_lag, Faults()
        )

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """Observes gRPC calls (`market.guard.Observer`)."""
        calls = self._calls_by_kind.get((method, code))
        if calls is None:
            calls = self._calls_by_kind[method, code] = self._calls.labels(method.removeprefix("/"), code)
        calls.observe(seconds)

    def job_ended(self, kind: str, lookup: Lookup | None, seconds: float) -> None:
        """Observes the node's jobs (`net.driver.JobObserver`)."""
        self._jobs.labels(kind).observe(seconds)
        if lookup is not None:
            self._hops.labels(kind).observe(lookup.hops)
            self._asked.labels(kind).observe(lookup.queried_count)
            self._failures.labels(kind).inc(lookup.failed_count)

    def start(self) -> None:
        """Starts measuring the event loop."""
        self._due = asyncio.get_running_loop().time() + LAG_INTERVAL_S
        self._measuring.start()

    async def stop(self) -> None:
        """Stops measuring."""
        await self._measuring.stop()

    def _measure_lag(self) -> None:
        now = asyncio.get_running_loop().time()
        late, self._due = now - self._due, now + LAG_INTERVAL_S
        self._lag.observe(max(late, 0.0))


PROBES = frozenset({"/healthz", "/readyz"})
"""Always answered, under any host name, and before anything else."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """The content of /readyz: `missing`, why the node is not ready, or ""; `note`, what a ready node
    lacks."""

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
    """Collected at each scrape."""

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
            ("connections", "Connections with other nodes, open or being opened.", dht.host.connection_count),
            (
                "connections_held_bytes",
                "Bytes that connections hold for their peers: unread output, unanswered requests.",
                dht.host.held_bytes,
            ),
            ("connected_peers", "Peers with an open connection.", len(dht.host.peers)),
            ("jobs_running", "Lookups and announcements in progress.", len(dht.engine.jobs)),
            ("offers_stored", "Offers stored here, including own ones and tombstones.", len(offers.store)),
            ("offers_stored_bytes", "Bytes of the stored offers' envelopes.", offers.store.stored_bytes),
            ("offers_own", "Own offers being announced.", len(offers.own)),
            ("records_stored", "Values stored for other nodes.", len(dht.engine.handlers.records)),
            (
                "clock_offset_seconds",
                "Estimated seconds by which this clock is ahead of the peers' clocks; 0 if unknown.",
                offers.clock.offset_s(dht.now()),
            ),
            ("provider_records_stored", "Provider records stored.", len(dht.engine.handlers.providers)),
            ("storage_up", "Whether own offers can be written to disk.", int(not dht.disk_trouble)),
        )
        for name, about, value in gauges:
            yield GaugeMetricFamily(f"fastmarket_{name}", about, value)
        yield from self._memory()
        yield from self._counters()
        yield CounterMetricFamily(
            "fastmarket_log_lines_dropped",
            "Log lines dropped because stderr was not read in time.",
            dropped_lines(),
        )

    def _memory(self) -> Iterator[Metric]:
        memory = self._dht.host.memory
        memory.measure()
        held = GaugeMetricFamily(
            "fastmarket_held_bytes",
            "Bytes held for peers, callers and HTTP clients, by part; node is all of them.",
            labels=("scope",),
        )
        for scope, size in sorted(memory.held_by_kind().items()):
            held.add_metric((scope,), size)
        yield held
        yield GaugeMetricFamily(
            "fastmarket_memory_pressure",
            "How near the memory limit is: 1, strangers are refused; 2, callers, too.",
            memory.pressure,
        )
        refused = CounterMetricFamily(
            "fastmarket_memory_refusals",
            "Work refused for lack of memory, by the scope that was full and what it was for.",
            labels=("scope", "priority"),
        )
        for (kind, priority), count in sorted(memory.refusals.items(), key=str):
            refused.add_metric((kind.value, priority.name.lower()), count)
        yield refused

    def _counters(self) -> Iterator[Metric]:
        dht = self._dht
        for name, count in (("received", dht.host.traffic.received), ("sent", dht.host.traffic.sent)):
            yield CounterMetricFamily(
                f"fastmarket_network_{name}_bytes", f"Bytes {name} over TCP from and to other nodes.", count
            )
        yield CounterMetricFamily(
            "fastmarket_connections_dropped",
            "Connections closed because they held too many bytes that their peers did not read.",
            dht.host.links.dropped_count,
        )
        acks = {ack.name.lower(): count for ack, count in dht.offers.acks.items()}
        refusals = {reason.value: count for reason, count in dht.offers.refusals.items()}
        families = (
            (
                "offer_stores",
                "Requests of other nodes to store offers here, by outcome.",
                "outcome",
                acks,
            ),
            (
                "offer_refusals",
                "Refused offers, including those in answers to us, by reason.",
                "reason",
                refusals,
            ),
            (
                "connection_refusals",
                "Refused connections, by reason.",
                "reason",
                {reason.value: count for reason, count in dht.host.links.refusals.items()},
            ),
            ("events", "Events reported by the protocol objects, by name.", "event", self._trace.counts),
        )
        for name, about, label, counts in families:
            family = CounterMetricFamily(f"fastmarket_{name}", about, labels=(label,))
            for value, count in sorted(counts.items()):
                family.add_metric((value,), count)
            yield family
