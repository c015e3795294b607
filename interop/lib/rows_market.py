"""Rows about the market: an offer registered over gRPC is an ordinary provider record to the others, and
theirs are found by our client. The kind that dials is the one that joins the other's network."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from fastmarket.cli.processes import ServerProcess
from fastmarket.formats.cid import new_cidv0
from fastmarket.market.grpc_client import MarketClient
from fastmarket.net.bridge import DhtClient, bridge
from fastmarket.offers.model.metadata import FileMetadata
from lib.cell import LOOPBACK, Cell, check, until
from lib.kinds import OURS
from lib.process import Peer
from lib.rows_kad import member

CID = new_cidv0(b"offered over gRPC")
HOLDER = FileMetadata("192.0.2.1", 8000, 3)


async def registered(cell: Cell) -> None:
    """`fastmarket-server` and one node of theirs, which provides the content without a price; a client of
    theirs asks the latter, then the former."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory()))
        hub = None if cell.dialing == cell.theirs else await member(cell, cell.theirs)
        seeds = () if hub is None else ("-b", hub.addr)
        server = stack.enter_context(
            ServerProcess("server", ["--ephemeral", "-p", "0", "-l", LOOPBACK, *seeds], directory)
        )
        ready = await asyncio.to_thread(server.wait_ready)
        if hub is None:
            hub = await cell.crew.start(cell.theirs)
            await hub.call("bootstrap", addrs=[server.address], timeout_s=30)
        market = await stack.enter_async_context(MarketClient(ready["grpc"]))

        async def both_know() -> bool:
            return hub.peer_id in {peer.peer_id for peer in await market.list_peers()}

        await until(both_know, f"the server knows {hub.name}")
        await hub.call("provide", cid=str(CID))

        async def counted() -> bool:
            found = await market.search_holders(str(CID))
            return (found.holders, found.providers_without_price) == ((), 1)

        await until(counted, f"{hub.name} is told as a provider without a price")
        await market.register(str(CID), HOLDER, user_name="seller")
        for place in (hub.addr, server.address):
            asking = await cell.crew.start(cell.theirs, "--mode", "client")
            await asking.call("bootstrap", addrs=[place], timeout_s=30)
            await until(partial(provides, asking, ready["peer_id"]), f"{asking.name} finds it at {place}")
            await asking.kill()
        holders = await market.check(str(CID))
        check([holder.price for holder in holders] == [HOLDER.price_per_mb], f"check lists {holders}")


async def provided(cell: Cell) -> None:
    """They announce as any libp2p node does; `DhtClient.find_providers` has them, and no offer is made up."""
    holding = await member(cell, cell.theirs)
    client, server = bridge(16)
    running = asyncio.ensure_future(server.run())
    try:
        (addr,) = await client.listen_on(LOOPBACK)
        if cell.dialing == OURS:
            await client.bootstrap([(holding.peer_id, holding.addr)])
        else:
            await holding.call("bootstrap", addrs=[str(addr)], timeout_s=30)
        await until(lambda: knows(client, holding.peer_id), f"ours knows {holding.name}")
        await holding.call("provide", cid=str(CID))

        async def found() -> bool:
            return holding.peer_id in {str(peer.peer_id) for peer in await client.find_providers(CID)}

        await until(found, f"ours finds {holding.name}")
        offers = [offer async for offer in client.find_offers(CID)]
        check(not offers, f"offers nobody made: {offers}")
        await until(lambda: knows(client, holding.peer_id), f"ours still knows {holding.name}")
    finally:
        client.close()
        await running


async def provides(asking: Peer, peer_id: str) -> bool:
    """Whether a peer is among the providers that `asking` finds."""
    answer = await asking.call("find_providers", cid=str(CID), count=20)
    return peer_id in {entry["peer_id"] for entry in answer["providers"]}


async def knows(client: DhtClient, peer_id: str) -> bool:
    """Whether a peer is in the routing table, as a lookup shows that starts there."""
    return peer_id in {str(peer.peer_id) for peer in await client.get_closest_peers(CID)}
