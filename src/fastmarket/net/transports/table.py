"""The transports there are: one row for each. Whoever dials or listens chooses by the address."""

from __future__ import annotations

from fastmarket.errors import CallerFault
from fastmarket.formats.identity import PeerId
from fastmarket.formats.multiaddr import Multiaddr, TcpEndpoint
from fastmarket.libp2p.dialing import Target
from fastmarket.libp2p.endpoint import Endpoint
from fastmarket.net.clock import Clock
from fastmarket.net.link import Link, LinkOwner
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
    """The transport of an address and where it leads; None for one that we cannot dial, or a /dnsaddr."""
    for row in TABLE:
        endpoint = row.endpoint_of(addr)
        if endpoint is not None:
            return row.name, endpoint
    return None


class Transports:
    """Those of one host, by name."""

    def __init__(self, owner: LinkOwner, endpoint: Endpoint, clock: Clock) -> None:
        self._by_name: dict[str, Transport] = {row.name: row.make(owner, endpoint, clock) for row in TABLE}

    async def dial(self, target: Target, expected_peer: PeerId) -> Link:
        """See `Transport.dial`."""
        return await self._by_name[target.transport].dial(target, expected_peer)

    async def listen(self, addr: Multiaddr) -> TcpEndpoint:
        """Where it listens then. Raises OSError, CallerFault for an address that nobody can listen on."""
        found = endpoint_of(addr)
        if found is None or found[1].kind not in IP_KINDS or addr.peer_id is not None:
            forms = ", ".join(row.listen_forms for row in TABLE)
            raise CallerFault("listen", f"{addr}: expects {forms}")
        name, asked = found
        port = await self._by_name[name].listen(asked.host, asked.port)
        return TcpEndpoint(asked.kind, asked.host, port)

    def stop_listening(self) -> None:
        """No new connection comes any more."""
        for transport in self._by_name.values():
            transport.stop_listening()

    async def wait_stopped(self) -> None:
        """Until nothing listens any more."""
        for transport in self._by_name.values():
            await transport.wait_stopped()
