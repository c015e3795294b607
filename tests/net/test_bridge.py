"""The bridge: the client methods of the first system, and the faults it must not have again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fastmarket.errors import Busy, CallerFault, ConnectionLost, DialFailed, NotFound, QuorumFailed
from fastmarket.formats.cid import new_cidv0
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.kad.lookup.query import Quorum
from fastmarket.net import bridge as bridge_module
from fastmarket.net.bridge import DhtClient, bridge
from fastmarket.offers.model.metadata import FileMetadata
from tests.conftest import Run

CID = new_cidv0(b"some file")


@asynccontextmanager
async def running(count: int) -> AsyncIterator[list[tuple[DhtClient, Multiaddr]]]:
    """Clients of running servers, each with the address its server listens on."""
    clients = []
    servers = []
    try:
        for _ in range(count):
            client, server = bridge(16)
            servers.append(asyncio.ensure_future(server.run()))
            (addr,) = await client.listen_on("/ip4/127.0.0.1/tcp/0")
            clients.append((client, addr))
        yield clients
    finally:
        for client, _ in clients:
            client.close()
        await asyncio.gather(*servers)


async def join(client: DhtClient, addr: Multiaddr) -> None:
    assert addr.peer_id is not None
    await client.bootstrap([(addr.peer_id, addr)])


def test_the_methods_of_the_first_system(run: Run[None]) -> None:
    async def scenario() -> None:
        async with running(3) as ((a, at_a), (b, at_b), (c, at_c)):
            assert at_a.peer_id is not None
            joined = await b.bootstrap([(str(at_a.peer_id), str(at_a))])
            assert (joined.peer, joined.remaining) == (at_a.peer_id, 0)
            assert await c.dial(at_a.peer_id, at_a) == at_a.peer_id
            await join(c, at_a)
            assert await b.get_local_peer_id() == at_b.peer_id
            assert await b.register(CID, "192.0.2.1", 8000, 3) == CID
            found = await c.get_file(str(CID))
            assert (found.cid, found.metadata, found.owner) == (
                CID,
                FileMetadata("192.0.2.1", 8000, 3),
                at_b.peer_id,
            )
            closest = await a.get_closest_peers(CID)
            assert {peer.peer_id for peer in closest} == {at_b.peer_id, at_c.peer_id}

    run(scenario())


def test_get_file_gives_the_cheapest_and_find_offers_all(run: Run[None]) -> None:
    async def scenario() -> None:
        async with running(3) as ((a, at_a), (b, _), (c, _)):
            await join(b, at_a)
            await join(c, at_a)
            await a.register(CID, "192.0.2.1", 8000, 7)
            await b.register(CID, "192.0.2.2", 8000, 2)
            assert (await c.get_file(CID)).metadata.price_per_mb == 2
            offers = [offer async for offer in c.find_offers(CID)]
            assert sorted(offer.metadata.price_per_mb for offer in offers) == [2, 7]

    run(scenario())


def test_records_and_providers(run: Run[None]) -> None:
    async def scenario() -> None:
        async with running(3) as ((a, at_a), (b, at_b), (c, _)):
            await join(b, at_a)
            await join(c, at_a)
            stored = await b.put_record(b"name", b"value")
            assert (stored.acknowledged, stored.asked, stored.wanted) == (2, 2, 2)
            assert await c.get_record(b"name", Quorum.ONE) == b"value"
            with pytest.raises(NotFound):
                await c.get_record(b"other")
            with pytest.raises(QuorumFailed):
                await c.put_record(b"name", b"value", 9)
            await b.provide(CID)
            assert [peer.peer_id for peer in await c.find_providers(CID)] == [at_b.peer_id]
            with pytest.raises(NotFound):
                await a.get_file(new_cidv0(b"nobody has this"))

    run(scenario())


def test_a_wrong_argument_names_itself_and_harms_nobody(run: Run[None]) -> None:
    async def scenario() -> None:
        async with running(1) as ((client, _),):
            for call, field in (
                (client.register(CID, "192.0.2.1", 0, 3), "port"),
                (client.register(CID, "192.0.2.1", 80, -1), "price_per_mb"),
                (client.register(CID, "no address", 80, 1), "ip"),
                (client.listen_on("/ip4/127.0.0.1"), "listen"),
                (client.bootstrap([]), "peers"),
                (client.put_record(b"", b"v"), "key"),
            ):
                with pytest.raises(CallerFault) as caught:
                    await call
                assert caught.value.field == field
            assert await client.get_local_peer_id()

    run(scenario())


def test_a_cancelled_caller_does_not_end_the_server(run: Run[None]) -> None:
    """A dropped receiver ended `run()` of the first system."""

    async def scenario() -> None:
        async with running(2) as ((a, _), (b, at_b)):
            await b.register(CID, "192.0.2.1", 80, 1)
            for _ in range(5):
                call = asyncio.ensure_future(a.bootstrap([(at_b.peer_id, at_b)]))
                await asyncio.sleep(0)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
            await join(a, at_b)
            assert (await a.get_file(CID)).owner == at_b.peer_id

    run(scenario())


def test_leaving_an_iteration_ends_the_lookup_only(run: Run[None]) -> None:
    async def scenario() -> None:
        async with running(2) as ((a, at_a), (b, _)):
            await join(b, at_a)
            await a.register(CID, "192.0.2.1", 80, 1)
            offers = b.find_offers(CID)
            async for _ in offers:
                break
            await offers.aclose()
            assert (await b.get_file(CID)).owner == at_a.peer_id

    run(scenario())


def test_closing_ends_run_and_refuses_what_comes_later(run: Run[None]) -> None:
    async def scenario() -> None:
        client, server = bridge(1)
        serving = asyncio.ensure_future(server.run())
        await client.get_local_peer_id()
        client.close()
        await serving
        with pytest.raises(ConnectionLost):
            await client.get_local_peer_id()

    run(scenario())


def test_a_queue_that_stays_full_is_busy(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_module, "QUEUE_DEADLINE_S", 0.0)

    async def scenario() -> None:
        client, _ = bridge(1)  # nobody runs the server, so the queue is never emptied
        first = asyncio.ensure_future(client.get_local_peer_id())
        await asyncio.sleep(0)
        with pytest.raises(Busy) as caught:
            await client.get_local_peer_id()
        assert caught.value.field == "cmd_buffer"
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

    run(scenario())


def test_dialing_nobody_fails_with_the_address(run: Run[None]) -> None:
    async def scenario() -> None:
        async with running(1) as ((client, _),):
            other, server = bridge(1)
            serving = asyncio.ensure_future(server.run())
            peer = await other.get_local_peer_id()
            other.close()
            await serving
            with pytest.raises(DialFailed, match=r"/ip4/127\.0\.0\.1/tcp/1: connection refused"):
                await client.dial(peer, Multiaddr.from_text("/ip4/127.0.0.1/tcp/1"))

    run(scenario())
