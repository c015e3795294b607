"""OpenTelemetry spans of a whole node, at a collector that speaks OTLP over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import grpc.aio
import pytest

from fastmarket.config import HostConfig, MarketConfig, NodeConfig, WebConfig
from fastmarket.node import Node
from fastmarket.pb import market_pb2, market_pb2_grpc
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, identity

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    """Its address, and the requests that came."""
    received: list[Any] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            received.append(trace_service.ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", received
        finally:
            server.shutdown()
            serving.join()


def config(endpoint: str, *bootstrap: str) -> NodeConfig:
    return NodeConfig(
        bootstrap=bootstrap,
        host=HostConfig(listen=("/ip4/127.0.0.1/tcp/0",)),
        market=MarketConfig(port=0),
        web=WebConfig(trace_endpoint=endpoint),
    )


async def check_and_fail(endpoint: str) -> str:
    """One call that succeeds, under the caller's own span, and one that does not; the node's peer id."""
    async with Node(config(""), identity(2)) as other, AsyncExitStack() as stack:
        node = await stack.enter_async_context(
            Node(config(endpoint, str(other.listen_addrs[0])), identity(1))
        )
        async with grpc.aio.insecure_channel(node.grpc_address) as channel:
            stub: Any = market_pb2_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]
            metadata = (("traceparent", f"00-{TRACE}-{PARENT}-01"),)
            request = market_pb2.CheckHoldersRequest(fileHash="a secret file")
            await stub.CheckHolders(request, timeout=DEADLINE_S, metadata=metadata)
            call = stub.RegisterFile(market_pb2.RegisterFileRequest(), timeout=DEADLINE_S)
            assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        return str(node.peer_id)


def test_a_call_and_its_lookup_are_spans_under_the_caller_s(run: Run[str]) -> None:
    with collector() as (endpoint, received):
        peer_id = run(check_and_fail(endpoint))
    (resource,) = {
        tuple((each.key, each.value.string_value) for each in group.resource.attributes)
        for request in received
        for group in request.resource_spans
    }
    assert {"service.name": "fastmarket", "service.instance.id": peer_id}.items() <= dict(resource).items()
    spans = {
        span.name: span
        for request in received
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    }
    call, lookup = spans["market.Market/CheckHolders"], spans["FindOffersJob"]
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE, PARENT)
    assert (lookup.trace_id, lookup.parent_span_id) == (call.trace_id, call.span_id)
    assert call.start_time_unix_nano <= lookup.end_time_unix_nano
    assert call.status.code == 0
    assert "fastmarket.lookup.hops" in {each.key for each in lookup.attributes}
    failed = spans["market.Market/RegisterFile"]
    (code,) = [each.value.int_value for each in failed.attributes if each.key == "rpc.grpc.status_code"]
    assert code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert failed.status.code == 2
    assert not any(b"secret" in request.SerializeToString() for request in received)


def test_a_collector_that_is_away_costs_spans_alone(run: Run[str]) -> None:
    with collector() as (endpoint, _):
        pass
    run(check_and_fail(endpoint))
