"""What a host needs of a transport: connections that it dials, and those that come to where it listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr, TcpEndpoint
from fastmarket.libp2p.dialing import Target
from fastmarket.libp2p.endpoint import Endpoint
from fastmarket.net.clock import Clock
from fastmarket.net.link import Link, LinkOwner


class Transport(Protocol):
    """One transport of one host. Every link it makes, dialed or come, is told to its `LinkOwner`."""

    async def dial(self, target: Target, expected_peer: PeerId) -> Link:
        """A link whose handshake is done; whoever gives up cancels it. Raises OSError, UnicodeError for a
        host that the system does not take, and what the handshake failed with."""

    async def listen(self, host: str, port: int) -> int:
        """Listens on that IP address; the port, which is chosen where 0 was asked for. Raises OSError."""

    def stop_listening(self) -> None:
        """No new connection comes any more; those there are go on."""

    async def wait_stopped(self) -> None:
        """Until what listened is gone."""


@dataclass(frozen=True, slots=True)
class TransportRow:
    """One row of the table: how its addresses look, and what makes it."""

    name: str
    listen_forms: str  # for people
    endpoint_of: Callable[[Multiaddr], TcpEndpoint | None]  # where an address leads; None: elsewhere
    make: Callable[[LinkOwner, Endpoint, Clock], Transport]
