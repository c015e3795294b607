"""Prometheus metrics and probes of whole nodes, read over HTTP."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fastmarket._version import __version__
from fastmarket.config import HostConfig, MarketConfig, NodeConfig, WebConfig
from fastmarket.libp2p.scopes import Pressure
from fastmarket.market.grpc_client import MarketClient
from fastmarket.node import Node
from fastmarket.pb import market_pb2, market_pb2_grpc
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, identity, until

LOOPBACK = HostConfig(listen=("/ip4/127.0.0.1/tcp/0",))
USER = market_pb2.User(id=b"me", name="Ann", ip="192.0.2.1", port=4000, price=3)
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def config(*bootstrap: str) -> NodeConfig:
    return NodeConfig(
        bootstrap=bootstrap, host=LOOPBACK, market=MarketConfig(port=0), web=WebConfig(metrics_port=0)
    )


@asynccontextmanager
async def watched(number: int, *bootstrap: str) -> AsyncIterator[tuple[Node, httpx.AsyncClient]]:
    async with Node(config(*bootstrap), identity(number)) as node:
        base = f"http://{node.metrics_address}"
        async with httpx.AsyncClient(base_url=base, timeout=DEADLINE_S) as http:
            yield node, http


async def scraped(http: httpx.AsyncClient) -> Samples:
    answer = await http.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def labelled(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_what_a_node_does_is_counted(run: Run[None]) -> None:
    async def main() -> None:
        async with watched(1) as (first, http), watched(2, str(first.listen_addrs[0])) as (second, _):
            await until(lambda: first.dht.engine.table_size == 1)
            async with grpc.aio.insecure_channel(second.grpc_address) as channel:
                stub = market_pb2_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]
                for name in ("Ann", "Bob"):
                    user = market_pb2.User(id=name.encode(), name=name, ip="192.0.2.1", port=4000, price=3)
                    await stub.RegisterFile(market_pb2.RegisterFileRequest(user=user, fileHash="ab" * 32))
            samples = await scraped(http)
            for key, value in (
                (labelled("fastmarket_node_info", peer_id=str(first.peer_id), version=__version__), 1),
                (labelled("fastmarket_routing_table_peers"), 1),
                (labelled("fastmarket_connected_peers"), 1),
                (labelled("fastmarket_offers_stored"), 2),
                (labelled("fastmarket_offers_own"), 0),
                (labelled("fastmarket_offer_stores_total", outcome="stored"), 2),
            ):
                assert samples[key] == value, key
            assert samples[labelled("fastmarket_network_received_bytes_total")] > 1000
            assert samples[labelled("process_open_fds")] > 3

    run(main())


def test_calls_and_jobs_are_timed_by_kind(run: Run[None]) -> None:
    async def main() -> None:
        async with watched(6) as (other, _), watched(3, str(other.listen_addrs[0])) as (node, http):
            async with grpc.aio.insecure_channel(node.grpc_address) as channel:
                stub = market_pb2_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]
                await stub.CheckHolders(market_pb2.CheckHoldersRequest(fileHash="ab" * 32))
                wrong = market_pb2.RegisterFileRequest(user=USER, fileHash="")
                call = stub.RegisterFile(wrong)
                assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
            count = "fastmarket_grpc_call_seconds_count"
            found = labelled(count, method="market.Market/CheckHolders", code="OK")
            refused = labelled(count, method="market.Market/RegisterFile", code="INVALID_ARGUMENT")
            lag = labelled("fastmarket_event_loop_lag_seconds_count")
            samples = await scraped(http)
            # The caller has its answer before the server has counted the call.
            while not (samples.keys() >= {found, refused} and samples[lag]):
                samples = await scraped(http)
            assert (samples[found], samples[refused]) == (1, 1)
            assert samples[labelled("fastmarket_job_seconds_count", kind="FindOffersJob")] == 1

    run(main())


def test_ready_once_in_the_network(run: Run[None]) -> None:
    async def main() -> None:
        async with watched(4) as (first, http):
            assert (await http.get("/healthz")).text == "ok\n"
            ready = await http.get("/readyz")
            assert (ready.status_code, ready.headers["cache-control"]) == (200, "no-store")
            address = str(first.listen_addrs[0])
        async with watched(5, address) as (_, http):
            ready = await http.get("/readyz")
            assert ready.status_code == 503
            assert "no bootstrap peer answers" in ready.text
            assert (await http.get("/healthz")).status_code == 200

    run(main())


def test_near_its_memory_limit_a_node_says_so_and_is_unready_once_it_refuses_callers(run: Run[None]) -> None:
    async def main() -> None:
        async with watched(4) as (node, http):
            memory = node.dht.host.memory
            assert (await http.get("/readyz")).text == "ready\n"
            memory.pressure = Pressure.TIGHT
            ready = await http.get("/readyz")
            assert ready.status_code == 200
            assert ready.text.startswith("ready, but near its memory limit, it refuses new peers")
            async with MarketClient(node.grpc_address) as market:
                assert "near its memory limit" in "".join((await market.get_node()).troubles)
            memory.pressure = Pressure.CRITICAL
            ready = await http.get("/readyz")
            assert (ready.status_code, ready.text[:25]) == (503, "near its memory limit, it")
            assert (await http.get("/healthz")).status_code == 200
            memory.pressure = Pressure.NONE
            assert (await http.get("/readyz")).text == "ready\n"

    run(main())


def test_a_clock_that_most_storers_find_wrong_is_shown_and_makes_the_node_unready(run: Run[None]) -> None:
    async def main() -> None:
        async with (
            watched(6) as (first, _),
            watched(7, str(first.listen_addrs[0])) as (second, _),
            watched(8, str(first.listen_addrs[0])) as (node, http),
        ):
            await until(lambda: node.dht.engine.table_size == 2)
            await until(lambda: second.dht.engine.table_size == 2)
            assert (await scraped(http))[labelled("fastmarket_clock_offset_seconds")] == 0
            node.dht._clock._offset += 1200
            async with grpc.aio.insecure_channel(node.grpc_address) as channel:
                stub = market_pb2_grpc.MarketStub(channel)  # type: ignore[no-untyped-call]
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.RegisterFile(
                        market_pb2.RegisterFileRequest(user=USER, fileHash="ab" * 32), timeout=DEADLINE_S
                    )
            details = str(caught.value.details())
            assert re.search("2 refused: issued in the future by (1199|120[01]) s", details)
            assert re.search("clock is about (1199|120[01]) s ahead of the peers that refused", details)
            offset = (await scraped(http))[labelled("fastmarket_clock_offset_seconds")]
            assert 1199 < offset < 1202
            ready = await http.get("/readyz")
            assert ready.status_code == 503
            assert "set it right" in ready.text

    run(main())
