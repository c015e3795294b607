"""Which addresses a listening node may truthfully give to others."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from fastmarket.formats.multiaddr import Multiaddr

# Connecting a UDP socket sends nothing; it makes the kernel choose the source address it would use. The
# targets are documentation addresses (RFC 5737, RFC 3849) that no packet ever goes to.
_PROBES = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def interface_addresses() -> list[str]:
    """Loopback and the source addresses of the default routes, as text, IPv4 first."""
    found = ["127.0.0.1", "::1"]
    for family, target in _PROBES:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                found.append(probe.getsockname()[0].partition("%")[0])
        except OSError:
            continue  # no route of that family
    try:
        resolved = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    except OSError:
        resolved = []
    found += [str(entry[4][0]).partition("%")[0] for entry in resolved]
    usable = [text for text in dict.fromkeys(found) if not ipaddress.ip_address(text).is_link_local]
    return sorted(usable, key=lambda text: ":" in text)


def expand(host: str, port: int) -> list[Multiaddr]:
    """The addresses behind a bound one: itself, or for 0.0.0.0 and :: those of the interfaces."""
    address = ipaddress.ip_address(host)
    if not address.is_unspecified:
        return [Multiaddr.from_endpoint(host, port)]
    return [
        Multiaddr.from_endpoint(text, port)
        for text in interface_addresses()
        if ipaddress.ip_address(text).version == address.version
    ]


def is_loopback(addr: Multiaddr) -> bool:
    """True for 127.0.0.0/8 and ::1."""
    endpoint = addr.host_port()
    if endpoint is None or endpoint.kind not in ("ip4", "ip6"):
        return False
    return ipaddress.ip_address(endpoint.host).is_loopback


def told_to(remote: Multiaddr | None, addrs: Iterable[Multiaddr]) -> list[Multiaddr]:
    """Of our addresses those that may help a peer at `remote`: loopback ones only on this machine."""
    local = remote is not None and is_loopback(remote)
    return [addr for addr in addrs if local or not is_loopback(addr)]
