"""The scope of an address: from where it can be reached."""

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

# IPv4 addresses behind a translator (RFC 6052): visible to one side only, not dialable.
_NAT64 = IPv6Network("64:ff9b::/96")

# Addresses whose IP and block are cached: every connection needs them several times. Some 300 bytes each, 20
# MiB in total if every address has the maximum length.
BLOCK_CACHE = 16_384


class AddressScope(IntEnum):
    """Wider scopes have higher values."""

    LOOPBACK = 0  # on this machine
    PRIVATE = 1  # within one network: private, shared (RFC 6598), link-local, documentation
    PUBLIC = 2  # from anywhere


@lru_cache(maxsize=BLOCK_CACHE)
def ip_of(addr: Multiaddr) -> IPv4Address | IPv6Address | None:
    """The IP of a plain TCP address; None for names, other transports, and addresses that belong to no
    host."""
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
    """By the registries of special-purpose addresses (RFC 6890)."""
    if ip.is_loopback:
        return AddressScope.LOOPBACK
    return AddressScope.PUBLIC if ip.is_global else AddressScope.PRIVATE


# Networks outside the Internet (RFC 1122, 1918, 3927, 4193, 4291, 6598). A host in one may reach all of it,
# so they are not subdivided.
_INNER = tuple(
    ip_network(text)
    for text in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
        *("169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10"),
    )
)


def inner_network(ip: IPv4Address | IPv6Address) -> IPv4Network | IPv6Network | None:
    """The non-public network of an address; None for a public one.

    An IPv6 address that embeds an IPv4 one counts as that one: a system may well dial it.
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
    return ip_network((ip.packed, GROUP_BITS[ip.version]), strict=False)  # documentation, benchmarking


# An operator of many nodes in one place has addresses in one such block; another block costs another
# location.
GROUP_BITS = {4: 16, 6: 32}


def ip_group(peer: PeerInfo) -> bytes | None:
    """The address block of a peer's first public address, an IPv4 /16 or an IPv6 /32.

    None: it has no public address, and belongs to no group (few peers share our machine or LAN). Only the
    first counts: a peer that lists others' addresses besides its own must not count as all of them.
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
    """The block of one address; None if it is not public."""
    ip = ip_of(addr)
    return None if ip is None else _block(ip)


def source_block(remote: Multiaddr | None) -> bytes | None:
    """The block of a connecting address, likewise; None for this machine or a private network."""
    endpoint = remote.host_port() if remote is not None else None
    if endpoint is None or endpoint.kind not in ("ip4", "ip6"):
        return None
    ip = ip_address(endpoint.host)
    if isinstance(ip, IPv6Address):
        ip = ip.ipv4_mapped or ip
    return _block(ip)


def _block(ip: IPv4Address | IPv6Address) -> bytes | None:
    return ip.packed[: GROUP_BITS[ip.version] // 8] if scope_of(ip) is AddressScope.PUBLIC else None
