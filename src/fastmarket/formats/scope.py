"""From how far away an address can be reached."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.formats.peer_info import UNKNOWN_BLOCK, PeerInfo

# Stands for an IPv4 address behind a translator (RFC 6052): seen by one side only, nobody can dial it.
_NAT64 = IPv6Network("64:ff9b::/96")

# Addresses whose IP and block are remembered: every connection asks for them several times. Some 300 bytes
# each, 20 MiB in all when every address is as long as may be.
BLOCK_CACHE = 16_384


class AddressScope(IntEnum):
    """The wider, the higher."""

    LOOPBACK = 0  # on this machine
    PRIVATE = 1  # in one network: private, shared (RFC 6598), link-local, documentation
    PUBLIC = 2  # from everywhere


@lru_cache(maxsize=BLOCK_CACHE)
def ip_of(addr: Multiaddr) -> IPv4Address | IPv6Address | None:
    """Of a plain TCP address; None for a name, another transport, and what is no host's address."""
    endpoint = addr.host_port()
    if endpoint is None or endpoint.kind not in ("ip4", "ip6"):
        return None
    ip = ip_address(endpoint.host)
    if ip.is_unspecified or ip.is_multicast:
        return None
    if isinstance(ip, IPv6Address) and (ip.ipv4_mapped is not None or ip in _NAT64):
        return None
    return ip


def scope_of(ip: IPv4Address | IPv6Address) -> AddressScope:
    """By the registries of special addresses (RFC 6890)."""
    if ip.is_loopback:
        return AddressScope.LOOPBACK
    return AddressScope.PUBLIC if ip.is_global else AddressScope.PRIVATE


# Networks that are not part of the Internet (RFC 1122, 1918, 3927, 4193, 4291, 6598). A host in one may
# reach the whole of it, so these are not told apart more finely.
_INNER = tuple(
    ip_network(text)
    for text in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
        *("169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10"),
    )
)


def inner_network(ip: IPv4Address | IPv6Address) -> IPv4Network | IPv6Network | None:
    """The network that an address is in which only some can reach; None for a public one.

    An IPv6 address that stands for an IPv4 one is where that one is: a system may well dial it.
    """
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:
            ip = IPv4Address(ip.packed[12:])
    if scope_of(ip) is AddressScope.PUBLIC:
        return None
    for network in _INNER:
        if ip in network:
            return network
    return ip_network((ip.packed, GROUP_BITS[ip.version]), strict=False)  # documentation, benchmarks


# Who runs many nodes in one place has addresses of one such block; another block costs another place.
GROUP_BITS = {4: 16, 6: 32}


def ip_group(peer: PeerInfo) -> bytes | None:
    """The address block of a peer's first public address, an IPv4 /16 or an IPv6 /32.

    None: it has no public address, and belongs to no group (a machine or LAN of one's own has few).
    Only the first: a peer that names others' addresses beside its own must not count as all of them.
    """
    group = peer.block
    if group is UNKNOWN_BLOCK:
        group = None
        for addr in peer.addrs:
            group = _public_block(addr)
            if group is not None:
                break
        peer.keep_block(group)
    return group


@lru_cache(maxsize=BLOCK_CACHE)
def _public_block(addr: Multiaddr) -> bytes | None:
    """The block of one address; None when it is not public."""
    ip = ip_of(addr)
    return None if ip is None else _block(ip)


def source_block(remote: Multiaddr | None) -> bytes | None:
    """The block of whoever connects from there, likewise; None: this machine, or a private network."""
    endpoint = remote.host_port() if remote is not None else None
    if endpoint is None or endpoint.kind not in ("ip4", "ip6"):
        return None
    ip = ip_address(endpoint.host)
    if isinstance(ip, IPv6Address):
        ip = ip.ipv4_mapped or ip
    return _block(ip)


def _block(ip: IPv4Address | IPv6Address) -> bytes | None:
    return ip.packed[: GROUP_BITS[ip.version] // 8] if scope_of(ip) is AddressScope.PUBLIC else None
