"""Peers that come from an address of their choice, and open as much as they like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastmarket.config import NodeConfig
from fastmarket.errors import FastmarketError
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.link import Link
from fastmarket.net.transports.tcp.transport import TcpTransport
from tests.net.loopback import identity

ELSEWHERE = "127.0.0.9"  # another address of this machine than the one nodes dial each other from


def endpoint_of(node: DhtNode) -> tuple[str, int]:
    endpoint = node.host.listen_addrs[0].host_port()
    assert endpoint is not None
    return endpoint.host, endpoint.port


@asynccontextmanager
async def guests(count: int, first: int = 500) -> AsyncIterator[list[DhtNode]]:
    """Client nodes, which stay out of routing tables and so are nobody's neighbours."""
    async with AsyncExitStack() as stack:
        made = [DhtNode(identity(first + number), NodeConfig(server_mode=False)) for number in range(count)]
        for node in made:
            stack.push_async_callback(node.close)
        yield made


async def come(guest: DhtNode, node: DhtNode, source: str = "127.0.0.1") -> Link | None:
    """A new connection from `source`, whatever there is already; None when the node ended it."""
    tcp = guest.host.transports._by_name["tcp"]
    assert isinstance(tcp, TcpTransport)
    _, link = await asyncio.get_running_loop().create_connection(
        lambda: tcp.outbound_link(node.peer_id), *endpoint_of(node), local_addr=(source, 0)
    )
    try:
        await link.handshake
        await asyncio.shield(link.identity_known.wait())
    except (FastmarketError, OSError):
        return None
    return link
