"""The table of transports, one row each. The form of an address decides which one dials or listens."""

from __future__ import annotations

from fastmarket.errors import CallerFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr, TcpEndpoint
from fastmarket.libp2p.dialing import Target
from fastmarket.libp2p.endpoint import Endpoint
from fastmarket.net.clock import Clock
from fastmarket.net.link import Link, LinkOwner
from fastmarket.net.resolver import FAMILIES
from fastmarket.net.transports.tcp.transport import TcpTransport
from fastmarket.net.transports.transport import Transport, TransportRow

TABLE = (
    TransportRow(
        name="tcp",
        listen_forms="/ip4/ADDRESS/tcp/PORT or /ip6/ADDRESS/tcp/PORT",
        endpoint_of=Multiaddr.host_port,
        make=TcpTransport,
    ),
)
NAMES = " or ".join(row.name.upper() for row in TABLE)
IP_KINDS = ("ip4", "ip6")


def endpoint_of(addr: Multiaddr) -> tuple[str, TcpEndpoint] | None:
    """The transport of an address, and its endpoint; None for a /dnsaddr, or an unsupported transport."""
    for row in TABLE:
        endpoint = row.endpoint_of(addr)
        if endpoint is not None:
            return row.name, endpoint
    return None


class Transports:
    """The transports of one host."""

    def __init__(self, owner: LinkOwner, endpoint: Endpoint, clock: Clock) -> None:
        self._by_name: dict[str, Transport] = {row.name: row.make(owner, endpoint, clock) for row in TABLE}

    async def dial(self, target: Target, expected_peer: PeerId) -> Link:
        """See `Transport.dial`."""
        return await self._by_name[target.transport].dial(target, expected_peer)

    async def listen(self, addr: Multiaddr) -> TcpEndpoint:
        """Returns the bound endpoint. Raises OSError, or CallerFault for an address of the wrong form."""
        found = endpoint_of(addr)
        if found is None or found[1].kind in FAMILIES or addr.peer_id is not None:
            forms = ", ".join(row.listen_forms for row in TABLE)
            raise CallerFault("listen", f"{addr}: expects {forms}")
        name, asked = found
        port = await self._by_name[name].listen(asked.host, asked.port)
        return TcpEndpoint(asked.kind, asked.host, port)

    def stop_listening(self) -> None:
        """Accepts no new connections."""
        for transport in self._by_name.values():
            transport.stop_listening()

    async def wait_stopped(self) -> None:
        """Returns when all listening sockets are closed."""
        for transport in self._by_name.values():
            await transport.wait_stopped()
