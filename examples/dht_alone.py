"""The DHT without the market's services: a command queue, and the server that carries the commands out."""

from __future__ import annotations

import asyncio

from fastmarket import DhtClient, bridge, new_cidv0


async def started() -> tuple[DhtClient, asyncio.Task[None], str]:
    """A node that listens: its client, its task, its address."""
    client, server = bridge(256)
    running = asyncio.create_task(server.run())
    (address,) = await client.listen_on("/ip4/127.0.0.1/tcp/0")
    return client, running, str(address)


async def main() -> None:
    """One node offers a content, the other finds the offer."""
    seller, seller_runs, address = await started()
    buyer, buyer_runs, _ = await started()
    where, _, peer_id = address.partition("/p2p/")
    joined = await buyer.bootstrap([(peer_id, where)])
    print(f"joined by {joined.peer}")

    cid = new_cidv0(b"the bytes of a file")
    await seller.register(cid, "192.0.2.1", 9001, 3)
    async for offer in buyer.find_offers(cid):
        print(f"{offer.provider} serves {cid} at {offer.ip}:{offer.port}")

    for client, running in ((buyer, buyer_runs), (seller, seller_runs)):
        client.close()
        await running


if __name__ == "__main__":
    asyncio.run(main())
