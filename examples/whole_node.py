"""Two nodes inside one program: one offers a file, the other is asked for it over gRPC."""

from __future__ import annotations

import asyncio
import os

from fastmarket import FileMetadata, Identity, MarketClient, Node, NodeConfig
from fastmarket.config import HostConfig, MarketConfig


def config(*bootstrap: str) -> NodeConfig:
    """Free ports of loopback; a node that others are to reach listens on a fixed port of all interfaces."""
    listen = HostConfig(listen=("/ip4/127.0.0.1/tcp/0",))
    return NodeConfig(bootstrap=bootstrap, host=listen, market=MarketConfig(port=0))


async def main() -> None:
    """Prints who holds the file."""
    async with Node(config(), Identity.from_seed(os.urandom(32))) as first:
        address = str(first.listen_addrs[0])
        async with Node(config(address), Identity.from_seed(os.urandom(32))) as second:
            async with MarketClient(first.grpc_address) as seller:
                terms = FileMetadata("192.0.2.1", 9001, price_per_mb=3)
                # A text, for its hash; str(cid_of_file(path)) would name a file by what is in it.
                await seller.register("holiday.mkv", terms, user_name="Ann")
            async with MarketClient(second.grpc_address) as buyer:
                for holder in await buyer.find_holders("holiday.mkv"):
                    print(f"{holder.name} sells it at {holder.ip}:{holder.port} for {holder.price} per MB")


if __name__ == "__main__":
    asyncio.run(main())
