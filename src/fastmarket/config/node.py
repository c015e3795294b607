"""A whole node."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastmarket.config.access import AccessConfig
from fastmarket.config.bitswap import BitswapConfig
from fastmarket.config.connection import ConnectionConfig
from fastmarket.config.content import ContentConfig
from fastmarket.config.fetching import FetchConfig
from fastmarket.config.fleet import FleetConfig
from fastmarket.config.holders import HolderConfig
from fastmarket.config.host import HostConfig
from fastmarket.config.kad import KadConfig
from fastmarket.config.market import MarketConfig
from fastmarket.config.memory import MemoryConfig
from fastmarket.config.offers import OfferConfig
from fastmarket.config.payments import PaymentConfig
from fastmarket.config.port_map import PortMapConfig
from fastmarket.config.storage import StorageConfig
from fastmarket.config.web import WebConfig


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """A whole node."""

    # Off: a client, which queries other nodes and stores nothing for them (specs kad-dht, "Client and server
    # mode")
    server_mode: bool = True
    bootstrap: tuple[str, ...] = ()  # nodes through which to join the network: multiaddrs that end in /p2p
    connection: ConnectionConfig = field(default_factory=ConnectionConfig)
    kad: KadConfig = field(default_factory=KadConfig)
    offers: OfferConfig = field(default_factory=OfferConfig)
    fetching: FetchConfig = field(default_factory=FetchConfig)
    holders: HolderConfig = field(default_factory=HolderConfig)
    host: HostConfig = field(default_factory=HostConfig)
    port_map: PortMapConfig = field(default_factory=PortMapConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    market: MarketConfig = field(default_factory=MarketConfig)
    access: AccessConfig = field(default_factory=AccessConfig)
    bitswap: BitswapConfig = field(default_factory=BitswapConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    fleet: FleetConfig = field(default_factory=FleetConfig)
    web: WebConfig = field(default_factory=WebConfig)
    content: ContentConfig = field(default_factory=ContentConfig)
    payments: PaymentConfig = field(default_factory=PaymentConfig)
