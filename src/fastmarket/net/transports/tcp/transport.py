"""TCP sockets: dials and listens; each connection gets its own link."""

from __future__ import annotations

import asyncio

from fastmarket.deferred_accept import defer_accept_at
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.libp2p.dialing import Target
from fastmarket.libp2p.endpoint import Endpoint
from fastmarket.libp2p.muxed import Role
from fastmarket.libp2p.tcp.connection import Connection
from fastmarket.libp2p.tcp.upgrade import NoiseEndpoint
from fastmarket.net.clock import Clock
from fastmarket.net.link import LinkOwner
from fastmarket.net.transports.tcp.link import TcpLink

# Connections that the kernel accepts while we are busy.
BACKLOG = 512


class TcpTransport:
    """TCP, secured by Noise and muxed by Yamux, for one host."""

    def __init__(self, owner: LinkOwner, endpoint: Endpoint, clock: Clock) -> None:
        self._owner = owner
        self._noise = NoiseEndpoint.create(endpoint)
        self._clock = clock
        self._servers: list[asyncio.Server] = []

    async def dial(self, target: Target, expected_peer: PeerId) -> TcpLink:
        link = self.outbound_link(expected_peer)
        is_up = False
        try:
            await asyncio.get_running_loop().create_connection(lambda: link, target.host, target.port)
            await link.handshake
            is_up = True
        finally:
            if not is_up:
                link.abort()
        return link

    async def listen(self, host: str, port: int) -> int:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._inbound_link, host, port, reuse_address=True, backlog=BACKLOG)
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        defer_accept_at(bound)
        return bound

    def stop_listening(self) -> None:
        for server in self._servers:
            server.close()

    async def wait_stopped(self) -> None:
        for server in self._servers:
            await server.wait_closed()

    def outbound_link(self, expected_peer: PeerId) -> TcpLink:
        """A protocol for asyncio, not connected yet."""
        return TcpLink(self._owner, self._clock, Role.DIALER, self._connection, expected_peer=expected_peer)

    def _inbound_link(self) -> TcpLink:
        return TcpLink(self._owner, self._clock, Role.LISTENER, self._connection)

    def _connection(self, role: Role, remote: Multiaddr | None, expected_peer: PeerId | None) -> Connection:
        return Connection(
            self._noise, role, now=self._clock.now(), expected_peer=expected_peer, remote_addr=remote
        )
