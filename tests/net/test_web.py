"""Delegated Routing V1 over real sockets: nodes, an HTTP server on one of them, an HTTP client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import httpx
import pytest

from fastmarket.config import HostConfig, KadConfig, NodeConfig, OfferConfig, WebConfig
from fastmarket.errors import CallerFault
from fastmarket.formats.cid import Cid, Codec, new_cidv0
from fastmarket.formats.identity import PeerId
from fastmarket.formats.peer_info import PeerInfo
from fastmarket.net.dht_node import DhtNode
from fastmarket.offers.model.metadata import FileMetadata, Way
from fastmarket.web.media_types import IPNS_RECORD
from fastmarket.web.routing_api import JSON, NDJSON, RoutingApi
from fastmarket.web.server import WebServer
from tests.conftest import Run
from tests.net.loopback import DEADLINE_S, LOOPBACK, identity, nodes, seed, until

CONTENT = new_cidv0(b"an offered file")
OTHER = Cid(1, Codec.RAW, new_cidv0(b"a provided one").multihash)
CONFIG = WebConfig(port=0)


@dataclass(frozen=True, slots=True)
class Site:
    """A network of three, the first of which holds an offer, and HTTP on the last."""

    nodes: list[DhtNode]
    http: httpx.AsyncClient


@asynccontextmanager
async def served(node: DhtNode, config: WebConfig = CONFIG) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the routing API of a node."""
    server = WebServer(RoutingApi(node.public, config, KadConfig()).routes(), config, "127.0.0.1", 0)
    port = await server.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_S) as http:
            yield http
    finally:
        await server.stop()


@asynccontextmanager
async def standard_node() -> AsyncIterator[DhtNode]:
    """A peer that speaks the protocol of the DHT, and not that of offers."""
    config = NodeConfig(host=HostConfig(listen=()), offers=OfferConfig(protocol="/elsewhere/offer/1.0.0"))
    node = DhtNode(identity(50), config)
    await node.listen(LOOPBACK)
    try:
        yield node
    finally:
        await node.close()


def ids_in(peers: Iterable[PeerInfo]) -> set[PeerId]:
    return {peer.peer_id for peer in peers}


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
        async with served(asked) as http:
            yield Site(made, http)


def record(node: DhtNode) -> dict[str, object]:
    addrs = [str(addr) for addr in node.host.listen_addrs]
    return {"Schema": "peer", "ID": str(node.peer_id), "Addrs": addrs, "Protocols": []}


FOUND_CACHE = "public, max-age=300, stale-while-revalidate=600, stale-if-error=600"
EMPTY_CACHE = "public, max-age=15, stale-while-revalidate=60, stale-if-error=60"
OFFERS = "filter-protocols=fastmarket-offer"


def test_providers_as_json_and_as_a_stream(run: Run[None]) -> None:
    async def scenario() -> None:
        async with site() as at:
            holder, provider, _ = at.nodes
            offered = {**record(holder), "Protocols": ["fastmarket-offer"]}
            for path, expected in (
                (f"/routing/v1/providers/{CONTENT}?{OFFERS}", offered),
                (f"/routing/v1/providers/{OTHER}", record(provider)),
            ):
                answer = await at.http.get(path)
                assert answer.status_code == 200
                assert answer.headers["content-type"] == "application/json"
                assert answer.json() == {"Providers": [expected]}
                assert answer.headers["access-control-allow-origin"] == "*"
                assert answer.headers["vary"] == "Accept"
                assert answer.headers["cache-control"] == FOUND_CACHE
                streamed = await at.http.get(path, headers={"Accept": NDJSON})
                assert streamed.headers["content-type"].startswith(NDJSON)
                assert streamed.headers["cache-control"] == FOUND_CACHE
                assert [json.loads(line) for line in streamed.text.splitlines()] == [expected]

    run(scenario())


def test_a_holder_with_a_gateway_is_a_provider_for_all(run: Run[None]) -> None:
    async def scenario() -> None:
        async with site() as at:
            holder = at.nodes[0]
            free = FileMetadata("192.0.2.7", 9000, 0, ways=Way.HTTP | Way.BITSWAP)
            await holder.register_offer(OTHER.multihash, b"u", "bob", free, DEADLINE_S)
            told = record(holder)
            told["Addrs"] = [
                "/ip4/192.0.2.7/tcp/9000/http",
                *[str(addr) for addr in holder.host.listen_addrs],
            ]
            told["Protocols"] = ["fastmarket-offer", "transport-ipfs-gateway-http", "transport-bitswap"]
            path = f"/routing/v1/providers/{OTHER}"
            every = (await at.http.get(path)).json()["Providers"]
            assert told in every
            gateways = await at.http.get(f"{path}?filter-protocols=transport-ipfs-gateway-http")
            assert gateways.json() == {"Providers": [told]}
            filtered = await at.http.get(f"{path}?filter-protocols=transport-bitswap&filter-addrs=http")
            assert filtered.json()["Providers"] == [{**told, "Addrs": told["Addrs"][:1]}]  # type: ignore[index]

    run(scenario())


