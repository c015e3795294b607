"""What comes of asking a router: mappings, and how it stands with them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from fastmarket.portmap.messages import IpAddress, MapProtocol, MapRefusal, MapRequest
from fastmarket.portmap.outside import Outside


class MapState(Enum):
    """How far a router is."""

    SEARCHING = "searching"
    MAPPED = "mapped"
    NONE = "none"  # no protocol maps; tried again later


@dataclass(frozen=True, slots=True)
class Mapping:
    """An outside port that leads to one of ours until `expires`, Unix seconds."""

    internal_port: int
    external_ip: IpAddress
    external_port: int
    expires: float


@dataclass(frozen=True, slots=True)
class MapStatus:
    """`refusal`: why the last router that answered does not map; None: nobody answered. One
    that tells a private outside address is behind another router."""

    state: MapState = MapState.SEARCHING
    protocol: MapProtocol | None = None
    external_ip: IpAddress | None = None
    outside: Outside = Outside.PUBLIC
    refusal: MapRefusal | None = None


@dataclass(frozen=True, slots=True)
class AskRouter:
    """To be asked of the router; `data` is the datagram, None for UPnP."""

    protocol: MapProtocol
    request: MapRequest
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Mapped:
    """A mapping stands, in the place of `instead` of the same port."""

    mapping: Mapping
    instead: Mapping | None = None


@dataclass(frozen=True, slots=True)
class Unmapped:
    """A mapping ended."""

    mapping: Mapping


MapEvent: TypeAlias = Mapped | Unmapped | MapStatus
