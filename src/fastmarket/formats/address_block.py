"""The customer an IP address belongs to, as far as it shows: one IPv4 address, or a block of IPv6 ones."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

IPV6_PREFIX_BITS = 56  # assigned as a unit; go-libp2p counts by the same


@lru_cache(4096)
def address_block(host: str) -> str:
    """The key an address is counted under: itself, or its /56; an IPv4-mapped address counts as IPv4.

    Text that is not an address is returned unchanged.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        if not address.is_loopback:
            return str(ip_network((address, IPV6_PREFIX_BITS), strict=False))
    return str(address)