@pytest.mark.parametrize("withdrawn", [False, True])
def test_who_only_sells_is_no_provider_for_others(run: Run[None], withdrawn: bool) -> None:
    """They would connect, find no protocol of theirs and wait. A standard node holds provider records of
    both: it knows of no offers, and keeps them when an offer is withdrawn."""

    async def scenario() -> None:
        async with nodes(2) as (seller, asked), standard_node() as standard:
            for node in (seller, standard):
                await node.bootstrap([seed(asked)], DEADLINE_S)
            await seller.bootstrap([seed(standard)], DEADLINE_S)
            await seller.register_offer(
                CONTENT.multihash, b"u", "bob", FileMetadata("192.0.2.7", 9000, 5), DEADLINE_S
            )
            await standard.provide(CONTENT.multihash, deadline_s=DEADLINE_S)
            records = standard.engine.handlers.providers
            await until(
                lambda: seller.peer_id in ids_in(records.providers(CONTENT.multihash, standard.now()))
            )
            if withdrawn:
                await seller.withdraw_offer(CONTENT.multihash, b"u", DEADLINE_S)
            for node in (asked, seller):
                async with served(node) as http:
                    for query in (
                        "",
                        "filter-protocols=unknown,transport-bitswap,transport-ipfs-gateway-http",
                    ):
                        for accept in (JSON, NDJSON):
                            path = f"/routing/v1/providers/{CONTENT}?{query}"
                            answer = await http.get(path, headers={"Accept": accept})
                            assert str(seller.peer_id) not in answer.text
                            assert str(standard.peer_id) in answer.text
                    answer = await http.get(f"/routing/v1/providers/{CONTENT}?{OFFERS}")
                    sellers = [] if withdrawn else [str(seller.peer_id)]
                    assert [peer["ID"] for peer in answer.json()["Providers"]] == sellers

    run(scenario())


def test_nothing_found_is_no_error(run: Run[None]) -> None:
    async def scenario() -> None:
        async with site() as at:
            answer = await at.http.get(f"/routing/v1/providers/{new_cidv0(b'nobody has it')}")
            assert (answer.status_code, answer.json()) == (200, {"Providers": []})
            assert answer.headers["cache-control"] == EMPTY_CACHE
            streamed = await at.http.get(
                f"/routing/v1/providers/{new_cidv0(b'nobody has it')}", headers={"Accept": NDJSON}
            )
            assert (streamed.status_code, streamed.text) == (200, "")
            assert streamed.headers["cache-control"] == EMPTY_CACHE
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
            async with served(alone) as http:
                answer = await http.get(f"/routing/v1/dht/closest/peers/{CONTENT}")
            assert (answer.status_code, answer.json()) == (404, {"error": "no peer is known"})

    run(scenario())


def test_filters_reach_the_records(run: Run[None]) -> None:
    async def scenario() -> None:
        async with site() as at:
            path = f"/routing/v1/providers/{OTHER}"
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


PATHS = (
    f"/routing/v1/providers/{CONTENT}",
    "/routing/v1/peers/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
    f"/routing/v1/dht/closest/peers/{CONTENT}",
    "/routing/v1/ipns/k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8",
)
BAD_NAMES = ("nonsense", "z", "Qm", "bafy", "12D3KooW", "%00", "%F0%9F%98%80", "k51" + "q" * 2000, "0" * 46)


STATUSES: list[tuple[str, str, dict[str, str], int]] = [
    *(("GET", path.rpartition("/")[0] + "/" + name, {}, 400) for path in PATHS for name in BAD_NAMES),
    *(("GET", path, {"Accept": "text/html"}, 406) for path in PATHS),
    *((method, path, {}, 405) for path in PATHS for method in ("POST", "DELETE", "TRACE", "PROPFIND")),
    *(("PUT", path, {}, 405) for path in PATHS[:3]),
    *(("OPTIONS", path, {}, 204) for path in PATHS),
    *(("HEAD", path, {}, 200) for path in PATHS),
    *(
        (method, path, {}, 404)
        for method in ("GET", "PUT", "OPTIONS")
        for path in ("/routing/v1", "/routing/v1/", "/routing/v1/nowhere", "/routing/v1/providers/")
    ),
    ("GET", PATHS[0] + "/more", {}, 404),
    *(("GET", path + "?filter-addrs=" + "x" * 2000, {}, 422) for path in PATHS[:3]),
    *(("GET", path + "?filter-protocols=" + "x" * 64, {}, 422) for path in PATHS[:3]),
]


