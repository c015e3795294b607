"""What a router's outside address says of the way to it."""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Network

from fastmarket.formats.scope import AddressScope, scope_of
from fastmarket.portmap.messages import IpAddress

_SHARED = IPv4Network("100.64.0.0/10")  # between providers' routers and their customers' (RFC 6598)


class Outside(Enum):
    """Whether what is mapped at a router can be reached from everywhere."""

    PUBLIC = "public"
    DOUBLE_NAT = "double NAT"
    CGNAT = "CGNAT"


def outside_of(external: IpAddress, observed: tuple[IpAddress, ...] = ()) -> Outside:
    """`observed`: addresses under which strangers see us, as far as enough of them agree."""
    if external.version == 4 and external in _SHARED:
        return Outside.CGNAT
    if scope_of(external) is not AddressScope.PUBLIC:
        return Outside.DOUBLE_NAT
    seen = [ip for ip in observed if ip.version == external.version]
    return Outside.DOUBLE_NAT if seen and external not in seen else Outside.PUBLIC
