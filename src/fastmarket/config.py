"""Frozen dataclasses that hold every parameter and bound, one per layer.

Units are part of the name (`_s` seconds, `_bytes`); where a number is not ours, its source stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ConnectionConfig:
    """Bounds and times of one libp2p connection (author of libp2p/)."""


@dataclass(frozen=True, slots=True)
class KadConfig:
    """Kademlia (author of kad/)."""

    prefix: str = "/fastmarket"

    @property
    def protocol(self) -> str:
        """The protocol id on the wire."""
        return f"{self.prefix}/kad/1.0.0"


@dataclass(frozen=True, slots=True)
class OfferConfig:
    """Offers (author of offers/)."""

    protocol: str = "/fastmarket/offer/1.0.0"


@dataclass(frozen=True, slots=True)
class HostConfig:
    """The network shell (author of net/)."""


@dataclass(frozen=True, slots=True)
class MarketConfig:
    """The gRPC service (author of market/)."""

    host: str = "127.0.0.1"
    port: int = 8080


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """A whole node."""

    connection: ConnectionConfig = field(default_factory=ConnectionConfig)
    kad: KadConfig = field(default_factory=KadConfig)
    offers: OfferConfig = field(default_factory=OfferConfig)
    host: HostConfig = field(default_factory=HostConfig)
    market: MarketConfig = field(default_factory=MarketConfig)
