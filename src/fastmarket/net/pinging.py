"""Pings of a peer, one after another over one stream (specs: ping/ping.md)."""

from __future__ import annotations

import os

from fastmarket.errors import StreamFailed
from fastmarket.libp2p.ping import PING_BYTES, PING_PROTOCOL, PingExchange
from fastmarket.net.host import Host
from fastmarket.net.link import Link


async def ping(host: Host, link: Link, count: int = 1) -> list[float]:
    """The round trips in seconds. Raises StreamFailed, or PeerFault if the peer echoes something else."""
    stream = await host.streams.open(link, [PING_PROTOCOL])
    times = []
    try:
        for _ in range(count):
            exchange = PingExchange(os.urandom(PING_BYTES), host.clock.now())
            await stream.write(exchange.block)
            while exchange.rtt_s is None:
                data = await stream.read(PING_BYTES)
                if not data:
                    raise StreamFailed(
                        "the connection ended before the ping was answered", peer=link.remote_peer
                    )
                exchange.feed(data, host.clock.now())
            times.append(exchange.rtt_s)
        stream.close_write()
    finally:
        if len(times) < count:
            stream.reset()
    return times
