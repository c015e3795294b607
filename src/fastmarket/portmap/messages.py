"""What is asked of a router and what it answers, whichever protocol carries it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

IpAddress: TypeAlias = IPv4Address | IPv6Address

NONCE_BYTES = 12  # a mapping nonce of PCP (RFC 6887 section 11.1)


class MapProtocol(Enum):
    """The protocols by which routers map ports, as people call them."""

    PCP = "PCP"
    NAT_PMP = "NAT-PMP"
    UPNP = "UPnP"


class RequestKind(Enum):
    """What is asked: the state of the router, a mapping, or its end."""

    PROBE = "probe"
    MAP = "map"
    UNMAP = "unmap"


class MapRefusal(Enum):
    """Why a router maps nothing, in the words of its log line."""

    UNSUPPORTED = "does not speak this protocol"
    NOT_AUTHORIZED = "does not allow it"
    NO_NETWORK = "has no public address of its own"
    NO_ROOM = "has no room for another mapping"
    CONFLICT = "has given that port to somebody else"
    MISMATCH = "is behind another router of this network"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class MapRequest:
    """One TCP port. `external_port` is a suggestion, or for UNMAP the one that was given."""

    kind: RequestKind
    internal_port: int = 0
    external_port: int = 0
    lifetime_s: int = 0
    nonce: bytes = bytes(NONCE_BYTES)


@dataclass(frozen=True, slots=True)
class MapAnswer:
    """What a router answered; what it did not tell is None.

    A refusal may tell the outside address, too. `epoch_s`: seconds since it lost all mappings or began.
    `is_lost`: it says that the mapping asked for is not there."""

    kind: RequestKind
    refusal: MapRefusal | None = None
    epoch_s: int | None = None
    external_ip: IpAddress | None = None
    internal_port: int = 0
    external_port: int = 0
    lifetime_s: int = 0
    nonce: bytes | None = None
    is_lost: bool = False
