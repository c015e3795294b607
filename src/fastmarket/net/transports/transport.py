"""What a host needs from a transport: it dials and it listens."""

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
    """One transport of one host. It reports every link, outbound or inbound, to its `LinkOwner`."""

    async def dial(self, target: Target, expected_peer: PeerId) -> Link:
        """A link whose handshake is done. Cancelling ends the attempt. Raises OSError, UnicodeError for a
        host name that the system does not accept, and the fault that ended the handshake."""

    async def listen(self, host: str, port: int) -> int:
        """Listens on that IP address; returns the port (the system chooses one for 0). Raises OSError."""

    def stop_listening(self) -> None:
        """Accepts no new connections; open ones stay."""

    async def wait_stopped(self) -> None:
        """Returns when all listening sockets are closed."""


@dataclass(frozen=True, slots=True)
class TransportRow:
    """One row of the table: how to recognize the transport's addresses, and how to make it."""

    name: str
    listen_forms: str  # for error messages
    endpoint_of: Callable[[Multiaddr], TcpEndpoint | None]  # None: of another transport
    make: Callable[[LinkOwner, Endpoint, Clock], Transport]
