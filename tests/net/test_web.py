"""Delegated Routing V1 over real sockets: nodes, an HTTP server on one of them, an HTTP client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from fastmarket.config import KadConfig, WebConfig
from fastmarket.errors import CallerFault
from fastmarket.formats.cid import Cid, Codec, new_cidv0
from fastmarket.net.dht_node import DhtNode
from fastmarket.offers.metadata import FileMetadata
from fastmarket.web.routing_api import NDJSON, RoutingApi
from fastmarket.web.server import WebServer
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, identity, nodes, seed, until

CONTENT = new_cidv0(b"an offered file")
OTHER = Cid(1, Codec.RAW, new_cidv0(b"a provided one").multihash)
CONFIG = WebConfig(port=0)


@dataclass(frozen=True, slots=True)
class Site:
    """A network of three, the first of which holds an offer, and HTTP on the last."""

    nodes: list[DhtNode]
    http: httpx.AsyncClient


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    async with nodes(3) as made:
        holder, provider, asked = made
        for node in (provider, asked):
            await node.bootstrap([seed(holder)], DEADLINE_S)
        await holder.register_offer(
            CONTENT.multihash, b"u", "bob", FileMetadata("192.0.2.7", 9000, 5), DEADLINE_S
        )
        await provider.provide(OTHER.multihash, deadline_s=DEADLINE_S)
        server = WebServer(RoutingApi(asked.public, CONFIG, KadConfig()).routes(), CONFIG, "127.0.0.1", 0)
        port = await server.start()
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_S) as http:
                yield Site(made, http)
        finally:
            await server.stop()


def record(node: DhtNode) -> dict[str, object]:
    addrs = [str(addr) for addr in node.host.listen_addrs]
    return {"Schema": "peer", "ID": str(node.peer_id), "Addrs": addrs, "Protocols": []}


def test_providers_as_json_and_as_a_stream(run: Run[None]) -> None:
    async def scenario() -> None:
        async with site() as at:
            holder, provider, _ = at.nodes
            for cid, who in ((CONTENT, holder), (OTHER, provider)):
                path = f"/routing/v1/providers/{cid}"
                answer = await at.http.get(path)
                assert answer.status_code == 200
                assert answer.headers["content-type"] == "application/json"
                assert answer.json() == {"Providers": [record(who)]}
                assert answer.headers["access-control-allow-origin"] == "*"
                assert answer.headers["vary"] == "Accept"
                assert answer.headers["cache-control"].startswith("public, max-age=300, stale-while-rev")
                streamed = await at.http.get(path, headers={"Accept": NDJSON})
                assert streamed.headers["content-type"].startswith(NDJSON)
                assert [json.loads(line) for line in streamed.text.splitlines()][-1:] == [record(who)]

    run(scenario())


def test_nothing_found_is_no_error(run: Run[None]) -> None:
    async def scenario() -> None:
        async with site() as at:
            answer = await at.http.get(f"/routing/v1/providers/{new_cidv0(b'nobody has it')}")
            assert (answer.status_code, answer.json()) == (200, {"Providers": []})
            assert "max-age=15," in answer.headers["cache-control"]
            streamed = await at.http.get(
                f"/routing/v1/providers/{new_cidv0(b'nobody has it')}", headers={"Accept": NDJSON}
            )
            assert (streamed.status_code, streamed.text) == (200, "")
            assert "max-age=15," in streamed.headers["cache-control"]
            nobody = identity(77).peer_id
            answer = await at.http.get(f"/routing/v1/peers/{nobody}")
            assert (answer.status_code, answer.json()) == (200, {"Peers": []})

    run(scenario())


def test_peers_by_either_text_and_the_closest(run: Run[None]) -> None:
    async def scenario() -> None:
        async with site() as at:
            holder, provider, asked = at.nodes
            for text in (str(provider.peer_id), str(Cid(1, Codec.LIBP2P_KEY, provider.peer_id.raw))):
                answer = await at.http.get(f"/routing/v1/peers/{text}")
                assert answer.json() == {"Peers": [record(provider)]}
            assert (await at.http.get(f"/routing/v1/peers/{asked.peer_id}")).json()["Peers"]
            closest = (await at.http.get(f"/routing/v1/dht/closest/peers/{CONTENT}")).json()["Peers"]
            assert {peer["ID"] for peer in closest} == {str(holder.peer_id), str(provider.peer_id)}

    run(scenario())


def test_a_node_that_knows_nobody_has_no_closest_peers(run: Run[None]) -> None:
    """404, unlike everywhere else in the API."""

    async def scenario() -> None:
        async with nodes(1) as (alone,):
            server = WebServer(RoutingApi(alone.public, CONFIG, KadConfig()).routes(), CONFIG, "127.0.0.1", 0)
            port = await server.start()
            async with httpx.AsyncClient(timeout=DEADLINE_S) as http:
                answer = await http.get(f"http://127.0.0.1:{port}/routing/v1/dht/closest/peers/{CONTENT}")
            await server.stop()
            assert (answer.status_code, answer.json()) == (404, {"error": "no peer is known"})

    run(scenario())


def test_filters_reach_the_records(run: Run[None]) -> None:
    async def scenario() -> None:
        async with site() as at:
            path = f"/routing/v1/providers/{CONTENT}"
            for query, count in (
                ("filter-addrs=tcp", 1),
                ("filter-addrs=quic-v1", 0),
                ("filter-addrs=!tcp", 0),
                ("filter-protocols=unknown", 1),
                ("filter-protocols=transport-bitswap", 0),
            ):
                answer = await at.http.get(f"{path}?{query}")
                assert len(answer.json()["Providers"]) == count, query

    run(scenario())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/routing/v1/providers/nonsense", 422),
        ("GET", "/routing/v1/peers/nonsense", 422),
        ("GET", f"/routing/v1/providers/{CONTENT}?filter-addrs={'x' * 2000}", 422),
        ("GET", "/routing/v1/nowhere", 400),
        ("PUT", f"/routing/v1/providers/{CONTENT}", 501),
        ("GET", "/routing/v1/ipns/k51", 501),
        ("OPTIONS", f"/routing/v1/providers/{CONTENT}", 204),
        ("GET", "/", 404),
    ],
)
def test_statuses(run: Run[None], method: str, path: str, status: int) -> None:
    async def scenario() -> None:
        async with site() as at:
            answer = await at.http.request(method, path)
            assert answer.status_code == status
            assert path == "/" or answer.headers["access-control-allow-methods"] == "GET, OPTIONS"
            assert status in (204, 404) or answer.json()["error"]

    run(scenario())


def test_a_caller_that_leaves_ends_its_lookup(run: Run[None]) -> None:
    async def scenario() -> None:
        async with site() as at:
            asked = at.nodes[2]
            # Answers never come, as from peers that hang.
            asked.host.request = lambda *request: None  # type: ignore[method-assign]
            path = f"/routing/v1/providers/{CONTENT}"
            asking = asyncio.ensure_future(at.http.get(path, headers={"Accept": NDJSON}))
            await until(lambda: len(asked.engine.jobs) > 0)
            asking.cancel()
            await until(lambda: len(asked.engine.jobs) == 0)

    run(scenario())


def test_a_port_in_use_is_named(run: Run[None]) -> None:
    async def scenario() -> None:
        first = WebServer([], CONFIG, "127.0.0.1", 0)
        port = await first.start()
        try:
            with pytest.raises(CallerFault, match=f"http-port: cannot listen on 127.0.0.1:{port}"):
                await WebServer([], CONFIG, "127.0.0.1", port).start()
        finally:
            await first.stop()

    run(scenario())
