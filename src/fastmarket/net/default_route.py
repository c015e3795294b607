"""The router of each family: the system's default route, on Linux, from /proc/net."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from fastmarket.portmap.messages import IpAddress

_ROUTES4, _ROUTES6 = Path("/proc/net/route"), Path("/proc/net/ipv6_route")
_UP, _GATEWAY = 0x1, 0x2  # RTF_UP, RTF_GATEWAY
MAP_PORT = 5351  # of the router, for PCP and NAT-PMP
MAX_ROUTE_BYTES = 1 << 20  # read of each table; a full one of the Internet has no default route to look for


@dataclass(frozen=True, slots=True)
class Router:
    """A router, and our address that it sees. `scope`: the interface of a link-local router, else 0."""

    ip: IpAddress
    client: IpAddress
    scope: int = 0

    @property
    def endpoint(self) -> tuple[str, int] | tuple[str, int, int, int]:
        """Its PCP and NAT-PMP port, for `socket.connect`."""
        return (str(self.ip), MAP_PORT) if self.ip.version == 4 else (str(self.ip), MAP_PORT, 0, self.scope)


def default_routers(own_ip6: Iterable[IPv6Address]) -> tuple[Router, ...]:
    """One IPv4 and one IPv6 router at most. `own_ip6`: our public IPv6 addresses, of which the first one is
    let in by the router's firewall."""
    found = []
    ip4 = min(_routes4(_read(_ROUTES4)), default=None)
    if ip4 is not None and (client := _source_to(str(ip4[1]))) is not None:
        found.append(Router(ip4[1], IPv4Address(client)))
    ip6, own = min(_routes6(_read(_ROUTES6)), default=None), next(iter(own_ip6), None)
    if ip6 is not None and own is not None:
        _, ip, interface = ip6
        found.append(Router(ip, own, _index(interface) if ip.is_link_local else 0))
    return tuple(found)


def _read(table: Path) -> str:
    try:
        with table.open() as file:
            return file.read(MAX_ROUTE_BYTES)
    except OSError:
        return ""


def _routes4(table: str) -> Iterator[tuple[int, IPv4Address]]:
    """Metric and router of each default route; addresses are in the host's byte order."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or int(fields[1], 16) or int(fields[7], 16):
            continue
        if int(fields[3], 16) & (_UP | _GATEWAY) == _UP | _GATEWAY:
            packed = int(fields[2], 16)
            yield int(fields[6]), IPv4Address(socket.ntohl(packed))


def _routes6(table: str) -> Iterator[tuple[int, IPv6Address, str]]:
    """Metric, router and interface of each default route."""
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < 10 or int(fields[0], 16) or int(fields[1], 16):
            continue
        if int(fields[8], 16) & (_UP | _GATEWAY) == _UP | _GATEWAY:
            yield int(fields[5], 16), IPv6Address(int(fields[4], 16)), fields[9]


def _source_to(ip: str) -> str | None:
    """Our address towards that one; connecting a UDP socket sends nothing."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((ip, MAP_PORT))
            return str(probe.getsockname()[0])
    except OSError:
        return None


def _index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return 0