def test_statuses(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (asked, other):
            await other.bootstrap([seed(asked)], DEADLINE_S)
            async with served(asked) as http:
                for method, path, headers, status in STATUSES:
                    answer = await http.request(method, path, headers=headers)
                    assert answer.status_code == status, (method, path, headers)
                    assert answer.headers["access-control-allow-origin"] == "*"
                    assert answer.headers["access-control-allow-methods"] == "GET, OPTIONS"
                    if status >= 400:
                        assert answer.json()["error"], path
                        assert answer.headers["cache-control"] == "no-store"
                    if status == 405:
                        assert {"GET", "HEAD", "OPTIONS"} <= set(answer.headers["allow"].split(", "))

    run(scenario())


@pytest.mark.parametrize("accept", [JSON, NDJSON])
def test_no_answer_is_longer_than_clients_read(run: Run[None], accept: str) -> None:
    """Kubo drops what comes after 1 MiB, in the middle of a record and unsaid."""

    async def scenario() -> None:
        config = replace(CONFIG, max_answer_bytes=2000, max_records=4096)
        async with nodes(1) as (asked,):
            for number in range(200):
                peer = PeerInfo(identity(1000 + number).peer_id, asked.host.listen_addrs)
                asked.engine.handlers.providers.add(OTHER.multihash, peer, asked.now())
            async with served(asked, config) as http:
                answer = await http.get(f"/routing/v1/providers/{OTHER}", headers={"Accept": accept})
        assert 1000 < len(answer.content) <= 2000 + len('{"Providers":[]}')
        lines = answer.text.splitlines() if accept == NDJSON else None
        records = answer.json()["Providers"] if lines is None else [json.loads(line) for line in lines]
        assert len({one["ID"] for one in records}) == len(records) > 3

    run(scenario())


def test_a_peer_that_went_is_not_told_of(run: Run[None]) -> None:
    """However well its addresses are remembered, here or elsewhere. One that is there is told of, though no
    connection to it is open."""

    async def scenario() -> None:
        async with nodes(4) as (asked, other, gone, there):
            for node in (other, gone, there):
                await node.bootstrap([seed(asked)], DEADLINE_S)
            for node in (gone, there):
                await node.bootstrap([seed(other)], DEADLINE_S)
            path = f"/routing/v1/peers/{gone.peer_id}"
            async with served(asked) as http:
                assert (await http.get(path)).json() == {"Peers": [record(gone)]}
                await gone.close()
                await until(lambda: asked.host.link_to(gone.peer_id) is None)
                assert asked.host.identifier.store.addrs(gone.peer_id, asked.now())
                for accept in (JSON, NDJSON):
                    answer = await http.get(path, headers={"Accept": accept})
                    assert str(gone.peer_id) not in answer.text
                    assert answer.headers["cache-control"] == EMPTY_CACHE
                link = asked.host.link_to(there.peer_id)
                assert link is not None
                link.abort()
                await until(lambda: asked.host.link_to(there.peer_id) is None)
                answer = await http.get(f"/routing/v1/peers/{there.peer_id}")
                assert answer.json() == {"Peers": [record(there)]}

    run(scenario())


@pytest.mark.parametrize("accept", [JSON, NDJSON])
def test_a_caller_that_leaves_ends_its_lookup(run: Run[None], accept: str) -> None:
    async def scenario() -> None:
        async with (
            nodes(2) as (other, asked),
            served(asked, replace(CONFIG, lookup_budget_s=600.0)) as http,
        ):
            await asked.bootstrap([seed(other)], DEADLINE_S)
            # Answers never come, as from peers that hang.
            asked.host.request = lambda *request: None  # type: ignore[method-assign]
            for path in PATHS:
                asking = asyncio.ensure_future(http.get(path, headers={"Accept": f"{accept}, {IPNS_RECORD}"}))
                await until(lambda: len(asked.engine.jobs) > 0)
                asking.cancel()
                await until(lambda: len(asked.engine.jobs) == 0)

    run(scenario())


def test_a_port_in_use_is_named(run: Run[None]) -> None:
    async def scenario() -> None:
        first = WebServer([], CONFIG, "127.0.0.1", 0)
        port = await first.start()
        try:
            with pytest.raises(CallerFault, match=f"^http-port: 127.0.0.1 port {port} is in use$"):
                await WebServer([], CONFIG, "127.0.0.1", port).start()
        finally:
            await first.stop()

    run(scenario())
