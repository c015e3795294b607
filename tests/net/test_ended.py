"""What is left of connections that have ended: nothing that waits for the collector of cycles."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter

from fastmarket.libp2p.mux_stream import MuxStream
from fastmarket.libp2p.requests import RequestPool
from fastmarket.libp2p.tcp.connection import Connection
from fastmarket.libp2p.tcp.session import Session
from fastmarket.libp2p.tcp.upgrade import Upgrade
from fastmarket.libp2p.tcp.yamux import Yamux
from fastmarket.net.dht_node import DhtNode
from fastmarket.net.transports.tcp.link import TcpLink
from tests.conftest import Run
from tests.net.loopback import nodes, seed, until

OF_A_CONNECTION = (Connection, TcpLink, MuxStream, RequestPool, Session, Upgrade, Yamux)
VISITS = 5


def held() -> Counter[str]:
    return Counter(type(found).__name__ for found in gc.get_objects() if type(found) in OF_A_CONNECTION)


async def visit(one: DhtNode, other: DhtNode) -> None:
    await one.dial(seed(other))
    await until(lambda: other.host.link_to(one.peer_id) is not None)
    for node, peer in ((one, other), (other, one)):
        link = node.host.link_to(peer.peer_id)
        assert link is not None
        await link.identity_known
    link = one.host.link_to(other.peer_id)
    assert link is not None
    link.close(one.now())
    await until(lambda: one.host.connection_count == other.host.connection_count == 0)


def test_an_ended_connection_is_freed_without_the_collector(run: Run[None]) -> None:
    async def scenario() -> None:
        async with nodes(2) as (a, b):
            gc.collect()
            before = held()
            gc.disable()
            try:
                for _ in range(VISITS):
                    await visit(a, b)
                for _ in range(VISITS):  # callbacks of the last one
                    await asyncio.sleep(0)
                assert held() == before
            finally:
                gc.enable()

    run(scenario())
