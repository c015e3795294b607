"""OpenTelemetry spans: one for each gRPC call, and one in it for each lookup or announcement it set off.

They go to an OTLP/HTTP collector; a caller that sends `traceparent` finds them under its own span. They hold
no content, user or address. Needs `fastmarket[tracing]`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fastmarket._version import __version__
from fastmarket.formats.identity import PeerId
from fastmarket.kad.lookup.lookup import Lookup

TRACES_PATH = "/v1/traces"  # OTLP/HTTP
EXPORT_TIMEOUT_S = 2  # of one batch, at the end of the node, too
FLUSH_MS = 1500
MAX_QUEUED = 2048  # spans that wait for the collector; beyond it they are dropped
KEPT_HEADERS = ("traceparent", "tracestate")


class NodeTracing:
    """The spans of one node."""

    def __init__(self, endpoint: str, peer_id: PeerId) -> None:
        """`endpoint` is the collector's base URL."""
        resource = Resource.create(
            {
                "service.name": "fastmarket",
                "service.version": __version__,
                "service.instance.id": str(peer_id),
            }
        )
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint.rstrip("/") + TRACES_PATH, timeout=EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=MAX_QUEUED))
        self._tracer = self._provider.get_tracer("fastmarket", __version__)
        self._propagator = TraceContextTextMapPropagator()

    @asynccontextmanager
    async def around(self, method: str, context: Any) -> AsyncIterator[None]:
        """For `market.guard.Watch`."""
        sent = {key: value for key, value in context.invocation_metadata() or () if key in KEPT_HEADERS}
        service, _, name = method.removeprefix("/").rpartition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        with self._tracer.start_as_current_span(
            method.removeprefix("/"),
            self._propagator.extract(sent),
            SpanKind.SERVER,
            attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            finally:
                code = context.code()
                number = code.value[0] if isinstance(code, grpc.StatusCode) else int(code or 0)
                span.set_attribute("rpc.grpc.status_code", number)
                if number:
                    span.set_status(Status(StatusCode.ERROR))

    def job_ended(self, kind: str, lookup: Lookup | None, seconds: float) -> None:
        """An observer of the node's jobs; it runs in the context of the call that set the job off."""
        if not trace.get_current_span().get_span_context().is_valid:
            return  # the node's own upkeep
        end = time.time_ns()
        span = self._tracer.start_span(kind, start_time=end - int(seconds * 1e9))
        if lookup is not None:
            span.set_attribute("fastmarket.lookup.hops", lookup.hops)
            span.set_attribute("fastmarket.lookup.asked", lookup.queried_count)
            span.set_attribute("fastmarket.lookup.failed", lookup.failed_count)
        span.end(end)

    def stop(self) -> None:
        """Sends what is left; blocks for a while where the collector hangs."""
        self._provider.force_flush(FLUSH_MS)
        self._provider.shutdown()
